"""The page itself: everything about some runs in one HTML file, which needs no network."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bilevel import report
from bilevel.core import counted, docstring_paragraphs
from bilevel.experiments import (
    FEWEST_SEEDS,
    Compared,
    Run,
    compare_runs,
    flat_settings,
    run_status,
    welfare_levels,
    write_text,
)
from bilevel.methods import Playable
from bilevel.pages._charts import curves, line_colors, returns_of, transfers_over_training
from bilevel.pages._commands import command_of
from bilevel.pages._entries import Content, Entry, GameEntries
from bilevel.pages._statistics import Aggregates, aggregates, sentences
from bilevel.report import ResultsTable, Theory

TEMPLATES = Path(__file__).with_name("templates")
MOST_CLIPS = 12
"""Number of rows up to which a page has clips by itself."""
CLIP_STEPS = 60
"""Maximum number of steps of a clip."""


@dataclass(frozen=True)
class _Row:
    """Content of one row, for the template."""

    label: str
    run: Run
    folders: Sequence[Path]
    command: str
    settings: dict[str, Any]
    provenance: Sequence[dict[str, Any]]
    transfers: dict[str, Any] | None
    returns: list[dict[str, Any]]
    clip: str = ""
    """An animated picture as a data URI."""


@dataclass(frozen=True)
class _Section:
    """Content of one game, for the template."""

    key: str
    title: str
    summary: str
    asked: str
    tables: Sequence[ResultsTable]
    words: Sequence[str]
    theory: Sequence[ResultsTable]
    no_theory: str
    curves: dict[str, Any]
    rows: Sequence[_Row] = field(default_factory=list)


def page_html(content: Content, *, title: str, clips: bool | None = None, live: str = "") -> str:
    """Build the page of some runs.

    Args:
        content: the runs (`collect`).
        title: its title.
        clips: show a clip of each row's final policies; None: if there are 12 rows or fewer.
        live: state of the folder, which the page compares with its server's (`bilevel watch`); "": a file.

    Returns:
        HTML with all styles, scripts, data and pictures in it.

    >>> from bilevel.experiments import train
    >>> from bilevel.pages import collect
    >>> _ = train("chicken", "tos", seeds=3, outer_steps=2, out="study/tos")
    >>> text = page_html(collect([Path("study")]), title="A <study>")
    >>> text.startswith("<!doctype html>"), "A &lt;study&gt;" in text
    (True, True)
    """
    import jinja2  # noqa: PLC0415

    rows = sum(len(game.entries) for game in content.games)
    with_clips = rows <= MOST_CLIPS if clips is None else clips
    sections = [_section(f"game-{place}", game, clips=with_clips) for place, game in enumerate(content.games)]
    overall = aggregates(content.games)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["value"] = lambda value: json.dumps(value) if not isinstance(value, str) else value
    data = {
        "games": {
            section.key: {
                "curves": section.curves,
                "transfers": {row.label: row.transfers for row in section.rows if row.transfers is not None},
            }
            for section in sections
        },
        "profiles": overall.profiles if isinstance(overall, Aggregates) else None,
    }
    return environment.get_template("page.html").render(
        title=title,
        sections=sections,
        overall=overall if isinstance(overall, Aggregates) else None,
        no_overall="" if isinstance(overall, Aggregates) or len(content.games) < 2 else overall,
        unfinished=[_state(folder) for folder in content.unfinished],
        damaged=content.damaged,
        data=_script_data(data),
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "page.js").read_text(encoding="utf-8"),
        version=version("bilevel"),
        clips=with_clips,
        live=live,
    )


def write_page(content: Content, path: Path, *, title: str, clips: bool | None = None) -> Path:
    """Write the page of some runs.

    Args:
        content, title, clips: as for `page_html`.
        path: the file, which is replaced.

    Raises:
        OSError: it cannot be written.

    >>> from bilevel.experiments import train
    >>> from bilevel.pages import collect
    >>> _ = train("chicken", "tos", seeds=3, outer_steps=2, out="study/tos")
    >>> write_page(collect([Path("study")]), Path("report.html"), title="A study").stat().st_size < 300_000
    True
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page_html(content, title=title, clips=clips))
    return path


def _section(key: str, game: GameEntries, *, clips: bool) -> _Section:
    runs = {entry.label: entry.run for entry in game.entries}
    drawn = [*game.entries, *game.progress]
    first = drawn[0].run.config
    theory = report.theory_of(game.game)
    rows = _compared(runs)
    best, worst = welfare_levels(game.game, exact=first.exact)
    levels = {"welfare optimum": best, "mutual defection": worst}
    tables = report.comparison_tables(rows) if rows else []
    if runs and not rows:
        tables = [report.run_table(game.title, list(runs.values()))]
    return _Section(
        key=key,
        title=game.title,
        summary=_plain(docstring_paragraphs(type(game.game))[0]),
        asked=_asked(game),
        tables=tables,
        words=sentences(rows) if rows else [],
        theory=report.theory_results(theory, rows) if isinstance(theory, Theory) and rows else [],
        no_theory=theory if isinstance(theory, str) else "",
        curves=curves(drawn, {name: level for name, level in levels.items() if level is not None})
        | {"colors": line_colors([entry.label for entry in drawn])},
        rows=[_row(entry, clips=clips) for entry in game.entries],
    )


def _compared(runs: dict[str, Run]) -> list[Compared]:
    """Statistics of all rows against the first; none if they have few or different numbers of seeds."""
    seeds = [run.config.seeds for run in runs.values()]
    return compare_runs(runs) if min(seeds, default=0) >= FEWEST_SEEDS else []


def _asked(game: GameEntries) -> str:
    """Say in a sentence what was trained."""
    configs = [entry.run.config for entry in (*game.entries, *game.progress)]
    methods = list(dict.fromkeys(config.method_name for config in configs))
    steps = sorted({config.outer_steps for config in configs})
    seeds = sorted({config.seeds for config in configs})
    agents = counted(game.game.num_agents, "agent")
    return (
        f"{', '.join(methods)} on {game.title} with {agents}: "
        f"{_range(seeds)} seeds of {_range(steps)} outer steps each."
    )


def _range(values: Sequence[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _row(entry: Entry, *, clips: bool) -> _Row:
    run = entry.run
    return _Row(
        label=entry.label,
        run=run,
        folders=entry.folders,
        command=command_of(run.config),
        settings=flat_settings(run.config.plain),
        provenance=run.provenance,
        transfers=transfers_over_training(run),
        returns=returns_of(run),
        clip=_clip(run) if clips and run.path is not None else "",
    )


@torch.no_grad()
def _clip(run: Run) -> str:
    """A clip of the final policies of the run's first seed, as a data URI; "" if they cannot be played."""
    learner, state = run.learner()
    if not isinstance(learner, Playable):
        return ""
    game = run.config.method.training_game(run.config.game)
    actor, transfer = learner.actor(game, state, 0)
    generator = torch.Generator().manual_seed(0)
    frames = report.film(game, actor, generator, max_steps=CLIP_STEPS, scale=0.6, transfer=transfer)
    picture = report.film_bytes(frames, ".webp")
    return f"data:image/webp;base64,{base64.b64encode(picture).decode()}"


def _state(folder: Any) -> str:
    try:
        return run_status(folder)
    except (ValueError, OSError) as error:
        return f"{folder.path} cannot be read: {error}"


def _script_data(data: Any) -> str:
    """JSON for a script element: no character in it can end the element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _plain(markup: str) -> str:
    """Text of a docstring without its marks of code."""
    return markup.replace("`", "")
