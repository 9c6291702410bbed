"""Many copies as one vector environment: each copy is the PettingZoo view, and the rows are Gymnasium's."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils.performance import benchmark_vector_step
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import vector as wrappers

import games
from bilevel.agents import play_blocks
from games import make
from games.adapters import ParallelView, VectorView, vector_env
from games.core import Game
from games.grid import LaseCleanup, Snowdrift, StagHuntGrid
from games.matrix import EscapeRoom
from games.matrix._escape_room import DOOR, LEVER, START
from games.wrappers import WrappedGame, gift_actions, shared

ROOM = EscapeRoom(agents=3, levers=1, horizon=4, random_start=True, observe_gifts=False)
HUNT = StagHuntGrid(agents=3, stags=1, hares=3, hunters=2, size=2, horizon=8)
TINY = Snowdrift(agents=1, drifts=1, size=2, horizon=4)
NEXT, SAME, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED


@dataclasses.dataclass(frozen=True, kw_only=True)
class OddOrEven(WrappedGame):
    """Agents may take their even actions in even steps, and the odd ones in odd steps."""

    def action_mask(self, state: Any) -> torch.Tensor:
        even: torch.Tensor = (torch.arange(self.num_actions) + state.time[:, None]) % 2 == 0
        return even.unsqueeze(1).expand(-1, self.num_agents, -1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dice(WrappedGame):
    """Rewards are thrown with torch's own functions."""

    @property
    def draws_by_rows(self) -> bool:
        return False

    def step(self, state: Any, actions: torch.Tensor, generator: torch.Generator) -> Any:
        state, _, done = super().step(state, actions, generator)
        return state, torch.randint(6, actions.shape, generator=generator).float(), done


HALVES = np.full((3, 3), 0.25) + np.eye(3) / 4
GAMES: dict[str, Game] = {
    "one-shot": make("chicken"),
    "routes": make("braess"),
    "noise": make("repeated-prisoners-dilemma", noise=0.3, horizon=3),
    "room": ROOM,
    "clans": make("clans", horizon=3),
    "coins": make("coin-game-lase", horizon=3),
    "cleanup": make("cleanup-lio-7x7", horizon=4),
    "harvest": make("harvest-open", horizon=4, agents=3),
    "open cleanup": make("cleanup-lase", horizon=4),
    "hunt": HUNT,
    "drifts": Snowdrift(agents=2, drifts=2, size=2, horizon=9),
    "corridor": make("prisoner-corridor", horizon=5),
    "jungle": make("jungle", agents=3, foods=2, size=4, horizon=3, nearest=1),
    "soccer": make("soccer", horizon=6),
    "shared": shared(ROOM, HALVES),
    "shared hunt": shared(HUNT, HALVES),
    "gifts": gift_actions(ROOM, 1.5),
    "masks": OddOrEven(game=Snowdrift(size=4, horizon=3)),
    "masks and leaving": OddOrEven(game=HUNT),
    "dice": Dice(game=ROOM),
}
every_game = pytest.mark.parametrize("game", GAMES.values(), ids=GAMES.keys())


def legal_actions(envs: VectorView, infos: dict[str, Any], draws: np.random.Generator) -> np.ndarray:
    """A random legal action for each row."""
    mask = infos.get("action_mask", np.ones((envs.num_envs, envs.game.num_actions)))
    chosen: np.ndarray = (mask * draws.random(mask.shape)).argmax(-1)
    return chosen


