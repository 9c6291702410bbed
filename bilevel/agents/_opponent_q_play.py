"""Sampled play with action values, by which each agent estimates the other agents' policies."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from bilevel.agents._distributions import allowed
from bilevel.agents._loss_terms import centered_by_step, normalized
from bilevel.agents._opponent_values import DiceReturns, OpponentReturns, estimated_log_policy
from bilevel.agents._play import SampledPlay
from bilevel.agents._policy import Policy
from bilevel.agents._policy_forms import Tabular
from bilevel.agents._surrogates import generalized_advantages, weighted_advantages
from bilevel.core import Range
from bilevel.sharing import Trajectory
from games.core import require_name

BootstrapName = Literal["sarsa", "expected", "max"]
EstimateName = Literal["return", "critic"]


def action_values_like(policy: Policy) -> Policy:
    """Build action values of a policy's kind: a table, initially 0, for a table; else the same network.

    >>> action_values_like(Tabular(num_observations=5, num_actions=2)).num_parameters
    10
    """
    if isinstance(policy, Tabular):
        return dataclasses.replace(policy, every_logit=True, initial_scale=0.0)
    return policy


class QTargets(NamedTuple):
    """Settings of the targets of action values.

    >>> QTargets(bootstrap="max", td_lambda=0.0)
    QTargets(bootstrap='max', td_lambda=0.0, huber_delta=None)
    """

    bootstrap: BootstrapName = "sarsa"
    """Value of the next state: of the action taken, mean by the policy, or of the best action."""
    td_lambda: float = 0.0
    """Lambda of TD(lambda) returns, from 0 (one reward, then the value) to 1 (sampled returns)."""
    huber_delta: float | None = None
    """Errors beyond it, in the units of the network's outputs, count linearly; None: all are squared."""


