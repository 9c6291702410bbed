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
"""Actions as the game takes them; the memory for the next step, None where there is none."""


class Actor(Protocol):
    """Policies of all agents, called once a step."""

    def __call__(self, state: State, generator: torch.Generator, memory: Tensor | None = None) -> Acted:
        """Take a step; the memory is None before the first."""


def random_actor(game: Game) -> Actor:
    """Make an actor that draws uniformly from the legal actions, or from a Box.

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
    """Make an actor of the policy that the game itself provides (`Game.scripted`).

    The agents that cooperate are boolean [agent] or [batch, agent].

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
            f"Nobody has written a script for {type(game).__name__}: let agents act at random, or give the "
            "folder of a run.",
        )
        assert actions is not None
        return actions, None

    return act


def learned_actor(game: Game, policy: Policy, theta: Tensor) -> Actor:
    """Make an actor of one repetition's learned policies, theta [agent, parameter]."""
    distribution = distribution_of(game)

    def act(state: State, generator: torch.Generator, memory: Tensor | None = None) -> Acted:
        seen = game.observe(state)
        seen = seen.to(theta.dtype) if seen.is_floating_point() else seen
        memory = policy.memory(theta, len(seen)) if memory is None else memory
        logits, memory = policy.step(theta, seen.movedim(0, 1), memory)  # samples are the copies
        drawn = distribution.draw(allowed(logits.movedim(0, 1), game.action_mask(state)), generator)
        return distribution.acted(drawn), memory

    return act
