"""Dataclasses again from the JSON that was made of them; whatever does not fit is refused."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

from bilevel.errors import require
from bilevel.setting_types import fits, spelled


def restore(default: Any, saved: Any, name: str = "") -> Any:
    """Build a dataclass of the type of `default` from what `json` kept of `dataclasses.asdict`.

    Dataclasses inside it take their types from `default`, too; lists become tuples.

    Args:
        default: an instance, whose settings are all replaced.
        saved: setting -> value.
        name: what to call the whole in a refusal; "" at the top.

    Raises:
        ValueError: a setting is missing, unknown, of another type, or refused by the dataclass itself.

    >>> from bilevel.experiment.presets import preset
    >>> game, method = preset("escape-room", "selfish")
    >>> restore(game, {**dataclasses.asdict(game), "agents": 3}).agents
    3
    >>> restore(game, {**dataclasses.asdict(game), "agents": "three"}, "game")
    Traceback (most recent call last):
    ValueError: game.agents must be of the type int, but it is 'three'.
    """
    require(isinstance(saved, dict), f"{name} must be an object with settings, but it is {saved!r}.")
    known = {field.name for field in dataclasses.fields(default)}
    for setting in sorted(known - saved.keys()):
        raise ValueError(f"The setting {_join(name, setting)} is missing.")
    for setting in sorted(saved.keys() - known):
        raise ValueError(f"There is no setting {_join(name, setting)}.")
    hints = get_type_hints(type(default), include_extras=True)

    def value_of(setting: str) -> Any:
        before, value = getattr(default, setting), _tuples(saved[setting])
        if dataclasses.is_dataclass(before):
            return restore(before, value, _join(name, setting))
        hint = hints[setting]
        require(
            fits(value, hint),
            f"{_join(name, setting)} must be of the type {spelled(hint)}, but it is {value!r}.",
        )
        return value

    return dataclasses.replace(default, **{setting: value_of(setting) for setting in saved})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _join(name: str, setting: str) -> str:
    return f"{name}.{setting}" if name else setting
