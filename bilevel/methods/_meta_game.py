"""The meta-game of opponent shaping: in a step policies play, and naive agents learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.agents import Tabular
from bilevel.core import Purpose, Tree, first_draws, tree_map
from bilevel.optimizers import GradientTransformation
from bilevel.sharing import agent_report
from games.core import Game, normal


class Played(NamedTuple):
    """One step of meta-episodes: the returns of the current policies, and what the naive agents learn."""

    returns: Tensor
    """Each agent's return, in the game's units, [seed, meta-episode, agent]."""
    learned: Tensor
    """Policies after a learning step of every agent, [seed, meta-episode, agent, parameter]."""
    opt_state: Tree
    """Optimizer's state after it, with the same first axes."""


@dataclass(frozen=True, eq=False)
class MetaGame:
    """The meta-game: its state is the joint policy, and agents that shape choose their next policies in it.

    In a meta-step all agents play their policies; then the naive ones take learning steps, and each agent
    that shapes chooses its next policy, having observed the policies that were played.

    Source:
        Lu et al., Model-free opponent shaping, arXiv 2205.01447, section 3.
    """

    game: Game
    policy: Tabular
    optimizer: GradientTransformation
    """Optimizer of the naive agents."""
    learn: Callable[[Tensor, Tree, torch.Generator], tuple[Tensor, Tensor, Tree]]
    """(policies [member, agent, parameter], optimizer's state, generator) -> returns [member, agent], and
    both after the learning steps of a meta-step."""

    def reset(
        self, seeds: int, episodes: int, generator: torch.Generator, dtype: torch.dtype
    ) -> tuple[Tensor, Tree]:
        """Draw the initial policies of meta-episodes, [seed, meta-episode, agent, parameter]."""
        shape = seeds, episodes, self.game.num_agents, self.policy.num_parameters
        policies = self.policy.initial_scale * normal(shape, generator, dtype)
        opt_state = self.optimizer.init(fold(policies))
        return policies, tree_map(lambda leaf: unfold(leaf, policies), opt_state)

    def observe(self, policies: Tensor) -> Tensor:
        """Features of each agent: its own probabilities of actions, then the other agent's.

        Args:
            policies: [seed, meta-episode, agent, parameter].

        Returns:
            [seed, agent, meta-episode, feature]; the last action's probability, which the others determine,
            is left out.
        """
        own = self.policy.probabilities(policies)[..., :-1].flatten(-2)
        return torch.cat((own, own.flip(-2)), -1).movedim(2, 1)

    @torch.no_grad()
    def step(self, policies: Tensor, opt_state: Tree, generator: torch.Generator) -> Played:
        """Play the policies, and let every agent take its learning steps as if it were naive."""
        returns, learned, opt_state = self.learn(fold(policies), tree_map(fold, opt_state), generator)
        return Played(
            unfold(returns, policies),
            unfold(learned, policies),
            tree_map(lambda leaf: unfold(leaf, policies), opt_state),
        )


def initial_shapers(initial: Callable[..., Tensor], shapers: Sequence[int], seeds: range) -> Tensor:
    """Draw the parameters, [seed, shaper, parameter], of agents that shape, by `initial` of their policy."""
    return first_draws(lambda generator: initial(generator, len(shapers)), seeds, Purpose.OUTER_VARIABLES)


def pairings(shapers: Sequence[int], alone: int, episodes: int) -> Tensor:
    """Agents that shape in the meta-episodes of an update, boolean [meta-episode, agent].

    Each agent that shapes has meta-episodes of its own, in order, the first of them against a naive agent.
    The number is constant, so that compiled steps serve all updates.

    Args:
        shapers: agents that shape, of two.
        alone: number of each one's meta-episodes against a naive agent.
        episodes: number of each one's meta-episodes.

    >>> pairings((0, 1), alone=1, episodes=2).int()
    tensor([[1, 0],
            [1, 1],
            [0, 1],
            [1, 1]], dtype=torch.int32)
    """
    together = [[agent in shapers for agent in (0, 1)]] * (episodes - alone)
    rows = [[[agent == shaper for agent in (0, 1)]] * alone + together for shaper in shapers]
    return torch.tensor(rows).flatten(0, 1)


def all_shape(shapers: Sequence[int], episodes: int) -> Tensor:
    """The same for an evaluation, in which all agents of the setting `shapers` shape."""
    return torch.tensor([[agent in shapers for agent in (0, 1)]] * episodes)


def own_meta_episodes(values: Tensor, shapers: Sequence[int]) -> Tensor:
    """Each shaper's values in its own meta-episodes, in the order of `pairings`.

    Args:
        values: [seed, agent, meta-episode of all shapers, ...].
        shapers: agents that shape.

    Returns:
        [seed, shaper, meta-episode of its own, ...].
    """
    parts = values[:, list(shapers)].chunk(len(shapers), 2)
    return torch.stack([part[:, place] for place, part in enumerate(parts)], 1)


def meta_returns(returns: Tensor) -> dict[str, Tensor]:
    """Each agent's mean return over meta-steps and meta-episodes: meta_return_<agent>, [seed].

    Args:
        returns: [seed, agent, meta-step, meta-episode].
    """
    return agent_report("meta_return", returns.mean((-2, -1)))


def fold(leaf: Tensor) -> Tensor:
    """[seed, meta-episode, agent, ...] -> [meta-episode * seed, agent, ...], the order of random streams.

    A count of an optimizer, [seed, meta-episode], becomes the integer that it was.
    """
    return leaf.transpose(0, 1).flatten(0, 1) if leaf.ndim > 2 else leaf.flatten()[0].to(torch.int64)


def unfold(leaf: Tensor, like: Tensor) -> Tensor:
    """Undo `fold`; a count becomes a floating tensor, like other parts of a state.

    Args:
        leaf: [meta-episode * seed, agent, ...], or an integer scalar.
        like: [seed, meta-episode, ...], of the dtype of states.
    """
    seeds, episodes = like.shape[:2]
    if leaf.ndim == 0:
        return leaf.to(like).expand(seeds, episodes)
    whole: Tensor = leaf.unflatten(0, (episodes, seeds)).transpose(0, 1)
    return whole
