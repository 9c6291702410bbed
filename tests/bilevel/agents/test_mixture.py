"""Mixtures of experts: their logits, alpha, and its schedule in training."""

import importlib.util

import pytest
import torch
from torch.testing import assert_close

import games
from bilevel.agents import MLP, Mixture, Numbered, PolicyWithCritic, critic_like, mixture_in
from bilevel.methods import METHODS, MixturePolicy, Placement
from bilevel.nn import entmax

EXACT = {"rtol": 0, "atol": 1e-12}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    "settings", [{}, {"alpha": 1.5}, {"alpha": 2.0}, {"active": 1}, {"active": 2}, {"annealed": True}]
)
def test_logits_are_the_gated_sum_of_linear_experts(settings: dict[str, float]) -> None:
    policy = Mixture(num_features=4, num_actions=2, experts=3, hidden=(5,), **settings)  # type: ignore[arg-type]
    theta, observations = drawn(6, policy.num_parameters), drawn(6, 7, 4, seed=1)
    if policy.annealed:
        theta = policy.with_alpha(theta, 1.7)
    own = theta[:, int(policy.annealed) :]
    router, experts = own.split((policy.router.num_parameters, 4 * 6 + 6), -1)
    scores = policy.router(router, observations)
    weights, biases = experts[:, :24].unflatten(-1, (4, 3, 2)), experts[:, 24:].unflatten(-1, (3, 2))
    if policy.active:
        best = scores >= scores.sort(-1, descending=True).values[..., policy.active - 1 : policy.active]
        gates = scores.softmax(-1) * best
        gates = gates if policy.active == 1 else gates / gates.sum(-1, keepdim=True)
    else:
        gates = entmax(scores, 1.7 if policy.annealed else policy.alpha)
    outputs = torch.einsum("asf,afeo->aseo", observations, weights) + biases.unsqueeze(1)
    assert_close(policy.logits(theta, observations), (gates.unsqueeze(-1) * outputs).sum(-2), **EXACT)
    assert_close(policy.routing(theta, observations).gates, gates, **EXACT)


def test_alpha_has_no_gradient_and_every_other_parameter_has_one() -> None:
    policy = Mixture(num_features=4, num_actions=2, experts=3, hidden=(5,), annealed=True)
    theta = policy.with_alpha(drawn(1, policy.num_parameters), 1.1).requires_grad_()
    (gradient,) = torch.autograd.grad(policy.logits(theta, drawn(1, 50, 4, seed=1)).square().sum(), theta)
    assert gradient[0, 0] == 0
    assert (gradient[0, 1:] != 0).all()


def test_alpha_is_found_below_wrappers_and_beside_a_critic() -> None:
    mixture = Mixture(num_features=6, num_actions=2, annealed=True)
    both = PolicyWithCritic.of(Numbered(mixture))
    assert mixture_in(both) is mixture
    assert critic_like(mixture) == MLP(6, 1)
    theta = mixture.with_alpha(torch.zeros(2, both.num_parameters), 1.25)
    assert theta[:, 0].tolist() == [1.25, 1.25]
    assert both.split(theta)[0][:, 0].tolist() == [1.25, 1.25]


@pytest.mark.parametrize("inner", ["policy-gradient", "ppo"])
@pytest.mark.parametrize("method", ["selfish", "tos"])
def test_alpha_follows_its_schedule(method: str, inner: str) -> None:
    """A state's policies have the alpha of the next outer step; training changes it no further."""
    settings = {"policy": "mixture", "policy.alpha": "0:1, 1:1, 3:2", "inner": inner, "inner.episodes": 4}
    learner = METHODS[method]().with_settings(settings).build(games.make("escape-room"), Placement(seeds=2))
    state = learner.init(seed=0)
    for alpha in (1.0, 1.0, 1.5, 2.0, 2.0):
        assert (state["theta"][..., 0] == alpha).all()
        state, metrics = learner.update(state)
        assert metrics["welfare"].isfinite().all()
    assert (state["theta"][..., 1:] != learner.init(seed=0)["theta"][..., 1:]).any()


def test_a_phase_sets_alpha() -> None:
    settings = {
        "policy": "mixture",
        "policy.alpha": "0:1, 9:2",
        "training": "curriculum",
        "training.phases": "0-1(moves=policies, policy.alpha=1.5), 1-3(policy.alpha=2)",
        "inner.episodes": 4,
    }
    game = games.make("escape-room")
    learner = METHODS["tos"]().with_settings(settings).build(game, Placement())
    state = learner.init(seed=0)
    assert (state["theta"][..., 0] == 1.5).all()
    assert (learner.update(state)[0]["theta"][..., 0] == 2).all()
    constant = METHODS["tos"]().with_settings(settings | {"policy.alpha": 1.0})
    with pytest.raises(ValueError, match=r"Phases change policy\.alpha, but the policies are built"):
        constant.build(game, Placement())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"experts": 1}, "2 or more, not 1"),
        ({"alpha": 2.5}, "alpha must be a finite number from 1 to 2, not 2.5"),
        ({"active": 5}, r"from 1 to all 4 experts \(or 0: by entmax\), not 5"),
        ({"active": 1, "alpha": 1.5}, "an alpha of 1.5 or a schedule of it would not be used"),
        ({"active": 1, "alpha": "0:1, 9:2"}, "would not be used: leave alpha at 1, or active at 0"),
        ({"hidden_size": (0,)}, "A router's hidden layers need 1 unit or more each"),
    ],
)
def test_bad_settings_get_one_sentence(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        METHODS["selfish"]().with_settings(
            {"policy": "mixture"} | {f"policy.{name}": value for name, value in settings.items()}
        ).play(games.make("escape-room"))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    game = games.make("escape-room")
    MixturePolicy().build(game)  # softmax needs no package
    MixturePolicy(active=1).build(game)
    with pytest.raises(ValueError, match=r"needs entmax: pip install 'bilevel\[tasks\]'"):
        MixturePolicy(alpha=1.5).build(game)


def test_models_of_opponents_refuse_a_schedule() -> None:
    settings = {"policy": "mixture", "policy.alpha": "0:1, 9:2", "opponents": "modeled"}
    with pytest.raises(ValueError, match=r"do not follow a schedule of policy\.alpha"):
        METHODS["lio"]().with_settings(settings).build(games.make("escape-room"), Placement())
