"""The arithmetic skill: say the result of a small sum, as a number and nothing else.

The problems come from templates (`cycleqd.skills.suites.generation`): the text of a problem decides its split, so no
two splits share one, and the test split also holds templates that no other split has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np

from cycleqd.sandbox import Sandboxes
from cycleqd.skills.protocol import GENERATED, NOTHING_BESIDE, Message, Sample, SkillSession, Split, Verdict
from cycleqd.skills.suites.generation import SPLITS, Draft, between, draw_split, templates_of

SYSTEM_PROMPT: Final = "Answer with the number alone."
_ANSWER: Final = re.compile(r"\s*(-?\d{1,9})\.?\s*")


def add(rng: np.random.Generator) -> Draft:
    """The sum of two numbers."""
    a, b = between(rng, 2, 60), between(rng, 2, 60)
    return Draft(f"What is {a} plus {b}?", {"answer": a + b})


def subtract(rng: np.random.Generator) -> Draft:
    """The difference of two numbers; always above zero."""
    b, left = between(rng, 2, 60), between(rng, 1, 60)
    return Draft(f"What is {b + left} minus {b}?", {"answer": left})


def buy(rng: np.random.Generator) -> Draft:
    """The price of several things."""
    count, price = between(rng, 2, 12), between(rng, 2, 30)
    return Draft(f"One book costs {price} coins. How many coins do {count} books cost?", {"answer": count * price})


def add_three(rng: np.random.Generator) -> Draft:
    """The sum of three numbers; only the test split asks for it."""
    a, b, c = (between(rng, 2, 30) for _ in range(3))
    return Draft(f"What is {a} plus {b} plus {c}?", {"answer": a + b + c})


TEMPLATES: Final = (*templates_of([add, subtract, buy]), *templates_of([add_three], held_out=True))


class ArithmeticEpisode:
    """One reply, one verdict."""

    def __init__(self, sample: Sample, messages: list[Message]) -> None:
        self.sample = sample
        self.messages = messages
        self.failed = NOTHING_BESIDE
        self._reply = ""

    def act(self, reply: str) -> bool:
        """Takes the reply; the episode is over."""
        self.messages.append({"role": "assistant", "content": reply})
        self._reply = reply
        return True

    def judge(self) -> Verdict:
        """The reply must be the number, with or without a full stop."""
        match, answer = _ANSWER.fullmatch(self._reply), self.sample.data["answer"]
        if match is None:
            return Verdict(0.0, f"no number alone: {self._reply[:80]!r}")
        if int(match[1]) != answer:
            return Verdict(0.0, f"answered {match[1]}, expected {answer}")
        return Verdict(1.0, "the answer is right")

    def close(self) -> None:
        """Nothing is held."""


class ArithmeticSession:
    """Episodes that share nothing."""

    def __init__(self, skill: ArithmeticSkill) -> None:
        self._skill = skill

    def start(self, sample: Sample) -> ArithmeticEpisode:
        """Opens an episode; never blocks."""
        return ArithmeticEpisode(sample, self._skill.initial_messages(sample))


class ArithmeticSkill:
    """The suite.

    Args:
        seed: Seed of the suite, at least 0.
        counts: Samples per split; a split that is left out is empty.
    """

    name = "arithmetic"
    # What the table of skills wants to know; `cycleqd.skills.registry` lists it all.
    kind = "suite"
    images: tuple[str, ...] = ()
    cheats: Mapping[str, Callable[[Sample], str]] = {
        "says every number": lambda _: " ".join(map(str, range(400))),
        "repeats the question": lambda sample: str(sample.data["task"]),
    }
    # What every skill has.
    max_turns = 1
    max_new_tokens = 8
    stop: tuple[str, ...] = ("\n",)
    origin = GENERATED

    def __init__(self, *, seed: int, counts: Mapping[Split, int]) -> None:
        self._samples: dict[Split, tuple[Sample, ...]] = {
            split: draw_split(self.name, TEMPLATES, split, seed=seed, count=counts.get(split, 0)) for split in SPLITS
        }

    def samples(self, split: Split) -> Sequence[Sample]:
        """The samples of a split."""
        return self._samples[split]

    def initial_messages(self, sample: Sample) -> list[Message]:
        """The question."""
        return [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": sample.data["task"]}]

    def gold_replies(self, sample: Sample) -> list[str]:
        """The number."""
        return [str(sample.data["answer"])]

    @contextmanager
    def session(self, sandboxes: Sandboxes) -> Iterator[SkillSession]:
        """Opens nothing: no container is needed."""
        yield ArithmeticSession(self)
