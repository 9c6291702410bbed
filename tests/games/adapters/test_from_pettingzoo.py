import functools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from bilevel.agents import MLP
from bilevel.agents._rollout import rollout
from bilevel.sharing import SharedBy
from games import make
from games.adapters import from_pettingzoo, parallel_env
from tests.games.adapters.foreign_environments import UNIT, StandIn, seeds, started

# What comes through is what the environment does.


@pytest.mark.parametrize("name", ["escape-room", "prisoners-dilemma", "repeated-public-goods"])
def test_a_game_that_goes_out_and_comes_in_is_the_same(name: str) -> None:
    inside = make(name, random_start=True) if name == "escape-room" else make(name)
    game, state, generator = started(lambda: parallel_env(inside), copies=3)
    assert (game.num_agents, game.horizon) == (inside.num_agents, inside.horizon)
    assert (game.action_space, game.observation_space) == (inside.action_space, inside.observation_space)
    streams = [torch.Generator().manual_seed(s) for s in seeds(3, torch.Generator().manual_seed(0))]
    expected = [inside.reset(1, stream) for stream in streams]
    draws = torch.Generator().manual_seed(1)
    for _ in range(3):
        for copy, single in enumerate(expected):
            assert torch.equal(game.observe(state)[copy], inside.observe(single)[0])
        actions = torch.randint(int(inside.action_space.n), (3, inside.num_agents), generator=draws)
        state, rewards, done = game.step(state, actions, generator)
        for copy, stream in enumerate(streams):
            expected[copy], own, over = inside.step(expected[copy], actions[copy : copy + 1], stream)
            assert torch.equal(rewards[copy], own[0])
            assert done[copy] == over[0]
            assert game.ended(state)[copy] == inside.ended(expected[copy])[0]
        fresh = seeds(3, generator.clone_state())
        state = game.restart(state, done, generator)
        for copy, over in enumerate(done.tolist()):
            if over:
                streams[copy].manual_seed(fresh[copy])
                expected[copy] = inside.reset(1, streams[copy])
            assert state.time[copy] == expected[copy].time[0]


def test_restarting_does_not_touch_the_neighbors() -> None:
    game, state, generator = started(StandIn, copies=3)
    state, _, _ = game.step(state, torch.zeros(3, 2, dtype=torch.int64), generator)
    after = game.restart(state, torch.tensor([False, True, False]), generator)
    assert after.time.tolist() == [1, 0, 1]
    assert torch.equal(after.observations[::2], state.observations[::2])
    assert not torch.equal(after.observations[1], state.observations[1])
    # The others go on from where they were.
    onward, _, _ = game.step(after, torch.zeros(3, 2, dtype=torch.int64), generator)
    torch.testing.assert_close(onward.observations[0] - state.observations[0], torch.full((2, 1), 1 / 8))


def test_seeds_make_episodes_again_and_differ_between_copies() -> None:
    game, state, _ = started(StandIn, copies=4)
    again = game.reset(4, torch.Generator().manual_seed(0))
    other = game.reset(4, torch.Generator().manual_seed(1))
    assert torch.equal(state.observations, again.observations)
    assert not torch.equal(state.observations, other.observations)
    assert len(state.observations[:, 0].unique()) == 4


def test_an_agent_that_leaves_early_is_paid_no_more_and_keeps_its_last_observation() -> None:
    game, state, generator = started(lambda: StandIn(lives={"b": 2}))
    paid, shown, over = [], [], []
    for _ in range(6):  # two more than the episode has
        state, rewards, done = game.step(state, torch.tensor([[1, 2]]), generator)
        paid.append(rewards[0].tolist())
        shown.append(state.observations[0, :, 0])
        over.append(bool(done))
    assert paid == [[1, 2], [1, 2], [1, 0], [1, 0], [0, 0], [0, 0]]
    assert over == [False, False, False, True, True, True]
    assert torch.equal(shown[1][1], shown[5][1])
    assert shown[1][0] < shown[2][0] < shown[3][0] == shown[5][0]
    assert state.action_mask.all()
    assert not state.present.any()


@pytest.mark.parametrize("truncates", [False, True])
def test_ended_tells_rules_from_cutting_off(truncates: bool) -> None:
    game, state, generator = started(lambda: StandIn(truncates=truncates))
    for step in range(4):
        assert not game.ended(state)
        state, _, done = game.step(state, torch.zeros(1, 2, dtype=torch.int64), generator)
        assert bool(done) == (step == 3)
    assert bool(game.ended(state)) == (not truncates)


