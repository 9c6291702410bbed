"""Registries: games, methods, estimators and the like by their names."""

from __future__ import annotations

import re
from collections import UserDict
from collections.abc import Mapping
from importlib import import_module
from typing import Generic, TypeVar

from games.core._errors import require, require_name

T = TypeVar("T")


class Registry(UserDict[str, T], Generic[T]):
    """A mapping from names to values of one kind, to which users may add theirs.

    A value may be given as the text "module:attribute"; it is imported when it is first looked up.

    Args:
        kind: noun for the values, in the singular, for error messages.
        values: the initial ones, by name.
        listed_by: command that lists the names, if they are too many for an error message.

    >>> colors = Registry("color", {"dark-red": (139, 0, 0)})
    >>> colors.register("white", (255, 255, 255))
    >>> colors.find("Dark-Red")
    Traceback (most recent call last):
    ValueError: There is no color 'Dark-Red'. Did you mean 'dark-red'? Known: dark-red, white.
    """

    def __init__(
        self, kind: str, values: Mapping[str, T | str] = {}, *, listed_by: str | None = None
    ) -> None:
        super().__init__(values)  # type: ignore[arg-type]
        self.kind, self.listed_by = kind, listed_by

    def __getitem__(self, name: str) -> T:
        value = self.data[name]
        if isinstance(value, str):
            module, _, attribute = value.partition(":")
            value = self.data[name] = getattr(import_module(module), attribute)
        return value

    def require(self, name: str) -> None:
        """Raise ValueError, suggesting the nearest names, ignoring case, unless a name is there."""
        require_name(name, self, self.kind, self.listed_by)

    def find(self, name: str) -> T:
        """Look up a name from user input; ValueError as `require`."""
        self.require(name)
        return self[name]

    def register(self, name: str, value: T | str, *, replace: bool = False) -> None:
        """Add a value, or "module:attribute", for the rest of the process.

        Raises:
            ValueError: the name is taken and `replace` is False, or is not hyphenated lower case.
        """
        require(
            re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) is not None,
            f"The name of a new {self.kind} is lower case, its words joined by hyphens; {name!r} is not.",
        )
        require(
            replace or name not in self,
            f"The {self.kind} {name!r} exists already: replace=True puts the new one in its place.",
        )
        self.data[name] = value  # type: ignore[assignment]
