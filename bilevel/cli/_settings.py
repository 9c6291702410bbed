"""Settings from the command line, `--load FILE`, and messages about invalid values."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import importlib.util
import io
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from bilevel.core import docstring_paragraphs
from games.core import require

LONGEST = 3500
"""Characters of an error message; the middle of a longer one, which repeats its input, is left out."""
Settings = TypeVar("Settings")


def read_settings(
    kind: type[Settings],
    arguments: list[str],
    *,
    prog: str,
    description: str | None = None,
    default: Settings | None = None,
    config: Sequence[Any] = (),
    rules: ConstructorRegistry | None = None,
) -> Settings:
    """Read a dataclass of settings from the command line.

    Args:
        kind: the dataclass.
        arguments: options of these settings only.
        prog: the command, for its help.
        description: description of the command, for its help; None: the prose of the dataclass's docstring.
        default: the default settings; None: the dataclass's own.
        config: markers of `tyro.conf`, for all settings.
        rules: constructors of other types than numbers and names (`text_rules`, `graph_rules`).

    Raises:
        ValueError: a setting is out of range: the message of the `__post_init__` that refused it.
        SystemExit: help was requested (code 0), or an option is unknown or malformed (code 2; names it).
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                kind,
                prog=prog,
                description="\n\n".join(docstring_paragraphs(kind)) if description is None else description,
                args=arguments,
                default=tyro.MISSING_NONPROP if default is None else default,
                registry=_with_flowed_help(rules or ConstructorRegistry()),
                config=tuple(config),
            )
    except Refused as refused:
        said.truncate(0)
        raise ValueError(str(refused)) from None
    except SystemExit as leaving:
        refusal = _refusal(leaving)
        if refusal is not None:
            said.truncate(0)
            raise refusal from None
        raise
    finally:
        text = said.getvalue()
        if len(text) > LONGEST:
            text = f"{text[: LONGEST // 2]}\n[...]\n{text[-LONGEST // 2 :]}"
        sys.stderr.write(text)


def _refusal(leaving: SystemExit) -> ValueError | None:
    """Find the ValueError of a `__post_init__` that tyro turned into a box of its own."""
    error = leaving.__context__
    while error is not None:
        frames = (frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__))
        if isinstance(error, ValueError) and "__post_init__" in frames:
            return error
        error = error.__context__
    return None


def split_leading(
    prog: str,
    arguments: Sequence[str],
    *,
    names: Sequence[str] = ("game", "method"),
    paths: Sequence[str] = ("out",),
) -> tuple[argparse.Namespace, list[str]]:
    """Split off options that take a name or a path, and run the files of --load, which may be repeated.

    >>> chosen, rest = split_leading("bilevel train", ["--game", "jungle", "--seeds", "2"])
    >>> chosen.game, chosen.out, rest
    ('jungle', None, ['--seeds', '2'])
    """
    parser = argparse.ArgumentParser(prog=prog, add_help=False, allow_abbrev=False)
    for name in names:
        parser.add_argument(f"--{name.replace('_', '-')}")
    parser.add_argument("--load", type=Path, action="append", default=[])
    for name in paths:
        parser.add_argument(f"--{name}", type=Path)
    chosen, others = parser.parse_known_args(arguments)
    for path in chosen.load:
        load_file(path)
    return chosen, others


def require_once(arguments: Sequence[str], *names: str) -> None:
    """Raise ValueError if an option that takes several words is repeated: the first would be lost."""
    for name in names:
        times = sum(word.partition("=")[0] == f"--{name}" for word in arguments)
        require(times < 2, f"--{name} is there {times} times: put everything after one --{name}.")


def require_current(arguments: Sequence[str], before: str, now: str) -> None:
    """Raise ValueError, naming the new form, if an option has its name of an earlier version."""
    old = any(word.partition("=")[0].replace("_", "-") == before for word in arguments)
    require(not old, f"{before} is now called {now}.")


