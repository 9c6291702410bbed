"""Action values of other agents, differentiable with respect to one's own policy, and policies by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from bilevel.agents._distributions import allowed
from bilevel.agents._loss_terms import centered_by_step
from bilevel.agents._surrogates import generalized_advantages, magic_box, returns_to_go
from bilevel.core import Range
from games.core import require


class OpponentReturns(Protocol):
    """Estimate of the other agents' action values from episodes: `DiceReturns` or `NStepReturns`.

    >>> estimate: OpponentReturns = DiceReturns()
    >>> own = torch.zeros(2, 3, 5, requires_grad=True)  # agent, time, episode
    >>> rewards, values, mask = torch.ones(3, 2, 3, 5)
    >>> estimate(own, rewards, values, mask, discount=0.9).shape  # learner, agent, time, episode
    torch.Size([2, 2, 3, 5])
    """

    def __call__(self, own: Tensor, rewards: Tensor, values: Tensor, mask: Tensor, discount: float) -> Tensor:
        """Estimate action values Q_j(s_t, b_t) of the actions taken.

        A learner's own action of step t counts as given, since the other agents do not see it; its later
        actions follow its policy.

        Args:
            own: log-probabilities of the learners' actions, 0 after the end: [..., learner, time, episode].
            rewards: of all agents, [..., agent, time, episode], 0 after the end.
            values: baselines, the values of each step's state, like the rewards; 0 after the end.
            mask: 1 while the agent acts, broadcasts to the rewards.
            discount: per step, from 0 to 1.

        Returns:
            [..., learner, agent, time, episode], in reward units, with first derivatives by `own`.
        """


@dataclass(frozen=True, kw_only=True)
class DiceReturns:
    """Loaded DiCE of the other agents' returns: all of the learner's later actions count.

        Q_t = G_t + sum_{k > t} discount (discount decay)^(k - t - 1) (box(log pi_k) - 1) A_k,

    with A_k the other agent's generalized advantages and G_t = A_t + V_t its return. With a decay of 1,
    gae_lambda 1 and values that do not depend on step k's actions, the first derivative is an unbiased
    estimate.

    Raises:
        ValueError: a number is not from 0 to 1.

    Source:
        Aghajohari et al., LOQA, arXiv 2405.01035; Farquhar et al., Loaded DiCE, arXiv 1909.10549; the decay
        is in the code of MiladInk/loqa.

    One episode of two steps; the other agent's later advantage is 4 - 1:

    >>> own = torch.tensor([[[0.5], [0.5]]]).log().requires_grad_()  # learner, time, episode
    >>> rewards, values = torch.tensor([[[2.0], [4.0]]]), torch.tensor([[[3.0], [1.0]]])
    >>> found = DiceReturns(decay=1.0)(own, rewards, values, torch.ones(1, 2, 1), discount=0.9)
    >>> found.flatten().tolist()
    [5.599999904632568, 4.0]
    >>> torch.autograd.grad(found.sum(), own)[0].flatten()  # 0.9 x 3
    tensor([0.0000, 2.7000])
    """

    decay: float = 0.9
    """Decay per step of the effect of the learner's actions, in addition to the discount."""
    gae_lambda: float = 1.0
    """Lambda of the other agents' advantages; 1: sampled returns less values."""
    center: bool = False
    """Subtract from these advantages their mean over the episodes at the same step."""

    def __post_init__(self) -> None:
        for name in ("decay", "gae_lambda"):
            Range(min=0, max=1).require(name, getattr(self, name))

    def __call__(self, own: Tensor, rewards: Tensor, values: Tensor, mask: Tensor, discount: float) -> Tensor:
        advantages = generalized_advantages(rewards, values, discount, self.gae_lambda)
        returns = (advantages + values).unsqueeze(-4)
        if self.center:
            advantages = centered_by_step(advantages, mask)
        effects = (magic_box(own) - 1).unsqueeze(-3) * advantages.unsqueeze(-4)
        return returns + discount * _ahead(returns_to_go(effects, discount * self.decay), 1)


