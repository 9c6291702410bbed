"""Who plays: at random, by the book, or with policies that were learned."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bilevel.agents.policies import Policy
from bilevel.agents.rollout import allowed, draw_actions
from bilevel.errors import require
from games.base import Game, State

Actor = Callable[[State, torch.Generator], Tensor]
"""(state, generator) -> actions, integer [batch, agent]."""


def random_actor(game: Game) -> Actor:
    """Every legal action is equally likely.

    >>> import games
    >>> game, generator = games.make("chicken"), torch.Generator().manual_seed(0)
    >>> random_actor(game)(game.reset(3, generator), generator).shape
    torch.Size([3, 2])
    """

    def act(state: State, generator: torch.Generator) -> Tensor:
        batch = len(game.observe(state))
        logits = torch.zeros(batch, game.num_agents, int(game.action_space.n), device=generator.device)
        return draw_actions(allowed(logits, game.action_mask(state)), generator)

    return act


def scripted_actor(game: Game, cooperative: Tensor) -> Actor:
    """Play by the book that comes with the game (`Game.scripted`).

    Args:
        game: what is played.
        cooperative: who cooperates, boolean [agent] or [batch, agent].

    Raises:
        ValueError: from the actor, where nobody wrote a script for the game.

    >>> import games
    >>> game, generator = games.make("chicken"), torch.Generator().manual_seed(0)
    >>> scripted_actor(game, torch.tensor([True, False]))(game.reset(1, generator), generator)
    tensor([[0, 1]])
    """

    def act(state: State, generator: torch.Generator) -> Tensor:
        batch = len(game.observe(state))
        actions = game.scripted(state, cooperative.expand(batch, -1))
        require(
            actions is not None,
            f"Nobody has written a script for {type(game).__name__}: let agents act at random, or give the "
            "folder of a run.",
        )
        assert actions is not None
        return actions

    return act


def learned_actor(game: Game, policy: Policy, theta: Tensor) -> Actor:
    """Play with one repetition's learned policies, each agent its own.

    Args:
        game: what is played.
        policy: what the parameters mean.
        theta: [agent, parameter].
    """

    def act(state: State, generator: torch.Generator) -> Tensor:
        seen = game.observe(state)
        seen = seen.to(theta.dtype) if seen.is_floating_point() else seen
        logits = policy.logits(theta, seen.movedim(0, 1)).movedim(0, 1)  # samples are the copies
        return draw_actions(allowed(logits, game.action_mask(state)), generator)

    return act
