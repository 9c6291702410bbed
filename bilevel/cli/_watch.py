"""`bilevel watch`: the page of a folder while its runs go on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bilevel.cli._output import tell
from bilevel.cli._settings import read_settings, split_leading
from bilevel.pages import Watcher
from games.core import require

MOST_PORT = 65535


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """The page of a folder while its runs go on."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Folder of a run, a comparison or a sweep."""
    port: int = 0
    """Port on the loopback address; 0: one that is free."""

    def __post_init__(self) -> None:
        require(0 <= self.port <= MOST_PORT, f"port must be from 0 to {MOST_PORT}, not {self.port}.")


def watch_command(arguments: list[str]) -> None:
    """Serve the page until Ctrl-C."""
    _, rest = split_leading("bilevel watch", arguments, names=(), paths=())
    settings = parse_watch(rest)
    try:
        watcher = Watcher(settings.folder, settings.port)
    except OSError as error:
        raise ValueError(
            f"Port {settings.port} cannot be used ({error.strerror}): choose another."
        ) from error
    with watcher:
        print(f"Open {watcher.address}", flush=True)
        tell("The page follows the runs, on this machine only. Ctrl-C ends it; the runs go on.")
        watcher.serve()


def parse_watch(arguments: list[str]) -> WatchSettings:
    return read_settings(
        WatchSettings,
        arguments,
        prog="bilevel watch",
        description=(
            "Serve the page of bilevel report for a folder while its runs go on, on the loopback address, "
            "to whoever knows the token in the address.\n\n--load FILE.py runs your own file, which "
            "registers the game or method of the runs. To see the page from another machine, forward a port: "
            "ssh -L 8000:127.0.0.1:8000, with --port 8000."
        ),
    )
