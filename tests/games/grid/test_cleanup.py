"""Cleanup: rates and beams by hand, conservation, and the dilemma by scripted play."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from games import make
from games.grid import FOULER, LIO_7X7, LIO_10X10, Cleanup
from games.grid._cleanup import FULL
from games.grid._social_state import SocialState

RULES = {"agents": 2, "turning": False, "fining": False, "random_spawn": False, "view": (1, 1, 1, 1)}
CANAL = (
    "@@@@@",
    "@HHH@",
    "@HRH@",
    "@R R@",
    "@PPB@",
    "@@@@@",
)


def canal(**changes: object) -> Cleanup:
    return Cleanup(map=CANAL, **{**RULES, **changes})  # type: ignore[arg-type]


def lay(game: Cleanup, places: list[int], waste: list[int], apples: tuple[int, ...] = ()) -> SocialState:
    state = game.begin(torch.zeros(1, game.start_draws))
    foul, ripe = (
        torch.tensor([[cell in some for cell in range(len(CANAL) * 5)]]) for some in (waste, apples)
    )
    return state._replace(places=torch.tensor([places]), waste=foul, apples=ripe)


def test_the_start_is_what_the_map_says() -> None:
    game = canal()
    state = game.begin(torch.rand(3, game.start_draws))
    assert state.waste[0].nonzero().flatten().tolist() == [6, 7, 8, 11, 13]
    assert not state.apples.any()
    assert state.places.tolist() == [[22, 21]] * 3  # from below, right to left
    assert game.waste_density(state).tolist() == pytest.approx([5 / 8] * 3)


def test_a_beam_cleans_the_first_waste_of_each_ray() -> None:
    game = canal()
    clean, stay = (game.action_names.index(name) for name in ("clean", "stay"))
    draws = torch.ones(1, game.step_draws)
    state, rewards, _ = game.advance(
        lay(game, [17, 21], [6, 7, 8, 11, 13]), torch.tensor([[clean, stay]]), draws
    )
    assert state.waste[0].nonzero().flatten().tolist() == [6, 8]
    assert state.beams[0].nonzero().flatten().tolist() == [7, 11, 12, 13, 16, 18]
    assert rewards.tolist() == [[0, 0]]


def test_an_agent_stops_the_cleaning_beam_and_what_it_stands_on_gets_clean() -> None:
    game = canal()
    clean, stay = (game.action_names.index(name) for name in ("clean", "stay"))
    draws = torch.ones(1, game.step_draws)
    for other, left in ((12, [7]), (7, [])):
        state = lay(game, [17, other], [7])
        state, _, _ = game.advance(state, torch.tensor([[clean, stay]]), draws)
        assert state.waste[0].nonzero().flatten().tolist() == left


@pytest.mark.parametrize(
    ("waste", "apple", "dirt"),
    [  # eight cells; depletion 0.5, restoration 0.25
        (0, 0.5, 1 - 0.5**8),
        (2, 0.5, 1 - 0.5**6),
        (3, 0.25, 1 - 0.5**5),
        (4, 0.0, 0.0),
        (8, 0.0, 0.0),
    ],
)
def test_rates_by_the_density_of_waste(waste: int, apple: float, dirt: float) -> None:
    game = canal(depletion=0.5, restoration=0.25, apple_probability=0.5)
    state = lay(game, [21, 22], list(game.river)[:waste])
    for below in (False, True):
        draws = (torch.tensor([[apple, dirt, 0.0]]) - 1e-6 * below).clamp_min(0)
        after = game.change_map(state, draws)
        assert after.apples.sum().item() == (below and apple > 0)
        assert after.waste.sum().item() == waste + (below and dirt > 0)


@pytest.mark.parametrize(
    ("name", "waste", "clean", "needed"),
    [("cleanup", 56, 63, 9), ("cleanup-more-waste", 70, 49, 23), ("cleanup-lio-10x10", 8, 8, 2)],
)
def test_so_many_cells_must_be_cleaned_before_the_first_apple(
    name: str, waste: int, clean: int, needed: int
) -> None:
    """56 and 63 are the counts of the source's master branch: (56 - 9) / 119 is just below 0.4."""
    game = make(name)
    assert isinstance(game, Cleanup)
    assert (len(game.cells_of("waste")), len(game.cells_of("river"))) == (waste, clean)
    assert (waste - needed) / (waste + clean) < game.depletion <= (waste - needed + 1) / (waste + clean)
    state = game.begin(torch.zeros(1, game.start_draws))
    foul = torch.tensor(game.cells_of("waste"))
    draws = torch.zeros(1, game.map_draws)
    draws[:, -2] = 1.0  # no new waste
    for cleaned in range(needed + 1):
        left = state._replace(waste=state.waste.index_fill(1, foul[:cleaned], False))
        assert game.change_map(left, draws).apples.any() == (cleaned == needed)


def test_waste_appears_in_one_clean_cell_all_alike() -> None:
    game = canal(depletion=1.0)
    state = lay(game, [21, 22], [6, 7, 13, 16])
    draws = torch.stack((torch.ones(400), torch.zeros(400), (torch.arange(400) + 0.5) / 400), 1)
    many = SocialState(*(field.expand(400, *field.shape[1:]) for field in state))
    fresh = (game.change_map(many, draws).waste & ~many.waste).sum(0)
    assert fresh[[8, 11, 12, 18]].tolist() == [100] * 4
    assert fresh.sum() == 400


