"""Policies, stacked: one flat tensor [seed, agent, parameter] holds everybody's, no loop over either.

>>> policy = MLP(num_features=4, num_actions=3)
>>> theta = initial_parameters(policy, seed=0, seeds=2, agents=5)
>>> policy.logits(theta, torch.zeros(2, 5, 10, 4, dtype=torch.float64)).shape  # seed, agent, sample, action
torch.Size([2, 5, 10, 3])
"""

from __future__ import annotations

from bilevel.agents.policies.actor_critic import ActorCritic, ValueTable, critic_like
from bilevel.agents.policies.convolutional import Convolutional
from bilevel.agents.policies.gaussian import Gaussian
from bilevel.agents.policies.gru import GRU
from bilevel.agents.policies.mlp import MLP
from bilevel.agents.policies.numbered import Numbered
from bilevel.agents.policies.protocol import FeedForward, Policy
from bilevel.agents.policies.starts import initial_parameters
from bilevel.agents.policies.tabular import Tabular

__all__ = [
    "GRU",
    "MLP",
    "ActorCritic",
    "Convolutional",
    "FeedForward",
    "Gaussian",
    "Numbered",
    "Policy",
    "Tabular",
    "ValueTable",
    "critic_like",
    "initial_parameters",
]
