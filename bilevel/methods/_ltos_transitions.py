"""Transitions, gradients of shares through a critic, and exploration noise of `ltos`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.core import gradient_at
from bilevel.hypergradient import vjp
from bilevel.sharing import MatrixSequence, ObservationEncoder, SharingNetwork, Trajectory
from games.core import normal

Critic = Callable[[Tensor], Tensor]
"""Incoming shares [seed, receiver, sample, giver] -> each receiver's value, [seed, receiver, sample]."""


def incoming(shares: Tensor) -> Tensor:
    """Incoming shares w_in: [seed, sample, giver, receiver] -> [seed, receiver, sample, giver]."""
    return shares.permute(0, 3, 1, 2)


def share_gradients(critic: Critic, shares: Tensor) -> Tensor:
    """Gradient d sum_i V_i / d shares, [seed, sample, giver, receiver], computed by the receivers.

    Every receiver i computes g_in = d V_i / d w_in of its own value by its own incoming shares, and passes
    entry j back to giver j: the transpose.

    Source:
        Yi et al., Learning to Share in Networked MARL, NeurIPS 2022, arXiv 2112.08702.
    """
    g_in = gradient_at(incoming(shares), lambda w_in: critic(w_in).sum())
    return g_in.permute(0, 2, 3, 1)


def sharing_gradient(
    variable: SharingNetwork,
    phi: Tensor,
    features: Tensor,
    graph: Tensor | None,
    critic: Critic,
    present: Tensor | None = None,
) -> Tensor:
    """Gradient d (sum_i V_i) / d phi, the mean over samples, by `share_gradients`; shaped like phi.

    It is backpropagated through the critic, the transpose, the softmax and the giver's network. First order:
    it ignores the effect on what agents learn. `features` are givers' observations, [seed, giver,
    sample, feature]; graph and presence are those of samples, None where they are fixed.
    """

    def shares_of(phi: Tensor) -> Tensor:
        return variable.matrices(variable.logits(phi, features), graph, present)

    (shares,), pullback = vjp(lambda flat: (shares_of(flat[0]),), (phi,))
    (gradient,) = pullback((share_gradients(critic, shares) / shares.shape[1],), 0)
    return gradient


class Transitions(NamedTuple):
    """Transitions of all agents; masks and graphs are None where a `Trajectory`'s are."""

    features: Tensor
    """Observations, [seed, sample, agent, feature]."""
    incoming_shares: Tensor
    """Incoming shares, [seed, sample, receiver, giver]."""
    actions: Tensor
    rewards: Tensor
    """Shared rewards, [seed, sample, agent]."""
    following: Tensor
    """Next observations, [seed, sample, agent, feature]; meaningless where the episode ended."""
    continues: Tensor
    """1 where the episode continued for an agent, else 0, [seed, sample, agent or 1]."""
    legal: Tensor | None
    """Legal actions, boolean [seed, sample, agent, action]."""
    following_legal: Tensor | None
    graph: Tensor | None
    """The sharing graph, boolean [seed, sample, giver, receiver]."""
    following_graph: Tensor | None
    present: Tensor | None
    """Agents that took part, boolean [seed, sample, agent]."""
    following_present: Tensor | None


def transitions_of(
    trajectory: Trajectory, transfer: MatrixSequence, encoder: ObservationEncoder
) -> tuple[Transitions, Tensor]:
    """Split episodes and shares into transitions, with a mask of the steps played, [seed, sample]."""
    seen = encoder.encode_observations(trajectory, trajectory.mask)
    acting, present = trajectory.acting, trajectory.present
    continues = torch.cat((acting[:, :, 1:], torch.zeros_like(acting[:, :, :1])), 2)
    seen_next = seen.roll(-1, 2)
    if trajectory.cut is not None and trajectory.following is not None:  # truncated, not terminated
        continues = continues + trajectory.cut * acting
        seen_next = encoder.encode_observations(
            trajectory._replace(observations=trajectory.following), trajectory.mask
        )
    shares = transfer.matrices.flatten(-2).movedim(-1, 1)
    graph, legal = trajectory.neighbors, trajectory.legal
    following = None if graph is None else _next(graph, trajectory.cut, -2)
    transitions = Transitions(
        features=_samples(seen),
        incoming_shares=incoming(shares).movedim(1, 2),
        actions=_samples(trajectory.actions),
        rewards=_samples(transfer.rewards(trajectory)),
        following=_samples(seen_next),
        continues=_samples(continues),
        legal=None if legal is None else _samples(legal),
        following_legal=None if legal is None else _samples(_next(legal, trajectory.cut, 2)),
        graph=None if graph is None else graph.flatten(-2).movedim(-1, 1),
        following_graph=None if following is None else following.flatten(-2).movedim(-1, 1),
        present=None if present is None else _samples(present),
        following_present=None if present is None else _samples(_next(present, trajectory.cut, 2)),
    )
    return transitions, trajectory.mask.flatten(1) > 0


def _next(values: Tensor, cut: Tensor | None, time: int) -> Tensor:
    """Values of the next step along the axis `time`, 2 or -2; if truncated, of the same step."""
    shifted = values.roll(-1, time)
    if cut is None:
        return shifted
    truncated = cut.unsqueeze(1) if time < 0 else cut.reshape(*cut.shape, *[1] * (values.ndim - cut.ndim))
    return torch.where(truncated > 0, values, shifted)


def _samples(values: Tensor) -> Tensor:
    """Flatten steps into samples: [seed, agent, time, episode, ...] -> [seed, sample, agent, ...]."""
    return values.flatten(2, 3).movedim(1, 2)


@dataclass(frozen=True, kw_only=True)
class OrnsteinUhlenbeck:
    """The Ornstein-Uhlenbeck process in steps: x' = x + theta (mean - x) dt + sigma sqrt(dt) n, n normal.

    Source:
        Uhlenbeck and Ornstein 1930; as exploration: Lillicrap et al., arXiv 1509.02971. The defaults are
        those of LToS's code.
    """

    theta: float = 0.15
    """Rate of mean reversion, per unit of time, above 0."""
    sigma: float = 0.25
    """Standard deviation added in a unit of time, 0 or more."""
    dt: float = 0.01
    """Time of a step, above 0; theta dt is below 2."""

    def start(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the means, also the initial values, as LToS does: normal, of standard deviation sigma."""
        return self.sigma * normal(like.shape, generator, like.dtype)

    def step(self, noise: Tensor, mean: Tensor, generator: torch.Generator) -> Tensor:
        diffusion = self.sigma * math.sqrt(self.dt) * normal(noise.shape, generator, noise.dtype)
        return noise + self.theta * self.dt * (mean - noise) + diffusion
