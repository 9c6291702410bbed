"""Gifting: its exact steps by hand, welfare without gifts, the published effect, and what is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

import games
from bilevel.agents import SURROGATES, SampledPlay, Tabular
from bilevel.experiments._comparison import applicable_methods
from bilevel.methods import Gifting, Method, Placement, PolicyLearner, Selfish
from bilevel.methods._gifting import ChosenGifts, ExactGiftPlay
from games.core import Game
from games.matrix import EscapeRoom, MatrixGame, RepeatedGame, payoff_array
from games.wrappers import gift_actions
from games.wrappers._gifts import without_gifts
from tests.bilevel.methods.configured import configured

STAG_HUNT = games.make("stag-hunt-gifting")
BUDGETS = ("zero-sum", "fixed", "replenishable")
HUNT, FORAGE, HUNT_AND_GIVE, FORAGE_AND_GIVE = range(4)


def build(method: Method, game: Game, seeds: int = 3) -> PolicyLearner:
    learner = method.build(game, Placement(seeds=seeds))
    assert isinstance(learner, PolicyLearner)
    return learner


def after(learner: PolicyLearner, theta: Tensor, updates: int = 1) -> Tensor:
    state = learner.init(0)
    state["theta"] = theta
    for _ in range(updates):
        state, _ = learner.update(state)
    return state["theta"]


@pytest.mark.parametrize("amount", [0.5, 10.0])
def test_an_exact_step_is_softmax_policy_gradient_on_the_paid_table(amount: float) -> None:
    """logit_a += rate pi_a (Q_a - V), of the table in which gifts are paid, for every action alike."""
    game = gift_actions(STAG_HUNT, amount)
    assert isinstance(game, MatrixGame)
    table = payoff_array(game)
    learner = build(Gifting(amount=amount).with_settings({"inner.learning_rate": 0.7}), STAG_HUNT)
    theta = learner.init(0)["theta"]
    found = after(learner, theta).numpy()
    policies = theta.softmax(-1).numpy()
    for seed, agent in np.ndindex(3, 2):
        own = np.moveaxis(table[..., agent], agent, 0) @ policies[seed, 1 - agent]
        policy = policies[seed, agent]
        expected = theta.numpy()[seed, agent] + 0.7 * policy * (own - policy @ own)
        np.testing.assert_allclose(found[seed, agent], expected, rtol=0, atol=1e-12)


def share_of_stag_hunters(method: Method, starts: Tensor) -> float:
    """How many starts of a hundred steps of size 1 end where both hunt."""
    learner = build(method, STAG_HUNT, seeds=len(starts))
    theta = after(learner, starts)
    cooperation = learner.play.measure(theta, ()).cooperation
    assert cooperation is not None
    undecided = ((cooperation > 0.05) & (cooperation < 0.95)).any(-1)
    assert undecided.double().mean() < 0.002
    return float((cooperation > 0.5).all(-1).double().mean())


@pytest.mark.slow
@pytest.mark.parametrize(("amount", "share"), [(None, 0.224), (2.0, 0.239), (10.0, 0.312)])
def test_gifts_widen_the_basin_of_the_stag(amount: float | None, share: float) -> None:
    """Payoffs (2, -2, 1, 1) of arXiv 2105.06593; the shares are known to +-.003 (100 000 random starts).

    The logit of foraging without a gift starts at 0, the others in [-3, 3]: here at the first 8192 points of
    a Sobol sequence, whose error is about .001, as four times as many say.
    """
    free = 1 if amount is None else 3
    points = torch.quasirandom.SobolEngine(2 * free).draw(8192, dtype=torch.float64)
    drawn = (6 * points - 3).unflatten(-1, (2, free))
    if amount is None:  # the parameter is hunt's log-odds
        assert share_of_stag_hunters(Selfish().with_settings({"inner.steps": 100}), drawn) == pytest.approx(
            share, abs=0.004
        )
        return
    starts = drawn.new_zeros(len(drawn), 2, 4)
    starts[..., [HUNT, HUNT_AND_GIVE, FORAGE_AND_GIVE]] = drawn
    method = Gifting(amount=amount).with_settings({"inner.steps": 100})
    assert share_of_stag_hunters(method, starts) == pytest.approx(share, abs=0.004)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("exact", [True, False])
def test_welfare_counts_no_gifts(budget: Any, exact: bool) -> None:
    """Everybody always defects and gives ten: -2 each, whatever is received."""
    dilemma = games.make("prisoners-dilemma")
    learner = build(Gifting(amount=10.0, budget=budget).with_settings({"inner.exact": exact}), dilemma)
    state = learner.init(0)
    state["theta"] = torch.tensor([-50.0, -50, -50, 50]).double().expand(3, 2, 4).clone()
    metrics = learner.evaluate(state, episodes=8)
    for name, value in (
        ("welfare", -4),
        ("return_0", -2),
        ("cooperation", 0),
        ("given", 10),
        ("incentive_0_1", 10),
        ("incentive_1_0", 10),
    ):
        expected = torch.full((3,), float(value), dtype=torch.float64)
        torch.testing.assert_close(metrics[name], expected, rtol=0, atol=1e-12, msg=name)
    assert "given_away" not in metrics
    assert learner.game is dilemma


@pytest.mark.parametrize("budget", BUDGETS)
def test_sampled_gifts_are_exact_ones_in_expectation(budget: Any) -> None:
    """Value, gifts and gradient of 200 000 episodes, within 5 standard errors or so."""
    game = games.make("chicken")
    settings: dict[str, Any] = {"amount": 2.0, "budget": budget, "purse": None}
    exact = build(configured(Gifting, **settings), game, seeds=1)
    sampled = build(
        configured(Gifting, **{"inner.exact": False, "inner.episodes": 200_000, **settings}), game, seeds=1
    )
    state = exact.init(3)
    theta, bonus, nothing = state["theta"], torch.zeros(()), state["phi"]
    one, other = (
        learner.evaluate({**state, "phi": nothing}, episodes=200_000) for learner in (exact, sampled)
    )
    assert list(one) == list(other)
    for name in one:
        torch.testing.assert_close(other[name], one[name], rtol=0, atol=0.04, msg=name)
    generator = torch.Generator().manual_seed(2)

    def gradient(learner: PolicyLearner) -> Tensor:
        transfer = learner.transfer(nothing)
        data = learner.play.sample(theta, transfer, generator)

        def total(own: Tensor) -> Tensor:
            return learner.play.losses(own, theta, transfer, data, bonus).sum()

        found: Tensor = torch.func.grad(total)(theta)
        return found

    expected = gradient(exact)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(gradient(sampled), expected, rtol=0, atol=0.02)


def test_whoever_pays_stops_to_give_and_whoever_does_not_goes_on() -> None:
    """In a game of one step a zero-sum gift costs its giver; one out of a purse changes nothing for it."""
    dilemma = games.make("prisoners-dilemma")
    given = {}
    for budget in ("zero-sum", "fixed"):
        learner = build(Gifting(budget=budget).with_settings({"inner.steps": 400}), dilemma, seeds=8)
        _, metrics = learner.update(learner.init(0))
        given[budget] = metrics["given"]
        assert (metrics["cooperation"] < 0.05).all()
    assert (given["zero-sum"] < 0.05).all()
    assert 0.2 < given["fixed"].mean() < 0.8


@pytest.mark.parametrize("budget", BUDGETS)
def test_agents_learn_in_the_escape_room(budget: Any) -> None:
    """Sampled, of several steps, with a purse to see where there is one."""
    seen = budget != "zero-sum"
    method = Gifting(amount=2.0, budget=budget, observe_purse=seen).with_settings(
        {"inner.episodes": 8, "inner.learning_rate": 0.1}
    )
    learner = build(method, EscapeRoom(observe_gifts=False), seeds=2)
    state = learner.init(0)
    for _ in range(2):
        state, metrics = learner.update(state)
    assert not (state["theta"] == learner.init(0)["theta"]).all(-1).any()
    returns = metrics["return_0"] + metrics["return_1"]
    torch.testing.assert_close(metrics["welfare"], returns, rtol=0, atol=1e-12)
    assert (metrics["welfare"] <= 9).all()
    assert (metrics["given"] > 0).all()


def test_repeated_games_stay_exact_with_zero_sum_gifts() -> None:
    learner = build(Gifting(), RepeatedGame())
    assert isinstance(learner.play, ExactGiftPlay)
    state, metrics = learner.update(learner.init(0))
    policies = learner.play.policy.probabilities(state["theta"])
    own = RepeatedGame().values(without_gifts(policies))
    torch.testing.assert_close(metrics["welfare"], own.sum(-1), rtol=0, atol=1e-12)
    assert ((metrics["given"] > 0) & (metrics["given"] < 1)).all()  # a reward unit in some of the steps


def test_how_games_with_gifts_are_played() -> None:
    exact = Gifting().play(STAG_HUNT)
    assert exact.policy == Tabular(1, 4, every_logit=True)
    sampled = (
        Gifting()
        .with_settings({"inner.exact": False, "inner.surrogate": "dice", "inner.episodes": 5})
        .play(STAG_HUNT)
    )
    assert isinstance(sampled, SampledPlay)
    assert (sampled.policy, sampled.surrogate) == (exact.policy, SURROGATES["dice"])
    assert Gifting(budget="fixed", amount=3.0).rules.purse == 3.0
    assert Gifting(budget="fixed", amount=3.0, purse=7.0).rules.purse == 7.0


@pytest.mark.parametrize("name", ["stag-hunt", "repeated-chicken", "escape-room", "coin-game", "snowdrift"])
def test_it_applies_to_games_of_every_kind(name: str) -> None:
    assert "gifting" in applicable_methods(name, games.make(name))


@dataclass(frozen=True, kw_only=True)
class Alone(EscapeRoom):
    """One agent."""

    @property
    def num_agents(self) -> int:
        return 1


@dataclass(frozen=True, kw_only=True)
class Continuous(EscapeRoom):
    """Actions that are no numbers of a list."""

    @property
    def action_space(self) -> Any:
        return spaces.Box(-1, 1, (2,))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Gifting(amount=-1.0), "amount must be above 0, not -1.0"),
        (lambda: Gifting(amount=0.0), "amount must be above 0, not 0.0"),
        (lambda: Gifting(amount=float("nan")), "amount must be a finite number; it is nan"),
        (lambda: Gifting(budget="fixed", purse=-1.0), "purse cannot hold less than nothing: purse is -1.0"),
        (lambda: Gifting(budget="fixed", purse=0.0), "purse must be above 0, but it is 0.0"),
        (lambda: Gifting(purse=1.0), "Zero-sum gifts come out of the giver's reward"),
        (lambda: Gifting(budget="lavish"), "no budget 'lavish'"),
        (lambda: Gifting(receivers="nobody"), "no receivers 'nobody'"),
        (lambda: Gifting().build(Alone(), Placement()), "Alone has one agent: there is nobody to give to"),
        (
            lambda: Gifting().build(Continuous(), Placement()),
            "Gifts come with actions that are numbers, but Continuous's are Box",
        ),
        (
            lambda: Gifting(budget="fixed").build(RepeatedGame(), Placement()),
            r"RepeatedGame with a fixed budget\. \(Switch exact off: --inner\.no-exact\.\)",
        ),
        (
            lambda: Gifting(budget="replenishable", purse=0.0).build(STAG_HUNT, Placement()),
            "a purse is never filled",
        ),
        (
            lambda: Gifting(observe_purse=True).build(EscapeRoom(), Placement()),
            "there is no purse to observe",
        ),
        (
            lambda: Gifting(budget="fixed", observe_purse=True).build(STAG_HUNT, Placement()),
            re.escape("this game's agents observe Discrete(1)"),
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_budget_without_exact_values_is_sampled_when_asked() -> None:
    learner = build(
        Gifting(budget="fixed").with_settings({"inner.exact": False, "inner.episodes": 4}),
        RepeatedGame(horizon=5),
    )
    _, metrics = learner.update(learner.init(0))
    assert (metrics["given"] <= 1 + 1e-6).all()  # the purse holds one gift
    assert isinstance(learner.variable, ChosenGifts)
