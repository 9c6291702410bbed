"""PPO: whole inner steps against a plain torch loop; what clipping stops; what is differentiated again."""

from typing import Any

import pytest
import torch
from torch import Tensor

import games
from bilevel.agents import CriticPlay, PolicyWithCritic, PPOPlay, Reinforce, Tabular, allowed
from bilevel.agents._surrogates import LoadedDice
from bilevel.core import Step, inner_step_per_agent, over_minibatches
from bilevel.optimizers import sgd
from bilevel.sharing import SharedBy
from tests.bilevel.agents.critic_cases import BONUS, PLAYED, REPEATED, SEEDS, TRACE, Case, draw, ppo

RATE = 0.3
SETTINGS: dict[str, dict[str, Any]] = {
    "clipped": {"epochs": 3, "clip_range": 0.05},
    "minibatches": {"epochs": 2, "minibatches": 4, "clip_range": 0.1, "normalize": True},
    "normalized": {"epochs": 3, "clip_range": 0.05, "normalize": True},
    "values clipped": {"epochs": 3, "clip_range": 0.05, "value_clip": 0.02},
    "centered": {"epochs": 2, "minibatches": 4, "clip_range": 0.1, "center": True},
    "discounted": {"epochs": 3, "clip_range": 0.05, "discount": 0.4},
}


def step_of(case: Case) -> Step:
    return over_minibatches(inner_step_per_agent(case.losses, sgd(RATE)), case.batches)


def moved(case: Case, theta: Tensor | None = None) -> Tensor:
    theta = case.theta if theta is None else theta
    return step_of(case)(theta, sgd(RATE).init(theta), case.phi, case.data)[0]


def plain_ppo(case: Case, seed: int, agent: int) -> Tensor:
    """One agent's inner step as released code writes it, but for steps that count by discount^t."""
    play, data = case.play, case.data
    assert isinstance(play, PPOPlay)
    discount, policy = play.game.discount, play.policy
    ahead = discount if play.discount is None else play.discount
    own = case.theta[seed, agent].clone().requires_grad_()
    rows = case.theta[seed].unbind(0)

    def run(episodes: slice) -> tuple[torch.distributions.Categorical, Tensor]:
        theta = torch.stack([own if other == agent else row for other, row in enumerate(rows)])
        seen = data.observations[seed][:, :, episodes]
        legal = None if data.legal is None else data.legal[seed][:, :, episodes]
        logits = allowed(policy.unroll(theta, seen), legal)
        return torch.distributions.Categorical(logits=logits[agent]), policy.values(theta, seen)[agent]

    mask, actions = data.mask[seed, 0], data.actions[seed, agent]
    rewards = case.transfer(case.phi).rewards(data)[seed, agent]
    with torch.no_grad():
        before, known = run(slice(None))
        old, known = before.log_prob(actions), known * mask
    advantages, following, value = torch.zeros_like(known), 0.0, 0.0
    for time in reversed(range(len(known))):
        surprise = rewards[time] + ahead * value - known[time]
        advantages[time] = surprise + ahead * TRACE * following
        following, value = advantages[time], known[time]
    targets = advantages + known
    weights = torch.tensor([discount**time for time in range(len(known))], dtype=torch.float64).unsqueeze(-1)
    optimizer = torch.optim.SGD([own], lr=RATE)
    parts = [slice(None)] if play.minibatches == 1 else [slice(0, 1), slice(1, 3), slice(3, 4), slice(4, 6)]
    for part in parts * play.epochs:
        distribution, values = run(part)
        running, edge, taken = mask[:, part], play.clip_range, actions[:, part]
        gain = advantages[:, part]
        if play.center:
            gain = gain - (gain * running).sum(-1, keepdim=True) / running.sum(-1, keepdim=True).clamp(min=1)
        if play.normalize:
            steps = gain[running > 0]
            gain = (gain - steps.mean()) / (steps.var(unbiased=False) + 1e-8).sqrt()
        ratio = (distribution.log_prob(taken) - old[:, part]).exp()
        gains = torch.min(ratio * gain, ratio.clamp(1 - edge, 1 + edge) * gain) * running
        errors = (values - targets[:, part]).square()
        if play.value_clip is not None:
            near = known[:, part] + (values - known[:, part]).clamp(-play.value_clip, play.value_clip)
            errors = torch.max(errors, (near - targets[:, part]).square())
        loss = -(weights * gains).sum(0).mean() + 0.5 * (errors * running).sum() / running.sum() / 2
        loss = loss - BONUS * (distribution.entropy() * running).sum(0).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return own.detach()


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("name", ["table", "mlp", "conv", "numbered gru"])
def test_an_inner_step_is_that_of_a_plain_loop(name: str, settings: dict[str, Any]) -> None:
    case = ppo(name, **settings)
    found = moved(case)
    for seed in range(SEEDS):
        for agent in range(case.agents):
            expected = plain_ppo(case, seed, agent)
            torch.testing.assert_close(found[seed, agent], expected, rtol=1e-9, atol=1e-11)
            assert not torch.allclose(expected, case.theta[seed, agent], atol=1e-4)


