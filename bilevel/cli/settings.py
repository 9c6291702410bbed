"""Settings from the command line, and what a user hears of those that are out of range."""

from __future__ import annotations

import contextlib
import io
import sys
import traceback
from collections.abc import Sequence
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry

LONGEST = 3500
"""Characters of what is said of a mistake."""
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
        description: what the help says first; None: the dataclass's docstring.
        default: the settings that no option changes; None: the dataclass's own.
        config: markers of `tyro.conf`, for all settings.
        rules: how options of the toolkit's own types are read; None: there are none.

    Raises:
        ValueError: a setting is out of range: the sentence of the `__post_init__` that refused it.
        SystemExit: help was asked for (code 0), or an option is unknown or malformed (code 2; says which).
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                kind,
                prog=prog,
                description=description,
                args=arguments,
                default=tyro.MISSING_NONPROP if default is None else default,
                registry=rules,
                config=tuple(config),
            )
    except SystemExit as leaving:
        refusal = _refusal(leaving)
        if refusal is not None:
            said.truncate(0)
            raise refusal from None
        raise
    finally:
        sys.stderr.write(_shortened(said.getvalue()))


def _shortened(text: str) -> str:
    """What was said of a mistake, without the middle of a very long argument that it repeats."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}\n[...]\n{text[-LONGEST // 2 :]}"


def _refusal(leaving: SystemExit) -> ValueError | None:
    """The ValueError of a `__post_init__` that tyro met before it wrote its own box and left."""
    error = leaving.__context__
    while error is not None:
        frames = (frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__))
        if isinstance(error, ValueError) and "__post_init__" in frames:
            return error
        error = error.__context__
    return None