@pytest.mark.parametrize(
    ("game", "flat"),
    [*((game, False) for game in GAMES.values()), (GAMES["noise"], True), (GAMES["cleanup"], True)],
    ids=[*GAMES, "noise, flat", "cleanup, flat"],
)
def test_each_copy_is_the_view_with_its_seed(game: Game, flat: bool) -> None:
    """Bit for bit, over several episodes that end at different times."""
    copies, agents = 3, game.num_agents
    envs = VectorView(game, copies, flat=flat)
    views = [ParallelView(game, flat=flat) for _ in range(copies)]
    draws = np.random.default_rng(0)

    def plain(shown: Any) -> Any:
        return shown["observation"] if isinstance(shown, dict) else shown

    observations, infos = envs.reset(seed=42)
    for copy, view in enumerate(views):
        first, _ = view.reset(seed=42 + copy)
        for agent, name in enumerate(view.agents):
            assert np.array_equal(observations[copy * agents + agent], plain(first[name]))
    ended = np.zeros(copies, dtype=int)
    for _ in range(14):
        actions = legal_actions(envs, infos, draws)
        observations, rewards, terminations, truncations, infos = envs.step(actions)
        assert rewards.dtype == np.float32
        assert observations.dtype == envs.single_observation_space.dtype
        for copy, view in enumerate(views):
            rows = {name: copy * agents + agent for agent, name in enumerate(view.possible_agents)}
            acted = view.agents
            shown, paid, over, cut, told = view.step({name: actions[rows[name]] for name in acted})
            start, told_first = view.reset() if not view.agents else ({}, {})
            ended[copy] += told_first != {}
            for name, row in rows.items():
                last = infos["final_obs"][row] if start else observations[row]
                if name in acted:
                    assert np.array_equal(last, plain(shown[name]))
                    assert rewards[row] == np.float32(paid[name])
                    assert terminations[row] == (bool(start) and over[name])
                    assert truncations[row] == (bool(start) and cut[name])
                else:
                    assert not np.any(last)
                    assert rewards[row] == 0
                    assert (terminations[row], truncations[row]) == (bool(start), False)
                if start:
                    assert np.array_equal(observations[row], plain(start[name]))
                for key, value in told.get(name, {}).items():
                    source = infos["final_info"] if start else infos
                    assert source[f"_{key}"][row]
                    assert np.array_equal(source[key][row], value)
                if "present" in infos:
                    assert infos["present"][row] == (name in view.agents)
        assert all(envs.single_observation_space.contains(row) for row in observations)
    assert (ended > 0).all()


class OneRow(gymnasium.Env):
    """A game of one agent as a Gymnasium environment."""

    render_mode = None

    def __init__(self, game: Game) -> None:
        self.view = ParallelView(game)
        self.observation_space = self.view.observation_space("agent_0")
        self.action_space = self.view.action_space("agent_0")

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        observations, infos = self.view.reset(seed)
        return observations["agent_0"], infos["agent_0"]

    def step(self, action: Any) -> Any:
        return tuple(part["agent_0"] for part in self.view.step({"agent_0": action}))


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("game", [TINY, LaseCleanup(agents=1, horizon=3)], ids=["drifts", "cleanup"])
def test_with_one_agent_it_is_gymnasiums_own_vector(game: Game, mode: AutoresetMode) -> None:
    """Every array and info of SyncVectorEnv, in every autoreset mode."""
    ours = VectorView(game, 4, autoreset_mode=mode)
    theirs: Any = SyncVectorEnv([lambda: OneRow(game)] * 4, autoreset_mode=mode)
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.metadata["autoreset_mode"] is theirs.metadata["autoreset_mode"]
    draws = np.random.default_rng(1)
    mine: Any = ours.reset(seed=5)
    reference: Any = theirs.reset(seed=5)
    assert np.array_equal(mine[0], reference[0])
    ends = 0
    for _ in range(20):
        actions = draws.integers(game.num_actions, size=4)
        mine, reference = ours.step(actions), theirs.step(actions)
        for one, other in zip(mine[:4], reference[:4], strict=True):
            assert np.array_equal(one, other)
        told, expected = mine[4], reference[4]
        for key in ("final_obs", "final_info"):
            assert (key in told) == (key in expected)
        if "final_obs" in expected:
            assert np.array_equal(told["_final_obs"], expected["_final_obs"])
            for row in expected["_final_obs"].nonzero()[0]:
                assert np.array_equal(told["final_obs"][row], expected["final_obs"][row])
            told, expected = told["final_info"], expected["final_info"]
        for key, value in expected.items():
            rows = expected.get(f"_{key}", value)
            if key not in ("final_obs", "_final_obs", "final_info", "_final_info"):
                assert np.array_equal(told[key][rows], value[rows])
        done = mine[2] | mine[3]
        ends += int(done.sum())
        if mode is DISABLED and done.any():
            mine, reference = (each.reset(options={"reset_mask": done.copy()}) for each in (ours, theirs))
            assert np.array_equal(mine[0], reference[0])
    assert ends > 4


