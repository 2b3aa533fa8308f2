"""Python values as JSON, for arguments and results of a program that is not trusted.

This file runs on both sides: it is imported here, and its text is sent into the container in front of the program
(hence the standard library alone). Reading builds plain data and nothing else: no class is looked up and no code is
run, so a hostile text can at most be a value or a fault. Values are compared on this side, with expected ones that
the other side never sees.

Lists, texts, floats, truth values and None are JSON's own; everything else is an object with one key that names its
type. What is no plain data (an object of the program's own class, a match, a function) becomes `Opaque`.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

ITEMS = 100_000
"""Of an iterator that is drained; an endless one ends here."""
SMALL_BITS = 63
"""Longer integers travel in hexadecimal, whose reading takes linear time and has no limit of digits."""


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


def encode(value: Any, *, drain: bool = False) -> str:
    """A value as JSON.

    Args:
        value: Anything. A subclass of a plain type counts as that type, and so does a number of numpy's.
        drain: Whether other iterables than plain ones are read into lists.

    Returns:
        The text ``[exact, data]``, where `exact` says whether the outermost type is a plain one itself.
    """
    exact = type(value) in _EXACT
    return json.dumps([exact, _pack(value, drain)], ensure_ascii=True, separators=(",", ":"))


def decode(text: str) -> tuple[Any, bool]:
    """The value in a text of `encode`, and whether its outermost type was a plain one.

    Raises:
        ValueError: The text is something else, or nests too deeply.
    """
    try:
        exact, data = json.loads(text)
        return _unpack(data), exact is True
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"no exchanged value ({type(error).__name__})") from None


class OutOfTime(BaseException):
    """A call used up its processor time; no `except Exception` of the program's own catches it."""


def caller(source: str, entry_point: str, *, drain: bool) -> Callable[[str, float], str]:
    """Defines a program and makes its function callable with exchanged values; runs inside the container.

    Returns:
        A function of the encoded list of arguments and the call's processor time in seconds; it returns the
        seconds used, a space, and the encoded result. After a call that failed, the others are not made.

    Raises:
        NameError: The program does not define the entry point.
        BaseException: Whatever the program raises.
    """
    namespace: dict[str, Any] = {"__name__": "candidate"}
    exec(compile(source, "<candidate>", "exec"), namespace)  # noqa: S102 -- what this is for
    if entry_point not in namespace:
        raise NameError(f"name '{entry_point}' is not defined")
    function, usable = namespace[entry_point], True

    def out_of_time(*_: object) -> None:
        raise OutOfTime("the call used up its time")

    def call(arguments: str, seconds: float) -> str:
        nonlocal usable
        if not usable:
            raise RuntimeError("not called, as an earlier call failed")
        usable = False
        values, _ = decode(arguments)
        signal.signal(signal.SIGPROF, out_of_time)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        began = time.process_time()
        try:
            result = encode(function(*values), drain=drain)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        usable = True
        return f"{time.process_time() - began:.4f} {result}"

    return call


def _pack(value: Any, drain: bool) -> Any:
    # Methods of the plain types themselves: a subclass may have overridden its own.
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        whole = int.__int__(value)
        return whole if whole.bit_length() <= SMALL_BITS else {"int": hex(whole)}
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, complex):
        number = complex.__complex__(value)
        return {"complex": [number.real, number.imag]}
    if isinstance(value, list):
        return [_pack(item, drain) for item in list.__iter__(value)]
    if isinstance(value, tuple):
        return {"tuple": [_pack(item, drain) for item in tuple.__iter__(value)]}
    if isinstance(value, set):
        return {"set": [_pack(item, drain) for item in set.__iter__(value)]}
    if isinstance(value, frozenset):
        return {"frozenset": [_pack(item, drain) for item in frozenset.__iter__(value)]}
    if isinstance(value, dict):
        return {"dict": [[_pack(key, drain), _pack(item, drain)] for key, item in dict.items(value)]}
    if isinstance(value, bytes):
        return {"bytes": bytes.hex(value)}
    if isinstance(value, bytearray):
        return {"bytearray": bytearray.hex(value)}
    if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return _pack(value.item(), drain)
    if drain and hasattr(value, "__iter__"):
        return [_pack(item, drain) for item in islice(value, ITEMS)]
    return {"opaque": type(value).__name__[:80]}


def _unpack(data: Any) -> Any:
    if isinstance(data, list):
        return [_unpack(item) for item in data]
    if not isinstance(data, dict):
        return data
    ((kind, content),) = data.items()
    return _READERS[kind](content)


_EXACT = (type(None), bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict)
_READERS: dict[str, Callable[[Any], Any]] = {
    "int": lambda text: int(text, 16),
    "complex": lambda parts: complex(*(float(part) for part in parts)),
    "tuple": lambda items: tuple(_unpack(items)),
    "set": lambda items: set(_unpack(items)),
    "frozenset": lambda items: frozenset(_unpack(items)),
    "dict": lambda pairs: {_unpack(key): _unpack(item) for key, item in pairs},
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "opaque": Opaque,
}
