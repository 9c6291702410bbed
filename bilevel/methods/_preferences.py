"""`inequity-aversion`: agents that feel envy and guilt.

`svo`: agents that keep to an angle between their own reward and the others'.

Feelings about rewards: each agent learns from what it makes of everybody's, and nothing changes hands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bilevel.methods._contract import Learner, Placement
from bilevel.methods._fixed_sharing import policy_learner
from bilevel.methods._inner_settings import PPO, ActorCritic, PolicyGradient
from bilevel.methods._method import LossWeightMethod
from bilevel.sharing import Report, TrajectoryLike, no_gifts
from games.core import Game, require


class RewardPreference(Protocol):
    """What agents make of everybody's rewards."""

    def __call__(self, rewards: Tensor, present: Tensor | None = None) -> Tensor:
        """Own rewards -> those that learners see, both [seed, agent, time, episode].

        Agents compare themselves with the others that are `present`, boolean of the same shape; None: all.
        """


@dataclass(frozen=True)
class InequityAversion:
    """Envy and guilt: u_i = r_i - a / (N-1) sum_j max(e_j - e_i, 0) - b / (N-1) sum_j max(e_i - e_j, 0).

    The rewards compared are smoothed over time: e_t = discount trace e_t-1 + r_t.

    Raises:
        ValueError: a weight is negative, or the trace or the discount is not from 0 to 1.

    Source:
        Hughes et al., Inequity aversion improves cooperation in intertemporal social dilemmas, arXiv
        1803.08884.

    >>> rewards = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    >>> InequityAversion(envy=5.0, guilt=0.05)(rewards).flatten()
    tensor([ 0.9500, -5.0000])
    """

    envy: float = 5.0
    """Weight of having less, a, 0 or more."""
    guilt: float = 0.05
    """Weight of having more, b, 0 or more."""
    trace: float = 0.95
    """How long rewards are remembered, lambda, from 0 to 1."""
    discount: float = 0.99
    """Per step, from 0 to 1."""

    def __post_init__(self) -> None:
        for name in ("envy", "guilt"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more, not {getattr(self, name):g}.")
        for name in ("trace", "discount"):
            require(0 <= getattr(self, name) <= 1, f"{name} is from 0 to 1, not {getattr(self, name):g}.")

    def __call__(self, rewards: Tensor, present: Tensor | None = None) -> Tensor:
        """See `RewardPreference`."""
        time = torch.arange(rewards.shape[-2], device=rewards.device)
        past = (time[:, None] - time).to(rewards.dtype)
        weights = (self.discount * self.trace) ** past.clamp(min=0) * (past >= 0)
        smoothed = weights @ rewards
        more = smoothed.unsqueeze(1) - smoothed.unsqueeze(2)  # [seed, agent, other, ...]: others have more
        if present is not None:
            more = more * present.unsqueeze(1)
        others = _others(rewards, present)
        return (
            rewards
            - self.envy / others * more.clamp(min=0).sum(2)
            - self.guilt / others * (-more).clamp(min=0).sum(2)
        )


@dataclass(frozen=True)
class SocialValueOrientation:
    """Keep to an angle between one's own reward and the others': u_i = r_i - w |angle_i - target|.

    angle_i = atan2(mean of the others' rewards, own reward), in each step; where nobody got anything it is 0.

    Raises:
        ValueError: the weight is negative, or the target is not from -180 to 180 degrees.

    Source:
        McKee et al., Social diversity and social preferences in mixed-motive reinforcement learning, arXiv
        2002.02325.

    >>> rewards = torch.tensor([1.0, 1.0]).reshape(1, 2, 1, 1)
    >>> SocialValueOrientation(target=45.0)(rewards).flatten()
    tensor([1., 1.])
    """

    weight: float = 0.2
    """Of the distance from the target, 0 or more, in reward units per radian."""
    target: float = 45.0
    """The angle to keep to, in degrees: 0 is selfish, 45 prosocial, 90 altruistic."""

    def __post_init__(self) -> None:
        require(self.weight >= 0, f"The weight must be 0 or more, not {self.weight:g}.")
        require(-180 <= self.target <= 180, f"The target is an angle from -180 to 180, not {self.target:g}.")

    def __call__(self, rewards: Tensor, present: Tensor | None = None) -> Tensor:
        """See `RewardPreference`."""
        total = (rewards if present is None else rewards * present).sum(1, keepdim=True)
        others = (total - rewards) / _others(rewards, present)
        return rewards - self.weight * (torch.atan2(others, rewards) - math.radians(self.target)).abs()


def _others(rewards: Tensor, present: Tensor | None) -> Tensor | int:
    """With how many others an agent compares itself, 1 or more: [seed, 1, time, episode], or a number."""
    if present is None:
        return max(rewards.shape[1] - 1, 1)
    return (present.sum(1, keepdim=True) - 1).clamp(min=1).to(rewards.dtype)


@dataclass(frozen=True, eq=False)
class PreferenceTransfer:
    """A feeling as an outer variable that holds nothing, and as its transfer."""

    feeling: RewardPreference
    agents: int
    """How many there are."""

    @property
    def exact(self) -> bool:
        """It does not: feelings are not linear in rewards."""
        return False

    @property
    def matrix(self) -> None:
        """Nothing is shared."""

    def initial(self, seed: int, seeds: int) -> Tensor:
        """Nothing: float64 [seed, 0]."""
        return torch.zeros(seeds, 0, dtype=torch.float64)

    def transfer(self, phi: Tensor) -> PreferenceTransfer:
        """Itself."""
        return self

    def rewards(self, trajectory: TrajectoryLike) -> Tensor:
        """See `Transfer.rewards`; who has left feels nothing, and nobody compares itself with it."""
        return self.feeling(trajectory.rewards, trajectory.present) * trajectory.acting

    def gifts(self, trajectory: TrajectoryLike) -> Tensor:
        """Nobody gives anything: zeros."""
        return no_gifts(trajectory)

    def report(self, trajectory: TrajectoryLike | None) -> Report:
        """Nothing to say."""
        return {}

    @property
    def reporting(self) -> None:
        """There is nothing to report."""


@dataclass(frozen=True, kw_only=True)
class InequityAverse(LossWeightMethod):
    """Envy and guilt: agents learn from their reward less what inequity costs them (`InequityAversion`).

    Needs: everybody's rewards. Conserves nothing, and nothing changes hands: welfare is still that of the
    game's own rewards.

    Raises:
        ValueError: a setting is out of range.

    Source:
        Hughes et al., arXiv 1803.08884. The defaults of envy, guilt and trace are SocialJax's; the discount
        is the game's.

    >>> import games
    >>> learner = InequityAverse().build(games.make("escape-room"), Placement(seeds=2))
    >>> learner.update(learner.init(seed=0))[1]["welfare"].shape
    torch.Size([2])
    """

    inner: PolicyGradient | ActorCritic | PPO = PolicyGradient(exact=False)
    """The policies\' learner; feelings depend on the rewards of each step: exact values are refused."""
    envy: float = 5.0
    """Weight of having less, 0 or more."""
    guilt: float = 0.05
    """Weight of having more, 0 or more."""
    trace: float = 0.95
    """How long rewards are remembered, from 0 to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._feeling(discount=1.0)

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        return policy_learner(
            self, game, placement, PreferenceTransfer(self._feeling(game.discount), game.num_agents)
        )

    def _feeling(self, discount: float) -> InequityAversion:
        return InequityAversion(self.envy, self.guilt, self.trace, discount)


@dataclass(frozen=True, kw_only=True)
class SVO(LossWeightMethod):
    """Social value orientation: agents keep to an angle between their own reward and the others'.

    Needs: everybody's rewards. Conserves nothing, and nothing changes hands: welfare is still that of the
    game's own rewards.

    Raises:
        ValueError: a setting is out of range.

    Source:
        McKee et al., Social diversity and social preferences in mixed-motive reinforcement learning, arXiv
        2002.02325.

    >>> import games
    >>> learner = SVO(target=90.0).build(games.make("escape-room"), Placement(seeds=2))
    >>> learner.update(learner.init(seed=0))[1]["welfare"].shape
    torch.Size([2])
    """

    inner: PolicyGradient | ActorCritic | PPO = PolicyGradient(exact=False)
    """The policies\' learner; angles depend on the rewards of each step: exact values are refused."""
    weight: float = 0.2
    """Of the distance from the target, 0 or more, in reward units per radian."""
    target: float = 45.0
    """The angle to keep to, from -180 to 180 degrees: 0 is selfish, 45 prosocial, 90 altruistic."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._feeling()

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        return policy_learner(self, game, placement, PreferenceTransfer(self._feeling(), game.num_agents))

    def _feeling(self) -> SocialValueOrientation:
        return SocialValueOrientation(self.weight, self.target)
