"""The weights that terms of losses have in an outer step: what settings say, times what was learned."""

from __future__ import annotations

from torch import Tensor

from bilevel.agents.loss_terms import TermWeights
from bilevel.methods.contract import Metrics
from bilevel.methods.loss_weight_settings import LossWeightSettings
from bilevel.outer.learned_loss_weights import TERMS, WithLossWeights


def term_weights(
    settings: LossWeightSettings, learned: WithLossWeights, phi: Tensor, bonus: Tensor
) -> TermWeights:
    """The settings' weights, the bonus among them, times the learned factors.

    Args:
        settings: of the inner learner.
        learned: the outer variable that has the factors ...
        phi: ... and its value, [seed, row, entry], in which the result is differentiable.
        bonus: of the entropy in this outer step, scalar, reward units per nat.

    Returns:
        tensors, [seed, agent] each.
    """
    policy, value, entropy = learned.factors(phi).unbind(-1)
    return TermWeights(settings.policy_weight * policy, settings.value_weight * value, bonus * entropy)


def weight_metrics(weights: TermWeights) -> Metrics:
    """Name each agent's weights: <term>_weight_<agent>, [seed].

    >>> import torch
    >>> names = weight_metrics(TermWeights(*torch.ones(3, 1, 2)))
    >>> list(names)[:3], names["value_weight_1"]
    (['policy_weight_0', 'policy_weight_1', 'value_weight_0'], tensor([1.]))
    """
    return {
        f"{term}_weight_{agent}": of_agent.detach()
        for term, of_agents in zip(TERMS, weights, strict=True)
        if isinstance(of_agents, Tensor)
        for agent, of_agent in enumerate(of_agents.unbind(-1))
    }
