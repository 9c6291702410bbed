"""mgrl, stac, stacx and bmg: hypergradients, whose losses they are of, checkpoints, limits, bad input."""

from __future__ import annotations

import dataclasses
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

import games
from bilevel.agents import MLP, PolicyWithCritic, PolicyWithHeads, TraceSettings, VTracePlay, leaky_v_trace
from bilevel.core import gradient_at, inner_step, leaves
from bilevel.hypergradient import BilevelProblem, Unrolled, check_hypergradient
from bilevel.methods import BMG, METHODS, MGRL, STAC, STACX, Placement, Selfish, VTrace
from bilevel.methods._self_tuning_learner import HYPERPARAMETERS
from bilevel.optimizers import sgd
from games.matrix import EscapeRoom, RepeatedGame
from tests.bilevel.methods.configured import configured

F64 = torch.float64
REPEATED = RepeatedGame(horizon=4)
ROOM = EscapeRoom(horizon=3)
NAMES = ("mgrl", "stac", "stacx", "bmg")
every_method = pytest.mark.parametrize("name", NAMES)


def built(name: str, game: Any = ROOM, /, *, seeds: int = 2, **settings: Any) -> Any:
    small = {"inner__episodes": 8, "inner__learning_rate": 0.3}
    return configured(METHODS[name], **small | settings).build(game, Placement(seeds=seeds))


def run(learner: Any, updates: int) -> tuple[Any, list[dict[str, Tensor]]]:
    state, history = learner.init(seed=0), []
    for _ in range(updates):
        state, metrics = learner.update(state)
        history.append(metrics)
    return state, history


def test_the_discounts_hypergradient_by_hand() -> None:
    """theta' = theta + a (r + g v1 - theta); J' = (G - theta')^2 / 2; dJ'/dg = -(G - theta') a v1 = -.56."""

    def loss(value: Tensor, discount: Tensor, data: Any) -> Tensor:
        rewards, next_value = torch.tensor([[1.0]], dtype=F64), torch.tensor([2.0], dtype=F64)
        now = value.detach().reshape(1, 1)
        trace = leaky_v_trace(rewards, now, torch.zeros_like(now), discount, last_value=next_value)
        return (trace.targets - value).square().sum() / 2

    zero = torch.tensor(0.0, dtype=F64)
    problem = BilevelProblem(
        step=inner_step(loss, sgd(0.1)), outer_loss=lambda value, discount, data: (3 - value) ** 2 / 2
    )
    estimate = Unrolled()(problem, zero, sgd(0.1).init(zero), torch.tensor(0.5, dtype=F64), steps=1)
    assert math.isclose(float(estimate.gradient), -0.56, rel_tol=1e-12)


def problem_of(learner: Any, shift: float = 0.3) -> tuple[BilevelProblem, tuple[Any, Any, Any]]:
    """The problem of an outer step, at hyper-parameters away from their initial values."""
    state = learner.init(seed=0)
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(state["phi"].shape, dtype=F64, generator=generator)
    state = {**state, "phi": state["phi"] + shift * noise}
    problem = learner.problem_at(state, torch.Generator().manual_seed(1))
    problem = learner.problem_from(problem, state["theta"], state)
    return problem, (state["theta"], state["opt_state"], state["phi"])


@every_method
@pytest.mark.parametrize("game", [REPEATED, ROOM], ids=["table", "network"])
@pytest.mark.parametrize(("objective", "steps"), [("own-return", 1), ("own-return", 2), ("welfare", 1)])
def test_the_hypergradient_is_that_of_finite_differences(
    name: str, game: Any, objective: str, steps: int
) -> None:
    """On recorded episodes, through one inner step of two gradient steps, or two of one.

    The outer loss is a surrogate: finite differences are those of its tangent at the policies after the
    steps, whose hypergradient is the same. In the second of two steps ratios are 1, where clipping has a
    kink: there they are not clipped.
    """
    epochs = {"inner__update_epochs": 2} if steps == 1 else {"inner__update_epochs": 1, "inner__leak": 0.0}
    learned = tuple(each for each in METHODS[name]().learned if steps == 1 or each != "leak")
    learner = built(name, game, objective=objective, learned=learned, **epochs)
    problem, start = problem_of(learner)
    found = learner.hypergradient(problem, *start, steps=steps)
    assert (found.gradient[:, :, 0] != 0).all()  # of the main head
    slope = gradient_at(found.theta, lambda own: problem.outer_loss(own, start[2], found.outer_data).sum())
    tangent = dataclasses.replace(
        problem.replay(found.inner_data, found.outer_data),
        outer_loss=lambda theta, phi, data: (slope * theta).sum((1, 2)),
    )
    gradient = learner.hypergradient(tangent, *start, steps=steps).gradient
    torch.testing.assert_close(gradient, found.gradient, rtol=1e-9, atol=1e-13)
    assert check_hypergradient(tangent, *start, steps=steps).relative_error < 1e-6


