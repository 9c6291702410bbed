"""Altruistic gradient adjustment: quadratic games in closed form, exact games, and sampled gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import games
from bilevel.methods import AgA, Placement, Prosocial, Selfish, adjusted_gradient
from bilevel.methods._aga import gradient_and_curvature
from games.core import Game
from games.matrix import RepeatedGame
from tests.bilevel.methods.configured import configured

F64 = torch.float64
DILEMMA = games.make("prisoners-dilemma")


def built(game: Game = DILEMMA, /, **settings: Any) -> Any:
    """Two underscores stand for the dot of a part; `seeds` is the placement's."""
    seeds = settings.pop("seeds", 2)
    return configured(AgA, **settings).build(game, Placement(seeds=seeds))


def quadratic_game(eigenvalues: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """A_0, A_1 and their sum, of losses L_i = theta' A_i theta / 2, where the sum has these eigenvalues."""
    turned = torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=F64)
    total = turned @ torch.diag(torch.tensor(eigenvalues, dtype=F64)) @ turned.T
    first = torch.tensor([[1.0, -2.0], [-2.0, 0.5]], dtype=F64)
    return first, total - first, total


def columns(individual: Tensor, collective: Tensor, curvature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors [agent] as [agent, parameter]."""
    return individual.unsqueeze(-1), collective.unsqueeze(-1), curvature.unsqueeze(-1)


@pytest.mark.parametrize("eigenvalues", [(1.0, 3.0), (-1.0, -3.0), (1.0, -3.0)])
@pytest.mark.parametrize("weight", [0.0, 0.1, 2.0])
def test_a_quadratic_game(eigenvalues: tuple[float, float], weight: float) -> None:
    """g_col = A theta, H' g_col = A A theta, g_ind = the agents' own rows of A_i theta."""
    first, second, total = quadratic_game(eigenvalues)
    theta = torch.tensor([0.7, -0.4], dtype=F64)
    collective, curvature = gradient_and_curvature(theta, lambda at: at @ total @ at / 2)
    torch.testing.assert_close(collective, total @ theta, rtol=0, atol=1e-12)
    torch.testing.assert_close(curvature, total @ total @ theta, rtol=0, atol=1e-12)
    individual = torch.stack(((first @ theta)[0], (second @ theta)[1]))
    vectors = *columns(individual, collective, curvature), weight
    found = adjusted_gradient(*vectors).squeeze(-1)
    along = float(collective @ curvature)
    sign = 1 if along * float(individual @ curvature + curvature @ curvature) >= 0 else -1
    expected = collective + weight * sign * (individual + curvature)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    after = float(found @ curvature)
    assert abs(after) >= abs(along) - 1e-12  # the component along the curvature grows
    assert after * along >= 0
    assert (along > 0) == (eigenvalues == (1.0, 3.0)) or eigenvalues == (1.0, -3.0)
    unsigned = adjusted_gradient(*vectors, align=False).squeeze(-1)
    torch.testing.assert_close(unsigned, collective + weight * (individual + curvature), rtol=0, atol=1e-12)


def test_descent_on_a_convex_quadratic_game_is_linear_in_the_matrices() -> None:
    """theta' = (I - a (A + lambda (D + A A))) theta, D being the agents' own rows; it converges to 0."""
    first, second, total = quadratic_game((1.0, 3.0))
    own = torch.stack((first[0], second[1]))
    step = torch.eye(2, dtype=F64) - 0.05 * (total + 0.5 * (own + total @ total))
    theta = torch.tensor([0.7, -0.4], dtype=F64)
    for _ in range(20):
        collective, curvature = gradient_and_curvature(theta, lambda at: at @ total @ at / 2)
        vectors = *columns(own @ theta, collective, curvature), 0.5
        expected = step @ theta
        theta = theta - 0.05 * adjusted_gradient(*vectors).squeeze(-1)
        torch.testing.assert_close(theta, expected, rtol=0, atol=1e-12)
    assert theta.norm() < 0.3


def test_seeds_have_their_own_signs() -> None:
    individual = torch.zeros(2, 2, 1, dtype=F64)
    collective = torch.ones(2, 2, 1, dtype=F64)
    curvature = torch.tensor([2.0, -2.0], dtype=F64).reshape(2, 1, 1).expand(2, 2, 1)
    found = adjusted_gradient(individual, collective, curvature, 0.25)
    assert found.flatten().tolist() == [1.5, 1.5, 1.5, 1.5]  # 1 + .25 * 2 and 1 - .25 * -2


def test_one_step_in_the_dilemma_has_its_closed_form() -> None:
    """V_i = -2 - p_i + 2 p_j, so that W = -4 + p_0 + p_1, with p = sigmoid(x)."""
    learner = built(seeds=3, alignment_weight=0.7)
    state = learner.init(0)
    x = state["theta"].squeeze(-1)
    p = x.sigmoid()
    slope = p * (1 - p)
    collective, bend = -slope, -slope * (1 - 2 * p)
    individual, curvature = slope, bend * collective
    along = (collective * curvature).sum(-1, keepdim=True)
    alignment = along * ((individual + curvature) * curvature).sum(-1, keepdim=True)
    expected = collective + 0.7 * (1 - 2 * (alignment < 0).to(F64)) * (individual + curvature)
    found = learner.direction(state["theta"], state["phi"], learner.inputs(state))
    torch.testing.assert_close(found.squeeze(-1), expected, rtol=0, atol=1e-12)
    after, _ = learner.update(state)
    torch.testing.assert_close(after["theta"].squeeze(-1), x - expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"inner.entropy_coef": 0.2}, {"inner.learning_rate": "0:1, 3:0.1"}])
@pytest.mark.parametrize("game", ["prisoners-dilemma", "repeated-prisoners-dilemma", "public-goods"])
def test_without_weight_agents_follow_the_sum_of_values(game: str, settings: dict[str, Any]) -> None:
    """The common reward is the mean, so that its learners take the same steps at N times the rate."""
    agents = games.make(game).num_agents
    rates = (
        {"inner.learning_rate": f"0:{agents}, 3:{agents / 10}"}
        if "inner.learning_rate" in settings
        else {"inner.learning_rate": float(agents)}
    )
    shared = {**settings, **rates}
    if "inner.entropy_coef" in settings:
        shared["inner.entropy_coef"] = 0.2 / agents
    ours: Any = built(games.make(game), alignment_weight=0.0, **settings)
    prosocial: Any = Prosocial().with_settings(shared).build(games.make(game), Placement(seeds=2))
    left, right = ours.init(0), prosocial.init(0)
    for _ in range(4):
        left, right = ours.update(left)[0], prosocial.update(right)[0]
    torch.testing.assert_close(left["theta"], right["theta"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("game", [DILEMMA, RepeatedGame(discount=0.4, horizon=10)], ids=["once", "repeated"])
def test_sampled_directions_are_near_exact_ones(game: Game) -> None:
    """Their parts, over 40 000 episodes: the bias of the product is then far below the noise."""
    exact = built(game, seeds=1)
    sampled = built(game, seeds=1, inner__exact=False, inner__episodes=40_000)
    state = exact.init(0)
    theta = state["theta"] + 0.3 * torch.arange(state["theta"].numel(), dtype=F64).reshape(1, 2, -1) / 5
    episodes = sampled.play.sample(theta, sampled.transfer(state["phi"]), torch.Generator().manual_seed(0))

    def parts(learner: Any, data: Any) -> tuple[Tensor, ...]:
        phi, inputs = state["phi"], learner.inputs(state, data)

        def loss(at: Tensor) -> Tensor:
            total: Tensor = learner._collective_loss(at, phi, inputs)
            return total

        return *gradient_and_curvature(theta, loss), learner.direction(theta, phi, inputs)

    for expected, found in zip(parts(exact, ()), parts(sampled, episodes), strict=True):
        assert (found - expected).norm() < 0.25 * expected.norm()


def test_public_goods_end_in_full_contribution_and_selfish_agents_defect() -> None:
    """As the source reports of its two-player game."""
    game = games.make("public-goods", agents=2, k=1.5)
    ends = []
    for method in (AgA(), AgA(align=False), Selfish()):
        learner: Any = method.build(game, Placement(seeds=8))
        state = learner.init(0)
        for _ in range(400):
            state, metrics = learner.update(state)
        ends.append(metrics["cooperation"])
    assert (ends[0] > 0.95).all()
    assert (ends[2] < 0.05).all()
    assert not torch.equal(ends[0], ends[1])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"policy": "mlp", "policy.share_parameters": True, "inner.exact": False},
            "leave share_parameters off",
        ),
        ({"alignment_weight": -1.0}, "alignment_weight"),
        ({"inner": "ppo"}, "inner"),
    ],
)
def test_bad_input_is_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        built(**settings)