def test_same_step_by_hand() -> None:
    envs = VectorView(EscapeRoom(observe_gifts=False, horizon=2), 2)
    start = [[0, 1, 0, 0, 1, 0]] * 2
    observations, infos = envs.reset()
    assert observations.tolist() == start * 2
    assert infos == {}
    # The door opens in copy 0; in copy 1 nobody moves.
    observations, rewards, terminations, truncations, infos = envs.step([LEVER, DOOR, START, START])
    assert observations.tolist() == start * 2
    assert rewards.tolist() == [-1, 10, 0, 0]
    assert terminations.tolist() == [True, True, False, False]
    assert truncations.tolist() == [False] * 4
    assert infos["cooperated"].tolist() == [True, False, False, False]
    assert [None if last is None else last.tolist() for last in infos["final_obs"]] == [
        [1, 0, 0, 0, 0, 1], [0, 0, 1, 1, 0, 0], None, None,
    ]  # fmt: skip
    assert infos["final_info"]["_cooperated"].tolist() == [True, True, False, False]
    # Copy 0 is in its first step, copy 1 in its last.
    observations, rewards, terminations, truncations, infos = envs.step([LEVER, START, DOOR, START])
    assert rewards.tolist() == [-1, 0, -1, 0]
    assert observations[:2].tolist() == [[1, 0, 0, 0, 1, 0], [0, 1, 0, 1, 0, 0]]
    assert observations[2:].tolist() == start
    assert terminations.tolist() == [False] * 4
    assert truncations.tolist() == [False, False, True, True]


def test_next_step_by_hand() -> None:
    envs = VectorView(EscapeRoom(observe_gifts=False, horizon=2), 2, autoreset_mode="NextStep")
    start = [[0, 1, 0, 0, 1, 0]] * 2
    envs.reset()
    observations, rewards, terminations, _, infos = envs.step([LEVER, DOOR, START, START])
    assert observations[:2].tolist() == [[1, 0, 0, 0, 0, 1], [0, 0, 1, 1, 0, 0]]
    assert rewards.tolist() == [-1, 10, 0, 0]
    assert terminations.tolist() == [True, True, False, False]
    assert "final_obs" not in infos
    # Copy 0 starts anew whatever was chosen; copy 1 takes its last step.
    observations, rewards, terminations, truncations, infos = envs.step([LEVER, DOOR, DOOR, START])
    assert observations[:2].tolist() == start
    assert rewards.tolist() == [0, 0, -1, 0]
    assert not terminations.any()
    assert truncations.tolist() == [False, False, True, True]
    assert infos["_cooperated"].tolist() == [False, False, True, True]
    _, rewards, _, truncations, _ = envs.step([DOOR, START, LEVER, LEVER])
    assert rewards.tolist() == [-1, 0, 0, 0]
    assert not truncations.any()


def test_the_row_of_who_left_waits_for_the_others() -> None:
    game = StagHuntGrid(agents=3, stags=1, hares=3, hunters=2, size=2, horizon=2)
    hunt = game.action_names.index("hunt")
    envs = VectorView(game, 50)
    _, infos = envs.reset(seed=0)
    assert infos["present"].all()
    _, rewards, terminations, truncations, infos = envs.step([hunt] * 150)
    left = ~infos["present"] & ~infos["final_info"]["_present"]
    assert left.any()
    assert (rewards[left] > 0).all()
    assert not terminations[left].any()
    _, rewards, terminations, truncations, infos = envs.step([0] * 150)
    assert infos["present"].all()
    assert (rewards[left] == 0).all()
    assert all(not infos["final_obs"][row].any() for row in left.nonzero()[0])
    assert (terminations | truncations)[left].all()
    assert not truncations[left].any()


@every_game
@pytest.mark.parametrize("copies", [1, 3])
def test_what_is_returned_is_the_callers_own(game: Game, copies: int) -> None:
    """Overwriting every array changes nothing that comes later."""
    one, other = VectorView(game, copies), VectorView(game, copies)
    draws = np.random.default_rng(2)

    def scribble(answer: Any) -> None:
        for part in answer.values() if isinstance(answer, dict) else answer:
            if isinstance(part, dict | tuple):
                scribble(part)
            elif part.dtype != object:
                part.fill(1)

    def same(mine: Any, theirs: Any) -> bool:
        if isinstance(mine, dict):
            return mine.keys() == theirs.keys() and all(same(mine[key], theirs[key]) for key in mine)
        if isinstance(mine, tuple):
            return all(map(same, mine, theirs))
        if mine.dtype == object:
            return all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))
        return bool(np.array_equal(mine, theirs, equal_nan=True))

    answer: Any = one.reset(seed=3)
    assert same(answer, other.reset(seed=3))
    for _ in range(4):
        actions = legal_actions(one, answer[-1], draws)
        scribble(answer)
        answer = one.step(actions)
        assert same(answer, other.step(actions))


