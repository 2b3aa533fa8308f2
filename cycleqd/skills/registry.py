"""The table of skills: which there are, and what is known of each before its class is loaded.

A row comes from `BUILT_IN`, or from an installed package with an entry point in the group ``cycleqd.skills``. An entry
point names a class, and so does ``module:Class``, which any configuration may give in place of a name. Such a class
says of itself what a row says of a built-in one, as attributes:

* ``name``: the skill's name; an entry point must have the same;
* ``kind``: ``suite`` (the default) or ``benchmark``, which decides how it is built (`cycleqd.skills.building`);
* ``images``: the sandbox images that its episodes run in;
* ``cheats``: replies that deserve no point, by name, each a function of the sample (default: none);
* ``usual_data``: what its expert usually learns from, if not from gold episodes (default: nothing);
* ``takes_turns``: whether the number of turns is a setting (default: no).

The rest of a skill is `cycleqd.skills.protocol.Skill`. Nothing is loaded before a skill is asked for.
``infra/build_images.py`` reads this module by its path, before anything is installed: to be loaded it needs the
standard library and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import reduce
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import Any, Final, Literal, NamedTuple

GROUP: Final = "cycleqd.skills"
"""The entry points' group."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""A skill's name is part of keys, ids and labels."""
_CLASS: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_OWN_FILE: Final = "jsonl:"
"""Begins the name of a user's file where a run has several."""
_INSPECT: Final = "inspect:"
"""Begins the name of a task of inspect_ai."""
_MASKS: Final = "segmentation:"
"""Begins the name of a skill that images are segmented for."""
_METHODS: Final = ("samples", "initial_messages", "gold_replies", "session")


class SkillUnavailable(ValueError):
    """A skill can't be had: its name is unknown or given twice, or its class does not load or is no skill."""


class SkillRow(NamedTuple):
    """What is known of a skill before its class is loaded.

    Attributes:
        name: Its name, in records, keys and ids, whatever a configuration calls it.
        target: Its class, as ``module:Class``.
        source: Where it is from: the published work, or the package that gives it.
        kind: A ``suite`` makes its samples from a seed, a ``benchmark`` reads them from a file and has none to learn
            from, a ``dataset`` reads them from a file and has a train split.
        images: The sandbox images that its episodes run in.
        cheats: Replies that deserve no point, for the audit: a mapping of name to function, as ``module:NAME``.
            Empty: it has none.
        usual_data: Sources, as in ``experts.data``, that its expert usually learns from. Empty: gold episodes.
        takes_turns: Whether the number of turns is a setting.
        model: The kind of model that it measures (``model.kind``).
        sees: Whether its episodes show images, for which a chat model needs ``model.vision``.
    """

    name: str
    target: str
    source: str
    kind: Literal["suite", "benchmark", "dataset"]
    images: tuple[str, ...]
    cheats: str = ""
    usual_data: tuple[Mapping[str, str], ...] = ()
    takes_turns: bool = False
    model: Literal["chat", "segmentation"] = "chat"
    sees: bool = False


_ROWS: Final = (
    SkillRow(
        "coding",
        "cycleqd.skills.suites.coding:CodingSkill",
        "problems like MBPP's (Austin 2021, https://arxiv.org/abs/2108.07732), generated here",
        "suite",
        ("python",),
        "cycleqd.skills.cheats:PYTHON",
    ),
    SkillRow(
        "os",
        "cycleqd.skills.suites.os_shell:OsSkill",
        "shell tasks like AgentBench's (Liu 2023, https://arxiv.org/abs/2308.03688), generated here",
        "suite",
        ("shell",),
        "cycleqd.skills.cheats:SHELL",
    ),
    SkillRow(
        "db",
        "cycleqd.skills.suites.db:DbSkill",
        "database tasks like AgentBench's (Liu 2023, https://arxiv.org/abs/2308.03688), generated here",
        "suite",
        ("mariadb",),
        "cycleqd.skills.cheats:DATABASE",
    ),
    # The usual data of benchmarks is what the CycleQD paper trained on (arXiv 2410.14735).
    SkillRow(
        "mbpp_plus",
        "cycleqd.skills.benchmarks.mbpp_plus.skill:MbppPlusSkill",
        "MBPP+ (Liu 2023, https://arxiv.org/abs/2305.01210), through evalplus",
        "benchmark",
        ("evalplus",),
        "cycleqd.skills.cheats:PYTHON",
        ({"recipe": "magicoder_evol"}, {"recipe": "magicoder_oss"}),
    ),
    SkillRow(
        "agentbench_db",
        "cycleqd.skills.benchmarks.agentbench_db.skill:AgentBenchDbSkill",
        "AgentBench's database tasks (Liu 2023, https://arxiv.org/abs/2308.03688)",
        "benchmark",
        ("mysql",),
        "cycleqd.skills.cheats:DATABASE",
        ({"recipe": "agent_flan", "subset": "db"},),
        takes_turns=True,
    ),
    SkillRow(
        "agentbench_os",
        "cycleqd.skills.benchmarks.agentbench_os.skill:AgentBenchOsSkill",
        "AgentBench's shell tasks (Liu 2023, https://arxiv.org/abs/2308.03688)",
        "benchmark",
        ("agentbench-default", "agentbench-packages", "agentbench-ubuntu"),
        "cycleqd.skills.cheats:AGENTBENCH_SHELL",
        ({"recipe": "agent_flan", "subset": "os"},),
        takes_turns=True,
    ),
    SkillRow(
        "jsonl",
        "cycleqd.skills.benchmarks.jsonl.skill:JsonlSkill",
        "a file of one's own, with a prompt, an answer and a scorer a line",
        "benchmark",
        ("python",),
        "cycleqd.skills.benchmarks.jsonl.skill:CHEATS",
    ),
    SkillRow(
        "vqa",
        "cycleqd.skills.vision_questions.skill:EasyVqaSkill",
        "questions about drawn shapes, from the package easy-vqa (Zhou 2019, https://github.com/vzhou842/easy-VQA)",
        "dataset",
        (),
        "cycleqd.skills.vision_questions.skill:CHEATS",
        sees=True,
    ),
    SkillRow(
        "textvqa",
        "cycleqd.skills.vision_questions.skill:TextVqaSkill",
        "TextVQA (Singh 2019, https://arxiv.org/abs/1904.08920)",
        "dataset",
        (),
        "cycleqd.skills.vision_questions.skill:CHEATS",
        sees=True,
    ),
)
BUILT_IN: Final[Mapping[str, SkillRow]] = {row.name: row for row in _ROWS}
"""The skills of this package, by name."""


