"""Exact returns of trained memory-one policies: with each other, and against an agent that always defects.

python -m docs.studies.memory_one RUN ...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import tyro
from torch import Tensor

from bilevel.agents import FeedForward, PolicyWithCritic
from bilevel.experiments import Interval, interquartile_interval, load_run
from games.core import require
from games.matrix import RepeatedGame


class Returns(NamedTuple):
    """Exact returns per step and seed."""

    together: Tensor
    """Mean of both agents, [seed]."""
    against_defection: Tensor
    """Mean of both agents, each against an agent that always defects, [seed]."""
    cooperation: Tensor
    """Mean probability of cooperation of both agents, by observation, [observation]."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Exact returns of a run's memory-one policies in a repeated game of two agents who cooperate or defect.

    Raises:
        ValueError: a folder is no finished run, or its game or policies are of another kind.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of runs, as written by bilevel train or compare."""
    reached: float = -1.15
    """Return per step that counts as cooperation."""


def exact_returns(game: RepeatedGame, policies: Tensor) -> Returns:
    """Compute the exact returns of memory-one policies.

    Args:
        game: two agents, of whose two actions the first cooperates.
        policies: probabilities of actions, [seed, agent, observation, action].
    """
    always = torch.zeros_like(policies[:, 0])
    always[..., 1] = 1
    alone = [
        game.values(torch.stack((policies[:, 0], always), 1))[:, 0],
        game.values(torch.stack((always, policies[:, 1]), 1))[:, 1],
    ]
    return Returns(game.values(policies).mean(-1), torch.stack(alone).mean(0), policies[..., 0].mean((0, 1)))


def returns_of_run(folder: Path) -> Returns:
    """Load a run and compute the returns of its final policies."""
    run = load_run(folder)
    game = run.config.game
    fits = isinstance(game, RepeatedGame) and (game.num_agents, game.stage.num_actions) == (2, 2)
    require(fits, f"{folder} is not of a repeated game of two agents with two actions.")
    learner, state = run.learner()
    policy, theta = learner.play.policy, state["theta"]
    if isinstance(policy, PolicyWithCritic):
        policy, theta = policy.policy, policy.split(theta)[0]
    require(isinstance(policy, FeedForward), f"The policies of {folder} remember more than the last step.")
    assert isinstance(policy, FeedForward)
    assert isinstance(game, RepeatedGame)
    seen = torch.arange(game.num_observations).expand(*theta.shape[:-1], -1)
    return exact_returns(game, policy.logits(theta.double(), seen).softmax(-1))


TABLE_HEAD = """\
| run | return per step | cooperating seeds | against defection | worst seed | P(C): start, CC, CD, DC, DD |
|---|---|---|---|---|---|"""


def table_row(label: str, returns: Returns, reached: float) -> str:
    """A line of the table, in Markdown."""

    def text(interval: Interval) -> str:
        return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"

    together, alone = returns.together, returns.against_defection
    cells = [
        label,
        text(interquartile_interval(together.numpy())),
        f"{int((together >= reached).sum())} of {len(together)}",
        text(interquartile_interval(alone.numpy())),
        f"{float(alone.min()):.2f}",
        ", ".join(f"{float(chance):.2f}" for chance in returns.cooperation),
    ]
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, a line for each run."""
    study = tyro.cli(Study, prog="python -m docs.studies.memory_one", args=arguments)
    try:
        print(TABLE_HEAD, flush=True)
        for folder in study.runs:
            print(table_row(folder.name, returns_of_run(folder), study.reached), flush=True)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
