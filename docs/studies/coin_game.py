"""The study behind coin-game-shaping.md: own-coin rates of trained agents, together and against takers.

python -m docs.studies.coin_game RUN ... --figure docs/studies/coin_game.png
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from bilevel.agents import Actor, scripted_actor
from bilevel.experiments import Run, interquartile_interval, load_run
from bilevel.report import draw_band, looks, save, style
from games.core import require
from games.grid import CoinGame

FORMATS = (".png", ".pdf", ".svg")
TABLE_HEAD = """\
| run | return | own coins | cooperating seeds | coins | against takers | takers' return | own coins there |
|---|---|---|---|---|---|---|---|"""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Own-coin rates of the agents of runs on the coin game.

    Raises:
        ValueError: a folder is no finished run, or not of the coin game; or there is no such kind of figure.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Folders of runs, as written by bilevel train or compare."""
    reached: float = 0.8
    """Own-coin rate, with each other, that counts as cooperation."""
    episodes: int = 256
    """Episodes of each pair of agents."""
    figure: Path | None = None
    """Where to write learning curves, a name that ends in .png, .pdf or .svg; None: the table alone."""

    def __post_init__(self) -> None:
        require(
            self.figure is None or self.figure.suffix in FORMATS,
            f"figure must be a name that ends in {', '.join(FORMATS)}, not {self.figure}.",
        )


class Outcome(NamedTuple):
    """Mean of episodes of two agents, [agent] or [seed, agent]."""

    returns: Tensor
    """Undiscounted sum of rewards."""
    coins: Tensor
    """Coins picked up."""
    others: Tensor
    """Coins of the other agent's color picked up."""

    @property
    def own_coins(self) -> Tensor:
        """Fraction of the coins that have the agent's own color; NaN without coins."""
        return 1 - self.others / self.coins


def play(game: CoinGame, actors: tuple[Actor, Actor], episodes: int, seed: int = 0) -> Outcome:
    """Play whole episodes of two agents, and count the coins.

    Args:
        game: the game, in which both agents pick up a coin where both arrive.
        actors: agent 0 acts by the first, agent 1 by the second.
        episodes: number of episodes.
        seed: random seed of all draws.
    """
    generator = torch.Generator().manual_seed(seed)
    state, hidden = game.reset(episodes, generator), [None, None]
    returns, others = torch.zeros(2, episodes, 2)
    for _ in range(game.horizon):
        acted = [actor(state, generator, memory) for actor, memory in zip(actors, hidden, strict=True)]
        hidden = [memory for _, memory in acted]
        actions = torch.stack([chosen[:, agent] for agent, (chosen, _) in enumerate(acted)], 1)
        others += ~game.cooperates(state, actions)
        state, rewards, _ = game.step(state, actions, generator)
        returns += rewards
    # A coin gives 1, and an agent loses 2 for each coin of its color that the other one takes.
    means = returns.mean(0), (returns + 2 * others.flip(1)).mean(0), others.mean(0)
    return Outcome(*means)


def taker(game: CoinGame) -> Actor:
    """Actor of an agent that takes the nearest coin, whatever its color."""
    return scripted_actor(game, torch.tensor([False, False]))


def keeper(game: CoinGame) -> Actor:
    """Actor of an agent that takes coins of its own color alone, whatever the other agent does."""
    return scripted_actor(game, torch.tensor([True, True]))


SCRIPTED = {"scripted, own coins only": keeper, "scripted, every coin": taker}


def mean_of_seats(game: CoinGame, actor: Actor, other: Actor, episodes: int) -> Outcome:
    """Outcome of an actor (entry 0) with another one (entry 1), mean over both seats."""
    first, second = play(game, (actor, other), episodes), play(game, (other, actor), episodes)
    return Outcome(*((a + b.flip(0)) / 2 for a, b in zip(first, second, strict=True)))


def load_coin_run(folder: Path) -> Run:
    """Load a run of the coin game whose returns count all coins.

    Raises:
        ValueError: the folder is no finished run, or of another game or version of it.
    """
    run = load_run(folder)
    game = run.config.game
    require(
        isinstance(game, CoinGame) and game.tie == "both" and game.pay_last,
        f"{folder} is not of a coin game in which both agents pick up a coin where both arrive, and the last "
        "step gives rewards.",
    )
    return run


