"""Which settings of `experts.trainer` go together."""

import pytest

from cycleqd.config import ConfigError, load_config
from cycleqd.config.trainer import TrainerConfig
from cycleqd.seams import TRAINERS


def test_the_loop_trains_unless_another_is_named():
    assert load_config("demo").experts.trainer == TrainerConfig(kind="loop")


def test_every_setting_is_one_that_some_trainer_takes():
    taken = {name for kind in TRAINERS for name in TRAINERS.settings(kind)}
    assert set(TrainerConfig.model_fields) - {"kind"} == taken


@pytest.mark.parametrize(
    "setting", ["processes=2", "accelerate_config=a.yaml", "gradient_checkpointing=true", "save_steps=5"]
)
def test_a_setting_of_another_trainer_is_refused_with_its_name(setting):
    with pytest.raises(ConfigError, match=r"experts\.trainer\.\w+.*set experts\.trainer\.kind to transformers"):
        load_config("demo", (f"experts.trainer.{setting}",))
    load_config("demo", ("experts.trainer.kind=transformers", f"experts.trainer.{setting}"))


def test_processes_that_would_get_no_conversation_are_refused():
    with pytest.raises(ConfigError, match=r"9 processes share 8 conversations: set experts\.global_batch to 9"):
        load_config(
            "demo",
            ("experts.global_batch=8", "experts.trainer.kind=transformers", "experts.trainer.processes=9"),
        )
