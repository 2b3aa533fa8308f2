"""The accuracy of an answer beside those of several people, as VQA and TextVQA define it.

Antol et al. 2015 (https://arxiv.org/abs/1505.00468) and Singh et al. 2019 (https://arxiv.org/abs/1904.08920). What of
an answer counts follows the program that published TextVQA scores come from: `EvalAIAnswerProcessor` of MMF
(https://github.com/facebookresearch/mmf/blob/main/mmf/utils/m4c_evaluators.py). Its oddities are kept, because they
decide which answers are the same.
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
# Only words that the program knows: "im" and "ive" stay, because it lists them in capitals and looks up small letters.
_CONTRACTED: Final = """
ain't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't isn't mightn't mustn't needn't oughtn't shan't
shouldn't wasn't weren't won't wouldn't could've might've must've not've should've they've we've what've where've
who've would've you've he'd how'd it'd someone'd something'd there'd they'd where'd who'd you'd how'll it'll
somebody'll someone'll something'll they'll what'll who'll why'll you'll there're they're what're why're you're he's
how's somebody's someone's that's there's what's when's where's who's why's ma'am o'clock y'all 'twas couldn't've
hadn't've mightn't've shouldn't've wouldn't've he'd've it'd've she'd've somebody'd've someone'd've something'd've
there'd've they'd've we'd've who'd've you'd've y'all'd've y'all'll 'ow's'at
"""
# Each is found when any one of its apostrophes is missing. One entry goes the other way.
_CONTRACTIONS: Final = {
    word[:place] + word[place + 1 :]: word
    for word in _CONTRACTED.split()
    for place, letter in enumerate(word)
    if letter == "'"
} | {"somebody'd": "somebodyd"}
# Not here, so they count: $ % & # * : and the apostrophe.
_PUNCTUATION: Final = ';/[]"{}()=+\\_-><@`!'
_PERIOD: Final = re.compile(r"\.(?!\d)")
_MOST_PERIODS: Final = 32
"""The program removes no more: it passes `re.UNICODE`, which is 32, where `re.sub` takes a count."""


def normalised(text: str) -> str:
    """What of an answer counts.

    Lower case. Commas and question marks vanish, and so do periods before anything but a digit. Other punctuation
    becomes a space; a mark that stands beside a space anywhere in the answer vanishes wherever it stands. `$ % & # *`,
    colons and apostrophes stay, and a possessive `'s` is a word of its own. Number words up to ten become digits;
    articles go; contractions get their apostrophe back.

    Example:
        >>> normalised("The $5-menu, two drinks."), normalised(".99"), normalised("John's")
        ('$5 menu 2 drinks', '.99', "john 's")
    """
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    text = text.replace("\n", " ").replace("\t", " ").strip()
    spaces = {ord(mark): "" if f"{mark} " in text or f" {mark}" in text else " " for mark in _PUNCTUATION}
    text = _PERIOD.sub("", text.translate(spaces), count=_MOST_PERIODS)
    counted = (_NUMBERS.get(word, word) for word in text.split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in counted if word not in _ARTICLES)


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