@every_method
def test_an_agents_hyperparameters_follow_its_own_loss_alone(name: str) -> None:
    """Agent 0's loss has no gradient by agent 1's hyper-parameters, so that the sum has all gradients."""
    learner = built(name, inner__update_epochs=2)
    problem, start = problem_of(learner)
    found = learner.hypergradient(problem, *start, steps=2)
    replayed = problem.replay(found.inner_data, found.outer_data)

    def of_agent_0(theta: Tensor, phi: Tensor, data: Any) -> Tensor:
        losses = problem.outer_loss(theta, phi, data)  # [seed, agent], and the divergences of the agents
        return losses[:, ::2].sum(-1)

    alone = dataclasses.replace(replayed, outer_loss=of_agent_0)
    gradient = learner.hypergradient(alone, *start, steps=2).gradient
    torch.testing.assert_close(gradient[:, 0], found.gradient[:, 0], rtol=1e-9, atol=1e-14)
    assert not gradient[:, 1].any()


def test_under_welfare_they_follow_the_other_agents_return_too() -> None:
    own, common = (built("mgrl", objective=objective) for objective in ("own-return", "welfare"))
    gradients = []
    for learner in (own, common):
        problem, start = problem_of(learner)
        gradients.append(learner.hypergradient(problem, *start, steps=1).gradient)
    assert not torch.allclose(*gradients, rtol=1e-2)


def test_without_learning_of_hyperparameters_agents_learn_as_selfish_ones() -> None:
    """Bit for bit, at the same inner learner and with hyper-parameters that hardly move."""
    inner = VTrace(discount=0.75, trace_lambda=0.5, leak=0.25, entropy_coef=0.1, update_epochs=2, episodes=4)
    tuned = MGRL(inner=inner).with_settings({"outer.learning_rate": 1e-300})
    selfish = Selfish(inner=inner)
    (state, history), (plain, plainly) = (
        run(method.build(ROOM, Placement(seeds=2)), 3) for method in (tuned, selfish)
    )
    torch.testing.assert_close(state["theta"], plain["theta"], rtol=0, atol=1e-12)
    torch.testing.assert_close(history[-1]["welfare"], plainly[-1]["welfare"], rtol=0, atol=1e-12)


def test_one_step_of_actor_critic_on_policy() -> None:
    """With a lambda of 1, V-trace on its own episodes is actor-critic with sampled returns."""
    settings = {"inner.episodes": 8, "inner.entropy_coef": 0.1, "inner.learning_rate": 0.2}
    kinds = (
        {"inner": "v-trace", "inner.trace_lambda": 1.0},
        {"inner": "actor-critic", "inner.gae_lambda": 1.0},
    )
    traced, usual = (
        run(Selfish().with_settings({**kind, **settings}).build(ROOM, Placement(seeds=2)), 2)
        for kind in kinds
    )
    torch.testing.assert_close(traced[0]["theta"], usual[0]["theta"], rtol=1e-9, atol=1e-12)


@every_method
def test_a_resumed_run_equals_an_uninterrupted_one(name: str) -> None:
    learner = built(name)
    state, _ = run(learner, 2)
    again = built(name).update(pickle.loads(pickle.dumps(state)))
    for one, other in zip(leaves(learner.update(state)), leaves(again), strict=True):
        assert torch.equal(one, other)


