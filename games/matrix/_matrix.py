"""Matrix games: one simultaneous move, with payoffs in a table."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from games.core import ExactGame, Step, cached_constants, constant, require
from games.render import draw_table

WIDEST_PAYOFF = "-8.888e+88"  # the widest payoff with four significant digits


class MatrixState(NamedTuple):
    """The state of matrix games and repeated games: steps played, and the last joint action.

    >>> from games import make
    >>> game, generator = make("chicken"), torch.Generator()
    >>> game.step(game.reset(1, generator), torch.tensor([[0, 1]]), generator)[0]
    MatrixState(time=tensor([1]), actions=tensor([[0, 1]]))
    """

    time: Tensor
    """Steps played, int64 [batch]."""
    actions: Tensor
    """The last joint action, int64 [batch, agent]; -1 before the first step."""


class MatrixGame(ExactGame):
    """A one-shot game in normal form: N agents, A actions each, one step.

    A subclass is a frozen dataclass that builds the table of payoffs from its settings. Agents observe
    nothing, so a policy is [..., agent, 1, action].
    """

    cooperative = True  # two actions, of which 0 means cooperating and 1 defecting
    horizon = 1
    num_observations = 1
    draws_by_rows = True
    pure = True

    @abc.abstractmethod
    def build_payoffs(self) -> NDArray[np.float64]:
        """The payoff table, float64 [A, ..., A, agent]: one axis per agent's action, then the agent."""

    def payoffs(self) -> Tensor:
        """A copy of the payoff table, float64 [A, ..., A, agent], on the CPU."""
        return torch.tensor(payoff_array(self))

    @property
    def num_agents(self) -> int:
        return len(_table_shape(self)) - 1

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(_table_shape(self)[0])

    @property
    def observation_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.num_observations)

    @property
    def action_names(self) -> tuple[str, ...]:
        return ("cooperate", "defect") if self.cooperative else super().action_names

    @property
    def symmetric(self) -> bool:
        """True if payoffs are unchanged by the cyclic shift of all agents."""
        table = payoff_array(self)
        shifted = np.roll(np.moveaxis(table, 0, -2), -1, -1)
        return bool(np.allclose(shifted, table, rtol=0, atol=1e-9 * float(np.abs(table).max())))

    @property
    def fully_symmetric(self) -> bool:
        """True if payoffs are unchanged by the cyclic shift of all agents and by a swap of the first two."""
        if not self.symmetric or not self.neighbors.all():
            return False
        table = payoff_array(self)
        swapped = np.swapaxes(table, 0, 1)[..., [1, 0, *range(2, self.num_agents)]]
        return bool(np.allclose(swapped, table, rtol=0, atol=1e-9 * float(np.abs(table).max())))

    @property
    def best_welfare(self) -> float:
        """Maximum total over pure profiles, which no mixed profile exceeds."""
        return float(payoff_array(self).sum(-1).max())

    @property
    def best_cooperation(self) -> float | None:
        """The share of agents that play action 0 at the optimum; None where optima differ in it."""
        if not self.cooperative:
            return None
        totals = payoff_array(self).sum(-1)
        optima = np.argwhere(np.isclose(totals, totals.max(), rtol=0, atol=1e-9 * np.abs(totals).max()))
        shares = np.unique((optima == 0).mean(-1))
        return float(shares[0]) if len(shares) == 1 else None

    @property
    def defection_welfare(self) -> float | None:
        """The total when all agents play action 1; None where action 1 does not mean defecting."""
        return float(payoff_array(self)[(1,) * self.num_agents].sum()) if self.cooperative else None

    def values(self, policies: Tensor) -> Tensor:
        """Each agent's expected reward, [..., agent], by averaging over the agents' actions one at a time.

        >>> from games.matrix import NormalForm
        >>> game = NormalForm(table=(((1, -1), (-1, 1)), ((-1, 1), (1, -1))))
        >>> game.values(torch.tensor([[[0.5, 0.5]], [[0.25, 0.75]]]))
        tensor([0., 0.])
        """
        expected = payoff_tensor(self, policies.dtype, policies.device).flatten(1)
        actions = policies.shape[-1]
        first, *others = policies.squeeze(-2).unbind(-2)
        expected = (first.unsqueeze(-1) * expected).sum(-2)
        for policy in others:
            table = expected.reshape(*policy.shape[:-1], actions, -1)
            expected = (policy.unsqueeze(-1) * table).sum(-2)
        return expected

    def payoffs_of(self, profile: NDArray[np.int64]) -> NDArray[np.float64]:
        """Payoffs of joint actions, both [..., agent]."""
        payoffs: NDArray[np.float64] = payoff_array(self)[tuple(np.moveaxis(profile, -1, 0))]
        return payoffs

    def cooperation(self, policies: Tensor) -> Tensor | None:
        return policies[..., 0, 0] if self.cooperative else None

    def reset(self, batch: int, generator: torch.Generator) -> MatrixState:
        device = generator.device
        time = torch.zeros(batch, dtype=torch.int64, device=device)
        return MatrixState(time, torch.full((batch, self.num_agents), -1, device=device))

    def observe(self, state: MatrixState) -> Tensor:
        return torch.zeros_like(state.actions)

    def step(self, state: MatrixState, actions: Tensor, generator: torch.Generator) -> Step:
        table = payoff_tensor(self, torch.get_default_dtype(), actions.device)
        time = state.time + 1
        return MatrixState(time, actions), table[actions.unbind(-1)], time >= self.horizon

    def ended(self, state: MatrixState) -> Tensor:
        return state.time >= 1

    def cooperates(self, state: MatrixState, actions: Tensor) -> Tensor | None:
        return actions == 0 if self.cooperative else None

    def scripted(self, state: MatrixState, cooperative: Tensor) -> Tensor | None:
        return (~cooperative).long() if self.cooperative else None

    def render(self, state: MatrixState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        played = tuple(state.actions[index].tolist())
        steps = int(state.time[index])
        title = f"step {steps}" if steps else "not yet played"
        names = self.action_names
        if self.num_agents == 2:
            lines = (
                [name, *(", ".join(f"{payoff:.4g}" for payoff in pair) for pair in line)]
                for name, line in zip(names, payoff_array(self), strict=True)
            )
            marked = {(played[0] + 1, played[1] + 1)} if steps else ()
            key = "joint action of the step"
            return draw_table(title, [["agent 0 \\ 1", *names], *lines], marked, key=key, scale=scale)
        moves = rewards = ["-"] * self.num_agents
        if steps:
            moves = [names[action] for action in played]
            rewards = [f"{payoff:.4g}" for payoff in self.payoffs_of(state.actions[index].numpy())]
        rows = [list(row) for row in zip(map(str, range(self.num_agents)), moves, rewards, strict=True)]
        cooperators = {
            (agent + 1, 1) for agent, action in enumerate(played) if self.cooperative and action == 0
        }
        sizing = [["", name, WIDEST_PAYOFF] for name in names]
        key = "cooperation" if self.cooperative else ""
        table = [["agent", "action", "reward"], *rows]
        return draw_table(title, table, cooperators, sizing, key=key, scale=scale)


def payoff_array(game: MatrixGame) -> NDArray[np.float64]:
    """A game's payoff table, read-only and cached.

    Args:
        game: a matrix game.
    Returns:
        Payoffs in the game's units, float64 [A, ..., A, agent]: one axis per agent's action, then the agent.

    >>> from games import make
    >>> payoff_array(make("chicken"))[0]  # agent 0 swerves, agent 1 swerves or goes straight
    array([[ 0.,  0.],
           [-1.,  1.]])
    """
    return _cached_array(game)


@cached_constants
def _cached_array(game: MatrixGame) -> NDArray[np.float64]:
    table = game.build_payoffs()
    table.setflags(write=False)
    return table


@cached_constants
def _table_shape(game: MatrixGame) -> tuple[int, ...]:
    return payoff_array(game).shape


@cached_constants
def payoff_tensor(game: MatrixGame, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A game's payoff table, [A, ..., A, agent], cached: do not change it in place."""
    return constant(payoff_array(game).copy(), dtype, device)


@dataclass(frozen=True, kw_only=True)
class NormalForm(MatrixGame):
    """Any matrix game, given by its table of payoffs.

    Raises:
        ValueError: the table is not of shape A x ... x A x N, or `names` or `cooperative` does not fit it.

    >>> game = NormalForm(table=(((2, 1), (0, 0)), ((0, 0), (1, 2))), names=("opera", "football"))
    >>> game.num_agents, game.action_names, game.best_welfare
    (2, ('opera', 'football'), 3.0)
    """

    table: tuple[Any, ...]
    """Nested tuples: table[a_0]...[a_(N-1)] holds the agents' payoffs, finite numbers in the game's units."""
    names: tuple[str, ...] = ()
    """Names of the actions; empty: numbers, or cooperate and defect if `cooperative`."""
    cooperative: bool = False
    """Read action 0 as cooperating and action 1 as defecting; needs exactly two actions."""

    def __post_init__(self) -> None:
        try:
            table = np.array(self.table, dtype=np.float64)
        except (ValueError, TypeError) as error:
            raise ValueError(
                "A payoff table must be nested tuples of numbers, equally long at each level, with one "
                "payoff per agent at the innermost level."
            ) from error
        object.__setattr__(self, "table", _nested_tuples(table.tolist()))
        agents, actions = table.ndim - 1, len(np.atleast_1d(table))
        shape = " x ".join(map(str, table.shape)) or "one number"
        require(
            agents >= 2 and actions >= 2 and table.shape == (actions,) * agents + (agents,),
            "A payoff table of N agents (2 or more) with A actions (2 or more) needs the shape "
            f"A x ... x A x N, with A repeated N times; this one is {shape}.",
        )
        require(
            bool(np.isfinite(table).all()), "Every payoff must be finite; the table holds one that is not."
        )
        require(
            len(self.names) in (0, actions),
            f"Name every action or none: there are {actions} actions and {len(self.names)} names.",
        )
        require(
            not self.cooperative or actions == 2,
            f"A game reads as cooperating or defecting only with two actions; this one has {actions}.",
        )

    @property
    def action_names(self) -> tuple[str, ...]:
        return self.names or super().action_names

    def build_payoffs(self) -> NDArray[np.float64]:
        return np.array(self.table, dtype=np.float64)


def _nested_tuples(values: Any) -> Any:
    return tuple(map(_nested_tuples, values)) if isinstance(values, list) else values


def require_finite(**settings: float) -> None:
    """Raise ValueError unless every setting is a finite number.

    >>> require_finite(reward=3, sucker=float("nan"))
    Traceback (most recent call last):
    ValueError: sucker must be a finite number; it is nan.
    """
    for name, value in settings.items():
        finite = isinstance(value, int | float) and math.isfinite(value)
        require(finite, f"{name} must be a finite number; it is {value!r}.")


def require_two_or_more(**settings: int) -> None:
    """Raise ValueError unless every setting is a whole number, 2 or more.

    >>> require_two_or_more(agents=2, levels=1)
    Traceback (most recent call last):
    ValueError: levels must be a whole number, 2 or more; it is 1.
    """
    for name, value in settings.items():
        whole = isinstance(value, int) and value >= 2
        require(whole, f"{name} must be a whole number, 2 or more; it is {value}.")