@dataclass(frozen=True, kw_only=True)
class NStepReturns:
    """N-step returns of the other agents: only the learner's next actions count.

        Q_t = sum_{l < n} discount^l (box(L_l) (r_{t+l} - b) + b) + discount^n V_{t+n},

    with L_l the sum of log pi_k over t < k <= t + l, and b the agent's mean reward in the sample. After an
    episode's end rewards and values are 0.

    Raises:
        ValueError: there are less than two steps, of which the learner's action would have no effect.

    Source:
        Aghajohari et al., LOQA, arXiv 2405.01035, and its code (MiladInk/loqa, n_step_value).

    One episode of two steps; the mean reward is 3:

    >>> own = torch.tensor([[[0.5], [0.5]]]).log().requires_grad_()
    >>> rewards, values = torch.tensor([[[2.0], [4.0]]]), torch.tensor([[[3.0], [1.0]]])
    >>> found = NStepReturns(steps=2)(own, rewards, values, torch.ones(1, 2, 1), discount=0.9)
    >>> found.flatten().tolist()
    [5.599999904632568, 4.0]
    >>> torch.autograd.grad(found.sum(), own)[0].flatten()  # 0.9 x (4 - 3)
    tensor([0.0000, 0.9000])
    """

    steps: int = 2
    """Rewards before the value, 2 or more."""

    def __post_init__(self) -> None:
        whole = isinstance(self.steps, int) and self.steps >= 2
        require(whole, f"steps of n-step returns is a whole number, 2 or more, not {self.steps}.")

    def __call__(self, own: Tensor, rewards: Tensor, values: Tensor, mask: Tensor, discount: float) -> Tensor:
        mask = mask.expand_as(rewards)
        mean = (rewards.sum((-2, -1), keepdim=True)) / mask.sum((-2, -1), keepdim=True).clamp(min=1)
        centered = (rewards - mean) * mask
        total = rewards.unsqueeze(-4) + 0 * own.unsqueeze(-3)
        log = torch.zeros_like(own)
        for ahead in range(1, self.steps):
            log = log + _ahead(own, ahead)
            changes = (magic_box(log) - 1).unsqueeze(-3) * _ahead(centered, ahead).unsqueeze(-4)
            total = total + discount**ahead * (_ahead(rewards, ahead).unsqueeze(-4) + changes)
        return total + discount**self.steps * _ahead(values, self.steps).unsqueeze(-4)


def _ahead(values: Tensor, steps: int) -> Tensor:
    """Values [..., time, episode] of some steps later, 0 beyond the last one."""
    count = values.shape[-2]
    return functional.pad(values[..., min(steps, count) :, :], (0, 0, 0, min(steps, count)))


def estimated_log_policy(
    action_values: Tensor, actions: Tensor, estimates: Tensor, temperature: float, legal: Tensor | None = None
) -> Tensor:
    """Log-probability of actions taken, by a softmax of action values / temperature.

    The value of the action taken is replaced by an estimate, through which it is differentiated: with
    p its probability, the derivative is (1 - p) / temperature times the estimate's.

    Args:
        action_values: critics' values, [..., agent, time, episode, action].
        actions: taken, integer [..., agent, time, episode].
        estimates: their values, [..., learner, agent, time, episode].
        temperature: above 0, in reward units.
        legal: legal actions, boolean, like the values; None: all.

    Returns:
        [..., learner, agent, time, episode], in nats.

    Source:
        Aghajohari et al., LOQA, arXiv 2405.01035.

    >>> values, taken = torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[0]]])
    >>> estimate = torch.tensor([[[[3.0]]]], requires_grad=True)
    >>> found = estimated_log_policy(values, taken, estimate, temperature=2.0)
    >>> found.exp().flatten(), torch.autograd.grad(found.sum(), estimate)[0].flatten()
    (tensor([0.5000], grad_fn=<ViewBackward0>), tensor([0.2500]))
    """
    taken = functional.one_hot(actions, action_values.shape[-1]).bool()
    others = allowed(action_values, legal).masked_fill(taken, -torch.inf) / temperature
    rest = others.logsumexp(-1).unsqueeze(-4)
    return functional.logsigmoid(estimates / temperature - rest)
