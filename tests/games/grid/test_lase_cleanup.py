"""LASE's cleanup: a step by hand, conservation, and the dilemma by scripted play."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from games.grid import LaseCleanup
from games.grid._lase_cleanup import CELLS, CLEAN, FULL, NAMES, ORCHARD, PICK, RIVER, LaseCleanupState

UP, DOWN, LEFT, RIGHT, STAY = range(5)


def lay(places: list[int], waste: list[int], apples: list[int]) -> LaseCleanupState:
    foul, ripe = (torch.tensor([[cell in some for cell in range(CELLS)]]) for some in (waste, apples))
    return LaseCleanupState(
        torch.tensor([places]),
        ripe,
        foul,
        torch.zeros(1, dtype=torch.int64),
        torch.zeros(1, len(places)).long(),
    )


def lying(things: torch.Tensor) -> list[int]:
    cells: list[int] = things[0].nonzero().flatten().tolist()
    return cells


def play(
    game: LaseCleanup, state: LaseCleanupState, actions: list[int], more: tuple[float, ...] = (1, 0, 1, 0)
) -> tuple[LaseCleanupState, list[float]]:
    """A step in which agent 0 goes before 1, 1 before 2; nothing appears unless `more` says so."""
    ranks = [0.9 - 0.1 * agent for agent in range(game.agents)]
    state, rewards, _ = game.advance(state, torch.tensor([actions]), torch.tensor([[*ranks, *more]]))
    return state, rewards[0].tolist()


def test_actions_are_numbered_as_they_are_named() -> None:
    assert NAMES == ("up", "down", "left", "right", "stay", "clean", "pick")
    state, _ = play(LaseCleanup(), lay([0, 63, 9, 9], [], []), [UP, RIGHT, DOWN, LEFT])
    assert state.places[0].tolist() == [0, 63, 17, 8]


def test_one_cleans_and_picks_where_one_stands() -> None:
    game = LaseCleanup()
    state, rewards = play(game, lay([3, 50, 4, 51], [3, 4], [50, 51]), [CLEAN, PICK, PICK, CLEAN])
    assert (lying(state.waste), lying(state.apples), rewards) == ([4], [51], [0, 1, 0, 0])


def test_one_of_several_gets_the_apple_and_all_who_clean_clean() -> None:
    game = LaseCleanup()
    state, rewards = play(game, lay([50, 50, 50, 3], [3], [50]), [STAY, PICK, PICK, CLEAN])
    assert (lying(state.apples), lying(state.waste), rewards) == ([], [], [0, 1, 0, 0])


@pytest.mark.parametrize(("waste", "rate"), [(0, 1.0), (2, 0.75), (7, 0.125), (8, 0.0)])
def test_apples_grow_where_the_river_is_clean(waste: int, rate: float) -> None:
    game = LaseCleanup()
    for draw, grown in ((rate, []), (max(rate - 1e-6, 0.0), [48] if rate else [])):
        state, _ = play(game, lay([20] * 4, list(range(waste)), []), [STAY] * 4, (1, 0, draw, 0))
        assert lying(state.apples) == grown
        assert lying(state.waste) == list(range(waste))


def test_apples_and_waste_appear_in_free_cells_all_alike() -> None:
    game = LaseCleanup()
    taken = [cell for cell in ORCHARD if cell not in (50, 61)]
    for draw, cell in ((0.0, 50), (0.49, 50), (0.51, 61)):
        assert lying(play(game, lay([50] * 4, [], taken), [STAY] * 4, (1, 0, 0, draw))[0].apples) == sorted(
            [*taken, cell]
        )
    for chance, appears in ((0.0999, True), (0.1001, False)):
        state, _ = play(game, lay([50] * 4, [0, 2], []), [STAY] * 4, (chance, 0.99, 1, 0))
        assert lying(state.waste) == ([0, 2, 15] if appears else [0, 2])
    full = list(range(FULL))
    assert lying(play(game, lay([50] * 4, full, []), [STAY] * 4, (0, 0.99, 1, 0))[0].waste) == full
    # A full orchard grows nothing more.
    assert lying(play(game, lay([0] * 4, [], list(ORCHARD)), [STAY] * 4, (1, 0, 0, 0))[0].apples) == list(
        ORCHARD
    )


def test_what_one_sees_by_hand() -> None:
    seen = LaseCleanup(agents=2).observe(lay([9, 56], [0], [57]))[0]
    where = [[np.argwhere(plane.numpy()).tolist() for plane in agent[1:]] for agent in seen]
    assert seen.shape == (2, 6, 5, 5)
    ground = [[int(row > 0 and column > 0) for column in range(5)] for row in range(5)]
    assert seen[0, 0].tolist() == ground  # from (1, 1) the edge is two cells away
    river = [[row, column] for row in (1, 2) for column in range(1, 5)]
    assert where[0] == [[], [[1, 1]], river, [], []]
    orchard = [[row, column] for row in (1, 2) for column in (2, 3, 4)]
    assert where[1] == [[[2, 3]], [], [], orchard, []]
    near = LaseCleanup(agents=2).observe(lay([9, 10], [], []))[0, :, 5]
    assert [np.argwhere(plane.numpy()).tolist() for plane in near] == [[[2, 3]], [[2, 1]]]


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_waste_and_apples_change_by_the_rules_only(seed: int) -> None:
    game, draws = LaseCleanup(), torch.Generator().manual_seed(seed)
    state = game.reset(6, draws)
    assert (state.waste.sum(1) == FULL).all()
    assert not state.apples.any()
    banks = (
        torch.tensor([cell in RIVER for cell in range(CELLS)]),
        torch.tensor([cell in ORCHARD for cell in range(CELLS)]),
    )
    for step in range(game.horizon):
        actions = torch.randint(len(NAMES), (6, 4), generator=draws)
        cleaners = (actions == CLEAN).sum(1)
        before = state
        state, rewards, done = game.step(state, actions, draws)
        picked = (before.apples & ~state.apples).sum(1) + _regrown(before, state, rewards)
        assert torch.equal(rewards.sum(1), picked.float())
        assert ((before.waste & ~state.waste).sum(1) <= cleaners).all()
        for old, new, bank in zip(
            (before.waste, before.apples), (state.waste, state.apples), banks, strict=True
        ):
            assert ((new & ~old).sum(1) <= 1).all()
            assert not (new & ~bank).any()
        assert (state.waste.sum(1) <= FULL).all()
        assert done.all() == (step == game.horizon - 1)


def _regrown(before: LaseCleanupState, after: LaseCleanupState, rewards: torch.Tensor) -> torch.Tensor:
    """Apples that were picked and came back in the same step, in the same cell: at most one for each copy."""
    picked = ((rewards > 0)[..., None] & (after.places[..., None] == torch.arange(CELLS))).any(1)
    return (picked & before.apples & after.apples).sum(1)


def totals(cooperators: int, copies: int = 100) -> tuple[float, float]:
    """Mean return of cooperators and of defectors; who they are takes turns."""
    game, draws = LaseCleanup(), torch.Generator().manual_seed(cooperators)
    cooperative = (torch.arange(4) + torch.arange(copies)[:, None]) % 4 < cooperators
    state, returns = game.reset(copies, draws), torch.zeros(copies, 4)
    for _ in range(game.horizon):
        state, rewards, _ = game.step(state, game.scripted(state, cooperative), draws)
        returns += rewards
    return returns[cooperative].mean().item(), returns[~cooperative].mean().item()


def test_scripted_play_shows_the_dilemma() -> None:
    cooperate, defect = zip(*(totals(cooperators) for cooperators in range(5)), strict=True)
    assert defect[0] == 0 == LaseCleanup().defection_welfare
    assert cooperate[4] > 5
    for others in (1, 2, 3):
        assert defect[others] > cooperate[others]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"agents": 0}, "agents is 0"),
        ({"horizon": 0}, "horizon is 0"),
        ({"view": -1}, "0 or more, not -1"),
        ({"waste_probability": 1.5}, "must lie between 0 and 1, but it is 1.5"),
    ],
)
def test_bad_settings_are_refused(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        LaseCleanup(**setting)


def test_settings_pickle_and_frames_tell_states_apart() -> None:
    game = LaseCleanup(agents=2)
    assert pickle.loads(pickle.dumps(game)) == game
    states = [lay([1, 2], [0], [50]), lay([2, 1], [0], [50]), lay([1, 2], [], [50]), lay([1, 2], [0], [])]
    assert len({game.render(state).tobytes() for state in states}) == len(states)
