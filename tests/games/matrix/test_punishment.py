"""Public goods with punishment: rounds by hand, what agents see, scripts in closed form, bad input."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from games import check_game
from games.matrix import PublicGoodsWithPunishment, PunishmentState
from games.theory import scripted_schelling

GAME = PublicGoodsWithPunishment()


def played(game: PublicGoodsWithPunishment, *actions: list[int]) -> tuple[PunishmentState, list[list[float]]]:
    """The state after these joint actions, and the rewards of each step."""
    state, paid = game.reset(1, torch.Generator()), []
    for each in actions:
        state, rewards, _ = game.step(state, torch.tensor([each]), torch.Generator())
        paid.append(rewards[0].tolist())
    return state, paid


def test_a_round_by_hand() -> None:
    """Agent 0 contributes nothing; agents 1 and 3 punish it, and agent 0 punishes agent 1 in return."""
    state, paid = played(GAME, [0, 2, 2, 1], [2, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0])
    assert paid[0] == pytest.approx([40, 20, 20, 30])  # 0.4 * 50 each, and what they kept
    assert paid[1] == pytest.approx([-10 - 15, -30, 0, -5])  # 0 punishes 1; 3 punishes 0
    assert paid[2] == [0, 0, 0, 0]
    assert paid[3] == pytest.approx([-15, -5, 0, 0])  # 1 punishes 0, three places further
    assert state.points[0].tolist() == [[0, 10, 0, 0], [5, 0, 0, 0], [0, 0, 0, 0], [5, 0, 0, 0]]
    assert state.received.tolist() == [[10, 10, 0, 0]]


def test_what_agents_observe() -> None:
    during, _ = played(GAME, [0, 2, 2, 1], [2, 0, 0, 1])
    assert GAME.observe(during)[0, 3].tolist() == [0, 0, 1, 0, 0.5, 0, 1, 1, 0]  # no points of this round yet
    later, _ = played(GAME, [0, 2, 2, 1], [2, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0])
    expected = [1, 0, 0, 0, 1, 1, 0.5, 0, 1 / 3]
    assert GAME.observe(later)[0, 1].tolist() == pytest.approx(expected)
    next_round, paid = played(GAME, *[[0] * 4] * 3, [0, 0, 2, 0], [1, 1, 1, 1])
    assert paid[-1] == pytest.approx([26] * 4)
    assert next_round.points.sum() == 0
    assert next_round.received.tolist() == [[0, 10, 0, 0]]  # agent 2 punished agent 2 + 3 - 4


@given(
    agents=st.integers(2, 6),
    levels=st.integers(2, 7),
    mpcr=st.floats(0.55, 0.95),
    rounds=st.integers(1, 3),
    cost=st.floats(0.1, 2),
    impact=st.floats(0.1, 5),
)
def test_scripts_in_closed_form(
    agents: int, levels: int, mpcr: float, rounds: int, cost: float, impact: float
) -> None:
    """With m cooperators each pays for the N - m defectors, who are fined by m."""
    game = PublicGoodsWithPunishment(
        agents=agents,
        levels=levels,
        mpcr=mpcr,
        rounds=rounds,
        punishment_cost=cost,
        punishment_impact=impact,
        max_points=4,
    )
    for cooperators in range(agents + 1):
        roles = (torch.arange(agents) < cooperators).unsqueeze(0)
        state, total = game.reset(1, torch.Generator()), torch.zeros(1, agents)
        for _ in range(game.horizon):
            actions = game.scripted(state, roles)
            assert (game.cooperates(state, actions) | ~roles).all()
            state, rewards, done = game.step(state, actions, torch.Generator())
            total += rewards
        assert done.all()
        pot = 20 * mpcr * cooperators
        cooperator = pot - cost * 4 * (agents - cooperators)
        defector = 20 + pot - impact * 4 * cooperators
        expected = [rounds * (cooperator if role else defector) for role in roles[0].tolist()]
        assert total[0].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-3)
    assert game.best_welfare == pytest.approx(total.sum().item(), rel=1e-4)
    assert game.defection_welfare == pytest.approx(rounds * agents * 20)


def test_punishment_turns_the_dilemma_into_coordination() -> None:
    generator = torch.Generator().manual_seed(0)
    with_fines = scripted_schelling(GAME, generator, episodes=8)
    assert with_fines.better_replies().tolist() == [[1, 1, -1, -1]]
    assert with_fines.defector.mean[0] == pytest.approx([6 * (20 - 22 * others) for others in range(4)])
    without = scripted_schelling(PublicGoodsWithPunishment(max_points=0), generator, episodes=8)
    assert without.better_replies().tolist() == [[1, 1, 1, 1]]
    assert "a social dilemma by greed and fear" in str(without.verdict())


def test_without_punishment_a_round_is_one_step() -> None:
    game = PublicGoodsWithPunishment(max_points=0, rounds=3)
    assert (game.horizon, game.action_names) == (3, ("0", "10", "20"))
    assert GAME.horizon == 24
    assert GAME.action_names == ("0 / 0", "10 / 5", "20 / 10")
    check_game(game)


def test_optima() -> None:
    assert (GAME.best_welfare, GAME.defection_welfare, GAME.best_cooperation) == (768, 480, 1)
    useless = PublicGoodsWithPunishment(mpcr=0.2)  # the pot returns 0.8 of a unit
    assert (useless.best_welfare, useless.best_cooperation) == (480, None)


@pytest.mark.parametrize("game", [GAME, PublicGoodsWithPunishment(agents=3, levels=5, rounds=2)], ids=str)
def test_the_contract(game: PublicGoodsWithPunishment) -> None:
    check_game(game)
    assert pickle.loads(pickle.dumps(game)) == game


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"agents": 1}, "between 2 and 100; it is 1"),
        ({"endowment": 0.0}, "endowment must be above 0, not 0.0"),
        ({"mpcr": 1.0}, "mpcr must be between 0 and 1; it is 1.0"),
        ({"max_points": -1.0}, "max_points must be 0 or more, not -1.0"),
        ({"punishment_impact": float("nan")}, "punishment_impact must be a finite number; it is nan"),
        ({"levels": 1}, "levels must be a whole number, 2 or more; it is 1"),
        ({"rounds": 0}, "at least 1 round; rounds is 0"),
    ],
)
def test_bad_settings_are_refused(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        PublicGoodsWithPunishment(**setting)


def test_frames_tell_states_apart() -> None:
    states = [played(GAME, *actions)[0] for actions in ([], [[0, 1, 2, 2]], [[0, 1, 2, 2], [0, 0, 0, 2]])]
    frames = [GAME.render(state) for state in states]
    assert len({frame.tobytes() for frame in frames}) == 3
    assert len({frame.shape for frame in frames}) == 1
