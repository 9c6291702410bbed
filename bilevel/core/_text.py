"""Settings in parentheses, `(steps=5, solver=normal-cg)`, as text holds them: literals, never evaluated.

How numbers of things read.
"""

from __future__ import annotations

import ast
import keyword
import math
import re
from typing import Any

from games.core import require

WORD = re.compile(r"[a-z_]\w*(?:-[a-z_]\w*)*", re.ASCII | re.IGNORECASE)
"""A string that needs no quotes, which a shell would eat."""
NUMBERS = {"inf": math.inf, "nan": math.nan}
"""Words that are numbers."""


def read_settings(written: str, *, of: str, within: str, example: str) -> dict[str, Any]:
    """Read settings; they are literals, and strings that are words need no quotes.

    Args:
        written: `(NAME=VALUE, ...)`.
        of: what has them, for refusals: "a hypergradient", say.
        within: the whole text that they stand in.
        example: how it is done.

    Raises:
        ValueError: the text cannot be read, or a setting has no name, is there twice or is no literal.

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


def write_literal(setting: str, value: Any) -> str:
    """Write what `read_settings` reads back.

    Raises:
        ValueError: the value of this setting is no literal.

    >>> write_literal("solver", "normal-cg"), write_literal("path", "two words")
    ('normal-cg', "'two words'")
    """
    if isinstance(value, tuple):
        parts = [write_literal(setting, part) for part in value]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if isinstance(value, str):
        word = WORD.fullmatch(value) and not any(map(keyword.iskeyword, value.split("-")))
        return value if word and value not in NUMBERS else repr(value)
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return repr(kind(value))
    require(value is None, f"The setting {setting} is {value!r}, which text cannot hold: it is no literal.")
    return "None"


def _literal(setting: str, node: ast.expr, source: str) -> Any:
    """Read a literal, or words joined by hyphens; nothing is looked up."""
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


def counted(count: int, noun: str) -> str:
    """A number and what it counts, in the plural unless it is 1.

    Args:
        count: how many.
        noun: in the singular, one whose plural ends in s.

    >>> [counted(count, "inner step") for count in (0, 1, 2)]
    ['0 inner steps', '1 inner step', '2 inner steps']
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"
