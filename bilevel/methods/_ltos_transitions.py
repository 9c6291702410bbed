"""Episodes of agents who share, cut into steps to learn from.

The gradient of shares by what receivers hand back to their givers: first order, through a critic.

Noise that goes on from step to step, for exploring what is not an action.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.agents import Trajectory
from bilevel.core import gradient_at
from bilevel.hypergradient import vjp
from bilevel.sharing import GivenShares, ObservationEncoder, SharingNetwork
from games.core import normal, require

Critic = Callable[[Tensor], Tensor]
"""Incoming shares [seed, receiver, sample, giver] -> each receiver's value, [seed, receiver, sample]."""


def incoming(shares: Tensor) -> Tensor:
    """What each receiver is given a part of: shares [seed, sample, giver, receiver] -> w_in.

    Returns:
        [seed, receiver, sample, giver].
    """
    return shares.permute(0, 3, 1, 2)


def handed_back(critic: Critic, shares: Tensor) -> Tensor:
    """How the sum of all values changes with each share, as givers get to know it.

    Every receiver i takes g_in = d V_i / d w_in of its own value by its own incoming shares, and hands the
    entry of giver j back to j: the transpose.

    Args:
        critic: the values, each receiver's from its own row of incoming shares.
        shares: [seed, sample, giver, receiver].

    Returns:
        d sum_i V_i / d shares, of the same shape.

    Source:
        Yi et al., Learning to Share in Networked MARL, NeurIPS 2022, arXiv 2112.08702.

    >>> shares = torch.tensor([[[[0.7, 0.3], [0.0, 1.0]]]])
    >>> handed_back(lambda w_in: torch.tensor([[[2.0], [3.0]]]) * w_in.sum(-1), shares)
    tensor([[[[2., 3.],
              [2., 3.]]]])
    """
    g_in = gradient_at(incoming(shares), lambda w_in: critic(w_in).sum())
    return g_in.permute(0, 2, 3, 1)


def sharing_gradient(
    variable: SharingNetwork,
    phi: Tensor,
    seen: Tensor,
    graph: Tensor | None,
    critic: Critic,
    present: Tensor | None = None,
) -> Tensor:
    """d (sum_i V_i) / d phi, the mean over samples, by what is handed back.

    It goes through the critic, the transpose, the softmax and the giver's network. First order: neither that
    learning moves the critic nor that it moves what agents do is seen.

    Args:
        variable: the networks that share.
        phi: their parameters, [seed, giver, parameter].
        seen: what givers see, [seed, giver, sample, feature].
        graph: who may share with whom, boolean [seed, sample, giver, receiver]; None: the one that does not
            change.
        critic: values by incoming shares; see `handed_back`.
        present: which agents take part, boolean [seed, sample, agent]; None: all of them.

    Returns:
        like phi; a step along it makes the values larger.

    Source:
        Yi et al., Learning to Share in Networked MARL, NeurIPS 2022, arXiv 2112.08702.
    """

    def shares_of(phi: Tensor) -> Tensor:
        return variable.matrices(variable.logits(phi, seen), graph, present)

    (shares,), pull = vjp(lambda flat: (shares_of(flat[0]),), (phi,))
    (gradient,) = pull((handed_back(critic, shares) / shares.shape[1],), 0)
    return gradient


class Transitions(NamedTuple):
    """Steps of all agents together, [seed, sample, ...]; what is None is always so in this game."""

    seen: Tensor
    """[seed, sample, agent, feature]."""
    told: Tensor
    """Incoming shares, [seed, sample, receiver, giver]."""
    actions: Tensor
    """Integer [seed, sample, agent]."""
    rewards: Tensor
    """Shared ones, [seed, sample, agent]."""
    following: Tensor
    """What is seen next, [seed, sample, agent, feature]; meaningless where the episode ended."""
    continues: Tensor
    """1 where the episode went on for an agent, else 0, [seed, sample, agent or 1]."""
    legal: Tensor | None
    """Boolean [seed, sample, agent, action]."""
    following_legal: Tensor | None
    """The same of what is seen next."""
    graph: Tensor | None
    """Who may share with whom, boolean [seed, sample, giver, receiver]."""
    following_graph: Tensor | None
    """The same of what is seen next."""
    present: Tensor | None
    """Which agents took part, boolean [seed, sample, agent]."""
    following_present: Tensor | None
    """The same of what is seen next."""


