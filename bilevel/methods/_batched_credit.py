"""Credit of actions for returns of later episodes, in which another agent has learned from a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from bilevel.agents import discounts, leave_one_out


def batched_credit(rewards: Tensor, discount: float, *, batch_aware: bool) -> tuple[Tensor, Tensor]:
    """Credit of each action, within its episode and for later meta-steps.

    The objective is the mean over the batch of an agent's discounted returns, summed over meta-steps. Between
    two meta-steps the other agent learns from the whole batch, so an action in one episode changes later
    returns in all of them. The derivative is the expectation of the sum, over ALL actions of the batch, of
    the derivative of log pi times the credit: 1/B of the rest of the action's own episode, and the batch's
    MEAN return in later meta-steps. In units of 1/B, these are the own return and a sum over the batch.

    Args:
        rewards: an agent's rewards, [..., meta-step, time, episode], 0 after an episode's end.
        discount: per step of an episode, counted from its beginning; meta-steps are not discounted.
        batch_aware: False credits later meta-steps by the episode's own copy alone, 1/B of its returns, as if
            the other agent learned from each copy by itself; biased.

    Returns:
        Credit within the episode, [..., meta-step, time, episode], and for later meta-steps,
        [..., meta-step, 1, episode].

    Source:
        Meulemans et al., Multi-agent cooperation through learning-aware policy gradients, arXiv 2410.18636,
        theorem on the batched co-player shaping POMDP.

    Two meta-steps of one step each, two episodes:

    >>> rewards = torch.tensor([[[1.0, 2.0]], [[3.0, 5.0]]])
    >>> within, later = batched_credit(rewards, 1.0, batch_aware=True)
    >>> within.squeeze(-2), later.squeeze(-2)
    (tensor([[0.5000, 1.0000],
            [1.5000, 2.5000]]), tensor([[4., 4.],
            [0., 0.]]))
    >>> batched_credit(rewards, 1.0, batch_aware=False)[1].squeeze(-2)
    tensor([[1.5000, 2.5000],
            [0.0000, 0.0000]])
    """
    steps, batch = rewards.shape[-2:]
    discounted = rewards * discounts(steps, discount, rewards).unsqueeze(-1) / batch
    returns = discounted.sum(-2, keepdim=True)
    later = _from_here_on(returns, -3) - returns
    if batch_aware:
        later = later.sum(-1, keepdim=True).expand_as(later)
    return _from_here_on(discounted, -2), later


def batched_advantages(
    rewards: Tensor, acting: Tensor, discount: float, *, batch_aware: bool, groups: tuple[int, ...]
) -> Tensor:
    """Credit minus baselines that do not depend on the action.

    The baseline of the credit within an episode is its mean over the other episodes of the batch; that of
    the credit for later meta-steps is the batch's mean in the other meta-episodes of a group.

    Args:
        rewards: [..., meta-episode, meta-step, time, episode].
        acting: 1 where the agent's action counts, of the same shape.
        discount: as for `batched_credit`.
        batch_aware: as for `batched_credit`.
        groups: numbers of meta-episodes, in order, that are alike; one alone has no baseline.

    Returns:
        Advantages, like the rewards.

    >>> rewards = torch.tensor([1.0, 3.0]).reshape(1, 1, 1, 2)  # one meta-step: others' returns are deducted
    >>> batched_advantages(rewards, torch.ones_like(rewards), 1.0, batch_aware=True, groups=(1,)).flatten()
    tensor([-1.,  1.])
    """
    within, later = batched_credit(rewards, discount, batch_aware=batch_aware)
    means = later.mean(-1, keepdim=True)
    baselines = torch.cat([_mean_of_others(part) for part in means.split(groups, -4)], -4)
    return within - leave_one_out(within, acting) + later - baselines


def _from_here_on(values: Tensor, axis: int) -> Tensor:
    """Sums from each index on."""
    return values.flip(axis).cumsum(axis).flip(axis)


def _mean_of_others(values: Tensor) -> Tensor:
    """Mean over the other entries along the fourth axis from the end; 0 if there are none."""
    return (values.sum(-4, keepdim=True) - values) / max(values.shape[-4] - 1, 1)
