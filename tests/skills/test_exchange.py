import math
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from enum import IntEnum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.skills.exchange import Opaque, caller, decode, encode

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

    for value in (Equal(), len, int, iter([1]), deque([1]), np.zeros(2)):
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
        '[true,{"set":[[1]]}]',
        '[true,{"dict":[1]}]',
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


def test_after_a_failed_call_no_other_is_made() -> None:
    call = caller("def f(x):\n    return 1 // x", "f", drain=False)
    assert call(encode([1]), 5.0).partition(" ")[2] == encode(1)
    with pytest.raises(ZeroDivisionError):
        call(encode([0]), 5.0)
    with pytest.raises(RuntimeError, match="not called"):
        call(encode([1]), 5.0)


def test_a_call_ends_with_its_processor_time() -> None:
    call = caller(
        "def f():\n    try:\n        while True: pass\n    except Exception:\n        return 1", "f", drain=False
    )
    with pytest.raises(BaseException, match="used up its time"):
        call(encode([]), 0.2)
