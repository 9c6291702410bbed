"""Outer objectives: functions of the agents' own, extrinsic returns, net of the cost of giving."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from games.core import Registry, require

Cost = Callable[[Tensor], Tensor]
Welfare = Callable[[Tensor], Tensor]
"""Returns [..., agent] -> the value to maximize, [...], differentiable."""


def given_away(own_share: Tensor) -> Tensor:
    """Share given away, from 0 to 1, of the share that an agent keeps."""
    return 1 - own_share


def kl_to_keeping(own_share: Tensor) -> Tensor:
    """KL(e_i || T_i) = -log T_ii in nats, D3C's regularizer (arXiv 2010.00575), of the own share T_ii.

    Infinite for an own share of 0, so under this cost no giver ever gives everything away.
    """
    return -own_share.log()


COSTS: dict[str, Cost] = {"l1": given_away, "kl": kl_to_keeping}
"""Name -> measure of giving that can be charged, a function of the share that each agent keeps."""


def utilitarian(returns: Tensor) -> Tensor:
    """Utilitarian welfare: the sum of returns.

    Args:
        returns: [..., agent], in the game's units.
    Returns:
        Welfare, [...].

    >>> utilitarian(torch.tensor([1.0, 3.0]))
    tensor(4.)
    """
    return returns.sum(-1)


def maximin(returns: Tensor) -> Tensor:
    """Egalitarian welfare: the lowest return; ties share the derivative evenly.

    Args:
        returns: [..., agent], in the game's units.
    Returns:
        Welfare, [...].
    Source:
        Rawls, A Theory of Justice, 1971.

    >>> maximin(torch.tensor([1.0, 3.0]))
    tensor(1.)
    """
    return returns.amin(-1)


def nash_welfare(returns: Tensor, floor: float = 0.01) -> Tensor:
    """Nash social welfare: the sum of the logarithms of returns.

    A logarithm needs a positive return: below `floor` it continues as its tangent, so that the derivative of
    a low return is large, but finite.

    Args:
        returns: [..., agent], in the game's units.
        floor: return below which the tangent continues, above 0.
    Returns:
        Welfare in nats, [...].
    Source:
        Nash, The bargaining problem, Econometrica 1950; Kaneko and Nakamura, Econometrica 1979.

    >>> nash_welfare(torch.tensor([1.0, 2.0]))
    tensor(0.6931)
    """
    tangent = math.log(floor) + (returns - floor) / floor
    return torch.where(returns > floor, returns.clamp(min=floor).log(), tangent).sum(-1)


def gini_welfare(returns: Tensor) -> Tensor:
    """Gini-weighted welfare, mean x (1 - Gini coefficient): lower returns have larger weights.

    sum_k (2 (N - k) + 1) / N^2 r_(k), with returns in ascending order, k from 1; that is also defined where
    returns are negative.

    Args:
        returns: [..., agent], in the game's units.
    Returns:
        Welfare, [...].
    Source:
        Sen, On Economic Inequality, 1973; Weymark, Generalized Gini inequality indices, 1981.

    >>> gini_welfare(torch.tensor([3.0, 1.0]))  # mean 2, Gini 1/4
    tensor(1.5000)
    """
    agents = returns.shape[-1]
    rank = torch.arange(agents, dtype=returns.dtype, device=returns.device)
    return (returns.sort(-1).values * (2 * (agents - rank) - 1) / agents**2).sum(-1)


@dataclass(frozen=True)
class Objective:
    """An outer objective: a function of all returns, or, for each agent, its own.

    >>> from bilevel.sharing import OBJECTIVES
    >>> values, costs = torch.tensor([[1.0, 3.0]]), torch.zeros(1, 2)  # seed, agent
    >>> OBJECTIVES["welfare"].losses(values, costs)
    tensor([-4.])
    >>> OBJECTIVES["own-return"].losses(values, costs)  # agent, seed
    tensor([[-1.],
            [-3.]])
    """

    welfare: Welfare | None
    """Function of all returns; None: each agent's own return, which takes one hypergradient per agent."""

    @property
    def per_agent(self) -> bool:
        """True if each agent has an objective, with losses [agent, seed]; else losses are [seed]."""
        return self.welfare is None

    def losses(self, values: Tensor, costs: Tensor) -> Tensor:
        """Losses to be minimized, [seed], or [agent, seed] where there is one per agent.

        Extrinsic values and costs of giving are [seed, agent], in the game's units.
        """
        net = values - costs
        return -net.T if self.welfare is None else -self.welfare(net)

    def gradient(self, by_agent: Tensor, losses: Tensor) -> Tensor:
        """Gradient of this objective, [seed, row, ...], by agents' losses [agent, seed] and their gradients.

        `by_agent` is [agent, seed, row, ...]; a per-agent objective takes agent i's own loss in row i.
        """
        if self.welfare is None:
            return torch.diagonal(by_agent, dim1=0, dim2=2).movedim(-1, 1)
        if self.welfare is utilitarian:
            return by_agent.sum(0)
        welfare = self.welfare
        weights = torch.func.grad(lambda net: welfare(net).sum())(-losses.T)  # [seed, agent]
        weighted: Tensor = by_agent * weights.T.reshape(*losses.shape, *[1] * (by_agent.ndim - 2))
        return weighted.sum(0)


