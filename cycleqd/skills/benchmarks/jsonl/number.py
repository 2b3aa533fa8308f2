"""Scoring a number: the last one of the reply counts.

Reasoning comes first, and listing numbers does not help. Read are signs (also typographic ones), groups of three
digits, fractions and powers of ten. A number that is part of something else (``m2``, ``x^2``, ``1.2.3``) is none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, TypeGuard

from cycleqd.skills.protocol import Verdict

LONGEST_NUMBER: Final = 300
"""Digits, of the answer and of its power of ten; what is longer in a reply is another number than the answer."""
_EXACTLY: Final = Decimal("1e-6")
_GROUP: Final = r"(?:,|\{,\}|\\,|_|'|[\u00a0\u2009\u202f])"
_PLAIN: Final = rf"(?:[1-9]\d{{0,2}}(?:{_GROUP}\d{{3}})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_POWER: Final = r"(?:[eE](?P<e>[-+]?\d+)(?!\w)|\s?(?:[×*x]|\\times|\\cdot)\s?10\^\{?(?P<times>[-+\u2212]?\d+)\}?)"
_NUMBER: Final = re.compile(
    # A minus sign after what may be a number, a name or a bracket subtracts or joins.
    r"(?P<sign>(?<![\w)\]}%])[-\u2010-\u2013\u2212\ufe63\uff0d][$€£¥]?)?"
    rf"(?:\\[dt]?frac\{{(?P<over>-?\d+(?:\.\d+)?)\}}\{{(?P<under>\d+(?:\.\d+)?)\}}|"
    rf"(?<![^\W\d_])(?<![\d_^])(?<!\^\{{)(?<!\d\.)(?P<plain>{_PLAIN})"
    rf"(?:{_POWER}|(?P<chain>(?:\.\d+)+|(?:/\d+){{2,}})|/(?P<by>\d+(?:\.\d+)?)(?![\d/]))?)(?!\.?\d)(?!\^)"
)


def check_number(row: Mapping[str, Any]) -> dict[str, Any]:
    """Reads a row: the answer as a text, so that no digit is lost, and the tolerance where there is one.

    Raises:
        ValueError: Something is no number.
    """
    answer, tolerance = row.get("answer"), row.get("tolerance")
    if isinstance(answer, str):
        match = _NUMBER.fullmatch(answer.strip())
        value = _value(match) if match else None
    else:
        value = Decimal(str(answer)) if _is_number(answer) else None
    if value is None or not _is_number(float(value)):
        raise ValueError(f"answer must be a number of at most {LONGEST_NUMBER} digits")
    if tolerance is not None and (not _is_number(tolerance) or tolerance < 0):
        raise ValueError("tolerance must be a number from 0 on")
    return {"answer": str(value), "tolerance": None if tolerance is None else float(tolerance)}


def judge_number(reply: str, data: Mapping[str, Any]) -> Verdict:
    """Whether the reply's last number is the answer.

    Unless a tolerance is given, a whole number must be met to 1e-6, and any other one to a millionth of itself.
    """
    last = None
    for match in _NUMBER.finditer(reply):
        last = match
    if last is None:
        return Verdict(0.0, f"no number in {reply.strip()[:80]!r}")
    said, answer = _value(last), Decimal(data["answer"])
    if said is not None and _is_near(said, answer, data["tolerance"]):
        return Verdict(1.0, "the answer is right")
    return Verdict(0.0, f"answered {last[0][:80]!r}, expected {plainly(answer)}")


def plainly(answer: Decimal | str) -> str:
    """A number as people write it."""
    value = Decimal(answer)
    return f"{value:f}" if -7 < value.adjusted() < LONGEST_NUMBER else str(value)


def _is_near(said: Decimal, answer: Decimal, tolerance: float | None) -> bool:
    if tolerance is not None:
        return said == answer or math.isclose(float(said), float(answer), rel_tol=tolerance, abs_tol=tolerance)
    whole = answer == answer.to_integral_value()
    return abs(said - answer) <= (_EXACTLY if whole else _EXACTLY * abs(answer))


def _value(match: re.Match[str]) -> Decimal | None:
    """What a number in a text is; None where it is longer than any answer, or a chain such as a date."""
    over, under = match["over"] or match["plain"], match["under"] or match["by"]
    power = (match["e"] or match["times"] or "0").replace("\u2212", "-")
    digits = re.sub(_GROUP, "", over)
    if match["chain"] or len(digits) > LONGEST_NUMBER or len(under or "") > LONGEST_NUMBER or len(power) > 4:
        return None
    if abs(int(power)) > LONGEST_NUMBER:
        return None
    value = Decimal(digits).scaleb(int(power))
    if under:
        if not Decimal(under):
            return None
        value /= Decimal(under)
    return -value if match["sign"] else value


def _is_number(value: Any) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond every float
        return False
