"""Actors for all agents of a game: random, scripted or learned policies."""

from __future__ import annotations

from typing import Protocol

import torch
from gymnasium import spaces
from torch import Tensor

from bilevel.agents._distributions import allowed, distribution_of, draw_actions
from bilevel.agents._policy import Policy
from games.core import Game, State, require, uniform

Acted = tuple[Tensor, Tensor | None]
"""Actions as the game takes them, and the recurrent state for the next step, None where there is none."""


class Actor(Protocol):
    """Policies of all agents, called once a step."""

    def __call__(self, state: State, generator: torch.Generator, memory: Tensor | None = None) -> Acted:
        """Choose the actions of a step; the recurrent state `memory` is None before the first."""


def random_actor(game: Game) -> Actor:
    """Make an actor of uniformly random legal actions, or uniform in a Box.

    >>> import games
    >>> game, generator = games.make("chicken"), torch.Generator().manual_seed(0)
    >>> random_actor(game)(game.reset(3, generator), generator)[0].shape
    torch.Size([3, 2])
    """

    def act(state: State, generator: torch.Generator, memory: Tensor | None = None) -> Acted:
        batch, space = len(game.observe(state)), game.action_space
        if isinstance(space, spaces.Box):
            low, high = (torch.as_tensor(bound, device=generator.device) for bound in (space.low, space.high))
            return low + (high - low) * uniform((batch, game.num_agents, *space.shape), generator), None
        logits = torch.zeros(batch, game.num_agents, game.num_actions, device=generator.device)
        return draw_actions(allowed(logits, game.action_mask(state)), generator), None

    return act


def scripted_actor(game: Game, cooperative: Tensor) -> Actor:
    """Make an actor of the game's own scripted policy (`Game.scripted`).

    `cooperative` marks the agents that cooperate, boolean [agent] or [batch, agent].

    Raises:
        ValueError: from the actor, where the game has no scripted policy.

    >>> import games
    >>> game, generator = games.make("chicken"), torch.Generator().manual_seed(0)
    >>> scripted_actor(game, torch.tensor([True, False]))(game.reset(1, generator), generator)
    (tensor([[0, 1]]), None)
    """

    def act(state: State, generator: torch.Generator, memory: Tensor | None = None) -> Acted:
        batch = len(game.observe(state))
        actions = game.scripted(state, cooperative.expand(batch, -1))
        require(
            actions is not None,
            f"{type(game).__name__} has no scripted policy: let agents act at random, or give the "
            "folder of a run.",
        )
        assert actions is not None
        return actions, None

    return act


def learned_actor(game: Game, policy: Policy, theta: Tensor) -> Actor:
    """Make an actor of one repetition's learned policies, theta [agent, parameter]."""
    distribution = distribution_of(game)

    def act(state: State, generator: torch.Generator, memory: Tensor | None = None) -> Acted:
        observed = game.observe(state)
        observed = observed.to(theta.dtype) if observed.is_floating_point() else observed
        memory = policy.memory(theta, len(observed)) if memory is None else memory
        logits, memory = policy.step(theta, observed.movedim(0, 1), memory)  # one sample per copy of the game
        drawn = distribution.draw(allowed(logits.movedim(0, 1), game.action_mask(state)), generator)
        return distribution.acted(drawn), memory

    return act
