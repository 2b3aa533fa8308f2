"""Whose source a judge's version covers, and which images a skill names."""

import importlib.util
import inspect
import sys
from contextlib import suppress
from unittest.mock import MagicMock

import pytest

import cycleqd.evaluation.judges as judges
from cycleqd.config import GENERATED_SKILLS
from cycleqd.evaluation.fingerprint import differences, engine_version, images_of
from cycleqd.evaluation.judges import judge_files, judge_version
from cycleqd.sandbox import Sandboxes, SandboxUnavailable
from cycleqd.sandbox.images import IMAGE_NAMES
from cycleqd.skills.benchmarks.benchmark import Whole
from cycleqd.skills.building import build_skill
from cycleqd.skills.registry import BUILT_IN, load

KINDS = {name: load(row.target) for name, row in BUILT_IN.items()}


@pytest.mark.parametrize(
    ("name", "wanted", "unwanted"),
    [
        ("coding", "parsing suites.generation", "suites.db suites.os_shell benchmarks.mbpp_plus.skill"),
        ("os", "parsing turns", "suites.coding suites.db benchmarks.agentbench_os.skill"),
        ("db", "parsing turns", "suites.coding suites.os_shell benchmarks.agentbench_db.skill"),
        (
            "mbpp_plus",
            "benchmarks.mbpp_plus.exchange benchmarks.mbpp_plus.check benchmarks.benchmark",
            "suites.coding suites.db benchmarks.agentbench_os.skill",
        ),
        (
            "agentbench_db",
            "benchmarks.agentbench_db.judge parsing benchmarks.prompting",
            "suites.coding benchmarks.mbpp_plus.skill benchmarks.agentbench_os.skill",
        ),
        (
            "agentbench_os",
            "benchmarks.agentbench_os.checks parsing benchmarks.prompting",
            "suites.coding benchmarks.mbpp_plus.skill benchmarks.agentbench_db.skill",
        ),
    ],
)
def test_a_judge_is_what_its_module_imports_and_no_other_skill(name, wanted, unwanted):
    files = judge_files(KINDS[name].__module__)
    assert {f"cycleqd.skills.{module}" for module in wanted.split()} < files.keys()
    assert not {f"cycleqd.skills.{module}" for module in unwanted.split()} & files.keys()
    assert {"cycleqd.sandbox.pool", "cycleqd.sandbox.limits", "guest/runner.py", "guest/shell.py"} < files.keys()
    assert not any(module.startswith(("cycleqd.models.causal_lm", "cycleqd.report")) for module in files)


@pytest.mark.parametrize(
    ("name", "own", "others"), [("coding", "runner", ("database", "shell")), ("db", "database", ("runner", "shell"))]
)
def test_a_judge_covers_the_sandbox_that_it_uses_and_no_other(name, own, others):
    files = judge_files(KINDS[name].__module__)
    # A sandbox is a module or a package.
    used = {file.split(".")[2] for file in files if file.startswith("cycleqd.sandbox.")}
    assert own in used
    assert not set(others) & used


FOREIGN = """from foreign.rules import RIGHT

class Skill:
    name, max_turns, max_new_tokens, stop, origin, images = RIGHT, 1, 1, (), None, ()

    def initial_messages(self, sample):
        return []

    def session(self, sandboxes):
        raise NotImplementedError
"""


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A skill of another package, whose judge lies in two modules."""
    package = tmp_path / "foreign"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "rules.py").write_text("RIGHT = 'yes'\n")
    (package / "unrelated.py").write_text("X = 1\n")
    (package / "skill.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "foreign"]:
        del sys.modules[name]


def version_of(package, wrapped=lambda skill: skill):
    judges._version.cache_clear()
    spec = importlib.util.find_spec("foreign.skill")
    module = importlib.util.module_from_spec(spec)
    sys.modules["foreign.skill"] = module
    spec.loader.exec_module(module)
    return judge_version(wrapped(module.Skill()))


def test_the_version_follows_the_source_of_the_judge_and_nothing_else(foreign):
    before = version_of(foreign)
    (foreign / "unrelated.py").write_text("X = 2\n")
    assert version_of(foreign) == before
    (foreign / "rules.py").write_text("RIGHT = 'no'\n")
    assert version_of(foreign) != before


@pytest.mark.parametrize("wrapped", [Whole, lambda skill: Whole(Whole(skill))])
def test_the_version_of_a_wrapped_skill_follows_its_own_judge(foreign, wrapped):
    before = version_of(foreign, wrapped)
    (foreign / "unrelated.py").write_text("X = 2\n")
    assert version_of(foreign, wrapped) == before
    (foreign / "rules.py").write_text("RIGHT = 'no'\n")
    assert version_of(foreign, wrapped) != before


def test_a_judge_changes_with_the_guest(foreign, monkeypatch, tmp_path):
    before = version_of(foreign)
    guests = tmp_path / "guest"
    guests.mkdir()
    (guests / "runner.py").write_text("pass")
    monkeypatch.setattr(judges, "GUEST_DIRECTORY", guests)
    assert version_of(foreign) != before


def images_used(skill, sample):
    """The images of the sandboxes that an episode opens, by the calls that it makes."""
    sandboxes = MagicMock()
    # Nothing of a stand-in is as the skill wants it.
    with skill.session(sandboxes) as session, suppress(SandboxUnavailable):
        session.start(sample)
    used = set()
    for kind in ("shell", "runner", "database"):
        for call in getattr(sandboxes, kind).call_args_list:
            default = inspect.signature(getattr(Sandboxes, kind)).parameters.get("image")
            used.add(call.kwargs.get("image", default.default if default else "mariadb"))
    return used


@pytest.mark.parametrize("name", GENERATED_SKILLS)
def test_a_suite_names_the_images_that_its_episodes_run_in(name):
    skill = build_skill(name, counts={"train": 1, "optimization": 1, "test": 1})
    (sample,) = skill.samples("optimization")
    assert images_used(skill, sample) == set(skill.images)


@pytest.mark.parametrize("name", KINDS)
def test_every_skill_names_images_that_are_built(name):
    assert set(KINDS[name].images) <= set(IMAGE_NAMES)
    assert images_of(KINDS[name]) == tuple(sorted(KINDS[name].images))


def test_a_skill_that_names_no_images_depends_on_all():
    assert set(images_of(object())) == set(IMAGE_NAMES)


def test_an_engine_is_known_by_the_packages_that_compute():
    assert "torch " in engine_version("transformers")
    assert engine_version("another") == ""


def test_differences_name_what_changed_came_and_went():
    then, now = {"a": "1", "b": "f" * 64, "c": "x"}, {"a": "1", "b": "e" * 64, "d": "y"}
    assert differences(then, now) == {
        "b": "was ffffffffffff, now eeeeeeeeeeee",
        "c": "was x, now not recorded",
        "d": "was not recorded, now y",
    }
    assert differences(now, dict(now)) == {}
