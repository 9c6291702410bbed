"""Clans: steps by hand, and that no static matrix does what sharing by season does."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from games import check_game
from games.adapters._parallel_env import ParallelView
from games.matrix import Clans
from games.matrix._clans import FEUD, HELP, PEACE, REST, ClansState
from tests.games.adapters.pettingzoo_contract import check_contract

H, R = HELP, REST


def state_in(season: int) -> ClansState:
    return ClansState(torch.tensor([season]), torch.tensor([0]))


HAND_COMPUTED = [
    # season, what they do, rewards
    (PEACE, [H, R, R, R], [-1, 3, 0, 0]),
    (PEACE, [H, H, R, H], [2, 2, 3, -1]),
    (PEACE, [R, R, R, R], [0, 0, 0, 0]),
    (FEUD, [H, R, R, R], [-1, 5, -5, 0]),
    (FEUD, [R, R, R, H], [0, -5, 5, -1]),
    (FEUD, [H, H, H, H], [-1, -1, -1, -1]),
]


@pytest.mark.parametrize(("season", "actions", "rewards"), HAND_COMPUTED)
def test_steps_by_hand(season, actions, rewards):
    game = Clans(horizon=2)
    after, got, done = game.advance(state_in(season), torch.tensor([actions]), torch.tensor([[0.3]]))
    assert got.tolist() == [rewards]
    assert (after.season.tolist(), after.time.tolist(), done.tolist()) == ([FEUD], [1], [False])


def test_a_clan_of_many_raids_the_next_one():
    game = Clans(agents=6, horizon=2)
    actions = torch.tensor([[H, R, R, R, R, R], [R, R, R, R, R, H]])
    for season, rewards in (
        (PEACE, [[-1, 3, 0, 0, 0, 0], [0, 0, 0, 0, 3, -1]]),
        (FEUD, [[-1, 5, -5, 0, 0, 0], [0, -5, 0, 0, 5, -1]]),
    ):
        state = ClansState(torch.tensor([season] * 2), torch.tensor([0] * 2))
        assert game.advance(state, actions, torch.tensor([[0.3]] * 2))[1].tolist() == rewards
    assert (game.best_welfare, game.best_static_welfare) == (12, 6)


def test_everybody_sees_the_season_and_shares_within_the_clan():
    game = Clans()
    assert game.observe(state_in(FEUD)).tolist() == [[FEUD] * 4]
    assert game.neighbors.int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]


def test_seasons_come_as_often_as_they_should():
    game, batch = Clans(feud_chance=0.2), 20_000
    generator = torch.Generator().manual_seed(0)
    state = game.reset(batch, generator)
    after, _, _ = game.step(state, torch.zeros(batch, 4, dtype=torch.int64), generator)
    for season in (state.season, after.season):
        assert abs((season == FEUD).float().mean().item() - 0.2) < 5 * (0.2 * 0.8 / batch) ** 0.5


def test_cooperating_is_helping_in_peace_and_resting_in_a_feud():
    game, everything = Clans(), torch.tensor([[H, R, H, R]])
    assert game.cooperates(state_in(PEACE), everything).tolist() == [[True, False, True, False]]
    assert game.cooperates(state_in(FEUD), everything).tolist() == [[False, True, False, True]]
    who = torch.tensor([[True, False, True, False]])
    assert game.scripted(state_in(PEACE), who).tolist() == [[H, R, H, R]]
    assert game.scripted(state_in(FEUD), who).tolist() == [[R, R, R, R]]


def welfare_of_matrix(game: Clans, matrices: dict[int, torch.Tensor]) -> float:
    """A step's mean welfare where everybody does what pays on shared rewards; NaN where somebody is in two
    minds. Read off the game's own steps: of every profile, what agent i gains by helping instead of resting.

    Args:
        game: what is played.
        matrices: season -> T, [giver, receiver].
    """
    profiles = torch.tensor(list(itertools.product((HELP, REST), repeat=4)))
    total = 0.0
    for season, chance in ((PEACE, 1 - game.feud_chance), (FEUD, game.feud_chance)):
        states = ClansState(torch.full((16,), season), torch.zeros(16, dtype=torch.int64))
        own = game.advance(states, profiles, torch.zeros(16, 1))[1].double()
        seen = (own @ matrices[season]).reshape(2, 2, 2, 2, 4)  # by profile, then receiver
        gains = [(seen.select(i, HELP) - seen.select(i, REST))[..., i].flatten() for i in range(4)]
        if any(gain.abs().min() < 1e-5 for gain in gains):  # rewards are float32
            return float("nan")
        # Helping pays, or not, whatever the others do.
        assert all((gain > 0).all() or (gain < 0).all() for gain in gains)
        played = tuple(HELP if gain[0] > 0 else REST for gain in gains)
        total += chance * float(own.reshape(2, 2, 2, 2, 4)[played].sum())
    return total


def within_clans(kept: list[float]) -> torch.Tensor:
    """T of agents who keep these shares and give the rest to their partners."""
    matrix = torch.zeros(4, 4, dtype=torch.float64)
    for agent, share in enumerate(kept):
        matrix[agent, agent], matrix[agent, agent ^ 1] = share, 1 - share
    return matrix


@settings(max_examples=60)
@given(
    kept=st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4),
    benefit=st.floats(0.5, 8),
    spoils=st.floats(0.5, 8),
    feud_chance=st.sampled_from([0.0, 0.2, 0.5, 0.9]),
)
def test_no_static_matrix_does_better_than_best_static_welfare(kept, benefit, spoils, feud_chance):
    game = Clans(benefit=benefit, spoils=spoils, feud_chance=feud_chance)
    matrix = within_clans(kept)
    reached = welfare_of_matrix(game, {PEACE: matrix, FEUD: matrix})
    assume(reached == reached)
    assert reached <= game.best_static_welfare + 1e-6


@pytest.mark.parametrize(
    "setting", [{}, {"spoils": 3.5}, {"feud_chance": 0.9}, {"spoils": 2.0}, {"benefit": 0.5}]
)
def test_some_static_matrix_reaches_it(setting):
    game = Clans(**setting)
    shares = torch.linspace(0.003, 0.997, 60).tolist()
    reached = [
        welfare_of_matrix(game, dict.fromkeys((PEACE, FEUD), within_clans([share] * 4))) for share in shares
    ]
    assert np.nanmax(reached) == pytest.approx(game.best_static_welfare, abs=1e-6)


def test_sharing_by_season_reaches_the_optimum_and_static_sharing_half_of_it():
    game = Clans()
    half, keep = within_clans([0.5] * 4), within_clans([1.0] * 4)
    assert welfare_of_matrix(game, {PEACE: half, FEUD: keep}) == game.best_welfare == 4
    assert welfare_of_matrix(game, {PEACE: half, FEUD: half}) == game.best_static_welfare == 2
    assert welfare_of_matrix(game, {PEACE: keep, FEUD: keep}) == game.defection_welfare == 0
    # A fifth is enough to raid (above 1/6) and not to help (above 1/4): worse than keeping everything.
    fifth = within_clans([0.8] * 4)
    assert welfare_of_matrix(game, {PEACE: fifth, FEUD: fifth}) == -2
    # Across clans equal shares would do, but nobody may share there.
    equal = torch.full((4, 4), 0.25, dtype=torch.float64)
    assert welfare_of_matrix(game, {PEACE: equal, FEUD: equal}) == 4


@settings(max_examples=15)
@given(
    game=st.sampled_from([Clans(), Clans(agents=6), Clans(horizon=5, feud_chance=0.1)]),
    seed=st.integers(0, 2**32),
)
def test_the_contract_of_drawn_games(game, seed):
    check_game(game, seed=seed, steps=game.horizon)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"agents": 2}, "an even number, 4 or more, not 2"),
        ({"agents": 5}, "an even number, 4 or more, not 5"),
        ({"cost": 0.0}, "cost must be above 0, not 0.0"),
        ({"benefit": -1.0}, "benefit must be 0 or more, not -1.0"),
        ({"spoils": -1.0}, "spoils must be 0 or more, not -1.0"),
        ({"feud_chance": 1.5}, "feud_chance must be from 0 to 1, but it is 1.5"),
        ({"horizon": 0}, "horizon is 0"),
    ],
)
def test_bad_settings_are_refused(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        Clans(**setting)


def test_frames_tell_seasons_apart():
    frames = [Clans().render(state_in(season)) for season in (PEACE, FEUD)]
    assert frames[0].shape == frames[1].shape
    assert frames[0].tobytes() != frames[1].tobytes()


def test_settings_pickle():
    game = Clans(spoils=4.0)
    assert pickle.loads(pickle.dumps(game)) == game


def test_the_pettingzoo_contract():
    check_contract(lambda: ParallelView(Clans(horizon=3)))
