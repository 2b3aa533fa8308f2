"""What an adapter's configuration asks for: which options are read, and why the others are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from cycleqd.experts.sources.protocol import SourceInvalid
from cycleqd.task_vector.lora import HARMLESS, PLAIN_STARTS, start_of

Start = Literal["plain", "pissa", "olora"]
"""What the factors begin with: nothing that changes the base, or a part of the base that is taken out of it."""

_READ: Final = frozenset(
    {
        *HARMLESS,
        *("bias", "fan_in_fan_out", "init_lora_weights", "lora_bias", "modules_to_save", "trainable_token_indices"),
        *("target_parameters", "use_dora"),
    }
)
_WHY: Final[Mapping[str, str]] = {
    "layer_replication": "it repeats layers that the base has once",
    "alora_invocation_tokens": "it acts on some positions only, so it is no change of the weights",
    "loftq_config": "it began from a quantised base",
    "corda_config": "its start depends on data; convert it to plain LoRA when saving",
    "lora_ga_config": "its start takes a part out of the base that depends on gradients; merge it into its base",
    "use_qalora": "it is made for a quantised base",
}
_STARTS: Final[Mapping[str, str]] = {
    "pissa_niter": "it takes a randomised decomposition out of the base, which cannot be repeated exactly",
    "loftq": "it began from a quantised base",
    "corda": "it takes a part out of the base that depends on data",
    "lora_ga": "it takes a part out of the base that depends on the gradients of its data",
}


def check_options(folder: Path, config: Mapping[str, Any]) -> Start:
    """Looks at an adapter's configuration.

    Returns:
        What the factors begin with.

    Raises:
        SourceInvalid: An option has no exact reading; the text names it and the reason.
    """

    def refused(what: str, why: str) -> SourceInvalid:
        return SourceInvalid(f"expert source {folder}: {what} cannot be read: {why}")

    kind = str(config.get("peft_type", "LORA"))
    if kind != "LORA":
        raise refused(f"peft_type={kind!r:.40}", "merge it into its base and give the checkpoint")
    for option, value in config.items():
        if value and option not in _READ:
            why = _WHY.get(option, "it is not known here; merge the adapter into its base and give the checkpoint")
            raise refused(f"{option}={value!r:.60}", why)
    start = start_of(config)
    if start in ("pissa", "olora"):
        return "pissa" if start == "pissa" else "olora"
    if start not in PLAIN_STARTS:
        known = next((why for name, why in _STARTS.items() if re.match(name, str(start))), "it is not known here")
        remedy = (
            "save it as plain LoRA (path_initial_model_for_weight_conversion), or merge it and give the checkpoint"
        )
        raise refused(f"init_lora_weights={config['init_lora_weights']!r:.40}", f"{known}; {remedy}")
    return "plain"
