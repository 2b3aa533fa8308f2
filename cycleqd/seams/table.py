"""A table of classes that a configuration chooses from by name."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint
from types import MappingProxyType
from typing import Any, NamedTuple

from cycleqd.seams.installed import offered

Setting = bool | int | float | str
"""What a configuration can say of an operator."""


class Row(NamedTuple):
    """One choice.

    Attributes:
        target: ``module:Class``, imported when it is chosen.
        source: Where it is described.
        usual: Settings that a configuration means unless it gives them, where they are not the class's own defaults.
    """

    target: str
    source: str
    usual: Mapping[str, float] = MappingProxyType({})


class SeamTable(Mapping[str, Row]):
    """All choices of one seam by name, in their order.

    Args:
        what: What a row is, for messages: ``mutation``.
        rows: The rows of this package.
        group: The entry-point group in which other packages offer theirs; None where they can't. With a group a
            ``module:Class`` may be named as well.
        methods: What a class must have.
    """

    def __init__(
        self, what: str, rows: Mapping[str, Row], *, group: str | None = None, methods: tuple[str, ...] = ()
    ) -> None:
        self.what = what
        self.group = group
        self.methods = methods
        self._rows = dict(rows)

    def __getitem__(self, name: str) -> Row:
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def names(self) -> list[str]:
        """Every name that can be chosen: the rows', then those of other packages that are installed."""
        return [
            *self._rows,
            *(name for name in sorted({point.name for point in self._offered()}) if name not in self._rows),
        ]

    def check(self, name: str) -> str:
        """The name, if it can be chosen.

        Raises:
            ValueError: There is no such row, and no class of that name, or more than one.
        """
        if self._target(name) is None:
            self.load(name)
        return name

    def load(self, name: str) -> Any:
        """The class of a name.

        Raises:
            ValueError: There is no such row, or more than one, or its class can't be imported, or has not the methods.
        """
        target = self._target(name) or name
        module, colon, attribute = target.partition(":")
        if not colon or (target == name and self.group is None):
            more = f"; installed packages may add some, and module:Class is one, too ({self.group})"
            raise ValueError(
                f"no {self.what} is called {name!r}; there are {', '.join(self.names())}{more if self.group else ''}"
            )
        try:
            found = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"the {self.what} {name!r} can't be imported from {target}: {error}") from error
        if not isinstance(found, type):
            raise ValueError(f"the {self.what} {name!r} is no class: {target} is a {type(found).__name__}")
        if missing := [method for method in self.methods if not hasattr(found, method)]:
            raise ValueError(f"the {self.what} {name!r} is no {self.what}: {target} has no {', '.join(missing)}")
        return found

    def settings(self, name: str) -> tuple[str, ...]:
        """Names of the parameters of a class's constructor.

        Raises:
            ValueError: As `load`.
        """
        return tuple(inspect.signature(self.load(name)).parameters)

    def make(self, name: str, *positional: Any, **available: Any) -> Any:
        """An object of the class, given those of the settings that its constructor names.

        Args:
            name: The row's.
            positional: Its constructor's first arguments.
            available: What it may ask for by name.

        Raises:
            ValueError: As `load`, or the class wants what is not available, or refuses a setting.
        """
        kind = self.load(name)
        parameters = inspect.signature(kind).parameters.values()
        named = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
        wanted = named[len(positional) :]
        missing = [one.name for one in wanted if one.default is one.empty and one.name not in available]
        if missing:
            raise ValueError(f"the {self.what} {name!r} needs {', '.join(missing)}: set it in the configuration")
        return kind(*positional, **{one.name: available[one.name] for one in wanted if one.name in available})

    def _target(self, name: str) -> str | None:
        """The class of a row or of an installed package, None where neither has the name.

        Raises:
            ValueError: More than one has it: which one a run meant could not be told afterwards.
        """
        given = [point for point in self._offered() if point.name == name]
        own = self._rows.get(name)
        if len(given) + (own is not None) > 1:
            who = ["cycleqd itself"] * (own is not None) + [_package(point) for point in given]
            raise ValueError(
                f"the {self.what} {name!r} is given by {' and by '.join(who)}: uninstall all packages but one"
            )
        if own is not None:
            return own.target
        return given[0].value if given else None

    def _offered(self) -> tuple[EntryPoint, ...]:
        return offered(self.group) if self.group is not None else ()


def _package(point: EntryPoint) -> str:
    return f"the package {point.dist.name} {point.dist.version}" if point.dist else "a package without a name"
