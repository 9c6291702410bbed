"""Models of the other agents' policies, fitted to what they were seen to do."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.agents.distributions import allowed
from bilevel.agents.policies import Policy
from bilevel.agents.rollout import Episodes
from bilevel.agents.surrogates import chosen
from bilevel.errors import require
from bilevel.optimisers import GradientTransformation
from bilevel.outer.giving import per_step
from bilevel.step import gradient_at
from bilevel.streams import Purpose, first_draws
from bilevel.tree import Tree


@dataclass(frozen=True, eq=False)
class OpponentModels:
    """Each observer has a model of each other agent: a policy of the same form, by maximum likelihood.

    Models see what the modelled agent sees, and what it did: the observers observe everything.

    Raises:
        ValueError: a fit takes less than a step.

    Source:
        Yang et al., Learning to Incentivize Other Learning Agents (LIO), arXiv 2006.06051: its decentralised
        form; the form of the fit (cross-entropy, the others' own observations) is that of the released code.

    >>> from bilevel.agents.policies import Tabular
    >>> from bilevel.optimisers import adam
    >>> models = OpponentModels(Tabular(num_observations=5, num_actions=2), adam(0.1), steps=10)
    >>> models.initial(seed=0, seeds=3, agents=2).shape  # seed, observer, modelled agent, parameter
    torch.Size([3, 2, 2, 5])
    """

    policy: Policy
    """Of the modelled agents."""
    optimiser: GradientTransformation
    """How models descend their cross-entropy; entry by entry, so that no model sees another's."""
    steps: int
    """Of descent in a fit, 1 or more."""

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"A fit of models takes 1 step or more, not {self.steps}.")

    def initial(self, seed: int, seeds: int, agents: int) -> Tensor:
        """The first models, float64 [seed, observer, modelled agent, parameter], on the CPU.

        Those of repetition i depend on the random seed `seed` + i alone; the entry of an observer's model of
        itself is never used.
        """
        return first_draws(
            lambda generator: self.policy.initial(generator, agents, agents),
            range(seed, seed + seeds),
            Purpose.MODELS,
        )

    def cross_entropy(self, models: Tensor, episodes: Episodes) -> Tensor:
        """How badly models foretell what agents did: nats per step, [seed, observer, modelled agent].

        Args:
            models: [seed, observer, modelled agent, parameter].
            episodes: what was seen.
        """

        def for_all(values: Tensor) -> Tensor:
            return values.unsqueeze(1).expand(-1, models.shape[1], *values.shape[1:])

        legal = None if episodes.legal is None else for_all(episodes.legal)
        logits = allowed(self.policy.unroll(models, for_all(episodes.observations)), legal)
        found = chosen(logits, for_all(episodes.actions))
        if episodes.present is None:
            return -per_step(found, episodes)
        weight = episodes.acting.unsqueeze(1)
        return -(found * weight).sum((-2, -1)) / weight.sum((-2, -1))

    @torch.no_grad()
    def fit(self, models: Tensor, opt_state: Tree, episodes: Episodes) -> tuple[Tensor, Tree, Tensor]:
        """Descend the cross-entropy of the others' actions.

        Args:
            models: [seed, observer, modelled agent, parameter].
            opt_state: their optimiser's.
            episodes: what was seen.

        Returns:
            models; their optimiser's state; their mean cross-entropy on these episodes, after the fit, in
            nats per step, [seed].
        """
        others = ~torch.eye(models.shape[1], dtype=torch.bool, device=models.device)

        def loss(models: Tensor) -> Tensor:
            return self.cross_entropy(models, episodes)[:, others]

        for _ in range(self.steps):
            gradient = gradient_at(models, lambda models: loss(models).sum())
            updates, opt_state = self.optimiser.update(gradient, opt_state, params=models, inplace=False)
            models = models + updates
        return models, opt_state, loss(models).mean(-1)


def profiles(theta: Tensor, models: Tensor) -> Tensor:
    """What each observer takes everybody's policies to be: its own as it is, the others' as modelled.

    Args:
        theta: the policies, [seed, agent, parameter].
        models: [seed, observer, modelled agent, parameter].

    Returns:
        [seed, observer, agent, parameter].

    >>> profiles(torch.ones(1, 2, 1), torch.zeros(1, 2, 2, 1)).squeeze()
    tensor([[1., 0.],
            [0., 1.]])
    """
    own = torch.eye(theta.shape[1], dtype=torch.bool, device=theta.device).unsqueeze(-1)
    return torch.where(own, theta.unsqueeze(1), models)
