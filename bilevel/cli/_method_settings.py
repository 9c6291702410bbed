"""Settings of methods from the command line: variants of parts first, then their options."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import tyro

from bilevel.cli._settings import read_settings, split_leading, text_rules
from bilevel.core import field_docs
from bilevel.experiments import RunConfig, preset
from bilevel.methods import METHODS, Method, hints_of, parts_of
from games.core import require, require_name

MOVED = {
    "policy": ("channels", "stride", "padding", "share-parameters"),
    "inner": ("exact", "episodes", "surrogate", "discount", "batch-size", "exploration", "exploration-decay"),
    "outer": ("hypergradient", "reset"),
    "training": ("phases",),
}
RENAMED = {name: f"{part}.{name}" for part, names in MOVED.items() for name in names} | {
    "policy": "policy",
    "hidden": "policy.hidden-size (inner.hidden-size of ltos)",
    "activation": "policy.activation (inner.activation of ltos)",
    "kernel": "policy.kernel-size",
    "memory": "policy.recurrent-size",
    "inner-learner": "inner",
    "trace": "inner.gae-lambda (method.trace-decay of inequity-aversion)",
    "policy-weight": "inner.policy-coef",
    "value-weight": "inner.vf-coef",
    "clip-range": "inner.clip-coef",
    "epochs": "inner.update-epochs",
    "minibatches": "inner.num-minibatches",
    "normalize-advantages": "inner.norm-adv",
    "value-clip": "inner.clip-vloss",
    "inner-optimizer": "inner.optimizer",
    "inner-learning-rate": "inner.learning-rate",
    "inner-steps": "inner.steps",
    "entropy": "inner.entropy-coef, a number or a schedule as 0:0.3, 200:0",
    "entropy-end": "inner.entropy-coef, a number or a schedule as 0:0.3, 200:0",
    "entropy-steps": "inner.entropy-coef, a number or a schedule as 0:0.3, 200:0",
    "learn-loss-weights": "loss-weights learned",
    "loss-weight-objective": "loss-weights.objective",
    "loss-weight-learning-rate": "loss-weights.learning-rate",
    "loss-weight-range": "loss-weights.max-factor",
    "outer-optimizer": "outer.optimizer",
    "outer-learning-rate": "outer.learning-rate (method.mixing-learning-rate of d3c)",
    "training": "training",
    "inner-rounds": "training.rounds",
    "outer-stage": "training.outer-steps",
    "buffer": "inner.buffer-size",
    "target-rate": "inner.tau",
    "exploration-least": "inner.exploration-min",
    "outer-every": "outer.every",
    "outer-updates": "outer.updates",
    "sharing-hidden": "sharing.hidden-size (method.sharing-hidden-size of ltos)",
    "incentive-hidden": "method.incentive-hidden-size",
    "planner-hidden": "method.planner-hidden-size",
    "critic-hidden": "critic.hidden-size",
    "perspective-hidden": "perspective.hidden-size",
    "critic-trace": "critic.gae-lambda",
    "most": "method.max-incentive",
    "model-optimizer": "opponents.optimizer",
    "model-learning-rate": "opponents.learning-rate",
    "model-steps": "opponents.steps",
    "hold": "sharing.interval (method.interval of ltos)",
    "sharing.hold": "sharing.interval",
    "least-log-weight": "method.min-log-weight",
}
"""Names of settings in an earlier version, without `method.` -> their current names."""
PARTS = {"policy", "inner", "outer", "training", "loss_weights", "sharing", "rule"}


def read_with_method(
    prog: str,
    arguments: Sequence[str],
    method: Method,
    others: Mapping[str, Any],
    *,
    kind: type | None = None,
    description: str = "",
    config: Sequence[Any] = (),
) -> tuple[Method, dict[str, Any]]:
    """Read a method's settings, and other settings, from the command line; return both with their changes.

    Args:
        prog, arguments, description, config: as in `read_settings`; --policy NAME and the like come first.
        method: the default settings.
        others: further settings and their defaults, fields of `kind`.

    Raises:
        ValueError: a setting or variant is unknown, out of range, or of an earlier version (says which).
        SystemExit: as `read_settings`.
    """
    choices = _choices(method)
    named, rest = split_leading(prog, arguments, names=list(choices), paths=())
    chosen = {part: name for part, name in vars(named).items() if part in choices and name is not None}
    unfilled = _unfilled(method, chosen, rest)
    method = method.with_settings({part: name for part, name in chosen.items() if part not in unfilled})
    for word in rest:
        _require_known(word, method, unfilled)
    fields = [_option(kind or type(method), name, default) for name, default in others.items()]
    fields += _method_options(method, unfilled)
    options: Any = dataclasses.make_dataclass("Options", fields, frozen=True, kw_only=True)
    lines = [
        f"--{part.replace('_', '-')}: {', '.join(names)} (selected: {_variant(method, part, unfilled)})"
        for part, names in choices.items()
    ]
    heading = "Components of the method; the options below are those of the selected ones:"
    about = "\n".join((f"{description}\n\n{heading}", *lines))
    found = read_settings(options, rest, prog=prog, description=about, config=config, rules=text_rules())
    changed = {part: getattr(found, part) for part in parts_of(type(method)) if hasattr(found, part)}
    changed |= vars(found.method) if hasattr(found, "method") else {}
    return dataclasses.replace(method, **changed), {name: getattr(found, name) for name in others}


def _choices(method: Method) -> dict[str, list[str]]:
    """Parts of a method that have variants -> their names."""
    return {part: list(variants) for part, variants in parts_of(type(method)).items() if len(variants) > 1}


def _unfilled(method: Method, chosen: Mapping[str, str], options: Sequence[str]) -> dict[str, Any]:
    """Part -> its new variant, where this has settings without defaults, which must be among the options."""
    found = {}
    written = {word.replace("_", "-").partition("=")[0] for word in options}
    for part, name in chosen.items():
        variants = parts_of(type(method))[part]
        require_name(name, variants, part.replace("_", " "))
        needs = [one.name for one in _fields(variants[name]) if one.default is dataclasses.MISSING]
        if needs and variants[name] is not type(getattr(method, part)):
            found[part] = variants[name]
            for option in (f"--{part}.{need}".replace("_", "-") for need in needs):
                there = bool(written & {option, "-h", "--help"})
                require(there, f"--{part} {name} needs the option {option}.")
    return found


def _method_options(method: Method, unfilled: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Fields of options of a method's parts, and of its own settings."""
    parts = parts_of(type(method))
    for part in parts:
        value = getattr(method, part)
        if part in unfilled:
            yield part, unfilled[part], dataclasses.field()
        elif value is not None and _fields(type(value)):
            yield part, type(value), dataclasses.field(default=value)
    own = [name for name in hints_of(type(method)) if name not in parts]
    if own:
        options = [_option(type(method), name, getattr(method, name)) for name in own]
        kind: Any = dataclasses.make_dataclass("MethodSettings", options, frozen=True, kw_only=True)
        yield "method", kind, dataclasses.field(default=kind())