def test_the_settings_matter() -> None:
    """Each of them moves policies elsewhere, so that the comparison above holds all of them."""
    ends = [moved(ppo("mlp", **settings)) for settings in (*SETTINGS.values(), {"epochs": 3})]
    for place, end in enumerate(ends):
        assert all((end - other).abs().max() > 1e-5 for other in ends[:place])


@pytest.mark.parametrize("name", PLAYED)
def test_one_epoch_is_the_first_order_step_of_actor_critic(name: str) -> None:
    once, plain = ppo(name, epochs=1), Case(name)
    for one, other in zip(once.data[:4], plain.data[:4], strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(moved(once), moved(plain), rtol=0, atol=1e-12)


def test_samples_know_how_likely_what_was_done_was() -> None:
    case, plain = ppo("gru"), Case("gru")
    assert plain.data.log_probabilities is None
    logits = case.play._logits(case.theta, case.data)
    expected = torch.distributions.Categorical(logits=logits).log_prob(case.data.actions) * case.data.mask
    torch.testing.assert_close(case.data.log_probabilities, expected, rtol=0, atol=1e-14)
    (data,) = plain.batches(case.theta, case.phi, plain.data)
    with pytest.raises(
        ValueError, match="PPO needs the log-probabilities of the actions when they were drawn"
    ):
        case.losses(case.theta, case.theta, case.phi, data)


@pytest.mark.parametrize("better", [True, False])
def test_a_ratio_beyond_the_range_gains_nothing_more(better: bool) -> None:
    """Everybody's advantage has one sign; likelier than the range allows, better actions stop pulling."""
    game = games.make("prisoners-dilemma")
    policy = PolicyWithCritic.of(Tabular(num_observations=1, num_actions=2))
    play = PPOPlay(game, policy, Reinforce(), 50, clip_range=0.2)
    sign = 10.0 if better else -10.0
    theta = torch.tensor([0.0, -sign], dtype=torch.float64).expand(1, 2, 2)  # rewards are between 0 and -3
    keep = SharedBy(torch.eye(2, dtype=torch.float64)[None])
    sample = play.sample(theta, keep, torch.Generator().manual_seed(0))
    data = play.batches(theta, keep, sample)[0]
    first = data.episodes.actions == 0

    def by_logit(logit: float) -> Tensor:
        """How the policies' term moves with each log-odds of the first action, [agent]."""
        own = torch.tensor([logit, 0.0], dtype=torch.float64).expand(1, 2, 2)
        return torch.func.grad(lambda own: play.terms(own, theta, keep, data).policy.sum())(own)[0, :, 0]

    gains = data.rewards - data.values
    assert ((gains > 0) == better).all()
    for logit in (-1.0, 0.1, 1.0):
        p = torch.tensor(logit, dtype=torch.float64).sigmoid()
        ratio = torch.where(first, p, 1 - p) / 0.5
        beyond = ratio > 1.2 if better else ratio < 0.8
        slope = torch.where(first, 1, -1) * p * (1 - p) / 0.5
        expected = -torch.where(beyond, 0, slope * gains).sum(-2).mean(-1)[0]
        torch.testing.assert_close(by_logit(logit), expected, rtol=0, atol=1e-12)
        assert beyond.any() == (abs(logit) > 0.5)


def test_differentiated_again_it_sees_what_one_action_of_one_agent_makes_likelier() -> None:
    """On a one-shot game: own by own as Loaded DiCE does; nothing of how the others' actions come about."""
    game, policy = games.make("chicken"), PolicyWithCritic.of(Tabular(num_observations=1, num_actions=2))
    theta = draw(0, 1, 2, 2)
    keep = SharedBy(torch.eye(2, dtype=torch.float64)[None])
    plays = (
        PPOPlay(game, policy, Reinforce(), 40, epochs=1),
        CriticPlay(game, policy, LoadedDice(), 40),
    )
    sample = plays[0].sample(theta, keep, torch.Generator().manual_seed(0))

    def gradient(play: CriticPlay, theta: Tensor) -> Tensor:
        (data,) = play.batches(theta, keep, sample)
        terms = play.terms
        return torch.func.grad(lambda own: terms(own, theta, keep, data).policy.sum())(theta)[0, :, 0]

    clipped, unbiased = (
        torch.func.jacrev(lambda theta, play=play: gradient(play, theta))(theta)[:, 0, :, 0] for play in plays
    )
    torch.testing.assert_close(clipped.diagonal(), unbiased.diagonal(), rtol=0, atol=1e-12)
    assert unbiased.diagonal().abs().min() > 1e-3
    assert not (clipped - clipped.diagonal().diag()).any()
    assert (unbiased - unbiased.diagonal().diag()).abs().max() > 1e-3


def test_graphs_that_change_are_cut_with_their_episodes() -> None:
    """In a jungle where agents wander, each minibatch shares along the edges of its own episodes."""
    case = ppo("mlp", minibatches=2, epochs=1)
    agents = case.data.actions.shape[1]
    size = (SEEDS, agents, agents, *case.data.actions.shape[-2:])
    graph = draw(7, *size) > 0
    parts = case.play.batches(case.theta, case.transfer(case.phi), case.data._replace(neighbors=graph))
    together = torch.cat([part.episodes.neighbors for part in parts[:2]], -1)
    assert torch.equal(together, graph)
    assert all(part.episodes.neighbors.shape[-1] == part.episodes.actions.shape[-1] for part in parts)


@pytest.mark.parametrize("discount", [0.0, 0.4, REPEATED.discount])
def test_the_outer_derivative_discounts_the_rewards_after_a_joint_action(discount: float) -> None:
    case, plain = ppo("table", discount=discount), ppo("table")
    data = case.data._replace(rewards=case.data.rewards + 0.1 * draw(8, *case.data.rewards.shape))
    theta = case.theta.clone().requires_grad_()
    found = case.play.values(theta, data)
    torch.testing.assert_close(found, plain.play.values(theta, data), rtol=0, atol=1e-12)
    log = case.play._chosen(case.play._logits(theta, data), data).sum(-3)  # seed, time, episode
    steps, expected = log.shape[1], torch.zeros(())
    for time in range(steps):
        for episode in range(log.shape[2]):
            for ahead in range(time, steps):
                rewards = data.rewards[:, :, ahead].sum(1)
                others = (rewards.sum(-1) - rewards[:, episode]) / (log.shape[2] - 1)
                gain = discount ** (ahead - time) * (rewards[:, episode] - others)
                weight = REPEATED.discount**time / log.shape[2] / REPEATED.effective_horizon
                expected = expected + (weight * gain * log[:, time, episode]).sum()
    slope, by_hand = (torch.autograd.grad(loss, theta)[0] for loss in (found.sum(), expected))
    torch.testing.assert_close(slope, by_hand, rtol=1e-9, atol=1e-12)
    unbiased = torch.autograd.grad(plain.play.values(theta, data).sum(), theta)[0]
    assert torch.allclose(slope, unbiased, atol=1e-12) == (discount == REPEATED.discount)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"clip_range": 0.0}, "clip_range must be a finite number above 0, not 0"),
        ({"value_clip": -0.1}, "value_clip must be a finite number above 0, not -0.1"),
        ({"discount": 1.1}, "discount must be a finite number from 0 to 1, not 1.1"),
        ({"epochs": 0}, "epochs is a whole number from 1, not 0"),
        ({"minibatches": 1.5}, "minibatches is a whole number from 1, not 1.5"),
    ],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ppo("table", **settings)


def test_more_minibatches_than_episodes_are_refused_in_a_step() -> None:
    """Not before: policies may be measured on fewer episodes than they learn from."""
    case = ppo("table", minibatches=7, episodes=6)
    with pytest.raises(ValueError, match="6 episodes cannot be split into 7 minibatches"):
        case.batches(case.theta, case.phi, case.data)
