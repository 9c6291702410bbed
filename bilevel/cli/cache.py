"""`bilevel cache`: the compiled packages on disk, listed and cleared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from bilevel.cli.settings import read_settings
from bilevel.compile import cache
from bilevel.words import counted

MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """List the packages that compiled steps were built into: what, how large, when, in how many seconds.

    They are built again when they are needed. BILEVEL_CACHE in the environment names another folder.
    """

    clear: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Delete all of them, and no other file."""


def cache_command(arguments: list[str]) -> None:
    """List the packages, or delete them.

    Raises:
        OSError: the folder is no cache of packages, or a file cannot be deleted.
        SystemExit: help was asked for (code 0), or an option is unknown (code 2; says which).
    """
    options = read_settings(CacheOptions, arguments, prog="bilevel cache")
    found = cache.clear() if options.clear else cache.packages()
    if not found:
        print(f"There are no packages in {cache.folder()}.")
    elif options.clear:
        print(f"Deleted {_total(found)}.")
    else:
        Console(highlight=False).print(_table(found))
        print(f"{_total(found)}.")


def _total(found: list[cache.CachedPackage]) -> str:
    size = _size(sum(package.size for package in found))
    return f"{counted(len(found), 'package')}, {size}, in {cache.folder()}"


def _table(found: list[cache.CachedPackage]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("package", overflow="fold")
    for name in ("size", "built", "seconds", "torch"):
        table.add_column(name, justify="right", no_wrap=True)
    for package in found:
        about = package.about
        built = str(about.get("built", "?"))[:16].replace("T", " ")
        what, seconds = about.get("about", package.path.name), about.get("seconds", "?")
        table.add_row(str(what), _size(package.size), built, str(seconds), _torch(about.get("environment")))
    return table


def _torch(environment: object) -> str:
    """The version of torch among the words that a package's environment was written down in."""
    words = environment if isinstance(environment, list) else []
    named = (word.removeprefix("torch ") for word in words if str(word).startswith("torch "))
    return next(named, "?")


def _size(size: int) -> str:
    return f"{size / MEGABYTE:.1f} MB"
