"""LToS as released: who moves when, what is kept and told, that seeds do not mix, what is refused."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch import Tensor

import games
from bilevel.agents import soft_update
from bilevel.core import leaves, tree_map
from bilevel.experiments import load_checkpoint, preset
from bilevel.experiments._checkpoint import Checkpoint, save_checkpoint
from bilevel.methods import LToS, Placement
from bilevel.methods._ltos_learner import LToSLearner
from bilevel.methods._ltos_sharers import GREEDY
from bilevel.methods._ltos_transitions import sharing_gradient
from games.core import Game
from games.matrix import Cyclical, EscapeRoom
from tests.bilevel.methods.configured import configured

SMALL: dict[str, Any] = {
    "outer.updates": 3,
    "inner.batch_size": 5,
    "inner.buffer_size": 80,
    "inner.episodes": 3,
    "inner.steps": 4,
}
FAST = {"inner.optimizer": "adam", "inner.learning_rate": 0.03, "outer.learning_rate": 0.03}
ROOM = EscapeRoom()
JUNGLE = games.make("jungle", agents=4, foods=2, size=4, nearest=1, view=1, horizon=6)


def build(game: Game = ROOM, seeds: int = 3, **settings: Any) -> LToSLearner:
    learner = configured(LToS, **{**SMALL, **FAST, **settings}).build(game, Placement(seeds=seeds))
    assert isinstance(learner, LToSLearner)
    return learner


def train(learner: LToSLearner, rounds: int, seed: int = 0) -> list[dict[str, Any]]:
    """The first state and those after each round."""
    states = [learner.init(seed)]
    for _ in range(rounds):
        states.append(learner.update(states[-1])[0])
    return states


def assert_same_bits(left: object, right: object) -> None:
    for one, other in zip(leaves(left), leaves(right), strict=True):
        assert torch.equal(one, other)


def test_sharing_moves_in_every_third_round_and_values_in_all() -> None:
    states = train(build(outer__every=3), 7)
    moved = [not torch.equal(a["phi"], b["phi"]) for a, b in itertools.pairwise(states)]
    learned = [not torch.equal(a["theta"], b["theta"]) for a, b in itertools.pairwise(states)]
    assert moved == [False, False, True, False, False, True, False]
    assert learned == [True] * 7


def test_there_is_noise_in_the_rounds_in_which_sharing_moves() -> None:
    """With networks that say nothing, shares that are kept for learning are .8, but for the noise."""
    for always, expected in ((False, [False, True]), (True, [True, True])):
        learner = build(outer__every=2, noise=5.0, noise_always=always, inner__exploration_decay=1.0)
        state, noisy = learner.init(0), []
        for _ in range(2):
            state = {**state, "phi": torch.zeros_like(state["phi"]), "replay": learner.init(0)["replay"]}
            state, _ = learner.update(state)
            told = state["replay"].items.incoming_shares[0, : int(state["replay"].written[0])]
            noisy.append(bool((told.diagonal(dim1=-2, dim2=-1) - 0.8).abs().max() > 0.01))
        assert noisy == expected


def test_targets_follow_by_the_closed_form() -> None:
    before, after = train(build(inner__tau=0.3, outer__every=1), 2)[1:]
    for name in ("theta", "phi"):
        expected = soft_update(before[f"target_{name}"], after[name], 0.3)
        assert torch.equal(after[f"target_{name}"], expected)
        assert not torch.equal(after[f"target_{name}"], after[name])


def test_networks_that_say_nothing_keep_the_own_share() -> None:
    """Of .8, on a ring of five (two neighbors and two strangers each) and in the jungle."""
    for game, near in ((Cyclical(agents=5), 2), (JUNGLE, 1)):
        learner = build(game, inner__buffer_size=600)
        state = learner.init(0)
        state["phi"] = torch.zeros_like(state["phi"])
        metrics = learner.evaluate(state, episodes=4)
        agents = range(game.num_agents)
        shares = torch.stack([torch.stack([metrics[f"share_{i}_{j}"] for j in agents]) for i in agents])
        own = torch.full_like(metrics["given_away"], 0.2)
        torch.testing.assert_close(metrics["given_away"], own, rtol=0, atol=1e-12)
        torch.testing.assert_close(shares.sum(1), torch.ones_like(shares.sum(1)), rtol=0, atol=1e-12)
        if game is not JUNGLE:
            expected = (game.neighbors.double() * 0.2 / near).fill_diagonal_(0.8)
            torch.testing.assert_close(shares, expected[..., None].expand(-1, -1, 3), rtol=0, atol=1e-12)


def test_what_is_learned_from_was_shared_along_the_edges_of_its_step() -> None:
    learner = build(JUNGLE, noise=3.0, noise_always=True, interval=2, inner__exploration_decay=1.0)
    items = train(learner, 2)[-1]["replay"].items
    written = slice(0, 2 * 3 * 6)
    shares, graph = items.incoming_shares.mT[:, written], items.graph[:, written]
    assert torch.equal(shares > 0, graph)
    assert (graph.sum(-1) == 2).all()
    torch.testing.assert_close(shares.sum(-1), torch.ones_like(shares.sum(-1)), rtol=0, atol=1e-12)
    ended = items.continues[:, written, 0] == 0
    assert int(ended.sum()) == 2 * 3 * 3  # each episode of each seed ends once
    follows = ~ended[:, :-3] & (torch.arange(written.stop - 3) % 18 < 15)
    assert torch.equal(
        items.following[:, written][:, :-3][follows], items.features[:, written][:, 3:][follows]
    )
    assert torch.equal(items.following_graph[:, written][:, :-3][follows], graph[:, 3:][follows])


def test_shared_rewards_have_the_total_of_the_own_ones() -> None:
    """Escape Room pays whole numbers: what is shared of them adds up to one."""
    learner = build(noise=3.0, noise_always=True, interval=1)
    buffer = train(learner, 3)[-1]["replay"]
    totals = buffer.items.rewards.sum(-1)
    torch.testing.assert_close(totals, totals.round(), rtol=0, atol=1e-12)
    assert (totals != 0).any()
    assert not torch.equal(buffer.items.rewards, buffer.items.rewards.round())


def test_no_agents_error_knows_anothers_parameters() -> None:
    learner = build()
    state = train(learner, 2)[-1]
    batch = tree_map(lambda leaf: leaf[:, :5], state["replay"].items)
    wanted = torch.zeros(3, 2, 5, dtype=torch.float64)
    gradient = torch.func.grad(learner._errors)(state["theta"], batch, wanted)
    other = state["theta"].clone()
    other[:, 1] += 1
    again = torch.func.grad(learner._errors)(other, batch, wanted)
    assert torch.equal(again[:, 0], gradient[:, 0])
    assert not torch.equal(again[:, 1], gradient[:, 1])


def test_seeds_do_not_touch_each_other() -> None:
    """From the same buffer, a seed's values and sharing learn what they learn in other company."""
    learner = build(outer__every=1, smoothing=0.0)
    state = train(learner, 2)[-1]

    def only(members: list[int]) -> dict[str, Any]:
        def take(leaf: Tensor) -> Tensor:
            return leaf[members] if leaf.ndim and len(leaf) == 3 else leaf

        return {name: tree_map(take, tree) for name, tree in state.items()}

    def learned(members: list[int]) -> tuple[Tensor, Tensor]:
        part = only(members)
        buffer = part["replay"]
        alike = tree_map(
            lambda leaf: leaf[:, :1].expand_as(leaf), buffer.items
        )  # whatever is drawn is the same
        buffer = buffer._replace(items=alike)
        theta, _ = learner._learn_values(part, buffer, torch.Generator().manual_seed(0))
        phi, _ = learner._learn_to_share(part, theta, buffer, torch.Generator().manual_seed(0))
        return theta, phi

    for whole, alone in zip(learned([0, 1, 2]), learned([2]), strict=True):
        torch.testing.assert_close(whole[2:], alone, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("game", [ROOM, JUNGLE], ids=["room", "jungle"])
def test_a_saved_learner_goes_on_to_the_same_bits(game: Game, tmp_path: Path) -> None:
    learner = build(game, outer__every=2)
    middle, last = (train(learner, 5)[rounds] for rounds in (3, 5))
    save_checkpoint(tmp_path / "saved", Checkpoint(middle, {}, 0.0))
    other = build(game, outer__every=2)
    state = load_checkpoint(tmp_path / "saved", like=other.init(0)).state
    for _ in range(2):
        state, _ = other.update(state)
    assert_same_bits(state, last)


def test_the_step_size_decays_with_the_rounds() -> None:
    """Under plain descent, from the same state but for the count of rounds, a move is .5^3 as long."""
    learner = build(
        inner__optimizer="sgd", learning_rate_decay=0.5, inner__steps=1, inner__exploration_decay=1.0
    )
    state = train(learner, 1)[-1]
    moves = []
    for count in (0, 3):
        now = {**state, "outer_step": torch.tensor(count)}
        theta, _ = learner._learn_values(now, now["replay"], torch.Generator().manual_seed(0))
        moves.append(theta - state["theta"])
    torch.testing.assert_close(moves[1], moves[0] / 8, rtol=1e-9, atol=1e-15)
    assert moves[0].abs().max() > 1e-6


def test_exploration_falls_by_its_schedule() -> None:
    found = [LToS().exploration_at(count) for count in (0, 1, 2, 100)]
    assert found == pytest.approx([0.4, 0.36, 0.324, 0.05])
    line = LToS().with_settings(
        {"inner.exploration": "0:1, 4:0", "inner.exploration_decay": 0.5, "inner.exploration_min": 0.0}
    )
    assert [line.exploration_at(count) for count in (0, 2, 4)] == pytest.approx([1, 0.5 * 0.25, 0])


def test_rates_and_noise_follow_their_schedules() -> None:
    """A rate that jumps in round 2 leaves the rounds before it as they are, and is that of round 2."""
    plain, fast = build(outer__every=1), build(outer__every=1, inner__learning_rate="0:0.03, 2:0.03, 2:0.3")
    before = train(plain, 2)[-1]
    assert_same_bits(train(fast, 2)[-1], before)
    after, rates = {}, {"inner.learning_rate": 0.3}
    for name, learner in {"jump": fast, "all along": build(outer__every=1, **rates), "no": plain}.items():
        after[name] = learner.update(before)[0]["theta"]
    assert torch.equal(after["jump"], after["all along"])
    assert not torch.equal(after["jump"], after["no"])

    for name, text in {
        "noise": "0:0.25, 2:0.25, 2:0",
        "outer.learning_rate": "0:0.03, 2:0.03, 2:0.3",
    }.items():
        learner = build(outer__every=1, **{name: text})
        states = train(learner, 3)
        assert_same_bits(states[2], before)
        assert not torch.equal(states[3]["phi"], train(plain, 3)[-1]["phi"])


def test_a_discount_of_its_own_takes_the_games_place() -> None:
    assert build(games.make("coin-game", horizon=3)).discount == 0.96
    assert build(games.make("coin-game", horizon=3), inner__discount=0.8).discount == 0.8


def test_where_receivers_agree_on_a_giver_nothing_moves() -> None:
    """Values V_i = sum_j w_in[i, j] v_j of one and the same v: by conservation a softmax feels no slope."""
    learner = build()
    state = learner.init(0)
    seen = torch.randn(3, 2, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    worth = torch.tensor([3.0, -2.0], dtype=torch.float64)
    gradient = sharing_gradient(learner.variable, state["phi"], seen, None, lambda w_in: w_in @ worth)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-14)


@pytest.mark.parametrize("game", [ROOM, JUNGLE], ids=["room", "jungle"])
def test_an_actor_plays_what_was_learned_and_gives_by_it(game: Game) -> None:
    """Side by side with an evaluation: the same actions are those of the film, step by step."""
    learner = build(game, interval=2)
    state = train(learner, 2)[-1]
    actor, transfer = learner.actor(game, state, 1)
    draws = torch.Generator().manual_seed(5)
    trajectory, given = learner._play(
        *(state[name][1:2] for name in ("theta", "phi")),
        GREEDY,
        2,
        torch.Generator().manual_seed(5),
    )
    now, hidden_state = game.reset(2, draws), None
    for step in range(game.horizon):
        actions, hidden_state = actor(now, draws, hidden_state)
        mask = trajectory.mask[0, 0, step] > 0
        assert torch.equal(actions.T[:, mask], trajectory.actions[0, :, step, mask])
        now, rewards, _ = game.step(now, actions, draws)
        own = rewards.double().T[None, :, None]
        gifts = transfer.gifts(_One(own))
        expected = given.matrices[:, :, :, step : step + 1] * own.unsqueeze(2)
        torch.testing.assert_close(gifts[..., mask], expected[..., mask], rtol=0, atol=1e-9)
        now = game.give(now, gifts[0].squeeze(-2).movedim(-1, 0))


class _One:
    """One step of what trajectory, as far as gifts need it."""

    present = None

    def __init__(self, rewards: Tensor) -> None:
        self.rewards = rewards


def test_a_value_that_is_no_number_is_told() -> None:
    learner = build()
    state = learner.init(0)
    state["theta"][1, 0] = math.nan
    with pytest.raises(
        FloatingPointError, match=r"A value network stopped being .* for seed 1, agent 0: try"
    ):
        learner.update(state)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Continuous(EscapeRoom):
    """Escape Room with a pointer to hold."""

    @property
    def action_space(self) -> Any:
        return spaces.Box(0.0, 1.0, (2,))


class Alone(EscapeRoom):
    """Escape Room, empty but for one."""

    @property
    def num_agents(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"inner.exact": True}, "no setting of LToS 'inner.exact'"),
        ({"inner.entropy_coef": 0.1}, "no setting of LToS 'inner.entropy_coef'"),
        ({"inner": "ppo"}, "no inner 'ppo'"),
        ({"policy": "conv"}, "no setting of LToS 'policy'"),
        ({"interval": 0}, "interval must be a whole number, 1 or more, not 0"),
        ({"outer.every": 0}, "outer.every must be a whole number, 1 or more, not 0"),
        ({"outer.updates": 1.5}, "outer.updates must be a whole number, 1 or more, not 1.5"),
        ({"inner.batch_size": 0}, "inner.batch_size must be a whole number, 1 or more, not 0"),
        ({"inner.batch_size": 30, "inner.buffer_size": 20}, "batch_size must be 20 or less, not 30"),
        ({"inner.tau": 0.0}, "inner.tau must be a finite number above 0 and at most 1, not 0"),
        (
            {"learning_rate_decay": 1.1},
            "learning_rate_decay must be a finite number above 0 and at most 1, not 1.1",
        ),
        (
            {"inner.exploration_decay": 0.0},
            "inner.exploration_decay must be a finite number above 0 and at most 1, not 0",
        ),
        ({"inner.exploration": 1.5}, "inner.exploration must be a finite number from 0 to 1, not 1.5"),
        (
            {"inner.exploration_min": -0.1},
            "inner.exploration_min must be a finite number from 0 to 1, not -0.1",
        ),
        ({"noise": -1.0}, "noise must be a finite number of 0 or more, not -1"),
        ({"smoothing": math.inf}, "smoothing must be a finite number of 0 or more, not inf"),
        ({"inner.discount": 1.1}, r"inner.discount must be a finite number from 0 to 1, not 1.1"),
        ({"own_share": 1.0}, "own_share is above 0 and below 1"),
        ({"outer.learning_rate": 0.0}, "outer.learning_rate must be a finite number above 0, not 0"),
        ({"outer.optimizer": "adm"}, "no outer.optimizer 'adm'. Did you mean 'adam'"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as refused:
        configured(LToS, **settings)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("game", "settings", "sentence"),
    [
        (
            ROOM,
            {"inner.buffer_size": 14, "inner.batch_size": 5},
            "3 episodes of 5 steps: inner.buffer_size must be 15 or more, not 14",
        ),
        (Continuous(), {}, r"actions must be numbers, and Continuous's are Box"),
        (Alone(), {}, "Sharing takes 2 agents or more, and Alone has 1"),
        (ROOM, {"inner.hidden_size": (0,)}, "needs 1 unit or more"),
        (ROOM, {"sharing_hidden_size": (0,)}, "needs 1 unit or more"),
    ],
)
def test_games_that_it_cannot_learn_are_refused(game: Game, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as refused:
        build(game, **settings)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_values_of_shared_rewards_open_the_door() -> None:
    """With .2 of the others' rewards it pays to pull: of 16 pairs most get through, at the cost of 3 at most.

    Who does not get through has -10 to 0, so 6 is far from both.
    """
    game, method = preset("escape-room", "ltos")
    learner = method.build(game, Placement(seeds=16, dtype=torch.float32))
    state = learner.init(0)
    for _ in range(15):
        state, metrics = learner.update(state)
    assert int((metrics["welfare"] > 6).sum()) >= 10
    assert ((metrics["given_away"] - 0.2).abs() > 1e-4).all()  # sharing has moved


def test_presets_leave_out_what_it_has_no_use_for() -> None:
    for name in ("escape-room", "repeated-prisoners-dilemma", "jungle"):
        _, method = preset(name, "ltos")
        assert isinstance(method, LToS)
        assert (method.inner.learning_rate, method.noise_always) == (0.003, True)
