from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from pettingzoo.utils.agent_selector import AgentSelector
from pettingzoo.utils.env import AECEnv

from games import make
from games.adapters import ForeignGame, env, from_pettingzoo
from games.adapters._foreign_game import SEEDS
from tests.games.adapters.foreign_environments import random_actions


class Countdown(AECEnv):
    """Agents take 1 or 2 from a pile in turn and are paid that; whoever empties it makes the next one pay 5.

    Who has moved `lives` times leaves. The pile's first height is drawn. Taking 2 needs 2.
    """

    metadata = {"name": "countdown_v0"}  # noqa: RUF012
    render_mode = None
    max_cycles = 8

    def __init__(self, agents: int = 3, lives: int = 9, truncates: bool = False, late: bool = False) -> None:
        super().__init__()
        self.possible_agents = [f"agent_{i}" for i in range(agents)]
        self.lives, self.truncates, self.late = lives, truncates, late

    def observation_space(self, agent):
        number = spaces.Discrete(32)
        return spaces.Dict({"observation": number, "action_mask": spaces.Box(0, 1, (2,), dtype=np.int8)})

    def action_space(self, agent):
        return spaces.Discrete(2, start=1)

    def observe(self, agent):
        mask = np.array([self.pile >= 1, self.pile >= 2], dtype=np.int8)
        return {"observation": self.pile, "action_mask": mask * (agent == self.agent_selection)}

    def reset(self, seed=None, options=None):
        self.agents = self.possible_agents[self.late :]
        self.pile = 8 + int(np.random.default_rng(seed).integers(8))
        self.moves = dict.fromkeys(self.agents, 0)
        self.rewards = dict.fromkeys(self.agents, 0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {agent: {} for agent in self.agents}
        self._selector = AgentSelector(self.agents)
        self.agent_selection = self._selector.next()

    def step(self, action):
        mover = self.agent_selection
        if self.terminations[mover] or self.truncations[mover]:
            self._was_dead_step(action)
            return
        self._clear_rewards()
        self.pile -= action
        self.rewards[mover] = action
        self.moves[mover] += 1
        following = self.agents[(self.agents.index(mover) + 1) % len(self.agents)]
        flags = self.truncations if self.truncates else self.terminations
        if self.pile == 0:
            self.rewards[following] -= 5
            flags.update(dict.fromkeys(self.agents, True))
        elif self.moves[mover] == self.lives:
            flags[mover] = True
        self.agent_selection = following
        self._deads_step_first()


def started(
    build: Callable[[], Any], copies: int = 1, **how: Any
) -> tuple[ForeignGame, Any, torch.Generator]:
    game = from_pettingzoo(build, **how)
    generator = torch.Generator().manual_seed(0)
    return game, game.reset(copies, generator), generator


def play(game: ForeignGame, state: Any, *turns: tuple[int, int]) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """One copy: in each turn (mover, action), everybody else waits."""
    rewards = done = torch.empty(0)
    for mover, action in turns:
        actions = torch.full((1, game.num_agents), int(game.action_space.n) - 1)
        actions[0, mover] = action
        state, rewards, done = game.step(state, actions, torch.Generator())
    return state, rewards, done


def test_only_the_mover_may_do_something_and_the_others_only_wait() -> None:
    game, state, generator = started(Countdown)
    assert (game.num_agents, int(game.action_space.n), game.horizon) == (3, 3, 24)
    waits = [False, False, True]
    assert game.action_mask(state)[0].tolist() == [[True, True, False], waits, waits]
    with pytest.raises(ValueError, match=r"countdown_v0, agent_1 may not choose action 0; it may choose 2\."):
        game.step(state, torch.tensor([[0, 0, 2]]), generator)
    with pytest.raises(ValueError, match=r"agent_0 may not choose action 2; it may choose 0, 1\."):
        game.step(state, torch.tensor([[2, 2, 2]]), generator)
    pile = int(state.observations[0, 0])
    state, rewards, done = game.step(state, torch.tensor([[1, 2, 2]]), generator)
    assert rewards.tolist() == [[2, 0, 0]]
    assert state.observations.tolist() == [[pile - 2] * 3]
    assert game.action_mask(state)[0].tolist() == [waits, [True, True, False], waits]
    assert not done


def test_rewards_of_others_in_ones_turn_are_theirs() -> None:
    game, state, _ = started(Countdown)
    last = int(state.observations[0, 0]) - 1
    for turn in range(last):
        state, rewards, done = play(game, state, (turn % 3, 0))
        assert rewards.sum() == 1
        assert not done
    assert game.action_mask(state)[0, last % 3].tolist() == [True, False, False]  # 2 are not there to take
    state, rewards, done = play(game, state, (last % 3, 0))
    expected = [0.0, 0.0, 0.0]
    expected[last % 3], expected[(last + 1) % 3] = 1.0, -5.0
    assert rewards.tolist() == [expected]
    assert bool(done)
    assert bool(game.ended(state))
    assert game.action_mask(state).all()
    state, rewards, done = play(game, state, (0, 0))
    assert not rewards.any()
    assert bool(done)


def test_who_leaves_early_keeps_the_last_observation_and_the_turn_goes_on() -> None:
    game, state, _ = started(lambda: Countdown(lives=1))
    pile = int(state.observations[0, 0])
    state, rewards, done = play(game, state, (0, 1))
    assert state.present.tolist() == [[False, True, True]]
    assert game.action_mask(state)[0, 1].tolist() == [True, True, False]  # the mask of the one who moves now
    state, rewards, done = play(game, state, (1, 0))
    assert rewards.tolist() == [[0, 1, 0]]
    assert state.observations.tolist() == [[pile - 2, pile - 3, pile - 3]]
    assert not done
    state, rewards, done = play(game, state, (2, 0))
    assert bool(done)
    assert not state.present.any()


@pytest.mark.parametrize("truncates", [False, True])
def test_ended_tells_rules_from_cutting_off(truncates: bool) -> None:
    game, state, _ = started(lambda: Countdown(agents=2, lives=1, truncates=truncates))
    state, _, done = play(game, state, (0, 0), (1, 0))
    assert bool(done)
    assert bool(game.ended(state)) == (not truncates)


def test_seeds_restarts_and_workers() -> None:
    def episode(game: ForeignGame) -> list[torch.Tensor]:
        generator, draws = torch.Generator().manual_seed(2), torch.Generator().manual_seed(3)
        state, parts = game.reset(3, generator), []
        for _ in range(30):
            state, rewards, done = game.step(state, random_actions(game, state, draws), generator)
            state = game.restart(state, done, generator)
            parts += [rewards, done, *state[:-1]]
        return parts

    with from_pettingzoo(Countdown, workers=1) as working:
        mine, theirs = episode(working), episode(from_pettingzoo(Countdown))
    assert all(map(torch.equal, mine, theirs))
    assert any(bool(part.any()) for part in mine[1::8])  # some copies were over and began again


def test_a_game_that_goes_out_turn_by_turn_comes_in_with_the_same_rewards() -> None:
    inside = make("repeated-public-goods")
    game, state, _ = started(lambda: env(inside))
    assert game.horizon == inside.horizon * inside.num_agents
    seed = int(torch.randint(SEEDS, (1,), generator=torch.Generator().manual_seed(0)))
    stream = torch.Generator().manual_seed(seed)
    expected, draws = inside.reset(1, stream), torch.Generator().manual_seed(1)
    for _ in range(3):
        actions = torch.randint(2, (1, inside.num_agents), generator=draws)
        turns = list(enumerate(actions[0].tolist()))
        state, early, _ = play(game, state, *turns[:-1])
        assert not early.any()
        state, rewards, _ = play(game, state, turns[-1])
        expected, own, _ = inside.step(expected, actions, stream)
        assert torch.equal(rewards, own)
        assert torch.equal(game.observe(state), inside.observe(expected))


def test_unsuitable_environments_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="countdown_v0 cannot be played here: it starts without agent_0"):
        started(lambda: Countdown(late=True))


