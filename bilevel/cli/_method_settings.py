"""Settings of methods from the command line: their parts' variants first, then the options of these."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import tyro

from bilevel.cli._settings import read_settings, split_leading, text_rules
from bilevel.experiments import preset
from bilevel.methods import METHODS, Method, hints_of, parts_of
from games.core import require, require_name

RENAMED = {
    "policy": "policy",
    "hidden": "policy.hidden-size (inner.hidden-size of ltos)",
    "activation": "policy.activation (inner.activation of ltos)",
    "channels": "policy.channels",
    "kernel": "policy.kernel-size",
    "stride": "policy.stride",
    "padding": "policy.padding",
    "memory": "policy.recurrent-size",
    "share-parameters": "policy.share-parameters",
    "inner-learner": "inner",
    "trace": "inner.gae-lambda",
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
    "exact": "inner.exact",
    "episodes": "inner.episodes",
    "surrogate": "inner.surrogate",
    "entropy": "inner.entropy-coef, a number or a schedule as 0:0.3, 200:0",
    "entropy-end": "inner.entropy-coef, a number or a schedule as 0:0.3, 200:0",
    "entropy-steps": "inner.entropy-coef, a number or a schedule as 0:0.3, 200:0",
    "learn-loss-weights": "loss-weights learned",
    "loss-weight-objective": "loss-weights.objective",
    "loss-weight-learning-rate": "loss-weights.learning-rate",
    "loss-weight-range": "loss-weights.max-factor",
    "outer-optimizer": "outer.optimizer",
    "outer-learning-rate": "outer.learning-rate (method.mixing-learning-rate of d3c)",
    "hypergradient": "outer.hypergradient",
    "reset": "outer.reset",
    "training": "training",
    "inner-rounds": "training.rounds",
    "outer-stage": "training.outer-steps",
    "phases": "training.phases",
    "discount": "inner.discount",
    "batch-size": "inner.batch-size",
    "buffer": "inner.buffer-size",
    "target-rate": "inner.tau",
    "exploration": "inner.exploration",
    "exploration-decay": "inner.exploration-decay",
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
    "hold": "sharing.hold",
    "model-optimizer": "opponents.optimizer",
    "model-learning-rate": "opponents.learning-rate",
    "model-steps": "opponents.steps",
}
"""Names of settings before they were in parts -> their names now."""
PARTS = {"policy", "inner", "outer", "training", "loss_weights", "sharing"}


def choices(method: Method) -> dict[str, list[str]]:
    """Parts of a method that have variants -> their names.

    >>> from bilevel.methods import LASE
    >>> choices(LASE())["inner"]
    ['policy-gradient', 'actor-critic', 'ppo']
    """
    return {part: list(variants) for part, variants in parts_of(type(method)).items() if len(variants) > 1}


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
    """Read a method's settings from the command line, and settings beside them.

    Args:
        prog: the command, for its help.
        arguments: options; --policy NAME, --inner NAME and the like may be among them.
        method: the settings that no option changes.
        others: further settings and their defaults, fields of `kind`.
        kind: the dataclass whose documentation and types these have.
        description: the first paragraphs of the help.
        config: markers of `tyro.conf`, for all settings.

    Returns:
        the method and the other settings.

    Raises:
        ValueError: a setting or variant is unknown, out of range, or of an earlier version (says which).
        SystemExit: help was asked for (code 0), or an option is unknown or malformed (code 2; says which).
    """
    named, rest = split_leading(prog, arguments, names=list(choices(method)), paths=())
    for word in rest:
        if word.startswith("--method."):
            require_current(word.removeprefix("--method.").partition("=")[0], method, "--method.", "--")
    fields, unfilled = [], {}
    for part, variants in parts_of(type(method)).items():
        chosen = getattr(named, part, None)
        if chosen is not None:
            require_name(chosen, variants, part.replace("_", " "))
            needs = [one for one in _fields(variants[chosen]) if one.default is dataclasses.MISSING]
            if needs and variants[chosen] is not type(getattr(method, part)):
                unfilled[part] = variants[chosen]
                written = {word.replace("_", "-").partition("=")[0] for word in rest}
                for option in (f"--{part}.{one.name}".replace("_", "-") for one in needs):
                    require(
                        bool({option, "-h", "--help"} & written),
                        f"--{part} {chosen} needs the option {option}.",
                    )
    wanted = {part: getattr(named, part) for part in choices(method) if getattr(named, part) is not None}
    method = method.with_settings({part: name for part, name in wanted.items() if part not in unfilled})
    for word in rest:
        _require_known(word, method, unfilled)
    for name, default in others.items():
        fields.append(_option(kind or type(method), name, default))
    for part in parts_of(type(method)):
        value = getattr(method, part)
        if part in unfilled:
            fields.append((part, unfilled[part], dataclasses.field()))
        elif value is not None and _fields(type(value)):
            fields.append((part, type(value), dataclasses.field(default=value)))
    own = [name for name in hints_of(type(method)) if name not in parts_of(type(method))]
    if own:
        options = [_option(type(method), name, getattr(method, name)) for name in own]
        own_kind: Any = dataclasses.make_dataclass("MethodSettings", options, frozen=True, kw_only=True)
        fields.append(("method", own_kind, dataclasses.field(default=own_kind())))
    every: Any = dataclasses.make_dataclass("Options", fields, frozen=True, kw_only=True)
    lines = [
        f"--{part.replace('_', '-')}: {' or '.join(names)} (here {_chosen(method, part, unfilled)})"
        for part, names in choices(method).items()
    ]
    about = f"{description}\n\nParts of the method; each has its own options:\n" + "\n".join(lines)
    found = read_settings(every, rest, prog=prog, description=about, config=config, rules=text_rules())
    changed = {part: getattr(found, part) for part in parts_of(type(method)) if hasattr(found, part)}
    changed |= {name: getattr(found.method, name) for name in own}
    return dataclasses.replace(method, **changed), {name: getattr(found, name) for name in others}


def _require_known(word: str, method: Method, unfilled: Mapping[str, Any]) -> None:
    """Raise ValueError if an option is of another part or variant than the method has."""
    name = word.removeprefix("--").partition("=")[0].replace("-", "_")
    part, dot, setting = name.partition(".")
    parts = parts_of(type(method))
    if not word.startswith("--") or part not in PARTS | parts.keys():
        return
    require(
        part in parts,
        f"{type(method).__name__} has no {part.replace('_', ' ')}: its parts are {', '.join(parts)}.",
    )
    kind = unfilled.get(part, type(getattr(method, part)))
    if dot and setting.removeprefix("no_") not in (hints_of(kind) if dataclasses.is_dataclass(kind) else ()):
        method.refuse(f"{part}.{setting.removeprefix('no_')}")


def require_current(setting: str, method: Method, before: str, after: str) -> None:
    """Raise ValueError, naming the new form, if a setting has the name of an earlier version.

    >>> from bilevel.methods import ToS
    >>> require_current("inner-steps", ToS(), "--method.", "--")
    Traceback (most recent call last):
    ValueError: --method.inner-steps is now --inner.steps.
    """
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


def field_docs(kind: type) -> dict[str, str]:
    """Fields of a dataclass -> the docstrings under them, its bases' too."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):  # a class without a file
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for field, doc in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr):
                text = ast.literal_eval(doc.value) if isinstance(doc.value, ast.Constant) else None
                if isinstance(field.target, ast.Name) and isinstance(text, str):
                    docs[field.target.id] = " ".join(text.split())
    return docs


