"""The study behind sampled-hypergradients.md: every surrogate's hypergradient against the exact one.

python -m docs.studies.surrogate_bias --help
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

from bilevel.core import counted
from bilevel.methods import OuterLearner, Placement, StepInputs, ToS
from bilevel.report import GRAY, looks, save, style
from games.core import require
from games.matrix import FiniteRepeatedGame

MOST_STEPS_AT_ONCE = 400_000
"""Steps of episodes that are in memory together: about half a gigabyte."""


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Difference of one kind of sampled hypergradient from the exact one.

    Measured along the exact one, in units of its length: a bias of 0.3 is 30 % too long.
    """

    surrogate: str
    """The estimator of the policies' gradient."""
    inner_steps: int
    """Policy updates that the hypergradient goes through."""
    episodes: int
    """Episodes that each policy update, and the outer loss, drew."""
    samples: int
    """Number of sampled hypergradients."""
    bias: float
    """Mean of the sampled hypergradients minus the exact one."""
    deviation: float
    """Standard deviation of a single sampled hypergradient."""
    exact: float
    """Length of the exact hypergradient, in units of value per logit."""

    @property
    def margin(self) -> float:
        """Half the 95 % interval of the bias: 1.96 standard errors."""
        return 1.96 * self.deviation / math.sqrt(self.samples)


def measure_deviation(
    method: ToS, game: FiniteRepeatedGame, *, logit: float, samples: int, seed: int = 0
) -> Deviation:
    """Draw many hypergradients at the same policies, and compare them with the exact one.

    Both are taken through `method.inner.steps` steps from policies that cooperate with probability
    sigmoid(logit) whatever they see, by the estimator that the method uses. The exact one knows the horizon
    of the episodes: nothing of what is found is due to their length.

    Two biases add up. The surrogate's stays however many episodes there are. The other falls as 1 / episodes
    and is every surrogate's: noisy steps lead elsewhere than exact ones, and what follows is not linear.

    Args:
        method: settings of both; `exact` is set here.
        game: the game.
        logit: log-odds of cooperating at the start.
        samples: hypergradients to draw, 2 or more.
        seed: random seed of the draws, 0 or more.

    Raises:
        ValueError: fewer than 2 samples, or the exact hypergradient is 0, which leaves nothing to compare.

    >>> game = FiniteRepeatedGame(horizon=3)
    >>> found = measure_deviation(ToS(own_share=0.95), game, logit=-1.5, samples=100)
    >>> abs(found.bias) < 2 * found.margin  # one small inner step: REINFORCE is enough
    True
    """
    require(samples >= 2, f"A deviation needs 2 samples or more, not {samples}.")
    (exact,) = _hypergradients(method.with_settings({"inner.exact": True}), game, logit, 1, seed)
    length = float(exact.norm())
    require(length > 0, "The exact hypergradient is 0 here: start from other policies.")
    sampled = method.with_settings({"inner.exact": False})
    along = _hypergradients(sampled, game, logit, samples, seed) @ exact / length**2
    return Deviation(
        surrogate=method.inner.surrogate,
        inner_steps=method.inner.steps,
        episodes=method.inner.episodes,
        samples=samples,
        bias=float(along.mean()) - 1,
        deviation=float(along.std()),
        exact=length,
    )


def _hypergradients(method: ToS, game: FiniteRepeatedGame, logit: float, samples: int, seed: int) -> Tensor:
    """Draw hypergradients of the sharing logits, float64 [sample, giver * receiver]."""
    at_once = max(1, MOST_STEPS_AT_ONCE // (game.horizon * method.inner.episodes))
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for count in (min(at_once, samples - done) for done in range(0, samples, at_once)):
        learner = method.build(game, Placement(seeds=count))
        assert isinstance(learner, OuterLearner)
        state = learner.init(seed)
        theta = torch.full_like(state["theta"], logit)
        estimate = learner.hypergradient(
            learner.problem(generator, StepInputs((), torch.zeros((), dtype=theta.dtype))),
            theta,
            learner.optimizer.init(theta),
            state["phi"],
            steps=method.inner.steps,
        )
        parts.append(estimate.gradient.flatten(1))
    return torch.cat(parts)


Name = Literal["reinforce", "dice", "loaded-dice"]
FORMATS = (".png", ".pdf", ".svg")


@dataclass(frozen=True, kw_only=True)
class Study:
    """Two agents in the repeated prisoner's dilemma learn what to share, from the same policies every time.

    Raises:
        ValueError: there is nothing to vary, or no such kind of figure. What is out of range, `ToS` and the
            game refuse when the study begins.
    """

    surrogates: tuple[Name, ...] = ("reinforce", "dice", "loaded-dice")
    """The compared surrogates."""
    inner_steps: tuple[int, ...] = (1, 2, 3)
    """Policy updates per outer step, 1 or more."""
    episodes: tuple[int, ...] = (16, 64, 256)
    """Episodes that each policy update, and the outer loss, draws, 2 or more."""
    samples: int = 1000
    """Sampled hypergradients in each case, 2 or more."""
    discount: float = 0.7
    """The game's, per step, in [0, 1)."""
    horizon: int = 12
    """Steps of an episode, 1 or more; the exact hypergradient stops there, too."""
    inner_learning_rate: float = 5.0
    """Learning rate of the policies (plain gradient descent), above 0."""
    own_share: float = 0.95
    """Share that both agents keep of their reward, above 0 and below 1."""
    logit: float = -1.5
    """Log-odds of cooperating at the start, whatever an agent sees."""
    seed: int = 0
    """Of all draws, a nonnegative integer."""
    figure: Path | None = None
    """Where to write the figure, a name that ends in .png, .pdf or .svg; None: the table alone."""

    def __post_init__(self) -> None:
        for name in ("surrogates", "inner_steps", "episodes"):
            require(bool(getattr(self, name)), f"{name} must name at least one case.")
        require(
            self.figure is None or self.figure.suffix in FORMATS,
            f"figure must be a name that ends in {', '.join(FORMATS)}, not {self.figure}.",
        )


def run_study(study: Study) -> Iterator[Deviation]:
    """Measure case after case: for each number of inner steps and of episodes, every surrogate.

    >>> study = Study(inner_steps=(1,), episodes=(4,), samples=2, horizon=2)
    >>> [found.surrogate for found in run_study(study)]
    ['reinforce', 'dice', 'loaded-dice']
    """
    game = FiniteRepeatedGame(discount=study.discount, horizon=study.horizon)
    methods = [
        ToS(own_share=study.own_share).with_settings(
            {
                "inner.steps": steps,
                "inner.learning_rate": study.inner_learning_rate,
                "inner.episodes": episodes,
                "inner.surrogate": surrogate,
            }
        )
        for steps, episodes, surrogate in itertools.product(
            study.inner_steps, study.episodes, study.surrogates
        )
    ]
    for method in methods:
        yield measure_deviation(method, game, logit=study.logit, samples=study.samples, seed=study.seed)


def table_head(surrogates: Sequence[str]) -> str:
    """The first two lines of the table, in Markdown.

    >>> print(table_head(["dice"]))
    | inner steps | episodes | dice: bias | dice: deviation |
    |---|---|---|---|
    """
    columns = [f"{name}: {what}" for name in surrogates for what in ("bias", "deviation")]
    titles = ["inner steps", "episodes", *columns]
    return f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}"


