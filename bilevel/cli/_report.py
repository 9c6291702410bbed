"""`bilevel report`: runs, comparisons and sweeps as one HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bilevel.cli._progress import resumable
from bilevel.cli._settings import read_settings, split_leading
from bilevel.pages import collect, write_page, write_paper
from games.core import require

CLIPS = {"auto": None, "all": True, "none": False}


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """One page about runs: tables, curves, transfers, statistics, theory, settings and provenance."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER ...")]
    """Folders of runs, comparisons and sweeps."""
    title: str | None = None
    """Title of the page. None: the names of the folders."""
    baseline: str | None = None
    """Label of the row with which the others are compared. None: selfish, or else the first row."""
    paper: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for a paper's files instead of a page: figures as PDF, and tables for LaTeX."""
    clips: Literal["auto", "all", "none"] = "auto"
    """Clips of the final policies: all, none, or auto: where the page has 12 rows or fewer."""


def report_command(arguments: list[str]) -> None:
    """Write the page, and print its path."""
    chosen, rest = split_leading("bilevel report", arguments, names=())
    settings = parse_report(rest)
    require(len(settings.folders) > 0, "Name a folder, as in bilevel report runs/compare/escape-room")
    out = chosen.out or settings.folders[0] / "report.html"
    require(settings.paper is None or chosen.out is None, "--paper names its own folder: leave out --out.")
    require(out.suffix in (".html", ".htm"), f"The page's name ends in .html; {out.name} does not.")
    title = settings.title or ", ".join(path.resolve().name for path in settings.folders)
    with resumable("Run the same command again."):
        content = collect(settings.folders, baseline=settings.baseline)
        if settings.paper is not None:
            written = write_paper(content, settings.paper)
            print(f"Written: {', '.join(str(path) for path in written)}")
            return
        print(f"Written: {write_page(content, out, title=title, clips=CLIPS[settings.clips])}")


def parse_report(arguments: list[str]) -> ReportSettings:
    return read_settings(
        ReportSettings,
        arguments,
        prog="bilevel report",
        description=(
            "Write one self-contained HTML page about finished runs, which opens without a network.\n\n"
            "--out FILE.html is the page (default: report.html in the first folder). --load FILE.py runs "
            "your own file, which registers the game or method of the runs. docs/how-to/report.md explains "
            "the page."
        ),
    )
