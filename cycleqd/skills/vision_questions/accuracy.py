"""The accuracy of an answer beside those of several people, as VQA and TextVQA define it.

Antol et al. 2015 (https://arxiv.org/abs/1505.00468), Singh et al. 2019 (https://arxiv.org/abs/1904.08920), and the
description of the evaluation at https://visualqa.org/evaluation.html.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

ENOUGH: Final = 3
"""So many people who say the same make an answer fully right."""

_ARTICLES: Final = frozenset({"a", "an", "the"})
_NUMBERS: Final = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
# Only those that are no other word without their apostrophe: "its", "well" and "were" stay as they are.
_CONTRACTED: Final = """
ain't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't isn't mightn't mustn't needn't oughtn't shan't
shouldn't wasn't weren't won't wouldn't could've might've must've should've would've they've we've who've you've he'd
she'd they'd who'd you'd he's how's she's that's there's what's when's where's who's why's they'll who'll you'll
what'll they're you're what're who're i'm i've let's o'clock y'all ma'am somebody's someone's somewhere's
"""
_CONTRACTIONS: Final = {text.replace("'", ""): text for text in _CONTRACTED.split()}
_COMMA_IN_NUMBER: Final = re.compile(r"(?<=\d),(?=\d)")
_PERIOD: Final = re.compile(r"(?<!\d)\.|\.(?!\d)")
# Apostrophes belong to possessives, colons to times, periods are gone but for decimals.
_PUNCTUATION: Final = re.compile(r"[^\w\s'’:.]|_")


def normalised(text: str) -> str:
    """What of an answer counts.

    Lower case; no periods but in decimals; commas inside numbers vanish; other punctuation, but for apostrophes and
    colons, becomes a space; number words up to ten become digits; articles go; contractions get their apostrophe back.
    """
    text = _COMMA_IN_NUMBER.sub("", text.lower().replace("’", "'"))
    words = _PUNCTUATION.sub(" ", _PERIOD.sub("", text)).split()
    counted = (_NUMBERS.get(word, word) for word in words if word not in _ARTICLES)
    return " ".join(_CONTRACTIONS.get(word, word) for word in counted)


def accuracy(reply: str, answers: Sequence[str]) -> float:
    """How right a reply is: the mean over all choices of all people but one of min(1, those who say the same / 3).

    With ten people an answer that one gave scores 0.3, two 0.6, three 0.9, and four or more 1. Where only one
    answer is known, it is right or wrong.

    Args:
        reply: What the model said.
        answers: What people said, at least one.

    Returns:
        In [0, 1].

    Raises:
        ValueError: There are no answers.
    """
    if not answers:
        raise ValueError("an accuracy needs at least one answer to compare with")
    said = normalised(reply)
    same = sum(said == normalised(answer) for answer in answers)
    people = len(answers)
    if people == 1:
        return float(same)
    left_out = same * min(1.0, (same - 1) / ENOUGH) + (people - same) * min(1.0, same / ENOUGH)
    return min(1.0, left_out / people)


def best_answer(answers: Sequence[str]) -> str:
    """The answer that most people gave; of several the first."""
    counts = Counter(map(normalised, answers))
    return max(answers, key=lambda answer: counts[normalised(answer)])
