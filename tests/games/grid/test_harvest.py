"""Commons harvest: growth by hand, conservation, and the tragedy by scripted play."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from games import make
from games.grid import CLOSED, OPEN, Harvest
from games.grid._harvest import SSD
from games.grid._social_state import SocialState

ROW = ("P AAAA A",)  # orchard cells 2, 3, 4, 5 and 7
PATCH = (
    "@@@@@@@@",
    "@AAAAAA@",
    "@AAAAAA@",
    "@AAAAAA@",
    "@PPPPPP@",
    "@@@@@@@@",
)


def with_apples(game: Harvest, apples: list[int], places: list[int]) -> SocialState:
    state = game.begin(torch.zeros(1, game.start_draws))
    mask = torch.tensor([[cell in apples for cell in range(state.apples.shape[1])]])
    return state._replace(apples=mask, places=torch.tensor([places]))


def test_apples_count_within_the_squared_radius_and_not_themselves() -> None:
    for radius, expected in ((1, [1, 1, 2, 0, 0]), (2, [1, 1, 2, 0, 0]), (4, [1, 2, 3, 1, 1])):
        game = Harvest(map=ROW, agents=1, radius=radius)
        state = with_apples(game, [2, 3, 5], [0])
        assert game.beside(state)[0, [2, 3, 4, 5, 7]].tolist() == expected
    game = Harvest(map=PATCH, agents=1, radius=2)
    near = game.beside(game.begin(torch.zeros(1, game.start_draws)))[0].reshape(6, 8)
    assert near[1:4, 1:7].tolist() == [[3, 5, 5, 5, 5, 3], [5, 8, 8, 8, 8, 5], [3, 5, 5, 5, 5, 3]]
    assert near.sum() == near[1:4, 1:7].sum()


@pytest.mark.parametrize(
    ("apples", "rate"), [([], 0.0), ([3], 0.125), ([3, 5], 0.25), ([2, 3, 5], 0.5), ([2, 3, 5, 6], 0.5)]
)
def test_growth_by_the_number_of_apples_around(apples: list[int], rate: float) -> None:
    game = Harvest(map=("PAAAAAA",), agents=1, radius=4, regrowth=(0.0, 0.125, 0.25, 0.5))
    state = with_apples(game, apples, [0])
    for draw, grows in ((rate, False), (max(rate - 1e-6, 0), rate > 0)):
        draws = torch.ones(1, game.map_draws)
        draws[0, 3] = draw  # cell 4
        assert bool(game.change_map(state, draws).apples[0, 4]) is grows


def test_nothing_grows_under_an_agent_and_all_cells_look_at_the_same_map() -> None:
    game = Harvest(map=("PAAA",), agents=1, radius=1, regrowth=(0.0, 1.0, 1.0, 1.0))
    draws = torch.zeros(1, game.map_draws)
    grown = game.change_map(with_apples(game, [1], [0]), draws)
    assert grown.apples[0].tolist() == [False, True, True, False]
    grown = game.change_map(with_apples(game, [1], [2]), draws)
    assert grown.apples[0].tolist() == [False, True, False, False]


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), regrowth=st.sampled_from(((0.0, 0.0, 0.0, 0.0), (0.0, 0.1, 0.3, 0.6))))
def test_apples_are_neither_made_nor_lost_outside_the_rules(seed: int, regrowth: tuple[float, ...]) -> None:
    game = Harvest(map=PATCH, agents=4, regrowth=regrowth, fining=False, horizon=30)  # type: ignore[arg-type]
    draws = torch.Generator().manual_seed(seed)
    orchard = game.begin(torch.zeros(1, game.start_draws)).apples[0]
    state = game.reset(5, draws)
    assert (state.apples == orchard).all()
    for _ in range(game.horizon):
        actions = torch.randint(int(game.action_space.n), (5, 4), generator=draws)
        before = state.apples
        state, rewards, _ = game.step(state, actions, draws)
        lost = (before & ~state.apples).sum(1)
        gained = (~before & state.apples).sum(1)
        assert torch.equal(rewards.sum(1), lost.float())  # a cell with its eater on it grows nothing
        assert not (state.apples & ~orchard).any()
        assert not state.apples.gather(1, state.places).any()
        assert sum(regrowth) > 0 or not gained.any()
        assert all(len(set(copy)) == 4 for copy in state.places.tolist())


def test_who_cooperates_leaves_apples_with_fewer_than_two_beside_them() -> None:
    game = Harvest(map=("@@@@@@", "@P   @", "@AAAA@", "@@@@@@"), agents=1, turning=False)
    down, right = game.action_names.index("down"), game.action_names.index("right")
    for column, cooperates in ((1, False), (2, True), (3, True), (4, False)):
        state = game.begin(torch.zeros(1, game.start_draws))._replace(places=torch.tensor([[6 + column]]))
        assert game.cooperates(state, torch.tensor([[down]])).item() is cooperates
        assert game.cooperates(state, torch.tensor([[right]])).item()


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32))
def test_scripted_agents_do_as_they_are_called(seed: int) -> None:
    game = make("harvest-open", horizon=60)
    draws = torch.Generator().manual_seed(seed)
    cooperative = torch.rand(2, 7, generator=draws) < 0.5
    state = game.reset(2, draws)
    for _ in range(game.horizon):
        actions = game.scripted(state, cooperative)
        assert actions is not None
        kept = game.cooperates(state, actions)
        assert kept is not None
        assert kept[cooperative].all()
        state, _, _ = game.step(state, actions, draws)


def totals(cooperators: int, steps: int = 400) -> tuple[float, float]:
    """Mean return of cooperators and of defectors on one patch, 32 copies."""
    game = Harvest(map=PATCH, agents=4, regrowth=(0.0, 0.01, 0.05, 0.1), fining=False, horizon=steps)
    draws = torch.Generator().manual_seed(cooperators)
    cooperative = (torch.arange(4) < cooperators).expand(32, -1)
    state, returns = game.reset(32, draws), torch.zeros(32, 4)
    for _ in range(steps):
        state, rewards, _ = game.step(state, game.scripted(state, cooperative), draws)
        returns += rewards
    return returns[cooperative].mean().item(), returns[~cooperative].mean().item()


def test_scripted_play_shows_the_tragedy() -> None:
    cooperate, defect = zip(*(totals(cooperators) for cooperators in range(5)), strict=True)
    assert cooperate[4] > 2 * defect[0]  # restraint pays for all
    assert cooperate[1] < defect[0]  # and not for one alone
    for cooperators in (1, 2, 3):
        assert defect[cooperators] > cooperate[cooperators]


def test_presets_are_those_of_their_sources() -> None:
    ssd, opened, closed = make("harvest"), make("harvest-open"), make("harvest-closed")
    assert isinstance(ssd, Harvest)
    assert isinstance(opened, Harvest)
    assert isinstance(closed, Harvest)
    assert (ssd.map, opened.map, closed.map) == (SSD, OPEN, CLOSED)
    assert (ssd.size, opened.size, closed.size) == ((16, 38), (18, 24), (18, 24))
    assert (ssd.regrowth, ssd.radius, ssd.fine_cost, ssd.fine, ssd.time_out) == (
        (0, 0.005, 0.02, 0.05),
        2,
        1,
        50,
        0,
    )
    assert (opened.regrowth, opened.radius) == ((0, 0.0025, 0.005, 0.025), 4)
    assert (closed.regrowth, closed.radius) == ((0, 0.001, 0.005, 0.025), 4)
    assert (opened.time_out, opened.cooldown, opened.beam_length) == (4, 3, 3)
    assert (closed.time_out, closed.cooldown, closed.beam_length) == (100, 2, 4)
    assert (ssd.under_agents, opened.under_agents, closed.under_agents) == (False, True, True)
    assert opened.num_agents == closed.num_agents == 7
    assert opened.observation_space.shape == (5, 11, 11)
    assert len(opened.action_names) == 8


@pytest.mark.parametrize(("name", "every"), [("harvest", 1), ("harvest-open", 3), ("harvest-closed", 2)])
def test_the_beam_cools_as_long_as_in_the_sources(name: str, every: int) -> None:
    """Melting Pot's cooldownTime is 2 in the open and 1 in the closed form: the steps between two beams."""
    game = make(name, agents=1)
    assert isinstance(game, Harvest)
    generator = torch.Generator().manual_seed(0)
    state, fired = game.reset(1, generator), []
    for _ in range(7):
        state, _, _ = game.step(state, torch.tensor([[game.action_names.index("fine")]]), generator)
        fired.append(bool(state.beams.any()))
    assert fired == [step % every == 0 for step in range(7)]