def outcomes_of_run(run: Run, episodes: int) -> tuple[Outcome, Outcome]:
    """Outcomes of a run's final policies with each other, and of each against a taker (entry 1)."""
    game = run.config.game
    assert isinstance(game, CoinGame)
    learner, state = run.learner()
    together, against = [], []
    for repetition in range(run.config.seeds):
        actor, _ = learner.actor(game, state, repetition)
        together.append(play(game, (actor, actor), episodes))
        against.append(mean_of_seats(game, actor, taker(game), episodes))
    return _stacked(together), _stacked(against)


def _stacked(outcomes: Sequence[Outcome]) -> Outcome:
    return Outcome(*map(torch.stack, zip(*outcomes, strict=True)))


def table_row(label: str, together: Outcome, against: Outcome, reached: float) -> str:
    """A line of the table, in Markdown, of outcomes [seed, agent]; entry 1 of `against` is the taker."""

    def text(values: Tensor, digits: int) -> str:
        interval = interquartile_interval(values.double().numpy())
        numbers = interval.estimate, interval.low, interval.high
        return "{} [{}, {}]".format(*(f"{number:.{digits}f}" for number in numbers))

    own = 1 - together.others.sum(-1) / together.coins.sum(-1)
    cells = [
        label,
        text(together.returns.mean(-1), 2),
        text(own, 3),
        f"{int((own >= reached).sum())} of {len(own)}",
        text(together.coins.mean(-1), 1),
        text(against.returns[:, 0], 2),
        text(against.returns[:, 1], 2),
        text(against.own_coins[:, 0], 3),
    ]
    return f"| {' | '.join(cells)} |"


def scripted_row(label: str, together: Outcome, against: Outcome) -> str:
    """A line of the table of scripted agents, without intervals."""
    own = 1 - together.others.sum() / together.coins.sum()
    numbers = [
        f"{together.returns.mean():.2f}",
        f"{own:.3f}",
        "",
        f"{together.coins.mean():.1f}",
        f"{against.returns[0]:.2f}",
        f"{against.returns[1]:.2f}",
        f"{against.own_coins[0]:.3f}",
    ]
    return f"| {' | '.join([label, *numbers])} |"


def own_coin_curve(run: Run) -> np.ndarray:
    """Own-coin rate of both agents in each outer step, [outer step, seed], from welfare and cooperation."""
    steps = run.config.game.num_agents * run.config.game.horizon
    others = (1 - run.curves["cooperation"]) * steps
    return np.asarray(1 - others / (run.curves["welfare"] + 2 * others))


def write_curves(runs: Mapping[str, Run], path: Path) -> Path:
    """Draw own-coin rates (left) and returns (right) over outer steps.

    Args:
        runs: label -> run.
        path: the picture.
    """
    curves: dict[str, Callable[[Run], np.ndarray]] = {
        "own-coin rate": own_coin_curve,
        "return per agent and episode": lambda run: run.curves["welfare"] / 2,
    }
    with style():
        figure = Figure(figsize=(10, 4.2))
        row: Sequence[Axes] = figure.subplots(1, 2)
        for axes, (name, curve) in zip(row, curves.items(), strict=True):
            for label, look in looks(list(runs)).items():
                values = curve(runs[label])
                draw_band(axes, np.arange(1, 1 + len(values)), values, {"label": label, **look})
            axes.set_xlabel("outer step")
            axes.set_ylabel(name)
        handles, names = row[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    return save(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, a line for each run and each scripted pair, and write the figure.

    Args:
        arguments: arguments of the command line; None: those of this process.
    """
    study = tyro.cli(Study, prog="python -m docs.studies.coin_game", args=arguments)
    try:
        runs = {folder.name: load_coin_run(folder) for folder in study.runs}
        print(TABLE_HEAD, flush=True)
        for label, run in runs.items():
            print(table_row(label, *outcomes_of_run(run, study.episodes), study.reached), flush=True)
        for game in dict.fromkeys(run.config.game for run in runs.values()):
            for label, actor in SCRIPTED.items():
                pairs = (mean_of_seats(game, actor(game), other(game), 4096) for other in (actor, taker))
                print(scripted_row(label, *pairs), flush=True)
        if study.figure is not None:
            print(write_curves(runs, study.figure))
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
