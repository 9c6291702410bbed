"""LASE as a method: its fixed points end to end, what critics and perspectives learn, what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import games
from bilevel.core import leaves
from bilevel.experiments import load_checkpoint
from bilevel.experiments._checkpoint import Checkpoint, save_checkpoint
from bilevel.methods import LASE, Placement, Selfish, StepInputs
from bilevel.methods import _lase_sharing as empathetic
from games.core import Game
from games.matrix import Cyclical, EscapeRoom
from tests.bilevel.methods.configured import configured

DILEMMA = games.make("prisoners-dilemma-lase")
REPEATED = games.make("repeated-prisoners-dilemma", horizon=20)
COINS = games.make("coin-game-lase", horizon=6)
STILL = {"inner.learning_rate": 1e-300}
"""Policies do not move."""


def build(game: Game = DILEMMA, seeds: int = 3, dtype: torch.dtype = torch.float64, **settings: Any) -> Any:
    return configured(LASE, **settings).build(game, Placement(seeds=seeds, dtype=dtype))


def train(learner: Any, updates: int, state: Any = None) -> tuple[Any, Any]:
    state = learner.init(0) if state is None else state
    for _ in range(updates):
        state, metrics = learner.update(state)
    return state, metrics


def test_exact_gradient_play_ends_where_theory_says() -> None:
    """The others' policies being known p* = (T + S - P) / (2T + S - P - R), .8 for (4, 0, 5, 1) (derived)."""
    learner = build(inner__exact=True, perspective="true-policy", inner__steps=20, inner__learning_rate=0.5)
    state, metrics = train(learner, 40)
    torch.testing.assert_close(
        state["theta"].sigmoid(), torch.full((3, 2, 1), 0.8).double(), rtol=0, atol=1e-6
    )
    given = 0.8 * (1 - 0.8)  # w = 1 - .8 where the other cooperates
    for name, expected in {"given_away": given, "share_0_1": given, "share_1_1": 1 - given}.items():
        assert metrics[name].tolist() == pytest.approx([expected] * 3, abs=1e-6)
    welfare = 0.64 * 8 + 2 * 0.16 * 5 + 0.04 * 2
    assert metrics["welfare"].tolist() == pytest.approx([welfare] * 3, abs=1e-6)


@pytest.mark.parametrize("perspective", ["taking", "true-observation"])
def test_exact_ones_own_policy_in_its_place_parts_agents(perspective: Any) -> None:
    """.8 is a saddle: alike, agents reach it; else one cooperates for both, and gets what the other earns."""
    learner = build(inner__exact=True, perspective=perspective, inner__steps=50, inner__learning_rate=2.0)
    state = learner.init(0)
    apart, metrics = train(learner, 12, state)
    chances = apart["theta"].sigmoid().squeeze(-1).sort(-1).values
    assert (chances[:, 0] < 0.05).all()
    assert (chances[:, 1] > 0.95).all()
    assert metrics["given_away"].tolist() == pytest.approx([0.5] * 3, abs=0.03)
    alike = torch.full_like(state["theta"], -1.0)
    phi = torch.cat((*learner.empathy.parts(state["phi"])[:2], alike), -1)
    together, _ = train(learner, 2, {**state, "theta": alike, "phi": phi})
    found = together["theta"].sigmoid()
    torch.testing.assert_close(found, torch.full_like(found, 0.8), rtol=0, atol=1e-6)


def test_sampled_play_ends_near_there() -> None:
    """The critic is learned, and episodes are few: the mean over seeds is within .03."""
    learner = build(seeds=8, perspective="true-policy", inner__learning_rate=0.3, critic__learning_rate=0.1)
    _, metrics = train(learner, 100)
    assert float(metrics["cooperation"].mean()) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("critic", ["tabular", "mlp"])
