"""`gifting`: agents may give in the same step in which they act, and learn when to."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from gymnasium import spaces
from torch import Tensor

from bilevel.agents.gift_play import ExactGiftPlay
from bilevel.agents.play import ExactPlay, Measured, Play
from bilevel.agents.policies import Policy, Tabular
from bilevel.errors import require
from bilevel.methods.base import Method
from bilevel.methods.contract import Learner, Metrics, Placement
from bilevel.methods.held import policy_learner
from bilevel.methods.learner import PolicyLearner
from bilevel.outer.gifts import ChosenGifts
from bilevel.outer.transfer import Report, Transfer, given_report
from games.base import ExactGame, Game
from games.gift_rules import BUDGETS, GiftRules
from games.gifts_apart import GiftsApartExactGame, GiftsApartGame


@dataclass(frozen=True, kw_only=True)
class Gifting(Method):
    """Gifts as actions: every action a comes twice, as it is and with a gift g to the others.

    Nothing is learned above: agents learn to give as they learn to act, each on r~_j = r_j + sum_i G_i / k_i,
    less G_j where gifts are zero-sum. G_i is g in the steps in which agent i gives, or what is left in its
    purse, and k_i counts its receivers. The game is told of the gifts.

    Needs: the others to notice what they get; no central party, and nobody's policy. Conserves the total with
    zero-sum gifts; fixed and replenishable purses create rewards, which are never counted as welfare:
    welfare, returns and the share of the optimum are the game's own.

    Exact values stay exact in one-shot games and, with zero-sum gifts, in repeated ones. Tables have a logit
    for every action, so that gradient steps single none out.

    Raises:
        ValueError: a setting is out of range, or the purse does not go with the budget; at build, the game
            has one agent or other actions than numbers, or no exact values with these gifts.

    Source:
        Lupu and Precup, Gifting in Multi-Agent Reinforcement Learning, AAMAS 2020: the budgets; Wang et al.,
        Emergent Prosociality in Multi-Agent Games Through Gifting, arXiv 2105.06593: every action with and
        without. What a gift is worth depends on the game's rewards; the defaults are nobody's.

    >>> import games
    >>> learner = Gifting(amount=10.0).build(games.make("stag-hunt-gifting"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["incentive_0_1"].shape
    torch.Size([2])
    """

    amount: float = 1.0
    """What a whole gift is worth, above 0, in reward units; it is divided evenly among its receivers."""
    budget: Literal["zero-sum", "fixed", "replenishable"] = "zero-sum"
    """Who pays for gifts: the giver's reward; a purse for each episode, free to give until it is empty; or
    such a purse that what the game pays, if positive, fills after each step."""
    purse: float | None = None
    """With fixed and replenishable budgets: what is in it at the start of an episode, 0 or more, in reward
    units; None: one whole gift."""
    receivers: Literal["neighbours", "everybody"] = "neighbours"
    """Who gets a gift: the giver's neighbours in the game, or everybody else."""
    observe_purse: bool = False
    """Whether agents see what is left in their purse; for observations that are vectors or planes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rules  # noqa: B018 - refuses bad settings

    @property
    def rules(self) -> GiftRules:
        """The settings of gifts, with the purse filled in."""
        known = BUDGETS.get(self.budget)  # an unknown one is refused by the rules
        whole = self.amount if known is not None and known.limited else 0.0
        purse = whole if self.purse is None else self.purse
        return GiftRules(amount=self.amount, budget=self.budget, purse=purse, receivers=self.receivers)

    def played(self, game: Game) -> GiftsApartGame:
        """The game with gifts among its actions, which pays what it pays without; see `Method.played`."""
        kind = type(game).__name__
        require(
            isinstance(game.action_space, spaces.Discrete),
            f"Gifts come with actions that are numbers, but {kind}'s are {game.action_space}.",
        )
        require(game.num_agents >= 2, f"{kind} has one agent: there is nobody to give to.")
        settings: dict[str, Any] = {"rules": self.rules, "observe_purse": self.observe_purse}
        sampled = GiftsApartGame(game=game, **settings)
        if not (self.exact and isinstance(game, ExactGame)):
            return sampled
        try:
            return GiftsApartExactGame(game=game, **settings)
        except ValueError as error:
            raise ValueError(f"{error} (Switch exact off: --method.no-exact.)") from error

    def policy_for(self, game: Game) -> Policy:
        """As `PolicySettings.policy_for`, tables with a logit for every action."""
        policy = super().policy_for(game)
        return dataclasses.replace(policy, every_logit=True) if isinstance(policy, Tabular) else policy

    def play(self, game: Game) -> Play:
        """How the game with gifts is played; see `Method.play`."""
        play = super().play(game)
        if not isinstance(play, ExactPlay):
            return play
        assert isinstance(play.game, GiftsApartExactGame)
        return ExactGiftPlay(play.game, play.policy)

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        gifts = ChosenGifts(self.played(game))
        if self.learn_loss_weights:  # which needs episodes, of which gifts are reported anyway
            return policy_learner(self, game, placement, gifts)
        return GiftLearner(self, game, placement, gifts)


class GiftLearner(PolicyLearner):
    """Policies that learn to act and to give; what is given is reported whether it is sampled or exact."""

    def _metrics(self, theta: Tensor, transfer: Transfer, measured: Measured, report: Report) -> Metrics:
        metrics = super()._metrics(theta, transfer, measured, report)
        if isinstance(self.play, ExactGiftPlay):
            metrics |= given_report(self.play.gifts(theta).detach())
        return metrics
