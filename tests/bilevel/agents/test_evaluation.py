"""Evaluation in blocks of time steps: the same numbers, and no more observations than in training."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import games
from bilevel.agents import MLP, SampledPlay, Trajectory, initial_parameters, measure_episodes
from bilevel.agents._rollout import concatenated, rollout, rollout_blocks
from bilevel.agents._surrogates import dice
from bilevel.core import Purpose, random_seeds_of, streams_of
from bilevel.hypergradient import measure_peak
from bilevel.methods import METHODS, LToS, Placement, Selfish, StateDependentSharing, ToS
from bilevel.methods._d3c_bound import Mixing
from bilevel.methods._gifting import ChosenGifts
from bilevel.methods._lio import Incentives
from bilevel.methods._planner import Planner
from bilevel.sharing import Report, SharedBy, Sharing, SharingNetwork, Transfer
from bilevel.sharing._network import SharedByNetwork
from games.core import Streams
from games.matrix import Clans, EscapeRoom
from games.wrappers import GiftGame, GiftRules
from tests.bilevel.methods.configured import configured

SEEDS = 2
ROOM = EscapeRoom(agents=3, levers=1, random_start=True)  # episodes end after 1 to 5 steps
JUNGLE = games.make("jungle", agents=4, foods=2, size=4, nearest=1, view=1, horizon=6)
CLANS = Clans()
EVERYBODY = torch.ones(3, 3, dtype=torch.bool)


def with_gifts(**rules: Any) -> GiftGame:
    return GiftGame(game=ROOM, rules=GiftRules(amount=1.0, **rules), separate=True)


VARIABLES: dict[str, tuple[Any, Any]] = {
    "matrix": (ROOM, Mixing(EVERYBODY, own_weight=0.7)),
    "sharing network": (ROOM, SharingNetwork(Sharing(EVERYBODY), ROOM.observation_space)),
    "sharing network, held": (ROOM, SharingNetwork(Sharing(EVERYBODY), ROOM.observation_space, interval=2)),
    "incentives": (ROOM, Incentives(EVERYBODY, ROOM.observation_space, actions=3)),
    "planner": (ROOM, Planner(ROOM.observation_space, agents=3, actions=3, balanced=True)),
    "gifts": (with_gifts(), ChosenGifts(with_gifts())),
    "gifts from a purse": (
        with_gifts(budget="fixed", purse=1.5),
        ChosenGifts(with_gifts(budget="fixed", purse=1.5)),
    ),
}


class Setting:
    """Random policies, and a transfer with random outer variables."""

    def __init__(self, game: games.Game, variable: Any, training: int) -> None:
        features = int(game.observe(game.reset(1, torch.Generator())).shape[-1])
        self.play = SampledPlay(game, MLP(features, game.num_actions, (4,)), dice, training)
        theta = initial_parameters(self.play.policy, seed=0, seeds=SEEDS, agents=game.num_agents)
        draws = torch.Generator().manual_seed(1)
        self.theta = theta + torch.randn(theta.shape, generator=draws, dtype=torch.float64)
        phi = variable.initial(0, SEEDS)
        self.transfer: Transfer = variable.transfer(
            phi + torch.randn(phi.shape, generator=draws, dtype=torch.float64)
        )

    @property
    def generator(self) -> Streams:
        return streams_of(random_seeds_of(7, SEEDS), Purpose.EVALUATION)

    def episodes(self, count: int) -> Trajectory:
        play = self.play
        return rollout(play.game, play.policy, self.theta, self.transfer, count, self.generator)

    def evaluate(self, count: int) -> tuple[Any, Report]:
        return self.play.evaluate(self.theta, self.transfer, self.generator, count)


@pytest.mark.parametrize("game", [ROOM, JUNGLE, CLANS, games.make("repeated-prisoners-dilemma", horizon=7)])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_blocks_joined_are_the_episodes_bit_for_bit(game: Any, steps: int) -> None:
    policy = Selfish().with_settings({"policy": "mlp", "policy.hidden_size": (4,)}).policy.build(game)
    theta = initial_parameters(policy, seed=0, seeds=SEEDS, agents=game.num_agents)
    keep = SharedBy(torch.eye(game.num_agents, dtype=theta.dtype).expand(SEEDS, -1, -1))

    def generator() -> Streams:
        return streams_of(random_seeds_of(7, SEEDS), Purpose.TRAINING)

    whole = rollout(game, policy, theta, keep, 4, generator())
    blocks = list(rollout_blocks(game, policy, theta, keep, 4, generator(), steps))
    assert [block.rewards.shape[2] for block in blocks[:-1]] == [steps] * (len(blocks) - 1)
    for name, expected in whole._asdict().items():
        found = getattr(concatenated(blocks), name)
        assert (found is None) == (expected is None), name
        assert expected is None or (torch.equal(found, expected) and found.dtype == expected.dtype), name


@given(name=st.sampled_from(sorted(VARIABLES)), training=st.integers(1, 40), episodes=st.integers(2, 40))
@settings(max_examples=60)
def test_an_evaluation_is_the_same_whatever_training_samples(name: str, training: int, episodes: int) -> None:
    """The length of the blocks follows from what training samples: numbers of play do not, bit for bit."""
    setting = Setting(*VARIABLES[name], training)
    whole = setting.episodes(episodes)
    measured, report = setting.evaluate(episodes)
    expected = measure_episodes(setting.play.game, whole)
    assert torch.equal(measured.values, expected.values)
    assert (measured.cooperation is None) == (expected.cooperation is None)
    if expected.cooperation is not None:
        assert torch.equal(measured.cooperation, expected.cooperation)
    for key, values in setting.transfer.report(whole).items():
        torch.testing.assert_close(report[key], values, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("training", "episodes"), [(16, 64), (2, 40), (2, 7), (64, 8)])
def test_no_more_observations_are_kept_than_in_training(
    training: int, episodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in all that a transfer which looks at observations is shown, in training and evaluation."""
    shown: list[int] = []
    report = SharedByNetwork.report

    def look(self: SharedByNetwork, trajectory: Any) -> Report:
        shown.append(trajectory.observations.numel())
        return report(self, trajectory)

    monkeypatch.setattr(SharedByNetwork, "report", look)
    seeds = 8
    learner = (
        ToS(sharing=StateDependentSharing())
        .with_settings({"inner.episodes": training})
        .build(ROOM, Placement(seeds=seeds))
    )
    state, _ = learner.update(learner.init(0))
    (trained,) = shown
    shown.clear()
    learner.evaluate(state, episodes=episodes)
    assert max(shown) <= trained
    assert sum(shown) == trained // training * episodes