def test_metrics_are_the_values_of_the_step() -> None:
    learner = built("stac", inner__entropy_coef="0:0.2, 1:0.1")
    state, (first, second) = run(learner, 2)
    starts = {"discount": 0.95, "leak": 0.99, "policy_coef": 1.0, "vf_coef": 0.5, "entropy_coef": 0.2}
    for name, value in starts.items():
        for agent in range(2):
            torch.testing.assert_close(first[f"{name}_{agent}"], torch.full((2,), value, dtype=F64))
            assert (second[f"{name}_{agent}"] != first[f"{name}_{agent}"]).all()
    assert ((second["entropy_coef_0"] - 0.1).abs() < 0.01).all()  # a factor of the schedule
    assert set(HYPERPARAMETERS) == {name.removesuffix("_1") for name in second} & set(HYPERPARAMETERS)
    heads = run(built("stacx"), 1)[1][0]
    assert {f"discount_head_{head}_1" for head in (1, 2)} <= heads.keys()
    evaluated = learner.evaluate(state, episodes=4)
    assert evaluated["discount_0"].shape == (2,)


def test_the_divergence_keeps_the_policy_near() -> None:
    """A coefficient of the divergence changes the gradient by its own, and is 0 where nothing moved."""
    learner = built("stac")
    problem, (theta, _, phi) = problem_of(learner)
    data = problem.outer_data(theta, phi)
    still = problem.outer_loss(theta, phi, data)
    assert not still[:, 2:].any()
    moved = problem.outer_loss(theta + 0.1, phi, data)
    assert (moved[:, 2:] >= 0).all()


def test_heads_share_layers_and_the_main_head_acts() -> None:
    policy = PolicyWithHeads.of(MLP(num_features=3, num_actions=2, hidden=(4,)), heads=3)
    theta = policy.initial(torch.Generator().manual_seed(0), 1, 2)
    observed = torch.randn(1, 2, 5, 6, 3, dtype=F64, generator=torch.Generator().manual_seed(1))
    heads = policy.heads(theta, observed)
    assert len(heads) == 3
    assert torch.equal(policy.unroll(theta, observed), heads[0][0])
    assert torch.equal(policy.values(theta, observed), heads[0][1])
    acted, _ = policy.step(theta, observed[:, :, 0], policy.initial_hidden_state(theta, 6))
    torch.testing.assert_close(acted, heads[0][0][:, :, 0])
    last = (4 + 1) * 3 * 3  # of the last layer: weights and biases of (actions + 1) x heads outputs
    hidden = (3 + 1) * 4
    assert policy.num_parameters == hidden + last


def test_auxiliary_heads_move_the_shared_layers() -> None:
    learner = built("stacx", inner__update_epochs=1)
    play = learner.play
    theta = learner.init(seed=0)["theta"]
    transfer = learner.transfer(learner.init(seed=0)["phi"])
    data = play.sample(theta, transfer, torch.Generator().manual_seed(0))
    settings = [TraceSettings(0.9), TraceSettings(0.5), TraceSettings(0.1, 0.5)]
    own = theta.clone().requires_grad_()
    terms = play.traced_terms(own, theta, transfer, data, settings)
    first = 7 * 32  # weights of the first layer: features x units
    for each in terms:
        (gradient,) = torch.autograd.grad(each.policy.sum(), own, retain_graph=True)
        assert gradient[..., :first].abs().sum() > 0


def test_v_trace_bootstraps_truncated_episodes() -> None:
    """A step's reward includes the discounted value of the following observation where it was cut."""
    policy = PolicyWithCritic.of(MLP(num_features=7, num_actions=3, hidden=(4,)))
    play = VTracePlay(ROOM, policy, Selfish(inner=VTrace()).play(ROOM).surrogate, 4)  # type: ignore[attr-defined]
    theta = policy.initial(torch.Generator().manual_seed(0), 1, 2)
    transfer = built("mgrl", seeds=1).transfer(torch.zeros(1, 2, 1, 2, dtype=F64))
    data = play.sample(theta, transfer, torch.Generator().manual_seed(0))
    ends = data.mask - torch.cat((data.mask[:, :, 1:], torch.zeros_like(data.mask[:, :, :1])), 2)
    cut = data._replace(cut=ends, following=torch.ones_like(data.observations))
    value = policy.values(theta, torch.ones_like(data.observations))
    shifted = data._replace(rewards=data.rewards + 0.5 * value * ends)
    settings = [TraceSettings(0.5, 0.7)]
    (found,), (expected,) = (
        play.traced_terms(theta, theta, transfer, each, settings) for each in (cut, shifted)
    )
    torch.testing.assert_close(found.value, expected.value)
    torch.testing.assert_close(found.policy, expected.policy)


