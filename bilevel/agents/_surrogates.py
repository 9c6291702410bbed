"""Returns, baselines and advantages over sampled episodes, and surrogate losses.

The derivatives of a surrogate loss estimate those of an expected return. Episodes were drawn from the
policies, so their distribution depends on theta. Derivatives of `reinforce` are unbiased at first order only;
those of `dice` and, with less variance, `loaded_dice` at any order.
docs/studies/sampled-hypergradients.md measures the effect on a hypergradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from bilevel.nn import log_softmax
from games.core import cached_constants, in_fresh_thread, require


def discounts(steps: int, discount: float, like: Tensor) -> Tensor:
    """Powers 1, discount, discount^2, ...: [time]; 0^0 is 1.

    Args:
        steps: number of powers.
        discount: per step, from 0 to 1.
        like: tensor with the dtype and the device of the result.

    >>> discounts(3, 0.5, torch.zeros(()))
    tensor([1.0000, 0.5000, 0.2500])
    """
    return discount ** torch.arange(steps, dtype=like.dtype, device=like.device)


def returns_to_go(rewards: Tensor, discount: float) -> Tensor:
    """Discounted returns to go, G_t = sum_{u >= t} discount^(u - t) r_u, of rewards [..., time, episode]."""
    learned = isinstance(discount, Tensor)
    weights = (_weights if learned else _cached_weights)(
        rewards.shape[-2], discount, rewards.dtype, rewards.device
    )
    return weights @ rewards


def _weights(steps: int, discount: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Weight of each reward in the return from each step on: [time, time of the reward]."""
    time = torch.arange(steps, device=device)
    ahead = time[None, :] - time[:, None]
    return discount ** ahead.clamp(min=0).to(dtype) * (ahead >= 0)