def test_a_beam_does_not_cool_while_its_owner_is_away() -> None:
    game = Harvest(map=PATCH, agents=2, cooldown=3, time_out=4, fine=0.0, fine_cost=0.0)
    state = game.begin(torch.zeros(1, game.start_draws))
    state = state._replace(places=torch.tensor([[33, -1]]), away=torch.tensor([[0, 4]]))
    state = state._replace(cooling=torch.tensor([[2, 2]]))
    stay = torch.full((1, 2), game.action_names.index("stay"))
    after, _, _ = game.advance(state, stay, torch.zeros(1, game.step_draws))
    assert after.cooling.tolist() == [[1, 2]]


def test_what_grows_under_an_agent_is_eaten_at_once() -> None:
    """As Melting Pot's apples, which may regrow where an agent stands and then call what eating calls."""
    game = Harvest(map=("PAAA",), agents=1, radius=1, regrowth=(0.0, 0.5, 0.5, 0.5), under_agents=True)
    stay = torch.tensor([[game.action_names.index("stay")]])
    for draw, reward in ((0.25, 1.0), (0.75, 0.0)):
        draws = torch.cat((torch.zeros(1, 1), torch.full((1, game.map_draws), draw)), 1)
        after, rewards, _ = game.advance(with_apples(game, [1], [2]), stay, draws)
        assert rewards.item() == reward
        assert after.apples[0].tolist() == [False, True, False, False]
        # An apple that was there is eaten as ever, and does not come back in the same step.
        after, rewards, _ = game.advance(with_apples(game, [1, 2], [2]), stay, draws)
        assert rewards.item() == 1.0
        assert after.apples[0].tolist() == [False, True, False, False]


