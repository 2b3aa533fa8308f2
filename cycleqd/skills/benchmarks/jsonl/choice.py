r"""Scoring a choice: which letter a reply chooses, if it chooses one.

In this order count: the whole reply, if it is the text of a choice; the last statement such as "the answer is B", "I
choose B" or ``\boxed{B}``; a letter at the beginning, or alone on the last line. Whoever names several letters there
has not chosen. Markup and brackets do not matter. A letter that begins a sentence ("B is wrong") is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cycleqd.skills.protocol import Verdict

LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MARKUP: Final = re.compile(
    r"\\(?:text|textbf|mathrm|mathbf|mathsf|textit|rm|bf)\b\s*|\\[()\[\]]|[*_`$]|(?<=\S)\\(?=\s|$)"
)
_LETTER: Final = r"[\s(\[{\"'“‘<]*(?P<letter>[A-Za-z])(?P<closed>[)\]}\"'”’>]*)(?!\w)"
_NAMED: Final = r"(?:the\s+)?(?:letter\s+|option\s+|choice\s+|answer\s+)?"
_LINK: Final = (
    r"(?:\s*(?:\b(?:is|was|would be|should be|must be|will be|therefore|thus|hence|clearly|simply|probably|likely)\b"
    r"|[:=：-]|[–—→]|->|=>|是|为))+"
)
_STATEMENT: Final = re.compile(
    rf"(?:\b(?:answer|ans|option|choice|solution)s?\b(?:\s+(?:to|for|of|in)\s[^.:;\n]{{1,60}}?)?[)\"”]*(?P<link>{_LINK})"
    rf"|答案(?P<sign>{_LINK})"
    r"|\bI(?:['’](?:d|ll)| would| will| must)?\s+(?:\w+ly\s+)?(?:choose|chose|pick|picked|select|selected|go with)\b"
    rf"|(?P<boxed>\\f?boxed)\s*(?=\{{))\s*{_NAMED}{_LETTER}",
    re.IGNORECASE,
)
_BEGINNING: Final = re.compile(rf"\s*{_NAMED}{_LETTER}", re.IGNORECASE)
_DENIED: Final = re.compile(r"\b(?:not|never|cannot|neither|nor|if|whether)\b|n['’]t\b", re.IGNORECASE)
_CLAUSE: Final = re.compile(r"[.,;:!?\n]")
_GOES_ON: Final = re.compile(
    r"\s*(?:$|[,;!\n]|[.:](?![\w.])|\s[–—-]\s|[–—]|\(|(?:because|since|as|for|due)\b"
    r"|is\s+(?:(?:the|my)\s+)?(?:\w+\s+)?(?:right|correct|best|answer|choice)\b)",
    re.IGNORECASE,
)
_ANOTHER: Final = re.compile(r"[\s,;/|&+.:)\]]*(?:(?:or|and)\b)?[\s(\[{\"'“‘]*([A-Z])(?![\w'’])")
_BARE: Final = re.compile(r"(?m)^[ \t(\[]*([A-Za-z])[ \t.:)\]]*$")
_EXPLAINS: Final = re.compile(r"\b(?:explanation|explained|reason|reasoning|because|since|why|as)\b", re.IGNORECASE)
_WINDOW: Final = 300
"""Characters around a letter that are looked at; a long reply may hold thousands of statements."""
_MARKED: Final = re.compile(r"(?m)(?:^[ \t(\[]*|[(\[]|\s)([A-Za-z])(?:[)\]:](?!\w)|(?<=^.)[.](?=\s))")


def check_choice(row: Mapping[str, Any]) -> dict[str, Any]:
    """Reads a row: the choices, and the letter of the right one.

    Raises:
        ValueError: There are no choices that differ, or the answer is none of them.
    """
    choices, answer = row.get("choices"), row.get("answer")
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS):
        raise ValueError(f"choices must be a list of 2 to {len(LETTERS)} texts")
    if not all(isinstance(one, str) and one.strip() for one in choices) or len(set(choices)) != len(choices):
        raise ValueError("choices must be texts that differ")
    letters = LETTERS[: len(choices)]
    if isinstance(answer, str) and answer in choices:
        answer = letters[choices.index(answer)]
    if not isinstance(answer, str) or len(answer) != 1 or answer not in letters:
        raise ValueError(f"answer must be one of the choices, or a letter from A to {letters[-1]}")
    return {"choices": list(choices), "answer": answer}


def judge_choice(reply: str, data: Mapping[str, Any]) -> Verdict:
    """Whether the reply chooses the right letter."""
    letter = chosen(reply, data["choices"])
    if letter == data["answer"]:
        return Verdict(1.0, "the answer is right")
    return Verdict(0.0, f"answered {(letter or reply.strip()[:80])!r}, expected {data['answer']}")


def chosen(reply: str, choices: Sequence[str]) -> str:
    """The letter that a reply chooses; empty where it chooses none, or several."""
    texts = [_plain(text) for text in choices]
    said = _plain(reply)
    if len(said) > 1 and texts.count(said) == 1:
        return LETTERS[texts.index(said)]
    # Without long runs of space, over which a pattern would go back and forth.
    lines = (" ".join(line.split()) for line in _MARKUP.sub("", reply).strip().splitlines())
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
    statements = reversed(list(_STATEMENT.finditer(text)))
    if stated := next((match for match in statements if _is_stated(match, text, choices)), None):
        return _alone(stated, text, choices)
    first, last = _BEGINNING.match(text), _BEGINNING.match(text, text.rfind("\n") + 1)
    found = set()
    if first and _begins(first, text, choices, whole=False) and not _lists(first, text, choices):
        found.add(_alone(first, text, choices))
    if last and _begins(last, text, choices, whole=True):
        others = {one[1].upper() for one in _BARE.finditer(text)} - {last["letter"].upper()}
        found.add("" if others else _alone(last, text, choices))
    return found.pop() if len(found) == 1 else ""


def _plain(text: str) -> str:
    return " ".join(_MARKUP.sub("", text).split()).rstrip(".!").casefold()


def _is_stated(match: re.Match[str], text: str, choices: Sequence[str]) -> bool:
    """Whether a statement is one: it is not denied, and the letter does not begin words of its own."""
    clause = _CLAUSE.split(text[max(0, match.start() - _WINDOW) : match.start()])[-1]
    if _DENIED.search(clause):
        return False
    rest = _behind(match, text, choices)
    if match["boxed"]:
        return match["letter"] in LETTERS or "}" in match["closed"]
    if rest.startswith("?"):
        return False
    if _continues(match, rest, choices) or _ANOTHER.match(rest):
        return True
    # "The answer is B in this case"; but "the answer is a dog", and "Answer: A dog" beside other choices.
    return match["letter"] not in "AaIi" and rest[:1].isspace()


def _begins(match: re.Match[str], text: str, choices: Sequence[str], *, whole: bool) -> bool:
    """Whether a letter at the beginning of a line is a choice; small ones want a bracket, or nothing behind them."""
    rest = _behind(match, text, choices)
    if whole and rest.strip(" .!)]}"):
        return False
    if match["letter"].islower() and rest.strip(" .,:!") and not (match["closed"] or rest[:1] in ".,:"):
        return False
    return _continues(match, rest, choices) or bool(_ANOTHER.match(rest))


def _continues(match: re.Match[str], rest: str, choices: Sequence[str]) -> bool:
    """Whether what follows a letter leaves it a letter: an end, a reason, or the text of its choice."""
    if match["closed"].strip("'’\"”") or _GOES_ON.match(rest):
        return True
    letter = match["letter"].upper()
    return letter in LETTERS[: len(choices)] and _follows(rest, choices[LETTERS.index(letter)])


def _behind(match: re.Match[str], text: str, choices: Sequence[str]) -> str:
    """What follows a letter, at least as far as the text of a choice reaches."""
    return text[match.end() : match.end() + _WINDOW + 2 * max(map(len, choices))]


def _follows(rest: str, text: str) -> bool:
    return _plain(rest.lstrip(" .:)-–—")).startswith(_plain(text))


def _alone(match: re.Match[str], text: str, choices: Sequence[str]) -> str:
    """The letter, unless another one is named with it; its choice's own text may begin with one."""
    letters, letter, rest = LETTERS[: len(choices)], match["letter"].upper(), _behind(match, text, choices)
    if letter not in letters:
        return ""
    another = _ANOTHER.match(rest)
    if another is None or another[1] not in letters or another[1] == letter:
        return letter
    if _follows(rest, choices[letters.index(letter)]):
        return letter
    # A sentence of its own may begin with "A ..." or "I ...", or speak of another letter: "B. A is wrong."
    between, behind = rest[: another.start(1)], rest[another.end(1) :]
    return letter if re.search(r"[.\n]\s*$", between) and re.match(r"\s+[a-z]", behind) else ""


def _lists(match: re.Match[str], text: str, choices: Sequence[str]) -> bool:
    """Whether other letters are named as marks, too: "A) no B) yes". An explanation may go through them."""
    letters, letter = LETTERS[: len(choices)], match["letter"].upper()
    marks = _MARKED.finditer(text, match.end())
    other = next((one for one in marks if one[1].upper() in letters and one[1].upper() != letter), None)
    if other is None or letter not in letters:
        return other is not None
    if _EXPLAINS.search(text, match.end(), other.start()):
        return False
    rest = _behind(match, text, choices)
    complete = rest.lstrip(" .:)").startswith("\n") or _follows(rest, choices[letters.index(letter)])
    return not complete or ord(other[1].upper()) == ord(letter) + 1
