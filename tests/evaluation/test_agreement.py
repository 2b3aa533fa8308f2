from types import SimpleNamespace
from typing import Any

import pytest

from cycleqd.evaluation.play import samples_hash
from cycleqd.evaluation.scope import Scope
from cycleqd.run.names import BASE
from cycleqd.skills.building import build_skill
from cycleqd.skills.protocol import Origin

SKILL = build_skill("os", seed=0, counts={"test": 3})


def scope(**changes: Any) -> Any:
    """A run that has scored its base model already."""
    fields = {
        "skill": "os",
        "split": "test",
        "data_hash": samples_hash(SKILL.samples("test")),
        "data_sha256": "",
        "prompt": "ours",
        "data_version": "",
        "fingerprint": {},
    }
    record = SimpleNamespace(**(fields | changes))
    store = SimpleNamespace(evaluation=lambda *_: record, run_id="run")
    resources = SimpleNamespace(store=store, skills={"os": SKILL}, fingerprint=lambda *_: {})
    return Scope(resources, BASE, "test"), record


def test_a_finished_evaluation_is_not_repeated() -> None:
    opened, record = scope()
    assert opened.evaluate("os") is record


@pytest.mark.parametrize(
    "change", [{"data_hash": "0" * 64}, {"data_sha256": "0" * 64}, {"prompt": "sha256:" + "0" * 64}]
)
def test_scores_on_other_data_or_prompts_are_never_mixed(change: dict[str, str]) -> None:
    assert SKILL.origin == Origin()
    opened, _ = scope(**change)
    with pytest.raises(RuntimeError, match="scored os on other samples"):
        opened.evaluate("os")