def test_bmg_continues_from_the_step_before_its_target() -> None:
    """K + L - 1 steps of learning: those of selfish learners with as many steps, bit for bit."""
    inner = {"inner.discount": 0.9, "inner.update_epochs": 1, "inner.episodes": 4, "inner.entropy_coef": 0.1}
    bmg = BMG(learned=("discount",), target_steps=3).with_settings({**inner, "inner.steps": 2})
    selfish = Selfish().with_settings({"inner": "v-trace", "inner.leak": 0.99, **inner, "inner.steps": 4})
    (state, _), (plain, _) = (run(each.build(ROOM, Placement(seeds=2)), 1) for each in (bmg, selfish))
    torch.testing.assert_close(state["theta"], plain["theta"], rtol=0, atol=1e-12)


BAD: list[tuple[Any, dict[str, Any], str]] = [
    (MGRL, {"learned": ("discont",)}, r"no hyper-parameter 'discont'\. Did you mean 'discount'\?"),
    (MGRL, {"learned": ()}, "learned names no hyper-parameter: choose from discount, trace_lambda"),
    (MGRL, {"learned": ("leak", "leak"), "inner.update_epochs": 2, "inner.leak": 0.5}, "twice: leak, leak"),
    (MGRL, {"reference_discount": 1.5}, "reference_discount must be a finite number from 0 to 1, not 1.5"),
    (MGRL, {"reference_lambda": -0.5}, "reference_lambda must be a finite number from 0 to 1, not -0.5"),
    (MGRL, {"inner.discount": 1.0}, "strictly between 0 and 1, not at 1.0"),
    (STAC, {"inner.entropy_coef": 0.0}, "a factor of its setting, which must be above 0, not 0.0"),
    (STAC, {"inner.update_epochs": 1}, "all importance ratios are 1, and the leak has no effect"),
    (STAC, {"kl_coef": -1.0}, "kl_coef must be a finite number of 0 or more, not -1"),
    (
        STAC,
        {"outer.hypergradient": "evolution(members=True, fresh_data=True)"},
        "Evolution compares values of the outer",
    ),
    (STACX, {"auxiliary_heads": 0}, "auxiliary_heads must be a whole number, 1 or more, not 0"),
    (BMG, {"target_steps": 0}, "target_steps must be a whole number, 1 or more, not 0"),
    (MGRL, {"objective": "wellfare"}, "Did you mean 'welfare'"),
    (MGRL, {"policy": "mlp", "policy.share_parameters": True}, "with shared parameters they would train one"),
]


@pytest.mark.parametrize(("kind", "settings", "sentence"), BAD)
def test_bad_settings_say_what_is_right(kind: Any, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        kind().with_settings(settings)


def test_bad_games_say_what_is_right() -> None:
    with pytest.raises(ValueError, match="this policy is a table: choose policy mlp"):
        STACX().with_settings({"policy": "tabular"}).build(REPEATED, Placement())
    with pytest.raises(ValueError, match=r"EscapeRoom is 1, and it is learned through a sigmoid"):
        MGRL(inner=VTrace(entropy_coef=0.1)).build(ROOM, Placement())
    with pytest.raises(ValueError, match=r"needs Discrete actions, but"):
        STACX().build(games.make("cournot-continuous"), Placement())


def test_a_stateful_estimator_does_not_see_steps_to_the_target() -> None:
    with pytest.raises(ValueError, match="bmg takes steps to the target that it does not see"):
        BMG().with_settings({"outer.hypergradient": "truncated(steps=5, window=True)"})
