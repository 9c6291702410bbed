"""D3C: its rule where values are exact and where they are sampled, what it refuses, and what it improves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import games
from bilevel.cli import main
from bilevel.experiments import interquartile_mean, preset
from bilevel.methods import D3C, Fixed, Placement, PolicyLearner, Selfish, State, StepInputs
from bilevel.methods._d3c import D3CLearner
from games.core import Game
from games.matrix import Braess, Cyclical, EscapeRoom
from tests.bilevel.methods.configured import configured
from tests.bilevel.methods.interrupted import assert_an_interruption_changes_nothing

DILEMMA, ROOM = games.make("prisoners-dilemma"), EscapeRoom()
FROZEN = {"identity_weight": 0.0, "mixing_learning_rate": 1e-300}


def build(game: Game, seeds: int = 3, **settings: Any) -> D3CLearner:
    learner = configured(D3C, **settings).build(game, Placement(seeds=seeds))
    assert isinstance(learner, D3CLearner)
    return learner


def after(learner: PolicyLearner, updates: int) -> State:
    state = learner.init(0)
    for _ in range(updates):
        state, _ = learner.update(state)
    return state


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("game", [DILEMMA, Braess(agents=3)], ids=["dilemma", "braess"])
def test_weights_that_do_not_move_are_fixed_shares(game: Game, exact: bool) -> None:
    """Where everybody keeps the same part, mixing by receiver and sharing by giver are one matrix."""
    inner = {"inner.learning_rate": 0.1, "inner.steps": 2, "inner.exact": exact}
    d3c = build(game, own_weight=0.7, **FROZEN, **inner)
    fixed = Fixed(self_interest=0.7).with_settings(inner).build(game, Placement(seeds=3))
    assert isinstance(fixed, PolicyLearner)
    if exact:
        torch.testing.assert_close(after(d3c, 3)["theta"], after(fixed, 3)["theta"], rtol=0, atol=1e-12)
    matrices = [learner.transfer(after(learner, 1)["phi"]).matrix for learner in (d3c, fixed)]
    torch.testing.assert_close(*matrices, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["prisoners-dilemma", "repeated-prisoners-dilemma", "braess"])
def test_the_bound_is_that_of_the_learners_own_steps(name: str) -> None:
    """A tiny selfish step of the policies themselves, and how much it raises each agent's log-loss."""
    game, rate = games.make(name), 1e-7
    learner = build(game, own_weight=0.8, inner__learning_rate=rate, **FROZEN)
    before = learner.init(0)
    theta, phi = before["theta"], before["phi"]
    weights = learner.mixing.weights(phi)
    state, _ = learner.update(before)
    steps = game.effective_horizon

    def mixed(theta: Tensor) -> Tensor:
        losses = learner.bound - learner.play.values(theta, ())
        return steps * (weights @ losses.unsqueeze(-1)).squeeze(-1)

    own = ((state["theta"] - theta) / rate).square().sum(-1)
    growth = (mixed(state["theta"]).log() - mixed(theta).log()) / rate + own / mixed(theta)
    found = learner.bound_at(theta, weights)
    assert (found.bound > 1.001).any()
    torch.testing.assert_close(found.bound - 1, growth.clamp(min=0), rtol=1e-4, atol=1e-6)


def test_the_slope_of_a_learner_is_that_of_differences() -> None:
    learner = build(Braess(agents=3), seeds=2, own_weight=0.8)
    state = learner.init(0)
    weights = learner.mixing.weights(state["phi"])
    found, small = learner.bound_at(state["theta"], weights), 1e-6
    for i, j, k in ((0, 1, 2), (1, 0, 1), (2, 2, 0)):  # row i: weight goes from k to j, and stays a row
        bounds = []
        for sign in (1, -1):
            moved = weights.clone()
            moved[:, i, j] += sign * small
            moved[:, i, k] -= sign * small
            bounds.append(learner.bound_at(state["theta"], moved).bound[:, i])
        difference = (bounds[0] - bounds[1]) / (2 * small)
        torch.testing.assert_close(
            difference, found.slope[:, i, j] - found.slope[:, i, k], rtol=1e-6, atol=1e-6
        )
    assert found.slope.any()


@pytest.mark.parametrize("game", [DILEMMA, Cyclical(agents=4), ROOM], ids=["dilemma", "ring", "room"])
def test_weights_stay_rows_above_their_floor(game: Game) -> None:
    rate = 1e4
    settings = {"loss_bound": 12.0} if game is ROOM else {}
    learner = build(game, mixing_learning_rate=rate, inner__episodes=4, min_log_weight=-3.0, **settings)
    state = after(learner, 4)
    weights = learner.mixing.weights(state["phi"])
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights.sum(-1)), rtol=0, atol=1e-12)
    assert float(state["phi"].min()) == -3.0  # somewhere it was reached
    assert not weights[:, ~game.neighbors.mT].any()


@pytest.mark.parametrize("exact", [True, False])
def test_a_large_weight_of_the_identity_keeps_it(exact: bool) -> None:
    learner = build(
        DILEMMA, identity_weight=1e4, inner__exact=exact, inner__learning_rate=0.3, inner__episodes=4
    )
    state = after(learner, 5)
    weights = learner.mixing.weights(state["phi"])
    floor = np.exp(-8) / (1 + np.exp(-8))
    torch.testing.assert_close(weights[:, 0, 1], torch.full((3,), floor).double(), rtol=1e-6, atol=0)