def test_critics_learn_the_payoffs(critic: Any) -> None:
    learner = build(critic=critic, critic__learning_rate=0.03, critic__steps=20, **STILL)
    state, _ = train(learner, 30)
    game: Any = DILEMMA
    payoffs = game.payoffs()
    episodes = learner.play.sample(state["theta"], learner.transfer(state["phi"]), torch.Generator())
    values = learner.empathy.critic.values(learner.empathy.parts(state["phi"])[0], episodes)
    expected = payoffs[episodes.actions.unbind(1)].movedim(-1, 1)
    torch.testing.assert_close(values, expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("trace", [0.0, 1.0])
def test_critics_learn_what_follows_from_a_joint_action(trace: float) -> None:
    """Of policies that forget what trajectory, Q(o, a) = r(a) + discount V, but for the end (derived).

    A step is worth -1.5, and one of the 19 after the first is the last. Sampled returns of k steps are then
    worth -3 (1 - 1/2^k), on average over k from 0 to 18; those of a critic that leans on itself, 18/19 of
    Q = -1.5 / (1 - 9/19).
    """
    settings = {"critic.discount": 0.5, "critic.learning_rate": 0.03, "critic.steps": 8}
    learner = build(REPEATED, seeds=2, critic__gae_lambda=trace, **settings, **STILL)
    state = learner.init(0)
    state, _ = train(learner, 60, {**state, "theta": torch.zeros_like(state["theta"])})
    game: Any = REPEATED
    rewards = game.stage.payoffs().movedim(-1, 0).unsqueeze(1)
    table = learner.empathy.parts(state["phi"])[0].reshape(2, 2, 5, 2, 2)[:, :, 1:]  # not the first step
    later = sum(-3 * (1 - 0.5**k) for k in range(19)) / 19 if trace else -1.5 / (1 - 9 / 19) * 18 / 19
    gaps = table - rewards - 0.5 * later
    assert float(gaps.mean()) == pytest.approx(0, abs=0.02)
    assert float(gaps.abs().max()) < 0.25


def test_targets_by_hand() -> None:
    """Lambda-returns by their recursion: G_t = r_t + discount ((1 - lambda) Q_t+1 + lambda G_t+1)."""
    learner = build(EscapeRoom(), inner__episodes=4, critic__gae_lambda=0.7, critic__discount=0.9)
    state = learner.init(0)
    episodes = learner.play.sample(state["theta"], learner.transfer(state["phi"]), torch.Generator())
    critics = learner.empathy.parts(state["phi"])[0] * 3
    found = learner.targets(critics, episodes)
    values = learner.empathy.critic.values(critics, episodes) * episodes.mask
    rewards, expected = episodes.rewards, torch.zeros_like(found)
    later, following = torch.zeros_like(found[..., 0, :]), torch.zeros_like(found[..., 0, :])
    for time in reversed(range(found.shape[2])):
        later = rewards[..., time, :] + 0.9 * (0.3 * following + 0.7 * later)
        expected[..., time, :], following = later, values[..., time, :]
    torch.testing.assert_close(found * episodes.mask, expected * episodes.mask, rtol=0, atol=1e-12)
    assert not found[(episodes.mask == 0).expand_as(found)].any()


def test_a_perspective_learns_what_the_others_see() -> None:
    """In a repeated game what j sees follows from what i sees: CD is DC to the other.

    With the same policy, j's is then known: what is left of the loss is that policy's own entropy.
    """
    settings = {"perspective.closeness": 0.0, "perspective.learning_rate": 0.03}
    learner = build(REPEATED, seeds=2, perspective__steps=4, inner__episodes=32, **settings, **STILL)
    state = learner.init(0)
    policy = torch.tensor([0.0, 3.0, -3.0, 3.0, -3.0], dtype=torch.float64).expand(2, 2, 5)
    critics, perspectives, _ = learner.empathy.parts(state["phi"])
    state = {**state, "theta": policy, "phi": torch.cat((critics, perspectives, policy), -1)}

    def surprise(state: Any) -> Tensor:
        episodes = learner.play.sample(policy, learner.transfer(state["phi"]), torch.Generator())
        perspectives = learner.empathy.parts(state["phi"])[1]
        found: Tensor = learner.empathy.perspective.losses(
            perspectives, policy, episodes, REPEATED.neighbors, 0.0
        )
        return found

    before = surprise(state)
    after = surprise(train(learner, 60, state)[0])
    odds = policy[0, 0].sigmoid()
    entropy = -(odds * odds.log() + (1 - odds) * (1 - odds).log())
    least = float((entropy[0] + 19 * entropy[1]) / 20)  # log 2 at the start, then all the same
    assert (before > least + 0.2).all()
    assert (after < least + 0.05).all()


def test_seeds_do_not_touch_each_other() -> None:
    """Exactly played, the first seeds are the same however many there are."""
    few, many = (
        train(build(seeds=seeds, inner__exact=True, inner__learning_rate=0.5, inner__steps=3), 3)
        for seeds in (2, 5)
    )
    for name in ("theta", "phi"):
        torch.testing.assert_close(few[0][name], many[0][name][:2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("game", [REPEATED, EscapeRoom(), COINS], ids=lambda game: type(game).__name__)
def test_members_of_a_batch_learn_as_they_would_alone(game: Game) -> None:
    """All that is learned from the same episodes, of all seeds at once and of one."""
    learner = build(game, inner__episodes=4, critic__steps=3, perspective__steps=2)
    alone = build(game, seeds=1, inner__episodes=4, critic__steps=3, perspective__steps=2)
    state = learner.init(0)
    episodes = learner.play.sample(state["theta"], learner.transfer(state["phi"]), torch.Generator())
    bonus = torch.tensor(0.1, dtype=torch.float64)

    def learned(learner: Any, state: Any, episodes: Any) -> tuple[Tensor, Tensor]:
        theta, _ = learner.step(state["theta"], state["opt_state"], state["phi"], StepInputs(episodes, bonus))
        return theta, learner._update_models(state, episodes, theta)["phi"]

    for seed in range(3):

        def of_one(value: Any, seed: int = seed) -> Any:
            return value[seed : seed + 1] if isinstance(value, Tensor) else value

        member = {**alone.init(0), **{name: of_one(state[name]) for name in ("theta", "phi")}}
        one = learned(alone, member, type(episodes)(*map(of_one, episodes)))
        for batched, single in zip(learned(learner, state, episodes), one, strict=True):
            torch.testing.assert_close(batched[seed], single[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("game", [REPEATED, EscapeRoom()], ids=["numbers", "vectors"])
def test_saved_is_resumed_to_the_same_bits(game: Game, tmp_path: Any) -> None:
    settings = {"inner.episodes": 4, "inner.steps": 2, "inner.optimizer": "adam"}
    whole, _ = train(build(game, **settings), 4)
    half, _ = train(build(game, **settings), 2)
    save_checkpoint(tmp_path / "checkpoint.pt", Checkpoint(half, {}, 0.0))
    again = build(game, **settings)
    loaded = load_checkpoint(tmp_path / "checkpoint.pt", again.init(0)).state
    resumed, _ = train(again, 2, loaded)
    for one, other in zip(leaves(whole), leaves(resumed), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(again.empathy.parts(resumed["phi"])[2], resumed["theta"])


def test_strangers_get_nothing() -> None:
    """In a ring of five everybody gives to two at most."""
    game = Cyclical(agents=5)
    _, metrics = train(build(game, inner__episodes=16, critic__learning_rate=0.1), 10)
    for giver in range(5):
        for taker in range(5):
            if not game.neighbors[giver, taker]:
                assert not metrics[f"share_{giver}_{taker}"].any()
    assert float(metrics["given_away"].min()) > 0


def test_who_is_a_stranger_in_a_step_gets_nothing_in_it() -> None:
    """In the jungle the graph changes as agents move."""
    learner = build(games.make("jungle", agents=6, foods=3, size=8, horizon=6), seeds=2, inner__episodes=4)
    state, _ = train(learner, 1)
    transfer = learner.transfer(state["phi"])
    trajectory = learner.play.sample(state["theta"], transfer, torch.Generator().manual_seed(0))
    shares, graph = transfer.shares(trajectory), trajectory.neighbors
    assert not shares[~graph].any()
    torch.testing.assert_close(shares.sum(2), torch.ones_like(shares.sum(2)), rtol=0, atol=1e-12)
    assert (graph != graph[..., :1, :]).any()  # it does change


@pytest.mark.parametrize("game", ["jungle", "coin-game", "repeated-prisoners-dilemma"])
def test_many_episodes_are_judged_part_by_part(game: str, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = build(games.make(game, horizon=6), seeds=2, inner__episodes=5, inner__exact=False)
    state, _ = train(learner, 1)
    transfer = learner.transfer(state["phi"])
    trajectory = learner.play.sample(state["theta"], transfer, torch.Generator().manual_seed(0))
    whole = transfer.shares(trajectory)
    each = trajectory.observations.numel() // 5 * learner.game.num_agents
    judge, sizes = empathetic.Empathetic._shares, []

    def noted(transfer: Any, part: Any) -> Tensor:
        sizes.append(part.actions.shape[-1])
        return judge(transfer, part)

    monkeypatch.setattr(empathetic.Empathetic, "_shares", noted)
    for most in (1, 2 * each):
        monkeypatch.setattr(empathetic, "MOST_NUMBERS", most)
        torch.testing.assert_close(transfer.shares(trajectory), whole, rtol=0, atol=1e-12)
    assert sizes == [1, 1, 1, 1, 1, 2, 2, 1]


def test_without_relationships_it_is_selfish() -> None:
    """Tables expect the same of everything at first: nobody gives, and the first step is a selfish one."""
    same = {"inner.learning_rate": 0.3, "inner.episodes": 6}
    first, _ = train(build(REPEATED, **same), 1)
    learner: Any = configured(Selfish, **{"inner.exact": False, **same}).build(REPEATED, Placement(seeds=3))
    selfish, _ = train(learner, 1)
    torch.testing.assert_close(first["theta"], selfish["theta"], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("game", "settings"),
    [
        (COINS, {"policy": "gru", "policy.recurrent_size": 3}),
        (COINS, {"policy": "conv", "policy.channels": (2,)}),
        (EscapeRoom(agents=3), {"policy": "mlp", "policy.share_parameters": True}),
        (REPEATED, {"policy": "gru", "policy.recurrent_size": 3, "perspective": "true-observation"}),
        (REPEATED, {"policy": "mlp", "critic": "mlp"}),
        (COINS, {"perspective": "true-policy"}),
    ],
)
def test_policies_of_all_kinds(game: Game, settings: dict[str, Any]) -> None:
    state, metrics = train(build(game, inner__episodes=3, **settings), 2)
    assert metrics["given_away"].isfinite().all()
    assert not torch.equal(state["theta"], build(game, **settings).init(0)["theta"])


def test_a_table_too_large_gives_way_to_a_network() -> None:
    agents = games.make("public-goods", agents=12)
    assert build(agents, inner__episodes=2).empathy.critic.num_parameters == 4096
    repeated = games.make("repeated-public-goods", stage=games.make("public-goods", agents=6), horizon=3)
    assert build(repeated, inner__episodes=2).empathy.critic.num_parameters < 4096
    assert build(repeated, critic="tabular", inner__episodes=2).empathy.critic.num_parameters == 65 * 64


def test_a_critic_that_is_no_number_is_told() -> None:
    learner = build(EscapeRoom(), critic__learning_rate=1e300, dtype=torch.float32, inner__episodes=4)
    with pytest.raises(FloatingPointError, match="A critic or a perspective stopped being a finite number"):
        train(learner, 3)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: build(perspective="takin"), "no perspective 'takin'. Did you mean 'taking'"),
        (lambda: build(critic="table"), "no critic 'table'. Did you mean 'tabular'"),
        (
            lambda: build(critic="mlp", critic__activation="rely"),
            "no critic.activation 'rely'. Did you mean 'relu'",
        ),
        (lambda: build(critic__hidden_size=(4,)), "setting of critic mlp, and critic is auto"),
        (
            lambda: build(perspective="true-policy", perspective__steps=2),
            "setting of perspective taking, and perspective is true-policy",
        ),
        (lambda: build(critic__learning_rate=0.0), "critic.learning_rate must be a finite number above 0"),
        (lambda: build(perspective__learning_rate=-1.0), "perspective.learning_rate must be a finite number"),
        (lambda: build(critic__steps=0), "critic.steps must be a whole number, 1 or more, not 0"),
        (lambda: build(perspective__steps=1.5), "perspective.steps must be a whole number, .*, not 1.5"),
        (lambda: build(critic__gae_lambda=1.1), "critic.gae_lambda must be .* from 0 to 1, not 1.1"),
        (lambda: build(critic__discount=-0.1), "critic.discount must be .* from 0 to 1, not -0.1"),
        (lambda: build(perspective__closeness=2.0), "perspective.closeness must be .* from 0 to 1, not 2"),
        (
            lambda: build(REPEATED, inner__exact=True),
            r"Only one-shot games have a payoff table; RepeatedGame has .* --inner\.no-exact",
        ),
        (lambda: build(EscapeRoom(), critic="tabular"), r"tabular critic needs .* shape \(7,\): use mlp"),
        (lambda: build(EscapeRoom(), critic="mlp", critic__hidden_size=()), "needs 1 hidden layer or more"),
        (lambda: build(EscapeRoom(), perspective__hidden_size=(0,)), "needs 1 unit or more"),
        (lambda: build(EscapeRoom(), policy="gru"), "shows agents what they were given"),
        (
            lambda: build(REPEATED, policy="gru"),
            "Choose another policy than gru|choose another policy than gru",
        ),
        (lambda: build(games.make("cleanup-lase", agents=1)), "has one agent: there is nobody to share with"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        wrong()
