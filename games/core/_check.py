"""The contract test of games."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import optree
import torch
from gymnasium import spaces
from torch import Tensor

from games.core._errors import require
from games.core._game import ExactGame, Game, State
from games.core._streams import Streams, require_separated, separated, uniform

MAX_ERRORS = 5.0
"""Standard errors by which a sampled mean may miss the exact value."""


class _Step(NamedTuple):
    observations: Tensor
    rewards: Tensor
    done: Tensor


def check_game(game: Game, *, seed: int = 0, steps: int = 25, episodes: int = 4000) -> None:
    """Check that a game keeps the contract of `Game`, and of `ExactGame` if it is one.

    Plays random episodes and checks: shapes, dtypes and devices of everything that the game returns;
    observations inside their space; states that are NamedTuples of tensors and are not changed in place;
    finite rewards; an end at the horizon; agents that have left stay away and get no reward; the same episode
    from the same generator; and the same episode from a seed alone as from that seed in a batch. Values of an
    exact game must be differentiable, and agree with the mean of sampled episodes.

    Args:
        game: your game, with settings that make it short.
        seed: random seed of all draws.
        steps: maximum number of steps played; the end at the horizon is checked if it lies within.
        episodes: number of sampled episodes of an exact game.
    Raises:
        ValueError: the game breaks the contract (says where, and what would be right).

    >>> from games import make
    >>> check_game(make("escape-room"))
    """
    name = type(game).__name__
    is_game: bool = isinstance(game, Game)
    parameters = getattr(game, "__dataclass_params__", None)
    require(
        is_game and parameters is not None and parameters.frozen,
        f"A game is a frozen dataclass derived from games.Game, and {name} is not.",
    )
    _check_description(game, name)
    _check_episode(game, name, seed, steps)
    _check_reproducible(game, name, seed, steps)
    if isinstance(game, ExactGame):
        _check_values(game, name, seed, episodes)


def _check_description(game: Game, name: str) -> None:
    agents, actions, observations = game.num_agents, game.action_space, game.observation_space
    require(isinstance(agents, int) and agents >= 1, f"{name}.num_agents must be 1 or more, not {agents!r}.")
    require(
        isinstance(game.horizon, int) and game.horizon >= 1,
        f"{name}.horizon must be a whole number of steps, 1 or more, not {game.horizon!r}.",
    )
    bounded = isinstance(actions, spaces.Box) and len(actions.shape) == 1 and actions.is_bounded()
    require(
        isinstance(actions, spaces.Discrete) or bounded,
        f"{name}.action_space must be Discrete, or a Box of one axis with finite bounds, not {actions}.",
    )
    require(
        isinstance(observations, spaces.Discrete | spaces.Box),
        f"{name}.observation_space must be a Box or Discrete, not {observations}.",
    )
    count = int(actions.n) if isinstance(actions, spaces.Discrete) else actions.shape[0]
    require(
        len(game.action_names) == count,
        f"{name}.action_names must name each of {count} actions; it has {len(game.action_names)} names.",
    )
    _check_tensor(game.neighbors, (agents, agents), torch.bool, f"{name}.neighbors")
    require(
        bool(game.neighbors.diagonal().all()),
        f"{name}.neighbors must be True on its diagonal: every agent is its own neighbor.",
    )
    influence = game.influence
    if influence is not None:
        _check_tensor(influence, (2, influence.shape[-1]), torch.int64, f"{name}.influence")
        known = (influence >= 0) & (influence < agents)
        require(
            bool(known.all() and (influence[0] != influence[1]).all()),
            f"{name}.influence must lead from agents to other agents, 0 to {agents - 1}.",
        )


def _check_tensor(value: Any, shape: tuple[int, ...], kind: torch.dtype | str, what: str) -> None:
    """Require a tensor of this shape, and of this dtype or kind of dtype."""
    require(isinstance(value, Tensor), f"{what} must be a tensor, not {type(value).__name__}.")
    if isinstance(kind, torch.dtype):
        right, kind = value.dtype == kind, str(kind).removeprefix("torch.")
    else:
        integer = not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
        right = value.is_floating_point() if kind == "floating" else integer
    require(
        right and tuple(value.shape) == shape,
        f"{what} must be {kind} of shape {list(shape)}, not {value.dtype} of shape {list(value.shape)}.",
    )


def _check_state(state: State, name: str, batch: int, method: str) -> None:
    require(
        isinstance(state, tuple) and hasattr(state, "_fields"),
        f"{name}.{method} must give its state as a NamedTuple of tensors, not as {type(state).__name__}.",
    )
    for leaf in optree.tree_leaves(state):
        require(
            isinstance(leaf, Tensor) and leaf.ndim >= 1 and len(leaf) == batch,
            f"Every field of {name}'s state must be a tensor whose first axis is the batch, {batch} copies; "
            f"{method} gives {list(leaf.shape) if isinstance(leaf, Tensor) else repr(leaf)}.",
        )


def _check_observations(game: Game, values: Any, name: str, batch: int) -> None:
    space = game.observation_space
    what = f"{name}.observe(state)"
    if isinstance(space, spaces.Discrete):
        _check_tensor(values, (batch, game.num_agents), "integer", what)
        inside = bool(((values >= int(space.start)) & (values < int(space.start + space.n))).all())
    else:
        dtype = torch.from_numpy(np.zeros(0, space.dtype)).dtype
        _check_tensor(values, (batch, game.num_agents, *space.shape), dtype, what)
        inside = all(space.contains(agent) for copy in values.numpy(force=True) for agent in copy)
    require(inside, f"{what} must lie in observation_space, {space}; some observation does not.")


def _random_actions(game: Game, state: State, generator: torch.Generator, batch: int) -> Tensor:
    """Legal actions, all equally likely."""
    space, shape = game.action_space, (batch, game.num_agents)
    if isinstance(space, spaces.Box):
        low, high = (torch.as_tensor(bound) for bound in (space.low, space.high))
        return low + (high - low) * uniform((*shape, *space.shape), generator).to(low)
    mask = game.action_mask(state)
    draws = uniform((*shape, int(space.n)), generator)
    return (draws if mask is None else draws.masked_fill(~mask, -1)).argmax(-1)


def _check_episode(game: Game, name: str, seed: int, steps: int, batch: int = 4) -> None:
    agents, discrete = game.num_agents, isinstance(game.action_space, spaces.Discrete)
    generator, actor = (torch.Generator().manual_seed(number) for number in (seed, seed + 1))
    state = game.reset(batch, generator)
    _check_state(state, name, batch, "reset")
    still_present = torch.ones(batch, agents, dtype=torch.bool)
    over = torch.zeros(batch, dtype=torch.bool)
    for time in range(1, min(game.horizon, steps) + 1):
        still_present = _check_views(game, state, name, still_present, over)
        actions = _random_actions(game, state, actor, batch)
        if discrete:
            _check_roles(game, state, actions, name)
        before = optree.tree_map(torch.clone, state)
        after, rewards, done = game.step(state, actions, generator)
        pairs = zip(optree.tree_leaves(before), optree.tree_leaves(state), strict=True)
        require(
            all(torch.equal(one, two) for one, two in pairs),
            f"{name}.step must not change the state that it is given: make new tensors instead.",
        )
        _check_state(after, name, batch, "step")
        _check_tensor(rewards, (batch, agents), "floating", f"The rewards of {name}.step")
        _check_tensor(done, (batch,), torch.bool, f"The third result of {name}.step, done,")
        ended = game.ended(after)
        _check_tensor(ended, (batch,), torch.bool, f"{name}.ended(state)")
        require(
            game.truncates or torch.equal(done[~over], (ended | (time == game.horizon))[~over]),
            f"{name}.step must say done where a copy has ended by the rules (ended), and at the horizon, "
            f"step {game.horizon}, but nowhere else; it does not in step {time}.",
        )
        require(bool(rewards[~over].isfinite().all()), f"The rewards of {name}.step must be finite numbers.")
        require(
            not rewards[~still_present & ~over[:, None]].any(),
            f"{name}.step pays an agent that has left: its reward must be 0.",
        )
        for measure, values in game.measures(after).items():
            require(
                tuple(values.shape) == (batch, agents),
                f"{name}.measures(state)[{measure!r}] must have the shape [batch, agent], {[batch, agents]}, "
                f"not {list(values.shape)}.",
            )
        state, over = after, over | done
        require(
            bool(over.all()) or time < game.horizon,
            f"{name}.step must say done at the horizon, step {game.horizon}, at last.",
        )
    _check_restart(game, state, name, batch, generator)
    if game.can_render:
        frame = game.render(state)
        require(
            isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.shape[2:] == (3,),
            f"{name}.render(state) must give one frame, a uint8 array [height, width, 3].",
        )


def _check_views(game: Game, state: State, name: str, still_present: Tensor, over: Tensor) -> Tensor:
    """Check observations, masks and graphs of a state; return the mask of the agents still present."""
    batch, agents = still_present.shape
    _check_observations(game, game.observe(state), name, batch)
    mask, now, present = game.action_mask(state), game.neighbors_now(state), game.present(state)
    if mask is not None:
        _check_tensor(mask, (batch, agents, game.num_actions), torch.bool, f"{name}.action_mask(state)")
        require(bool(mask.any(-1).all()), f"{name}.action_mask(state) must leave every agent a legal action.")
    if now is not None:
        _check_tensor(now, (batch, agents, agents), torch.bool, f"{name}.neighbors_now(state)")
        require(
            bool(now.diagonal(dim1=1, dim2=2).all()) and not (now & ~game.neighbors).any(),
            f"{name}.neighbors_now(state) must be True on its diagonal, and only where neighbors is.",
        )
    if present is None:
        return still_present
    _check_tensor(present, (batch, agents), torch.bool, f"{name}.present(state)")
    require(
        not (present & ~still_present)[~over].any(),
        f"{name}.present(state) says that an agent is back, but whoever has left stays away.",
    )
    return present


def _check_roles(game: Game, state: State, actions: Tensor, name: str) -> None:
    """Check `cooperates` and the scripted policy."""
    shape, mask, everybody = tuple(actions.shape), game.action_mask(state), torch.ones_like(actions).bool()
    cooperates = game.cooperates(state, actions)
    if cooperates is not None:
        _check_tensor(cooperates, shape, torch.bool, f"{name}.cooperates(state, actions)")
    for cooperative in (everybody, ~everybody):
        script = game.scripted(state, cooperative)
        if script is None:
            continue
        _check_tensor(script, shape, "integer", f"{name}.scripted(state, cooperative)")
        legal = (script >= 0) & (script < game.num_actions)
        if mask is not None and legal.all():
            legal = mask.gather(-1, script.long().unsqueeze(-1)).squeeze(-1)
        require(bool(legal.all()), f"{name}.scripted(state, cooperative) must choose legal actions.")


def _check_restart(game: Game, state: State, name: str, batch: int, generator: torch.Generator) -> None:
    done = torch.arange(batch) % 2 == 0
    before = game.observe(state).clone()
    after = game.restart(state, done, generator)
    _check_state(after, name, batch, "restart")
    require(
        torch.equal(game.observe(after)[~done], before[~done]),
        f"{name}.restart must leave the copies that are not done as they are.",
    )


def _check_reproducible(game: Game, name: str, seed: int, steps: int, copies: int = 2) -> None:
    """Check that episodes follow from their generator, and that a seed plays alone as in a batch."""

    def play(seeds: list[int]) -> list[_Step]:
        streams = Streams([(seed, number) for number in seeds])
        actor = Streams([(seed + 1, number) for number in seeds])
        batch, trajectory = copies * len(seeds), []
        with separated(game, streams, batch):
            state = game.reset(batch, streams)
            for _ in range(min(game.horizon, steps)):
                observations = game.observe(state).clone()
                state, rewards, done = game.step(state, _random_actions(game, state, actor, batch), streams)
                trajectory.append(_Step(observations, rewards, done))
        try:
            require_separated(game, streams)
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        return trajectory

    together, again, alone = (play(seeds) for seeds in ([0, 1], [0, 1], [1]))
    not_repeated = (
        "plays another episode when it starts from the same generator: draw from nothing but the generator "
        "that is passed, and keep nothing in the game"
    )
    not_apart = (
        "plays another episode with one seed alone than with that seed in a batch: let everything that is "
        "drawn have the batch as its first axis, and let copies not depend on each other"
    )
    for other, start, sentence in ((again, 0, not_repeated), (alone, copies, not_apart)):
        running = torch.ones(len(other[0].done), dtype=torch.bool)  # finished copies do not count
        for step, twin in zip(together, other, strict=True):
            same = all(
                torch.equal(one[start:][running], two[running]) for one, two in zip(step, twin, strict=True)
            )
            require(same, f"{name} {sentence}.")
            running = running & ~twin.done


def _check_values(game: ExactGame, name: str, seed: int, episodes: int) -> None:
    """Check shapes and gradients of exact values, and that they are the means of sampled episodes."""
    agents, generator = game.num_agents, torch.Generator().manual_seed(seed)
    shape = (2, agents, game.num_observations, game.num_actions)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    policies = logits.softmax(-1).requires_grad_()
    values = game.values(policies)
    _check_tensor(values, (2, agents), torch.float64, f"{name}.values(policies) of float64 policies")
    gradient = None
    if values.requires_grad:
        (gradient,) = torch.autograd.grad(values.sum(), policies, allow_unused=True)
    require(
        gradient is not None and bool(gradient.isfinite().all()),
        f"{name}.values must be differentiable in the policies: compute it with torch, without detaching.",
    )
    policy, exact = policies[0].detach(), values[0].detach()
    state = game.reset(episodes, generator)
    rewards_paid, running = [], torch.ones(episodes, 1, dtype=torch.bool)
    everyone = torch.arange(agents)
    for _ in range(game.horizon):
        rows = policy[everyone, game.observe(state).long()]
        actions = torch.multinomial(rows.flatten(0, 1), 1, generator=generator).view(episodes, agents)
        state, rewards, done = game.step(state, actions, generator)
        rewards_paid.append(torch.where(running, rewards.double(), 0))
        running = running & ~done[:, None]
    sampled = game.episode_value(torch.stack(rewards_paid))
    error = sampled.std(0) / episodes**0.5
    # Values per step are those of a game without end, of which the horizon cuts off a tail.
    tail = game.discount**game.horizon if game.effective_horizon > 1 else 0.0
    slack = 1e-6 + tail * float(torch.stack(rewards_paid).abs().max())
    require(
        bool(((sampled.mean(0) - exact).abs() <= MAX_ERRORS * error + slack).all()),
        f"{name}.values must be the expectation of episode_value; it says {exact.tolist()}, and {episodes} "
        f"sampled episodes {sampled.mean(0).tolist()}.",
    )
