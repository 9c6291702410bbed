"""Actor-critic with leaky V-trace, whose hyper-parameters may be learned, and networks with several heads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bilevel.agents._critic_play import CriticPlay
from bilevel.agents._distributions import allowed
from bilevel.agents._loss_terms import LossTerms, value_losses
from bilevel.agents._policy import Policy
from bilevel.agents._policy_forms import Gaussian, Numbered, PolicyWithCritic, Tabular
from bilevel.agents._surrogates import discounts
from bilevel.agents._v_trace import leaky_v_trace
from bilevel.core import Range
from bilevel.sharing import Trajectory, Transfer
from games.core import require


@dataclass(frozen=True)
class PolicyWithHeads(PolicyWithCritic):
    """A network with several heads, each a policy and a value; it acts as the first, the main head.

    The heads share all layers but the last, so that auxiliary heads shape the features of the main one. Theta
    is that of one network with (actions + 1) outputs for each head; its critic has no parameters of its own.

    >>> from bilevel.agents import MLP
    >>> policy = PolicyWithHeads.of(MLP(num_features=4, num_actions=2, hidden=(8,)), heads=3)
    >>> theta = torch.zeros(2, policy.num_parameters)  # two agents
    >>> observed = torch.zeros(2, 5, 10, 4)  # agent, time, episode, feature
    >>> [(logits.shape, values.shape) for logits, values in policy.heads(theta, observed)][2]
    (torch.Size([2, 5, 10, 2]), torch.Size([2, 5, 10]))
    """

    actions: int = 0
    """Number of actions."""

    @classmethod
    def of(cls, policy: Policy, heads: int = 1) -> PolicyWithHeads:
        """Replace a network's outputs by those of several heads.

        Raises:
            ValueError: the policy is a table, or its actions are continuous.
        """
        require(
            not isinstance(policy, Tabular | Gaussian),
            "Heads share the layers of a network of Discrete actions, and this policy is "
            f"{'a table: choose policy mlp.' if isinstance(policy, Tabular) else 'a Gaussian.'}",
        )
        actions = _network(policy).num_actions
        network = _with_outputs(policy, heads * (actions + 1))
        return cls(network, network, actions)

    @property
    def num_parameters(self) -> int:
        return self.policy.num_parameters

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        return self.policy.initial(generator, *batch)

    def split(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters of the policy and of the critic, which are the same."""
        return theta, theta

    def step(self, theta: Tensor, observations: Tensor, hidden_state: Tensor) -> tuple[Tensor, Tensor]:
        outputs, hidden_state = self.policy.step(theta, observations, hidden_state)
        return outputs[..., : self.actions], hidden_state

    def unroll(self, theta: Tensor, observations: Tensor) -> Tensor:
        return self.heads(theta, observations)[0][0]

    def values(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Values of the main head, [..., agent, time, episode]."""
        return self.heads(theta, observations)[0][1]

    def heads(self, theta: Tensor, observations: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Logits [..., agent, time, episode, action] and values [..., agent, time, episode] of each head."""
        outputs = self.policy.unroll(theta, observations).split(self.actions + 1, -1)
        return [(each[..., :-1], each[..., -1]) for each in outputs]


def _network(policy: Policy) -> Any:
    return policy.policy if isinstance(policy, Numbered) else policy


def _with_outputs(policy: Policy, outputs: int) -> Policy:
    if isinstance(policy, Numbered):
        return dataclasses.replace(policy, policy=_with_outputs(policy.policy, outputs))
    replaced: Policy = dataclasses.replace(_network(policy), num_actions=outputs)
    return replaced


class TraceSettings(NamedTuple):
    """Hyper-parameters of V-trace: numbers, or tensors that broadcast to [seed, agent] and may be learned.

    >>> TraceSettings(discount=0.9).leak
    1.0
    """

    discount: Tensor | float
    """Discount per step of values and advantages, from 0 to 1."""
    trace_lambda: Tensor | float = 1.0
    """Lambda of the traces, from 0 to 1."""
    leak: Tensor | float = 1.0
    """Weight of clipped importance ratios against those without clipping, from 0 to 1 (`leaky_v_trace`)."""


@dataclass(frozen=True)
class VTracePlay(CriticPlay):
    """Actor-critic with leaky V-trace: several gradient steps on each sample, with importance ratios.

    The losses are those of `CriticPlay` with V-trace's targets and advantages of the present policies and
    critics, corrected for the policies that drew the episodes. With one step on each sample all ratios are 1.

    * In a step targets and advantages are constants. In the hypergradient they are differentiable in
      hyper-parameters and in the parameters after earlier steps, also through ratios: the policies that drew
      the episodes are recorded numbers. Clipping has a kink at a ratio of 1, where the derivative is that
      without clipping.
    * `traced_terms` has hyper-parameters as arguments, of each head of a policy with several; `terms` uses
      those of this object.

    Raises:
        ValueError: the policy has no critic, or a number is out of range.

    Source:
        Espeholt et al., IMPALA, arXiv 1802.01561; Zahavy et al., A self-tuning actor-critic algorithm (STAC),
        arXiv 2002.12928.

    >>> import games
    >>> from bilevel.agents import PolicyWithCritic, Reinforce, Tabular
    >>> from bilevel.sharing import SharedBy
    >>> policy = PolicyWithCritic.of(Tabular(num_observations=1, num_actions=2))
    >>> play = VTracePlay(games.make("prisoners-dilemma"), policy, Reinforce(), 3, epochs=2)
    >>> theta = torch.tensor([[[-50.0, 0.5]]]).expand(1, 2, 2)  # always defect; values of 0.5
    >>> keep, generator = SharedBy(torch.eye(2)[None]), torch.Generator().manual_seed(0)
    >>> batches = play.batches(theta, keep, play.sample(theta, keep, generator))
    >>> len(batches), play.terms(theta, theta, keep, batches[0]).value  # rewards of -2 against 0.5
    (2, tensor([[3.1250, 3.1250]]))
    """

    discount: float | None = None
    """Discount of values and advantages, from 0 to 1; None: the game's. Steps keep the game's weight
    discount^t."""
    leak: float = 1.0
    """Leak of the clipping, from 0 to 1."""
    epochs: int = 1
    """Gradient steps on each sample, 1 or more; together they are one inner step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        Range(min=0, max=1).require("leak", self.leak)
        if self.discount is not None:
            Range(min=0, max=1).require("discount", self.discount)
        require(
            isinstance(self.epochs, int) and self.epochs >= 1,
            f"epochs is a whole number from 1, not {self.epochs}.",
        )

    @property
    def critic_discount(self) -> float:
        return self.game.discount if self.discount is None else self.discount

    def sample(self, theta: Tensor, transfer: Transfer, generator: torch.Generator) -> Trajectory:
        data = super().sample(theta, transfer, generator)
        with torch.no_grad():
            log_probabilities = self._chosen(self._logits(theta, data), data)
        return data._replace(log_probabilities=log_probabilities)

    def batches(self, theta: Tensor, transfer: Transfer, data: Trajectory) -> Sequence[Any]:
        """The sample, once for each gradient step."""
        return (data,) * self.epochs

    def terms(
        self, own: Tensor, others: Tensor, transfer: Transfer, data: Any, *, regularized: bool = True
    ) -> LossTerms:
        settings = TraceSettings(self.critic_discount, self.gae_lambda, self.leak)
        (terms,) = self.traced_terms(own, others, transfer, data, [settings], regularized=regularized)
        return terms

    def traced_terms(
        self,
        own: Tensor,
        others: Tensor,
        transfer: Transfer,
        data: Trajectory,
        settings: Sequence[TraceSettings],
        *,
        regularized: bool = True,
    ) -> list[LossTerms]:
        """Terms of the losses of the first heads, [seed, agent] each, with these hyper-parameters.

        Args:
            own: policies and critics to differentiate.
            others: policies and critics that targets and advantages are of.
            transfer: turns individual rewards into learners' rewards.
            data: from `sample`.
            settings: hyper-parameters of each head, the main one first.
            regularized: compute the entropies.

        Raises:
            ValueError: the trajectory does not record log-probabilities.
        """
        acting, drawn = data.acting, data.log_probabilities
        require(
            drawn is not None,
            "V-trace needs the log-probabilities of the actions when they were drawn: sample them by "
            "VTracePlay.",
        )
        assert drawn is not None
        rewards = transfer.rewards(data)
        weights = discounts(rewards.shape[-2], self.game.discount, rewards).unsqueeze(-1)
        learned, fixed = self._heads(own, data), self._heads(others, data)
        cut = self._cut_values(others, data)
        terms = []
        for head, of_head in enumerate(settings):
            discount, trace_lambda, leak = (_over_steps(each) for each in of_head)
            (logits, values), (fixed_logits, fixed_values) = learned[head], fixed[head]
            ended = rewards if cut is None else rewards + discount * cut[head]
            ratios = self._chosen(fixed_logits, data) - drawn
            trace = leaky_v_trace(
                ended, fixed_values * acting, ratios, discount, trace_lambda=trace_lambda, leak=leak
            )
            log = self._chosen(logits, data)
            gains = (weights * log * trace.advantages).sum(-2).mean(-1)
            value = value_losses(values, trace.targets, acting)
            terms.append(LossTerms(-gains, value, self._entropy(logits, data) if regularized else None))
        return terms

    def divergence_between(self, theta: Tensor, reference: Tensor, data: Trajectory) -> Tensor:
        """KL(policy || reference) of each agent's policies, mean over steps, [seed, agent], in nats.

        Args:
            theta: the policies, to be differentiated.
            reference: constant policies.
            data: from `sample`; its observations are constants.
        """
        fixed = self._logits(reference, data).detach()
        nats = self.distribution.divergence(self._logits(theta, data), fixed) * data.acting
        mean: Tensor = nats.sum((-2, -1)) / data.acting.sum((-2, -1)).clamp(min=1)
        return mean

    def _heads(self, theta: Tensor, data: Trajectory) -> list[tuple[Tensor, Tensor]]:
        """Logits, with illegal actions masked, and values of each head."""
        if isinstance(self.policy, PolicyWithHeads):
            return [
                (allowed(logits, data.legal), values)
                for logits, values in self.policy.heads(theta, data.observations)
            ]
        return [(self._logits(theta, data), self.policy.values(theta, data.observations))]

    def _cut_values(self, theta: Tensor, data: Trajectory) -> list[Tensor] | None:
        """Values of each head after the steps at which episodes were truncated, else 0; None: none was."""
        if data.cut is None or data.following is None:
            return None
        observed = torch.cat((data.observations[:, :, :1], data.following), 2)  # one step more
        if isinstance(self.policy, PolicyWithHeads):
            after = [values for _, values in self.policy.heads(theta, observed)]
        else:
            after = [self.policy.values(theta, observed)]
        return [values[:, :, 1:] * data.cut * data.acting for values in after]


def _over_steps(value: Tensor | float) -> Tensor | float:
    """[seed, agent] -> [seed, agent, 1, 1]."""
    return value[..., None, None] if isinstance(value, Tensor) else value