@cached_constants
def _cached_weights(steps: int, discount: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return in_fresh_thread(lambda: _weights(steps, discount, dtype, device))


def leave_one_out(returns: Tensor, mask: Tensor) -> Tensor:
    """Leave-one-out baseline: the mean return of the OTHER episodes still running at a step, else 0.

    Args:
        returns: [..., time, episode].
        mask: 1 while an episode runs, else 0, of the same shape.

    >>> leave_one_out(torch.tensor([[1.0, 2.0, 6.0]]), torch.tensor([[1.0, 1.0, 0.0]]))
    tensor([[2.0000, 1.0000, 1.5000]])
    """
    running = returns * mask
    others = running.sum(-1, keepdim=True) - running
    count = mask.sum(-1, keepdim=True) - mask
    return others / count.clamp(min=1)


def decayed_sums(values: Tensor, decay: float) -> Tensor:
    """Decayed sums: S_t = sum_{u <= t} decay^(t - u) x_u of values [..., time, episode]; 0^0 is 1."""
    return returns_to_go(values.flip(-2), decay).flip(-2)


def generalized_advantages(rewards: Tensor, values: Tensor, discount: float, gae_lambda: float) -> Tensor:
    """Generalized advantage estimates: A_t = sum_{u >= t} (discount gae_lambda)^(u - t) delta_u.

    delta_t = r_t + discount V_{t+1} - V_t, with V = 0 after the last step. With gae_lambda 1 it is G_t - V_t.

    Args:
        rewards: r, [..., time, episode], 0 after an episode's end.
        values: V of each step's state, like the rewards.
        discount: per step, from 0 to 1.
        gae_lambda: lambda of the estimate, from 0 (one step, then V) to 1 (sampled returns).

    Returns:
        Advantages, like the rewards.

    Source:
        Schulman et al., Generalized advantage estimation, arXiv 1506.02438.

    >>> rewards, values = torch.tensor([[1.0], [4.0]]), torch.tensor([[2.0], [3.0]])
    >>> [generalized_advantages(rewards, values, 0.5, weight).flatten().tolist() for weight in (0.0, 1.0)]
    [[0.5, 1.0], [1.0, 1.0]]
    """
    following = torch.cat((values[..., 1:, :], torch.zeros_like(values[..., :1, :])), -2)
    return returns_to_go(rewards + discount * following - values, discount * gae_lambda)


def weighted_advantages(own: Tensor, advantages: Tensor, discount: float) -> Tensor:
    """Mean over episodes of sum_t discount^t log pi_t A_t: [..., agent, time, episode] -> [..., agent]."""
    weights = discounts(advantages.shape[-2], discount, advantages).unsqueeze(-1)
    return (weights * own * advantages).sum(-2).mean(-1)


class Surrogate(Protocol):
    """A surrogate of sampled returns: `Reinforce`, `LoadedDice`, or one of `SURROGATES`.

    >>> from bilevel.agents import SURROGATES
    >>> surrogate: Surrogate = SURROGATES["dice"]
    >>> own = torch.tensor([[[0.5, 0.5]]]).log()  # agent, time, episode
    >>> rewards, mask = torch.tensor([[[1.0, 0.0]]]), torch.ones(1, 1, 2)
    >>> surrogate(own, own, rewards, mask, discount=1.0)  # its value is the mean return
    tensor([0.5000])
    """

    def __call__(
        self,
        own: Tensor,
        joint: Tensor,
        rewards: Tensor,
        mask: Tensor,
        discount: float,
        values: Tensor | None = None,
    ) -> Tensor:
        """Estimate each agent's expected return, [..., agent], by its derivatives.

        Args:
            own: log-probability of each agent's action, 0 after the end: [..., agent, time, episode].
            joint: log-probability of ALL agents' actions, as each agent differentiates it, of the same shape.
                A surrogate that does not use it has an attribute `uses_joint` that is False, and gets
                `own` again, which saves evaluating the other agents' policies.
            rewards: each learner's rewards, [..., agent, time, episode], zero after the end.
            mask: 1 while the episode runs, broadcasts to `rewards`.
            discount: per step.
            values: a critic's values, of the state before each step's action, shaped like `rewards`; None:
                the baseline is the other episodes' mean return.

        Returns:
            [..., agent], in reward units.
        """


def magic_box(log_probabilities: Tensor) -> Tensor:
    """Magic box exp(x - stop_gradient(x)): the value 1, with the derivative of x (arXiv 1802.05098)."""
    return (log_probabilities - log_probabilities.detach()).exp()


def _require_critic(gae_lambda: float, values: Tensor | None) -> None:
    require(
        values is not None or gae_lambda == 1,
        f"A gae_lambda of {gae_lambda:g}, below 1, needs a critic's values, and there are none: "
        "leave it at 1, or "
        "pass values.",
    )


@dataclass(frozen=True, kw_only=True)
class _AdvantageSettings:
    """Settings of surrogates with generalized advantages, all from 0 to 1."""

    gae_lambda: float = 1.0
    """Lambda of generalized advantage estimation, from 0 to 1; 1: sampled returns, no bias; below 1, with a
    critic only: less variance for the bias of its values."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            require(0 <= value <= 1, f"{name} must be from 0 to 1, not {value}.")


@dataclass(frozen=True, kw_only=True)
class Reinforce(_AdvantageSettings):
    """The likelihood-ratio surrogate: mean over episodes of sum_t discount^t log pi_t A_t.

    Its first derivative is unbiased without a critic, or if gae_lambda is 1. Differentiated again, it ignores
    that the data depend on theta: a hypergradient through two or more inner steps is biased. Without a
    critic A_t = G_t - b_t, b_t the mean return of the other episodes from step t on.

    Raises:
        ValueError: `gae_lambda` is not from 0 to 1; in a call, it is below 1 without a critic's values.

    Source:
        Williams 1992; the leave-one-out baseline: Kool et al. 2019, "Buy 4 REINFORCE samples"; with a critic:
        Schulman et al., Generalized advantage estimation, arXiv 1506.02438.

    Two episodes of one step, from a coin whose log-odds are 0 (the derivative of log pi is +-0.5):

    >>> logit = torch.zeros((), requires_grad=True)
    >>> own = torch.nn.functional.logsigmoid(torch.stack((logit, -logit))).reshape(1, 1, 2)
    >>> surrogate = Reinforce()(own, own, torch.tensor([[[1.0, 0.0]]]), torch.ones(1, 1, 2), 1.0)
    >>> torch.autograd.grad(surrogate.sum(), logit)
    (tensor(0.5000),)
    """

    uses_joint: ClassVar[bool] = False
    """False: the likelihood ratio is of the agent's own policy alone."""

    def __call__(
        self,
        own: Tensor,
        joint: Tensor,
        rewards: Tensor,
        mask: Tensor,
        discount: float,
        values: Tensor | None = None,
    ) -> Tensor:
        _require_critic(self.gae_lambda, values)
        if values is None:
            returns = returns_to_go(rewards, discount)
            advantages = (returns - leave_one_out(returns, mask)) * mask
        else:
            advantages = generalized_advantages(rewards, values * mask, discount, self.gae_lambda)
        return weighted_advantages(own, advantages, discount)


reinforce = Reinforce()
"""The likelihood-ratio surrogate of sampled returns."""


def dice(
    own: Tensor, joint: Tensor, rewards: Tensor, mask: Tensor, discount: float, values: Tensor | None = None
) -> Tensor:
    """DiCE: mean over episodes of sum_t discount^t box(sum_{u <= t} log pi_u) r_t, plus its baseline term.

    Every derivative, of any order, is an unbiased estimate of the expected return's. The baseline term
    sum_t discount^t (1 - box(log pi_t)) b_t lowers the first derivative's variance and is 0 on average, in
    every derivative: b_t comes from other episodes, or from a critic, which does not depend on the action of
    step t. That also holds where rewards depend on parameters. Its value is the mean discounted return.

    Source:
        Foerster et al., DiCE, arXiv 1802.05098, with its baseline for the first derivative.
    """
    weights = discounts(rewards.shape[-2], discount, rewards).unsqueeze(-1)
    baseline = leave_one_out(returns_to_go(rewards, discount), mask) if values is None else values
    main = magic_box(joint.cumsum(-2)) * rewards
    correction = (1 - magic_box(joint)) * baseline * mask
    return (weights * (main + correction)).sum(-2).mean(-1)


@dataclass(frozen=True, kw_only=True)
class LoadedDice(_AdvantageSettings):
    """Loaded DiCE: DiCE with advantages, whose baseline lowers the variance of derivatives of every order.

    With W_t = sum_{u <= t} lambda^(t - u) log pi_u, lambda being `dependency_decay`, and advantages A_t,

        mean over episodes of V_0 + sum_t discount^t (box(W_t) - box(lambda W_{t-1})) A_t.

    Without a critic A_t = G_t - b_t, b_t the mean return of the other episodes from step t on, and V_0 = G_0.
    With lambda = 1 derivatives of every order are then unbiased estimates of those of the expected return,
    even where rewards depend on parameters, since b_t comes from other episodes. With lambda below 1 the
    first derivative stays the same; higher derivatives lose the dependencies between distant steps, and their
    variance.

    Raises:
        ValueError: a setting is not from 0 to 1; in a call, `gae_lambda` is below 1 without a critic.

    Source:
        Farquhar, Whiteson and Foerster, Loaded DiCE, arXiv 1909.10549; the advantages: Schulman et al.,
        Generalized advantage estimation, arXiv 1506.02438.

    >>> own = torch.tensor([[[0.5, 0.5]]]).log()  # agent, time, episode
    >>> LoadedDice()(own, own, torch.tensor([[[1.0, 0.0]]]), torch.ones(1, 1, 2), 1.0)
    tensor([0.5000])
    """

    dependency_decay: float = 1.0
    """The paper's lambda, from 0 to 1: decay of dependencies between steps; 1: unbiased; 0: only those within
    a step."""

    def __call__(
        self,
        own: Tensor,
        joint: Tensor,
        rewards: Tensor,
        mask: Tensor,
        discount: float,
        values: Tensor | None = None,
    ) -> Tensor:
        """The surrogate; its value is the mean discounted return, or the mean of a critic's first values."""
        _require_critic(self.gae_lambda, values)
        returns = returns_to_go(rewards, discount)
        baseline = (leave_one_out(returns, mask) if values is None else values) * mask
        advantages = generalized_advantages(rewards, baseline, discount, self.gae_lambda)
        first = (returns if values is None else baseline)[..., 0, :]
        so_far = decayed_sums(joint, self.dependency_decay)
        dependencies = magic_box(so_far) - magic_box(so_far - joint)
        weights = discounts(rewards.shape[-2], discount, rewards).unsqueeze(-1)
        return (first + (weights * dependencies * advantages).sum(-2)).mean(-1)


loaded_dice = LoadedDice()
"""Unbiased Loaded DiCE: all dependencies, sampled returns."""


SURROGATES: dict[str, Surrogate] = {"reinforce": reinforce, "dice": dice, "loaded-dice": loaded_dice}
"""Name -> surrogate, as `PolicyGradient` and the command line select it."""


def entropy(logits: Tensor) -> Tensor:
    """Entropy of softmax policies.

    Args:
        logits: [..., action].

    Returns:
        Entropy, [...], in nats.

    >>> entropy(torch.zeros(2))
    tensor(0.6931)
    """
    log_probabilities = log_softmax(logits)
    return -(log_probabilities.exp() * log_probabilities).sum(0)


def divergence(reference: Tensor, logits: Tensor) -> Tensor:
    """KL divergence of softmax policies from reference policies, KL(reference || policy).

    Args:
        reference: logits of the reference policies, [..., action].
        logits: logits of the policies, [..., action].

    Returns:
        Divergence, [...], in nats; 0 if and only if the policies are equal.

    >>> divergence(torch.zeros(2), torch.tensor([3.0, 1.0]).log())  # (1/2, 1/2) and (3/4, 1/4)
    tensor(0.1438)
    """
    target = log_softmax(reference)
    return (target.exp() * (target - log_softmax(logits))).sum(0)


def chosen(logits: Tensor, actions: Tensor) -> Tensor:
    """Log-probability of the actions taken by softmax policies.

    Args:
        logits: [..., action].
        actions: integer [...].

    Returns:
        [...], in nats.

    >>> chosen(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor([-1.3863, -1.3863])
    """
    return log_softmax(logits).gather(0, actions.unsqueeze(0)).squeeze(0)
