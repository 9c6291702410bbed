"""Methods whose transfer depends on what happens: where they agree, what they refuse, LIO's own law."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import games
from bilevel.experiments import preset
from bilevel.methods import (
    LIO,
    SVO,
    CentralPlanner,
    Fixed,
    InequityAverse,
    Method,
    Placement,
    PolicyLearner,
    Selfish,
    StateDependentSharing,
    ToS,
)
from games.core import Game
from games.matrix import EscapeRoom
from tests.bilevel.methods.configured import configured

ROOM = EscapeRoom()
DILEMMA = games.make("prisoners-dilemma")
SMALL = {"inner.episodes": 6, "inner.learning_rate": 0.3, "inner.steps": 2}
FROZEN = {"outer.optimizer": "sgd", "outer.learning_rate": 1e-300}


def theta_after(method: Method, game: Game = ROOM, updates: int = 2) -> torch.Tensor:
    learner: Any = method.build(game, Placement(seeds=3))
    state = learner.init(0)
    for _ in range(updates):
        state, _ = learner.update(state)
    theta: torch.Tensor = state["theta"]
    return theta


@pytest.mark.parametrize(
    "method",
    [
        InequityAverse(envy=0.0, guilt=0.0).with_settings(SMALL),
        SVO(weight=0.0).with_settings(SMALL),
        LIO(max_incentive=1e-300).with_settings({**SMALL, **FROZEN}),
        CentralPlanner(budget=1e-300).with_settings({**SMALL, **FROZEN}),
    ],
    ids=lambda method: type(method).__name__,
)
def test_without_weight_every_method_is_selfish(method: Method) -> None:
    selfish = theta_after(configured(Selfish, **{"inner.exact": False, **SMALL}))
    torch.testing.assert_close(theta_after(method), selfish, rtol=0, atol=1e-12)


def test_a_schedule_of_shares_is_each_share_in_its_step() -> None:
    moving = Fixed().with_settings({"self_interest": "0:0.9, 3:0.3"}).build(DILEMMA, Placement(seeds=2))
    state, kept = moving.init(0), []
    for _ in range(5):
        state, metrics = moving.update(state)
        kept.append(float(metrics["share_0_0"][0]))
    assert kept == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.3])
    final = moving.evaluate(state, episodes=2)
    assert float(final["share_1_1"][0]) == pytest.approx(0.3)


def test_lio_on_the_one_shot_dilemma_has_its_closed_form() -> None:
    """One exact step of size alpha: rewarding C raises the giver's own return by 2 alpha a unit, D lowers it.

    The hypergradient is sampled here; 40 000 episodes bring it within a few standard errors.
    """
    alpha, method = 0.05, LIO().with_settings({"inner.episodes": 40_000, "inner.learning_rate": 0.05})
    learner = method.build(DILEMMA, Placement(seeds=1))
    assert isinstance(learner, PolicyLearner)
    state = learner.init(0)
    generator = torch.Generator().manual_seed(0)
    theta = torch.zeros_like(state["theta"])  # both cooperate half of the time

    def giver_return(incentive_for_c: torch.Tensor, incentive_for_d: torch.Tensor) -> torch.Tensor:
        """V_1 after agent 2 took one step on r_2 + incentive, by its logit."""
        p = torch.tensor(0.5, dtype=torch.float64)
        slope = -1 + incentive_for_c - incentive_for_d  # d V_2 / d p: defecting pays 1 more
        logit = alpha * p * (1 - p) * slope
        q = torch.sigmoid(logit)
        return -1 * p * q - 3 * p * (1 - q) + 0 * (1 - p) * q - 2 * (1 - p) * (1 - q)

    given = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    for_c, for_d = torch.autograd.grad(giver_return(given[0], given[1]), given)[0].tolist()
    # By probabilities instead of logits the step is alpha, and the gradient (2 alpha, -2 alpha).
    quarter = 0.25 * 0.25
    assert for_c == pytest.approx(2 * alpha * quarter, rel=1e-3)
    assert for_d == pytest.approx(-2 * alpha * quarter, rel=1e-3)
    found = sampled_hypergradient(learner, theta, generator)
    assert found[0] == pytest.approx(for_c, abs=0.15 * abs(for_c))
    assert found[1] == pytest.approx(for_d, abs=0.15 * abs(for_d))


def sampled_hypergradient(
    learner: Any, theta: torch.Tensor, generator: torch.Generator
) -> tuple[float, float]:
    """d V_1 / d (what agent 1 gives for C, for D), by the losses and values that learners use."""
    nothing = torch.zeros(2, dtype=theta.dtype)

    class Given:
        """Agent 1 gives agent 2 these amounts, for C and for D."""

        matrix = None

        def __init__(self, amounts: torch.Tensor) -> None:
            self.amounts = amounts

        def rewards(self, trajectory: Any) -> torch.Tensor:
            to_second = self.amounts[trajectory.actions[:, 1]]
            return torch.stack((trajectory.rewards[:, 0], trajectory.rewards[:, 1] + to_second), 1)

        def gifts(self, trajectory: Any) -> torch.Tensor:
            return torch.zeros_like(trajectory.rewards).unsqueeze(2).expand(-1, -1, 2, -1, -1)

    bonus = torch.zeros((), dtype=theta.dtype)
    first = learner.play.sample(theta, Given(nothing), generator)
    with_step = learner.play.losses

    def after(amounts: torch.Tensor) -> torch.Tensor:
        def total(own: torch.Tensor) -> torch.Tensor:
            losses: torch.Tensor = with_step(own, theta, Given(amounts), first, bonus)
            return losses.sum()

        return theta - learner.method.inner.learning_rate * torch.func.grad(total)(theta)

    second = learner.play.sample(after(nothing).detach(), Given(nothing), generator)

    def value(amounts: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = learner.play.values(after(amounts), second)
        return values[0, 0]

    for_c, for_d = torch.func.grad(value)(nothing).tolist()
    return for_c, for_d


def test_the_cost_of_incentives_is_felt_in_each_form() -> None:
    settings = {"outer.learning_rate": 0.05, "outer.optimizer": "sgd", "inner.entropy_coef": 0.1, **SMALL}

    def given_in_the_end(**more: Any) -> float:
        learner: Any = configured(LIO, **{**settings, **more}).build(ROOM, Placement(seeds=4))
        state = learner.init(0)
        for _ in range(30):
            state, metrics = learner.update(state)
        return float(metrics["given"].mean())

    free = given_in_the_end(cost__learning_rate=0.0)
    assert given_in_the_end(cost__learning_rate=0.05) < 0.5 * free
    assert given_in_the_end(cost="objective", cost__weight=1.0) < 0.9 * free


@pytest.mark.parametrize("method", [LIO, CentralPlanner, InequityAverse, SVO])
def test_exact_values_are_refused_where_more_than_a_matrix_passes(method: type[Method]) -> None:
    with pytest.raises(ValueError, match=r"agents can only share by a matrix, and .* switch exact off"):
        configured(method, inner__exact=True).build(DILEMMA, Placement())
    with pytest.raises(ValueError, match="switch exact off"):
        ToS(sharing=StateDependentSharing()).build(DILEMMA, Placement())


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            lambda: StateDependentSharing(interval=0),
            "sharing.interval must be a whole number, 1 or more, not 0",
        ),
        (
            lambda: ToS().with_settings({"sharing.interval": 3}),
            "setting of sharing state-dependent or edge-network, and sharing is static: choose sharing first",
        ),
        (lambda: ToS().with_settings({"sharing": "moody"}), "no sharing 'moody'"),
        (
            lambda: ToS(sharing="state-dependent"),
            r"sharing must be StaticSharing\(...\) or StateDependentSharing\(...\) or EdgeNet.*, not 'state",
        ),
        (lambda: LIO(cost=None), "cost must be SeparateCost.* or ChargedCost.*, not None"),
        (
            lambda: ToS(sharing=StateDependentSharing(interval=2)).build(ROOM, Placement()),
            "cannot stay fixed",
        ),
        (lambda: LIO().with_settings({"cost": "dear"}), "no cost 'dear'"),
        (
            lambda: LIO().with_settings({"cost.weight": 1.0}),
            "setting of cost objective, and cost is separate",
        ),
        (
            lambda: LIO().with_settings({"opponents.steps": 5}),
            "setting of opponents modeled, and opponents is known",
        ),
        (
            lambda: LIO(action_inputs="cooperation").build(games.make("matching-pennies"), Placement()),
            "does not define which actions cooperate: set action_inputs to actions",
        ),
        (lambda: LIO(max_incentive=0.0), "max_incentive must be a finite number above 0"),
        (lambda: CentralPlanner(budget=-1.0), "budget must be a finite number above 0, not -1"),
        (lambda: CentralPlanner(cost_weight=-1.0), "cost_weight must be a finite number of 0 or more"),
        (
            lambda: Fixed().with_settings({"self_interest": "0:0.9, 5:2"}),
            "self_interest must be a finite number from 0 to 1, not 2",
        ),
        (
            lambda: Fixed().with_settings({"self_interest": "all"}),
            "self_interest: 'all' is not a schedule: write a number, or",
        ),
        (lambda: SVO(target=999.0), "angle from -180 to 180"),
        (lambda: InequityAverse(guilt=-1.0), "guilt must be 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(build: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build()


def test_sampled_methods_have_sampled_presets_on_exact_games() -> None:
    _, method = preset("repeated-prisoners-dilemma", "lio")
    assert (method.exact, method.inner.learning_rate, str(method.inner.entropy_coef)) == (
        False,
        0.3,
        "0:0.1, 200:0",
    )
    _, method = preset("escape-room", "lio")
    assert (str(method.inner.entropy_coef), method.outer.learning_rate) == ("0:1, 200:0", 0.005)


@pytest.mark.slow
@pytest.mark.parametrize(("agents", "levers", "least"), [(2, 1, 0.95 * 9), (3, 2, 0.95 * 8)])
def test_incentives_open_the_escape_room(agents: int, levers: int, least: float) -> None:
    """16 seeds of the preset: the middle half reaches 95 % of the optimum."""
    game = EscapeRoom(agents=agents, levers=levers)
    learner: Any = preset("escape-room", "lio")[1].build(game, Placement(seeds=16, dtype=torch.float32))
    state = learner.init(0)
    for _ in range(300):
        state, _ = learner.update(state)
    welfare = learner.evaluate(state, episodes=256)["welfare"].sort().values
    assert float(welfare[4:12].mean()) >= least
