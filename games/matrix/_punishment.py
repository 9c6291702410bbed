"""Public goods with punishment: contribute to a pot, then pay for reducing the payoffs of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.core import Game, Step, alias, cached_constants, computed, constant, require
from games.matrix._matrix import require_finite, require_two_or_more
from games.render import draw_table

MAX_AGENTS = 100


class PunishmentState(NamedTuple):
    """The state of public goods with punishment.

    >>> from games import make
    >>> game = make("public-goods-punishment")
    >>> game.reset(1, torch.Generator()).points.shape
    torch.Size([1, 4, 4])
    """

    time: Tensor
    """Steps played, int64 [batch]."""
    contributions: Tensor
    """Contributions to the last pot, [batch, agent]; 0 before the first."""
    points: Tensor
    """Points of this round, [batch, giver, receiver]; those of the last round until there is a new pot."""
    received: Tensor
    """Points that each agent received in the last complete round, [batch, agent]."""


@dataclass(frozen=True, kw_only=True)
class PublicGoodsWithPunishment(Game):
    """Public goods with punishment: contribute to a pot, then pay for reducing the payoffs of others.

    A round has one step for contributions and, for each other agent, one step for punishing it. First each
    agent puts some of its `endowment` into the pot and gets endowment - c_i + `mpcr` sum(c): an agent loses
    by contributing, as `mpcr` is below 1, while all gain if it is above 1/N. Then, in step k, agent i assigns
    points to agent i + k (counted modulo N). A point costs the giver `punishment_cost` and the receiver
    `punishment_impact`. Agents observe points only after the round, and only the total of those that they
    received, as if all points of a round were assigned at once.

    Actions are levels at equal distances: of contributions from 0 to `endowment`, of points from 0 to
    `max_points`. With `max_points` 0 there is no punishment, and a round has one step.

    Rounds are finitely many, so selfish agents neither punish nor contribute: the only subgame-perfect
    equilibrium. Scripted defectors do neither. Scripted cooperators contribute everything and assign
    `max_points` to each agent that contributes less. An action cooperates if it is that of this script.
    If enough agents follow it, contributing pays.

    An observation has the step of the round, one-hot; the last contributions as fractions of the endowment,
    first the agent's own, then those of agents i + 1, i + 2, ...; and the points received in the last
    complete round, as a fraction of the most possible. Payoffs may be negative.

    Raises:
        ValueError: there are too few or too many agents, or a number is out of range.
    Source:
        Fehr and Gaechter, Altruistic punishment in humans, Nature 415, 2002: groups of four with 20 units, a
        marginal return of 0.4, six rounds, and up to 10 points for each other agent, which cost 1 and 3.
        There each unit and each point is a level, and groups change from round to round.

    >>> game = PublicGoodsWithPunishment()
    >>> state = game.reset(1, torch.Generator())
    >>> state, rewards, _ = game.step(state, torch.tensor([[2, 2, 2, 0]]), torch.Generator())
    >>> rewards  # agent 3 keeps its 20
    tensor([[24., 24., 24., 44.]])
    >>> state, rewards, _ = game.step(state, torch.tensor([[0, 0, 1, 0]]), torch.Generator())
    >>> rewards  # agent 2 assigns 5 points to agent 3
    tensor([[  0.,   0.,  -5., -15.]])
    """

    agents: int = 4
    """Number of agents, from 2 to 100."""
    endowment: float = 20.0
    """Units that each agent has in each round; above 0."""
    mpcr: float = 0.4
    """Marginal per-capita return: payment to each agent for each unit in the pot; between 0 and 1."""
    max_points: float = 10.0
    """Most points for one agent in a round; 0: no punishment."""
    punishment_cost: float = 1.0
    """Cost of a point to its giver; above 0."""
    punishment_impact: float = 3.0
    """Cost of a point to its receiver; above 0."""
    levels: int = 3
    """Number of contributions, and of points, to choose from; 2 or more."""
    rounds: int = 6
    """Rounds of an episode; at least 1."""

    num_agents = alias("agents")
    symmetric = True
    draws_by_rows = True
    pure = True
    action_space = computed(lambda self: spaces.Discrete(self.levels))
    horizon = computed(lambda self: self.rounds * self.steps)
    # all contribute everything, or nothing; nobody punishes
    best_welfare = computed(lambda self: self.rounds * self.agents * self.endowment * self._multiplier)
    defection_welfare = computed(lambda self: self.rounds * self.agents * self.endowment)
    _multiplier = computed(lambda self: max(1.0, self.agents * self.mpcr))

    def __post_init__(self) -> None:
        require(
            isinstance(self.agents, int) and 2 <= self.agents <= MAX_AGENTS,
            f"agents must be a whole number between 2 and {MAX_AGENTS}; it is {self.agents}.",
        )
        names = ("endowment", "punishment_cost", "punishment_impact")
        require_finite(max_points=self.max_points, **{name: getattr(self, name) for name in names})
        for name in names:
            require(getattr(self, name) > 0, f"{name} must be above 0, not {getattr(self, name)}.")
        require(self.max_points >= 0, f"max_points must be 0 or more, not {self.max_points}.")
        require(0 < self.mpcr < 1, f"mpcr must be between 0 and 1; it is {self.mpcr}.")
        require_two_or_more(levels=self.levels)
        require(self.rounds >= 1, f"An episode needs at least 1 round; rounds is {self.rounds}.")

    @property
    def steps(self) -> int:
        """Steps of a round."""
        return self.agents if self.max_points > 0 else 1

    @property
    def best_cooperation(self) -> float | None:
        """1: in the optimum all follow the script; None if contributing has no benefit."""
        return 1.0 if self.agents * self.mpcr > 1 else None

    @property
    def action_names(self) -> tuple[str, ...]:
        """Contribution and points of each level."""
        top = self.levels - 1
        pairs = ((self.endowment * n / top, self.max_points * n / top) for n in range(self.levels))
        punishes = self.steps > 1
        return tuple(f"{units:g} / {points:g}" if punishes else f"{units:g}" for units, points in pairs)

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(0.0, 1.0, (self.steps + self.agents + 1,), dtype=np.float32)

    def reset(self, batch: int, generator: torch.Generator) -> PunishmentState:
        nothing = torch.zeros(batch, self.agents, device=generator.device)
        points = torch.zeros(batch, self.agents, self.agents, device=generator.device)
        return PunishmentState(
            torch.zeros_like(nothing[:, 0], dtype=torch.int64), nothing, points, nothing.clone()
        )

    def observe(self, state: PunishmentState) -> Tensor:
        batch, device = len(state.time), state.time.device
        step = torch.nn.functional.one_hot(state.time % self.steps, self.steps).float()
        contributed = state.contributions[:, _after_me(self.agents, device)] / self.endowment
        most = (self.agents - 1) * self.max_points
        received = (state.received / (most or 1)).unsqueeze(-1)
        return torch.cat((step[:, None].expand(batch, self.agents, -1), contributed, received), -1).float()

    def step(self, state: PunishmentState, actions: Tensor, generator: torch.Generator) -> Step:
        step, share = state.time % self.steps, actions.to(state.contributions) / (self.levels - 1)
        first = (step == 0).unsqueeze(-1)
        units, given = share * self.endowment, share * self.max_points
        assigned = torch.where(first.unsqueeze(-1), 0, self._to_targets(step, given))  # [giver, receiver]
        got = assigned.sum(-2)
        from_pot = self.endowment - units + self.mpcr * units.sum(-1, keepdim=True)
        spent = self.punishment_cost * assigned.sum(-1) + self.punishment_impact * got
        points = torch.where(first.unsqueeze(-1), 0, state.points + assigned)
        last = (step == self.steps - 1).unsqueeze(-1)
        after = PunishmentState(
            state.time + 1,
            torch.where(first, units, state.contributions),
            points,
            torch.where(last, points.sum(-2), state.received),
        )
        return after, torch.where(first, from_pot, 0 - spent), after.time >= self.horizon

    def cooperates(self, state: PunishmentState, actions: Tensor) -> Tensor:
        return actions == self.scripted(state, torch.ones_like(actions, dtype=torch.bool))

    def scripted(self, state: PunishmentState, cooperative: Tensor) -> Tensor:
        """Contribute everything and punish those who contribute less; or do neither."""
        step = state.time % self.steps
        targets = _after_me(self.agents, step.device)[:, step].T  # [batch, agent]
        less = state.contributions.gather(1, targets) < self.endowment
        acts = cooperative & ((step == 0).unsqueeze(-1) | less)
        return (self.levels - 1) * acts.long()

    def render(self, state: PunishmentState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        time, points = int(state.time[index]), state.points[index]
        contributed = state.contributions[index].tolist()
        rows = [
            [str(agent), *(f"{number:.4g}" for number in numbers)]
            for agent, numbers in enumerate(
                zip(contributed, points.sum(-1).tolist(), points.sum(-2).tolist(), strict=True)
            )
        ]
        played = f"round {(time - 1) // self.steps + 1}, step {(time - 1) % self.steps + 1} of {self.steps}"
        everything = {(agent + 1, 1) for agent, units in enumerate(contributed) if units >= self.endowment}
        return draw_table(
            played if time else "not yet played",
            [["agent", "contribution", "points given", "points received"], *rows],
            everything,
            key="contributes everything",
            scale=scale,
        )

    def _to_targets(self, step: Tensor, given: Tensor) -> Tensor:
        """Points by giver and receiver, [batch, giver, receiver], of points for the targets of the step."""
        targets = _after_me(self.agents, step.device)[:, step].T
        return torch.nn.functional.one_hot(targets, self.agents) * given.unsqueeze(-1)


@cached_constants
def _after_me(agents: int, device: torch.device) -> Tensor:
    """Agent i + k modulo the number of agents: integer [i, k]."""
    numbers = np.arange(agents)
    return constant((numbers[:, None] + numbers) % agents, torch.int64, device)
