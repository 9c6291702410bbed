"""Methods of social preferences, functions of all agents' rewards: `inequity-aversion` and `svo`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.methods._contract import Learner, Placement
from bilevel.methods._fixed_sharing import policy_learner
from bilevel.methods._inner_settings import PPO, ActorCritic, PolicyGradient, VTrace
from bilevel.methods._method import LossWeightMethod
from bilevel.sharing import Trajectory, Transfer
from games.core import Game, require


def inequity_aversion(
    rewards: Tensor, present: Tensor | None, *, envy: float, guilt: float, trace_decay: float, discount: float
) -> Tensor:
    """Inequity aversion: u_i = r_i - a / (N-1) sum_j max(e_j - e_i, 0) - b / (N-1) sum_j max(e_i - e_j, 0).

    Compared rewards are smoothed over time, e_t = discount trace_decay e_t-1 + r_t; rewards and presence are
    [seed, agent, time, episode].
    """
    time = torch.arange(rewards.shape[-2], device=rewards.device)
    past = (time[:, None] - time).to(rewards.dtype)
    weights = (discount * trace_decay) ** past.clamp(min=0) * (past >= 0)
    smoothed = weights @ rewards
    more = smoothed.unsqueeze(1) - smoothed.unsqueeze(2)  # [seed, agent, other, ...]: others have more
    if present is not None:
        more = more * present.unsqueeze(1)
    others = _others(rewards, present)
    return rewards - envy / others * more.clamp(min=0).sum(2) - guilt / others * (-more).clamp(min=0).sum(2)


def social_value_orientation(
    rewards: Tensor, present: Tensor | None, *, weight: float, target: float
) -> Tensor:
    """Social value orientation: u_i = r_i - w |angle_i - target|, the target in degrees.

    angle_i = atan2(mean of the others' rewards, own reward), in each step; 0 where all rewards are 0.
    """
    total = (rewards if present is None else rewards * present).sum(1, keepdim=True)
    others = (total - rewards) / _others(rewards, present)
    return rewards - weight * (torch.atan2(others, rewards) - math.radians(target)).abs()


def _others(rewards: Tensor, present: Tensor | None) -> Tensor | int:
    """Number of other agents, 1 or more: [seed, 1, time, episode], or a number."""
    if present is None:
        return max(rewards.shape[1] - 1, 1)
    return (present.sum(1, keepdim=True) - 1).clamp(min=1).to(rewards.dtype)


@dataclass(frozen=True, eq=False)
class PreferenceTransfer(Transfer):
    """A preference, as an outer variable without parameters and its transfer; no reward is transferred."""

    preference: Callable[[Tensor, Tensor | None], Tensor]
    """(own rewards, presence) -> learners' rewards, [seed, agent, time, episode] each."""
    agents: int
    """Number of agents."""
    exact = False

    def initial(self, seed: int, seeds: int) -> Tensor:
        return torch.zeros(seeds, 0, dtype=torch.float64)

    def transfer(self, phi: Tensor) -> PreferenceTransfer:
        return self

    def rewards(self, trajectory: Trajectory) -> Tensor:
        return self.preference(trajectory.rewards, trajectory.present) * trajectory.acting


@dataclass(frozen=True, kw_only=True)
class InequityAverse(LossWeightMethod):
    """Inequity aversion: agents learn from their reward minus penalties for envy and guilt.

    u_i = r_i - envy / (N-1) sum_j max(e_j - e_i, 0) - guilt / (N-1) sum_j max(e_i - e_j, 0), where the
    rewards compared are smoothed over time: e_t = discount trace_decay e_t-1 + r_t.

    Needs: all agents' rewards. Conserves nothing, and no reward is transferred: welfare is that of the game's
    own rewards.

    Raises:
        ValueError: a setting is out of range; at build, values are exact.

    Source:
        Hughes et al., Inequity aversion improves cooperation in intertemporal social dilemmas, arXiv
        1803.08884. The defaults of envy, guilt and trace_decay are SocialJax's; the discount is the game's.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = InequityAverse().build(games.make("escape-room"), Placement(seeds=2))
    >>> learner.update(learner.init(seed=0))[1]["welfare"].shape
    torch.Size([2])
    """

    inner: PolicyGradient | ActorCritic | PPO | VTrace = PolicyGradient(exact=False)
    """The policies' learner; preferences depend on the rewards of each step, so exact values are refused."""
    envy: float = 5.0
    """Weight of disadvantageous inequity (having less), 0 or more."""
    guilt: float = 0.05
    """Weight of advantageous inequity (having more), 0 or more."""
    trace_decay: float = 0.95
    """Decay of the smoothed rewards, from 0 to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("envy", "guilt"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more, not {getattr(self, name):g}.")
        require(0 <= self.trace_decay <= 1, f"trace_decay is from 0 to 1, not {self.trace_decay:g}.")

    def build(self, game: Game, placement: Placement) -> Learner:
        preference = functools.partial(
            inequity_aversion,
            envy=self.envy,
            guilt=self.guilt,
            trace_decay=self.trace_decay,
            discount=game.discount,
        )
        return policy_learner(self, game, placement, PreferenceTransfer(preference, game.num_agents))


@dataclass(frozen=True, kw_only=True)
class SVO(LossWeightMethod):
    """Social value orientation: a penalty for deviating from a target angle of own to other agents' rewards.

    u_i = r_i - weight |angle_i - target|, with angle_i = atan2(mean of the others' rewards, own reward) in
    each step.

    Needs: all agents' rewards. Conserves nothing, and no reward is transferred: welfare is that of the game's
    own rewards.

    Raises:
        ValueError: a setting is out of range; at build, values are exact.

    Source:
        McKee et al., Social diversity and social preferences in mixed-motive reinforcement learning, arXiv
        2002.02325.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = SVO(target=90.0).build(games.make("escape-room"), Placement(seeds=2))
    >>> learner.update(learner.init(seed=0))[1]["welfare"].shape
    torch.Size([2])
    """

    inner: PolicyGradient | ActorCritic | PPO | VTrace = PolicyGradient(exact=False)
    """The policies' learner; angles depend on the rewards of each step, so exact values are refused."""
    weight: float = 0.2
    """Weight of the distance from the target, 0 or more, in reward units per radian."""
    target: float = 45.0
    """The target angle, from -180 to 180 degrees: 0 is selfish, 45 prosocial, 90 altruistic."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.weight >= 0, f"The weight must be 0 or more, not {self.weight:g}.")
        require(-180 <= self.target <= 180, f"The target is an angle from -180 to 180, not {self.target:g}.")

    def build(self, game: Game, placement: Placement) -> Learner:
        preference = functools.partial(social_value_orientation, weight=self.weight, target=self.target)
        return policy_learner(self, game, placement, PreferenceTransfer(preference, game.num_agents))
