"""What learners need of the PettingZoo view: action masks, vectors, agents that leave, and infos."""

from __future__ import annotations

import dataclasses
import pickle
import warnings

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test
from pettingzoo.utils.conversions import parallel_to_aec

from games import make
from games.adapters import ParallelView, env, parallel_env
from games.grid import Cleanup, Snowdrift, StagHuntGrid
from games.wrappers import WrappedGame, gift_actions, shared

HUNT = StagHuntGrid(agents=3, stags=1, hares=3, hunters=2, size=2, horizon=8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OddOrEven(WrappedGame):
    """Agents may take their even actions in even steps, and the odd ones in odd steps."""

    def action_mask(self, state):
        number = torch.arange(int(self.action_space.n)) + state.time[:, None]
        return (number % 2 == 0).unsqueeze(1).expand(-1, self.num_agents, -1)

    def step(self, state, actions, generator):
        legal = self.action_mask(state).gather(-1, actions.unsqueeze(-1)).squeeze(-1)
        assert (legal | ~self.present(state)).all() if self.present(state) is not None else legal.all()
        return super().step(state, actions, generator)


MASKED = OddOrEven(game=Snowdrift(size=4, horizon=12))
MASKED_HUNT = OddOrEven(game=HUNT)


@pytest.mark.parametrize(
    "game", [MASKED, MASKED_HUNT, gift_actions(MASKED, 1.0)], ids=["all stay", "some leave", "gifts"]
)
def test_masked_games_pass_pettingzoos_own_tests(game):
    parallel_api_test(ParallelView(game), num_cycles=12)
    parallel_api_test(ParallelView(game, flat=True), num_cycles=12)
    with warnings.catch_warnings():  # about observations that are dicts, and of zeros for who has left
        warnings.filterwarnings("ignore", category=UserWarning, module="pettingzoo")
        api_test(parallel_to_aec(ParallelView(game)), num_cycles=12)


def test_masks_stand_beside_observations_and_in_infos():
    view = ParallelView(MASKED)
    space = view.observation_space("agent_0")
    assert isinstance(space, spaces.Dict)
    assert space["observation"] == MASKED.observation_space
    observations, infos = view.reset(seed=0)
    legal = [1, 0] * 10
    for step in range(2):
        for agent in view.agents:
            mask = observations[agent]["action_mask"]
            assert mask.dtype == np.int8
            assert mask.tolist() == legal[step : step + len(mask)]
            assert np.array_equal(infos[agent]["action_mask"], mask)
            assert space.contains(observations[agent])
        observations, *_, infos = view.step(dict.fromkeys(view.agents, step))
    before = view.state()
    with pytest.raises(ValueError, match="agent_0 may not choose action 1 now; it may choose 0, 2"):
        view.step(dict.fromkeys(view.agents, 1))
    assert np.array_equal(view.state(), before)


def test_flat_views_show_vectors():
    one_shot, pictures, numbers = make("prisoners-dilemma"), make("coin-game"), make("repeated-chicken")
    for game, length in ((one_shot, 1), (pictures, np.prod(pictures.observation_space.shape)), (numbers, 5)):
        view = ParallelView(game, flat=True)
        space = view.observation_space("agent_0")
        assert isinstance(space, spaces.Box)
        assert (space.shape, space.dtype) == ((length,), np.float32)
        observations, _ = view.reset(seed=0)
        assert all(space.contains(seen) for seen in observations.values())
        parallel_api_test(ParallelView(game, flat=True), num_cycles=10)
    view, plain = ParallelView(pictures, flat=True), ParallelView(pictures)
    flat, square = view.reset(seed=3)[0], plain.reset(seed=3)[0]
    assert np.array_equal(flat["agent_1"], square["agent_1"].reshape(-1))
    assert ParallelView(one_shot, flat=True).reset()[0]["agent_0"].tolist() == [1.0]
    assert parallel_env("chicken", flat=True).observation_space("agent_0").shape == (1,)
    assert env("chicken", flat=True).observation_space("agent_0").shape == (1,)
    copy = pickle.loads(pickle.dumps(view))
    assert np.array_equal(copy.reset(seed=3)[0]["agent_0"], flat["agent_0"])


def test_bytes_of_pictures_become_fractions_and_marks_stay_as_they_are():
    view = ParallelView(Cleanup(), flat=True)
    seen = view.reset(seed=0)[0]["agent_0"]
    assert set(np.unique(seen)) == {0.0, 1.0}

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Picture(WrappedGame):
        observation_space = property(lambda self: spaces.Box(0, 255, (2, 2, 3), dtype=np.uint8))

        def observe(self, state):
            return torch.full((len(state.time), 2, 2, 2, 3), 51, dtype=torch.uint8)

    view = ParallelView(Picture(game=make("coin-game")), flat=True)
    space, seen = view.observation_space("agent_0"), view.reset()[0]["agent_0"]
    assert space == spaces.Box(0.0, 1.0, (12,), dtype=np.float32)
    assert seen.tolist() == pytest.approx([0.2] * 12)


def test_agents_that_leave_are_terminated_and_act_no_more():
    left, parallel = set(), ParallelView(HUNT)
    draws = np.random.default_rng(0)
    for episode in range(20):
        parallel.reset(seed=episode)
        while parallel.agents:
            acting = parallel.agents
            actions = {agent: int(draws.integers(6)) for agent in acting}
            observations, rewards, terminations, truncations, infos = parallel.step(actions)
            for answer in (observations, rewards, terminations, truncations, infos):
                assert list(answer) == acting
            gone = [agent for agent in acting if terminations[agent]]
            left |= set(gone) if parallel.agents else set()
            assert not any(truncations[agent] for agent in gone)
    assert left == {"agent_0", "agent_1", "agent_2"}
    parallel_api_test(ParallelView(HUNT), num_cycles=10)
    parallel_seed_test(lambda: ParallelView(HUNT), num_cycles=10)


@given(seed=st.integers(0, 2**31))
@settings(max_examples=8)
def test_sharing_a_game_and_sharing_its_view_pay_the_same(seed: int) -> None:
    """One rule: a share that would go to an agent that has left stays with its giver, in both forms."""
    torch.set_default_dtype(torch.float64)
    try:
        shares = torch.rand(3, 3, generator=torch.Generator().manual_seed(seed)) + 0.01
        shares = shares / shares.sum(-1, keepdim=True)
        inside, outside = ParallelView(shared(HUNT, shares)), shared(ParallelView(HUNT), shares)
        draws = np.random.default_rng(seed)
        inside.reset(seed=seed)
        outside.reset(seed=seed)
        while inside.agents:
            assert inside.agents == outside.agents
            actions = {agent: int(draws.integers(6)) for agent in inside.agents}
            _, rewards, *_, infos = inside.step(actions)
            _, others, *_, told = outside.step(actions)
            assert others == pytest.approx(rewards, abs=1e-12)
            for agent, info in infos.items():
                assert told[agent] == pytest.approx(info, abs=1e-12)
    finally:
        torch.set_default_dtype(torch.float32)


def test_infos_tell_what_was_cleaned_and_given():
    game = make("cleanup")
    view = ParallelView(game)
    draws = np.random.default_rng(0)
    view.reset(seed=1)
    cleaned = np.zeros(game.num_agents)
    before, clean = view._now.state.waste.sum(), game.action_names.index("clean")
    appeared = 0
    while view.agents and view._cycles < 40:
        waste = view._now.state.waste.clone()
        actions = {agent: clean if draws.random() < 0.5 else int(draws.integers(4)) for agent in view.agents}
        *_, infos = view.step(actions)
        told = [info["cleaned"] for info in infos.values()]
        assert all(type(number) is int for number in told)
        assert all(
            number == 0 for number, action in zip(told, actions.values(), strict=True) if action != clean
        )
        gone = int((waste & ~view._now.state.waste).sum())
        assert gone <= sum(told)
        appeared += int((~waste & view._now.state.waste).sum())
        cleaned += told
    assert cleaned.sum() > 0
    assert int(before) + appeared - cleaned.sum() <= int(view._now.state.waste.sum())
    gifts = ParallelView(gift_actions(make("escape-room"), 2.0))
    gifts.reset(seed=0)
    *_, infos = gifts.step({"agent_0": 0, "agent_1": 5})  # agent 1 leaves by the door, and gives
    told = {
        agent: {key: info[key] for key in ("extrinsic_reward", "given", "received")}
        for agent, info in infos.items()
    }
    assert told == {
        "agent_0": {"extrinsic_reward": -1.0, "given": 0.0, "received": 2.0},
        "agent_1": {"extrinsic_reward": 10.0, "given": 2.0, "received": 0.0},
    }
