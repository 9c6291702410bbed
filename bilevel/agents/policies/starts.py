"""The parameters that policies start with: those of a random seed depend on it alone."""

from __future__ import annotations

from torch import Tensor

from bilevel.agents.policies.protocol import Policy
from bilevel.streams import Purpose, first_draws


def initial_parameters(
    policy: Policy, *, seed: int, seeds: int, agents: int, alike: bool = False, outer_step: int = 0
) -> Tensor:
    """Draw everybody's new parameters; those of repetition i depend on the random seed `seed` + i alone.

    Args:
        policy: whose parameters.
        seed: the random seed of repetition 0.
        seeds: how many independent repetitions.
        agents: how many agents.
        alike: whether the agents of a repetition all start with the same ones.
        outer_step: in which they are new: other numbers in each.

    Returns:
        float64 [seed, agent, parameter], on the CPU.

    >>> from bilevel.agents.policies import Tabular
    >>> policy = Tabular(num_observations=1, num_actions=2)
    >>> few, many = (initial_parameters(policy, seed=s, seeds=n, agents=2) for s, n in ((3, 2), (0, 5)))
    >>> bool((few == many[3:]).all())
    True
    """
    drawn = first_draws(
        lambda generator: policy.initial(generator, 1 if alike else agents),
        range(seed, seed + seeds),
        Purpose.POLICIES,
        outer_step,
    )
    return drawn.expand(-1, agents, -1).contiguous()
