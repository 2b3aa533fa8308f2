"""Python values as JSON, for arguments and results of a program that is not trusted.

This file runs on both sides: it is imported here, and its text is sent into the container in front of the program
(hence the standard library alone, but for arrays). Reading builds plain data and nothing else: no class is looked up
and no code is run, so a hostile text can at most be a value or a fault. Values are compared on this side, with
expected ones that the other side never sees.

Texts, floats, truth values, None and ordinary integers are JSON's own. A container is a list that begins with the
number of its kind (lists, tuples, sets, frozen sets, dictionaries as keys and items in turn). Everything else is an
object with one key that names its type. What is no plain data (an object of the program's own class, a match, a
function) becomes `Opaque`. Types of the libraries that equal plain data (decimals, fractions, numpy's and sympy's
numbers, views of a dictionary) stay equal to them.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections import ChainMap, UserDict, UserList, UserString, deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from itertools import chain, islice
from types import MappingProxyType
from typing import Any

ITEMS = 100_000
"""Of an iterator that is drained; an endless one ends here."""
SMALL = 2**63
"""Longer integers travel in hexadecimal, whose reading takes linear time and has no limit of digits."""
DIGITS = 4_096
"""Of a fraction's numbers and of a decimal; work on longer ones grows with the square."""
SHORT = 65_536
"""Longer texts travel compressed."""


class Opaque:
    """A value that is no plain data; equal to nothing, itself included.

    Attributes:
        kind: The name of its type.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    __hash__ = None  # type: ignore[assignment]  # how Python marks what can't be hashed

    def __eq__(self, other: object) -> bool:
        return False

    def __repr__(self) -> str:
        return f"<{self.kind}>"


def encode(value: Any, *, drain: bool = False, most: float = math.inf) -> str:
    """A value as JSON.

    Args:
        value: Anything. A subclass of a plain type counts as that type, and so does a number of numpy's.
        drain: Whether other iterables than plain ones are read into lists.
        most: What is certainly longer than so many characters is refused before it is written.

    Returns:
        The text ``[exact, data]``, where `exact` says whether the outermost type is a plain one itself.

    Raises:
        ValueError: The text would be longer than `most`.
    """
    exact = type(value) in _EXACT
    return json.dumps([exact, _Packer(drain, most).pack(value)], ensure_ascii=True, separators=(",", ":"))


def decode(text: str) -> tuple[Any, bool]:
    """The value in a text of `encode`, and whether its outermost type was a plain one.

    Raises:
        ValueError: The text is something else, or nests too deeply.
    """
    try:
        exact, data = json.loads(text)
        return _unpack(data), exact is True
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"no exchanged value ({type(error).__name__})") from None


def compressed(text: str) -> str:
    """A text as it travels: itself, unless it is long."""
    if len(text) <= SHORT:
        return text
    return "z" + base64.b64encode(zlib.compress(text.encode("ascii"), 1)).decode("ascii")


def decompressed(text: str, most: int) -> str:
    """The text that travelled.

    Args:
        text: What `compressed` gave, or whatever a hostile program wrote.
        most: Longest text.

    Raises:
        ValueError: It is longer, or something else.
    """
    if not text.startswith("z"):
        return text
    reader = zlib.decompressobj()
    try:
        data = reader.decompress(base64.b64decode(text[1:], validate=True), most + 1)
    except zlib.error as error:
        raise ValueError(f"no compressed text ({error})") from None
    if len(data) > most:
        raise ValueError(f"the result is longer than {most} characters")
    return data.decode("ascii")


class _Packer:
    """Turns values into what JSON has.

    Args:
        drain: See `encode`.
        most: See `encode`.
    """

    def __init__(self, drain: bool, most: float) -> None:
        self.drain, self.left = drain, most

    def pack(self, value: Any) -> Any:
        """One value."""
        kind = type(value)
        if kind is str:
            self.spend(len(value))
        if kind in _SCALARS:
            return value
        if kind is int:
            return value if -SMALL <= value < SMALL else {"int": hex(value)}
        if kind is list:
            return self.items(0, value)
        if kind is tuple:
            return self.items(1, value)
        # Methods of the plain types themselves: a subclass may have overridden its own.
        for plain, convert in _PLAIN:
            if isinstance(value, plain):
                return convert(value, self)
        name = kind.__module__.partition(".")[0]
        if name == "numpy" and hasattr(value, "item") and getattr(value, "ndim", None) == 0:
            return self.pack(value.item())
        if name == "numpy" and kind.__name__ == "ndarray" and value.dtype.kind in _DTYPES:
            return {"array": [value.dtype.kind, self.pack(value.tolist())]}
        if name == "sympy":
            return self.symbolic(value)
        if self.drain and hasattr(value, "__iter__"):
            return self.items(0, islice(value, ITEMS))
        return {"opaque": kind.__name__[:80]}

    def items(self, tag: int, items: Iterable[Any]) -> list[Any]:
        """A container's items."""
        result = list(items)
        self.spend(len(result))
        kinds = set(map(type, result))
        if _is_plain(result, kinds):
            return [tag, *result]
        if kinds in _NESTS:  # nearly all of what is large, hence without a call for each
            inner = list(chain.from_iterable(result))
            if _is_plain(inner, set(map(type, inner))):
                self.spend(len(inner))
                kind = 0 if kinds == {list} else 1
                return [tag, *[[kind, *item] for item in result]]
        return [tag, *[self.pack(item) for item in result]]

    def pairs(self, pairs: Iterable[tuple[Any, Any]]) -> list[Any]:
        """A dictionary's items."""
        return self.items(4, [item for pair in pairs for item in pair])

    def symbolic(self, value: Any) -> Any:
        """A number of sympy's, or one of its truth values."""
        if getattr(value, "is_Integer", False):
            return self.pack(int(value))
        if getattr(value, "is_Rational", False):
            return _fraction(Fraction(int(value.p), int(value.q)))
        if getattr(value, "is_Float", False):
            return float(value)
        name = type(value).__name__
        return name == "BooleanTrue" if name in ("BooleanTrue", "BooleanFalse") else {"opaque": name[:80]}

    def spend(self, characters: int) -> None:
        """Counts what is certain to be written."""
        self.left -= characters
        if self.left < 0:
            raise ValueError("the result is too large to be right")


