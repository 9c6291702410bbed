"""Play many episodes of every seed in one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.agents.distributions import allowed, distribution_of
from bilevel.agents.policies import Policy
from bilevel.outer.transfer import Transfer
from games.base import Game
from games.streams import for_members, require_separated, separated


class Episodes(NamedTuple):
    """Sampled episodes; after an episode's end its observations, rewards and `alive` are 0."""

    observations: Tensor
    """[seed, agent, time, episode, *shape], integer or of theta's dtype."""
    actions: Tensor
    """Integer [seed, agent, time, episode]; meaningless after the end. Where actions are continuous, float
    [seed, agent, time, episode, number], before they are squashed (`distributions.SquashedGaussian`)."""
    rewards: Tensor
    """Own rewards before sharing, [seed, agent, time, episode], in the game's units."""
    alive: Tensor
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
        return self.alive if self.present is None else self.alive * self.present

    def some(self, which: slice) -> Episodes:
        """Some of the episodes; see `Happened.some`."""
        graph = self.neighbours  # its episodes come last, all others' fourth
        parts = (None if part is None else part[:, :, :, which] for part in self._replace(neighbours=None))
        return Episodes._make(parts)._replace(neighbours=None if graph is None else graph[..., which])


class Seen(NamedTuple):
    """What agents can act on in one step of all episodes; after an episode's end it is 0."""

    observed: Tensor
    """[seed, agent, episode, *shape], integer or of the dtype that was asked for."""
    legal: Tensor | None
    """Which actions are legal, boolean [seed, agent, episode, action]; None where all are."""
    neighbours: Tensor | None
    """Who may share with whom, boolean [seed, giver, receiver, episode]; None where that does not change."""
    present: Tensor | None = None
    """Which agents still take part, boolean [seed, agent, episode]; None where all always do."""


Act = Callable[[Seen], Tensor]
"""What was seen -> actions as `Episodes` record them: integer [seed, agent, episode] if they are Discrete."""
Give = Callable[[Seen, Tensor, Tensor, Tensor], Tensor]
"""(what was seen, actions, own rewards, alive) of one step -> what was given in it, as `step_gifts` says."""


@torch.no_grad()
def rollout(
    game: Game, policy: Policy, theta: Tensor, transfer: Transfer, episodes: int, generator: torch.Generator
) -> Episodes:
    """Play `episodes` whole episodes per seed.

    Args:
        game: any game.
        policy: any policy of as many features and actions.
        theta: [seed, agent, parameter].
        transfer: by what rule agents give: the game is told what was given (`Game.give`).
        episodes: per seed.
        generator: the source of every draw, on theta's device; of `games.streams.Streams`, each seed's own.

    Returns:
        `game.horizon` steps of every episode. What a copy shows and pays after its end is replaced by 0, so
        it may be anything, even NaN.

    Raises:
        FloatingPointError: a reward is not a finite number (says at which step, for which seed and agent).
    """
    memory, generator = policy.memory(theta, episodes), for_members(generator, len(theta))
    distribution = distribution_of(game)

    def act(seen: Seen) -> Tensor:
        nonlocal memory
        outputs, memory = policy.step(theta, seen.observed, memory)
        return distribution.draw(allowed(outputs, seen.legal), generator)

    def give(seen: Seen, actions: Tensor, own: Tensor, alive: Tensor) -> Tensor:
        return step_gifts(
            transfer, seen.observed, actions, own, alive, seen.neighbours, seen.legal, seen.present
        )

    alive = torch.ones(theta.shape[0], 1, episodes, dtype=theta.dtype, device=theta.device)
    return play_out(game, act, give, alive, generator)


