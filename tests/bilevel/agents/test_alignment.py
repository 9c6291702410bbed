"""Aligned advantages: the hand-derived example, plain loops, and the losses that they enter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import games
from bilevel.agents import Alignment
from bilevel.agents._loss_terms import centered_by_step, normalized
from bilevel.core import Purpose
from bilevel.methods import AdvantageAlignment, Placement, Selfish
from tests.bilevel.methods.configured import configured

F64 = torch.float64
TWO = torch.tensor([[1.0, -1.0, 2.0], [0.5, 1.0, -1.0]], dtype=F64).unsqueeze(-1)  # agent, time, episode
REPEATED = games.make("repeated-prisoners-dilemma", horizon=5)


def by_loops(rule: str, advantages: Tensor, weight: float, discount: float, gae_lambda: float) -> Tensor:
    """Aligned advantages [agent, time, episode], an entry at a time."""
    decay = discount * gae_lambda
    found = advantages.clone()
    agents, times, episodes = advantages.shape
    for i in range(agents):
        for t in range(times):
            for e in range(episodes):
                others = sum(float(advantages[j, t, e]) for j in range(agents) if j != i)
                if rule == "paper":
                    earlier = discount * sum(
                        discount ** (t - k) * float(advantages[i, k, e]) for k in range(t)
                    )
                elif rule == "causal":  # from the errors delta_k = A_k - decay A_{k + 1} of steps before t
                    own = [*map(float, advantages[i, :, e]), 0.0]
                    errors = [own[k] - decay * own[k + 1] for k in range(t)]
                    estimates = [sum(decay ** (m - k) * errors[m] for m in range(k, t)) for k in range(t)]
                    earlier = discount * sum(discount ** (t - k) * estimates[k] for k in range(t))
                else:
                    earlier = sum(float(advantages[i, k, e]) for k in range(t)) / max(t, 1)
                found[i, t, e] += weight * earlier * others
    return found


@pytest.mark.parametrize(("rule", "expected"), [("paper", [1, -0.19, 2.081]), ("released", [1, 0, 2])])
def test_the_hand_derived_example(rule: Any, expected: list[float]) -> None:
    found = Alignment(rule=rule)(TWO, discount=0.9)[0].flatten()
    torch.testing.assert_close(found, torch.tensor(expected, dtype=F64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", ["paper", "causal", "released"])
@pytest.mark.parametrize("agents", [2, 4])
def test_against_loops_with_seeds_as_a_batch(rule: Any, agents: int) -> None:
    advantages = torch.randn(3, agents, 6, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    found = Alignment(rule=rule, weight=0.7)(advantages, discount=0.8, gae_lambda=0.6)
    for seed in range(3):
        expected = by_loops(rule, advantages[seed], 0.7, 0.8, 0.6)
        torch.testing.assert_close(found[seed], expected, rtol=0, atol=1e-12)


def test_without_lambda_the_causal_rule_is_the_papers() -> None:
    """Advantages of one step include no later one."""
    found = Alignment(rule="causal")(TWO, 0.9, gae_lambda=0.0)
    torch.testing.assert_close(found, Alignment()(TWO, 0.9), rtol=0, atol=0)


def test_causal_weights_of_earlier_advantages_ignore_later_steps() -> None:
    """Errors of later steps change A_t itself and the other agents' A_t, not the weight between them."""
    draws = torch.Generator().manual_seed(1)
    errors = torch.randn(2, 6, 3, generator=draws, dtype=F64)
    changed = errors.clone()
    changed[0, 3:] += 1  # agent 0 from step 3 on

    def weights(errors: Tensor, rule: Any) -> Tensor:
        times = torch.arange(6)
        later = times - times[:, None]
        decays = (0.9 * 0.8) ** later.clamp(min=0) * (later >= 0)
        advantages = torch.einsum("tk,akb->atb", decays.double(), errors)
        aligned = Alignment(rule=rule)(advantages, 0.9, gae_lambda=0.8)
        return ((aligned - advantages)[0] / advantages[1])[:4]

    torch.testing.assert_close(weights(errors, "causal"), weights(changed, "causal"))
    assert (weights(errors, "paper") - weights(changed, "paper"))[1:].abs().min() > 0.1