def transitions_of(
    trajectory: Trajectory, given: GivenShares, encoder: ObservationEncoder
) -> tuple[Transitions, Tensor]:
    """Cut episodes into samples.

    Args:
        trajectory: the episodes.
        given: the shares of each of their steps.
        encoder: turns observations into numbers.

    Returns:
        every step as a sample; and which of them were played, boolean [seed, sample].
    """
    seen = encoder.seen(trajectory, trajectory.mask)
    acting, present = trajectory.acting, trajectory.present
    goes_on = torch.cat((acting[:, :, 1:], torch.zeros_like(acting[:, :, :1])), 2)
    seen_next = seen.roll(-1, 2)
    if trajectory.cut is not None and trajectory.following is not None:  # which would have gone on
        goes_on = goes_on + trajectory.cut * acting
        seen_next = encoder.seen(trajectory._replace(observations=trajectory.following), trajectory.mask)
    shares = given.given.flatten(-2).movedim(-1, 1)
    graph, legal = trajectory.neighbours, trajectory.legal
    following = None if graph is None else _next(graph, trajectory.cut, -2)
    transitions = Transitions(
        seen=_samples(seen),
        told=incoming(shares).movedim(1, 2),
        actions=_samples(trajectory.actions),
        rewards=_samples(given.rewards(trajectory)),
        following=_samples(seen_next),
        continues=_samples(goes_on),
        legal=None if legal is None else _samples(legal),
        following_legal=None if legal is None else _samples(_next(legal, trajectory.cut, 2)),
        graph=None if graph is None else graph.flatten(-2).movedim(-1, 1),
        following_graph=None if following is None else following.flatten(-2).movedim(-1, 1),
        present=None if present is None else _samples(present),
        following_present=None if present is None else _samples(_next(present, trajectory.cut, 2)),
    )
    return transitions, trajectory.mask.flatten(1) > 0


def _next(values: Tensor, cut: Tensor | None, time: int) -> Tensor:
    """What is so in the next step; where the episode was cut off, what was so in the last.

    Args:
        values: boolean [seed, agent, time, episode, ...] or [seed, agent, agent, time, episode].
        cut: [seed, 1, time, episode].
        time: the axis of the steps, 2 or -2.
    """
    shifted = values.roll(-1, time)
    if cut is None:
        return shifted
    here = cut.unsqueeze(1) if time < 0 else cut.reshape(*cut.shape, *[1] * (values.ndim - cut.ndim))
    return torch.where(here > 0, values, shifted)


def _samples(values: Tensor) -> Tensor:
    """Every step as a sample: [seed, agent, time, episode, ...] -> [seed, sample, agent, ...]."""
    return values.flatten(2, 3).movedim(1, 2)


@dataclass(frozen=True, kw_only=True)
class OrnsteinUhlenbeck:
    """The Ornstein-Uhlenbeck process in steps: x' = x + theta (mean - x) dt + sigma sqrt(dt) n, n normal.

    Raises:
        ValueError: theta or dt is not above 0, their product reaches 2 (steps would grow without bound), or
            sigma is negative.

    Source:
        Uhlenbeck and Ornstein 1930; as exploration: Lillicrap et al., arXiv 1509.02971. The defaults are
        those of LToS's code.

    >>> OrnsteinUhlenbeck(dt=1e-9).variance  # nearly sigma^2 / (2 theta)
    0.2083...
    """

    theta: float = 0.15
    """How fast it goes back to its mean, per unit of time, above 0."""
    sigma: float = 0.25
    """Standard deviation that a unit of time adds, 0 or more."""
    dt: float = 0.01
    """Time of a step, above 0; theta dt is below 2."""

    def __post_init__(self) -> None:
        for name, value in (("theta", self.theta), ("dt", self.dt)):
            require(
                0 < value < math.inf, f"{name} of the noise must be a finite number above 0, not {value}."
            )
        require(
            0 <= self.sigma < math.inf, f"sigma of the noise must be finite and 0 or more, not {self.sigma}."
        )
        require(
            self.theta * self.dt < 2,
            f"theta dt of the noise must be below 2, or it grows for ever; it is {self.theta * self.dt}.",
        )

    @property
    def variance(self) -> float:
        """The variance it settles at: sigma^2 / (theta (2 - theta dt)); for small dt, sigma^2 / (2 theta)."""
        return self.sigma**2 / (self.theta * (2 - self.theta * self.dt))

    def start(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Means to start at and go back to, as LToS draws them: normal, of standard deviation sigma.

        Args:
            like: has their shape, dtype and device.
            generator: the source of the draws.
        """
        return self.sigma * normal(like.shape, generator, like.dtype)

    def step(self, noise: Tensor, mean: Tensor, generator: torch.Generator) -> Tensor:
        """One step from `noise`, towards `mean`, of the same shape."""
        pushed = self.sigma * math.sqrt(self.dt) * normal(noise.shape, generator, noise.dtype)
        return noise + self.theta * self.dt * (mean - noise) + pushed
