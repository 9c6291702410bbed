"""Trajectories: sampled episodes of all agents of all seeds, and means over them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Trajectory(NamedTuple):
    """Sampled episodes; after an episode's end observations, rewards and `mask` are 0.

    >>> from bilevel.sharing import per_episode
    >>> rewards = torch.tensor([[[[1.0], [2.0]], [[0.0], [4.0]]]])  # 1 seed, 2 agents, 2 steps, 1 episode
    >>> played = Trajectory(
    ...     observations=torch.zeros(1, 2, 2, 1, 3),
    ...     actions=torch.tensor([[[[0], [1]], [[1], [1]]]]),
    ...     rewards=rewards,
    ...     mask=torch.ones(1, 1, 2, 1),
    ...     cooperated=None,
    ... )
    >>> per_episode(played.rewards, played)  # returns, [seed, agent]
    tensor([[3., 4.]])
    """

    observations: Tensor
    """[seed, agent, time, episode, *shape], integer or of theta's dtype."""
    actions: Tensor
    """Integer [seed, agent, time, episode]; meaningless after the end. Where actions are continuous, float
    [seed, agent, time, episode, number], before they are squashed (`bilevel.agents.SquashedGaussian`)."""
    rewards: Tensor
    """Individual rewards before sharing, [seed, agent, time, episode], in the game's units."""
    mask: Tensor
    """1 while the episode runs, [seed, 1, time, episode]."""
    cooperated: Tensor | None
    """1 where the action cooperates, [seed, agent, time, episode]; meaningless after the end; None where the
    game does not define cooperation."""
    legal: Tensor | None = None
    """Legal actions, boolean [seed, agent, time, episode, action]; None where all are."""
    neighbors: Tensor | None = None
    """Sharing graph of each step, boolean [seed, giver, receiver, time, episode]; None where it is fixed."""
    log_probabilities: Tensor | None = None
    """Log-probabilities of the actions under the policies that drew them, [seed, agent, time, episode], in
    nats; None where not recorded."""
    present: Tensor | None = None
    """Agents that took part in each step, boolean [seed, agent, time, episode]; None where all always do."""
    cut: Tensor | None = None
    """1 in the step after which an episode was truncated, [seed, 1, time, episode]; None where the horizon
    terminates episodes (`Game.truncates`)."""
    following: Tensor | None = None
    """Observations after each step, like `observations`, 0 after termination; None where `cut` is."""

    @property
    def acting(self) -> Tensor:
        """1 in the steps in which an agent's action counts, [seed, agent or 1, time, episode]."""
        return self.mask if self.present is None else self.mask * self.present

    def select_episodes(self, episodes: slice) -> Trajectory:
        """Select episodes by their indices."""
        graph = self.neighbors  # the episode axis is the last here, the fourth elsewhere
        parts = (None if part is None else part[:, :, :, episodes] for part in self._replace(neighbors=None))
        return Trajectory._make(parts)._replace(neighbors=None if graph is None else graph[..., episodes])

    @property
    def outcome(self) -> Trajectory:
        """The same episodes without observations: actions, rewards and presence.

        Observations have no features; legal actions, graphs and following observations are None. Integer
        actions are int32 and `cooperated` is boolean, to save memory.
        """
        return self._replace(
            observations=self.rewards.new_empty(*self.rewards.shape, 0),
            actions=self.actions if self.actions.is_floating_point() else self.actions.int(),
            cooperated=None if self.cooperated is None else self.cooperated.bool(),
            legal=None,
            neighbors=None,
            following=None,
        )


def per_episode(values: Tensor, trajectory: Trajectory) -> Tensor:
    """Sum over an episode's steps, mean over episodes.

    Args:
        values: [seed, ..., time, episode].
        trajectory: the episodes, whose mask marks the steps that count.
    Returns:
        [seed, ...], in the unit of the values.

    >>> from bilevel.sharing import Trajectory
    >>> zeros, mask = torch.zeros(1, 2, 3, 1), torch.tensor([[[[1.0], [1.0], [0.0]]]])  # ends after 2 steps
    >>> episode = Trajectory(zeros, zeros, zeros, mask, cooperated=None)
    >>> per_episode(torch.full((1, 2, 3, 1), 5.0), episode)
    tensor([[10., 10.]])
    """
    mask = trajectory.mask.flatten(0, 1).reshape(len(values), *[1] * (values.ndim - 3), *values.shape[-2:])
    return (values * mask).sum(-2).mean(-1)


def per_step(values: Tensor, trajectory: Trajectory) -> Tensor:
    """Mean over all steps of all episodes; 0 without steps.

    Args:
        values: [seed, ..., time, episode].
        trajectory: the episodes, whose mask marks the steps that count.
    Returns:
        [seed, ...], in the unit of the values.

    >>> from bilevel.sharing import Trajectory
    >>> zeros, mask = torch.zeros(1, 2, 3, 1), torch.tensor([[[[1.0], [1.0], [0.0]]]])  # ends after 2 steps
    >>> episode = Trajectory(zeros, zeros, zeros, mask, cooperated=None)
    >>> per_step(torch.full((1, 2, 3, 1), 5.0), episode)
    tensor([[5., 5.]])
    """
    steps = trajectory.mask.sum((-3, -2, -1)) / trajectory.mask.shape[-1]
    steps = steps.where(steps > 0, 1)
    return per_episode(values, trajectory) / steps.reshape(-1, *[1] * (values.ndim - 3))
