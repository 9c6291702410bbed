"""Every method with a critic inside may learn the weights of its losses: gradients, bits, runs, refusals."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import games
from bilevel.agents import PolicyWithCritic, Tabular
from bilevel.core import tree_map
from bilevel.hypergradient import BilevelProblem, FixedData, check_hypergradient
from bilevel.methods import (
    METHODS,
    PPO,
    LearnedLossWeights,
    LossWeightMethod,
    OuterLearner,
    Placement,
    PolicyLearner,
    State,
)
from bilevel.sharing import TERMS, FixedMatrix, identity_sharing
from games.core import Game
from games.matrix import EscapeRoom
from tests.bilevel.methods.configured import OWN_LEARNERS, configured
from tests.bilevel.methods.interrupted import assert_an_interruption_changes_nothing

ROOM = EscapeRoom(horizon=3)
WITHOUT = OWN_LEARNERS | {"d3c", "lase"}
NAMES = sorted(set(METHODS) - WITHOUT)
EVOLUTION = "evolution(samples=8, members=True, fresh_data=True)"
HELD = (
    "selfish",
    "prosocial",
    "fixed",
    "spatial-discount",
    "svo",
    "inequity-aversion",
    "gifting",
    "mediator",
)
every_learner = pytest.mark.parametrize("learner", ["actor-critic", "ppo"])


def build(name: str, game: Game = ROOM, learn: bool = True, seeds: int = 2, **settings: Any) -> PolicyLearner:
    small = {"inner.episodes": 8, "inner.learning_rate": 0.1, "inner.exact": False, "inner.steps": 2}
    usual = {
        "inner": "actor-critic",
        "loss_weights": "learned" if learn else "none",
        "inner.entropy_coef": 0.1,
    }
    method = configured(METHODS[name], **{**small, **usual, **settings})
    built = method.build(game, Placement(seeds=seeds))
    assert isinstance(built, PolicyLearner)
    return built


def outer(name: str, game: Game = ROOM, **settings: Any) -> OuterLearner:
    built = build(name, game, **settings)
    assert isinstance(built, OuterLearner)
    return built


def weights_part(phi: Any) -> Tensor:
    return phi["loss_weights"]


def own_part(phi: Any) -> Tensor:
    return phi["transfer"]


def go_on(built: PolicyLearner, updates: int = 2) -> tuple[State, dict[str, Tensor]]:
    state = built.init(0)
    for _ in range(updates):
        state, metrics = built.update(state)
    return state, metrics


@every_learner
@pytest.mark.parametrize("name", NAMES)
def test_every_method_learns_them(name: str, learner: str) -> None:
    built = outer(name, inner=learner, inner__learning_rate=0.01, inner__episodes=16)
    start, (state, metrics) = built.init(0), go_on(built)
    assert (weights_part(state["phi"]) != 0).all()  # of every seed, agent and term
    moved = own_part(state["phi"]) != own_part(start["phi"])
    assert bool(moved.any()) == (name not in HELD)
    final = built.evaluate(state, episodes=4)
    for term, said in zip(TERMS, (1.0, 0.5, 0.1), strict=True):
        for agent in range(2):
            now = metrics[f"{term}_weight_{agent}"]  # under which the last update learned
            assert now.shape == (2,)
            assert ((now != said) & (now > said / 10) & (now < said * 10)).all()
            assert (final[f"{term}_weight_{agent}"] != now).all()


@pytest.mark.parametrize("name", ["selfish", "tos"])
@pytest.mark.parametrize("objective", ["own-return", "welfare"])
@every_learner
def test_the_hypergradient_is_that_of_finite_differences(name: str, objective: str, learner: str) -> None:
    """Through three inner steps on recorded episodes, to exact values, which have no sample of their own."""
    game = games.make("prisoners-dilemma")
    built = outer(name, game, loss_weights__objective=objective, inner=learner)
    policy = built.play.policy
    assert isinstance(policy, PolicyWithCritic)
    assert isinstance(policy.policy, Tabular)
    actor = policy.policy

    def loss(theta: Tensor, phi: Tensor, data: Any) -> Tensor:
        values = game.values(actor.probabilities(policy.split(theta)[0]))
        return built.objectives.losses(values, torch.zeros_like(values))

    state = built.init(0)
    generator = torch.Generator().manual_seed(2)
    state["phi"] = tree_map(
        lambda leaf: leaf + 0.3 * torch.randn(leaf.shape, dtype=torch.float64, generator=generator),
        state["phi"],
    )
    sampled = built.problem_at(state, torch.Generator().manual_seed(1))
    problem = dataclasses.replace(sampled, outer_loss=loss, outer_data=FixedData(()))
    start = state["theta"], state["opt_state"], state["phi"]
    check = check_hypergradient(problem, *start, steps=3)
    assert check.relative_error < 1e-7
    estimate = built.hypergradient(problem, *start, steps=3)
    assert (weights_part(built.own_gradient(estimate.gradient, estimate.outer_loss)) != 0).all()


def gradient_at_start(built: OuterLearner, steps: int) -> tuple[BilevelProblem, State, Any]:
    state = built.init(0)
    problem = built.problem_at(state, torch.Generator().manual_seed(1))
    found = built.hypergradient(problem, state["theta"], state["opt_state"], state["phi"], steps=steps)
    return problem, state, found


def test_one_step_in_closed_form() -> None:
    """theta' = theta - lr w g: by the policy's free number its slope is (theta' - theta) ln(most) / 2."""
    built = outer(
        "selfish", inner__entropy_coef=0.0, loss_weights__objective="welfare", loss_weights__max_factor=4.0
    )
    problem, state, found = gradient_at_start(built, steps=1)
    policy = built.play.policy
    assert isinstance(policy, PolicyWithCritic)
    theta = found.theta.clone().requires_grad_()
    (slope,) = torch.autograd.grad(problem.outer_loss(theta, state["phi"], found.outer_data).sum(), theta)
    along, _ = policy.split(slope * (found.theta - state["theta"]))
    expected = along.sum(-1) * math.log(4.0) / 2
    gradient = weights_part(found.gradient)
    torch.testing.assert_close(gradient[..., 0], expected, rtol=1e-10, atol=1e-14)
    assert gradient[..., 0].all()
    assert not gradient[..., 1:].any()  # one step shows nothing of the critic's, and there is no bonus


def test_the_critics_weight_shows_from_the_second_step_on() -> None:
    built = outer("selfish", loss_weights__objective="welfare")
    for steps, shows in ((1, False), (2, True)):
        _, _, found = gradient_at_start(built, steps)
        assert bool(weights_part(found.gradient)[..., 1].all()) == shows


def test_what_they_are_learned_for_does_not_read_them() -> None:
    """The outer loss is of the game's own rewards: nothing but the steps lets weights change it."""
    built = outer("tos")
    problem, state, found = gradient_at_start(built, steps=1)
    free = state["phi"]["loss_weights"].clone().requires_grad_()
    phi = {**state["phi"], "loss_weights": free}
    loss = problem.outer_loss(found.theta.requires_grad_(), phi, found.outer_data)
    (direct,) = torch.autograd.grad(loss.sum(), free, allow_unused=True)
    assert direct is None or not direct.any()


def test_sharing_and_weights_follow_their_own_objectives() -> None:
    """The sharing's gradient is that of welfare, whatever the weights are for; weights' is each agent's."""
    both, alike = (outer("tos", loss_weights__objective=objective) for objective in ("own-return", "welfare"))
    found = []
    for built in (both, alike):
        _, _, estimate = gradient_at_start(built, steps=2)
        found.append((estimate.gradient, built.own_gradient(estimate.gradient, estimate.outer_loss)))
    (by_agent, own), (_, common) = found
    torch.testing.assert_close(own_part(own), own_part(common), rtol=1e-10, atol=1e-14)
    for agent in range(2):
        torch.testing.assert_close(weights_part(own)[:, agent], weights_part(by_agent)[agent, :, agent])
    summed = weights_part(by_agent).sum(0)
    torch.testing.assert_close(summed, weights_part(common), rtol=1e-10, atol=1e-14)
    assert not torch.allclose(weights_part(own), weights_part(common), rtol=1e-2)


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in NAMES),
    ("fixed", {"self_interest": "0:0.9, 2:0.5"}),
    ("tos", {"sharing": "state-dependent"}),
    ("tos", {"cost_weight": 0.1, "inner": "ppo", "policy": "mlp", "policy.share_parameters": True}),
    ("tos", {"objective": "own-return", "training": "alternating", "training.rounds": 1}),
    ("lio", {"cost": "charged"}),
]


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_with_a_step_size_of_0_nothing_changes_to_the_bit(name: str, settings: dict[str, Any]) -> None:
    without, still = (
        build(name, learn=False, **settings),
        build(name, loss_weights__learning_rate=0, **settings),
    )
    (plain, plainly), (kept, metrics) = go_on(without, 3), go_on(still, 3)
    assert torch.equal(plain["theta"], kept["theta"])
    assert torch.equal(plain["phi"], own_part(kept["phi"]))
    assert not weights_part(kept["phi"]).any()
    assert all(torch.equal(values, metrics[metric]) for metric, values in plainly.items())


