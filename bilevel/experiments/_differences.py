"""In which settings two runs differ, and how a refusal says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bilevel.experiments._config import RunConfig


def differences(one: RunConfig, other: RunConfig) -> dict[str, tuple[Any, Any]]:
    """The settings in which two runs differ: name, dotted -> (value of one, value of the other).

    A setting that only one of them has, because games or methods differ, is None in the other.

    >>> import dataclasses
    >>> from bilevel.experiments._config import default_config
    >>> config = default_config("chicken", "tos")
    >>> differences(config, dataclasses.replace(config, seeds=8))
    {'seeds': (32, 8)}
    """
    return between(one.plain, other.plain)


def between(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings in which two nested mappings differ, as `differences`.

    >>> between({"game": {"agents": 2}}, {"game": {"agents": 3}, "seeds": 8})
    {'game.agents': (2, 3), 'seeds': (None, 8)}
    """
    before, after = _flat(one), _flat(other)
    names = list(dict.fromkeys([*before, *after]))
    return {
        name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    }


def listed(found: Mapping[str, tuple[Any, Any]], form: str) -> str:
    """The first few differences, in words.

    >>> listed({"seeds": (32, 8), "seed": (0, 1)}, "{0}, not {1}")
    'seeds 32, not 8, seed 0, not 1'
    """
    shown = [f"{name} {form.format(*values)}" for name, values in list(found.items())[:3]]
    more = len(found) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return flat