def test_no_apple_grows_under_an_agent() -> None:
    game = canal(apple_probability=1.0)
    draws = torch.tensor([[0.0, 1.0, 0.0]])
    assert not game.change_map(lay(game, [23, 21], []), draws).apples.any()
    assert game.change_map(lay(game, [22, 21], []), draws).apples[0].nonzero().flatten().tolist() == [23]


def test_chances_are_those_of_trying_cells_one_after_the_other() -> None:
    """Shuffle the clean cells, try each with the probability of waste, stop at the first: so the source."""
    game = canal(depletion=1.0, waste_probability=0.3)
    state = lay(game, [21, 22], [6, 7, 8, 11, 13, 16])
    generator = torch.Generator().manual_seed(0)
    many = SocialState(*(field.expand(40_000, *field.shape[1:]) for field in state))
    draws = torch.rand(40_000, game.map_draws, generator=generator)
    appeared = game.change_map(many, draws).waste.sum() - many.waste.sum()
    assert appeared / 40_000 == pytest.approx(0.3 + 0.7 * 0.3, abs=0.0125)  # 5 standard errors


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(("cleanup", "cleanup-lio-10x10", "cleanup-lio-7x7")))
def test_waste_and_apples_change_by_the_rules_only(seed: int, name: str) -> None:
    game = make(name, horizon=25, fining=False)
    assert isinstance(game, Cleanup)
    draws = torch.Generator().manual_seed(seed)
    state = game.reset(4, draws)
    orchard, river = torch.tensor(game.cells_of("orchard")), torch.tensor(game.river)
    for _ in range(game.horizon):
        actions = torch.randint(int(game.action_space.n), (4, game.agents), generator=draws)
        cleaning = game.cooperates(state, actions)
        before = state
        state, rewards, _ = game.step(state, actions, draws)
        assert torch.equal((rewards > 0).sum(1), (before.apples & ~state.apples).sum(1))
        removed, appeared = before.waste & ~state.waste, state.waste & ~before.waste
        assert (appeared.sum(1) <= 1).all()
        assert (removed.sum(1) <= 3 * cleaning.sum(1)).all()
        assert not state.apples.clone().index_fill_(1, orchard, False).any()
        assert not state.waste.clone().index_fill_(1, river, False).any()
        assert all(len(set(copy)) == game.agents for copy in state.places.tolist())


def totals(name: str, cooperators: int, copies: int = 64) -> tuple[float, float]:
    """Mean return of cooperators and of defectors; NaN where there are none. Who they are takes turns."""
    game = make(name)
    agents = game.num_agents
    draws = torch.Generator().manual_seed(cooperators)
    cooperative = (torch.arange(agents) + torch.arange(copies)[:, None]) % agents < cooperators
    state, returns = game.reset(copies, draws), torch.zeros(copies, agents)
    for _ in range(game.horizon):
        state, rewards, _ = game.step(state, game.scripted(state, cooperative), draws)
        returns += rewards
    return returns[cooperative].mean().item(), returns[~cooperative].mean().item()


@pytest.mark.parametrize("name", ["cleanup-lio-7x7", "cleanup-lio-10x10"])
def test_scripted_play_shows_the_dilemma(name: str) -> None:
    both, (cleans, eats), neither = totals(name, 2)[0], totals(name, 1), totals(name, 0)[1]
    assert neither == 0 == make(name).defection_welfare
    assert both > neither  # R > P
    assert eats > both  # T > R: greed
    assert cleans < both  # S < R


def test_presets_are_those_of_their_sources() -> None:
    full, ten, seven = (make(name) for name in ("cleanup", "cleanup-lio-10x10", "cleanup-lio-7x7"))
    assert isinstance(full, Cleanup)
    assert isinstance(ten, Cleanup)
    assert isinstance(seven, Cleanup)
    assert (full.map, ten.map, seven.map) == (FULL, LIO_10X10, LIO_7X7)
    assert make("cleanup-more-waste") == dataclasses.replace(full, map=FOULER)
    assert (full.size, ten.size, seven.size) == ((25, 18), (10, 10), (7, 7))
    rates = [
        (game.depletion, game.restoration, game.waste_probability, game.apple_probability)
        for game in (full, ten, seven)
    ]
    assert rates == [(0.4, 0, 0.5, 0.05), (0.4, 0, 0.5, 0.3), (0.6, 0, 0.5, 0.5)]
    assert [game.horizon for game in (full, ten, seven)] == [1000, 50, 50]
    assert [game.num_agents for game in (full, ten, seven)] == [5, 2, 2]
    assert [game.observation_space.shape for game in (full, ten, seven)] == [
        (7, 15, 15),
        (7, 15, 15),
        (7, 9, 9),
    ]
    assert len(full.action_names) == 9
    assert ten.action_names == seven.action_names == ("left", "right", "up", "down", "stay", "clean")
    assert len(seven.river) == 2
    # Agent 0 starts at the river, agent 1 at the apples.
    assert seven.reset(1, torch.Generator()).places.tolist() == [[5 * 7 + 2, 1 * 7 + 4]]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"depletion": 1.1}, "depletion must lie between 0 and 1, but it is 1.1"),
        ({"waste_probability": -0.1}, "waste_probability must lie between 0 and 1"),
        ({"apple_probability": 2.0}, "apple_probability must lie between 0 and 1"),
        ({"restoration": 0.5, "depletion": 0.5}, "restoration must be below depletion = 0.5"),
        ({"map": ("@PB",), "agents": 1}, "The map has no river"),
        ({"map": ("@AP",), "agents": 1}, "has 'A' in row 0, column 1"),
    ],
)
def test_bad_settings_are_refused(setting: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Cleanup(**setting)  # type: ignore[arg-type]