@pytest.mark.parametrize("name", ["selfish", "prosocial", "fixed", "tos"])
def test_the_total_stays_what_it_was(name: str) -> None:
    built = build(name)
    state, _ = go_on(built)
    transfer = built.transfer(state["phi"])
    assert transfer.matrix is not None
    one = torch.ones(2, 2, dtype=torch.float64)
    torch.testing.assert_close(transfer.matrix.sum(-1), one, rtol=0, atol=1e-15)
    episodes = built.play.sample(state["theta"], transfer, torch.Generator().manual_seed(0))
    torch.testing.assert_close(transfer.rewards(episodes).sum(1), episodes.rewards.sum(1))
    if name in HELD:
        assert torch.equal(own_part(state["phi"]), own_part(built.init(0)["phi"]))


def test_a_given_share_keeps_its_schedule() -> None:
    built = build("fixed", self_interest="0:0.9, 2:0.5")
    state = built.init(0)
    for share in (0.9, 0.7, 0.5, 0.5):
        state, metrics = built.update(state)
        torch.testing.assert_close(metrics["share_0_0"], torch.full((2,), share, dtype=torch.float64))


@pytest.mark.parametrize(
    "text", ["truncated(steps=2)", "truncated(steps=3, window=True)", "forward", "one-step", EVOLUTION]
)
def test_estimators_take_them(text: str) -> None:
    built = build("tos", outer__hypergradient=text)
    state, _ = go_on(built)
    assert (weights_part(state["phi"])[..., 0] != 0).all()