def split_name(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Split off the name, of a game or a task, before all options; None where there is none."""
    if arguments and not arguments[0].startswith("-"):
        return arguments[0], list(arguments[1:])
    return None, list(arguments)


def load_file(path: Path) -> None:
    """Run a Python file that registers games, methods, estimators or tasks.

    Only a file that the user names is ever run: a run's folder does not say which one it needs.

    Raises:
        ValueError: there is no such file, or it fails (says in which line, and how).
    """
    require(path.is_file(), f"There is no file {path} to load.")
    here = path.resolve()
    require(path.suffix == ".py", f"--load takes a Python file, with a name that ends in .py, not {path}.")
    name = f"loaded_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, here)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their annotations there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # anything that a user's file can raise
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == here]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else "?"
        raise ValueError(f"{path}, line {line}: {type(error).__name__}: {error}") from error


class Refused(Exception):  # noqa: N818 - becomes a ValueError outside tyro, which would reword one
    """A value that cannot be read, in one sentence."""


def graph_rules() -> ConstructorRegistry:
    """Rules by which tyro reads kinds of graphs from their text forms."""
    return _rules(_graph_form())


def text_rules() -> ConstructorRegistry:
    """Rules by which tyro reads estimators, schedules, phases and graphs from their text forms."""
    from bilevel.core import Schedule, Scheduled  # noqa: PLC0415  # commands that train nothing load none of it
    from bilevel.hypergradient import ESTIMATORS, Estimator, format_hypergradient  # noqa: PLC0415
    from bilevel.methods import Phase, read_value, write_phases  # noqa: PLC0415

    def read(kind: Any) -> Callable[[str], Any]:
        def value_of(text: str) -> Any:
            value = read_value("value", kind, text)
            return value.values[0] if isinstance(value, Schedule) and value.constant else value

        return value_of

    phases = tuple[Phase, ...]
    return _rules(
        {
            Estimator: _Form(
                f"{{{','.join(ESTIMATORS)}}}[(SETTING=VALUE,...)]", read(Estimator), format_hypergradient
            ),
            Scheduled: _Form("NUMBER|STEP:NUMBER,...", read(Scheduled), str),
            phases: _Form("BEGIN-END(SETTING=VALUE,...),...", read(phases), write_phases),
            **_graph_form(),
        }
    )


class _Form(NamedTuple):
    """The text form of a type: its placeholder in help texts, how to read it and how to write it."""

    metavar: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]


def _graph_form() -> dict[Any, _Form]:
    from bilevel.experiments import read_graph, write_graph  # noqa: PLC0415  # as in `text_rules`
    from games.networked import GRAPHS, Graph  # noqa: PLC0415

    return {Graph: _Form(f"{{{','.join(GRAPHS)}}}[(SETTING=VALUE,...)]", read_graph, write_graph)}


def _rules(forms: Mapping[Any, _Form]) -> ConstructorRegistry:
    """Rules by which tyro reads types from their text forms."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def read_text(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        if kind.type not in forms:
            return None
        form = forms[kind.type]

        def read(words: list[str]) -> Any:
            try:
                return form.read(words[0])
            except ValueError as error:
                raise Refused(str(error).removeprefix("value: ")) from error

        return PrimitiveConstructorSpec(
            nargs=1,
            metavar=form.metavar,
            instance_from_str=read,
            is_instance=lambda value: True,
            str_from_instance=lambda value: [form.write(value)],
        )

    return registry


def _with_flowed_help(rules: ConstructorRegistry) -> ConstructorRegistry:
    """Add a rule by which each paragraph of a setting's or a group's help has no line break of the source.

    tyro joins the lines of a docstring before it removes their indentation, and so joins few of them.
    """
    within = False

    @rules.struct_rule
    def read_dataclass(info: StructTypeInfo) -> StructConstructorSpec | None:
        nonlocal within
        if within or not dataclasses.is_dataclass(info.type):
            return None
        within = True
        try:
            found = ConstructorRegistry.get_struct_spec(info)  # by the rules below this one, which are tyro's
        finally:
            within = False
        if not isinstance(found, StructConstructorSpec):
            return None
        fields = (
            dataclasses.replace(field, helptext=functools.partial(_flowed, field)) for field in found.fields
        )
        return dataclasses.replace(found, fields=tuple(fields))

    return rules


def _flowed(field: StructFieldSpec) -> str | None:
    """Help of a field, one line for each paragraph; of a group without its own, the prose of its class."""
    text = field.helptext() if callable(field.helptext) else field.helptext
    kind = field.type if field.default is tyro.MISSING_NONPROP else type(field.default)
    if text is None:
        return "\n\n".join(docstring_paragraphs(kind)) if dataclasses.is_dataclass(kind) else None
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
