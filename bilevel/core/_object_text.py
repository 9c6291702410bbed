"""Objects of a registry in text form, `truncated(steps=5)`: a name, and settings that are literals."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

from bilevel.core._text import fits, read_settings, spelled, write_settings
from games.core import Registry, require, require_name

T = TypeVar("T")


def split_object_text(text: str, registry: Registry[Any], example: str) -> tuple[str, dict[str, Any]]:
    """Split NAME or NAME(SETTING=VALUE, ...) into a registered name and its settings.

    Args:
        text: the text; nothing in it is evaluated.
        registry: classes by name; its `kind` is a noun for messages.
        example: a correct text, for messages.

    Raises:
        ValueError: the text cannot be read, or there is no such name.

    >>> from games.core import Registry
    >>> registry = Registry("fraction", {"half": float})
    >>> split_object_text("half(of=3)", registry, "half(of=2)")
    ('half', {'of': 3})
    """
    found = re.fullmatch(r"\s*([\w-]+)\s*(\(.*\))?\s*", text, re.DOTALL)
    if found is None:
        raise ValueError(
            f"{text!r} is not a {registry.kind}: write its name, or its name with settings, as in {example}."
        )
    settings = read_settings(found[2] or "()", of=f"a {registry.kind}", within=text, example=example)
    registry.require(found[1])
    return found[1], settings


def build_object(name: str, registry: Registry[type[T]], settings: Mapping[str, Any]) -> T:
    """Build the dataclass of a registered name from its settings.

    Raises:
        ValueError: a setting is unknown, missing, of another type, or out of range.

    >>> from dataclasses import dataclass
    >>> from games.core import Registry
    >>> @dataclass(frozen=True)
    ... class Ratio:
    ...     above: int
    ...     below: int = 1
    >>> build_object("ratio", Registry("number", {"ratio": Ratio}), {"above": 3})
    Ratio(above=3, below=1)
    """
    kind: Any = registry.find(name)
    fields, hints = dataclasses.fields(kind), get_type_hints(kind)
    for setting, value in settings.items():
        require_name(setting, [field.name for field in fields], f"setting of {name}")
        require(
            fits(value, hints[setting]),
            f"The setting {setting} of {name} must be of the type {spelled(hints[setting])}, but it is "
            f"{value!r}.",
        )
    for field in fields:
        given = field.name in settings or _default(field) is not dataclasses.MISSING
        require(given, f"The {registry.kind} {name!r} needs the setting {field.name!r}.")
    built: T = kind(**settings)
    return built


def object_text(instance: Any, registry: Registry[Any], registration: str) -> str:
    """Write an object in the text form from which `build_object` builds an equal one.

    Args:
        instance: a dataclass whose class is registered.
        registry: classes by name.
        registration: call that registers a class, for messages.

    Returns:
        Its name, and in parentheses the settings that differ from their defaults.

    Raises:
        ValueError: its class has no name, or a setting is not a literal.

    >>> from games.networked import GRAPHS, Ring
    >>> object_text(Ring(reach=2), GRAPHS, "GRAPHS.register(name, Ring)")
    'ring(reach=2)'
    """
    kind = type(instance)
    names = [name for name, known in registry.items() if known is kind]
    require(
        bool(names),
        f"{kind.__name__} has no name by which text (config.json, say) could hold it: {registration} gives "
        "it one.",
    )
    values = [(each.name, getattr(instance, each.name), _default(each)) for each in dataclasses.fields(kind)]
    return names[0] + write_settings(
        {name: value for name, value, default in values if repr(value) != repr(default)}
    )


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