INSPECT: Final = SkillRow(
    "inspect",
    "cycleqd.skills.benchmarks.inspect_task.skill:InspectSkill",
    "a task of inspect_ai (https://inspect.aisi.org.uk)",
    "benchmark",
    ("shell",),
    takes_turns=True,
)
"""A task of inspect_ai, which a configuration names ``inspect:NAME``."""


def _segmentation(name: str, source: str, kind: Literal["suite", "dataset"]) -> SkillRow:
    target = "GeneratedSegmentation" if kind == "suite" else "PublishedSegmentation"
    return SkillRow(name, f"cycleqd.skills.segmentation.skill:{target}", source, kind, (), model="segmentation")


_DRAWN: Final = "images drawn here, like those of CycleQD's table 4 (https://arxiv.org/abs/2410.14735)"
_OWN_IMAGES: Final = "a folder of one's own, with images and masks of three splits"
SEGMENTATION: Final[Mapping[str, SkillRow]] = {
    f"{_MASKS}{row.name}": row
    for row in (
        *(_segmentation(name, _DRAWN, "suite") for name in ("camouflage", "polyp", "skin", "leaf")),
        _segmentation("cod10k", "COD10K (Fan 2020, https://doi.org/10.1109/CVPR42600.2020.00285)", "dataset"),
        _segmentation("camo", "CAMO (Le 2019, https://doi.org/10.1016/j.cviu.2019.04.006)", "dataset"),
        _segmentation("chameleon", "CHAMELEON (Skurowski 2018)", "dataset"),
        _segmentation("kvasir_seg", "Kvasir-SEG (Jha 2020, https://arxiv.org/abs/1911.07069)", "dataset"),
        _segmentation("cvc_clinicdb", "CVC-ClinicDB (Bernal 2015)", "dataset"),
        _segmentation("isic2017", "ISIC 2017 (Codella 2018, https://arxiv.org/abs/1710.05006)", "dataset"),
        _segmentation("leaf_disease", "Leaf Disease Segmentation (Rath 2023, Kaggle)", "dataset"),
        *(_segmentation(name, _OWN_IMAGES, "dataset") for name in ("photos_polyp", "photos_skin", "photos_leaf")),
    )
}
"""The skills of segmentation, by how a configuration names them; in records they go without ``segmentation:``."""


def names() -> tuple[str, ...]:
    """The names of all skills: the built-in ones, then those of installed packages."""
    return tuple(dict.fromkeys((*BUILT_IN, *sorted(entry.name for entry in _installed()))))


