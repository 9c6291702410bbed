"""Episodes of agents who share, cut into steps to learn from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.agents.rollout import Episodes
from bilevel.outer.giving import Sight
from bilevel.outer.handed_back import incoming
from bilevel.outer.varying_shares import GivenShares


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


def transitions_of(happened: Episodes, given: GivenShares, sight: Sight) -> tuple[Transitions, Tensor]:
    """Cut episodes into samples.

    Args:
        happened: the episodes.
        given: the shares of each of their steps.
        sight: turns observations into numbers.

    Returns:
        every step as a sample; and which of them were played, boolean [seed, sample].
    """
    seen = sight.seen(happened, happened.alive)
    acting, present = happened.acting, happened.present
    goes_on = torch.cat((acting[:, :, 1:], torch.zeros_like(acting[:, :, :1])), 2)
    shares = given.given.flatten(-2).movedim(-1, 1)
    graph, legal = happened.neighbours, happened.legal
    following = None if graph is None else graph.roll(-1, -2)
    transitions = Transitions(
        seen=_samples(seen),
        told=incoming(shares).movedim(1, 2),
        actions=_samples(happened.actions),
        rewards=_samples(given.rewards(happened)),
        following=_samples(seen.roll(-1, 2)),
        continues=_samples(goes_on),
        legal=None if legal is None else _samples(legal),
        following_legal=None if legal is None else _samples(legal.roll(-1, 2)),
        graph=None if graph is None else graph.flatten(-2).movedim(-1, 1),
        following_graph=None if following is None else following.flatten(-2).movedim(-1, 1),
        present=None if present is None else _samples(present),
        following_present=None if present is None else _samples(present.roll(-1, 2)),
    )
    return transitions, happened.alive.flatten(1) > 0


def _samples(values: Tensor) -> Tensor:
    """Every step as a sample: [seed, agent, time, episode, ...] -> [seed, sample, agent, ...]."""
    return values.flatten(2, 3).movedim(1, 2)