def _fields(kind: Any) -> Sequence[dataclasses.Field[Any]]:
    return () if kind is None else dataclasses.fields(kind)


def _option(kind: type, name: str, default: Any) -> tuple[str, Any, Any]:
    """A field of a dataclass of options, with its documentation as help."""
    hint = type(default) if dataclasses.is_dataclass(default) else hints_of(kind)[name]
    if not dataclasses.is_dataclass(hint):
        hint = Annotated[hint, tyro.conf.arg(help=field_docs(kind).get(name, ""))]
    return name, hint, dataclasses.field(default=default)


def _chosen(method: Method, part: str, unfilled: Mapping[str, Any]) -> str:
    name: str = getattr(unfilled.get(part) or getattr(method, part), "variant", "none")
    return name


def labeled_methods(words: Sequence[str]) -> dict[str, str]:
    """Read the methods of a comparison, in order.

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
        game_name: the game, for the presets.
        names: label -> method's name.
        settings: each LABEL.SETTING=VALUE, or SETTING=VALUE for all methods, with the names that the options
            of `bilevel train` have, as tos.inner.steps=5; lists have commas between their values.

    Returns:
        label -> method.

    Raises:
        ValueError: a word is of another form, a label or a setting is unknown, or a value is out of range.
        SystemExit: a value cannot be read (code 2; says which).

    >>> names = {"selfish": "selfish", "generous": "fixed"}
    >>> methods = methods_with_settings("chicken", names, ["generous.self-interest=0.6", "inner.steps=2"])
    >>> methods["generous"].self_interest, [method.inner.steps for method in methods.values()]
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
        if label not in methods:
            parts = {part for method in methods.values() for part in parts_of(type(method))}
            if dot and label.replace("-", "_") not in parts:
                require_name(label, methods, "method of this comparison")
            label, setting = "", name
        for chosen in [label] if label else methods:
            options[chosen] += _words(methods[chosen], setting, value)
    return {label: _changed(label, method, options[label]) for label, method in methods.items()}


def _words(method: Method, setting: str, value: str) -> list[str]:
    """The words by which the command line takes a setting."""
    part, dot, inner = setting.replace("-", "_").partition(".")
    if not dot and part in choices(method):
        return [f"--{setting}", value]
    require_current(setting, method, "", "")
    kinds: list[Any] = list(parts_of(type(method)).get(part, {}).values()) if dot else [type(method)]
    hints = {name: hint for kind in kinds if kind for name, hint in hints_of(kind).items()}
    name = inner if dot else part
    if name not in hints:
        method.with_settings({setting: value})  # which refuses it, in one sentence
    option = setting if dot else f"method.{setting}"
    several = hints[name] == tuple[int, ...]
    return [f"--{option}", *value.split(",")] if several else [f"--{option}={value}"]


def _changed(label: str, method: Method, options: list[str]) -> Method:
    if not options:
        return method
    prog = f"bilevel compare, settings of {label}"
    return read_with_method(prog, options, method, {}, config=(tyro.conf.FlagConversionOff,))[0]
