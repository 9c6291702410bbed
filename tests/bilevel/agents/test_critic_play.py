"""Actor-critic losses: against plain torch, agent by agent; what is a constant, and what is not."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bilevel.agents import CriticPlay, PPOPlay, Reinforce, SampledPlay, TermWeights, allowed, chosen, weighted
from bilevel.agents._critic_play import RolloutBatch
from bilevel.agents._surrogates import reinforce
from tests.bilevel.agents.critic_cases import BONUS, PLAYED, SEEDS, SURROGATES, TRACE, Case, draw

every_policy = pytest.mark.parametrize("name", PLAYED)
WEIGHTS = TermWeights(policy=0.7, value=0.3)


def own_gradient(case: Case, own: Tensor, others: Tensor, data: RolloutBatch) -> Tensor:
    return torch.func.grad(lambda own: case.losses(own, others, case.phi, data).sum())(own)


def plain_gradient(case: Case, seed: int, agent: int) -> Tensor:
    """One agent's, by loops over time and autograd: advantages by their recursion, detached."""
    data, policy, discount = case.data, case.play.policy, case.play.game.discount
    own = case.theta[seed, agent].clone().requires_grad_()
    rows = case.theta[seed].unbind(0)
    theta = torch.stack([own if other == agent else row for other, row in enumerate(rows)])
    legal = None if data.legal is None else data.legal[seed]
    logits = allowed(policy.unroll(theta, data.observations[seed]), legal)[agent]
    values = policy.values(theta, data.observations[seed])[agent]
    mask, rewards = data.mask[seed, 0], case.transfer(case.phi).rewards(data)[seed, agent]
    known = values.detach() * mask
    advantages, following, value = torch.zeros_like(known), 0.0, 0.0
    for time in reversed(range(len(known))):
        surprise = rewards[time] + discount * value - known[time]
        advantages[time] = surprise + discount * TRACE * following
        following, value = advantages[time], known[time]
    distribution = torch.distributions.Categorical(logits=logits)
    log = distribution.log_prob(data.actions[seed, agent]) * mask
    weights = torch.tensor([discount**time for time in range(len(known))], dtype=torch.float64).unsqueeze(-1)
    policy_loss = -(weights * log * advantages).sum(0).mean()
    value_loss = ((values - advantages - known).square() * mask).sum() / mask.sum() / 2
    bonus = (distribution.entropy() * mask).sum(0).mean()
    loss = WEIGHTS.policy * policy_loss + WEIGHTS.value * value_loss - BONUS * bonus
    (gradient,) = torch.autograd.grad(loss, own)
    return gradient


@every_policy
def test_the_gradient_is_plain_torchs_for_each_agent_and_seed(name: str) -> None:
    case = Case(name, weights=WEIGHTS)
    (data,) = case.batches(case.theta, case.phi, case.data)
    found = own_gradient(case, case.theta, case.theta, data)
    for seed in range(SEEDS):
        for agent in range(case.agents):
            expected = plain_gradient(case, seed, agent)
            torch.testing.assert_close(found[seed, agent], expected, rtol=1e-10, atol=1e-12)
            assert all(part.any() for part in case.play.policy.split(expected))


