"""One-shot games played exactly under a transfer that depends on what everybody does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bilevel.agents.play import ExactPlay, Measured, profiles_of_learners
from bilevel.agents.rollout import Episodes
from bilevel.agents.surrogates import entropy
from bilevel.outer.transfer import Report, Transfer
from games.profiles import payoff_table


def profile_probabilities(policies: Tensor) -> Tensor:
    """How likely each joint action is: [..., agent, action] -> [..., profile].

    Profiles are in order, the last agent's action changing fastest.

    >>> profile_probabilities(torch.tensor([[0.5, 0.5], [0.25, 0.75]]))
    tensor([0.1250, 0.3750, 0.1250, 0.3750])
    """
    first, *others = policies.unbind(-2)
    for policy in others:
        first = (first.unsqueeze(-1) * policy.unsqueeze(-2)).flatten(-2)
    return first


@dataclass(frozen=True)
class OneShotPlay(ExactPlay):
    """Every joint action is laid out, as an episode of one step, and counts by how likely it is.

    So a transfer may depend on what everybody does; that it was made of the policies is not seen by their
    gradients.

    Raises:
        ValueError: the game is not one-shot, or has too many joint actions.

    >>> import games
    >>> from bilevel.agents.policies import Tabular
    >>> from bilevel.outer.transfer import SharedBy
    >>> play = OneShotPlay(games.make("prisoners-dilemma"), Tabular(num_observations=1, num_actions=2))
    >>> theta, keep = torch.zeros(1, 2, 1), SharedBy(torch.eye(2)[None])
    >>> play.losses(theta, theta, keep, play.sample(theta, keep, torch.Generator()), torch.tensor(0.0))
    tensor([[1.5000, 1.5000]])
    """

    def __post_init__(self) -> None:
        payoff_table(self.game)

    @property
    def draws(self) -> bool:
        """Not by chance, but `sample` gives what a transfer looks at."""
        return True

    def sample(self, theta: Tensor, transfer: Transfer, generator: torch.Generator) -> Any:
        """Lay out all joint actions: episodes of one step, `alive` by how likely each is."""
        table = torch.tensor(payoff_table(self.game)).to(theta).flatten(0, -2)
        agents, actions = self.game.num_agents, self.policy.num_actions
        profiles = torch.cartesian_prod(*[torch.arange(actions, device=theta.device)] * agents)
        acted = profiles.reshape(-1, agents).T[None, :, None].expand(len(theta), -1, -1, -1)
        return Episodes(
            observations=torch.zeros_like(acted),
            actions=acted,
            rewards=table.T[None, :, None].expand(len(theta), -1, -1, -1),
            alive=self._likely(theta)[:, None, None],
            cooperated=None,
        )

    def losses(
        self, own: Tensor, others: Tensor, transfer: Transfer, data: Any, entropy_bonus: Tensor | None
    ) -> Tensor:
        """Minus each agent's expected shared reward and its bonus: its policy's entropy."""
        likely = self._likely(profiles_of_learners(own, others))
        shared = (likely * transfer.rewards(data).squeeze(2)).sum(-1)
        if entropy_bonus is None:
            return -shared
        return -(shared + entropy_bonus * entropy(self.policy.table(own)).mean(-1))

    def evaluate(
        self, theta: Tensor, transfer: Transfer, generator: torch.Generator, episodes: int
    ) -> tuple[Measured, Report]:
        """See `ExactPlay.evaluate`; the transfer reports on all joint actions."""
        data = self.sample(theta, transfer, generator)
        return self.measure(theta, data), transfer.report(data)

    def _likely(self, theta: Tensor) -> Tensor:
        return profile_probabilities(self.policy.probabilities(theta).squeeze(-2))