def test_a_horizon_below_the_environments_cuts_the_episode_off() -> None:
    game, state, generator = started(StandIn, horizon=2)
    for expected in (False, True):
        state, _, done = game.step(state, torch.zeros(1, 2, dtype=torch.int64), generator)
        assert bool(done) == expected
    assert not game.ended(state)


def test_learners_play_it() -> None:
    game = from_pettingzoo(functools.partial(parallel_env, "escape-room"))
    policy = MLP(num_features=7, num_actions=3, hidden=(4,))
    theta = torch.zeros(2, 2, policy.num_parameters)
    episodes = rollout(
        game, policy, theta, SharedBy(torch.eye(2).expand(2, 2, 2)), 3, torch.Generator().manual_seed(0)
    )
    assert episodes.rewards.shape == (2, 2, 5, 3)  # seed, agent, time, episode
    assert set(episodes.rewards.unique().tolist()) <= {-1.0, 0.0, 10.0}


# Masks.


def test_missing_actions_are_masked_and_refused() -> None:
    acting = {"a": spaces.Discrete(2), "b": spaces.Discrete(4)}
    game, state, generator = started(lambda: StandIn(acting=acting), copies=2)
    assert int(game.action_space.n) == 4
    assert game.action_mask(state)[1].tolist() == [[True, True, False, False], [True] * 4]
    with pytest.raises(
        ValueError, match=r"copy 1 of stand_in_v0, a may not choose action 2; it may choose 0, 1\."
    ):
        game.step(state, torch.tensor([[0, 3], [2, 0]]), generator)
    with pytest.raises(ValueError, match="may not choose action -1"):
        game.step(state, torch.tensor([[0, 3], [0, -1]]), generator)
    _, rewards, _ = game.step(state, torch.tensor([[0, 3], [1, 0]]), generator)  # a refusal changed nothing
    assert rewards.tolist() == [[0, 3], [1, 0]]


def test_masks_in_observations_are_kept_out_of_them() -> None:
    space = spaces.Dict({"observation": UNIT, "action_mask": spaces.Box(0, 1, (3,), dtype=np.int8)})
    show = lambda agent, time: {"observation": [time], "action_mask": np.array([agent == "a", 1, 0])}  # noqa: E731
    game, state, generator = started(lambda: StandIn(observed={"a": space, "b": space}, show=show))
    assert game.observation_space.shape == (1,)
    assert game.action_mask(state)[0].tolist() == [[True, True, False], [False, True, False]]
    with pytest.raises(ValueError, match=r"b may not choose action 0; it may choose 1\."):
        game.step(state, torch.tensor([[0, 0]]), generator)


def test_masks_in_infos_count_as_well() -> None:
    game, state, _ = started(lambda: StandIn(info={"action_mask": np.array([0, 1, 1], dtype=np.int8)}))
    assert game.action_mask(state)[0].tolist() == [[False, True, True]] * 2


def test_actions_that_do_not_start_at_0_are_counted_from_0() -> None:
    acting = {"a": spaces.Discrete(3, start=5), "b": spaces.Discrete(3)}
    game, state, generator = started(lambda: StandIn(acting=acting))
    _, rewards, _ = game.step(state, torch.tensor([[2, 2]]), generator)
    assert rewards.tolist() == [[7, 2]]  # the stand-in pays the number it was given


# What is refused.