@pytest.mark.parametrize("name", ["table", "gru"])
@pytest.mark.parametrize(("surrogate", "gae_lambda"), [("dice", 1.0), ("loaded-dice", TRACE)])
def test_every_surrogate_has_the_same_first_derivative(name: str, surrogate: str, gae_lambda: float) -> None:
    plain, other = (
        Case(name, gae_lambda=gae_lambda, surrogate=each)
        for each in (Reinforce(gae_lambda=gae_lambda), SURROGATES[surrogate])
    )
    if gae_lambda == 1.0:
        assert other.play.surrogate is SURROGATES["dice"]
    (data,) = plain.batches(plain.theta, plain.phi, plain.data)
    found, expected = (own_gradient(case, case.theta, case.theta, data) for case in (other, plain))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_without_values_the_surrogates_are_those_of_policy_gradients() -> None:
    """A critic that always says 0, and the whole sampled return: no baseline at all."""
    case = Case("table", gae_lambda=1.0, surrogate=Reinforce(gae_lambda=1.0))
    theta = case.theta.clone()
    case.play.policy.split(theta)[1].zero_()
    (data,) = case.batches(theta, case.phi, case.data)
    assert not data.values.any()
    found = case.play.terms(theta, theta, case.transfer(case.phi), data).policy
    log = chosen(case.play._logits(theta, case.data), case.data.actions)
    ahead = 0.9 ** torch.arange(5, dtype=torch.float64)
    returns = torch.stack([(ahead[: 5 - t, None] * data.rewards[..., t:, :]).sum(-2) for t in range(5)], -2)
    expected = -(ahead[:, None] * log * returns).sum(-2).mean(-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@every_policy
def test_a_step_takes_values_for_constants_and_a_hypergradient_does_not(name: str) -> None:
    case = Case(name)

    def losses(own: Tensor, before: Tensor, phi: Tensor) -> Tensor:
        (data,) = case.batches(before, phi, case.data)
        return case.losses(own, before.detach(), phi, data).sum()

    def step(before: Tensor, phi: Tensor) -> Tensor:
        return torch.func.grad(losses)(before, before, phi)

    along = case.play.policy.split(draw(5, *case.theta.shape))[0]
    by_critics, by_rewards = torch.func.grad(
        lambda before, phi: (case.play.policy.split(step(before, phi))[0] * along).sum(), argnums=(0, 1)
    )(case.theta, case.phi)
    assert case.play.policy.split(by_critics)[1].any()
    assert by_rewards.any()


def test_terms_are_what_the_loss_adds_up() -> None:
    case = Case("mlp", weights=WEIGHTS)
    (data,) = case.batches(case.theta, case.phi, case.data)
    other = case.theta + 0.1 * draw(9, *case.theta.shape)
    terms = case.play.terms(other, case.theta, case.transfer(case.phi), data)
    found = case.losses(other, case.theta, case.phi, data)
    assert torch.equal(found, weighted(terms, WEIGHTS._replace(entropy=BONUS)))
    assert all(term.shape == (SEEDS, case.agents) and term.abs().min() > 0 for term in terms)


@every_policy
def test_the_extrinsic_value_is_that_of_the_policy_alone(name: str) -> None:
    """In value and derivative; critics, who know other rewards, have no part in it."""
    case = Case(name)
    policy = PLAYED[name][1]
    alone = SampledPlay(case.play.game, policy, reinforce, case.play.episodes)
    own = case.play.policy.split(case.theta)[0]
    assert torch.equal(case.play.values(case.theta, case.data), alone.values(own, case.data))
    gradient = torch.func.grad(lambda theta: case.play.values(theta, case.data).sum())(case.theta)
    by_policy, by_critic = case.play.policy.split(gradient)
    expected = torch.func.grad(lambda theta: alone.values(theta, case.data).sum())(own)
    torch.testing.assert_close(by_policy, expected, rtol=0, atol=1e-14)
    assert by_policy.any()
    assert not by_critic.any()


@pytest.mark.parametrize("kind", [CriticPlay, PPOPlay])
def test_a_policy_without_a_critic_is_refused(kind: type[CriticPlay]) -> None:
    game, policy = PLAYED["table"]
    with pytest.raises(ValueError, match="Actor-critic and PPO need a critic"):
        kind(game, policy, reinforce, 4)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"gae_lambda": 1.5}, "gae_lambda must be a finite number from 0 to 1, not 1.5"),
        ({"gae_lambda": float("nan")}, "gae_lambda must be a finite number from 0 to 1, not nan"),
        ({"weights": TermWeights(policy=0.0)}, "policy_weight must be a finite number above 0, not 0"),
        ({"weights": TermWeights(value=-1.0)}, "value_weight must be a finite number above 0, not -1"),
    ],
)
@pytest.mark.parametrize("kind", [CriticPlay, PPOPlay])
def test_numbers_out_of_range_are_refused(
    kind: type[CriticPlay], settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        Case("table", kind, **settings)


def test_weights_that_may_be_learned_are_tensors_of_any_value() -> None:
    weights = TermWeights(policy=torch.zeros(SEEDS, 1), value=torch.tensor(-1.0))
    assert Case("table", weights=weights).play.weights == weights
