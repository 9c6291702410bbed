"""The game of mixture-of-experts.md: aid in two regimes, and mixtures of experts as its policies.

python -m docs.studies.two_regimes --help
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import tyro
from gymnasium import spaces
from torch import Tensor

import games
from bilevel.agents import mixture_in
from bilevel.experiments import (
    Run,
    RunFolder,
    interquartile_interval,
    load_run,
    paired_difference_interval,
    train,
)
from bilevel.nn import expert_use
from games.core import DrawnGame, Step, computed, require

AGENTS = 4
OTHERS = AGENTS - 1


class TwoRegimesState(NamedTuple):
    """The regime, the needs, and the time."""

    glut: Tensor  # boolean [batch]
    needs: Tensor  # of each agent, [batch, agent], from -1 to 1
    time: Tensor  # steps played, integer [batch]


@dataclass(frozen=True, kw_only=True)
class TwoRegimes(DrawnGame):
    """Aid in two regimes: four agents help one of the others or rest, and whom to help depends on the regime.

    In each step every agent has a need, uniform from -1 to 1. Helping costs `cost` and gives the other agent
    `benefit` times its need, in a glut minus that: then help for an agent in need harms it. Agents observe
    the regime, 1 or -1, and the needs of the others. Selfish agents never help. In the optimum an agent helps
    the neediest other one, in a glut the least needy one, if that is worth more than the cost. One linear
    policy cannot do this, since the regime changes the sign of every need; one for each regime can.

    >>> game, generator = TwoRegimes(), torch.Generator()
    >>> game.reset(5, generator).needs.shape, game.observe(game.reset(5, generator)).shape
    (torch.Size([5, 4]), torch.Size([5, 4, 4]))
    """

    benefit: float = 3.0
    """Benefit of help for an agent with the need 1; above the cost."""
    cost: float = 0.5
    """Cost of helping; above 0."""
    horizon: int = 4
    """Steps of an episode; at least 1."""

    num_agents = AGENTS
    action_names = ("help the next", "help the second next", "help the third next", "rest")
    symmetric = True
    defection_welfare = 0.0
    start_draws = 1 + AGENTS
    step_draws = 1 + AGENTS
    observation_space = computed(lambda self: spaces.Box(-1, 1, (1 + OTHERS,)))

    def __post_init__(self) -> None:
        require(0 < self.cost < self.benefit, "cost must be above 0 and below the benefit.")
        require(self.horizon >= 1, f"An episode needs at least 1 step; horizon is {self.horizon}.")

    @property
    def best_welfare(self) -> float:
        """N E[max(0, benefit M - cost)] in each step, with M the largest of three uniform numbers."""
        least = self.cost / self.benefit
        gain = self.benefit * ((1 - least) - 0.5 * (1 - ((1 + least) / 2) ** 4))
        return self.horizon * AGENTS * gain

    def begin(self, draws: Tensor) -> TwoRegimesState:
        """Draw the regime and the needs."""
        return TwoRegimesState(draws[:, 0] < 0.5, 2 * draws[:, 1:] - 1, draws.new_zeros(len(draws)).long())

    def advance(self, state: TwoRegimesState, actions: Tensor, draws: Tensor) -> Step:
        """Help, and draw the next regime and needs."""
        helps = actions < OTHERS
        others = (torch.arange(AGENTS, device=actions.device) + actions + 1) % AGENTS
        worth = self.benefit * torch.where(state.glut[:, None], -state.needs, state.needs)
        received = torch.zeros_like(worth).scatter_add(1, others, helps * worth.gather(1, others))
        time = state.time + 1
        after = self.begin(draws)._replace(time=time)
        return after, received - self.cost * helps, time >= self.horizon

    def observe(self, state: TwoRegimesState) -> Tensor:
        """The regime, 1 or -1, and the others' needs, from the next agent on: [batch, agent, 4]."""
        regime = torch.where(state.glut, -1.0, 1.0)[:, None].expand(-1, AGENTS)
        needs = [state.needs.roll(-other, 1) for other in range(1, AGENTS)]
        return torch.stack((regime, *needs), -1)

    def cooperates(self, state: TwoRegimesState, actions: Tensor) -> Tensor:
        """Helping cooperates: boolean [batch, agent]."""
        return actions < OTHERS

    def scripted(self, state: TwoRegimesState, cooperative: Tensor) -> Tensor:
        """Cooperators help the agent to which it is worth most; defectors rest."""
        observed = self.observe(state)
        best = (observed[..., :1] * observed[..., 1:]).argmax(-1)
        return torch.where(cooperative, best, OTHERS)