def classic(name: str, **settings: Any) -> Callable[[], Any]:
    """A turn-based environment of pettingzoo.classic; skips where pygame, which draws it, is missing."""
    reason = f"{name} needs pygame, part of the extra: pip install '.[environments]'"
    pytest.importorskip("pygame", reason=reason)
    module = pytest.importorskip(f"pettingzoo.classic.{name}", reason=reason)
    return lambda: module.env(**settings)


def test_tic_tac_toe() -> None:
    game, state, _ = started(classic("tictactoe_v3", render_mode="rgb_array", screen_height=90), horizon=9)
    assert game.observation_space == spaces.Box(0.0, 1.0, (2, 3, 3), dtype=np.float32)
    assert int(game.action_space.n) == 10
    state, rewards, _ = play(game, state, (0, 0), (1, 4))
    assert not rewards.any()
    assert state.action_mask[0, 0].nonzero().flatten().tolist() == [1, 2, 3, 5, 6, 7, 8]
    own, other = state.observations[0, 0].flatten(1)
    assert (own.nonzero().tolist(), other.nonzero().tolist()) == ([[0]], [[4]])
    with pytest.raises(ValueError, match="player_1 may not choose action 4; it may choose 1, 2, 3, 5"):
        play(game, state, (0, 4))
    assert game.render(state).shape == (90, 90, 3)
    state, rewards, done = play(game, state, (0, 1), (1, 8), (0, 2))
    assert rewards.tolist() == [[1, -1]]
    assert bool(done)
    assert bool(game.ended(state))
    state = game.restart(state, done, torch.Generator())
    state, rewards, done = play(
        game, state, *((turn % 2, cell) for turn, cell in enumerate((0, 1, 2, 4, 3, 5, 7, 6, 8)))
    )
    assert rewards.tolist() == [[0, 0]]  # a draw
    assert bool(done)


def test_connect_four() -> None:
    game, state, _ = started(classic("connect_four_v3"), horizon=42)
    assert game.observation_space == spaces.Box(0.0, 1.0, (2, 6, 7), dtype=np.float32)
    state, _, done = play(game, state, (0, 3), (1, 4), (0, 3), (1, 4), (0, 3), (1, 4))
    assert not done
    state, rewards, done = play(game, state, (0, 3))
    assert rewards.tolist() == [[1, -1]]
    assert bool(done)
    with pytest.raises(ValueError, match=r"connect_four_v3 does not say how long.*pass horizon"):
        from_pettingzoo(classic("connect_four_v3"))


def test_random_play_of_many_copies_ends_with_rewards_that_cancel() -> None:
    game, state, generator = started(classic("tictactoe_v3"), copies=8, horizon=9)
    totals, draws = torch.zeros(8, 2), torch.Generator().manual_seed(1)
    for _ in range(9):
        state, rewards, done = game.step(state, random_actions(game, state, draws), generator)
        totals += rewards
    assert done.all()
    assert torch.equal(totals.sum(-1), torch.zeros(8))
    assert totals.abs().max() == 1
