"""Rollouts: many episodes of every seed in one batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bilevel.agents._distributions import allowed, distribution_of
from bilevel.agents._policy import Policy
from bilevel.sharing import Trajectory as Trajectory  # noqa: PLC0414 - re-exported
from bilevel.sharing import Transfer
from games.core import Game, for_members, require_separated, separated


class StepObservation(NamedTuple):
    """Observations of all agents in one step of all episodes; 0 after an episode's end.

    >>> import games
    >>> from bilevel.agents import observe_step
    >>> game, generator = games.make("escape-room"), torch.Generator().manual_seed(0)
    >>> step: StepObservation = observe_step(game, game.reset(5, generator))
    >>> step.observed.shape, step.legal  # seed, agent, episode, feature; all actions are legal
    (torch.Size([1, 2, 5, 7]), None)
    """

    observed: Tensor
    """[seed, agent, episode, *shape], integer or of the episodes' dtype."""
    legal: Tensor | None = None
    """Legal actions, boolean [seed, agent, episode, action]; None where all are."""
    neighbors: Tensor | None = None
    """The sharing graph, boolean [seed, giver, receiver, episode]; None where it is fixed."""
    present: Tensor | None = None
    """Agents that take part, boolean [seed, agent, episode]; None where all always do."""


def observe_step(game: Game, state: Any) -> StepObservation:
    """Observe the copies of a game as the episodes of one seed.

    Args:
        game: the game.
        state: its state, of a batch of copies.

    >>> import games
    >>> game, generator = games.make("repeated-chicken"), torch.Generator().manual_seed(0)
    >>> observe_step(game, game.reset(3, generator)).observed  # seed, agent, episode; 0: no round so far
    tensor([[[0, 0, 0],
             [0, 0, 0]]])
    """
    legal, graph, present = game.action_mask(state), game.neighbors_now(state), game.present(state)
    return StepObservation(
        game.observe(state).movedim(0, 1)[None],
        None if legal is None else legal.movedim(0, 1)[None],
        None if graph is None else graph.movedim(0, -1)[None],
        None if present is None else present.T[None],
    )


_counts: ContextVar[tuple[tuple[Tensor, bool], ...]] = ContextVar("counts", default=())
"""Counts of `count_environment_steps` that are open, int64 [seed] each, and `to_horizon` of each."""


@contextmanager
def count_environment_steps(seeds: int, *, to_horizon: bool = False) -> Iterator[Tensor]:
    """Count the environment steps of all rollouts in a `with` block, for each seed.

    A step counts until its episode ends; steps that pad an ended episode to the horizon do not. Rollouts of
    several copies of the seeds, such as the perturbed runs of evolution strategies, count for these seeds.

    Args:
        seeds: number of seeds. A rollout has a multiple of them, copy by copy of all seeds.
        to_horizon: count every episode to the game's horizon, an upper bound that no draw changes.

    Returns:
        The count so far, int64 [seed], on the CPU; it grows in the block.

    >>> import games
    >>> from bilevel.methods import Placement, Selfish
    >>> method = Selfish().with_settings({"inner.exact": False, "inner.episodes": 4, "inner.steps": 2})
    >>> learner = method.build(games.make("chicken"), Placement(seeds=3))
    >>> state = learner.init(seed=0)
    >>> with count_environment_steps(seeds=3) as count:
    ...     _ = learner.update(state)
    >>> count  # 2 inner steps and the evaluation, 4 episodes of 1 step each
    tensor([12, 12, 12])
    """
    count = torch.zeros(seeds, dtype=torch.int64)
    token = _counts.set((*_counts.get(), (count, to_horizon)))
    try:
        yield count
    finally:
        _counts.reset(token)