def test_observations_are_the_games_tensors() -> None:
    """Nothing is copied on the way to NumPy, nor on the way back."""
    made = []

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Watched(WrappedGame):
        def observe(self, state: Any) -> torch.Tensor:
            made.append(super().observe(state))
            return made[-1]

    envs = VectorView(Watched(game=make("coin-game")), 2)
    envs.reset(seed=0)
    observations, *_ = envs.step(torch.tensor([0, 1, 2, 3]))
    assert observations.shape == (4, 4, 3, 3)
    assert observations.ctypes.data == made[-1].data_ptr() == torch.from_numpy(observations).data_ptr()


def test_mean_returns_are_those_of_roll_outs() -> None:
    """Uniformly random play, by Gymnasium's own bookkeeping and by this project's."""
    game = EscapeRoom(random_start=True)
    generator = torch.Generator().manual_seed(0)

    def act(seen: Any) -> torch.Tensor:
        return torch.randint(3, seen.observed.shape[:3], generator=generator)

    alive = torch.ones(1, 1, 20_000)
    nothing = torch.zeros(20_000, 2, 2)
    (episodes,) = play_blocks(game, act, lambda *_: nothing, alive, generator, game.horizon)
    expected = episodes.rewards.sum(2)[0]
    for mode in (SAME, NEXT):
        envs = wrappers.RecordEpisodeStatistics(
            VectorView(game, 1000, autoreset_mode=mode), buffer_length=100_000
        )
        envs.reset(seed=1)
        draws = np.random.default_rng(0)
        for _ in range(30):
            envs.step(draws.integers(3, size=2000))
        returns = np.array(envs.return_queue)
        assert len(returns) > 10_000
        # Short episodes come first: those that end after the 30 steps are too few to matter.
        deviation = float(expected.std()) / np.sqrt(len(returns) / 2)
        assert returns.mean() == pytest.approx(float(expected.mean()), abs=5 * deviation)


def test_gymnasiums_wrappers_and_benchmark_take_it() -> None:
    flat: Any = wrappers.FlattenObservation(VectorView(make("coin-game"), 2, autoreset_mode=NEXT))
    flat.reset(seed=0)
    assert flat.step([0] * 4)[0].shape == (4, 36)
    normal: Any = wrappers.NormalizeObservation(VectorView(ROOM, 2, autoreset_mode=NEXT))
    normal.reset(seed=0)
    assert normal.step([0] * 6)[0].shape == (6, 9)
    listed: Any = wrappers.DictInfoToList(VectorView(ROOM, 2))
    listed.reset(seed=0)
    assert listed.step([0] * 6)[-1] == [{"cooperated": True}] * 6
    for mode in AutoresetMode:
        assert benchmark_vector_step(VectorView(ROOM, 3, autoreset_mode=mode), target_duration=0) > 0


def test_it_is_supersuits_vector() -> None:
    supersuit = pytest.importorskip("supersuit", reason="pip install 'bilevel[learners]'")
    game = make("coin-game", horizon=3)
    reference = supersuit.concat_vec_envs_v1(
        supersuit.pettingzoo_env_to_vec_env_v1(ParallelView(game)), 3, num_cpus=0
    )
    envs, draws = VectorView(game, 3), np.random.default_rng(0)
    assert envs.num_envs == reference.num_envs
    assert np.array_equal(envs.reset(seed=9)[0], reference.reset(seed=9)[0])
    for _ in range(10):
        actions = draws.integers(4, size=6)
        mine, theirs = envs.step(actions), reference.step(actions)
        assert all(np.array_equal(one, other) for one, other in zip(mine[:4], theirs[:4], strict=True))