def table_row(found: Sequence[Deviation]) -> str:
    """A line of the table: all surrogates' numbers of one case.

    >>> measured = dict(inner_steps=2, episodes=64, samples=400, bias=0.3, deviation=0.2, exact=0.01)
    >>> print(table_row([Deviation(surrogate="reinforce", **measured)]))
    | 2 | 64 | +30.0 % ± 2.0 % | 20 % |
    """
    cells = [
        text
        for one in found
        for text in (f"{100 * one.bias:+.1f} % ± {100 * one.margin:.1f} %", f"{100 * one.deviation:.0f} %")
    ]
    return f"| {found[0].inner_steps} | {found[0].episodes} | {' | '.join(cells)} |"


def write_figure(found: Sequence[Deviation], path: Path) -> Path:
    """Draw bias (above, with its 95 % interval) and noise (below) over episodes, a column for each K.

    Args:
        found: the measured cases.
        path: the picture.
    """
    steps = sorted({one.inner_steps for one in found})
    with style():
        figure = Figure(figsize=(1.5 + 3.7 * len(steps), 6.8))
        rows = figure.subplots(2, len(steps), squeeze=False, sharex=True, sharey="row")
        for column, count in enumerate(steps):
            cases = [one for one in found if one.inner_steps == count]
            _draw_bias(rows[0, column], cases)
            _draw_noise(rows[1, column], cases)
            rows[0, column].set_title(counted(count, "inner step"))
            rows[1, column].set_xlabel("episodes per update (log scale)")
        rows[0, 0].set_ylabel("bias\n(exact length = 100 %)")
        rows[1, 0].set_ylabel("standard deviation\n(same unit, log scale)")
        handles, labels = rows[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return save(figure, path)


def _draw_bias(axes: Axes, cases: Sequence[Deviation]) -> None:
    axes.axhline(0, color=GRAY, linewidth=1, linestyle="--", zorder=1)
    for index, (look, own) in enumerate(_by_surrogate(cases)):
        # side by side, as the intervals of one case would cover each other
        places = [one.episodes * 1.12 ** (index - 1) for one in own]
        heights, margins = [100 * one.bias for one in own], [100 * one.margin for one in own]
        axes.errorbar(places, heights, margins, capsize=3, **look)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+.0f} %" if value else "0")


def _draw_noise(axes: Axes, cases: Sequence[Deviation]) -> None:
    for index, (look, own) in enumerate(_by_surrogate(cases)):
        places = [one.episodes * 1.12 ** (index - 1) for one in own]
        axes.plot(places, [100 * one.deviation for one in own], **look)
    axes.set_xscale("log")
    axes.set_xticks(sorted({one.episodes for one in cases}))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())


def _by_surrogate(cases: Sequence[Deviation]) -> Iterator[tuple[dict[str, Any], list[Deviation]]]:
    """Look and cases of each surrogate."""
    names = list(dict.fromkeys(one.surrogate for one in cases))
    for name, look in looks(names).items():
        chosen = {key: look[key] for key in ("color", "linestyle", "marker", "markersize")}
        yield {"label": name, **chosen}, [one for one in cases if one.surrogate == name]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study, printing the table line by line; a setting out of range ends it with one sentence.

    Args:
        arguments: arguments of the command line; None: those of this process.
    """
    study = tyro.cli(Study, prog="python -m docs.studies.surrogate_bias", args=arguments)
    found: list[Deviation] = []
    try:
        for row in zip(*[run_study(study)] * len(study.surrogates), strict=True):
            if not found:
                print(table_head(study.surrogates))
            print(table_row(row), flush=True)
            found += row
        if study.figure is not None:
            write_figure(found, study.figure)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