@pytest.mark.parametrize(
    ("name", "settings"),
    [("tos", {}), ("tos", {"inner": "ppo"}), ("fixed", {"self_interest": "0:0.9, 4:0.5"})],
)
def test_a_run_resumes_to_the_same_bytes(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    usual = {"inner": "actor-critic", "loss_weights": "learned", "inner.steps": 2}
    assert_an_interruption_changes_nothing("escape-room", name, tmp_path, **{**usual, **settings})


def test_a_phase_may_move_policies_alone_and_change_the_step_size() -> None:
    phases = "0-1(moves=policies), 1-2(loss_weights.learning_rate=0), 2-3(loss_weights.learning_rate=0.1)"
    built = build("tos", training="curriculum", training__phases=phases)
    state = built.init(0)
    for moves in (False, False, True):
        state, metrics = built.update(state)
        assert "policy_weight_0" in metrics
        assert bool(weights_part(state["phi"]).any()) == moves
    with pytest.raises(ValueError, match=r"only policies move, and loss_weights\.learning_rate would never"):
        configured(
            METHODS["tos"],
            inner="ppo",
            loss_weights="learned",
            training="curriculum",
            training__phases="0-1(moves=policies, loss_weights.learning_rate=1)",
        )


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("ltos", {}, "no setting of LToS 'loss_weights'"),
        ("d3c", {"inner": "ppo"}, "no setting of D3C 'loss_weights'"),
        ("lase", {"inner": "ppo"}, "no setting of LASE 'loss_weights'"),
        ("tos", {}, "and policy-gradient has none: choose the inner learner actor-critic or ppo"),
        ("selfish", {}, "and policy-gradient has none: choose the inner learner actor-critic or ppo"),
    ],
)
def test_who_has_none_says_so(name: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        configured(METHODS[name], loss_weights="learned", **settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"loss_weights.objective": "welfaer"},
            "no loss_weights.objective 'welfaer'. Did you mean 'welfare'",
        ),
        ({"loss_weights.learning_rate": -0.1}, "loss_weights.learning_rate must be .*0 or more"),
        ({"loss_weights.max_factor": 1.0}, "loss_weights.max_factor must be a finite number above 1, not 1"),
        (
            {"loss_weights.max_factor": float("inf")},
            "loss_weights.max_factor must be a finite number above 1, not inf",
        ),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        configured(METHODS["selfish"], inner="ppo", loss_weights="learned", **settings)


def test_what_cannot_learn_them_is_refused_when_built() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Mine(LossWeightMethod):
        def build(self, game: Game, placement: Placement) -> PolicyLearner:
            return PolicyLearner(self, game, placement, FixedMatrix(identity_sharing(2)))

    with pytest.raises(ValueError, match="Mine takes no gradient through its policies' steps"):
        Mine(inner=PPO(), loss_weights=LearnedLossWeights()).build(ROOM, Placement())
    with pytest.raises(ValueError, match="The learned weights of another agent's loss are not observed"):
        build("lio", opponents="modeled")
