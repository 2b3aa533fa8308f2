"""Cheats: replies that deserve no point on any sample, which the audit plays. Each ends its episode at once.

A row of `cycleqd.skills.registry` names the mapping of its skill.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from cycleqd.skills.protocol import Sample

Cheats = Mapping[str, Callable[[Sample], str]]
"""What to reply to a sample, by the cheat's name."""


def _python(body: str) -> Callable[[Sample], str]:
    """A reply with a program that defines the sample's function with the given body."""
    return lambda sample: f"```python\ndef {sample.data['entry_point']}(*args):\n{body}\n```"


PYTHON: Final[Cheats] = {
    "returns what claims to equal everything": lambda sample: (
        "```python\nclass Equal:\n    __hash__ = None\n    def __eq__(self, other):\n        return True\n"
        f"    def __ne__(self, other):\n        return False\n\ndef {sample.data['entry_point']}(*args):\n"
        "    return Equal()\n```"
    ),
    "ends its process": _python("    import os\n    os._exit(0)\n    return None"),
    "replaces equality": _python(
        "    import builtins, sys\n    sys.modules.clear()\n"
        "    builtins.all = builtins.any = lambda *_: True\n    return args"
    ),
}
"""Of skills that want a Python function."""
SHELL: Final[Cheats] = {"finishes at once": lambda _: "Act: finish"}
"""Of the generated shell tasks."""
AGENTBENCH_SHELL: Final[Cheats] = {
    "finishes at once": lambda _: "Think: Done.\n\nAct: finish",
    "answers nothing": lambda _: "Think: Done.\n\nAct: answer()",
}
"""Of AgentBench's shell tasks."""
DATABASE: Final[Cheats] = {"answers nothing": lambda _: "Action: Answer\nFinal Answer: []"}
"""Of database tasks."""
