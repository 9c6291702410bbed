"""Settings in text form, `(steps=5, solver=normal-cg)`: literals, never evaluated; prose of docstrings."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import inspect
import itertools
import keyword
import math
import re
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from games.core import require

WORD = re.compile(r"[a-z_]\w*(?:-[a-z_]\w*)*", re.ASCII | re.IGNORECASE)
"""A string that needs no quotes, which a shell would eat."""
NUMBERS = {"inf": math.inf, "nan": math.nan}
"""Words that are numbers."""
SECTIONS = ("Args:", "Returns:", "Raises:", "Source:", ">>>")
"""Beginnings of paragraphs after a docstring's prose."""


def read_settings(written: str, *, of: str, within: str, example: str) -> dict[str, Any]:
    """Parse `(NAME=VALUE, ...)`: literals, never evaluated, in which strings that are words need no quotes.

    Args:
        written: the text.
        of: the owner of the settings, for messages: "a hypergradient".
        within: the whole text that they are a part of, for messages.
        example: a correct text, for messages.

    Returns:
        Name -> value.

    Raises:
        ValueError: the text cannot be read, or a setting has no name, is there twice or is not a literal.

    >>> read_settings("(steps=5, solver=normal-cg)", of="a thing", within="", example="thing(steps=5)")
    {'steps': 5, 'solver': 'normal-cg'}
    """
    source = f"f{written}"
    try:
        call = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        call = None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError(
            f"The settings in {within!r} cannot be read: write them as in {example}, and strings that are "
            "more than words in quotes."
        )
    settings: dict[str, Any] = {}
    for word in [*call.args, *call.keywords]:
        if not isinstance(word, ast.keyword) or word.arg is None:
            raise ValueError(
                f"Settings of {of} have names, as in {example}, but {within!r} has "
                f"{ast.get_source_segment(source, word)} without one."
            )
        require(word.arg not in settings, f"The setting {word.arg} is given twice in {within!r}.")
        settings[word.arg] = _literal(word.arg, word.value, source)
    return settings


def _write_literal(setting: str, value: Any) -> str:
    if isinstance(value, tuple):
        parts = [_write_literal(setting, part) for part in value]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if isinstance(value, str):
        word = WORD.fullmatch(value) and not any(map(keyword.iskeyword, value.split("-")))
        return value if word and value not in NUMBERS else repr(value)
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return repr(kind(value))
    require(value is None, f"The setting {setting} is {value!r}, which text cannot hold: it is no literal.")
    return "None"


def write_settings(settings: Mapping[str, Any]) -> str:
    """Write settings in the form that `read_settings` reads; nothing if there are none.

    Raises:
        ValueError: a setting is not a literal.

    >>> write_settings({"steps": 5, "solver": "normal-cg"})
    '(steps=5, solver=normal-cg)'
    """
    words = ", ".join(f"{name}={_write_literal(name, value)}" for name, value in settings.items())
    return f"({words})" if words else ""


def _literal(setting: str, node: ast.expr, source: str) -> Any:
    """Parse a literal, or words joined by hyphens."""
    written = ast.get_source_segment(source, node) or ""
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as value):
            return value
        case ast.Name() | ast.BinOp() if WORD.fullmatch(written):
            return NUMBERS.get(written, written)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() | ast.Name() as operand):
            value = _literal(setting, operand, source)
            if type(value) in (int, float):
                return -value
        case ast.Tuple(elts=elements):
            return tuple(_literal(setting, element, source) for element in elements)
    raise ValueError(
        f"The setting {setting} must be a literal (a number, a word, a quoted string, True, False, None or a "
        f"tuple of these), not {written}."
    )


def fits(value: Any, hint: Any) -> bool:
    """True if a value is of a type.

    Args:
        value: value of a setting.
        hint: the type: numbers, strings, None, `Literal`, tuples and unions of these.

    >>> fits((1, 2), tuple[int, ...]), fits(1, float), fits(True, int), fits(None, float | None)
    (True, True, False, True)
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Annotated:
        return fits(value, inner[0])
    if origin is Literal:
        return value in inner
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        each = inner[:1] * len(value) if inner[1:] == (...,) else inner
        return len(each) == len(value) and all(map(fits, value, each))
    if hint is float:
        return type(value) in (int, float)
    return type(value) is (NoneType if hint is None else hint)


def spelled(hint: Any) -> str:
    """Spell a type for error messages.

    >>> from typing import Annotated, Literal
    >>> spelled(Annotated[int, "counts"]), spelled(float | None), spelled(Literal["a", "b"])
    ('int', 'float | None', "Literal['a', 'b']")
    """
    if get_origin(hint) is Annotated:
        return spelled(get_args(hint)[0])
    return (
        hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
    )


def docstring_paragraphs(kind: type) -> tuple[str, ...]:
    """Paragraphs of a class's docstring before its arguments, errors, source and example, each on one line.

    >>> class Coin:
    ...     '''A fair coin.
    ...
    ...     Source: a pocket.
    ...     '''
    >>> docstring_paragraphs(Coin)
    ('A fair coin.',)
    """
    paragraphs = (inspect.getdoc(kind) or "").split("\n\n")
    prose = itertools.takewhile(lambda paragraph: not paragraph.lstrip().startswith(SECTIONS), paragraphs)
    return tuple(" ".join(paragraph.split()) for paragraph in prose)


def field_docs(kind: type) -> dict[str, str]:
    """Docstrings under the fields of a dataclass and its bases, each on one line.

    >>> from bilevel.methods import Staged
    >>> field_docs(Staged)["outer_steps"]
    "Outer steps in which the outer variables learn, 1 or more, and fewer than the run's."
    """
    return dict(_field_docs(kind))


@functools.cache
def _field_docs(kind: type) -> dict[str, str]:
    import docstring_parser  # noqa: PLC0415  # installed with the command line, which shows them

    docs: dict[str, str] = {}
    for base in filter(dataclasses.is_dataclass, reversed(kind.__mro__)):
        with contextlib.suppress(OSError, TypeError, SyntaxError):  # a class without a file
            fields = docstring_parser.parse_from_object(base).params
            docs |= {
                field.arg_name: " ".join(field.description.split()) for field in fields if field.description
            }
    return docs


def counted(count: int, noun: str) -> str:
    """Format a count with its noun, with a plural s unless the count is 1.

    >>> [counted(count, "inner step") for count in (0, 1, 2)]
    ['0 inner steps', '1 inner step', '2 inner steps']
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def option_words(name: str, value: Any) -> list[str]:
    """Write a setting as words of the command line.

    Args:
        name: its dotted name, with underscores or hyphens.
        value: its value; lists have a word for each item, and False is the option with `no-`.

    >>> option_words("inner.exact", False), option_words("policy.hidden_size", [8, 4])
    (['--inner.no-exact'], ['--policy.hidden-size', '8', '4'])
    """
    option = name.replace("_", "-")
    if isinstance(value, bool):
        part, dot, last = option.rpartition(".")
        return [f"--{option}" if value else f"--{part}{dot}no-{last}"]
    if isinstance(value, list | tuple):
        return [f"--{option}", *map(str, value)]
    return [f"--{option}={value}"]
