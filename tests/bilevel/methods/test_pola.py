"""POLA: directions against autodiff, proximal points in closed form, independence of the parametrization."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import games
from bilevel.agents import Tabular
from bilevel.core import Purpose
from bilevel.methods import POLA, LOLADiCE, Placement, PolicyMethod
from games.core import Game
from games.matrix import FiniteRepeatedGame
from tests.bilevel.methods.configured import configured

F64 = torch.float64
REPEATED = games.make("repeated-prisoners-dilemma")
FINITE = FiniteRepeatedGame(horizon=3, discount=0.9)
CHICKEN = games.make("chicken")
LOGITS = torch.tensor([[0.1, -0.2, 0.3, -0.4, 0.5], [-0.5, 0.4, -0.3, 0.2, -0.1]], dtype=F64)


def built(game: Game = REPEATED, kind: type[PolicyMethod] = POLA, /, **settings: Any) -> Any:
    """Two underscores stand for the dot of a part; `seeds` is the placement's."""
    seeds = settings.pop("seeds", 1)
    return configured(kind, **settings).build(game, Placement(seeds=seeds))


def direction(learner: Any, theta: Tensor, *origin: Tensor) -> Tensor:
    state = learner.init(0)
    generator = learner.streams(state, Purpose.TRAINING)
    found: Tensor = learner.direction(theta, state["phi"], generator, learner.inputs(state), *origin)
    return found


def divergence(before: Tensor, after: Tensor) -> Tensor:
    """KL(before || after), mean over observations, of logits of cooperation."""
    old, new = (torch.distributions.Bernoulli(logits=logits) for logits in (before, after))
    return torch.distributions.kl_divergence(old, new).mean()


def values(game: Any, first: Tensor, second: Tensor) -> Tensor:
    chances = torch.stack((first, second)).sigmoid()
    found: Tensor = game.values(torch.stack((chances, 1 - chances), -1)) * game.effective_horizon
    return found


def by_hand(game: Any, logits: Tensor, origin: Tensor, learner: int, kl: tuple[float, float]) -> Tensor:
    """One agent's direction by plain autodiff: the other one takes 3 penalized steps of 0.4 from `origin`."""
    own = logits[learner].clone().requires_grad_()
    start = origin[1 - learner]
    other = start.clone().requires_grad_()
    for _ in range(3):
        pair = (own, other) if learner == 0 else (other, own)
        loss = kl[0] * divergence(start, other) - values(game, *pair)[1 - learner]
        other = other - 0.4 * torch.autograd.grad(loss, other, create_graph=True)[0]
    pair = (own, other) if learner == 0 else (other, own)
    loss = kl[1] * divergence(origin[learner], own) - values(game, *pair)[learner]
    return torch.autograd.grad(loss, own)[0]


