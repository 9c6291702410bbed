"""COALA-PG: its gradient against the enumeration of all meta-episodes, play by hand, and refusals."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

import games
from bilevel.core import Purpose
from bilevel.methods import COALAPG, Placement
from bilevel.methods._batched_credit import batched_advantages, batched_credit
from bilevel.methods._coala_learner import Sequences, in_sequence
from games.core import Game
from tests.bilevel.methods.configured import configured

F64 = torch.float64
STAGE = games.make("prisoners-dilemma")
REPEATED = games.make("repeated-prisoners-dilemma", horizon=4)
SMALL: dict[str, Any] = {
    "meta.steps": 2,
    "meta.episodes": 2,
    "meta.hidden_size": (3,),
    "meta.recurrent_size": 3,
    "inner.episodes": 2,
    "training.ent_coef": 0.0,
}


def built(game: Game = STAGE, /, **settings: Any) -> Any:
    """Two underscores stand for the dot of a part; `seeds` is the placement's."""
    seeds = settings.pop("seeds", 1)
    return configured(COALAPG, **SMALL | settings).build(game, Placement(seeds=seeds))


def payoffs(actions: Tensor) -> Tensor:
    """Of the prisoner's dilemma, 0 cooperates: [..., agent] -> [..., agent]."""
    table = torch.tensor([[-1.0, -3.0], [0.0, -2.0]], dtype=F64)
    own, other = actions.unbind(-1)
    return torch.stack((table[own, other], table[other, own]), -1)


def enumerated(learner: Any, meta: Tensor, log_odds: float, rate: float) -> tuple[Tensor, Tensor]:
    """Exact gradient of minus agent 0's mean return, and the estimator's expectation, [parameter] each.

    A meta-episode has two meta-steps of a batch of two one-step episodes; agent 1 is a table with these
    initial log-odds, and ascends its return by REINFORCE with the other episode's reward as a baseline.
    """
    state = learner.init(0)
    theta = meta.clone().requires_grad_()
    objective, expected = torch.zeros((), dtype=F64), torch.zeros_like(meta[0, 0])
    for flat in itertools.product((0, 1), repeat=8):
        actions = torch.tensor(flat).reshape(2, 2, 2)  # meta-step, episode, agent
        rewards = payoffs(actions)
        before = torch.zeros(2, 2, 3, dtype=F64)  # agent, episode, last action | last reward
        logit, features, chance = torch.tensor(log_odds, dtype=F64), [], torch.ones((), dtype=F64)
        for step in range(2):
            features.append(torch.cat((torch.ones(2, 2, 2, dtype=F64), before), -1))
            cooperates = logit.sigmoid()
            taken = torch.where(actions[step, :, 1] == 0, cooperates, 1 - cooperates)
            chance = chance * taken.prod()
            own = rewards[step, :, 1]
            scores = (actions[step, :, 1] == 0).to(F64) - cooperates
            logit = logit + rate * (scores * (own - own.flip(0))).mean()
            one_hot = torch.nn.functional.one_hot(actions[step], 2).to(F64)
            before = torch.cat((one_hot, rewards[step].unsqueeze(-1)), -1).movedim(1, 0)
        whole = torch.stack(features, 1)[None, :, None, :, None]  # seed, agent, 1, meta-step, time, episode
        log = learner.sequence_policy.unroll(theta, in_sequence(whole[:, :1])).log_softmax(-1)[0, 0]
        chosen = log.gather(-1, actions[..., :1])
        objective = objective + chance * chosen.sum().exp() * rewards[..., 0].mean()
        arranged = (values.movedim(-1, 0)[None, :, None, :, None] for values in (actions, rewards))
        played, paid = arranged
        none = torch.zeros(0, dtype=F64)
        sequences = Sequences(whole, played, paid, torch.ones_like(paid), None, none, none, None)
        weight = (chance * chosen.sum().exp()).detach()
        expected = expected + weight * learner.gradient(state, meta, sequences, alone=1)[0, 0]
    (exact,) = torch.autograd.grad(-objective, theta)
    return exact[0, 0], expected


def test_the_gradient_is_unbiased() -> None:
    """Its expectation over all 256 meta-episodes is the derivative of the exact mean return."""
    generator = torch.Generator().manual_seed(1)
    learner = built()
    meta = torch.randn(1, 1, learner.sequence_policy.num_parameters, generator=generator, dtype=F64)
    exact, expected = enumerated(learner, meta, log_odds=0.3, rate=4.0)
    torch.testing.assert_close(expected, exact, rtol=0, atol=1e-12)
    _, biased = enumerated(built(meta__credit="own-episode"), meta, log_odds=0.3, rate=4.0)
    assert (biased - exact).abs().max() > 1e-3