Act = Callable[[StepObservation], Tensor]
"""Observations of a step -> actions as in `Trajectory`: integer [seed, agent, episode] if Discrete."""
Give = Callable[[StepObservation, Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""(observations, actions, individual rewards, mask, cooperated) of one step -> gifts; see `step_gifts`."""


@torch.no_grad()
def rollout(
    game: Game, policy: Policy, theta: Tensor, transfer: Transfer, episodes: int, generator: torch.Generator
) -> Trajectory:
    """Play `episodes` whole episodes per seed, `game.horizon` steps of each.

    Observations and rewards after the end of an episode are replaced by 0, so a game may return anything
    there, even NaN. All draws are from the generator, on theta's device; `games.core.Streams` have one stream
    per seed.

    Raises:
        FloatingPointError: a reward is not a finite number (names the step, seed and agent).
    """
    (whole,) = rollout_blocks(game, policy, theta, transfer, episodes, generator, game.horizon)
    return whole


def rollout_blocks(
    game: Game,
    policy: Policy,
    theta: Tensor,
    transfer: Transfer,
    episodes: int,
    generator: torch.Generator,
    steps: int,
) -> Iterator[Trajectory]:
    """Play episodes like `rollout`, and yield blocks of `steps` time steps, one in memory at a time.

    The draws, and so the episodes, are the same for every block length; the last block may be shorter.
    """
    hidden_state, generator = policy.initial_hidden_state(theta, episodes), for_members(generator, len(theta))
    distribution = distribution_of(game)

    def act(step: StepObservation) -> Tensor:
        nonlocal hidden_state
        outputs, hidden_state = policy.step(theta, step.observed, hidden_state)
        return distribution.draw(allowed(outputs, step.legal), generator)

    mask = torch.ones(theta.shape[0], 1, episodes, dtype=theta.dtype, device=theta.device)
    return play_blocks(game, act, functools.partial(step_gifts, transfer), mask, generator, steps)


@torch.no_grad()
def play_blocks(
    game: Game, act: Act, give: Give, mask: Tensor, generator: torch.Generator, steps: int
) -> Iterator[Trajectory]:
    """Play episodes with any actions and gifts, and yield blocks of time steps, one in memory at a time.

    The draws, and so the episodes, are the same for every block length. After an episode's end observations
    and rewards are 0.

    Args:
        game: the game.
        act: observations of a step -> actions, integer [seed, agent, episode] if Discrete; called in each
            of `game.horizon` steps.
        give: (observations, actions, individual rewards, mask, cooperated) of a step -> its gifts
            (`step_gifts`); called where the game takes gifts.
        mask: 1s, [seed, 1, episode], of the dtype and on the device of the result.
        generator: source of all random draws.
        steps: time steps of a block; the last one may be shorter.

    Raises:
        FloatingPointError: a reward is not a finite number (names the step, seed and agent).

    >>> import games
    >>> game, mask = games.make("escape-room"), torch.ones(2, 1, 4)  # two seeds, four episodes each
    >>> wait = lambda step: torch.ones(2, 2, 4, dtype=torch.int64)  # all agents stay at the start
    >>> no_gifts = lambda *step: torch.zeros(8, 2, 2)
    >>> blocks = play_blocks(game, wait, no_gifts, mask, torch.Generator(), steps=3)
    >>> [block.rewards.shape for block in blocks]  # seed, agent, time, episode
    [torch.Size([2, 2, 3, 4]), torch.Size([2, 2, 2, 4])]
    """
    seeds, _, episodes = mask.shape
    acted = distribution_of(game).acted
    generator = for_members(generator, seeds)
    with separated(game, generator, seeds * episodes):
        state = game.reset(seeds * episodes, generator)

    def stack(values: Tensor) -> Tensor:
        """[seed * episode, agent, ...] -> [seed, agent, episode, ...]."""
        return values.reshape(seeds, episodes, *values.shape[1:]).movedim(1, 2)

    def stack_optional(values: Tensor | None) -> Tensor | None:
        return None if values is None else stack(values)

    def observe(state: Any) -> Tensor:
        observed = stack(game.observe(state))
        return observed.to(mask.dtype) if observed.is_floating_point() else observed

    def play_step(block: _Block, time: int, state: Any, mask: Tensor) -> tuple[Any, Tensor]:
        """Play and record one step: the next state, and the mask of episodes that continue."""
        observed = block.write_while("observations", time, observe(state), mask)
        graph = stack_optional(game.neighbors_now(state))
        step = StepObservation(
            observed,
            block.write("legal", time, stack_optional(game.action_mask(state))),
            block.write("neighbors", time, None if graph is None else graph.movedim(2, -1)),
            block.write("present", time, stack_optional(game.present(state))),
        )
        actions = act(step)
        block.write("actions", time, actions)
        joint = acted(actions.movedim(1, 2).flatten(0, 1))
        cooperates = stack_optional(game.cooperates(state, joint))
        cooperated = block.write("cooperated", time, cooperates, mask.dtype)
        with separated(game, generator, seeds * episodes):
            state, rewards, done = game.step(state, joint, generator)
        own = block.write_while("rewards", time, stack(rewards).to(mask.dtype), mask)
        block.write("mask", time, mask)
        if game.takes_gifts:
            state = game.give(state, give(step, actions, own, mask, cooperated))
        continues = mask * (~done).to(mask.dtype).reshape(seeds, 1, episodes)
        if game.truncates:
            cut = (mask - continues) * (~game.ended(state)).to(mask.dtype).reshape(seeds, 1, episodes)
            block.write("cut", time, cut)
            block.write_while("following", time, observe(state), continues + cut)
        return state, continues

    for begin in range(0, game.horizon, steps):
        block = _Block(min(steps, game.horizon - begin))
        for time in range(block.steps):
            state, mask = play_step(block, time, state, mask)
        for count, to_horizon in _counts.get():
            running = block.written["mask"] > 0
            played = (running | to_horizon).sum((1, 2, 3)).cpu()
            count += played.reshape(-1, len(count)).sum(0)
        require_separated(game, generator)
        _require_finite(block.written["rewards"], begin)
        parts: dict[str, Any] = {"cooperated": None, **block.written}
        trajectory = Trajectory(**parts)
        parts.clear()
        del block  # at most one block is in memory
        yield trajectory
        del trajectory


class _Block:
    """Tensors of a block of time steps, each allocated when its first step is written."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.written: dict[str, Tensor] = {}

    def view(self, name: str, time: int, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """View of one step, shaped like `like`: time is the last axis but one of graphs, else the third."""
        axis = like.ndim - 1 if name == "neighbors" else 2
        if name not in self.written:
            shape = (*like.shape[:axis], self.steps, *like.shape[axis:])
            self.written[name] = torch.empty(shape, dtype=dtype or like.dtype, device=like.device)
        return self.written[name].select(axis, time)

    def write(
        self, name: str, time: int, values: Tensor | None, dtype: torch.dtype | None = None
    ) -> Tensor | None:
        """Copy a step's values, unless None, and return the copy."""
        return None if values is None else self.view(name, time, values, dtype).copy_(values)

    def write_while(self, name: str, time: int, values: Tensor, mask: Tensor) -> Tensor:
        """Copy a step's values, 0 after the end (`mask` [seed, 1, episode]), and return the copy."""
        running = mask.reshape(*mask.shape, *[1] * (values.ndim - mask.ndim)) > 0
        return torch.where(running, values, values.new_zeros(()), out=self.view(name, time, values))


def concatenated(blocks: Sequence[Trajectory]) -> Trajectory:
    """Join blocks of successive time steps of the same episodes (see `Trajectory.outcome`).

    Args:
        blocks: from `play_blocks`, in order.

    >>> import games
    >>> from bilevel.agents import play_blocks
    >>> game, mask = games.make("escape-room"), torch.ones(2, 1, 4)  # two seeds, four episodes each
    >>> wait = lambda step: torch.ones(2, 2, 4, dtype=torch.int64)  # all agents stay at the start
    >>> no_gifts = lambda *step: torch.zeros(8, 2, 2)
    >>> blocks = list(play_blocks(game, wait, no_gifts, mask, torch.Generator(), steps=3))
    >>> concatenated(blocks).rewards.shape[2] == sum(block.rewards.shape[2] for block in blocks)
    True
    """

    def joined(name: str) -> Tensor | None:
        parts = [part for block in blocks if (part := getattr(block, name)) is not None]
        return torch.cat(parts, -2 if name == "neighbors" else 2) if parts else None

    parts: dict[str, Any] = {name: joined(name) for name in Trajectory._fields}
    return Trajectory(**parts)


def step_gifts(
    transfer: Transfer,
    observation: StepObservation,
    actions: Tensor,
    rewards: Tensor,
    mask: Tensor,
    cooperated: Tensor | None = None,
) -> Tensor:
    """Gifts of one step, for `Game.give`.

    Args:
        transfer: the rule that moves rewards.
        observation: observations of the step.
        actions: [seed, agent, episode].
        rewards: individual rewards, [seed, agent, episode].
        mask: 1 while an episode runs, [seed, 1, episode].
        cooperated: 1 where the action cooperates, [seed, agent, episode]; None: the game defines no
            cooperation.

    Returns:
        Gifts, [seed * episode, giver, receiver], in reward units.

    >>> import games
    >>> from bilevel.agents import observe_step
    >>> from bilevel.sharing import SharedBy
    >>> game, generator = games.make("escape-room"), torch.Generator().manual_seed(0)
    >>> step, actions = observe_step(game, game.reset(1, generator)), torch.zeros(1, 2, 1, dtype=torch.int64)
    >>> sharing = SharedBy(torch.tensor([[[0.75, 0.25], [0.0, 1.0]]]))
    >>> rewards = torch.tensor([[[8.0], [4.0]]])
    >>> step_gifts(sharing, step, actions, rewards, torch.ones(1, 1, 1))
    tensor([[[6., 2.],
             [0., 4.]]])
    """
    step = Trajectory(
        observation.observed.unsqueeze(2),
        actions.unsqueeze(2),
        rewards.unsqueeze(2),
        mask.unsqueeze(2),
        cooperated=None if cooperated is None else cooperated.unsqueeze(2),
        legal=None if observation.legal is None else observation.legal.unsqueeze(2),
        neighbors=None if observation.neighbors is None else observation.neighbors.unsqueeze(-2),
        present=None if observation.present is None else observation.present.unsqueeze(2),
    )
    return transfer.gifts(step).squeeze(-2).movedim(-1, 1).flatten(0, 1)


def _require_finite(rewards: Tensor, begin: int) -> None:
    finite = rewards.isfinite()
    if not finite.all():
        seed, agent, time, episode = (~finite).nonzero()[0].tolist()
        raise FloatingPointError(
            f"The game gave agent {agent} the reward {float(rewards[seed, agent, time, episode])} in step "
            f"{begin + time} of an episode of seed {seed}; rewards must be finite numbers."
        )
