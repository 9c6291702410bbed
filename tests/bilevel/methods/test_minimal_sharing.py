"""Theory and learner agree: the least share that must be given in the one-shot prisoner's dilemma."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import games
from bilevel.methods import Fixed, Placement, ToS
from games.theory import minimal_transfer

GAME = games.make("prisoners-dilemma")
INNER = {"inner.steps": 5, "inner.learning_rate": 10.0, "inner.entropy_coef": 0.1}
OUTER = {"own_share": 0.6, "outer.learning_rate": 0.02}


def minimal_share_given() -> float:
    """1 - s*, by the linear program: keep as much as leaves cooperation dominant."""
    share = minimal_transfer(GAME).s
    assert share is not None
    return 1 - share


def test_the_program_agrees_with_the_closed_form() -> None:
    """s* = min((R - S) / (T - S), (T - P) / (T - S)) (derived)."""
    (reward, sucker), (temptation, punishment) = GAME.payoffs()[..., 0].tolist()
    spread = temptation - sucker
    closed_form = min((reward - sucker) / spread, (temptation - punishment) / spread)
    assert minimal_share_given() == pytest.approx(1 - closed_form, abs=1e-12)


@pytest.mark.parametrize("margin", [-0.01, 0.01])
def test_a_fixed_share_just_above_or_below_it_decides(margin: float) -> None:
    """From every start: cooperation is dominant on one side, defection on the other."""
    given = minimal_share_given() + margin
    method = Fixed(self_interest=1 - given).with_settings({"inner.learning_rate": 50.0, "inner.steps": 200})
    learner = method.build(GAME, Placement(seeds=16))
    state, before = learner.init(0), learner.evaluate(learner.init(0), episodes=2)
    assert before["cooperation"].min() < 0.5 < before["cooperation"].max()
    _, metrics = learner.update(state)
    cooperates = metrics["cooperation"] > 0.9
    assert (cooperates if margin > 0 else metrics["cooperation"] < 0.1).all()


class Path(NamedTuple):
    """A run: the share given away and the rate of cooperation under it, [outer step, seed]."""

    given: Tensor
    cooperation: Tensor

    @property
    def holds(self) -> Tensor:
        """Where cooperation holds."""
        return self.cooperation > 0.5


def learn_to_share(cost: str, weight: float) -> Path:
    """Learn under a cost, from a start at which .4 is given away."""
    learner = (
        ToS(cost=cost, cost_weight=weight).with_settings({**INNER, **OUTER}).build(GAME, Placement(seeds=4))
    )
    state, given, cooperation = learner.init(0), [], []
    for _ in range(150):
        state, metrics = learner.update(state)
        given.append(metrics["given_away"])
        cooperation.append(metrics["cooperation"])
    return Path(torch.stack(given), torch.stack(cooperation))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cost", "affordable", "too_dear"), [("l1", (1.0, 4.0), (8.0, 10.0)), ("kl", (1.0, 2.0), (5.0, 8.0))]
)
def test_the_share_found_under_a_swept_cost_brackets_the_least_one(
    cost: str, affordable: tuple[float, ...], too_dear: tuple[float, ...]
) -> None:
    """Small costs settle above 1/3 with cooperation, large ones end below 1/3 with defection.

    Without a cost the outer level overshoots: with a finite inner loop giving more always makes policies
    cooperate sooner, so the share given rises until nothing is left to gain, past 1/2. A cost pulls it back
    until one more unit given is worth what it costs. So that something is left to gain at all near the
    least share, policies must not saturate: with an entropy bonus tau they settle at log-odds (3 w - 1) /
    tau, a slope 3 / (4 tau) at w = 1/3, and by 50 units of learning rate in each outer step (5 steps of 10)
    they follow closely. With a cost below that slope the share settles above 1/3; with one above it nothing
    holds the share back, it slides through 1/3 and to zero, and cooperation ends on the way, at 1/3. The
    slope seen is less than 7.5, because five steps do not reach the end.
    """
    least = minimal_share_given()
    settled = []
    for weight in affordable:
        path = learn_to_share(cost, weight)
        assert path.holds.all()
        assert (path.given[-1] > least).all()
        expected = ((3 * path.given[-1] - 1) / INNER["inner.entropy_coef"]).sigmoid()
        torch.testing.assert_close(path.cooperation[-1], expected, rtol=0, atol=0.05)
        settled.append(float(path.given[-1].mean()))
    assert np.diff(settled).max() < 0  # the dearer, the nearer to the least share
    assert settled[-1] < least + 0.05
    for weight in too_dear:
        path = learn_to_share(cost, weight)
        holds, fails = path.given[path.holds], path.given[~path.holds]
        assert not path.holds[-1].any()
        assert path.given[-1].max() < least / 2
        smallest_that_holds, largest_that_fails = float(holds.min()), float(fails.max())
        assert largest_that_fails < least < smallest_that_holds
        assert smallest_that_holds - largest_that_fails < 0.01