def test_only_the_latest_state_of_the_game_itself_can_be_played() -> None:
    game, state, generator = started(StandIn, copies=2)
    actions = torch.zeros(2, 2, dtype=torch.int64)
    after, _, _ = game.step(state, actions, generator)
    with pytest.raises(ValueError, match="not the latest state of stand_in_v0"):
        game.step(state, actions, generator)
    with pytest.raises(ValueError, match="not the latest state of stand_in_v0"):
        game.render(state)
    other, foreign, _ = started(StandIn, copies=2)
    with pytest.raises(ValueError, match="not the latest"):
        game.step(foreign, actions, generator)
    with pytest.raises(ValueError, match="not the latest"):
        other.restart(after, torch.zeros(2, dtype=torch.bool), generator)
    game.step(after, actions, generator)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            lambda: StandIn(acting={"a": spaces.Discrete(2), "b": spaces.Box(-1.0, 1.0, (1,))}),
            r"stand_in_v0 cannot be played here: some of its agents have Discrete actions and some a Box",
        ),
        (
            lambda: StandIn(acting={"a": spaces.MultiDiscrete([2, 2])}, observed={"a": UNIT}),
            r"stand_in_v0 cannot be played here: the actions of a are MultiDiscrete.*Discrete or a Box",
        ),
        (
            lambda: StandIn(acting={"a": spaces.Box(0.0, np.inf, (1,))}, observed={"a": UNIT}),
            r"stand_in_v0 cannot be played here: the actions of a are Box.*needs finite bounds",
        ),
        (
            lambda: StandIn({"a": UNIT, "b": spaces.Sequence(UNIT)}),
            "stand_in_v0 cannot be played here: its observations are Sequence",
        ),
        (
            lambda: StandIn({"a": spaces.Box(0, 1, (2, 2)), "b": UNIT}),
            r"stand_in_v0 see arrays of different shapes \(\(1,\), \(2, 2\)\).*pass flat=True",
        ),
        (
            lambda: StandIn({"a": spaces.Dict({"action_mask": UNIT}), "b": UNIT}),
            "stand_in_v0 cannot be played here: its observations are action masks and nothing else",
        ),
        (lambda: StandIn(max_cycles=None), "stand_in_v0 does not say how long.*pass horizon"),
    ],
)
def test_unsuitable_environments_are_refused_by_name(build: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        from_pettingzoo(build)


class Latecomers(StandIn):
    """Agent "b" is not there at first, or comes back."""

    metadata = {"name": "latecomers_v0"}  # noqa: RUF012
    late = True

    def reset(self, seed=None, options=None):
        shown, infos = super().reset(seed, options)
        if self.late:
            self.agents = ["a"]
        return shown, infos

    def step(self, actions):
        answer = super().step(actions)
        if self.time == 2:
            self.agents = ["a", "b"]
        return answer


def test_agents_that_appear_in_mid_episode_are_refused() -> None:
    with pytest.raises(ValueError, match="latecomers_v0 cannot be played here: it starts without b"):
        started(Latecomers)

    class Returning(Latecomers):
        late = False

    with pytest.raises(ValueError, match="latecomers_v0 cannot be played here: b appeared in mid-episode"):
        started(lambda: Returning(lives={"b": 1}))


def test_copies_that_differ_are_refused() -> None:
    cycles = iter((3, 3, 3, 4))
    game = from_pettingzoo(lambda: StandIn(max_cycles=next(cycles)))
    with pytest.raises(ValueError, match="The copies of stand_in_v0 differ"):
        game.reset(2, torch.Generator())


def test_bad_numbers_are_refused() -> None:
    for how, words in (
        ({"workers": -1}, "workers must be 0 or more, not -1"),
        ({"horizon": 0}, "horizon is 0"),
        ({"discount": 1.5}, "discount must be from 0 to 1, not 1.5"),
        ({"copies": 2}, "There is no setting of the environment 'copies'"),
    ):
        with pytest.raises(ValueError, match=words):
            from_pettingzoo(StandIn, **how)
    game, state, generator = started(StandIn, copies=2)
    with pytest.raises(ValueError, match="at least 1 copy; batch is 0"):
        game.reset(0, generator)
    for actions in (torch.zeros(2, 2), torch.zeros(2, 3, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"integers \[batch, agent\] = \(2, 2\)"):
            game.step(state, actions, generator)
    with pytest.raises(ValueError, match=r"done must be boolean \[batch\] = \(2,\)"):
        game.restart(state, torch.zeros(3, dtype=torch.bool), generator)


def test_text_is_drawn_and_nothing_to_draw_is_refused() -> None:
    game, state, generator = started(StandIn)
    first = game.render(state)
    assert first.dtype == np.uint8
    assert first.ndim == 3
    state, _, _ = game.step(state, torch.zeros(1, 2, dtype=torch.int64), generator)
    assert not np.array_equal(first, game.render(state))
    with pytest.raises(ValueError, match="from 0 to 0; there is no copy 1"):
        game.render(state, index=1)
    game, state, _ = started(lambda: StandIn(render_mode=None))
    with pytest.raises(ValueError, match=r"stand_in_v0 was made with render_mode None.*rgb_array or ansi"):
        game.render(state)


def test_a_pickled_game_has_environments_of_its_own() -> None:
    game = from_pettingzoo(functools.partial(parallel_env, "escape-room"), horizon=3)
    twin = pickle.loads(pickle.dumps(game))
    assert repr(twin) == repr(game)
    states = [each.reset(2, torch.Generator().manual_seed(5)) for each in (game, twin)]
    actions = torch.tensor([[0, 2], [1, 1]])
    after = [
        each.step(state, actions, torch.Generator()) for each, state in zip((game, twin), states, strict=True)
    ]
    assert torch.equal(after[0][1], after[1][1])
    assert torch.equal(after[0][0].observations, after[1][0].observations)
