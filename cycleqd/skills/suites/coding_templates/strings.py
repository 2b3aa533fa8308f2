"""Coding problems about strings and words."""

from __future__ import annotations

import string

import numpy as np

from cycleqd.skills.suites.coding_templates.problem import problem
from cycleqd.skills.suites.generation import Draft, Template, between, pick, pick_some, templates_of

_WORDS = (
    "apple", "basil", "cedar", "delta", "ember", "fable", "grape", "hazel", "ivory", "jolly", "kiosk", "lemon",
    "mango", "noble", "olive", "pearl", "quilt", "river", "solar", "tulip", "umber", "vivid", "wheat", "yeast",
    "zebra", "oak", "elm", "fig", "ash", "bay", "rye", "pumpkin", "lantern", "harvest", "orchard", "meadow",
)  # fmt: skip
_VOWELS_AND_COMMON = "aeiorstnldmpb"
_HIDDEN = 5


def _letters(rng: np.random.Generator, count: int) -> list[str]:
    return pick_some(rng, _VOWELS_AND_COMMON, count)


def _syllable(rng: np.random.Generator) -> str:
    return pick(rng, "bcdfghklmnprstvwz") + pick(rng, "aeiou")


def _text(rng: np.random.Generator, words: int) -> str:
    return " ".join(pick_some(rng, _WORDS, words))


def _texts(rng: np.random.Generator, *extra: str) -> list[tuple[str]]:
    """One-argument inputs: a short text, several longer ones, the `extra` edges."""
    return [(_text(rng, 2),), *((_text(rng, between(rng, 1, 5)),) for _ in range(_HIDDEN)), *((e,) for e in extra)]


def count_letters(rng: np.random.Generator) -> Draft:
    """Count two letters."""
    a, b = _letters(rng, 2)
    return problem(
        name=pick(rng, ("count_letters", "letter_count")),
        arguments="s",
        task=f"count how often '{a}' or '{b}' occurs in a string",
        body=f"return s.count('{a}') + s.count('{b}')",
        reference=lambda s: len([c for c in s if c in (a, b)]),
        inputs=_texts(rng, a + b + a, ""),
    )


def replace_letter(rng: np.random.Generator) -> Draft:
    """Replace one letter by another."""
    a = pick(rng, _VOWELS_AND_COMMON)
    b = pick(rng, [c for c in string.ascii_lowercase if c != a])
    return problem(
        name=pick(rng, ("replace_letter", "change_letter")),
        arguments="s",
        task=f"replace every '{a}' in a string by '{b}'",
        body=f"return s.replace('{a}', '{b}')",
        reference=lambda s: "".join(b if c == a else c for c in s),
        inputs=_texts(rng, a + b + a, ""),
    )


def wrap_text(rng: np.random.Generator) -> Draft:
    """Add a prefix and a suffix."""
    a, b = _syllable(rng), _syllable(rng)
    return problem(
        name=pick(rng, ("wrap_text", "add_ends", "surround")),
        arguments="s",
        task=f"put '{a}' in front of a string and '{b}' behind it",
        body=f"return '{a}' + s + '{b}'",
        reference=lambda s: f"{a}{s}{b}",
        inputs=_texts(rng, ""),
    )


def join_words(rng: np.random.Generator) -> Draft:
    """Join with a separator."""
    separator = _syllable(rng) if rng.integers(2) else "".join(pick_some(rng, "-+:;|/_=~", 2))
    inputs = [(pick_some(rng, _WORDS, 2),)] + [(pick_some(rng, _WORDS, between(rng, 1, 5)),) for _ in range(_HIDDEN)]

    def reference(words: list[str]) -> str:
        joined = ""
        for i, word in enumerate(words):
            joined += word if i == 0 else separator + word
        return joined

    return problem(
        name=pick(rng, ("join_words", "glue")),
        arguments="words",
        task=f"join a list of words with '{separator}' between them",
        body=f"return '{separator}'.join(words)",
        reference=reference,
        inputs=[*inputs, ([],)],
    )


