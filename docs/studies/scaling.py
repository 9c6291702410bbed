"""The study behind regimes.md: episodes that methods need, against the number of agents.

python -m docs.studies.scaling --help
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.figure import Figure

import bilevel
from bilevel.experiments import Run, write_text
from bilevel.report import looks, save, style
from games.core import require

WINDOW = 5
"""Successive outer steps whose mean cooperation must reach the level."""
TUNING_SEED, TUNING_SEEDS = 1_000_000, 4
FORMATS = (".png", ".pdf", ".svg")


@dataclass(frozen=True)
class Learner:
    """A method of the study, and the settings that are searched for it."""

    game: str
    """Name of the game: aid, or aid-hidden without a known graph."""
    method: str
    """Name of the method."""
    settings: dict[str, Any]
    """Settings other than the defaults."""
    of_agents: bool = False
    """Divide learning rates by the number of agents: the reward is a sum over all of them."""
    outer_rates: tuple[float, ...] = ()
    """Searched outer learning rates."""

    def grid(self, agents: int, rates: Sequence[float]) -> Iterator[dict[str, float]]:
        """Settings to try, with some number of agents."""
        for rate in rates:
            scaled = 8 * rate / agents if self.of_agents else rate
            for outer in self.outer_rates or (None,):
                yield {"inner.learning_rate": scaled} | (
                    {} if outer is None else {"outer.learning_rate": outer}
                )


OUTER_RATES = (0.03, 0.1, 0.3)
LEARNERS = {
    "common reward": Learner("aid-hidden", "prosocial", {"common_reward": "sum"}, of_agents=True),
    "tos, hidden graph": Learner("aid-hidden", "tos", {}, outer_rates=OUTER_RATES),
    "neighborhood": Learner("aid", "prosocial", {"common_reward": "neighborhood"}),
    "tos, known graph": Learner("aid", "tos", {}, outer_rates=OUTER_RATES),
    "difference": Learner("aid", "prosocial", {"common_reward": "difference"}),
}
"""Label -> method."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Episodes of a method until it reaches the level."""

    label: str
    """The method."""
    agents: int
    """Number of agents."""
    settings: dict[str, float]
    """Chosen learning rates."""
    episodes: np.ndarray
    """Episodes of each seed, all of training counted; infinite if the level was not reached."""

    @property
    def reached(self) -> int:
        """Number of seeds that reached the level."""
        return int(np.isfinite(self.episodes).sum())

    @property
    def median(self) -> float:
        """Median over seeds; infinite if half of them did not reach the level."""
        return float(np.median(self.episodes))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the median, by order statistics."""
        return median_interval(self.episodes)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Agents on a directed ring of `aid`, and the episodes until 95 % of them help.

    Raises:
        ValueError: there is nothing to measure, or no such kind of figure.
    """

    agents: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512, 1024)
    """Numbers of agents."""
    methods: tuple[str, ...] = tuple(LEARNERS)
    """Labels of the compared methods."""
    max_hidden: int = 128
    """Largest number of agents for `tos` on a hidden graph."""
    noise: float = 0.0
    """Standard deviation of the noise of each reward."""
    rates: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0)
    """Searched inner learning rates; for the common reward times 8 / N."""
    batch: int = 4
    """Episodes of each policy update; `tos` plays as many for its outer loss."""
    budget: int = 2048
    """Episodes of training, at most, for 8 to 64 agents; with more agents, N / 64 times as many."""
    level: float = 0.95
    """Required cooperation, which is the normalized score."""
    seeds: int = 20
    """Seeds of the results; the search has 4 seeds of its own."""
    out: Path = Path("runs/scaling")
    """Folder of the measurements: those already in it are reused."""
    figure: Path | None = None
    """Where to write the figure, a name that ends in .png, .pdf or .svg; None: the table alone."""

    def __post_init__(self) -> None:
        require(bool(self.agents) and bool(self.methods), "agents and methods must name at least one case.")
        unknown = [label for label in self.methods if label not in LEARNERS]
        require(not unknown, f"methods are some of {', '.join(LEARNERS)}, not {', '.join(unknown)}.")
        require(
            self.figure is None or self.figure.suffix in FORMATS,
            f"figure must be a name that ends in {', '.join(FORMATS)}, not {self.figure}.",
        )