def test_what_evolution_compares_by_hand() -> None:
    """The relu of how much each mixed log-loss rose from fresh episodes before to those after."""
    learner = build(ROOM, seeds=2, loss_bound=12.0, own_weight=0.7, inner__episodes=6)
    state = learner.init(0)
    bonus = torch.zeros((), dtype=torch.float64)

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(7)

    transfer = learner.transfer(state["phi"])
    before = 12 - learner.play.measure(
        state["theta"], learner.play.sample(state["theta"], transfer, generator())
    ).values.repeat(2, 1)
    problem = learner.problem(state["theta"], state["phi"], generator(), StepInputs((), bonus))
    theta, phi = state["theta"].repeat(2, 1, 1) + 0.5, state["phi"].repeat(2, 1, 1)  # two samples
    phi[2:, 0, 1] += 1
    data = learner.play.sample(theta, learner.transfer(phi), torch.Generator().manual_seed(8))
    last, weights = 12 - learner.play.measure(theta, data).values, phi.softmax(-1)
    mixed = [(weights @ each.unsqueeze(-1)).squeeze(-1) for each in (before, last)]
    expected = (mixed[1] / mixed[0]).log().clamp(min=0).mT
    assert expected.any()
    torch.testing.assert_close(problem.outer_loss(theta, phi, data), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"own_weight": 1.0}, "own_weight must be above 0 and below 1, not 1"),
        ({"mixing_learning_rate": 0.0}, "mixing_learning_rate must be a finite number above 0, not 0"),
        ({"identity_weight": -1.0}, "identity_weight must be a finite number of 0 or more, not -1"),
        ({"min_log_weight": -0.5}, "min_log_weight must be a finite number below -1, not -0.5"),
        ({"loss_bound": float("nan")}, "loss_bound must be a finite number"),
        ({"samples": 3}, "samples must be even"),
        ({"sigma": 0.0}, "sigma must be a number above 0"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        configured(D3C, **settings)


def test_losses_that_are_not_above_zero_are_refused() -> None:
    with pytest.raises(ValueError, match=r"can get 0, and loss_bound is 0\.0: choose one above that"):
        build(DILEMMA, loss_bound=0.0)
    with pytest.raises(ValueError, match=r"in EscapeRoom: set a number above it, --method\.loss-bound"):
        build(ROOM)
    learner = build(ROOM, loss_bound=-2.0, inner__episodes=4)
    with pytest.raises(FloatingPointError, match=r"agent \d of seed \d got .* is -2: choose"):
        learner.update(learner.init(0))


@pytest.mark.parametrize(("game", "rate"), [("prisoners-dilemma", 1.0), ("braess", 0.2)])
def test_feeling_other_losses_improves_the_welfare(game: str, rate: float) -> None:
    """Towards the optimum (-2, -260) from where selfish agents end (-4, -320)."""
    played = games.make(game)
    ends = []
    for method in (Selfish, D3C):
        learner = configured(method, inner__learning_rate=rate).build(played, Placement(seeds=8))
        assert isinstance(learner, PolicyLearner)
        state = after(learner, 150)
        welfare = learner.evaluate(state, episodes=2)["welfare"]
        ends.append(interquartile_mean(welfare.numpy()))
    best, worst = {"prisoners-dilemma": (-2, -4), "braess": (-260, -320)}[game]
    assert ends[0] == pytest.approx(worst, rel=0.01)
    assert (ends[1] - worst) / (best - worst) > 0.45


@pytest.mark.parametrize(
    ("own", "other", "harmed"),
    [(0.5, 0.2, True), (0.65, 0.2, True), (0.68, 0.2, False), (0.65, 0.4, False), (0.68, 0.4, True)],
)
def test_harm_in_the_dilemma_changes_its_sign_at_two_thirds(own: float, other: float, harmed: bool) -> None:
    """Cooperation costs 1 and gives 2; the other agent cooperates if its weight on this loss is above 1/3."""
    learner = build(DILEMMA, seeds=1)
    weights = torch.tensor([[[1 - own, own], [other, 1 - other]]], dtype=torch.float64)
    bound = learner.bound_at(torch.zeros_like(learner.init(0)["theta"]), weights).bound
    assert (float(bound[0, 0]) > 1) == harmed


@pytest.mark.slow
def test_the_preset_of_the_dilemma_reaches_cooperation() -> None:
    learner = preset("prisoners-dilemma", "d3c")[1].build(DILEMMA, Placement(seeds=16))
    assert isinstance(learner, D3CLearner)
    welfare = learner.evaluate(after(learner, 600), episodes=2)["welfare"]
    assert interquartile_mean(welfare.numpy()) > -2.2


@pytest.mark.parametrize("game", ["chicken", "escape-room"])
def test_a_run_that_was_interrupted_ends_in_the_same_bytes(game: str, tmp_path: Path) -> None:
    assert_an_interruption_changes_nothing(game, "d3c", tmp_path)


def test_the_command_line_trains_and_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    few = ["--seeds", "4", "--outer-steps", "3"]
    for words in (
        ["train", "--game", "braess", "--method", "d3c", *few],
        ["compare", "--game", "chicken", "--methods", "selfish", "d3c", *few, "--out", "two"],
    ):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 0
    assert (tmp_path / "two" / "d3c" / "evaluation.csv").exists()
    assert (tmp_path / "two" / "sharing.png").exists()