def test_seeds() -> None:
    def play(envs: VectorView, **how: Any) -> list[np.ndarray]:
        shown = [envs.reset(**how)[0]]
        return [*shown, *(envs.step([0] * envs.num_envs)[0] for _ in range(6))]

    def equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
        return all(map(np.array_equal, one, other))

    game = EscapeRoom(agents=6, random_start=True)
    assert equal(play(VectorView(game, 3), seed=4), play(VectorView(game, 3), seed=[4, 5, 6]))
    assert equal(play(VectorView(game, 3, seed=4)), play(VectorView(game, 3), seed=4))
    assert not equal(play(VectorView(game, 3)), play(VectorView(game, 3)))
    envs = VectorView(game, 3)
    play(envs, seed=8)
    assert equal(play(envs, seed=4), play(VectorView(game, 3), seed=4))
    assert not equal(play(envs), play(VectorView(game, 3), seed=4))
    more = play(VectorView(game, 7), seed=4)
    assert equal([shown[:18] for shown in more], play(VectorView(game, 3), seed=4))


def test_by_name_with_settings() -> None:
    envs = games.vector_env("escape-room", 5, agents=3, levers=2, autoreset_mode="NextStep", flat=True)
    assert (envs.num_envs, envs.copies, envs.num_agents) == (15, 5, 3)
    assert envs.metadata["name"] == "escape-room"
    assert envs.metadata["autoreset_mode"] is NEXT
    assert vector_env(ROOM, 1).metadata["name"] == "EscapeRoom"


def test_frames_are_the_games() -> None:
    envs = VectorView(ROOM, 2, render_mode="rgb_array")
    envs.reset(seed=0)
    frames = envs.render()
    assert frames is not None
    view = ParallelView(ROOM, render_mode="rgb_array")
    view.reset(seed=1)
    alone: Any = view.render()
    assert np.array_equal(frames[1], alone)


def test_a_game_that_draws_what_it_denies_is_refused() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Liar(Dice):
        draws_by_rows = True

    envs = VectorView(Liar(game=ROOM), 2)
    envs.reset()
    envs.step([0] * 6)
    with pytest.raises(RuntimeError, match="Liar says that it draws by rows"):
        envs.reset()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 copy of the game; copies is 0"):
        VectorView(ROOM, 0)
    with pytest.raises(ValueError, match="no autoreset mode 'never'; there are NextStep, SameStep, Disabled"):
        VectorView(ROOM, 1, autoreset_mode="never")
    with pytest.raises(ValueError, match="no render mode 'human'; there is rgb_array, and None"):
        VectorView(ROOM, 1, render_mode="human")
    with pytest.raises(ValueError, match=r"Settings \(levers\) need a game's name"):
        vector_env(ROOM, 1, levers=1)
    with pytest.raises(ValueError, match="There is no game 'escape-rom'"):
        vector_env("escape-rom", 1)

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Pushed(WrappedGame):
        action_space = property(lambda self: spaces.Box(-1, 1, (2,)))

    with pytest.raises(ValueError, match="A vector environment needs Discrete actions"):
        VectorView(Pushed(game=ROOM), 1)
    envs = VectorView(ROOM, 2)
    for call in (lambda: envs.step([0] * 6), envs.render):
        with pytest.raises(ResetNeeded, match=r"call reset\(\) first"):
            call()
    with pytest.raises(ValueError, match="a seed for each of the 2 copies, not 6"):
        envs.reset(seed=[0] * 6)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r'take render_mode="rgb_array"'):
        envs.render()
    for wrong in ([0] * 5, [0.0] * 6, [[0] * 6], [True] * 6):
        with pytest.raises(ValueError, match=r"an integer for each of 6 rows \(2 copies of 3 agents\)"):
            envs.step(wrong)
    for number in (3, -1):
        with pytest.raises(ValueError, match=f"from 0 to 2, not {number}"):
            envs.step([0, 0, 0, 0, number, 0])
    for mask in ([True] * 6, np.array([True] * 5), np.ones(6)):
        with (
            pytest.raises(ValueError, match="reset_mask must be boolean")
            if not isinstance(mask, list)
            else pytest.raises(ValueError, match="same")
        ):
            envs.reset(options={"reset_mask": mask if not isinstance(mask, list) else np.arange(6) > 0})
    masked = VectorView(GAMES["masks"], 2)
    masked.reset(seed=0)
    with pytest.raises(ValueError, match=r"Row 5 \(agent 1 of copy 1\) may not choose action 1 now"):
        masked.step([0] * 5 + [1] + [0] * (masked.num_envs - 6))
    disabled = VectorView(make("chicken"), 3, autoreset_mode=DISABLED)
    disabled.reset()
    disabled.step([0] * 6)
    with pytest.raises(ResetNeeded, match="episode of copy 0 has ended, and autoreset is disabled"):
        disabled.step([0] * 6)