def episodes_to(run: Run, level: float) -> np.ndarray:
    """Episodes of each seed until the mean cooperation of `WINDOW` outer steps reaches a level.

    Args:
        run: a run of a game with one step in each episode.
        level: a fraction.

    Returns:
        Episodes of training until then, [seed]; infinite where it is not reached.
    """
    cooperation = np.asarray(run.curves["cooperation"])
    sums = np.cumsum(np.concatenate([np.zeros_like(cooperation[:1]), cooperation]), 0)
    reached = (sums[WINDOW:] - sums[:-WINDOW]) / WINDOW >= level
    steps = np.where(reached.any(0), reached.argmax(0), -1)
    episodes = run.environment_steps[WINDOW - 1 :]
    return np.where(steps >= 0, episodes[steps, np.arange(len(steps))], math.inf)


def lengths(most: int) -> Iterator[int]:
    """Numbers of outer steps to try until every seed reaches the level: short runs suffice for most methods.

    A run begins as a shorter one does, so the episodes until the level are the same.

    >>> list(lengths(1000))
    [64, 256, 1000]
    """
    steps = 64
    while steps < most:
        yield steps
        steps *= 4
    yield most


def median_interval(values: np.ndarray) -> tuple[float, float]:
    """Interval that covers the median with a probability of 95 % or more, by order statistics.

    Args:
        values: one for each seed, [seed]; they may be infinite.

    Returns:
        Lower and upper bound; of fewer than 6 values, the smallest and largest.

    >>> median_interval(np.arange(1.0, 21.0))  # the 6th and the 15th of 20
    (6.0, 15.0)
    """
    count, tail, rank = len(values), 0.0, 0
    while 2 * (tail + math.comb(count, rank) / 2**count) <= 0.05:  # a binomial tail on each side
        tail += math.comb(count, rank) / 2**count
        rank += 1
    ordered = np.sort(values)
    low, high = max(rank - 1, 0), min(count - rank, count - 1)
    return float(ordered[low]), float(ordered[high])