def _option(kind: type, name: str, default: Any) -> tuple[str, Any, Any]:
    """A field of a dataclass of options, with its documentation as help."""
    if dataclasses.is_dataclass(default):
        return name, type(default), dataclasses.field(default=default)
    hint = hints_of(kind)[name]
    help_text = tyro.conf.arg(help=field_docs(kind).get(name, ""))
    return name, Annotated[hint, help_text], dataclasses.field(default=default)


def _fields(kind: Any) -> Sequence[dataclasses.Field[Any]]:
    return () if kind is None else dataclasses.fields(kind)


def _variant(method: Method, part: str, unfilled: Mapping[str, Any]) -> str:
    name: str = getattr(unfilled.get(part) or getattr(method, part), "variant", "none")
    return name


def _require_known(word: str, method: Method, unfilled: Mapping[str, Any]) -> None:
    """Raise ValueError if an option is of another part or variant than the method has, or has an old name."""
    name = word.removeprefix("--").partition("=")[0].replace("-", "_")
    part, dot, setting = name.partition(".")
    parts = parts_of(type(method))
    if word.startswith("--method."):
        _require_current(setting, method, "--method.", "--")
    if not word.startswith("--") or part not in PARTS | parts.keys():
        return
    require(
        part in parts,
        f"{type(method).__name__} has no {part.replace('_', ' ')}: its parts are {', '.join(parts)}.",
    )
    kind = unfilled.get(part, type(getattr(method, part)))
    if dot and setting.removeprefix("no_") not in (hints_of(kind) if dataclasses.is_dataclass(kind) else ()):
        now = RENAMED.get(name.replace("_", "-"))
        require(now is None, f"--{name.replace('_', '-')} is now --{now}.")
        method.refuse(f"{part}.{setting.removeprefix('no_')}")


def _require_current(setting: str, method: Method, before: str, after: str) -> None:
    """Raise ValueError, naming the new form, if a setting has the name of an earlier version."""
    name = setting.replace("_", "-")
    plain = name.removeprefix("no-")
    parts = parts_of(type(method))
    part, _, rest = plain.replace("-", "_").partition("_")
    now = RENAMED.get(plain)
    if plain.replace("-", "_") in hints_of(type(method)):
        now = plain if plain in parts else None
    elif any(rest in hints_of(kind) for kind in parts.get(part, {}).values() if kind):
        now = f"{part}.{rest}".replace("_", "-")
    if now is not None:
        now = now.replace("inner.", "inner.no-", 1) if name != plain else now
        raise ValueError(f"{before}{name} is now {after}{now}.")


