"""`gifting`: learned gifts as part of actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from gymnasium import spaces
from torch import Tensor

from bilevel.agents import ExactPlay, Measured, Play
from bilevel.methods._contract import Learner, Metrics, Placement
from bilevel.methods._fixed_sharing import policy_learner
from bilevel.methods._learner import PolicyLearner
from bilevel.methods._method import LossWeightMethod, suggesting_episodes
from bilevel.sharing import Report, Reporting, Trajectory, Transfer, gift_report, per_episode
from games.core import ExactGame, Game, require
from games.wrappers import BUDGETS, GiftExactGame, GiftGame, GiftRules


@dataclass(frozen=True, eq=False)
class ChosenGifts(Transfer):
    """Gifts chosen by actions (A + a is action a with a gift), as an outer variable without parameters.

    It is its own transfer: r~_j = r_j + sum_i G_i split_ij, less G_j where gifts are zero-sum; G_i is a whole
    gift, or what is left in i's purse, in the steps in which i gives.

    Source:
        Lupu and Precup, Gifting in Multi-Agent Reinforcement Learning, AAMAS 2020; Wang et al., arXiv
        2105.06593.
    """

    game: GiftGame
    exact = True

    @property
    def agents(self) -> int:
        return self.game.num_agents

    def initial(self, seed: int, seeds: int) -> Tensor:
        return torch.zeros(seeds, 0, dtype=torch.float64)

    def transfer(self, phi: Tensor) -> ChosenGifts:
        return self

    def given(self, trajectory: Trajectory) -> Tensor:
        """Gift of each agent, [seed, agent, time, episode], in reward units; 0 after the end.

        Shares of receivers that have left are not given. Purses depend on all earlier steps.
        """
        rules, rewards = self.game.rules, trajectory.rewards.movedim(1, -1)  # [seed, time, episode, agent]
        with_gift = trajectory.actions >= self.game.game.num_actions
        wanted = (with_gift & (trajectory.mask > 0)).movedim(1, -1)
        split, fraction = self._split(trajectory)
        purse = torch.full_like(rewards[:, 0], rules.purse)
        if not rules.source.limited:
            return (fraction * rules.given(wanted, purse, split)).movedim(-1, 1)
        steps = []
        for time, (now, earned) in enumerate(zip(wanted.unbind(1), rewards.unbind(1), strict=True)):
            split_now, fraction_now = (
                (split, fraction) if isinstance(fraction, float) else (split[:, time], fraction[:, time])
            )
            steps.append(fraction_now * rules.given(now, purse, split_now))
            purse = rules.left(purse, steps[-1], earned)
        return torch.stack(steps, 1).movedim(-1, 1)

    def rewards(self, trajectory: Trajectory) -> Tensor:
        own, given = trajectory.rewards.movedim(1, -1), self.given(trajectory).movedim(1, -1)
        return self.game.rules.paid(own, given, self._split(trajectory)[0]).movedim(-1, 1)

    def gifts(self, trajectory: Trajectory) -> Tensor:
        given = self.given(trajectory).movedim(1, -1).unsqueeze(-1)
        return (given * self._split(trajectory)[0]).permute(0, 3, 4, 1, 2)

    def report(self, trajectory: Trajectory | None) -> Report:
        if trajectory is None:
            return {}
        if trajectory.present is not None:
            return gift_report(per_episode(self.gifts(trajectory), trajectory))
        given = per_episode(self.given(trajectory), trajectory)  # avoids an entry for each pair and step
        return gift_report(given.unsqueeze(-1) * self._split(trajectory)[0])

    @property
    def reporting(self) -> Reporting | None:
        """None with purses, because their balance depends on all steps of an episode."""
        return None if self.game.rules.source.limited else Reporting("episodes")

    def _split(self, trajectory: Trajectory) -> tuple[Tensor, Tensor | float]:
        rules, own, present = self.game.rules, trajectory.rewards, trajectory.present
        everybody = rules.split(self.game.game, own.dtype, own.device)
        return rules.split_now(everybody, None if present is None else present.movedim(1, -1))


@dataclass(frozen=True)
class ExactGiftPlay(ExactPlay):
    """Exact values of a game with gifts: learning includes gifts, evaluation does not."""

    game: GiftExactGame

    def learner_values(self, policies: Tensor, transfer: Transfer) -> Tensor:
        return self.game.paid_values(policies).diagonal(dim1=-2, dim2=-1)

    def gifts(self, theta: Tensor) -> Tensor:
        return self.game.gifts(self.policy.probabilities(theta))


@dataclass(frozen=True, kw_only=True)
class Gifting(LossWeightMethod):
    """Gifting as part of actions: every action is available without and with a gift g to other agents.

    There is no outer loop: agents learn to give as they learn to act, each on r~_j = r_j + sum_i G_i / k_i,
    less G_j where gifts are zero-sum. G_i is g in the steps in which agent i gives, or what is left in its
    purse, and k_i counts its receivers. Gifts are passed to the game (`Game.give`).

    Needs: agents that receive gifts; no central party, and no other agent's policy. Conserves the total with
    zero-sum gifts; fixed and replenishable purses create rewards, which do not count as welfare: welfare,
    returns and normalized score are those of the game's own rewards.

    Exact values stay exact in one-shot games and, with zero-sum gifts, in repeated ones. Tabular policies
    have a logit for every action, so gradient steps treat all actions alike.

    Raises:
        ValueError: a setting is out of range, or the purse does not match the budget; at build, the game
            has one agent, actions that are not Discrete, or no exact values with these gifts.

    Source:
        Lupu and Precup, Gifting in Multi-Agent Reinforcement Learning, AAMAS 2020: the budgets; Wang et al.,
        Emergent Prosociality in Multi-Agent Games Through Gifting, arXiv 2105.06593: every action with and
        without. A suitable amount depends on the game's rewards; the defaults were chosen here.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = Gifting(amount=10.0).build(games.make("stag-hunt-gifting"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["incentive_0_1"].shape
    torch.Size([2])
    """

    amount: float = 1.0
    """A whole gift, above 0, in reward units; it is divided evenly among its receivers."""
    budget: Literal["zero-sum", "fixed", "replenishable"] = "zero-sum"
    """The source of gifts: the giver's reward; a purse for each episode; or a purse that the game's positive
    rewards replenish after each step."""
    purse: float | None = None
    """With fixed and replenishable budgets: the purse at the start of an episode, 0 or more, in reward units;
    None: one whole gift."""
    receivers: Literal["neighbors", "everybody"] = "neighbors"
    """The receivers of a gift: the giver's neighbors in the game, or everybody else."""
    observe_purse: bool = False
    """Append the balance of the purse to observations, which must be vectors or planes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rules  # noqa: B018 - refuses bad settings

    @property
    def rules(self) -> GiftRules:
        """Rules of the gifts, with the default purse filled in."""
        known = BUDGETS.get(self.budget)  # GiftRules refuses an unknown one
        whole = self.amount if known is not None and known.limited else 0.0
        purse = whole if self.purse is None else self.purse
        return GiftRules(amount=self.amount, budget=self.budget, purse=purse, receivers=self.receivers)

    def training_game(self, game: Game) -> GiftGame:
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
        with suggesting_episodes():
            return GiftExactGame(game=game, **settings)

    def play(self, game: Game) -> Play:
        play = super().play(game)
        if not isinstance(play, ExactPlay):
            return play
        assert isinstance(play.game, GiftExactGame)
        return ExactGiftPlay(play.game, play.policy)

    def build(self, game: Game, placement: Placement) -> Learner:
        gifts = ChosenGifts(self.training_game(game))
        if self.loss_weights is not None:  # these need episodes, whose gifts are reported anyway
            return policy_learner(self, game, placement, gifts)
        return GiftLearner(self, game, placement, gifts)


class GiftLearner(PolicyLearner):
    """Learner of policies with gifts, which also reports exact values of gifts."""

    def _metrics(self, theta: Tensor, transfer: Transfer, measured: Measured, report: Report) -> Metrics:
        metrics = super()._metrics(theta, transfer, measured, report)
        if isinstance(self.play, ExactGiftPlay):
            metrics |= gift_report(self.play.gifts(theta).detach())
        return metrics
