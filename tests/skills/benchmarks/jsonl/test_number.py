"""Numbers in replies: which one counts, what it is, and how near is right."""

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.skills.benchmarks.jsonl.number import check_number, judge_number, plainly

SECONDS = 20
"""Linear is below one."""
GROUPS = (
    "12,345,678|12{,}345{,}678|12\\,345\\,678|12_345_678|12\u202f345\u202f678|1.2345678e7|1.2345678 \\times 10^{7}"
)
RIGHT = {
    0.5: ".5|0.5|1/2|0.50.|x=.5|**0.5**|$0.5$|\\boxed{0.5}|\\frac{1}{2}|5e-1|0.5 (which is 1/2)|0.5%",
    5: "5|5.0|5.|+5|10-5|3–5|5th|5kg|３ and ５|20/4|5 m2|5 cm^2|5 m^{2}|5 H2O|$5|1,2,3,4,5|a-5|so No.5",
    -5: "-5|\u22125|–5|$-5$|-$5|(-5)|x = -5.0|Answer:-5|-10/2|-\\frac{10}{2}|3 * \u22121 - 2 = \u22125",
    12345678: f"12345678|12345678.0|{GROUPS}",
    "620448401733239439360000": "620448401733239439360000|620,448,401,733,239,439,360,000|6.2044840173323943936e23",
    1e-7: "1e-7|0.0000001|1 × 10^\u22127",
    0: "0|-0|0.00",
    "1/3": "1/3|0.33333333|2/6",
}
WRONG = {
    0.5: "5|-.5|2|1|1/2/3|.5.5",
    5: ".5|-.5|\u22125|five|1.2.5|-$5|1.5|m5|x^5|2^5|5^2|1.5^2|5/2|5/10/2024|5 × 10^3|1,005|5e99999|5/0|10 - 4",
    -5: "5|10-5|3–5|x-5",
    12345678: "12345679|678|12345677|12345678.4|1.23456e7",
    "620448401733239439360000": "620448401733239439360001|6.2e23",
    1e-7: "0|2e-7",
    2024: "1/5/2024|5.1.2024",
}


@pytest.mark.parametrize(("answer", "reply", "wanted"), [
    (answer, reply, score)
    for score, cases in ((1.0, RIGHT), (0.0, WRONG))
    for answer, replies in cases.items() for reply in replies.split("|")
])  # fmt: skip
def test_the_last_number_of_a_reply_is_compared_by_its_value(answer, reply, wanted):
    assert judge_number(reply, check_number({"answer": answer})).score == wanted


WAYS = (
    str, "{:,}".format, "{:.9f}".format, "{:+}".format, "{:.12E}".format,
    lambda value: str(value).replace("-", "\u2212"), lambda value: str(value).removesuffix(".0"),
)  # fmt: skip
AROUND = (
    "{}",
    "The answer is {}.",
    "1. First 7 apples.\n2. So **{}**",
    "\\boxed{{{}}}",
    "x = {}",
    "${}$",
)
NUMBERS = st.integers(-(10**9), 10**9) | st.integers(-(10**9), 10**9).map(lambda value: value / 1000)


@given(NUMBERS, NUMBERS, st.sampled_from(WAYS), st.sampled_from(AROUND))
def test_a_number_written_in_any_way_is_right_for_itself_and_for_no_other(one, other, way, around):
    reply = around.format(way(one))
    assert judge_number(reply, check_number({"answer": one})).score == 1
    near = abs(one - other) <= 1e-6 * max(abs(one), abs(other), 1)
    assert near or judge_number(reply, check_number({"answer": other})).score == 0


@given(st.text("0123456789.,-+/^eE x*×{}\\ ", max_size=60), NUMBERS)
def test_any_reply_has_a_verdict(reply, answer):
    assert judge_number(reply, check_number({"answer": answer})).score in (0, 1)


@pytest.mark.parametrize("piece", ["1", "1,", "1,111", "-", "1.", ".", "1/", "\\frac{", "1e", "1^", " "])
def test_a_long_reply_takes_linear_time(piece):
    start = time.perf_counter()
    assert judge_number(piece * (100_000 // len(piece)), check_number({"answer": 5})).score == 0
    assert time.perf_counter() - start < SECONDS


def test_a_tolerance_is_relative_and_absolute():
    data = check_number({"answer": 10, "tolerance": 0.1})
    assert [judge_number(reply, data).score for reply in ("10.5", "11", "12", "1e300")] == [1, 1, 0, 0]


@pytest.mark.parametrize("answer", [
    10**400, float("nan"), float("inf"), True, None, "1e999", "", "many", [1], "1" * 301, "1/0", "1.2.3", "5 apples",
], ids=repr)  # fmt: skip
def test_what_is_no_number_is_no_answer(answer):
    with pytest.raises(ValueError, match="answer must be a number"):
        check_number({"answer": answer})


@pytest.mark.parametrize("tolerance", [10**400, float("nan"), -1, True, "1"])
def test_what_is_no_tolerance_is_refused(tolerance):
    with pytest.raises(ValueError, match="tolerance must be"):
        check_number({"answer": 1, "tolerance": tolerance})


@given(NUMBERS | st.integers(-(10**30), 10**30))
def test_the_reference_is_right(answer):
    data = check_number({"answer": answer})
    assert judge_number(plainly(data["answer"]), data).score == 1
    assert Decimal(data["answer"]) == Decimal(str(answer))
