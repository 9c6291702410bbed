"""Play many episodes of every seed in one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bilevel.agents._distributions import allowed, distribution_of
from bilevel.agents._policy import Policy
from bilevel.sharing import Transfer
from games.core import Game, for_members, require_separated, separated


class Trajectory(NamedTuple):
    """Sampled episodes; after an episode's end its observations, rewards and `mask` are 0."""

    observations: Tensor
    """[seed, agent, time, episode, *shape], integer or of theta's dtype."""
    actions: Tensor
    """Integer [seed, agent, time, episode]; meaningless after the end. Where actions are continuous, float
    [seed, agent, time, episode, number], before they are squashed (`distributions.SquashedGaussian`)."""
    rewards: Tensor
    """Own rewards before sharing, [seed, agent, time, episode], in the game's units."""
    mask: Tensor
    """1 while the episode runs, [seed, 1, time, episode]."""
    cooperated: Tensor | None
    """1 where the action cooperates, [seed, agent, time, episode]; meaningless after the end; None where the
    word has no meaning."""
    legal: Tensor | None = None
    """Which actions are legal, boolean [seed, agent, time, episode, action]; None where all are."""
    neighbours: Tensor | None = None
    """Who may share with whom, boolean [seed, giver, receiver, time, episode]; None where that does not
    change."""
    log_probabilities: Tensor | None = None
    """Of what was done, under the policies that did it, [seed, agent, time, episode], in nats; None where
    nobody asks."""
    present: Tensor | None = None
    """Which agents took part in each step, boolean [seed, agent, time, episode]; None where all always do."""
    cut: Tensor | None = None
    """1 in the step after which an episode was cut off that would have gone on, [seed, 1, time, episode];
    None where the game's horizon is a rule (`Game.truncates`)."""
    following: Tensor | None = None
    """What was seen after each step, like `observations`, 0 after an end by the rules; None where `cut`
    is."""

    @property
    def acting(self) -> Tensor:
        """1 in the steps in which an agent's action counts, [seed, agent or 1, time, episode]."""
        return self.mask if self.present is None else self.mask * self.present

    def some(self, which: slice) -> Trajectory:
        """Some of the episodes; see `TrajectoryLike.some`."""
        graph = self.neighbours  # its episodes come last, all others' fourth
        parts = (None if part is None else part[:, :, :, which] for part in self._replace(neighbours=None))
        return Trajectory._make(parts)._replace(neighbours=None if graph is None else graph[..., which])

    @property
    def outcome(self) -> Trajectory:
        """The same episodes without what agents saw: actions, rewards and who took part.

        Observations have no features; legal actions, graphs and what follows a truncation are None. Integer
        actions are int32 and `cooperated` is boolean, as there may be many episodes.
        """
        return self._replace(
            observations=self.rewards.new_empty(*self.rewards.shape, 0),
            actions=self.actions if self.actions.is_floating_point() else self.actions.int(),
            cooperated=None if self.cooperated is None else self.cooperated.bool(),
            legal=None,
            neighbours=None,
            following=None,
        )


class StepObservation(NamedTuple):
    """What agents can act on in one step of all episodes; after an episode's end it is 0."""

    observed: Tensor
    """[seed, agent, episode, *shape], integer or of the dtype that was asked for."""
    legal: Tensor | None
    """Which actions are legal, boolean [seed, agent, episode, action]; None where all are."""
    neighbours: Tensor | None
    """Who may share with whom, boolean [seed, giver, receiver, episode]; None where that does not change."""
    present: Tensor | None = None
    """Which agents still take part, boolean [seed, agent, episode]; None where all always do."""


Act = Callable[[StepObservation], Tensor]
"""Observations of a step -> actions as in `Trajectory`: integer [seed, agent, episode] if Discrete."""
Give = Callable[[StepObservation, Tensor, Tensor, Tensor], Tensor]
"""(observations, actions, own rewards, mask) of one step -> the gifts in it; see `step_gifts`."""


