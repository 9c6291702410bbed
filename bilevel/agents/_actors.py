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
    """Policies of all agents of a game, called once per step.

    `random_actor`, `scripted_actor` and `learned_actor` make them; any function of these arguments is one.

    >>> import games
    >>> def always_first(state, generator, hidden_state=None):
    ...     return torch.zeros(len(game.observe(state)), game.num_agents, dtype=torch.int64), None
    >>> actor: Actor = always_first
    >>> game, generator = games.make("prisoners-dilemma"), torch.Generator().manual_seed(0)
    >>> state = game.reset(3, generator)
    >>> actions, hidden_state = actor(state, generator)
    >>> game.step(state, actions, generator)[1]  # rewards of mutual cooperation, [copy, agent]
    tensor([[-1., -1.],
            [-1., -1.],
            [-1., -1.]])
    """

    def __call__(self, state: State, generator: torch.Generator, hidden_state: Tensor | None = None) -> Acted:
        """Choose the actions of a step.

        Args:
            state: state of a batch of copies of the game.
            generator: source of all random draws.
            hidden_state: recurrent state; None before the first step.

        Returns:
            Actions, integer [copy, agent] if Discrete, else [copy, agent, number]; the next recurrent state.
        """


def random_actor(game: Game) -> Actor:
    """Make an actor of uniformly random legal actions, or uniform in a Box.

    >>> import games
    >>> game, generator = games.make("chicken"), torch.Generator().manual_seed(0)
    >>> random_actor(game)(game.reset(3, generator), generator)[0].shape
    torch.Size([3, 2])
    """

    def act(state: State, generator: torch.Generator, hidden_state: Tensor | None = None) -> Acted:
        batch, space = len(game.observe(state)), game.action_space
        if isinstance(space, spaces.Box):
            low, high = (torch.as_tensor(bound, device=generator.device) for bound in (space.low, space.high))
            return low + (high - low) * uniform((batch, game.num_agents, *space.shape), generator), None
        logits = torch.zeros(batch, game.num_agents, game.num_actions, device=generator.device)
        return draw_actions(allowed(logits, game.action_mask(state)), generator), None

    return act


def scripted_actor(game: Game, cooperative: Tensor) -> Actor:
    """Make an actor of the game's own scripted policy (`Game.scripted`).

    Args:
        game: a game that has one.
        cooperative: agents that cooperate, boolean [agent] or [copy, agent].

    Raises:
        ValueError: from the actor, where the game has no scripted policy.

    >>> import games
    >>> game, generator = games.make("chicken"), torch.Generator().manual_seed(0)
    >>> scripted_actor(game, torch.tensor([True, False]))(game.reset(1, generator), generator)
    (tensor([[0, 1]]), None)
    """

    def act(state: State, generator: torch.Generator, hidden_state: Tensor | None = None) -> Acted:
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
    """Make an actor of one repetition's learned policies.

    Args:
        game: a game with the observations and actions of the training game.
        policy: the policies, as functions of their parameters.
        theta: parameters, [agent, parameter].

    >>> import games
    >>> from bilevel.agents import Tabular
    >>> game, generator = games.make("chicken"), torch.Generator().manual_seed(0)
    >>> policy, theta = Tabular(num_observations=1, num_actions=2), torch.tensor([[50.0], [-50.0]])
    >>> actor = learned_actor(game, policy, theta)  # the log-odds of action 0 are 50 and -50
    >>> actor(game.reset(2, generator), generator)[0]  # copy, agent
    tensor([[0, 1],
            [0, 1]])
    """
    distribution = distribution_of(game)

    def act(state: State, generator: torch.Generator, hidden_state: Tensor | None = None) -> Acted:
        observed = game.observe(state)
        observed = observed.to(theta.dtype) if observed.is_floating_point() else observed
        hidden_state = (
            policy.initial_hidden_state(theta, len(observed)) if hidden_state is None else hidden_state
        )
        logits, hidden_state = policy.step(
            theta, observed.movedim(0, 1), hidden_state
        )  # one sample per copy of the game
        drawn = distribution.draw(allowed(logits.movedim(0, 1), game.action_mask(state)), generator)
        return distribution.acted(drawn), hidden_state

    return act