@torch.no_grad()
def play_out(game: Game, act: Act, give: Give, alive: Tensor, generator: torch.Generator) -> Episodes:
    """Play whole episodes, whoever acts and gives; `rollout` says what comes back, and what is raised.

    Args:
        game: any game.
        act: decides for all agents; it is called once for each of `game.horizon` steps.
        give: what the game is told that agents gave, if it does anything with that.
        alive: 1s, [seed, 1, episode], in the dtype and on the device of what is wanted.
        generator: the source of the game's draws, on the same device.
    """
    seeds, _, episodes = alive.shape
    acted = distribution_of(game).acted
    generator, told = for_members(generator, seeds), takes_gifts(game)
    with separated(game, generator, seeds * episodes):
        state = game.reset(seeds * episodes, generator)
    steps: list[tuple[Seen, Tensor, Tensor, Tensor, Tensor | None]] = []
    cuts: list[Tensor] = []
    after: list[Tensor] = []

    def stack(values: Tensor) -> Tensor:
        """[seed * episode, agent, ...] -> [seed, agent, episode, ...]."""
        return values.reshape(seeds, episodes, *values.shape[1:]).movedim(1, 2)

    def stack_known(values: Tensor | None) -> Tensor | None:
        return None if values is None else stack(values)

    def stack_shown(visible: Tensor) -> Tensor:
        shown = stack(game.observe(state))
        return _while_alive(shown.to(alive.dtype) if shown.is_floating_point() else shown, visible)

    for _ in range(game.horizon):
        observed = stack_shown(alive)
        graph = stack_known(game.neighbours_now(state))
        seen = Seen(
            observed,
            stack_known(game.action_mask(state)),
            None if graph is None else graph.movedim(2, -1),
            stack_known(game.present(state)),
        )
        actions = act(seen)
        joint = acted(actions.movedim(1, 2).flatten(0, 1))
        cooperated = stack_known(game.cooperates(state, joint))
        with separated(game, generator, seeds * episodes):
            state, rewards, done = game.step(state, joint, generator)
        own = _while_alive(stack(rewards).to(alive.dtype), alive)
        steps.append((seen, actions, own, alive, cooperated))
        if told:
            state = game.give(state, give(seen, actions, own, alive))
        goes_on = alive * (~done).to(alive.dtype).reshape(seeds, 1, episodes)
        if game.truncates:
            cut = (alive - goes_on) * (~game.ended(state)).to(alive.dtype).reshape(seeds, 1, episodes)
            cuts.append(cut)
            after.append(stack_shown(goes_on + cut))
        alive = goes_on

    require_separated(game, generator)
    sights, taken, own_rewards, running, cooperating = zip(*steps, strict=True)
    observations, masks, graphs, here = zip(*sights, strict=True)
    together = torch.stack(own_rewards, 2)
    _require_finite(together)
    return Episodes(
        observations=torch.stack(observations, 2),
        actions=torch.stack(taken, 2),
        rewards=together,
        alive=torch.stack(running, 2),
        cooperated=None if cooperating[0] is None else torch.stack(cooperating, 2).to(alive.dtype),
        legal=None if masks[0] is None else torch.stack(masks, 2),
        neighbours=None if graphs[0] is None else torch.stack(graphs, -2),
        present=None if here[0] is None else torch.stack(here, 2),
        cut=torch.stack(cuts, 2) if cuts else None,
        following=torch.stack(after, 2) if after else None,
    )


def takes_gifts(game: Game) -> bool:
    """Whether the game does anything with what agents gave (`Game.give`).

    >>> import games
    >>> [takes_gifts(games.make(name)) for name in ("escape-room", "coin-game")]
    [True, False]
    """
    return type(game).give is not Game.give


def step_gifts(
    transfer: Transfer,
    observed: Tensor,
    actions: Tensor,
    rewards: Tensor,
    alive: Tensor,
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
        alive: [seed, 1, episode].
        neighbours: boolean [seed, giver, receiver, episode]; None: the graph does not change.
        legal: which actions are, boolean [seed, agent, episode, action]; None: all.
        present: who takes part, boolean [seed, agent, episode]; None: all.

    Returns:
        [seed * episode, giver, receiver], in reward units.
    """
    step = Episodes(
        observed.unsqueeze(2),
        actions.unsqueeze(2),
        rewards.unsqueeze(2),
        alive.unsqueeze(2),
        cooperated=None,
        legal=None if legal is None else legal.unsqueeze(2),
        neighbours=None if neighbours is None else neighbours.unsqueeze(-2),
        present=None if present is None else present.unsqueeze(2),
    )
    return transfer.gifts(step).squeeze(-2).movedim(-1, 1).flatten(0, 1)


def _while_alive(values: Tensor, alive: Tensor) -> Tensor:
    """Values [seed, agent, episode, ...] with 0 where the episode is over, alive being [seed, 1, episode]."""
    running = alive.reshape(*alive.shape, *[1] * (values.ndim - alive.ndim)) > 0
    return torch.where(running, values, torch.zeros_like(values))


def _require_finite(rewards: Tensor) -> None:
    finite = rewards.isfinite()
    if not finite.all():
        seed, agent, time, episode = (~finite).nonzero()[0].tolist()
        raise FloatingPointError(
            f"The game gave agent {agent} the reward {float(rewards[seed, agent, time, episode])} in step "
            f"{time} of an episode of seed {seed}; rewards must be finite numbers."
        )