MIXTURE = {"policy": "mixture", "policy.hidden_size": (16,), "policy.experts": 4}
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "mlp": {"policy": "mlp", "policy.hidden_size": (25,)},
    "softmax": MIXTURE,
    "sparsemax": {**MIXTURE, "policy.alpha": 2.0},
    "curriculum": {**MIXTURE, "policy.alpha": "thirds"},
    "top-1": {**MIXTURE, "policy.active": 1},
}
"""Policy of the table -> settings; all have about 230 parameters. The alpha of thirds goes from 1 to 2 in the
second third of training."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Policies of agents that share their rewards equally, trained from the same seeds."""

    policies: tuple[str, ...] = tuple(POLICIES)
    """Policies, of which the first is the reference of differences."""
    seeds: int = 20
    """Seeds of each policy, 3 or more."""
    seed: int = 0
    """First random seed."""
    outer_steps: int = 200
    """Updates of the policies."""
    learning_rate: float = 0.01
    """Learning rate of Adam."""
    episodes: int = 32
    """Episodes of each update."""
    out: Path = Path("runs/two-regimes")
    """Folder of the runs; finished ones are read."""


def run_of(study: Study, policy: str) -> Run:
    """Train a policy with all seeds, or read its run."""
    games.register(
        "two-regimes",
        TwoRegimes(),
        summary="whom to help depends on the regime",
        source="this study",
        replace=True,
    )
    folder = study.out / policy
    if folder.exists():
        return train(RunFolder(folder)) if not (folder / "final.json").exists() else load_run(folder)
    settings = dict(POLICIES[policy])
    if settings.get("policy.alpha") == "thirds":
        steps = study.outer_steps
        settings["policy.alpha"] = f"0:1, {steps // 3}:1, {2 * steps // 3}:2"
    return train(
        "two-regimes",
        "prosocial",
        seeds=study.seeds,
        seed=study.seed,
        outer_steps=study.outer_steps,
        out=folder,
        **settings,
        **{
            "policy.share_parameters": True,
            "policy.observe_index": False,
            "inner": "ppo",
            "inner.optimizer": "adam",
            "inner.learning_rate": study.learning_rate,
            "inner.episodes": study.episodes,
            "inner.gae_lambda": 0.0,
            "inner.discount": 0.0,
            "inner.norm_adv": True,
        },
    )


def measures_of(run: Run) -> dict[str, np.ndarray]:
    """Measures of a run's final policies, [seed] each: welfare and, for mixtures, the use of experts."""
    measures = {"normalized welfare (%)": 100 * run.final["welfare"] / TwoRegimes().best_welfare}
    learner: Any
    learner, state = run.learner()
    mixture = mixture_in(learner.play.policy)
    if mixture is None:
        return measures
    drawn = TwoRegimes().reset(4096, torch.Generator().manual_seed(0))
    observations = TwoRegimes().observe(drawn).transpose(0, 1)
    with torch.no_grad():
        uses = [
            expert_use(mixture.routing(theta, observations.to(theta)).gates[0], drawn.glut.long())
            for theta in state["theta"][..., : mixture.num_parameters]  # the critic's follow
        ]
    columns = zip(*uses, strict=True)
    names = "effective experts", "experts per state", "MaxVio", "regime information (NMI)"
    return measures | {name: np.array(values) for name, values in zip(names, columns, strict=True)}


def main(study: Study) -> None:
    """Print a row for each policy: interquartile means over seeds with 95 % intervals, paired differences."""
    first = None
    for policy in study.policies:
        run = run_of(study, policy)
        measures = measures_of(run)
        welfare = next(iter(measures.values()))
        first = welfare if first is None else first
        texts = [f"{name} {_text(interquartile_interval(values))}" for name, values in measures.items()]
        difference = _text(paired_difference_interval(welfare, first))
        print(f"{policy}: {'; '.join(texts)}; difference {difference}; {run.seconds:.0f} s")


def _text(interval: Any) -> str:
    return f"{interval.estimate:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


if __name__ == "__main__":
    main(tyro.cli(Study, args=sys.argv[1:]))
