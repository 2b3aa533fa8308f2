"""Files, names and numbers that os problems are made of, and the drafts made from them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from cycleqd.skills.suites.generation import Draft, between, pick, pick_some

NOUNS = (
    "alpha", "archive", "assets", "backup", "batch", "billing", "books", "builds", "cargo", "charts", "clients",
    "depot", "drafts", "exports", "farm", "garden", "images", "inbox", "kitchen", "lab", "ledger", "library", "mail",
    "maps", "music", "notes", "orders", "photos", "projects", "reports", "sales", "shop", "stock", "tickets", "tools",
)  # fmt: skip
STEMS = (
    "april", "budget", "cities", "daily", "errors", "final", "fruit", "guests", "hosts", "index", "items", "july",
    "list", "main", "members", "names", "old", "plan", "prices", "queue", "results", "scores", "summary", "survey",
    "team", "todo", "users", "visits", "words", "zones",
)  # fmt: skip
EXTENSIONS = ("txt", "log", "csv", "md", "conf", "dat", "json", "tmp", "bak", "sh")
WORDS = (
    "amber", "birch", "cloud", "daisy", "eagle", "flint", "ginger", "honey", "iris", "jade", "kelp", "lilac", "maple",
    "nickel", "onyx", "poppy", "quartz", "raven", "saffron", "topaz", "velvet", "willow", "yarrow", "zinc",
)  # fmt: skip
_ROOTS = ("/home", "/root", "/tmp")  # noqa: S108 - inside a container


def directory(rng: np.random.Generator) -> str:
    """An absolute directory, e.g. ``/home/billing``."""
    return f"{pick(rng, _ROOTS)}/{pick(rng, NOUNS)}"


def file_in(rng: np.random.Generator, folder: str, extension: str = "txt") -> str:
    """An absolute file name, e.g. ``/home/billing/april.txt``."""
    return f"{folder}/{pick(rng, STEMS)}.{extension}"


def names(rng: np.random.Generator, count: int, extension: str) -> list[str]:
    """`count` different file names with an extension."""
    return [f"{stem}.{extension}" for stem in pick_some(rng, STEMS, count)]


def lines(rng: np.random.Generator, count: int, words: int = 2) -> list[str]:
    """`count` lines of a few words each."""
    return [" ".join(pick_some(rng, WORDS, words)) for _ in range(count)]


def distinct_numbers(rng: np.random.Generator, count: int, low: int = 2, high: int = 999) -> list[int]:
    """`count` different integers in random order."""
    chosen: set[int] = set()
    while len(chosen) < count:
        chosen.add(between(rng, low, high))
    ordered = sorted(chosen)
    return [ordered[int(i)] for i in rng.permutation(count)]


def setup_script(files: Mapping[str, str | Sequence[str]], *, directories: Sequence[str] = ()) -> str:
    """Shell commands that make directories and files.

    Args:
        files: Absolute name to content; lines (each gets a newline) or the text itself.
        directories: Further directories to make.
    """
    parents = sorted({str(PurePosixPath(name).parent) for name in files} | set(directories))
    script = ["mkdir -p " + " ".join(map(shlex.quote, parents))]
    for name, content in files.items():
        text = content if isinstance(content, str) else "".join(f"{line}\n" for line in content)
        script.append(f"printf %s {shlex.quote(text)} > {shlex.quote(name)}")
    return "\n".join(script)


def question(task: str, *, setup: str, command: str, answer: str | int) -> Draft:
    """A problem whose answer is given in words.

    Args:
        task: The question.
        setup: Script that runs before the episode.
        command: Gold command; prints the answer.
        answer: What must be answered.
    """
    return Draft(task, {"kind": "question", "setup": setup, "gold": command, "answer": str(answer)})


def change(task: str, *, setup: str, command: str, probe: str, expected: str) -> Draft:
    """A problem that asks for a change of the system.

    Args:
        task: What to do.
        setup: Script that runs before the episode.
        command: Gold command.
        probe: Command that shows, after the episode, everything that the change may touch.
        expected: Output of the probe when the problem is solved.
    """
    return Draft(task, {"kind": "change", "setup": setup, "gold": command, "probe": probe, "expected": expected})