@torch.no_grad()
def rollout(
    game: Game, policy: Policy, theta: Tensor, transfer: Transfer, episodes: int, generator: torch.Generator
) -> Trajectory:
    """Play `episodes` whole episodes per seed.

    Args:
        game: any game.
        policy: any policy of as many features and actions.
        theta: [seed, agent, parameter].
        transfer: by what rule agents give: the game is told what was given (`Game.give`).
        episodes: per seed.
        generator: the source of every draw, on theta's device; of `games.core.Streams`, each seed's own.

    Returns:
        `game.horizon` steps of every episode. What a copy shows and pays after its end is replaced by 0, so
        it may be anything, even NaN.

    Raises:
        FloatingPointError: a reward is not a finite number (says at which step, for which seed and agent).
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
    """Play as `rollout`, and yield blocks of successive time steps: only one is in memory at a time.

    The draws, and so the episodes, are the same for every block length.

    Args:
        game: any game; this and all other arguments are those of `rollout`.
        policy: any policy of as many features and actions.
        theta: [seed, agent, parameter].
        transfer: by what rule agents give.
        episodes: per seed.
        generator: the source of every draw.
        steps: time steps per block, 1 or more; the last block may be shorter.

    Raises:
        FloatingPointError: a reward is not a finite number.
    """
    memory, generator = policy.memory(theta, episodes), for_members(generator, len(theta))
    distribution = distribution_of(game)

    def act(seen: StepObservation) -> Tensor:
        nonlocal memory
        outputs, memory = policy.step(theta, seen.observed, memory)
        return distribution.draw(allowed(outputs, seen.legal), generator)

    def give(seen: StepObservation, actions: Tensor, own: Tensor, mask: Tensor) -> Tensor:
        return step_gifts(
            transfer, seen.observed, actions, own, mask, seen.neighbours, seen.legal, seen.present
        )

    mask = torch.ones(theta.shape[0], 1, episodes, dtype=theta.dtype, device=theta.device)
    return play_blocks(game, act, give, mask, generator, steps)


def play_out(game: Game, act: Act, give: Give, mask: Tensor, generator: torch.Generator) -> Trajectory:
    """Play whole episodes, whoever acts and gives; `rollout` says what comes back, and what is raised.

    Args:
        game: any game.
        act: decides for all agents; it is called once for each of `game.horizon` steps.
        give: what the game is told that agents gave, if it does anything with that.
        mask: 1s, [seed, 1, episode], in the dtype and on the device of what is wanted.
        generator: the source of the game's draws, on the same device.
    """
    (whole,) = play_blocks(game, act, give, mask, generator, game.horizon)
    return whole


@torch.no_grad()
def play_blocks(
    game: Game, act: Act, give: Give, mask: Tensor, generator: torch.Generator, steps: int
) -> Iterator[Trajectory]:
    """Play as `play_out`, and yield blocks of successive time steps, as `rollout_blocks`."""
    seeds, _, episodes = mask.shape
    acted = distribution_of(game).acted
    generator, told = for_members(generator, seeds), takes_gifts(game)
    with separated(game, generator, seeds * episodes):
        state = game.reset(seeds * episodes, generator)

    def stack(values: Tensor) -> Tensor:
        """[seed * episode, agent, ...] -> [seed, agent, episode, ...]."""
        return values.reshape(seeds, episodes, *values.shape[1:]).movedim(1, 2)

    def stack_known(values: Tensor | None) -> Tensor | None:
        return None if values is None else stack(values)

    def observe(state: Any) -> Tensor:
        shown = stack(game.observe(state))
        return shown.to(mask.dtype) if shown.is_floating_point() else shown

    def play_step(block: _Block, time: int, state: Any, mask: Tensor) -> tuple[Any, Tensor]:
        """Play and record one step: the next state, and which episodes go on."""
        observed = block.write_while("observations", time, observe(state), mask)
        graph = stack_known(game.neighbours_now(state))
        seen = StepObservation(
            observed,
            block.write("legal", time, stack_known(game.action_mask(state))),
            block.write("neighbours", time, None if graph is None else graph.movedim(2, -1)),
            block.write("present", time, stack_known(game.present(state))),
        )
        actions = act(seen)
        block.write("actions", time, actions)
        joint = acted(actions.movedim(1, 2).flatten(0, 1))
        block.write("cooperated", time, stack_known(game.cooperates(state, joint)), mask.dtype)
        with separated(game, generator, seeds * episodes):
            state, rewards, done = game.step(state, joint, generator)
        own = block.write_while("rewards", time, stack(rewards).to(mask.dtype), mask)
        block.write("mask", time, mask)
        if told:
            state = game.give(state, give(seen, actions, own, mask))
        goes_on = mask * (~done).to(mask.dtype).reshape(seeds, 1, episodes)
        if game.truncates:
            cut = (mask - goes_on) * (~game.ended(state)).to(mask.dtype).reshape(seeds, 1, episodes)
            block.write("cut", time, cut)
            block.write_while("following", time, observe(state), goes_on + cut)
        return state, goes_on

    for begin in range(0, game.horizon, steps):
        block = _Block(min(steps, game.horizon - begin))
        for time in range(block.steps):
            state, mask = play_step(block, time, state, mask)
        require_separated(game, generator)
        _require_finite(block.written["rewards"], begin)
        parts: dict[str, Any] = {"cooperated": None, **block.written}
        trajectory = Trajectory(**parts)
        parts.clear()
        del block  # so that no two blocks are in memory at a time
        yield trajectory
        del trajectory


class _Block:
    """Preallocated tensors for so many time steps, each made when its first step is written."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.written: dict[str, Tensor] = {}

    def slot(self, name: str, time: int, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Where a step is written: of the shape of `like`, [seed, agent, episode, ...].

        Time is the axis before the episodes: the last but one of graphs, else the third.
        """
        axis = like.ndim - 1 if name == "neighbours" else 2
        if name not in self.written:
            shape = (*like.shape[:axis], self.steps, *like.shape[axis:])
            self.written[name] = torch.empty(shape, dtype=dtype or like.dtype, device=like.device)
        return self.written[name].select(axis, time)

    def write(
        self, name: str, time: int, values: Tensor | None, dtype: torch.dtype | None = None
    ) -> Tensor | None:
        """Copy a step, and return the copy; nothing is written of None."""
        return None if values is None else self.slot(name, time, values, dtype).copy_(values)

    def write_while(self, name: str, time: int, values: Tensor, mask: Tensor) -> Tensor:
        """Copy a step with 0 where the episode is over, `mask` being [seed, 1, episode]; return the copy."""
        running = mask.reshape(*mask.shape, *[1] * (values.ndim - mask.ndim)) > 0
        return torch.where(running, values, values.new_zeros(()), out=self.slot(name, time, values))


def concatenated(blocks: Sequence[Trajectory]) -> Trajectory:
    """Join blocks of successive time steps of the same episodes (see `Trajectory.outcome`)."""

    def joined(name: str) -> Tensor | None:
        known = [part for block in blocks if (part := getattr(block, name)) is not None]
        return torch.cat(known, -2 if name == "neighbours" else 2) if known else None

    parts: dict[str, Any] = {name: joined(name) for name in Trajectory._fields}
    return Trajectory(**parts)


def takes_gifts(game: Game) -> bool:
    """Whether the game does anything with what agents gave (`Game.give`).

    >>> import games
    >>> [takes_gifts(games.make(name)) for name in ("escape-room", "coin-game")]
    [True, False]
    """
    return game.takes_gifts


def step_gifts(
    transfer: Transfer,
    observed: Tensor,
    actions: Tensor,
    rewards: Tensor,
    mask: Tensor,
    neighbours: Tensor | None = None,
    legal: Tensor | None = None,
    present: Tensor | None = None,
) -> Tensor:
    """What agents gave in one step, as `Game.give` is told.

    Args:
        transfer: by what rule they give.
        observed: [seed, agent, episode, *shape].
        actions: integer [seed, agent, episode].
        rewards: own ones, [seed, agent, episode].
        mask: [seed, 1, episode].
        neighbours: boolean [seed, giver, receiver, episode]; None: the graph does not change.
        legal: which actions are, boolean [seed, agent, episode, action]; None: all.
        present: who takes part, boolean [seed, agent, episode]; None: all.

    Returns:
        [seed * episode, giver, receiver], in reward units.
    """
    step = Trajectory(
        observed.unsqueeze(2),
        actions.unsqueeze(2),
        rewards.unsqueeze(2),
        mask.unsqueeze(2),
        cooperated=None,
        legal=None if legal is None else legal.unsqueeze(2),
        neighbours=None if neighbours is None else neighbours.unsqueeze(-2),
        present=None if present is None else present.unsqueeze(2),
    )
    return transfer.gifts(step).squeeze(-2).movedim(-1, 1).flatten(0, 1)


def _require_finite(rewards: Tensor, begin: int) -> None:
    """Raise FloatingPointError unless rewards, whose first step is `begin`, are finite."""
    finite = rewards.isfinite()
    if not finite.all():
        seed, agent, time, episode = (~finite).nonzero()[0].tolist()
        raise FloatingPointError(
            f"The game gave agent {agent} the reward {float(rewards[seed, agent, time, episode])} in step "
            f"{begin + time} of an episode of seed {seed}; rewards must be finite numbers."
        )