def remove_letters(rng: np.random.Generator) -> Draft:
    """Delete two letters."""
    a, b = _letters(rng, 2)
    return problem(
        name=pick(rng, ("remove_letters", "strip_letters")),
        arguments="s",
        task=f"remove every '{a}' and every '{b}' from a string",
        body=f"return s.replace('{a}', '').replace('{b}', '')",
        reference=lambda s: "".join(c for c in s if c not in (a, b)),
        inputs=_texts(rng, a + b + a, ""),
    )


def starts_with(rng: np.random.Generator) -> Draft:
    """Test a prefix."""
    a = _syllable(rng)
    return problem(
        name=pick(rng, ("starts_with", "has_prefix")),
        arguments="s",
        task=f"check whether a string starts with '{a}'",
        body=f"return s.startswith('{a}')",
        reference=lambda s: s[: len(a)] == a,
        inputs=[(a + pick(rng, _WORDS),), *_texts(rng, a, a[0], pick(rng, _WORDS) + a, "")],
    )


def repeat_text(rng: np.random.Generator) -> Draft:
    """Repeat, then append."""
    k, a = between(rng, 2, 9), _syllable(rng)
    return problem(
        name=pick(rng, ("repeat_text", "echo")),
        arguments="s",
        task=f"repeat a string {k} times and append '{a}'",
        body=f"return s * {k} + '{a}'",
        reference=lambda s: "".join([s] * k) + a,
        inputs=[(w,) for w in (*pick_some(rng, _WORDS, 5), "")],
    )


def reverse_and_append(rng: np.random.Generator) -> Draft:
    """Reverse, then append."""
    a = _syllable(rng)
    return problem(
        name=pick(rng, ("reverse_and_append", "flip_text")),
        arguments="s",
        task=f"reverse a string and append '{a}'",
        body=f"return s[::-1] + '{a}'",
        reference=lambda s: "".join(reversed(s)) + a,
        inputs=_texts(rng, ""),
    )


def words_ending(rng: np.random.Generator) -> Draft:
    """Filter a word list by its ending."""
    a = _syllable(rng)

    def words(count: int) -> list[str]:
        return [w + (a if rng.integers(2) else "") for w in pick_some(rng, _WORDS, count)]

    inputs = [([pick(rng, _WORDS) + a, pick(rng, _WORDS)],)] + [(words(between(rng, 2, 5)),) for _ in range(_HIDDEN)]
    return problem(
        name=pick(rng, ("words_ending", "with_suffix")),
        arguments="words",
        task=f"keep the words of a list that end with '{a}'",
        body=f"return [w for w in words if w.endswith('{a}')]",
        reference=lambda ws: [w for w in ws if w[-len(a) :] == a],
        inputs=[*inputs, ([a, a[::-1]],), ([],)],
    )


def replace_and_shout(rng: np.random.Generator) -> Draft:
    """Replace a letter, then upper-case."""
    a = pick(rng, _VOWELS_AND_COMMON)
    b = pick(rng, [c for c in string.ascii_lowercase if c != a])
    return problem(
        name=pick(rng, ("replace_and_shout", "loud")),
        arguments="s",
        task=f"replace every '{a}' in a string by '{b}' and convert the result to upper case",
        body=f"return s.replace('{a}', '{b}').upper()",
        reference=lambda s: "".join(b if c == a else c for c in s).upper(),
        inputs=_texts(rng, a + b + a, ""),
    )


STRING_TEMPLATES: tuple[Template, ...] = (
    *templates_of(
        (
            count_letters,
            replace_letter,
            wrap_text,
            join_words,
            remove_letters,
            starts_with,
            repeat_text,
            reverse_and_append,
        )
    ),
    *templates_of((words_ending, replace_and_shout), held_out=True),
)