def test_without_learning_both_credits_are_unbiased() -> None:
    """If the other agent does not learn, returns of other copies do not depend on an action."""
    generator = torch.Generator().manual_seed(2)
    for credit in ("batch", "own-episode"):
        learner = built(meta__credit=credit)
        meta = torch.randn(1, 1, learner.sequence_policy.num_parameters, generator=generator, dtype=F64)
        exact, expected = enumerated(learner, meta, log_odds=-0.5, rate=0.0)
        torch.testing.assert_close(expected, exact, rtol=0, atol=1e-12)


def test_credit_by_loops() -> None:
    rewards = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    for aware in (True, False):
        within, later = batched_credit(rewards, 0.9, batch_aware=aware)
        for step, time, episode in itertools.product(range(3), range(4), range(2)):
            rest = sum(0.9**u * rewards[step, u, episode] for u in range(time, 4)) / 2
            torch.testing.assert_close(within[step, time, episode], rest, rtol=0, atol=1e-12)
            copies = range(2) if aware else [episode]
            ahead = [
                0.9**u * rewards[m, u, copy] / 2
                for m in range(step + 1, 3)
                for u in range(4)
                for copy in copies
            ]
            expected = sum(ahead, torch.zeros((), dtype=F64))
            torch.testing.assert_close(later[step, 0, episode], expected, rtol=0, atol=1e-12)


