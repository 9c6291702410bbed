"""V-trace: off-policy targets and advantages, whose hyper-parameters may be learned."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from games.core import require


class VTrace(NamedTuple):
    """Targets of a critic and advantages of a policy, [..., time, episode] each, in reward units.

    >>> reward, value = torch.tensor([[1.0]]), torch.tensor([[0.5]])
    >>> trace: VTrace = leaky_v_trace(reward, value, torch.zeros(1, 1), discount=0.9)
    >>> trace.targets, trace.advantages
    (tensor([[1.]]), tensor([[0.5000]]))
    """

    targets: Tensor
    """v_t, the target of the critic's value of step t."""
    advantages: Tensor
    """rho_t (r_t + discount v_{t+1} - V_t), the weight of log pi_t in the policy gradient."""


def leaky_v_trace(
    rewards: Tensor,
    values: Tensor,
    log_ratios: Tensor,
    discount: Tensor | float,
    *,
    trace_lambda: Tensor | float = 1.0,
    leak: Tensor | float = 1.0,
    rho_clip: float = 1.0,
    c_clip: float = 1.0,
    last_value: Tensor | None = None,
) -> VTrace:
    """Leaky V-trace: targets and advantages from episodes of another policy, with leaky clipping.

    With importance ratios IS_t = pi(a_t) / mu(a_t) of the policy pi and the policy mu that acted,

        rho_t = leak min(rho_clip, IS_t) + (1 - leak) IS_t,
        c_t = lambda (leak min(c_clip, IS_t) + (1 - leak) IS_t),
        v_t = V_t + sum_{u >= t} (prod_{i = t}^{u - 1} discount_i c_i) rho_u (r_u + discount_u V_{u+1} - V_u).

    A leak of 1 is V-trace, and 0 importance sampling without clipping. If pi is mu, ratios are 1, the leak
    has no effect, and v_t is the lambda return: with lambda 1 the n-step return with the last value.

    Targets and advantages are differentiable with respect to every argument: detach ratios and values where
    they are constants of the loss. Memory and time grow with the number of steps, one after the other.

    Args:
        rewards: r, [..., time, episode], 0 after an episode's end.
        values: V of the state before each step, like the rewards, 0 after an episode's end.
        log_ratios: log IS, like the rewards, 0 after an episode's end.
        discount: discount per step, from 0 to 1; a number or a tensor that broadcasts to the rewards. It is 0
            at a termination within the steps, which separates the episodes of a fragment.
        trace_lambda: lambda, from 0 to 1, a number or a tensor that broadcasts to the rewards.
        leak: alpha of STAC, from 0 to 1, a number or a tensor that broadcasts to the rewards.
        rho_clip: maximum of the clipped ratio of a step, above 0.
        c_clip: maximum of the clipped ratio of a trace, above 0.
        last_value: V of the state after the last step, [..., episode]; None: 0.

    Returns:
        Targets and advantages, like the rewards.

    Raises:
        ValueError: shapes of rewards, values and ratios differ, or a clip is not above 0.

    Source:
        Zahavy et al., A self-tuning actor-critic algorithm (STAC), arXiv 2002.12928; V-trace: Espeholt et
        al., IMPALA, arXiv 1802.01561.

    Two steps of one episode; the second action is twice as probable as under the policy that acted:

    >>> rewards, values = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.5], [1.0]])
    >>> ratios = torch.tensor([[1.0], [2.0]])
    >>> leaky_v_trace(rewards, values, ratios.log(), 0.5, leak=1.0).targets.flatten().tolist()
    [2.0, 2.0]
    >>> leaky_v_trace(rewards, values, ratios.log(), 0.5, leak=0.5).targets.flatten().tolist()
    [2.25, 2.5]
    """
    require(
        rewards.shape == values.shape == log_ratios.shape and rewards.ndim >= 2,
        "Rewards, values and log_ratios must have one shape, [..., time, episode], not "
        f"{list(rewards.shape)}, {list(values.shape)} and {list(log_ratios.shape)}.",
    )
    for name, clip in (("rho_clip", rho_clip), ("c_clip", c_clip)):
        require(clip > 0, f"{name} must be above 0, not {clip}.")
    ratios = log_ratios.exp()
    rho = leak * ratios.clamp(max=rho_clip) + (1 - leak) * ratios
    traces = trace_lambda * (leak * ratios.clamp(max=c_clip) + (1 - leak) * ratios)
    last = torch.zeros_like(values[..., 0, :]) if last_value is None else last_value
    following = torch.cat((values[..., 1:, :], last.unsqueeze(-2)), -2)
    errors = rho * (rewards + discount * following - values)
    decays = (discount * traces).expand_as(rewards)
    sums, after = [], torch.zeros_like(last)
    for error, decay in zip(reversed(errors.unbind(-2)), reversed(decays.unbind(-2)), strict=True):
        after = error + decay * after
        sums.append(after)
    targets = values + torch.stack(sums[::-1], -2)
    next_targets = torch.cat((targets[..., 1:, :], last.unsqueeze(-2)), -2)
    return VTrace(targets, rho * (rewards + discount * next_targets - values))
