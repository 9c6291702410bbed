"""Gifts that agents choose as actions: what is given follows from what is done."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.outer.giving import per_episode
from bilevel.outer.transfer import Happened, Report, Reporting, given_report
from games._gift_actions import GiftGame


@dataclass(frozen=True, eq=False)
class ChosenGifts:
    """The gifts of a game in which action A + a is a with a gift, as an outer variable that holds nothing.

    It is its own transfer: r~_j = r_j + sum_i G_i split_ij, less G_j where gifts are zero-sum; G_i is a whole
    gift, or what is left in i's purse, in the steps in which i gives.

    Source:
        Lupu and Precup, Gifting in Multi-Agent Reinforcement Learning, AAMAS 2020; Wang et al., arXiv
        2105.06593.

    >>> import games
    >>> from games.gift_rules import GiftRules
    >>> ChosenGifts(GiftGame(game=games.make("escape-room"), rules=GiftRules(amount=2.0))).agents
    2
    """

    game: GiftGame
    """What is played, with gifts."""

    @property
    def agents(self) -> int:
        """As many as play."""
        return self.game.num_agents

    @property
    def exact(self) -> bool:
        """Games with gifts that have exact values have those of their gifts, too."""
        return True

    @property
    def matrix(self) -> None:
        """Gifts are no shares of a reward."""

    def initial(self, seed: int, seeds: int) -> Tensor:
        """Nothing: float64 [seed, 0]."""
        return torch.zeros(seeds, 0, dtype=torch.float64)

    def transfer(self, phi: Tensor) -> ChosenGifts:
        """Itself."""
        return self

    def given(self, happened: Happened) -> Tensor:
        """What each agent gives, [seed, agent, time, episode], in reward units; 0 after the end.

        The part of a gift whose receiver has left is not given. Purses are reckoned from the episodes' first
        steps on, as the game does.
        """
        rules, rewards = self.game.rules, happened.rewards.movedim(1, -1)  # [seed, time, episode, agent]
        with_gift = happened.actions >= self.game.game.num_actions
        wanted = (with_gift & (happened.alive > 0)).movedim(1, -1)
        split, part = self._split(happened)
        purse = torch.full_like(rewards[:, 0], rules.purse)
        if not rules.source.limited:
            return (part * rules.given(wanted, purse, split)).movedim(-1, 1)
        steps = []
        for time, (now, earned) in enumerate(zip(wanted.unbind(1), rewards.unbind(1), strict=True)):
            there, whole = (split, part) if isinstance(part, float) else (split[:, time], part[:, time])
            steps.append(whole * rules.given(now, purse, there))
            purse = rules.left(purse, steps[-1], earned)
        return torch.stack(steps, 1).movedim(-1, 1)

    def rewards(self, happened: Happened) -> Tensor:
        """See `Transfer.rewards`."""
        own, given = happened.rewards.movedim(1, -1), self.given(happened).movedim(1, -1)
        return self.game.rules.paid(own, given, self._split(happened)[0]).movedim(-1, 1)

    def gifts(self, happened: Happened) -> Tensor:
        """See `Transfer.gifts`."""
        given = self.given(happened).movedim(1, -1).unsqueeze(-1)
        return (given * self._split(happened)[0]).permute(0, 3, 4, 1, 2)

    def report(self, happened: Happened | None) -> Report:
        """What agents give in an episode, in reward units; of exact values the learner reports itself."""
        if happened is None:
            return {}
        if happened.present is not None:
            return given_report(per_episode(self.gifts(happened), happened))
        given = per_episode(self.given(happened), happened)  # without an entry for each pair and step
        return given_report(given.unsqueeze(-1) * self._split(happened)[0])

    @property
    def reporting(self) -> Reporting | None:
        """Gifts add up over an episode; what is left in a purse follows from all of its steps."""
        return None if self.game.rules.source.limited else Reporting("episodes")

    def _split(self, happened: Happened) -> tuple[Tensor, Tensor | float]:
        """See `GiftRules.split_now`: [giver, receiver], or [seed, time, episode, giver, receiver]."""
        rules, own, present = self.game.rules, happened.rewards, happened.present
        everybody = rules.split(self.game.game, own.dtype, own.device)
        return rules.split_now(everybody, None if present is None else present.movedim(1, -1))