@pytest.mark.parametrize("method", ["selfish", "lio", "planner", "lase", "gifting"])
def test_groups_of_seeds_and_blocks_change_nothing_that_was_played(method: str) -> None:
    """With 2 episodes of training, 5 seeds are evaluated one by one, a step at a time; with 64, at once."""

    def evaluated(episodes: int) -> dict[str, Tensor]:
        learner = configured(METHODS[method], inner__episodes=episodes).build(ROOM, Placement(seeds=5))
        return learner.evaluate(learner.init(0), episodes=64)

    apart, together = evaluated(2), evaluated(64)
    assert apart.keys() == together.keys()
    for name, values in together.items():
        if name.startswith(("return", "welfare", "cooperation")):
            assert torch.equal(apart[name], values), name
        else:
            torch.testing.assert_close(apart[name], values, rtol=0, atol=1e-5)  # float32 means


def test_an_evaluation_holds_no_more_tensors_than_training() -> None:
    """Bytes of all tensors, of 16 times as many episodes: the most at a time."""
    learner = (
        ToS()
        .with_settings({"inner.episodes": 8, "inner.steps": 2})
        .build(games.make("coin-game", horizon=16), Placement(seeds=2))
    )
    state = learner.init(0)
    _, training = measure_peak(lambda: learner.update(state), torch.device("cpu"))
    _, evaluation = measure_peak(lambda: learner.evaluate(state, episodes=128), torch.device("cpu"))
    assert evaluation <= training


def test_observations_of_a_block_are_freed_before_the_next_is_made() -> None:
    """Weak references to the storage: nothing but the block itself holds it."""
    setting = Setting(ROOM, VARIABLES["sharing network"][1], 4)
    play, held = setting.play, []
    blocks = rollout_blocks(play.game, play.policy, setting.theta, setting.transfer, 6, setting.generator, 1)
    for block in blocks:
        assert all(reference() is None for reference in held)
        held.append(weakref.ref(block.observations))
        del block
    assert len(held) == ROOM.horizon


def evaluated(episodes: int) -> dict[str, Tensor]:
    learner = (
        LToS()
        .with_settings({"inner.episodes": episodes, "inner.buffer_size": 200})
        .build(JUNGLE, Placement(seeds=SEEDS))
    )
    return learner.evaluate(learner.init(0), episodes=12)


def test_ltos_evaluates_the_same_in_blocks() -> None:
    few, many = evaluated(2), evaluated(12)
    assert few.keys() == many.keys()
    for name, values in many.items():
        torch.testing.assert_close(few[name], values, rtol=0, atol=1e-6)  # float32 means of shares
        assert name.startswith(("share", "given")) or torch.equal(few[name], values)