@pytest.mark.parametrize("rare", [0.1, 0.5, 0.8])
def test_the_papers_weights_push_policies_without_a_past(rare: float) -> None:
    """One action, in step 1: with probability q agent 0 gains 1, and agent 1 loses 2.

    Its expected gradient, by both outcomes, of the added term is discount^3 lambda q (1 - q) (1 - 2 q) (-2).
    """
    discount, gae_lambda = 0.9, 0.8
    chances = torch.tensor([rare, 1 - rare], dtype=F64)
    gains = torch.tensor([[1.0, 0.0], [-2.0, 0.0]], dtype=F64)  # agent, outcome
    last = gains - (gains * chances).sum(-1, keepdim=True)
    advantages = torch.stack((discount * gae_lambda * last, last), 1)  # nothing happens in step 0
    score = torch.tensor([1 - rare, -rare], dtype=F64)  # derivative of log-probabilities by the logit

    def push(rule: Any) -> float:
        added = Alignment(rule=rule)(advantages, discount, gae_lambda) - advantages
        return float((chances * score * added[0, 1]).sum())

    expected = discount**3 * gae_lambda * rare * (1 - rare) * (1 - 2 * rare) * -2
    assert push("paper") == pytest.approx(expected, abs=1e-12)
    assert push("causal") == pytest.approx(0, abs=1e-12)


def test_without_weight_or_with_one_agent_nothing_is_added() -> None:
    assert torch.equal(Alignment(weight=0.0)(TWO, 0.9), TWO)
    assert torch.equal(Alignment()(TWO[:1], 0.9), TWO[:1])


@pytest.mark.parametrize("inner", ["actor-critic", "ppo"])
@pytest.mark.parametrize("rule", ["paper", "causal", "released"])
@pytest.mark.parametrize("policy", ["tabular", "gru"])
def test_first_gradients_are_of_aligned_advantages(policy: str, inner: str, rule: Any) -> None:
    """At the policies that drew the sample, PPO's gradient is actor-critic's; the critics' is not changed."""
    method = configured(
        AdvantageAlignment,
        policy=policy,
        inner=inner,
        inner__alignment=rule,
        inner__alignment_coef=0.5,
        inner__episodes=6,
        **({"inner__center_adv": False, "inner__norm_adv": False} if inner == "ppo" else {}),
    )
    learner: Any = method.build(REPEATED, Placement())
    state = learner.init(0)
    theta, transfer, play = state["theta"], learner.transfer(state["phi"]), learner.play
    sample = play.sample(theta, transfer, learner.streams(state, Purpose.TRAINING))
    data = play.batches(theta, transfer, sample)[0]
    own = theta.clone().requires_grad_()
    terms = play.terms(own, theta, transfer, data)
    (found,) = torch.autograd.grad(terms.policy.sum(), own, retain_graph=True)
    advantages = play._advantages(data)
    aligned = by_loops(rule, advantages[0], 0.5, REPEATED.discount, play.gae_lambda)
    steps = REPEATED.discount ** torch.arange(5, dtype=F64).unsqueeze(-1)
    log = play._chosen(play._logits(own, sample), sample)[0]
    expected = torch.autograd.grad(-(steps * log * aligned).sum((-3, -2)).mean(), own)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    unaligned: Any = Selfish().with_settings({"policy": policy, "inner": inner, "inner.episodes": 6})
    plain = unaligned.build(REPEATED, Placement()).play.terms(own, theta, transfer, data)
    assert torch.equal(terms.value, plain.value)
    assert not torch.allclose(terms.policy, plain.policy)


def test_ppo_centers_and_normalizes_before_it_aligns() -> None:
    method = configured(AdvantageAlignment, inner__episodes=6)
    learner: Any = method.build(REPEATED, Placement())
    state = learner.init(1)
    theta, transfer, play = state["theta"], learner.transfer(state["phi"]), learner.play
    data = play.batches(theta, transfer, play.sample(theta, transfer, torch.Generator().manual_seed(0)))[0]
    acting = data.episodes.acting
    scaled = normalized(centered_by_step(play._advantages(data), acting), acting)[0]
    aligned = by_loops("paper", scaled, 1.0, REPEATED.discount, play.gae_lambda)
    steps = REPEATED.discount ** torch.arange(5, dtype=F64).unsqueeze(-1)
    expected = -(steps * aligned).sum(-2).mean(-1)  # every ratio is 1
    found = play.terms(theta, theta, transfer, data).policy[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="rule of alignment"):
        Alignment(rule="papers")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="weight must be a finite number of 0 or more"):
        Alignment(weight=-1.0)