def find(name: str) -> SkillRow:
    """The row of a skill. A built-in skill's class is not loaded, another one's is.

    Args:
        name: One of `names`, of `SEGMENTATION`, a class as ``module:Class``, or a user's file under a name of its own,
            ``jsonl:NAME``, or a task of inspect_ai, ``inspect:NAME``.

    Raises:
        SkillUnavailable: There is no such skill, or more than one, or it can't be loaded, or the class is no skill.
    """
    for prefix, row in ((_OWN_FILE, BUILT_IN["jsonl"]), (_INSPECT, INSPECT)):
        if name.startswith(prefix):
            return _aliased(name, prefix, row)
    if name.startswith(_MASKS):
        if name not in SEGMENTATION:
            raise SkillUnavailable(f"no skill is called {name!r}; there are {', '.join(SEGMENTATION)}")
        return SEGMENTATION[name]
    if ":" in name:
        return _own(name)
    givers = _givers(name)
    if len(givers) > 1:
        who = " and by ".join(giver.who for giver in givers)
        raise SkillUnavailable(f"the skill {name!r} is given by {who}: uninstall all packages but one")
    if not givers:
        known = ", ".join(names())
        raise SkillUnavailable(f"no skill is called {name!r}; there are {known}, and classes written as module:Class")
    return BUILT_IN[name] if name in BUILT_IN else _of_package(name, givers[0])


def _aliased(name: str, prefix: str, row: SkillRow) -> SkillRow:
    """The row of a user's own samples under a name of their own: ``jsonl:trivia`` is the skill ``trivia``."""
    alias = name.removeprefix(prefix)
    if not _NAME.fullmatch(alias):
        raise SkillUnavailable(
            f"{name!r}: a name has lower-case letters, digits and _, at most 40, as in {prefix}trivia"
        )
    if givers := _givers(alias):
        raise SkillUnavailable(f"{name!r}: a skill called {alias!r} is given by {givers[0].who}: choose another name")
    return row._replace(name=alias)


def load(target: str) -> Any:
    """The object that ``module:NAME`` or ``module:NAME.ATTRIBUTE`` names; raises what importing it raises."""
    module, _, path = target.partition(":")
    return reduce(getattr, path.split("."), import_module(module))


def _installed() -> tuple[EntryPoint, ...]:
    from cycleqd.seams.installed import offered  # late: who builds images has this module alone

    return offered(GROUP)


class _Giver(NamedTuple):
    """Who gives a skill, in words, and its class."""

    who: str
    target: str


def _givers(name: str) -> list[_Giver]:
    found = [_Giver("cycleqd itself", BUILT_IN[name].target)] if name in BUILT_IN else []
    return found + [_Giver(_package(entry), entry.value) for entry in _installed() if entry.name == name]


def _package(entry: EntryPoint) -> str:
    return f"the package {entry.dist.name} {entry.dist.version}" if entry.dist else "a package without a name"


def _of_package(name: str, giver: _Giver) -> SkillRow:
    row = _row(giver.target, f"the skill {name!r} of {giver.who} ({giver.target})", giver.who)
    if row.name != name:
        raise SkillUnavailable(
            f"{giver.who} gives {giver.target} as the skill {name!r}, but it is called {row.name!r}"
        )
    return row


def _own(target: str) -> SkillRow:
    """The row of a class that a configuration names itself."""
    if not _CLASS.fullmatch(target):
        raise SkillUnavailable(f"{target!r} is no class: expected module:Class, e.g. my_skills.sums:SumsSkill")
    row = _row(target, f"the skill {target}", "the class that the configuration names")
    others = [giver.who for giver in _givers(row.name) if giver.target != target]
    if others:
        raise SkillUnavailable(
            f"{target} is called {row.name!r}, and so is a skill of {' and of '.join(others)}: choose another name"
        )
    return BUILT_IN.get(row.name, row)


def _row(target: str, what: str, source: str) -> SkillRow:
    """What a class says of itself.

    Args:
        target: The class.
        what: The skill, for messages.
        source: Where it is from.

    Raises:
        SkillUnavailable: It does not load, or what it says can't be.
    """
    try:
        found = load(target)
    except (Exception, SystemExit) as error:  # a module may raise anything
        raise SkillUnavailable(f"{what} can't be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(found, type):
        raise SkillUnavailable(f"{what} is no class of skills: it is a {type(found).__name__}")
    if missing := [method for method in _METHODS if not hasattr(found, method)]:
        raise SkillUnavailable(f"{what} is no class of skills: it has no {', '.join(missing)}")
    name, images = getattr(found, "name", None), getattr(found, "images", None)
    kind: Literal["suite", "benchmark"] = getattr(found, "kind", "suite")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SkillUnavailable(f"{what} needs a name of lower-case letters, digits and _, at most 40, got {name!r}")
    if kind not in ("suite", "benchmark"):
        raise SkillUnavailable(f"{what} must be of kind 'suite' or 'benchmark', got {kind!r}")
    if not isinstance(images, tuple) or not all(isinstance(image, str) for image in images):
        raise SkillUnavailable(f"{what} must name its images in a tuple, which may be empty, got {images!r}")
    return SkillRow(
        name,
        target,
        source,
        kind,
        images,
        f"{target}.cheats" if hasattr(found, "cheats") else "",
        tuple(getattr(found, "usual_data", ())),
        bool(getattr(found, "takes_turns", False)),
    )
