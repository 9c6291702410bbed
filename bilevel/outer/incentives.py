"""Incentives: each agent has a network that rewards the others for what they did."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor

from bilevel.errors import require
from bilevel.networks import ActivationName, Perceptron
from bilevel.outer.giving import Sight, first_parameters, per_episode
from bilevel.outer.sharing import check_neighbours
from bilevel.outer.transfer import Happened, Report, Reporting, given_report, only_among_present
from bilevel.rounding import sigmoid


@dataclass(frozen=True, eq=False)
class Incentives:
    """What agent i gives j in a step: r_eta_i(o_i, a_-i)_j = most * sigmoid(network), nothing to itself.

    Raises:
        ValueError: the graph is none, a layer has no unit, or `most` is not above 0.

    Source:
        Yang et al., Learning to Incentivize Other Learning Agents (LIO), arXiv 2006.06051.

    >>> graph = torch.ones(2, 2, dtype=torch.bool)
    >>> Incentives(graph, spaces.Discrete(5), actions=2).initial(seed=0, seeds=3).shape
    torch.Size([3, 2, 322])
    """

    neighbours: Tensor
    """Who may give to whom: boolean [giver, receiver], True on the diagonal (which is not used)."""
    space: spaces.Box | spaces.Discrete
    """One agent's observations."""
    actions: int
    """How many each agent has."""
    most: float = 2.0
    """The most that an agent can give another in a step, above 0, in reward units."""
    hidden: tuple[int, ...] = (32,)
    """Units of each hidden layer."""
    activation: ActivationName = "tanh"
    """Between layers."""
    charged: bool = False
    """Whether givers pay for what they give from the reward that they learn from: the total is conserved."""

    def __post_init__(self) -> None:
        check_neighbours(self.neighbours)
        require(self.most > 0, f"The most that agents give must be above 0, not {self.most:g}.")
        self.network.num_parameters  # noqa: B018 - refuses bad layers

    @property
    def agents(self) -> int:
        """As many as the graph has."""
        return len(self.neighbours)

    @property
    def exact(self) -> bool:
        """It does not: it depends on what is seen and done."""
        return False

    @property
    def sight(self) -> Sight:
        """What the networks look at."""
        return Sight(self.space, self.agents, self.actions)

    @property
    def network(self) -> Perceptron:
        """The network that each giver has: its observation, the others' actions -> one for each receiver."""
        inputs = self.sight.features + self.sight.acted
        return Perceptron((inputs, *self.hidden, self.agents), self.activation)

    def initial(self, seed: int, seeds: int) -> Tensor:
        """First parameters, float64 [seed, giver, parameter]: about half of `most` is given at first."""
        return first_parameters(self.network, seed, seeds, self.agents)

    def transfer(self, phi: Tensor) -> Incentivised:
        """Incentives by these networks."""
        return Incentivised(self, phi)


@dataclass(frozen=True, eq=False)
class Incentivised:
    """Incentives with given parameters: r~_j = r_j + sum_i gift_ij, less what j gives if it is charged."""

    variable: Incentives
    phi: Tensor
    """[seed, giver, parameter]."""

    @property
    def matrix(self) -> None:
        """Incentives are no shares of a reward."""

    def gifts(self, happened: Happened) -> Tensor:
        """See `Transfer.gifts`; 0 after the end, and to and from agents that have left."""
        sight = self.variable.sight
        inputs = torch.cat((sight.seen(happened, self.phi), sight.done_by_others(happened, self.phi)), -1)
        out = self.variable.network(self.phi, inputs.flatten(2, 3)).unflatten(2, inputs.shape[2:4])
        graph = self.variable.neighbours.to(self.phi.device).clone().fill_diagonal_(False)
        given = self.variable.most * sigmoid(out).movedim(-1, 2)
        return only_among_present(given * graph[..., None, None] * happened.alive.unsqueeze(1), happened)

    def rewards(self, happened: Happened) -> Tensor:
        """See `Transfer.rewards`."""
        gifts = self.gifts(happened)
        seen = happened.rewards + gifts.sum(1)
        return seen - gifts.sum(2) if self.variable.charged else seen

    def report(self, happened: Happened | None) -> Report:
        """What agents give in an episode, in reward units: on average, and each to each other."""
        assert happened is not None
        return given_report(per_episode(self.gifts(happened), happened))

    @property
    def reporting(self) -> Reporting:
        """What is given adds up over an episode."""
        return Reporting("episodes")


def incentive_costs(transfer: Incentivised, happened: Happened, discount: float) -> Tensor:
    """What giving costs by the L1 norm: the discounted sum of all that one gives, [seed, giver].

    Args:
        transfer: the incentives.
        happened: sampled play; that it depends on the policies is not seen.
        discount: per step.
    """
    gifts = transfer.gifts(happened).sum(2)
    weights = discount ** torch.arange(gifts.shape[-2], dtype=gifts.dtype, device=gifts.device)
    return per_episode(gifts * weights[:, None], happened)
