"""What the skills of published benchmarks share: where the data lies, its hash, the halves, what is left out.

A benchmark is split in two halves, one that the search optimises and one that is reported. A sample's half is drawn
from a hash of (seed, stratum, content) and of nothing else, so it stays where it is when samples are added, removed
or reordered, two samples with the same content are in the same half, and no setting can put a sample in both. The
balance of the halves holds in expectation, stratum by stratum; `strata` counts it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cycleqd.faults import MendableFault
from cycleqd.sandbox import Sandboxes
from cycleqd.skills.protocol import Message, Sample, Skill, SkillSession, Skipped, Split

DATA_VARIABLE: Final = "CYCLEQD_DATA_DIR"
"""Environment variable that names a folder with offline copies of all benchmarks' data."""
TURNS: Final = "{turns}"
"""In our instructions: how many turns there are."""
_NUMBERS: Final = (
    *("no", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
EXCLUDED: Final = "excluded by the configuration"
MOST_PROMPT_BYTES: Final = 256 * 1024
MOST_EXCLUSION_BYTES: Final = 4 * 1024 * 1024
"""An audit names every sample with a reason; benchmarks have thousands."""
_LONGEST_ID: Final = 200
_ID_END: Final = re.compile(r"/[\w.-]{1,40}\Z")


class DataUnavailable(MendableFault, ValueError):
    """A benchmark's data, or a file that goes with it, is missing, unusable or too small; the text names it."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a benchmark's samples come from, and how they are to be used.

    Attributes:
        data: File or folder; None looks in the folder that `DATA_VARIABLE` names, then downloads.
        prompt_file: A text in place of our instructions; None is ours.
        excluded: Ids of samples to leave out.
        split_seed: Draws the halves, at least 0.
        max_turns: Replies that a model may give to one problem, at least 1; None is the skill's default. For skills
            of several turns only.
    """

    data: str | None = None
    prompt_file: str | None = None
    excluded: frozenset[str] = field(default_factory=frozenset)
    split_seed: int = 0
    max_turns: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a benchmark before it has a split.

    Attributes:
        id: Unique within the benchmark, e.g. ``Mbpp/2``.
        stratum: Its kind; both halves get about half of each.
        content: What makes it this problem (usually its text); decides its half.
        data: JSON-able facts for the skill.
    """

    id: str
    stratum: str
    content: str
    data: Mapping[str, Any]


def locate(
    data: str | None, patterns: Sequence[str], *, skill: str, download: Callable[[], Path] | None = None
) -> list[Path]:
    """Finds a benchmark's files.

    Args:
        data: The setting: a file, which is taken as it is, or a folder.
        patterns: Globs below the folder; the first that matches anything wins.
        skill: For messages.
        download: Fetches the data and returns the file; called only when neither the setting nor the environment
            names a place that has it.

    Returns:
        At least one existing path, sorted.

    Raises:
        DataUnavailable: There is no such file, and it can't be downloaded.
    """
    if data is not None:
        given = Path(data).expanduser()
        if given.is_file():
            return [given]
        if found := _matches(given, patterns):
            return found
        raise DataUnavailable(f"{skill}: data is {data}, which is neither a file nor a folder with {_words(patterns)}")
    folder = os.environ.get(DATA_VARIABLE)
    if folder and (found := _matches(Path(folder).expanduser(), patterns)):
        return found
    where = f"{DATA_VARIABLE} ({folder}) has no {_words(patterns)}" if folder else f"{DATA_VARIABLE} is not set"
    mend = "set the skill's `data` (on the command line: --data) to a local copy"
    if download is None:
        raise DataUnavailable(f"{skill}: {where}, and this data can't be downloaded: {mend}")
    try:
        return [download()]
    except Exception as error:  # whatever a download library raises
        raise DataUnavailable(f"{skill}: {where}, and the download failed ({error}): {mend}") from error


def files_sha256(paths: Sequence[Path]) -> str:
    """SHA-256 of a file's bytes; of several files, the hash over their names and hashes."""
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    if len(digests) == 1:
        return digests[0]
    listing = "".join(f"{digest}  {path.name}\n" for digest, path in zip(digests, paths, strict=True))
    return hashlib.sha256(listing.encode()).hexdigest()


def prompt_text(prompt_file: str | None, ours: Path, *, turns: int = 1) -> tuple[str, str]:
    """The instructions to show, and how results name them: ``ours`` or the hash of the user's file.

    Args:
        prompt_file: The user's file, which is taken word for word; None for ours.
        ours: Our text.
        turns: What stands where our text has `TURNS`.

    Raises:
        DataUnavailable: The user's file can't be read.
    """
    if prompt_file is None:
        number = _NUMBERS[turns] if turns < len(_NUMBERS) else str(turns)
        return ours.read_text(encoding="utf-8").replace(TURNS, number), "ours"
    try:
        text = _small_text(Path(prompt_file), MOST_PROMPT_BYTES)
    except (OSError, ValueError) as error:
        raise DataUnavailable(f"prompt_file {prompt_file} can't be read: {_why(error)}") from None
    return text, f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def read_exclusions(path: Path) -> tuple[str, ...]:
    """The ids in a text file (one a line, ``#`` starts a comment) or in an audit's JSON (its broken and cheated ones).

    Raises:
        DataUnavailable: The file can't be read, is too large, or holds something else. The text repeats nothing of it:
            whoever may name a file need not be one who may read it.
    """
    try:
        text = _small_text(path, MOST_EXCLUSION_BYTES)
        if text.lstrip().startswith("{"):
            audit = json.loads(text)
            found = [entry["id"] for entry in (*audit["broken"], *audit.get("cheated", ()))]
        else:
            found = [line.partition("#")[0].strip() for line in text.splitlines()]
        if not all(isinstance(name, str) and len(name) <= _LONGEST_ID for name in found):
            raise ValueError(f"an id is a text of at most {_LONGEST_ID} characters")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataUnavailable(
            f"exclude_file {path}: expected ids, one a line, or what 'cycleqd audit --json' writes ({_why(error)})"
        ) from None
    return tuple(dict.fromkeys(name for name in found if name))


def _small_text(path: Path, most: int) -> str:
    """The text of an ordinary file.

    Raises:
        OSError: It can't be read.
        ValueError: It is none, or has more than `most` bytes, or is no UTF-8.
    """
    path = path.expanduser()
    if path.exists() and not path.is_file():  # a device or a pipe may never end
        raise ValueError("not an ordinary file")
    with path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"larger than {most // 1024} KiB")
    return content.decode("utf-8-sig")


def _why(error: Exception) -> str:
    """What is wrong with a file, without any of its content, which messages of decoders may repeat."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error) if type(error) is ValueError else type(error).__name__


def exclusions(ids: Iterable[str], file: str | Path | None) -> frozenset[str]:
    """Ids to leave out: those given, and those that a file lists (see `read_exclusions`)."""
    return frozenset((*ids, *(read_exclusions(Path(file)) if file else ())))


def without_excluded(problems: Iterable[Problem], excluded: frozenset[str]) -> tuple[list[Problem], list[Skipped]]:
    """Leaves problems out, and says which.

    Raises:
        DataUnavailable: An id is to be left out that no problem has, or two problems share an id.
    """
    every = list(problems)
    twice = [name for name, count in Counter(problem.id for problem in every).items() if count > 1]
    if twice:
        raise DataUnavailable(f"the data has more than one sample of id {', '.join(twice[:5])}")
    unknown = sorted(excluded - {problem.id for problem in every})
    if unknown:
        raise DataUnavailable(_unknown(unknown, every))
    kept = [problem for problem in every if problem.id not in excluded]
    return kept, [Skipped(problem.id, EXCLUDED) for problem in every if problem.id in excluded]


def _unknown(unknown: Sequence[str], problems: Sequence[Problem]) -> str:
    """Says that there are no samples of such ids; shows those that look like ids of this data, and only counts others.

    They may be the lines of a file that is no list of ids, such as one with passwords.
    """
    folders = {problem.id.rpartition("/")[0] for problem in problems} - {""}
    shown = [name for name in unknown if name.rpartition("/")[0] in folders and _ID_END.search(name)][:5]
    text = f"exclude or exclude_file names {len(unknown)} samples that the data does not have"
    example = f" (ids are such as {problems[0].id})" if problems else ""
    return f"{text}: {', '.join(shown)}" if shown else f"{text}{example}"


def half_of(seed: int, stratum: str, content: str) -> Split:
    """The half that a sample belongs to."""
    return "optimization" if _digest(seed, stratum, content)[0] % 2 == 0 else "test"


def halves(
    skill: str, problems: Sequence[Problem], *, counts: Mapping[Split, int | None], seed: int
) -> dict[Split, tuple[Sample, ...]]:
    """Divides problems into the two halves.

    Args:
        skill: The skill's name.
        problems: All usable problems, in any order.
        counts: Samples per split; None or absent is the whole half. A smaller one is the beginning of a larger one.
        seed: `Source.split_seed`.

    Returns:
        Samples by split, each in an order drawn from their content; train is empty.

    Raises:
        DataUnavailable: A half has fewer samples than asked for.
        ValueError: Train samples are asked for.
    """
    if counts.get("train"):
        raise ValueError(f"{skill} has no train split: its samples score, they are never trained on")
    divided: dict[Split, tuple[Sample, ...]] = {"train": ()}
    ordered = sorted(problems, key=lambda problem: (_digest(seed, problem.stratum, problem.content)[1:], problem.id))
    for split in ("optimization", "test"):
        members = [problem for problem in ordered if half_of(seed, problem.stratum, problem.content) == split]
        count = counts.get(split)
        if count is not None and count > len(members):
            raise DataUnavailable(f"{skill}: {count} {split} samples were asked for, this data has {len(members)}")
        divided[split] = tuple(
            Sample(problem.id, skill, split, problem.stratum, problem.data) for problem in members[:count]
        )
    return divided


class Whole:
    """A skill with both its halves in each of its splits, for comparison with figures on the whole benchmark.

    Args:
        skill: The skill; built without counts it has all samples.
    """

    def __init__(self, skill: Skill) -> None:
        self._skill = skill
        self.name = skill.name
        self.max_turns = skill.max_turns
        self.max_new_tokens = skill.max_new_tokens
        self.stop = skill.stop
        self.origin = skill.origin
        self.images = skill.images

    def samples(self, split: Split) -> Sequence[Sample]:
        """The samples of both halves; which split is asked for does not matter."""
        return (*self._skill.samples("optimization"), *self._skill.samples("test"))

    def initial_messages(self, sample: Sample) -> list[Message]:
        """As the skill's."""
        return self._skill.initial_messages(sample)

    def gold_replies(self, sample: Sample) -> list[str]:
        """As the skill's.

        Raises:
            NoReference: The data does not say how to solve it.
        """
        return self._skill.gold_replies(sample)

    def session(self, sandboxes: Sandboxes) -> AbstractContextManager[SkillSession]:
        """As the skill's."""
        return self._skill.session(sandboxes)


def strata(skill: Skill) -> dict[str, dict[Split, int]]:
    """Samples per stratum and split, which balance in expectation only."""
    table: dict[str, dict[Split, int]] = {}
    for split in ("optimization", "test"):
        for sample in skill.samples(split):
            row = table.setdefault(sample.template, {"optimization": 0, "test": 0})
            row[split] += 1
    return dict(sorted(table.items()))


def _digest(seed: int, stratum: str, content: str) -> bytes:
    return hashlib.sha256(json.dumps([seed, stratum, content]).encode()).digest()


def _matches(folder: Path, patterns: Sequence[str]) -> list[Path]:
    for pattern in patterns:
        if found := sorted(folder.glob(pattern)):
            return found
    return []


def _words(patterns: Sequence[str]) -> str:
    return " or ".join(patterns)