def _is_plain(items: list[Any], kinds: set[type]) -> bool:
    """Whether items, of these kinds, are JSON's own."""
    if not kinds <= _NUMBERS:
        return False
    whole = items if kinds == {int} else [item for item in items if type(item) is int]
    return not whole or (min(whole) >= -SMALL and max(whole) < SMALL)


def _fraction(value: Fraction) -> Any:
    return {"fraction": [hex(value.numerator), hex(value.denominator)]}


def _complex(value: complex) -> Any:
    number = complex.__complex__(value)
    return {"complex": [number.real, number.imag]}


def _unpack(data: Any) -> Any:
    if isinstance(data, list):
        items = data[1:]
        if not _NESTED.isdisjoint(map(type, items)):
            items = [_unpack(item) for item in items]
        return _CONTAINERS[data[0]](items)
    if not isinstance(data, dict):
        return data
    ((kind, content),) = data.items()
    return _READERS[kind](content)


def _read_fraction(parts: Any) -> Fraction:
    numerator, denominator = parts
    if len(numerator) + len(denominator) > DIGITS:
        raise ValueError("too long a fraction")
    return Fraction(int(numerator, 16), int(denominator, 16))


def _read_decimal(text: str) -> Decimal:
    if len(text) > DIGITS:
        raise ValueError("too long a decimal")
    return Decimal(text)


def _read_array(parts: Any) -> Any:
    import numpy as np

    kind, items = parts
    return np.array(_unpack(items), dtype=_DTYPES[kind])  # no texts, whose longest would set the size of all


_EXACT = (type(None), bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict)
_SCALARS = frozenset({type(None), bool, float, str})
_NUMBERS = _SCALARS | {int}
_NESTED = frozenset({list, dict})
_NESTS: tuple[set[type], ...] = ({list}, {tuple})
_DTYPES = {"b": "bool", "i": "int64", "u": "uint64", "f": "float64", "c": "complex128"}
_PLAIN: tuple[tuple[Any, Callable[[Any, _Packer], Any]], ...] = (
    (str, lambda value, _: str.__str__(value)),
    (int, lambda value, packer: packer.pack(int.__int__(value))),
    (float, lambda value, _: float.__float__(value)),
    (complex, lambda value, _: _complex(value)),
    (list, lambda value, packer: packer.items(0, list.__iter__(value))),
    (tuple, lambda value, packer: packer.items(1, tuple.__iter__(value))),
    (set, lambda value, packer: packer.items(2, set.__iter__(value))),
    (frozenset, lambda value, packer: packer.items(3, frozenset.__iter__(value))),
    (dict, lambda value, packer: packer.pairs(dict.items(value))),
    (bytes, lambda value, _: {"bytes": bytes.hex(value)}),
    (bytearray, lambda value, _: {"bytearray": bytearray.hex(value)}),
    (memoryview, lambda value, _: {"bytes": value.tobytes().hex()}),
    (Decimal, lambda value, _: {"decimal": Decimal.__str__(value)}),
    (Fraction, lambda value, _: _fraction(value)),
    (range, lambda value, packer: {"range": [packer.pack(n) for n in (value.start, value.stop, value.step)]}),
    (deque, lambda value, packer: {"deque": packer.items(0, deque.__iter__(value))}),
    ((type({}.keys()), type({}.items())), lambda value, packer: packer.items(3, iter(value))),
    ((UserDict, ChainMap, MappingProxyType), lambda value, packer: packer.pairs(value.items())),
    (UserList, lambda value, packer: packer.pack(value.data)),
    (UserString, lambda value, packer: packer.pack(value.data)),
)
_CONTAINERS: tuple[Callable[[list[Any]], Any], ...] = (
    list,
    tuple,
    set,
    frozenset,
    lambda items: dict(zip(items[::2], items[1::2], strict=True)),
)
_READERS: dict[str, Callable[[Any], Any]] = {
    "int": lambda text: int(text, 16),
    "complex": lambda parts: complex(*(float(part) for part in parts)),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "decimal": _read_decimal,
    "fraction": _read_fraction,
    "range": lambda parts: range(*_unpack([0, *parts])),
    "deque": lambda items: deque(_unpack(items)),
    "array": _read_array,
    "opaque": Opaque,
}