def test_an_agent_that_stands_in_the_orchard_of_melting_pot_is_fed() -> None:
    """At a rate of 0.025 a step among three apples and more; nobody else is there to eat these."""
    game = make("harvest-open", agents=1, horizon=200)
    assert isinstance(game, Harvest)
    generator = torch.Generator().manual_seed(0)
    cell = 1 * game.size[1] + 1  # a corner of the orchard with five apples around
    copies = 100
    state = game.reset(copies, generator)._replace(places=torch.full((copies, 1), cell))
    stay = torch.full((copies, 1), game.action_names.index("stay"))
    state, first, _ = game.step(state, stay, generator)
    assert (first == 1).all()
    total = torch.zeros(copies)
    for _ in range(game.horizon - 1):
        state, rewards, _ = game.step(state, stay, generator)
        total += rewards[:, 0]
    rate = 0.025 * 199
    assert total.mean().item() == pytest.approx(rate, abs=5 * (rate / copies) ** 0.5)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"regrowth": (0.0, 0.1, 0.2)}, "must be four probabilities"),
        ({"regrowth": (0.0, 0.1, 0.2, 1.5)}, "must be four probabilities"),
        ({"radius": -1}, "0 or more, not -1"),
        ({"map": ("@P@",), "agents": 1}, "The map has no orchard"),
        ({"map": ("@PH",), "agents": 1}, "has 'H' in row 0, column 2"),
    ],
)
def test_bad_settings_are_refused(setting: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Harvest(**setting)  # type: ignore[arg-type]
