"""Public names of a package that load when they are first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the `__getattr__` and `__dir__` of a package whose modules load on first use.

    Args:
        package: its `__name__`.
        homes: module, as a full path -> the public names that it defines.

    Raises:
        AttributeError: when a name is asked for that is not among them.

    >>> get, names = lazy_names("numbers", {"math": ["pi", "sqrt"]})
    >>> get("sqrt")(9.0), names()
    (3.0, ['pi', 'sqrt'])
    """
    home = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(home[name]), name)

    return get, lambda: sorted(home)