@dataclass(frozen=True)
class OpponentQPlay(SampledPlay):
    """Policy gradients through the other agents' policies, estimated as a softmax of their action values.

    The term of agent i is minus the mean over episodes of

        sum_t discount^t A^i_t (log pi_i(a_t) + coef sum_{j != i} log p_j(b_t)),

    p_j = softmax(Q_j / temperature), with Q_j(b_t) estimated from the episode and differentiated with respect
    to pi_i (`returns`), and A^i_t generalized advantages for V_i = sum_a pi_i(a) Q_i(a).

    Action values are a network's outputs times the game's `effective_horizon`, so that outputs are in the
    units of a step's reward.

    Raises:
        ValueError: a number is out of range.

    Source:
        Aghajohari et al., LOQA, arXiv 2405.01035.

    >>> import games
    >>> from bilevel.agents import SURROGATES
    >>> from bilevel.sharing import SharedBy
    >>> game, policy = games.make("repeated-chicken", horizon=4), Tabular(num_observations=5, num_actions=2)
    >>> play = OpponentQPlay(game, policy, SURROGATES["reinforce"], 8, q_function=action_values_like(policy))
    >>> theta, q = torch.zeros(1, 2, 5), torch.zeros(1, 2, 10)
    >>> data = play.sample(theta, SharedBy(torch.eye(2)[None]), torch.Generator().manual_seed(0))
    >>> play.shaping_losses(theta, q, data, None).shape
    torch.Size([1, 2])
    >>> play.q_losses(q, play.q_goals(q, theta, data), data).shape
    torch.Size([1, 2])
    """

    q_function: Policy = field(kw_only=True)
    """Action values of observations so far; its outputs are one for each action."""
    returns: OpponentReturns = field(default_factory=DiceReturns, kw_only=True)
    """Estimate of the other agents' action values."""
    coef: float = field(default=1.0, kw_only=True)
    """Coefficient of the other agents' estimated policies, 0 or more."""
    temperature: float = field(default=1.0, kw_only=True)
    """Temperature of these, above 0, in reward units."""
    estimate: EstimateName = field(default="return", kw_only=True)
    """Value of Q_j(b_t): the estimate (return), or the critic's, with the derivative of the estimate."""
    gae_lambda: float = field(default=0.0, kw_only=True)
    """Lambda of the agents' own advantages, from 0 to 1."""
    shaping_lambda: float = field(default=0.0, kw_only=True)
    """Lambda of those that multiply the other agents' estimated policies. Above 0 they include rewards that
    follow the agent's later actions, and the product is not the source's on average."""
    center: bool = field(default=False, kw_only=True)
    """Subtract from own advantages their mean over episodes at the same step."""
    normalize: bool = field(default=False, kw_only=True)
    """Normalize own advantages, for each agent and seed."""
    q_discount: float | None = field(default=None, kw_only=True)
    """Discount of action values and advantages, from 0 to 1; None: the game's."""
    q_targets: QTargets = field(default=QTargets(), kw_only=True)
    """Targets of the action values."""

    def __post_init__(self) -> None:
        for name, within in (
            ("coef", Range(min=0)),
            ("temperature", Range(above=0)),
            ("gae_lambda", Range(min=0, max=1)),
            ("shaping_lambda", Range(min=0, max=1)),
        ):
            within.require(name, getattr(self, name))
        if self.q_discount is not None:
            Range(min=0, max=1).require("q_discount", self.q_discount)
        Range(min=0, max=1).require("td_lambda", self.q_targets.td_lambda)
        require_name(self.q_targets.bootstrap, ("sarsa", "expected", "max"), "bootstrap of action values")
        require_name(self.estimate, ("return", "critic"), "estimate of action values")

    @property
    def discount(self) -> float:
        """Discount of action values and advantages, per step."""
        return self.game.discount if self.q_discount is None else self.q_discount

    def action_values(self, q: Tensor, data: Trajectory) -> Tensor:
        """Compute every agent's action values, [..., agent, time, episode, action], in reward units."""
        return self.q_function.unroll(q, data.observations) * self.game.effective_horizon

    def shaping_losses(self, own: Tensor, q: Tensor, data: Trajectory, entropy_coef: Tensor | None) -> Tensor:
        """Losses of all agents on their joint episodes, [..., agent], in reward units.

        Args:
            own: policies, [..., agent, parameter]; agent i's loss is differentiated with respect to own[i].
            q: parameters of the action values, [..., agent, parameter].
            data: from `sample`, with these policies.
            entropy_coef: scalar, reward units per nat; None: no bonus.
        """
        logits = self._logits(own, data)
        log = self._chosen(logits, data)
        with torch.no_grad():
            action_values = self.action_values(q, data)
            values = _state_values(logits, action_values) * data.acting
            rewards = self._bootstrapped(data, own, q)
            advantages = self._advantages(data, rewards, values, self.gae_lambda)
            factors = self._advantages(data, rewards, values, self.shaping_lambda)
        gains = weighted_advantages(log, advantages, self.game.discount)
        if self.coef > 0:
            gains = gains + self.coef * self._shaping(log, action_values, rewards, values, factors, data)
        if entropy_coef is not None:
            gains = gains + entropy_coef * self._entropy(logits, data)
        return -gains

    def q_losses(self, q: Tensor, goals: Tensor, data: Trajectory) -> Tensor:
        """Mean loss of each agent's action values, [..., agent]; half the squared error, or Huber's.

        Args:
            q: parameters to differentiate, [..., agent, parameter].
            goals: targets, from `q_goals`.
            data: from `sample`.
        """
        errors = (_taken(self.action_values(q, data), data) - goals) / self.game.effective_horizon
        delta = self.q_targets.huber_delta
        losses = errors.square() / 2
        if delta is not None:
            losses = functional.huber_loss(errors, torch.zeros_like(errors), reduction="none", delta=delta)
        mask = data.acting.expand_as(errors)
        mean: Tensor = (losses * mask).sum((-2, -1)) / mask.sum((-2, -1)).clamp(min=1)
        return mean

    @torch.no_grad()
    def q_goals(self, q: Tensor, policies: Tensor, data: Trajectory) -> Tensor:
        """Targets of the actions taken: TD(lambda) returns, [..., agent, time, episode], in reward units.

        Args:
            q: parameters of the target networks, [..., agent, parameter].
            policies: that the episodes were drawn from.
            data: from `sample`.
        """
        action_values = self.action_values(q, data)
        if self.q_targets.bootstrap == "sarsa":
            following = _taken(action_values, data)
        elif self.q_targets.bootstrap == "max":
            following = allowed(action_values, data.legal).amax(-1)
        else:
            following = _state_values(self._logits(policies, data), action_values)
        values = following * data.acting
        rewards = self._bootstrapped(data, policies, q)
        return values + generalized_advantages(rewards, values, self.discount, self.q_targets.td_lambda)

    def _bootstrapped(self, data: Trajectory, policies: Tensor, q: Tensor) -> Tensor:
        """Rewards; the last one of a truncated episode includes the value of the following observation."""
        if data.cut is None or data.following is None:
            return data.rewards
        observed = torch.cat((data.observations[:, :, :1], data.following), 2)  # one step more
        later = self.q_function.unroll(q, observed) * self.game.effective_horizon
        following = _state_values(self.policy.unroll(policies, observed), later)[:, :, 1:]
        return data.rewards + self.discount * following * data.cut * data.acting

    def _advantages(self, data: Trajectory, rewards: Tensor, values: Tensor, gae_lambda: float) -> Tensor:
        """Generalized advantages of own rewards."""
        advantages = generalized_advantages(rewards, values, self.discount, gae_lambda)
        advantages = centered_by_step(advantages, data.acting) if self.center else advantages
        return normalized(advantages, data.acting) if self.normalize else advantages

    def _shaping(
        self,
        log: Tensor,
        action_values: Tensor,
        rewards: Tensor,
        values: Tensor,
        advantages: Tensor,
        data: Trajectory,
    ) -> Tensor:
        """Mean over episodes of sum_t discount^t A^i_t sum_{j != i} log p_j(b_t): [..., agent]."""
        estimates = self.returns(log, rewards, values, data.acting, self.discount)
        if self.estimate == "critic":
            estimates = estimates - estimates.detach() + _taken(action_values, data).unsqueeze(-4)
        estimated = estimated_log_policy(action_values, data.actions, estimates, self.temperature, data.legal)
        agents = log.shape[-3]
        others = 1 - torch.eye(agents, dtype=log.dtype, device=log.device)[..., None, None]
        acting = data.acting.expand_as(log).unsqueeze(-4)
        of_others = torch.where(acting * others > 0, estimated, estimated.new_zeros(())).sum(-3)
        return weighted_advantages(of_others, advantages * data.acting, self.game.discount)


def _state_values(logits: Tensor, action_values: Tensor) -> Tensor:
    """Mean action value by a policy: [..., action] -> [...]."""
    mean: Tensor = (logits.softmax(-1) * action_values).sum(-1)
    return mean


def _taken(action_values: Tensor, data: Trajectory) -> Tensor:
    """Values of the actions taken: [..., agent, time, episode, action] -> [..., agent, time, episode]."""
    return action_values.gather(-1, data.actions.unsqueeze(-1)).squeeze(-1)
