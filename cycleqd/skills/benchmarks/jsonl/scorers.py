"""How a reply to a user's problem is scored; a program's tests run in the sandbox, everything else here.

A scorer is a function of reply and problem to a `Verdict`. What a model writes is only ever compared, never evaluated;
what a user writes may be a regular expression, which is given `MATCH_SECONDS` and no more.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import regex

from cycleqd.skills.benchmarks.jsonl.choice import check_choice, judge_choice
from cycleqd.skills.benchmarks.jsonl.number import check_number, judge_number, plainly
from cycleqd.skills.parsing import LiteralError, alone, read_literal
from cycleqd.skills.protocol import NoReference, Verdict

MATCH_SECONDS: Final = 5.0
"""For one search of a regular expression; an ordinary one takes microseconds."""
LONGEST_PATTERN: Final = 1_000
_SHOWN: Final = 80


class Scorer(NamedTuple):
    """One way to score.

    Attributes:
        keys: What a row may say beside prompt, answer and scorer.
        check: Reads a row into what `judge` wants to know; raises ValueError with what is wrong.
        judge: The verdict on a reply; None where programs run.
        gold: The reply of somebody who knows the answer.
    """

    keys: frozenset[str]
    check: Callable[[Mapping[str, Any]], dict[str, Any]]
    judge: Callable[[str, Mapping[str, Any]], Verdict] | None
    gold: Callable[[Mapping[str, Any]], str]


def _verdict(right: bool, reply: str, wanted: str) -> Verdict:
    if right:
        return Verdict(1.0, "the answer is right")
    return Verdict(0.0, f"answered {reply.strip()[:_SHOWN]!r}, expected {wanted[:_SHOWN]}")


def _texts(row: Mapping[str, Any]) -> list[str]:
    """The answers: a text, or several."""
    answers = row.get("answer") if isinstance(row.get("answer"), list) else [row.get("answer")]
    if not answers or not all(isinstance(one, str) and one.strip() for one in answers):
        raise ValueError("answer must be a text, or a list of texts")
    return list(answers)


def _flag(row: Mapping[str, Any], name: str) -> bool:
    value = row.get(name, False)
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false")
    return value


def _folded(text: str, data: Mapping[str, Any]) -> str:
    plain = " ".join(text.split())
    return plain.casefold() if data["ignore_case"] else plain


def _check_texts(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"answers": _texts(row), "ignore_case": _flag(row, "ignore_case")}


def _exact(reply: str, data: Mapping[str, Any]) -> Verdict:
    said = _folded(reply, data)
    return _verdict(any(said == _folded(one, data) for one in data["answers"]), reply, repr(data["answers"][0]))


def _contains(reply: str, data: Mapping[str, Any]) -> Verdict:
    said = _folded(reply, data)
    missing = [one for one in data["answers"] if _folded(one, data) not in said]
    return _verdict(not missing, reply, f"it to contain {missing[0]!r}" if missing else "")


def _check_regex(row: Mapping[str, Any]) -> dict[str, Any]:
    pattern, example = row.get("answer"), row.get("example")
    if not isinstance(pattern, str) or not pattern or len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"answer must be a regular expression of at most {LONGEST_PATTERN} characters")
    try:
        regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        raise ValueError(f"answer is no regular expression ({error})") from None
    data = {"pattern": pattern, "ignore_case": _flag(row, "ignore_case"), "example": example}
    if example is not None and (not isinstance(example, str) or _regex(example, data).score == 0.0):
        raise ValueError("example must be a text that the regular expression finds")
    return data


def _regex(reply: str, data: Mapping[str, Any]) -> Verdict:
    flags = regex.IGNORECASE if data["ignore_case"] else 0
    try:
        found = regex.search(data["pattern"], reply, flags=flags, timeout=MATCH_SECONDS)
    except TimeoutError:
        return Verdict(0.0, f"the regular expression {data['pattern'][:_SHOWN]!r} took over {MATCH_SECONDS:g} s")
    return _verdict(found is not None, reply, f"it to match {data['pattern']!r}")


def _example(data: Mapping[str, Any]) -> str:
    if data["example"] is None:
        raise NoReference("the row has no example of a reply that the regular expression finds")
    return str(data["example"])


def _check_tests(row: Mapping[str, Any]) -> dict[str, Any]:
    tests, answer = row.get("tests"), row.get("answer")
    if not isinstance(tests, list) or not tests or not all(isinstance(one, str) for one in tests):
        raise ValueError("tests must be a list of texts such as 'add(1, 2) == 3'")
    if answer is not None and not isinstance(answer, str):
        raise ValueError("answer must be a program that passes the tests, or be left out")
    parsed = [_test(one) for one in tests]
    if len(names := {name for name, _, _ in parsed}) != 1:
        raise ValueError(f"tests must call one function, got {', '.join(sorted(names))}")
    return {
        "entry_point": parsed[0][0],
        "calls": [call for _, call, _ in parsed],
        "expected": [expected for _, _, expected in parsed],
        "answer": answer,
    }


def _test(text: str) -> tuple[str, str, str]:
    """Function, arguments and expected value of ``f(1, 'a') == [2]``, with or without ``assert``."""
    fault = f"a test must be a call with literals compared with a literal (add(1, 2) == 3), got {text[:_SHOWN]!r}"
    try:
        body = alone(lambda: ast.parse(text.strip().removeprefix("assert ").strip(), mode="eval")).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(fault) from None
    if not (isinstance(body, ast.Compare) and len(body.ops) == 1 and isinstance(body.ops[0], ast.Eq)):
        raise ValueError(fault)
    call, value = body.left, body.comparators[0]
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.keywords:
        raise ValueError(fault)
    arguments = ast.unparse(ast.Tuple(elts=call.args, ctx=ast.Load()))
    expected = ast.unparse(value)
    try:
        read_literal(arguments)
        read_literal(expected)
    except LiteralError:
        raise ValueError(fault) from None
    return call.func.id, arguments, expected


def _program(data: Mapping[str, Any]) -> str:
    if data["answer"] is None:
        raise NoReference("the row has no answer, a program that passes its tests")
    return f"```python\n{data['answer'].strip()}\n```"


SCORERS: Final[Mapping[str, Scorer]] = {
    "exact": Scorer(frozenset({"ignore_case"}), _check_texts, _exact, lambda data: str(data["answers"][0])),
    "contains": Scorer(frozenset({"ignore_case"}), _check_texts, _contains, lambda data: " ".join(data["answers"])),
    "number": Scorer(frozenset({"tolerance"}), check_number, judge_number, lambda data: plainly(data["answer"])),
    "choice": Scorer(frozenset({"choices"}), check_choice, judge_choice, lambda data: str(data["answer"])),
    "regex": Scorer(frozenset({"ignore_case", "example"}), _check_regex, _regex, _example),
    "python": Scorer(frozenset({"tests"}), _check_tests, None, _program),
}
"""Every scorer by the name that a row gives it."""
