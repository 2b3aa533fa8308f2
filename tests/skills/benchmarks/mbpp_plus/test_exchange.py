import math
import tracemalloc
from collections import (
    ChainMap,
    Counter,
    OrderedDict,
    UserDict,
    UserList,
    UserString,
    defaultdict,
    deque,
    namedtuple,
)
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.skills.benchmarks.mbpp_plus.exchange import SHORT, Opaque, compressed, decode, decompressed, encode

_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
)
_hashable = st.recursive(
    _leaves, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5
)
_values = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.sets(_hashable, max_size=3)
        | st.dictionaries(_hashable, inner, max_size=3)
    ),
    max_leaves=10,
)


@given(_values)
def test_plain_data_comes_back_as_it_was(value: Any) -> None:
    again, exact = decode(encode(value))
    assert again == value
    assert type(again) is type(value)
    assert exact


def test_numbers_without_end_and_long_ones_come_back() -> None:
    for value in (10**5000, -(10**5000), 2**63, -(2**63), math.inf, -math.inf, 1e-320, -0.0):
        assert decode(encode(value)) == (value, True)
    assert math.isnan(decode(encode(math.nan))[0])


def test_a_subclass_counts_as_its_plain_type_but_is_not_exact() -> None:
    point = namedtuple("point", "x y")
    level = IntEnum("level", "LOW HIGH")
    for value, plain in [
        (point(1, 2), (1, 2)),
        (level.HIGH, 2),
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, {1: [2]}), {1: [2]}),
        (np.int64(3), 3),
        (np.float64(0.5), 0.5),
        (np.bool_(True), True),
    ]:
        again, exact = decode(encode(value))
        assert (again, type(again), exact) == (plain, type(plain), False)


def test_what_a_subclass_overrides_is_not_asked() -> None:
    class Liar(int):
        def __int__(self) -> int:
            return 42

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 0

        def __repr__(self) -> str:
            raise RuntimeError

    assert decode(encode([Liar(7)])) == ([7], True)


def test_other_objects_are_opaque_and_equal_nothing() -> None:
    class Equal:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return True

    for value in (Equal(), len, int, iter([1]), {1: 2}.values(), np.array(["a"])):
        again, exact = decode(encode(value))
        assert isinstance(again, Opaque)
        assert again != again
        assert [again] != [Opaque(again.kind)]
        assert not exact


def test_iterators_are_drained_on_request_and_endless_ones_end() -> None:
    import itertools

    assert decode(encode((n * n for n in range(3)), drain=True)) == ([0, 1, 4], False)
    assert len(decode(encode(itertools.count(), drain=True))[0]) == 100_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[true]",
        "1",
        '[true,{"os.system":"true"}]',
        '[true,{"tuple":1}]',
        "[true,[2,[0,1]]]",
        "[true,[4,1]]",
        "[true,[9,1]]",
        "[true,[]]",
        '[true,["x"]]',
        '[true,{"int":"zz"}]',
        '[true,{"int":3}]',
        '[true,{"complex":["x",1]}]',
        '[true,{"bytes":"x"}]',
        '[true,{"a":1,"b":2}]',
        "[true,{}]",
        "[true," + "[" * 50_000,
        "[true," + "[" * 900 + "]" * 900 + "]" * 2,
    ],
)
def test_other_texts_are_faults_and_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match="no exchanged value"):
        decode(text)


def test_numbers_and_views_of_the_libraries_stay_equal_to_plain_data() -> None:
    for value, equal in [
        (Decimal("1.50"), 1.5),
        (Decimal(7), 7),
        (Fraction(1, 2), 0.5),
        ({1: 2}.keys(), {1}),
        ({1: 2}.items(), {(1, 2)}),
        (UserDict(a=1), {"a": 1}),
        (ChainMap({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (UserList([1]), [1]),
        (UserString("a"), "a"),
        (memoryview(b"ab"), b"ab"),
        (range(1, 9, 2), range(1, 8, 2)),
        (deque([1, (2,)]), deque([1, (2,)])),
        (np.array([5]), [5]),
    ]:
        again, exact = decode(encode(value))
        assert bool(again == equal) is bool(value == equal) is True, value
        assert not exact
    assert decode(encode([Fraction(6, 3), (Decimal(1),)]))[0] == [2, (1,)]
    for value, unequal in [({1: 2}.values(), [2]), (deque([1]), [1]), (range(1), [0]), ({1: 2}.keys(), [1])]:
        assert decode(encode(value))[0] != unequal
    with pytest.raises(ValueError, match="ambiguous"):
        bool(decode(encode(np.array([1, 2])))[0] == [1, 2])


def test_numbers_on_which_arithmetic_would_take_long_are_faults() -> None:
    digits = "0x" + "9" * 5000
    for text in (
        '[false,{"decimal":"' + "9" * 5000 + '"}]',
        '[false,{"fraction":["' + digits + '","0x3"]}]',
        '[false,{"fraction":["0x1","0x0"]}]',
        '[false,{"decimal":"x"}]',
        '[false,{"array":["U",[0,"a"]]}]',
        '[false,{"array":["i",[0,[0,1],[0,1,2]]]}]',
    ):
        with pytest.raises(ValueError, match="no exchanged value"):
            decode(text)


def test_long_texts_travel_compressed_and_no_text_can_swell() -> None:
    short, long = encode([1]), encode([(n, "red") for n in range(50_000)])
    assert compressed(short) == short
    assert len(compressed(long)) < len(long) / 2
    for text in (short, long):
        assert decompressed(compressed(text), len(long)) == text
    with pytest.raises(ValueError, match="longer than"):
        decompressed(compressed(long), SHORT)
    for text in ("z!", "zAAAA", "z\xe9"):
        with pytest.raises(ValueError, match=r".*"):
            decompressed(text, 10)


def test_what_is_large_takes_little_more_memory_than_its_text() -> None:
    value = [(n, n + 1, "red") for n in range(100_000)]
    tracemalloc.start()
    text = encode(value)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 12 * len(text)
    assert decode(text)[0] == value


def test_what_is_certainly_too_long_is_refused_before_it_is_written() -> None:
    assert encode(["x" * 50], most=100) == encode(["x" * 50])
    for value in ("x" * 101, [0] * 101, [[0] * 51] * 2, {n: n for n in range(51)}, ["x" * 101, ()]):
        with pytest.raises(ValueError, match="too large"):
            encode(value, most=100)
