"""Advantage alignment: advantages that also count what one's actions make the other agents learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bilevel.agents._surrogates import decayed_sums
from bilevel.core import Range
from games.core import require_name

AlignmentRule = Literal["paper", "causal", "released"]


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Advantages aligned with those of the other agents.

    An agent that did well before (its earlier advantages are positive) makes the other agents' present
    actions likelier to be learned where their advantages are positive, and unlikelier where not:

        A*_t = A_t + beta c_t sum_{j != i} A^j_t,

    * paper: c_t = discount sum_{k < t} discount^(t - k) A_k;
    * causal: the paper's, of earlier advantages that are estimated from steps before t alone,
      c_t = discount sum_{k < t} discount^(t - k) (A_k - (discount gae_lambda)^(t - k) A_t);
    * released: c_t = (1 / t) sum_{k < t} A_k, 0 at t = 0: not discounted, and a mean instead of a sum.

    The added term is a product of two advantages: beta has the unit 1 / reward, unless they are normalized.

    Sampled advantages with a gae_lambda above 0 include later steps, so the paper's c_t includes the present
    advantage A_t, with weight discount sum_{k < t} (discount^2 gae_lambda)^(t - k). Its product with A^j_t
    does not depend on the past: of two actions, one of which helps the agent and harms the other, it favors
    the more frequent one, by the factor 1 - 2 q of the rarer one's probability q. The causal c_t leaves it
    out; with the true advantages of actions in place of samples both rules are the same.

    Raises:
        ValueError: the rule is unknown, or the weight is negative.

    Source:
        Duque et al., Advantage Alignment Algorithms, arXiv 2406.14662, and its code
        (jduquevan/advantage-alignment, train.py), which differ. With more than two agents the code's sum over
        the other agents is taken for all. The causal rule is not in the source.

    >>> advantages = torch.tensor([[[1.0], [-1.0], [2.0]], [[0.5], [1.0], [-1.0]]])  # agent, time, episode
    >>> Alignment(rule="paper")(advantages, discount=0.9)[0].flatten()
    tensor([ 1.0000, -0.1900,  2.0810])
    >>> Alignment(rule="released")(advantages, discount=0.9)[0].flatten()
    tensor([1., 0., 2.])
    >>> Alignment(rule="causal")(advantages, discount=0.9, gae_lambda=0.5)[0].flatten()
    tensor([1.0000, 0.1745, 3.1052])
    """

    rule: AlignmentRule = "paper"
    """The weights of earlier advantages."""
    weight: float = 1.0
    """Beta, 0 or more."""

    def __post_init__(self) -> None:
        require_name(self.rule, ("paper", "causal", "released"), "rule of alignment")
        Range(min=0).require("weight", self.weight)

    def __call__(self, advantages: Tensor, discount: float, gae_lambda: float = 1.0) -> Tensor:
        """Align advantages.

        Args:
            advantages: of all agents, [..., agent, time, episode], 0 after an episode's end.
            discount: per step.
            gae_lambda: lambda of the advantages, 1 of sampled returns; used by the causal rule.

        Returns:
            Aligned advantages, of the same shape.
        """
        others = advantages.sum(-3, keepdim=True) - advantages
        if self.rule == "released":
            time = torch.arange(advantages.shape[-2], dtype=advantages.dtype, device=advantages.device)
            earlier = (advantages.cumsum(-2) - advantages) / time.clamp(min=1).unsqueeze(-1)
        else:
            earlier = discount * (decayed_sums(advantages, discount) - advantages)
        if self.rule == "causal":
            ones = torch.ones_like(advantages)
            overlap = decayed_sums(ones, discount**2 * gae_lambda) - ones
            earlier = earlier - discount * overlap * advantages
        return advantages + self.weight * earlier * others
