"""Decontamination: training text that shares a run of words with an evaluation sample is found and left out.

Texts are compared as lower-case words (letters, digits and underscores), so that layout and punctuation do not
hide a copy. Following Brown et al. 2020, Language Models are Few-Shot Learners, appendix C, a shared n-gram counts
as contamination; n is the caller's, 13 there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Final

from cycleqd.skills.protocol import NoReference, Skill, Split

SHORTEST: Final = 5
"""Words below which an evaluation text is too common to be looked for (``return True``)."""
_EVALUATED: Final[tuple[Split, ...]] = ("optimization", "test")
_SHARED: Final = 0.02
"""Words that more than this share of the samples (and more than two) have in common are a suite's own phrases,
such as instructions. Ours."""
_WORD: Final = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words by which texts are compared."""
    return _WORD.findall(text.casefold())


def evaluation_texts(skills: Iterable[Skill]) -> Iterator[list[str]]:
    """What must not be trained on: each sample's question and solution, of both splits that score models."""
    for skill in skills:
        for split in _EVALUATED:
            for sample in skill.samples(split):
                question = skill.initial_messages(sample)[-1]["content"]
                try:
                    yield [question, *skill.gold_replies(sample)]
                except NoReference:
                    yield [question]


class EvaluationNgrams:
    """The word n-grams of evaluation samples.

    What a suite says in many samples (its instructions) is taken out. Where fewer than n words (at least `SHORTEST`)
    of a question are its own, they count as one shorter n-gram. A short solution does not: it may be no more than
    the form of an answer and a number.

    Args:
        samples: The texts of each sample, the question first.
        n: Words that must agree, at least `SHORTEST`.
    """

    def __init__(self, samples: Iterable[Sequence[str]], n: int) -> None:
        if n < SHORTEST:
            raise ValueError(f"n must be at least {SHORTEST}, got {n}")
        texts = [[words(text) for text in sample] for sample in samples]
        counts = Counter(gram for sample in texts for gram in {gram for text in sample for gram in _grams(text, n)})
        shared = {gram for gram, count in counts.items() if count > max(2, _SHARED * len(texts))}
        # Runs, not texts: an n-gram that ends in the instructions would be found wherever others use the same ones.
        own = [[list(_own(text, shared, n)) for text in sample] for sample in texts]
        self._grams = {gram for sample in own for runs in sample for run in runs for gram in _grams(run, n)}
        self._grams |= {run for sample in own for run in sample[0] if len(run) < n}
        self._sizes = sorted({len(gram) for gram in self._grams})
        # Most positions of a text begin no n-gram; asking for two words is cheaper than building n.
        self._starts = {gram[:2] for gram in self._grams}

    def __len__(self) -> int:
        return len(self._grams)

    def find(self, text: str) -> str | None:
        """The first words of `text` that an evaluation sample has, too; None where there are none."""
        found = words(text)
        for start in range(len(found) - SHORTEST + 1):
            if (found[start], found[start + 1]) in self._starts:
                for size in self._sizes:
                    if (gram := tuple(found[start : start + size])) in self._grams:
                        return " ".join(gram)
        return None


def _grams(found: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    for start in range(len(found) - n + 1):
        yield tuple(found[start : start + n])


def _own(found: Sequence[str], shared: Container[tuple[str, ...]], n: int) -> Iterator[tuple[str, ...]]:
    """The runs of a text's words, at least `SHORTEST`, that stand in no n-gram of the suite."""
    starts = [start for start, gram in enumerate(_grams(found, n)) if gram in shared]
    end = 0
    for start in [*starts, len(found)]:
        if start - end >= SHORTEST:
            yield tuple(found[end:start])
        end = max(end, start + n)