def test_baselines_are_of_other_episodes_and_of_other_meta_episodes_of_a_group() -> None:
    rewards = torch.randn(3, 2, 1, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    found = batched_advantages(rewards, torch.ones_like(rewards), 1.0, batch_aware=True, groups=(1, 2))
    means = rewards[:, 1, 0].mean(-1)  # of the later meta-step, by meta-episode
    within = (rewards - rewards.flip(-1)) / 2
    later = torch.stack((means[0], means[1] - means[2], means[2] - means[1]))
    torch.testing.assert_close(found[:, 0, 0], within[:, 0, 0] + later[:, None], rtol=0, atol=1e-12)
    torch.testing.assert_close(found[:, 1], within[:, 1], rtol=0, atol=1e-12)


def played_once(learner: Any, shaping: list[list[bool]]) -> tuple[dict[str, Any], Sequences]:
    state = learner.init(3)
    draws = learner.streams(state, Purpose.TRAINING)
    with torch.no_grad():
        return state, learner.meta_episodes(state, state["meta"], torch.tensor(shaping), draws)


def test_a_naive_agent_learns_from_the_batch() -> None:
    """Tables of two naive agents, by REINFORCE from what was recorded, end where the learner's do."""
    learner = built(inner__episodes=5, inner__learning_rate=0.7, meta__steps=3)
    _, found = played_once(learner, [[False, False]])
    logits = found.policies[0, :, 0]
    for step in reversed(range(2)):  # undo the steps
        logits = undone(logits, found.actions[0, :, 0, step, 0], found.rewards[0, :, 0, step, 0], 0.7)
    one = built(inner__episodes=5, inner__learning_rate=0.7, meta__steps=1)
    _, first = played_once(one, [[False, False]])
    torch.testing.assert_close(first.policies[0, :, 0], logits, rtol=0, atol=1e-9)


def undone(after: Tensor, actions: Tensor, rewards: Tensor, rate: float) -> Tensor:
    """Log-odds before a step, [agent], by fixed-point iteration."""
    others = (rewards.sum(-1, keepdim=True) - rewards) / (rewards.shape[-1] - 1)
    before = after
    for _ in range(500):
        scores = (actions == 0).to(F64) - before.sigmoid()[:, None]
        before = after - rate * (scores * (rewards - others)).mean(-1)
    return before


def test_sequence_policies_see_their_past() -> None:
    """Inputs across the border of two episodes: observation, mark, own last action and reward."""
    learner = built(REPEATED, meta__steps=2, inner__episodes=3)
    _, found = played_once(learner, [[True, False]])
    features, actions, rewards = (part[0, 0, 0] for part in (found.features, found.actions, found.rewards))
    assert (features[0, 0, :, 6:] == 0).all()  # nothing so far
    assert features[..., 5].tolist() == [[[1.0] * 3] + [[0.0] * 3] * 3] * 2
    inputs, done, paid = (part.flatten(0, 1) for part in (features, actions, rewards))
    torch.testing.assert_close(inputs[1:, :, 8], paid[:-1], rtol=0, atol=0)
    assert torch.equal(inputs[1:, :, 6:8].argmax(-1), done[:-1])
    other = found.actions[0, 1, 0].flatten(0, 1)
    seen = inputs[:, :, :5].argmax(-1)
    for step in range(8):
        outcome = 0 if step in (0, 4) else 1 + 2 * done[step - 1] + other[step - 1]
        assert torch.equal(seen[step], torch.as_tensor(outcome).expand(3))


def test_the_estimator_uses_the_probabilities_that_were_played() -> None:
    """Unrolled logits are those of play: of a batch of sequences, in order."""
    learner = built(REPEATED, seeds=2, shapers="both", meta__episodes=2)
    state, found = played_once(learner, [[True, False], [True, True], [False, True], [True, True]])
    last = found.policies.reshape(4, 2, 2, 5)  # meta-episode, seed, agent
    logits = learner.sequence_policy.unroll(
        state["meta"][:, :1], in_sequence(found.features[:, :1])
    )  # seed, 1, step, copy, action
    chances = logits.softmax(-1)[:, 0, :, :, 0].unflatten(1, (2, 4)).unflatten(-1, (4, 2))
    for seed, episode in itertools.product(range(2), (0, 1, 3)):
        start = chances[seed, -1, 0, episode].mean()  # in the first step of the last meta-step
        torch.testing.assert_close(last[episode, seed, 0, 0].sigmoid(), start, rtol=0, atol=1e-9)


def test_the_entropy_is_a_mean_over_steps() -> None:
    plain, bonus = built(REPEATED), built(REPEATED, training__ent_coef=0.5)
    state, found = played_once(plain, [[True, False]] * 2)
    meta = state["meta"].requires_grad_()
    chances = plain.sequence_policy.unroll(meta, in_sequence(found.features[:, :1])).softmax(-1)
    (nats,) = torch.autograd.grad(-(chances * chances.log()).sum(-1).mean(), meta)
    meta = meta.detach()
    gradients = [learner.gradient(state, meta, found, alone=2) for learner in (plain, bonus)]
    torch.testing.assert_close(gradients[1], gradients[0] - 0.5 * nats, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shapers", ["one", "both"])
def test_training_and_evaluation_report_every_seed(shapers: str) -> None:
    learner = built(REPEATED, seeds=3, shapers=shapers, training__ent_coef=0.01)
    state = learner.init(0)
    before = state["meta"]
    for _ in range(2):
        state, metrics = learner.update(state)
    assert (state["meta"] != before).any(-1).all()
    evaluated = learner.evaluate(state, episodes=9)  # 5 meta-episodes, 2 at a time
    for found in (metrics, evaluated):
        assert {"welfare", "cooperation", "meta_return_0", "meta_return_1"} <= found.keys()
        assert all(values.shape == (3,) and values.isfinite().all() for values in found.values())
        torch.testing.assert_close(found["welfare"], found["return_0"] + found["return_1"])


def test_training_raises_the_return_against_a_naive_agent() -> None:
    """In 25 updates on short meta-episodes agent 0 gains in both seeds."""
    learner = built(
        games.make("repeated-prisoners-dilemma", horizon=5),
        seeds=2,
        meta__steps=4,
        meta__episodes=16,
        inner__episodes=8,
        training__learning_rate=0.03,
    )
    state = learner.init(0)
    start = learner.evaluate(state, episodes=256)["meta_return_0"]
    for _ in range(25):
        state, _ = learner.update(state)
    end = learner.evaluate(state, episodes=256)["meta_return_0"]
    assert (end > start + 0.02).all()


@pytest.mark.parametrize(
    ("game", "settings", "says"),
    [
        (games.make("coin-game"), {}, "leave policy at auto"),
        (games.make("aid"), {}, "choose a game with two"),
        (REPEATED, {"policy": "mlp"}, "leave policy at auto"),
        (REPEATED, {"inner.exact": True}, "leave inner.exact off"),
        (REPEATED, {"inner": "ppo"}, "policy-gradient"),
        (REPEATED, {"meta.episodes": 1}, "meta.episodes must be a whole number, 2 or more"),
        (REPEATED, {"meta.credit": "all"}, "meta.credit"),
        (REPEATED, {"meta.hidden_size": ()}, "1 unit or more"),
        (REPEATED, {"shapers": "both", "shapers.naive": 1.5}, "naive"),
    ],
)
def test_refusals(game: Game, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        COALAPG().with_settings(settings).build(game, Placement())