@pytest.mark.parametrize("kl", [(0.0, 2.0), (3.0, 0.0), (3.0, 2.0)])
@pytest.mark.parametrize("game", [REPEATED, FINITE], ids=["endless", "3"])
def test_exact_directions_equal_plain_autodiff(game: Game, kl: tuple[float, float]) -> None:
    learner = built(
        game,
        inner__exact=True,
        look_ahead__steps=3,
        look_ahead__learning_rate=0.4,
        look_ahead__kl_coef=kl[0],
        proximal__kl_coef=kl[1],
    )
    width = learner.init(0)["theta"].shape[-1]
    logits = torch.linspace(-1, 1, 2 * width, dtype=F64).reshape(2, width)
    origin = logits.flip(-1) / 2
    expected = torch.stack([by_hand(game, logits, origin, agent, kl) for agent in (0, 1)])
    found = direction(learner, logits[None], origin[None])[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("exact", [True, False])
def test_one_step_without_penalties_is_lola_dice(exact: bool) -> None:
    settings: dict[str, Any] = {
        "inner__exact": exact,
        "inner__episodes": 4,
        "look_ahead__steps": 2,
        "look_ahead__learning_rate": 0.3,
        "seeds": 2,
    }
    pola = built(FINITE, proximal__steps=1, proximal__kl_coef=0.0, **settings)
    lola = built(FINITE, LOLADiCE, **settings)
    state = pola.init(0)
    ours, theirs = direction(pola, state["theta"]), direction(lola, state["theta"])
    assert ours.abs().min() > 0
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    ours, theirs = pola.update(state)[0]["theta"], lola.update(lola.init(0))[0]["theta"]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("kl_coef", [0.5, 4.0])
def test_an_update_is_the_proximal_point(kl_coef: float) -> None:
    """One-shot game, no imagined learning: V_i = slope p + constant, where the KL penalty has a closed form.

    slope = kl_coef ((1 - q) / (1 - p) - q / p) at the optimum, q being the probability before.
    """
    learner = built(
        CHICKEN,
        inner__exact=True,
        inner__learning_rate=0.3,
        look_ahead__learning_rate=0.0,
        proximal__steps=300,
        proximal__kl_coef=kl_coef,
    )
    before = learner.init(1)
    theta = learner.update(before)[0]["theta"]
    q, p = (learner.play.policy.probabilities(t)[0, :, 0, 0] for t in (before["theta"], theta))

    def policies(own: float, other: float) -> Tensor:
        return torch.tensor([[[own, 1 - own]], [[other, 1 - other]]], dtype=F64)

    for agent in (0, 1):
        other = float(q[1 - agent])
        always, never = (CHICKEN.values(policies(own, other))[0] for own in (1.0, 0.0))
        stationary = kl_coef * ((1 - q[agent]) / (1 - p[agent]) - q[agent] / p[agent])
        torch.testing.assert_close(stationary, always - never, rtol=1e-6, atol=1e-6)
        assert abs(p[agent] - q[agent]) > 1e-3


@dataclass(frozen=True)
class Mixed(Tabular):
    """A table whose parameters are mixed linearly: logits = mix parameters."""

    mix: Any = None

    def table(self, theta: Tensor) -> Tensor:
        return super().table(theta @ self.mix.mT)


def policies_after(learner: Any, mix: Tensor | None, logits: Tensor, *, solved: bool) -> Tensor:
    """Probabilities after an update, from policies with these logits."""
    theta = logits
    if mix is not None:
        table = learner.play.policy
        mixed = Mixed(table.num_observations, table.num_actions, mix=mix)
        learner.play = dataclasses.replace(learner.play, policy=mixed)
        theta = torch.linalg.solve(mix, logits.mT).mT
    torch.testing.assert_close(learner.play.policy.table(theta[None])[0, ..., 0], logits)
    state = {**learner.init(0), "theta": theta[None]}
    after = learner.update(state)[0]["theta"]
    if solved:
        assert direction(learner, after, state["theta"]).abs().max() < 1e-5
    found: Tensor = learner.play.policy.probabilities(after)
    return found


MIX = torch.eye(5, dtype=F64) - 0.5 * torch.tensor([[0.0] * 5] + [[1.0] + [0.0] * 4] * 4, dtype=F64)
"""As the paper's pre-conditioned tables (LOLA_exact.py), with 0.5 instead of 2, so that few steps suffice."""


@pytest.mark.parametrize(
    ("game", "mix", "settings"),
    [
        (
            REPEATED,
            MIX,
            {"look_ahead__learning_rate": 0.0, "proximal__steps": 80, "proximal__kl_coef": 100.0}
            | {"inner__learning_rate": 0.12},
        ),
        (
            CHICKEN,
            torch.tensor([[1.5]], dtype=F64),
            {"look_ahead__steps": 32, "look_ahead__learning_rate": 0.4, "look_ahead__kl_coef": 5.0}
            | {"proximal__steps": 32, "proximal__kl_coef": 5.0, "inner__learning_rate": 0.4},
        ),
    ],
    ids=["own-problem", "both-problems"],
)
def test_solved_updates_do_not_depend_on_the_parametrization(
    game: Game, mix: Tensor, settings: dict[str, Any]
) -> None:
    logits = LOGITS[:, : len(mix)]
    settings = {"inner__exact": True, **settings}
    one, other = (
        policies_after(built(game, **settings), mixing, logits, solved=True) for mixing in (None, mix)
    )
    assert (one - logits.sigmoid()[None, ..., None]).abs().max() > 1e-2
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    one, other = (
        policies_after(built(game, LOLADiCE, inner__exact=True), mixing, logits, solved=False)
        for mixing in (None, mix)
    )
    assert (one - other).abs().max() > 1e-2  # the update of lola-dice does depend on it


def test_a_larger_coefficient_makes_smaller_updates() -> None:
    moved = []
    for kl_coef in (0.5, 5.0, 50.0):
        learner = built(inner__exact=True, inner__learning_rate=0.05, proximal__kl_coef=kl_coef)
        state = learner.init(0)
        moved.append(
            float(learner.play.divergence(state["theta"], learner.update(state)[0]["theta"], ()).max())
        )
    assert moved[0] > moved[1] > 2 * moved[2] > 0


def test_each_update_is_a_new_minimization() -> None:
    """The optimizer starts afresh: momentum does not leak into the next update."""
    learner = built(inner__exact=True, inner__optimizer="adam", proximal__steps=3)
    first = learner.update(learner.init(0))[0]
    fresh = {**learner.init(0), "theta": first["theta"], "outer_step": first["outer_step"]}
    torch.testing.assert_close(
        learner.update(first)[0]["theta"], learner.update(fresh)[0]["theta"], rtol=0, atol=0
    )


@pytest.mark.parametrize("policy", ["gru", "mlp"])
def test_sampled_networks_take_finite_steps(policy: str) -> None:
    game = games.make("repeated-prisoners-dilemma", horizon=4)
    learner = built(
        game,
        seeds=2,
        policy=policy,
        policy__hidden_size=(3,),
        inner__episodes=4,
        proximal__steps=2,
        look_ahead__kl_coef=1.0,
    )
    state = learner.init(0)
    after, _ = learner.update(state)
    assert after["theta"].isfinite().all()
    assert (after["theta"] != state["theta"]).any(-1).all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"inner.surrogate": "reinforce"}, "choose dice or loaded-dice"),
        ({"policy": "mlp", "policy.share_parameters": True}, "leave share_parameters off"),
        ({"look_ahead.steps": 0}, "look_ahead.steps must be a whole number, 1 or more"),
        ({"look_ahead.kl_coef": -1.0}, "look_ahead.kl_coef must be a finite number of 0 or more"),
        ({"proximal.steps": 0}, "proximal.steps must be a whole number, 1 or more"),
        ({"proximal.kl_coef": -0.1}, "proximal.kl_coef must be a finite number of 0 or more"),
        ({"proximal.kl_coef": float("nan")}, "proximal.kl_coef must be a finite number of 0 or more"),
        ({"policy": "mlp", "inner.exact": True}, "Exact values need a tabular policy"),
        ({"inner": "ppo"}, "inner"),
    ],
)
def test_bad_input_is_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        built(**settings)


@pytest.mark.parametrize("kind", [POLA, LOLADiCE])
def test_one_agent_is_refused(kind: type[PolicyMethod]) -> None:
    with pytest.raises(ValueError, match="has one agent: there is nobody whose learning to shape"):
        built(games.from_gymnasium("FrozenLake-v1"), kind)
