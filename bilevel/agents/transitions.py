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
    seen_next = seen.roll(-1, 2)
    if happened.cut is not None and happened.following is not None:  # which would have gone on
        goes_on = goes_on + happened.cut * acting
        seen_next = sight.seen(happened._replace(observations=happened.following), happened.alive)
    shares = given.given.flatten(-2).movedim(-1, 1)
    graph, legal = happened.neighbours, happened.legal
    following = None if graph is None else _next(graph, happened.cut, -2)
    transitions = Transitions(
        seen=_samples(seen),
        told=incoming(shares).movedim(1, 2),
        actions=_samples(happened.actions),
        rewards=_samples(given.rewards(happened)),
        following=_samples(seen_next),
        continues=_samples(goes_on),
        legal=None if legal is None else _samples(legal),
        following_legal=None if legal is None else _samples(_next(legal, happened.cut, 2)),
        graph=None if graph is None else graph.flatten(-2).movedim(-1, 1),
        following_graph=None if following is None else following.flatten(-2).movedim(-1, 1),
        present=None if present is None else _samples(present),
        following_present=None if present is None else _samples(_next(present, happened.cut, 2)),
    )
    return transitions, happened.alive.flatten(1) > 0


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