def labeled_methods(words: Sequence[str]) -> dict[str, str]:
    """Parse the methods of a comparison, each NAME or LABEL=NAME: label -> method's name.

    Raises:
        ValueError: a method is unknown, or a label is there twice.
    """
    by_label: dict[str, str] = {}
    for word in words:
        label, _, name = word.rpartition("=")
        METHODS.require(name)
        label = label or name
        require(
            label not in by_label,
            f"{label} is there twice: give one of them a label of its own, as in other={name}.",
        )
        by_label[label] = name
    return by_label


def methods_with_settings(
    game_name: str, names: Mapping[str, str], settings: Sequence[str]
) -> dict[str, Method]:
    """Build methods, label -> name, with their presets for a game, and changed settings.

    These are LABEL.SETTING=VALUE, or SETTING=VALUE for all methods, with the names that the options of
    `bilevel train` have, such as tos.inner.steps=5; values of a list are separated by commas.

    Raises:
        ValueError: a word is of another form, a label or a setting is unknown, or a value is out of range.
        SystemExit: a value cannot be read (code 2; says which).
    """
    methods = {label: preset(game_name, name)[1] for label, name in names.items()}
    options: dict[str, list[str]] = {label: [] for label in methods}
    for text in settings:
        labels, setting, value = _read_setting(text, methods)
        for label in labels:
            options[label] += _words(methods[label], setting, value)
    for label, words in options.items():
        if words:
            prog, config = f"bilevel compare, settings of {label}", (tyro.conf.FlagConversionOff,)
            methods[label] = read_with_method(prog, words, methods[label], {}, config=config)[0]
    return methods


def labeled_configs(conditions: Any, words: Sequence[str], settings: Sequence[str]) -> dict[str, RunConfig]:
    """Build a run for each method, label -> configuration.

    Args:
        conditions: has, as attributes, the game and other fields of `RunConfig`, common to all methods.
        words: methods, as in `labeled_methods`.
        settings: their changed settings, as in `methods_with_settings`.

    Raises:
        ValueError: as for these.
        SystemExit: as for `methods_with_settings`.
    """
    names = labeled_methods(words)
    methods = methods_with_settings(conditions.game_name, names, settings)
    fields = [field.name for field in dataclasses.fields(RunConfig) if hasattr(conditions, field.name)]
    shared = {name: getattr(conditions, name) for name in fields}
    return {
        label: RunConfig(method_name=names[label], method=method, **shared)
        for label, method in methods.items()
    }


def names_of_settings(
    game_name: str, names: Mapping[str, str], settings: Sequence[str]
) -> dict[str, frozenset[str]]:
    """Find the dotted names of the settings that `methods_with_settings` changes, by label of the method."""
    methods = {label: preset(game_name, name)[1] for label, name in names.items()}
    read = [_read_setting(text, methods) for text in settings]
    return {
        label: frozenset(
            setting.replace("-", "_").removeprefix("method.")
            for labels, setting, _ in read
            if label in labels
        )
        for label in methods
    }


def _read_setting(text: str, methods: Mapping[str, Method]) -> tuple[list[str], str, str]:
    """Split [LABEL.]SETTING=VALUE into labels, setting and value; ValueError as `methods_with_settings`."""
    name, equals, value = text.partition("=")
    require(
        bool(equals and name), f"--set takes [LABEL.]SETTING=VALUE, such as tos.own-share=0.8, not {text!r}."
    )
    label, dot, setting = name.partition(".")
    if label in methods:
        return [label], setting, value
    parts = {part for method in methods.values() for part in parts_of(type(method))}
    if dot and label.replace("-", "_") not in parts:
        require_name(label, methods, "method or label")
    return list(methods), name, value


def _words(method: Method, setting: str, value: str) -> list[str]:
    """Command-line arguments of a setting."""
    part, dot, name = setting.replace("-", "_").partition(".")
    if not dot and part in _choices(method):
        return [f"--{setting}", value]
    _require_current(setting, method, "", "")
    kinds: list[Any] = list(parts_of(type(method)).get(part, {}).values()) if dot else [type(method)]
    hints = {known: hint for kind in kinds if kind for known, hint in hints_of(kind).items()}
    if (name or part) not in hints:
        method.with_settings({setting: value})  # which refuses it, in one sentence
    option = setting if dot else f"method.{setting}"
    several = hints[name or part] == tuple[int, ...]
    return [f"--{option}", *value.split(",")] if several else [f"--{option}={value}"]
