"""Methods of a comparison from the command line: [LABEL=]NAME, and their settings, [LABEL.]SETTING=VALUE."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import tyro

from bilevel.cli._settings import method_rules, read_settings
from bilevel.experiments import preset
from bilevel.methods import METHODS, Method
from games.core import require, require_name


def labeled_methods(words: Sequence[str]) -> dict[str, str]:
    """Read what is compared, in order.

    Args:
        words: each a method's name, or LABEL=NAME.

    Returns:
        label -> method's name.

    Raises:
        ValueError: a method is unknown, or a label is there twice.

    >>> labeled_methods(["selfish", "generous=fixed"])
    {'selfish': 'selfish', 'generous': 'fixed'}
    """
    found: dict[str, str] = {}
    for word in words:
        label, _, name = word.rpartition("=")
        require_name(name, METHODS, "method")
        label = label or name
        require(
            label not in found,
            f"{label} is there twice: give one of them a label of its own, as in other={name}.",
        )
        found[label] = name
    return found


def methods_with_settings(
    game_name: str, names: Mapping[str, str], settings: Sequence[str]
) -> dict[str, Method]:
    """Build methods with the settings that work for the game, changed as the command line says.

    Args:
        game_name: what is played, for the presets.
        names: label -> method's name.
        settings: each LABEL.SETTING=VALUE, or SETTING=VALUE for all methods; of a setting that is a list, the
            values have commas between them.

    Returns:
        label -> method.

    Raises:
        ValueError: a word is of another form, a label or a setting is unknown, or a value is out of range.
        SystemExit: a value cannot be read (code 2; says which).

    >>> names = {"selfish": "selfish", "generous": "fixed"}
    >>> methods = methods_with_settings("chicken", names, ["generous.self-interest=0.6", "inner-steps=2"])
    >>> methods["generous"].self_interest, [method.inner_steps for method in methods.values()]
    (0.6, [2, 2])
    """
    methods = {label: preset(game_name, name)[1] for label, name in names.items()}
    options: dict[str, list[str]] = {label: [] for label in methods}
    for text in settings:
        name, equals, value = text.partition("=")
        require(
            bool(equals and name), f"--set takes [LABEL.]SETTING=VALUE, as tos.own-share=0.8, not {text!r}."
        )
        label, dot, setting = name.partition(".")
        if dot:
            require_name(label, methods, "method of this comparison")
        for chosen in [label] if dot else methods:
            options[chosen] += _option(chosen, methods[chosen], setting if dot else name, value)
    return {label: _changed(label, method, options[label]) for label, method in methods.items()}


def _option(label: str, method: Method, setting: str, value: str) -> list[str]:
    """The words by which tyro takes a setting."""
    known = {field.name.replace("_", "-"): field.name for field in dataclasses.fields(method)}
    first = setting.replace("_", "-").partition(".")[0]
    require_name(first, known, f"setting of {label}")
    several = isinstance(getattr(method, known[first]), tuple)
    return [f"--{setting}", *value.split(",")] if several else [f"--{setting}={value}"]


def _changed(label: str, method: Method, options: list[str]) -> Method:
    if not options:
        return method
    return read_settings(
        type(method),
        options,
        prog=f"bilevel compare, settings of {label}",
        default=method,
        config=(tyro.conf.FlagConversionOff,),
        rules=method_rules(),
    )
