"""Sharing by empathy: relationships by critics and perspectives, and gifts by relationships."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bilevel.agents import ExactPlay, LossTerms, Measured, entropy, profiles_of_learners
from bilevel.core import Purpose, first_draws
from bilevel.methods._lase_critic import JointCritic
from bilevel.methods._lase_perspective import Perspective
from bilevel.sharing import Report, Trajectory, Transfer, VaryingShares
from games.theory import payoff_table

ROUNDING = 32
"""Values that differ by at most so many rounding units of the largest one count as equal."""


def relationships(values: Tensor, policies: Tensor, actions: Tensor, legal: Tensor | None = None) -> Tensor:
    """Advantage of j's action for i over i's expectation, as a fraction of the range over j's actions.

    w_ij = (Q_i(o, a) - b_ij) / (max Q_i - min Q_i), where b_ij = sum_a' pi_ij(a') Q_i(o, a_-j, a') is i's
    expectation, and max and min are over j's actions. It is 0 where these are equal: j has no effect on i. As
    a fraction it does not measure the size of j's effect on i.

    Args:
        values: i's counterfactual values of j's actions, Q_i(o, a_-j, a'), [..., agent, other, action].
        policies: i's model of j's policy, probabilities [..., agent, other, action].
        actions: actions taken, integer [..., other].
        legal: legal actions, boolean [..., other, action]; None: all.

    Returns:
        w, [..., agent, other], from -1 to 1; its diagonal has no meaning.

    Source:
        LASE, arXiv 2410.07863.

    The other agent took its better action 0, which the model gave a probability of 1/4:

    >>> values = torch.tensor([4.0, 0.0]).expand(2, 2, 2)
    >>> relationships(values, torch.tensor([0.25, 0.75]).expand(2, 2, 2), torch.tensor([0, 0]))[0, 1]
    tensor(0.7500)
    """
    greatest = least = values
    if legal is not None:
        possible = legal.unsqueeze(-3)
        policies = policies.clamp(min=torch.finfo(policies.dtype).tiny) * possible
        policies = policies / policies.sum(-1, keepdim=True)
        greatest, least = (values.masked_fill(~possible, end) for end in (-torch.inf, torch.inf))
    high, low = greatest.amax(-1), least.amin(-1)
    taken = actions.unsqueeze(-2).unsqueeze(-1).expand(*values.shape[:-1], 1)
    better = values.gather(-1, taken).squeeze(-1) - (policies * values).sum(-1)
    size = torch.maximum(high.abs(), low.abs())
    matters = high - low > ROUNDING * torch.finfo(values.dtype).eps * size
    return torch.where(matters, better / torch.where(matters, high - low, 1.0), 0.0).clamp(-1, 1)


def gift_weights(relationships: Tensor, neighbors: Tensor) -> Tensor:
    """Gift weights by positive relationships; each giver keeps the rest.

    g_ij = max(w_ij, 0) / (k_i - 1) for each of i's k_i - 1 neighbors other than itself, and
    g_ii = sum_j min(1 - w_ij, 1) / (k_i - 1) over them, the rest. On a complete graph k_i is the number of
    agents, as in the source. An agent without neighbors keeps everything.

    Args:
        relationships: w, [..., agent, other], from -1 to 1.
        neighbors: neighbor graph, boolean [..., giver, receiver].

    Returns:
        g, [..., giver, receiver]: 0 or more, 0 without an edge; rows sum to 1.

    Source:
        LASE, arXiv 2410.07863.

    >>> gift_weights(torch.tensor([[0.0, 0.75], [-0.5, 0.0]]), torch.ones(2, 2, dtype=torch.bool))
    tensor([[0.2500, 0.7500],
            [0.0000, 1.0000]])
    """
    oneself = torch.eye(neighbors.shape[-1], dtype=torch.bool, device=relationships.device)
    graph = neighbors.to(relationships.device) & ~oneself
    others = graph.sum(-1, keepdim=True).clamp(min=1)
    to_others = relationships.clamp(min=0) * graph / others
    return to_others + torch.diag_embed(1 - to_others.sum(-1))


MOST_NUMBERS = 2**26
"""Approximate number of entries of predicted observations in memory at a time."""


@dataclass(frozen=True, eq=False)
class Empathy:
    """Each agent's critic, perspective, and policy, which determine its relationships.

    Its value is one tensor, [seed, agent, parameter]: critic | perspective | policy.
    Source: LASE, arXiv 2410.07863.
    """

    neighbors: Tensor
    critic: JointCritic
    perspective: Perspective
    policy_parameters: int
    exact = False

    @property
    def agents(self) -> int:
        return len(self.neighbors)

    def initial(self, seed: int, seeds: int) -> Tensor:
        """Draw critics and perspectives, float64 [seed, agent, parameter]; policies are 0."""

        def draw(generator: torch.Generator) -> Tensor:
            critics = self.critic.initial(generator, self.agents)
            return torch.cat((critics, self.perspective.initial(generator, self.agents)), -1)

        drawn = first_draws(draw, range(seed, seed + seeds), Purpose.OUTER_VARIABLES)
        return torch.nn.functional.pad(drawn, (0, self.policy_parameters))

    def parts(self, phi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Split phi into critics, perspectives and policies, each [seed, agent, parameter]."""
        sizes = self.critic.num_parameters, self.perspective.num_parameters, self.policy_parameters
        critics, perspectives, agent_policies = phi.split(sizes, -1)
        return critics, perspectives, agent_policies

    def transfer(self, phi: Tensor) -> Empathetic:
        return Empathetic(self, phi)


@dataclass(frozen=True, eq=False)
class Empathetic(VaryingShares):
    """Sharing by the rule of empathy: r~_j = sum_i g_ij r_i, with the gift weights g of each step."""

    variable: Empathy
    phi: Tensor
    """[seed, agent, parameter]; see `Empathy`."""

    def relationships(self, trajectory: Trajectory) -> Tensor:
        """Relationships w in each step, [seed, time, episode, agent, other]."""
        critics, perspectives, agent_policies = self.variable.parts(self.phi)
        legal = None if trajectory.legal is None else trajectory.legal.permute(0, 2, 3, 1, 4)
        return relationships(
            self.variable.critic.counterfactual_values(critics, trajectory),
            self.variable.perspective.policies(perspectives, agent_policies, trajectory),
            trajectory.actions.permute(0, 2, 3, 1),
            legal,
        )

    @torch.no_grad()
    def unmasked_shares(self, trajectory: Trajectory) -> Tensor:
        """As in `VaryingShares`, but not differentiated; many episodes are evaluated in chunks."""
        episodes = trajectory.actions.shape[-1]
        entries = trajectory.observations.numel() // episodes * self.variable.agents
        size = max(1, MOST_NUMBERS // entries)
        parts = (slice(start, start + size) for start in range(0, episodes, size))
        return torch.cat([self._shares(trajectory.select_episodes(part)) for part in parts], -1)

    def _shares(self, trajectory: Trajectory) -> Tensor:
        graph = self.variable.neighbors
        if trajectory.neighbors is not None:
            graph = trajectory.neighbors.permute(0, 3, 4, 1, 2)
        weights = gift_weights(self.relationships(trajectory), graph)
        return weights.permute(0, 3, 4, 1, 2)


def profile_probabilities(policies: Tensor) -> Tensor:
    """Probabilities of joint actions, [..., profile], of policies [..., agent, action]."""
    first, *others = policies.unbind(-2)
    for policy in others:
        first = (first.unsqueeze(-1) * policy.unsqueeze(-2)).flatten(-2)
    return first


@dataclass(frozen=True)
class OneShotPlay(ExactPlay):
    """Exact play of one-shot games: all joint actions as one-step episodes, weighted by their probabilities.

    A transfer may depend on actions; gradients ignore that it depends on the policies.
    """

    draws = True

    def __post_init__(self) -> None:
        payoff_table(self.game)

    def sample(self, theta: Tensor, transfer: Transfer, generator: torch.Generator) -> Any:
        table = torch.tensor(payoff_table(self.game)).to(theta).flatten(0, -2)
        agents, actions = self.game.num_agents, self.policy.num_actions
        profiles = torch.cartesian_prod(*[torch.arange(actions, device=theta.device)] * agents)
        acted = profiles.reshape(-1, agents).T[None, :, None].expand(len(theta), -1, -1, -1)
        return Trajectory(
            observations=torch.zeros_like(acted),
            actions=acted,
            rewards=table.T[None, :, None].expand(len(theta), -1, -1, -1),
            mask=self._profile_probabilities(theta)[:, None, None],
            cooperated=None,
        )

    def terms(
        self, own: Tensor, others: Tensor, transfer: Transfer, data: Any, *, regularized: bool = True
    ) -> LossTerms:
        probabilities = self._profile_probabilities(profiles_of_learners(own, others))
        shared = (probabilities * transfer.rewards(data).squeeze(2)).sum(-1)
        nats = entropy(self.policy.table(own)).mean(-1) if regularized else None
        return LossTerms(-shared, None, nats)

    def evaluate(
        self, theta: Tensor, transfer: Transfer, generator: torch.Generator, episodes: int
    ) -> tuple[Measured, Report]:
        data = self.sample(theta, transfer, generator)
        return self.measure(theta, data), transfer.report(data)

    def _profile_probabilities(self, theta: Tensor) -> Tensor:
        return profile_probabilities(self.policy.probabilities(theta).squeeze(-2))
