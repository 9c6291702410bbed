"""Sharing by empathy: each agent's critic and perspective say whom it gives to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.outer.empathy import gift_weights, relationships
from bilevel.outer.joint_critic import JointCritic
from bilevel.outer.perspective import Perspective
from bilevel.outer.sharing import check_neighbours
from bilevel.outer.transfer import Happened
from bilevel.outer.varying_shares import VaryingShares
from bilevel.streams import Purpose, first_draws

MOST_NUMBERS = 2**26
"""So many numbers of imagined views are held at once, about."""


@dataclass(frozen=True, eq=False)
class Empathy:
    """What agents know of each other: a critic, a perspective, and the policy that they judge others by.

    Its value lies in one tensor, [seed, agent, parameter]: the critic's, the perspective's, the policy's.

    Raises:
        ValueError: the graph is none.

    Source:
        LASE, arXiv 2410.07863.
    """

    neighbours: Tensor
    """Who may give to whom: boolean [giver, receiver], True on the diagonal."""
    critic: JointCritic
    """What each agent expects of joint actions."""
    perspective: Perspective
    """How each guesses what the others would do."""
    policy_parameters: int
    """Of one agent's policy."""

    def __post_init__(self) -> None:
        check_neighbours(self.neighbours)

    @property
    def agents(self) -> int:
        """As many as the graph has."""
        return len(self.neighbours)

    @property
    def exact(self) -> bool:
        """It does not: it depends on what is seen and done."""
        return False

    def initial(self, seed: int, seeds: int) -> Tensor:
        """First critics and perspectives, float64 [seed, agent, parameter]; policies are left at 0."""

        def draw(generator: torch.Generator) -> Tensor:
            critics = self.critic.initial(generator, self.agents)
            return torch.cat((critics, self.perspective.initial(generator, self.agents)), -1)

        known = first_draws(draw, range(seed, seed + seeds), Purpose.OUTER_VARIABLES)
        return torch.nn.functional.pad(known, (0, self.policy_parameters))

    def parts(self, phi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The critics', the perspectives' and the policies' parameters, each [seed, agent, parameter]."""
        sizes = self.critic.num_parameters, self.perspective.num_parameters, self.policy_parameters
        critics, perspectives, minds = phi.split(sizes, -1)
        return critics, perspectives, minds

    def transfer(self, phi: Tensor) -> Empathetic:
        """Sharing by what agents now know."""
        return Empathetic(self, phi)


@dataclass(frozen=True, eq=False)
class Empathetic(VaryingShares):
    """Sharing by the rule of empathy: r~_j = sum_i g_ij r_i, g by what i makes of what j just did."""

    variable: Empathy
    phi: Tensor
    """[seed, agent, parameter]; see `Empathy`."""

    def relationships(self, happened: Happened) -> Tensor:
        """What everybody makes of everybody's last action: w, [seed, time, episode, agent, other]."""
        critics, perspectives, minds = self.variable.parts(self.phi)
        legal = None if happened.legal is None else happened.legal.permute(0, 2, 3, 1, 4)
        return relationships(
            self.variable.critic.had_others_done(critics, happened),
            self.variable.perspective.policies(perspectives, minds, happened),
            happened.actions.permute(0, 2, 3, 1),
            legal,
        )

    @torch.no_grad()
    def stated(self, happened: Happened) -> Tensor:
        """See `VaryingShares.stated`; no derivative is taken through them.

        Many episodes are judged part by part: each agent imagines what every other one sees.
        """
        episodes = happened.actions.shape[-1]
        views = happened.observations.numel() // episodes * self.variable.agents
        size = max(1, MOST_NUMBERS // views)
        parts = (slice(start, start + size) for start in range(0, episodes, size))
        return torch.cat([self._shares(happened.some(part)) for part in parts], -1)

    def _shares(self, happened: Happened) -> Tensor:
        graph = self.variable.neighbours
        if happened.neighbours is not None:
            graph = happened.neighbours.permute(0, 3, 4, 1, 2)
        weights = gift_weights(self.relationships(happened), graph)
        return weights.permute(0, 3, 4, 1, 2)
