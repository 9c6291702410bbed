"""Tables and networks as the same game's policies: `lola-dice` and `pola` with exact values.

python -m docs.studies.parametrization
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import tyro
from torch import Tensor

from bilevel.agents import MLP, Tabular
from bilevel.experiments import interquartile_interval
from bilevel.methods import METHODS, Method, Placement
from docs.studies.memory_one import exact_returns
from games.matrix import PublicGoods, RepeatedGame

EXACT: dict[str, Any] = {
    "policy": "tabular",
    "policy.initial_scale": 0.1,
    "inner.exact": True,
    "look_ahead.steps": 1,
}
SETTINGS: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {
    ("lola-dice", "table"): (30, {"inner.learning_rate": 25.0, "look_ahead.learning_rate": 3.0}),
    ("lola-dice", "network"): (400, {"inner.learning_rate": 0.05, "look_ahead.learning_rate": 0.4}),
    ("pola", "table"): (
        2,
        {"inner.learning_rate": 0.3, "look_ahead.learning_rate": 5.0, "proximal.kl_coef": 0.5},
    ),
    ("pola", "network"): (
        4,
        {"inner.learning_rate": 0.05, "look_ahead.learning_rate": 0.25, "proximal.kl_coef": 0.65},
    ),
}
"""(method, policy) -> updates, and settings: those of the code of POLA for a multiplier of 1.33, but with
more updates of networks, a higher learning rate of pola's, and a fixed number of steps."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Policies learned from exact values in the repeated public goods game of two agents.

    Raises:
        ValueError: a number is out of range.
    """

    multiplier: float = 1.33
    """Multiplier of the pot, between 1 and 2."""
    seed: int = 100
    """Random seed of the first repetition."""
    seeds: int = 20
    """Number of repetitions, 3 or more."""
    steps: int = 300
    """Gradient steps of an update of pola."""


@dataclass(frozen=True)
class NetworkTable(Tabular):
    """A table of logits that a network computes: exact values take it for a table."""

    hidden_size: int = 16

    @property
    def network(self) -> MLP:
        """The network, of one-hot observations."""
        return MLP(self.num_observations, self.num_actions, (self.hidden_size,), one_hot=True)

    @property
    def num_parameters(self) -> int:
        """Number of parameters of an agent's network."""
        return self.network.num_parameters

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Draw initial parameters of networks."""
        return self.network.initial(generator, *batch)

    def table(self, theta: Tensor) -> Tensor:
        """Logits of the networks for all observations, [..., observation, action]."""
        seen = torch.arange(self.num_observations).expand(*theta.shape[:-1], -1)
        return self.network.logits(theta, seen)


def method_of(study: Study, name: str, policy: str) -> Method:
    """Build a method with its settings."""
    steps = {"proximal.steps": study.steps} if name == "pola" else {}
    return METHODS[name]().with_settings(EXACT | SETTINGS[name, policy][1] | steps)


def learn(study: Study, game: RepeatedGame, name: str, policy: str) -> Tensor:
    """Learn policies: probabilities of actions, [seed, agent, observation, action]."""
    learner: Any = method_of(study, name, policy).build(game, Placement(seeds=study.seeds))
    if policy == "network":
        table = NetworkTable(learner.play.policy.num_observations, learner.play.policy.num_actions)
        learner.play = dataclasses.replace(learner.play, policy=table)
    state = learner.init(study.seed)
    for _ in range(SETTINGS[name, policy][0]):
        state, _ = learner.update(state)
    probabilities: Tensor = learner.play.policy.probabilities(state["theta"])
    return probabilities


def row(study: Study, name: str, policy: str) -> str:
    """A line of the table, in Markdown."""
    game = RepeatedGame(stage=PublicGoods(agents=2, k=study.multiplier))
    policies = learn(study, game, name, policy)
    together, cooperation = exact_returns(game, policies).together, policies[..., 0]
    exploited, both_defected = cooperation[..., 2], cooperation[..., 4]
    punish = ((exploited < 0.65) & (both_defected < 0.65)).all(-1)
    gain = (together - 1) / (study.multiplier - 1)
    mean = interquartile_interval(together.numpy())
    cells = (
        f"`{name}`",
        policy,
        f"{mean.estimate:.3f} [{mean.low:.3f}, {mean.high:.3f}]",
        f"{int(((gain > 0.8) & punish).sum())} of {study.seeds}",
        ", ".join(f"{float(chance):.2f}" for chance in cooperation.mean((0, 1))),
    )
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    study = tyro.cli(Study, prog="python -m docs.studies.parametrization", args=arguments)
    try:
        for name, policy in SETTINGS:
            method_of(study, name, policy)  # refuses bad settings before anything is learned
        print("| method | policy | return per step | reciprocating seeds | P(C): start, CC, CD, DC, DD |")
        print("|---|---|---|---|---|", flush=True)
        for name, policy in SETTINGS:
            print(row(study, name, policy), flush=True)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