OBJECTIVES: Registry[Objective] = Registry(
    "objective",
    {
        "welfare": Objective(utilitarian),
        "own-return": Objective(None),
        "maximin": Objective(maximin),
        "nash-welfare": Objective(nash_welfare),
        "gini-welfare": Objective(gini_welfare),
    },
)
"""Name -> outer objective; `register_objective` adds one."""


def register_objective(name: str, welfare: Welfare, *, replace: bool = False) -> None:
    """Add an outer objective, to be maximized, for the rest of the process.

    Args:
        name: in lower case, words joined by hyphens.
        welfare: differentiable function of returns, [..., agent] -> [...].
        replace: replace an objective of this name.
    Raises:
        ValueError: the name is taken, or is not a valid name; or the function does not reduce the agents.

    >>> from bilevel.sharing import OBJECTIVES
    >>> register_objective("first-agent", lambda returns: returns[..., 0])
    >>> OBJECTIVES["first-agent"].losses(torch.tensor([[1.0, 3.0]]), torch.zeros(1, 2))
    tensor([-1.])
    >>> del OBJECTIVES["first-agent"]
    """
    result = welfare(torch.ones(3, 2))
    require(
        isinstance(result, Tensor) and result.shape == (3,),
        "An objective turns returns [..., agent] into [...], but this one turns [3, 2] into "
        f"{list(getattr(result, 'shape', [])) or type(result).__name__}.",
    )
    OBJECTIVES.register(name, Objective(welfare), replace=replace)


@dataclass(frozen=True)
class GroupObjectives:
    """Objectives of groups of outer variables, whose gradients come from one outer loss.

    >>> from bilevel.sharing import OBJECTIVES
    >>> groups = GroupObjectives({"sharing": OBJECTIVES["welfare"], "costs": OBJECTIVES["maximin"]})
    >>> groups.per_agent  # the objectives differ: losses are the agents', [agent, seed]
    True
    >>> losses = groups.losses(torch.tensor([[1.0, 3.0]]), torch.zeros(1, 2))
    >>> by_agent = torch.tensor([10.0, 1.0]).reshape(2, 1, 1)  # agent, seed, row
    >>> groups.gradients({"sharing": by_agent, "costs": by_agent}, losses)
    {'sharing': tensor([[11.]]), 'costs': tensor([[10.]])}
    """

    groups: Mapping[str, Objective | None]
    """Group of phi -> its objective; None: the group is not updated."""

    @property
    def per_agent(self) -> bool:
        """True if the loss is per agent: an objective is, or objectives differ."""
        objectives = {objective for objective in self.groups.values() if objective is not None}
        return len(objectives) > 1 or any(objective.per_agent for objective in objectives)

    def losses(self, values: Tensor, costs: Tensor) -> Tensor:
        if self.per_agent:
            return -(values - costs).T
        shared = next((each for each in self.groups.values() if each is not None), Objective(utilitarian))
        return shared.losses(values, costs)

    def gradients(self, gradient: Mapping[str, Tensor], losses: Tensor) -> dict[str, Tensor]:
        """Gradient of each group's own objective, from gradients of `losses`, [seed] or [agent, seed]."""
        by_group = {}
        for name, objective in self.groups.items():
            whole = gradient[name]
            if objective is None:
                by_group[name] = torch.zeros_like(whole[0] if self.per_agent else whole)
            else:
                by_group[name] = objective.gradient(whole, losses) if self.per_agent else whole
        return by_group
