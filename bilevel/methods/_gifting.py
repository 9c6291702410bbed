"""`gifting`: agents may give in the same step in which they act, and learn when to.

Gifts that agents choose as actions: what is given follows from what is done.

Exact values where agents give by their actions.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import torch
from gymnasium import spaces
from torch import Tensor

from bilevel.agents import ExactPlay, Measured, Play, Policy, Tabular
from bilevel.methods._contract import Learner, Metrics, Placement
from bilevel.methods._fixed_sharing import policy_learner
from bilevel.methods._learner import PolicyLearner
from bilevel.methods._method import LossWeightMethod
from bilevel.sharing import Report, Reporting, TrajectoryLike, Transfer, given_report, per_episode
from games.core import ExactGame, Game, require
from games.wrappers import BUDGETS, GiftExactGame, GiftGame, GiftRules


@dataclass(frozen=True, eq=False)
class ChosenGifts:
    """The gifts of a game in which action A + a is a with a gift, as an outer variable that holds nothing.

    It is its own transfer: r~_j = r_j + sum_i G_i split_ij, less G_j where gifts are zero-sum; G_i is a whole
    gift, or what is left in i's purse, in the steps in which i gives.

    Source:
        Lupu and Precup, Gifting in Multi-Agent Reinforcement Learning, AAMAS 2020; Wang et al., arXiv
        2105.06593.

    >>> import games
    >>> from games.wrappers import GiftRules
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

    def given(self, trajectory: TrajectoryLike) -> Tensor:
        """What each agent gives, [seed, agent, time, episode], in reward units; 0 after the end.

        The part of a gift whose receiver has left is not given. Purses are reckoned from the episodes' first
        steps on, as the game does.
        """
        rules, rewards = self.game.rules, trajectory.rewards.movedim(1, -1)  # [seed, time, episode, agent]
        with_gift = trajectory.actions >= self.game.game.num_actions
        wanted = (with_gift & (trajectory.mask > 0)).movedim(1, -1)
        split, part = self._split(trajectory)
        purse = torch.full_like(rewards[:, 0], rules.purse)
        if not rules.source.limited:
            return (part * rules.given(wanted, purse, split)).movedim(-1, 1)
        steps = []
        for time, (now, earned) in enumerate(zip(wanted.unbind(1), rewards.unbind(1), strict=True)):
            there, whole = (split, part) if isinstance(part, float) else (split[:, time], part[:, time])
            steps.append(whole * rules.given(now, purse, there))
            purse = rules.left(purse, steps[-1], earned)
        return torch.stack(steps, 1).movedim(-1, 1)

    def rewards(self, trajectory: TrajectoryLike) -> Tensor:
        """See `Transfer.rewards`."""
        own, given = trajectory.rewards.movedim(1, -1), self.given(trajectory).movedim(1, -1)
        return self.game.rules.paid(own, given, self._split(trajectory)[0]).movedim(-1, 1)

    def gifts(self, trajectory: TrajectoryLike) -> Tensor:
        """See `Transfer.gifts`."""
        given = self.given(trajectory).movedim(1, -1).unsqueeze(-1)
        return (given * self._split(trajectory)[0]).permute(0, 3, 4, 1, 2)

    def report(self, trajectory: TrajectoryLike | None) -> Report:
        """What agents give in an episode, in reward units; of exact values the learner reports itself."""
        if trajectory is None:
            return {}
        if trajectory.present is not None:
            return given_report(per_episode(self.gifts(trajectory), trajectory))
        given = per_episode(self.given(trajectory), trajectory)  # without an entry for each pair and step
        return given_report(given.unsqueeze(-1) * self._split(trajectory)[0])

    @property
    def reporting(self) -> Reporting | None:
        """Gifts add up over an episode; what is left in a purse follows from all of its steps."""
        return None if self.game.rules.source.limited else Reporting("episodes")

    def _split(self, trajectory: TrajectoryLike) -> tuple[Tensor, Tensor | float]:
        """See `GiftRules.split_now`: [giver, receiver], or [seed, time, episode, giver, receiver]."""
        rules, own, present = self.game.rules, trajectory.rewards, trajectory.present
        everybody = rules.split(self.game.game, own.dtype, own.device)
        return rules.split_now(everybody, None if present is None else present.movedim(1, -1))


@dataclass(frozen=True)
class ExactGiftPlay(ExactPlay):
    """Exact values of a game with gifts: agents learn from what is paid, and are measured without it.

    >>> import games
    >>> from bilevel.agents import Tabular
    >>> from games.wrappers import GiftRules
    >>> game = GiftExactGame(game=games.make("prisoners-dilemma"), rules=GiftRules(amount=2.0))
    >>> play = ExactGiftPlay(game, Tabular(num_observations=1, num_actions=4, every_logit=True))
    >>> play.gifts(play.policy.initial(torch.Generator(), 3, 2)).shape
    torch.Size([3, 2, 2])
    """

    game: GiftExactGame

    def seen(self, policies: Tensor, transfer: Transfer) -> Tensor:
        """See `ExactPlay.seen`: everybody's own payment."""
        return self.game.paid_values(policies).diagonal(dim1=-2, dim2=-1)

    def gifts(self, theta: Tensor) -> Tensor:
        """What is expected to go from whom to whom, [seed, giver, receiver], in the game's units of value."""
        return self.game.gifts(self.policy.probabilities(theta))


@dataclass(frozen=True, kw_only=True)
class Gifting(LossWeightMethod):
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

    def played(self, game: Game) -> GiftGame:
        """The game with gifts among its actions, which pays what it pays without; see `Method.played`."""
        kind = type(game).__name__
        require(
            isinstance(game.action_space, spaces.Discrete),
            f"Gifts come with actions that are numbers, but {kind}'s are {game.action_space}.",
        )
        require(game.num_agents >= 2, f"{kind} has one agent: there is nobody to give to.")
        settings: dict[str, Any] = {"rules": self.rules, "observe_purse": self.observe_purse}
        sampled = GiftGame(game=game, **settings, separate=True)
        if not (self.exact and isinstance(game, ExactGame)):
            return sampled
        try:
            return GiftExactGame(game=game, **settings)
        except ValueError as error:
            raise ValueError(f"{error} (Switch exact off: --inner.no-exact.)") from error

    def build_policy(self, game: Game) -> Policy:
        """As `PolicyMethod.build_policy`, tables with a logit for every action."""
        policy = super().build_policy(game)
        return dataclasses.replace(policy, every_logit=True) if isinstance(policy, Tabular) else policy

    def play(self, game: Game) -> Play:
        """How the game with gifts is played; see `Method.play`."""
        play = super().play(game)
        if not isinstance(play, ExactPlay):
            return play
        assert isinstance(play.game, GiftExactGame)
        return ExactGiftPlay(play.game, play.policy)

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        gifts = ChosenGifts(self.played(game))
        if self.loss_weights is not None:  # which needs episodes, of which gifts are reported anyway
            return policy_learner(self, game, placement, gifts)
        return GiftLearner(self, game, placement, gifts)


class GiftLearner(PolicyLearner):
    """Policies that learn to act and to give; what is given is reported whether it is sampled or exact."""

    def _metrics(self, theta: Tensor, transfer: Transfer, measured: Measured, report: Report) -> Metrics:
        metrics = super()._metrics(theta, transfer, measured, report)
        if isinstance(self.play, ExactGiftPlay):
            metrics |= given_report(self.play.gifts(theta).detach())
        return metrics