def measure(study: Study, label: str, agents: int) -> Measurement:
    """Search the learning rates of a method by seeds of their own, then measure it on others."""
    learner = LEARNERS[label]

    played = study.batch * (2 if learner.outer_rates else 1)  # in an outer step

    def episodes(seed: int, seeds: int, found: dict[str, float], enough: float = math.inf) -> np.ndarray:
        most = max(study.budget * max(1, agents // 64) // played, WINDOW)
        for steps in lengths(most):
            reached = episodes_in(steps, seed, seeds, found)
            if np.isfinite(reached).all() or steps * played >= enough:
                break
        return reached

    def episodes_in(steps: int, seed: int, seeds: int, found: dict[str, float]) -> np.ndarray:
        settings = {
            "game.agents": agents,
            "game.noise": study.noise,
            "inner.exact": False,
            "inner.episodes": study.batch,
            "inner.entropy_coef": 0.0,
            "outer_steps": steps,
            **learner.settings,
            **found,
        }
        with tempfile.TemporaryDirectory() as folder:
            run = bilevel.train(
                learner.game,
                learner.method,
                seed=seed,
                seeds=seeds,
                evaluation_episodes=2,
                out=Path(folder, "run"),
                **settings,
            )
            return episodes_to(run, study.level)

    best: dict[str, float] = {}
    least = math.inf
    for found in learner.grid(agents, study.rates):
        # Settings whose median is lower need less than twice as many episodes in all seeds up to the middle.
        median = float(np.median(episodes(TUNING_SEED, TUNING_SEEDS, found, enough=2 * least)))
        if not best or median < least:
            best, least = found, median
    return Measurement(label=label, agents=agents, settings=best, episodes=episodes(0, study.seeds, best))


def run_study(study: Study) -> Iterator[Measurement]:
    """Measure each method with each number of agents, or read what was measured with the same settings."""
    shared = {name: getattr(study, name) for name in ("noise", "rates", "batch", "budget", "level", "seeds")}
    for label in study.methods:
        for agents in study.agents:
            if label == "tos, hidden graph" and agents > study.max_hidden:
                continue
            file = study.out / f"{label} {agents} noise {study.noise:g}.json".replace(", ", "-").replace(
                " ", "-"
            )
            settings = json.loads(json.dumps(shared))
            saved = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
            require(
                saved.get("study", settings) == settings,
                f"{file} was measured with other settings: choose another folder with --out.",
            )
            if not saved:
                found = measure(study, label, agents)
                saved = {"study": settings, "settings": found.settings, "episodes": found.episodes.tolist()}
                file.parent.mkdir(parents=True, exist_ok=True)
                write_text(file, json.dumps(saved, indent=2) + "\n")
            episodes = np.array(saved["episodes"])
            yield Measurement(label=label, agents=agents, settings=saved["settings"], episodes=episodes)


def slope(measured: Sequence[Measurement]) -> float:
    """Exponent p of episodes ~ N^p, by least squares in logarithms.

    >>> cases = [Measurement(label="", agents=n, settings={}, episodes=np.full(3, n**2)) for n in (8, 64)]
    >>> round(slope(cases), 6)
    2.0
    """
    points = [(math.log(one.agents), math.log(one.median)) for one in measured if one.median < math.inf]
    return float(np.polyfit(*np.array(points).T, 1)[0]) if len(points) > 1 else math.nan


def table_row(one: Measurement) -> str:
    """A line of the table, in Markdown."""
    rates = ", ".join(f"{value:.3g}" for value in one.settings.values())
    median, low, high = (_episodes(value) for value in (one.median, *one.interval))
    cell = f"{median} [{low}, {high}]"
    return f"| {one.label} | {one.agents} | {rates} | {cell} | {one.reached} of {len(one.episodes)} |"


def _episodes(value: float) -> str:
    return f"{value:.0f}" if value < math.inf else "never"


TABLE_HEAD = """\
| method | agents | learning rates (inner, outer) | episodes: median [95 % interval] | seeds that reach it |
|---|---|---|---|---|"""


def write_figure(measured: Sequence[Measurement], path: Path) -> Path:
    """Draw episodes over the number of agents, with the fitted exponents in the legend."""
    labels = list(dict.fromkeys(one.label for one in measured))
    with style():
        figure = Figure(figsize=(6.8, 4.8))
        axes = figure.subplots()
        for index, (label, look) in enumerate(looks(labels).items()):
            cases = [one for one in measured if one.label == label and one.median < math.inf]
            marks = {key: look[key] for key in ("color", "linestyle", "marker", "markersize")}
            medians = np.array([one.median for one in cases])
            low, high = np.array([one.interval for one in cases]).reshape(-1, 2).T
            high = np.where(np.isfinite(high), high, medians)  # no upper bound to draw
            exponent = slope(cases)
            name = label if math.isnan(exponent) else f"{label}: N^{round(exponent, 2) + 0.0:.2f}"
            # side by side, as methods that need the same number would cover each other
            places = [one.agents * 1.05 ** (index - (len(labels) - 1) / 2) for one in cases]
            axes.errorbar(
                places,
                medians,
                [medians - low, high - medians],
                capsize=3,
                label=name,
                **marks,
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(sorted({one.agents for one in measured}))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("agents N (log scale)")
        axes.set_ylabel("episodes (log scale)")
        figure.legend(loc="outside upper center", ncols=2)
    return save(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study, printing the table line by line."""
    study = tyro.cli(Study, prog="python -m docs.studies.scaling", args=arguments)
    measured: list[Measurement] = []
    try:
        print(TABLE_HEAD, flush=True)
        for one in run_study(study):
            print(table_row(one), flush=True)
            measured.append(one)
        if study.figure is not None:
            write_figure(measured, study.figure)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
