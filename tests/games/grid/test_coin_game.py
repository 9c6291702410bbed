"""The coin game in its published versions: steps by hand, conservation, and the dilemma by scripted play."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from games import make
from games.grid import CoinGame
from games.grid import _coin_game as coin_game
from games.grid._coin_game import CoinState

UP, DOWN, LEFT, RIGHT, STAY = range(5)
TWO = {"coins": 2}
VERSIONS: dict[str, dict[str, Any]] = {
    "one coin": {},
    "LOLA": {"tie": "red"},
    "two coins": TWO,
    "M-FOS": {**TWO, "anywhere": True, "pay_last": False, "horizon": 16},
    "Pax": {**TWO, "stay": True, "anywhere": True, "pay_last": False, "horizon": 16},
    "LASE": {"size": 5, "color": "random", "tie": "random", "horizon": 100, "view": 2},
}
every_version = pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS.keys())


def lay(places: list[int], coins: list[int], time: int = 0) -> CoinState:
    return CoinState(torch.tensor([places]), torch.tensor([coins]), torch.tensor([time]))


def play(
    game: CoinGame, state: CoinState, actions: list[int], draws: list[float] | None = None
) -> tuple[CoinState, list[float], bool]:
    numbers = torch.tensor([draws]) if draws else torch.zeros(1, game.step_draws)
    state, rewards, done = game.advance(state, torch.tensor([actions]), numbers)
    return state, rewards[0].tolist(), bool(done)


# Cells: 0 1 2 / 3 4 5 / 6 7 8, wrapped around. Worked out by hand from the rules in arXiv 1709.04326.
ONE_COIN = {
    "nobody gets there": ([0, 8], [4, -1], [RIGHT, LEFT], [0, 0], [1, 7]),
    "red takes its own": ([1, 8], [4, -1], [DOWN, LEFT], [1, 0], [4, 7]),
    "red takes blue's": ([1, 8], [-1, 4], [DOWN, LEFT], [1, -2], [4, 7]),
    "blue takes its own": ([0, 3], [-1, 4], [RIGHT, RIGHT], [0, 1], [1, 4]),
    "blue takes red's": ([0, 3], [4, -1], [RIGHT, RIGHT], [-2, 1], [1, 4]),
    "both take red's": ([1, 3], [4, -1], [DOWN, RIGHT], [-1, 1], [4, 4]),
    "both take blue's": ([1, 3], [-1, 4], [DOWN, RIGHT], [1, -1], [4, 4]),
    "around the edges": ([0, 0], [6, -1], [UP, LEFT], [1, 0], [6, 2]),
    "down and right around the edges": ([8, 8], [-1, 2], [RIGHT, DOWN], [0, 1], [6, 2]),
}


@pytest.mark.parametrize(
    ("places", "coins", "actions", "rewards", "after"), ONE_COIN.values(), ids=ONE_COIN.keys()
)
def test_one_coin_by_hand(
    places: list[int], coins: list[int], actions: list[int], rewards: list[float], after: list[int]
) -> None:
    state, paid, done = play(CoinGame(), lay(places, coins), actions)
    assert (paid, state.places[0].tolist(), done) == (rewards, after, False)
    if any(rewards):  # the next coin has the other color
        assert [cell >= 0 for cell in state.coins[0].tolist()] == [cell < 0 for cell in coins]
    else:
        assert state.coins[0].tolist() == coins


@pytest.mark.parametrize(("coins", "rewards"), [([4, -1], [1, 0]), ([-1, 4], [1, -2])])
def test_red_wins_ties_if_it_is_said(coins: list[int], rewards: list[float]) -> None:
    assert play(CoinGame(tie="red"), lay([1, 3], coins), [DOWN, RIGHT])[1] == rewards


TWO_COINS = {
    "each its own": ([1, 7], [4, 8], [DOWN, RIGHT], [1, 1]),
    "each the other's": ([1, 7], [8, 4], [DOWN, RIGHT], [-1, -1]),
    "both red's": ([1, 3], [4, 8], [DOWN, RIGHT], [-1, 1]),
    "both blue's": ([1, 3], [8, 4], [DOWN, RIGHT], [1, -1]),
    "red takes red's, blue nothing": ([1, 0], [4, 8], [DOWN, RIGHT], [1, 0]),
}


@pytest.mark.parametrize(("places", "coins", "actions", "rewards"), TWO_COINS.values(), ids=TWO_COINS.keys())
def test_two_coins_by_hand(
    places: list[int], coins: list[int], actions: list[int], rewards: list[float]
) -> None:
    state, paid, _ = play(CoinGame(coins=2), lay(places, coins), actions)
    assert paid == rewards
    taken = [coin in state.places[0].tolist() for coin in coins]
    kept = [after == before for after, before in zip(state.coins[0].tolist(), coins, strict=True)]
    assert kept == [not gone for gone in taken]


def test_a_drawn_tie() -> None:
    game = CoinGame(tie="random", color="random")
    for draw, rewards in ((0.25, [1, 0]), (0.75, [-2, 1])):
        state, paid, _ = play(game, lay([1, 3], [4, -1]), [DOWN, RIGHT], [0.0, draw, 0.25])
        assert paid == rewards
        assert state.coins[0, 0] >= 0  # the last number draws the color: red
    state, _, _ = play(game, lay([1, 3], [4, -1]), [DOWN, RIGHT], [0.0, 0.25, 0.75])
    assert state.coins[0, 1] >= 0


def test_the_version_says_what_is_drawn() -> None:
    assert [CoinGame(**version).step_draws for version in VERSIONS.values()] == [1, 1, 2, 2, 2, 3]


@pytest.mark.parametrize(
    ("places", "free"), [([4, 5], [0, 1, 2, 3, 6, 7, 8]), ([4, 4], [0, 1, 2, 3, 5, 6, 7, 8])]
)
def test_a_new_coin_lies_where_nobody_is_and_all_such_cells_are_alike(
    places: list[int], free: list[int]
) -> None:
    game = CoinGame(stay=True)
    state = lay(places, [4, -1])
    many = CoinState(*(field.expand(56 * 5, *field.shape[1:]) for field in state))
    draws = ((torch.arange(56 * 5) + 0.5) / (56 * 5))[:, None]
    after, _, _ = game.advance(many, torch.full((56 * 5, 2), STAY), draws)
    counts = after.coins[:, 1].bincount(minlength=9).tolist()
    assert counts == [56 * 5 // len(free) if cell in free else 0 for cell in range(9)]


def test_a_moved_coin_avoids_agents_and_the_other_coin() -> None:
    game = CoinGame(coins=2, stay=True)
    for coins, free in (
        ([4, 7], {0, 2, 3, 5, 6, 8}),
        ([4, 1], {0, 2, 3, 5, 6, 7, 8}),
        ([7, 4], {0, 2, 3, 5, 6, 8}),
    ):
        found = [set(), set()]
        for draw in np.linspace(0, 0.999, 50):
            state, _, _ = play(game, lay([4, 1], coins), [STAY, STAY], [float(draw), float(draw)])
            for color in (0, 1):
                found[color].add(state.coins[0, color].item())
            assert state.coins[0, 0] != state.coins[0, 1]
        moved = coins.index(4)
        assert found[moved] == free if coins != [4, 1] else found[moved] <= free


def test_with_anywhere_a_coin_may_lie_under_an_agent() -> None:
    game = CoinGame(**VERSIONS["Pax"])
    for draw, cell in ((0.0, 0), (0.5, 4), (0.999, 8)):
        state, _, _ = play(game, lay([4, 0], [4, 8]), [STAY, STAY], [draw, 0.0])
        assert state.coins[0].tolist() == [cell, 8]


def test_the_last_step_pays_unless_it_is_said() -> None:
    for pay_last, rewards in ((True, [1, 0]), (False, [0, 0])):
        game = CoinGame(horizon=3, pay_last=pay_last)
        state, paid, done = play(game, lay([1, 8], [4, -1], time=1), [DOWN, LEFT])
        assert (paid, done) == ([1, 0], False)
        _, paid, done = play(game, state._replace(coins=torch.tensor([[1, -1]])), [UP, LEFT])
        assert (paid, done) == (rewards, True)


def test_observations_by_hand() -> None:
    seen = CoinGame().observe(lay([1, 8], [-1, 4]))[0]
    assert seen.shape == (2, 4, 3, 3)
    where = [[plane.flatten().nonzero().flatten().tolist() for plane in agent] for agent in seen]
    assert where == [[[1], [8], [], [4]], [[8], [1], [4], []]]  # the coin is blue: agent 1's own


def test_a_window_is_centered_on_oneself_and_wraps() -> None:
    game = CoinGame(size=5, view=1, coins=2)
    seen = game.observe(lay([0, 4], [24, 12]))[0]  # 0 is a corner: 24 is up and left of it, 4 to its left
    where = [[np.argwhere(plane.numpy()).tolist() for plane in agent] for agent in seen]
    assert where == [[[[1, 1]], [[1, 0]], [[0, 0]], []], [[[1, 1]], [[1, 2]], [], [[0, 1]]]]


@every_version
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32))
def test_coins_are_neither_made_nor_lost(version: dict[str, Any], seed: int) -> None:
    game = CoinGame(**version)
    draws = torch.Generator().manual_seed(seed)
    state = game.reset(6, draws)
    for _ in range(30):
        before = state
        actions = torch.randint(int(game.action_space.n), (6, 2), generator=draws)
        state, rewards, _ = game.step(state, actions, draws)
        lying = state.coins >= 0
        assert (lying.sum(1) == game.coins).all()
        assert (state.coins < game.size**2).all()
        gone = (before.coins[:, None] == state.places[..., None]).any(1)
        stays = (state.coins == before.coins) & lying
        assert (stays | ~lying | gone.any(1, keepdim=True)).all()
        if game.coins == 2:
            assert (stays | gone).all()
        if not game.anywhere:
            assert not (gone & stays).any()
            assert not (state.coins[:, None] == state.places[..., None])[gone.any(1)].any()
            assert torch.equal(gone.any(1), (rewards != 0).any(1))
            assert ((rewards >= -2) & (rewards <= 1)).all()


@every_version
def test_starts_lie_inside_and_apart(version: dict[str, Any]) -> None:
    game = CoinGame(**version)
    state = game.reset(4000, torch.Generator().manual_seed(0))
    assert ((state.coins >= 0).sum(1) == game.coins).all()
    share = (state.coins >= 0).float().mean(0)
    assert share.tolist() == pytest.approx([game.coins / 2] * 2, abs=0.04)  # 5 standard errors
    counts = state.places.flatten().bincount(minlength=game.size**2) / 8000
    assert (counts - 1 / game.size**2).abs().max() < 0.018  # 5 standard errors
    together = (state.places[:, 0] == state.places[:, 1]).float().mean()
    assert together == pytest.approx(1 / game.size**2 if game.anywhere else 0, abs=0.025)  # 5 standard errors
    if not game.anywhere:
        assert not (state.coins[:, None] == state.places[..., None]).any()
        assert game.coins == 1 or (state.coins[:, 0] != state.coins[:, 1]).all()


def test_cooperating_is_keeping_off_the_others_coin() -> None:
    game = CoinGame(stay=True)
    state = lay([1, 3], [-1, 4])
    assert game.cooperates(state, torch.tensor([[DOWN, RIGHT]])).tolist() == [[False, True]]
    assert game.cooperates(state, torch.tensor([[UP, STAY]])).tolist() == [[True, True]]


def test_cooperators_take_two_coins_that_lie_in_one_cell() -> None:
    """Nobody else would, and nothing more would ever be picked up."""
    game = CoinGame(coins=2, anywhere=True)
    state = lay([1, 8], [4, 4])
    actions = game.scripted(state, torch.ones(1, 2, dtype=torch.bool))
    assert actions[0, 0] == DOWN
    assert game.cooperates(state, actions).all()


@pytest.mark.parametrize("size", [2, 3, 5, 7])
@pytest.mark.parametrize("coins", [1, 2])
def test_scripted_agents_go_the_shortest_way(size: int, coins: int) -> None:
    """A defector takes the nearest coin in as many steps as it is away; a cooperator never the other's."""
    game = CoinGame(size=size, coins=coins)  # type: ignore[arg-type]
    draws = torch.Generator().manual_seed(0)
    state = game.reset(200, draws)
    apart = (state.coins[:, None] // size - state.places[..., None] // size).abs()
    across = (state.coins[:, None] % size - state.places[..., None] % size).abs()
    steps = torch.minimum(apart, size - apart) + torch.minimum(across, size - across)
    steps = steps.masked_fill(state.coins[:, None] < 0, 99)
    nearest = steps.amin(2)[:, 0]
    alone, reached = state, torch.full((200,), 99)
    for step in range(1, 2 * size):
        actions = game.scripted(alone, torch.tensor([[False, True]]).expand(200, -1))
        assert game.cooperates(alone, actions)[:, 1].all()
        places = game._move(alone.places, actions)
        alone = alone._replace(places=torch.stack((places[:, 0], state.places[:, 1]), 1))  # coins stay
        reached = torch.where((places[:, :1] == state.coins).any(1) & (reached == 99), step, reached)
    assert torch.equal(reached, nearest)


@pytest.mark.parametrize("size", [3, 5, 7])
def test_a_cooperator_gets_its_own_coin_around_the_others(size: int) -> None:
    game = CoinGame(size=size, coins=2)
    cells = torch.cartesian_prod(*[torch.arange(size**2)] * 3)
    cells = cells[(cells[:, 0] != cells[:, 1]) & (cells[:, 0] != cells[:, 2]) & (cells[:, 1] != cells[:, 2])]
    place, own, other = cells.T
    found = torch.zeros(len(cells), dtype=torch.bool)
    for _ in range(2 * (size // 2) + 2):
        state = CoinState(
            torch.stack((place, place), 1), torch.stack((own, other), 1), torch.zeros_like(place)
        )
        actions = game.scripted(state, torch.ones(len(cells), 2, dtype=torch.bool))
        place = game._move(place, actions[:, 0])
        assert (place != other)[~found].all()
        found |= place == own
    assert found.all()


def totals(name: str, cooperators: int) -> tuple[float, float]:
    """Mean return of cooperators and of defectors, 400 copies; who they are takes turns."""
    game = make(name, horizon=150)
    draws = torch.Generator().manual_seed(cooperators)
    cooperative = (torch.arange(2) + torch.arange(400)[:, None]) % 2 < cooperators
    state, returns = game.reset(400, draws), torch.zeros(400, 2)
    for _ in range(game.horizon):
        state, rewards, _ = game.step(state, game.scripted(state, cooperative), draws)
        returns += rewards
    return returns[cooperative].mean().item(), returns[~cooperative].mean().item()


@pytest.mark.parametrize("name", ["coin-game", "coin-game-two-coins", "coin-game-lase"])
def test_scripted_play_shows_the_dilemma(name: str) -> None:
    both, (keeps_off, takes), neither = totals(name, 2)[0], totals(name, 1), totals(name, 0)[1]
    assert neither == pytest.approx(0, abs=2)  # the welfare of defection, up to noise
    assert both > neither + 5
    assert takes > both
    assert keeps_off < neither


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"size": 1}, "size is 1"),
        ({"coins": 3}, "1 or 2 coins at a time, not 3"),
        ({"color": "green"}, "color must be alternate or random, not 'green'"),
        ({"tie": "blue"}, "tie must be both, random or red, not 'blue'"),
        ({"horizon": 0}, "horizon is 0"),
        ({"size": 4, "view": 2}, "view must be at most 1, or None"),
        ({"view": -1}, "reaches -1 cells"),
    ],
)
def test_bad_settings_are_refused(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        CoinGame(**setting)


def test_two_coins_are_those_of_the_code_released_with_m_fos() -> None:
    """Everything anywhere; 16 steps, of which the last, a new start there, pays nothing."""
    assert make("coin-game-two-coins") == CoinGame(**VERSIONS["M-FOS"])


@every_version
def test_settings_pickle(version: dict[str, Any]) -> None:
    game = CoinGame(**version)
    assert pickle.loads(pickle.dumps(game)) == game


def test_frames_tell_states_apart() -> None:
    states = [lay([1, 8], [-1, 4]), lay([1, 8], [4, -1]), lay([8, 1], [4, -1]), lay([1, 1], [4, -1])]
    frames = [CoinGame().render(state) for state in states]
    assert all(frame.dtype == np.uint8 and frame.shape == (180 + 4 * 26, 180, 3) for frame in frames)
    assert len({frame.tobytes() for frame in frames}) == len(frames)


@settings(max_examples=60)  # the first call makes the tables
@given(
    size=st.sampled_from([2, 3]),
    color=st.sampled_from(["alternate", "random"]),
    tie=st.sampled_from(["red", "random", "both"]),
    stay=st.booleans(),
    anywhere=st.booleans(),
    view=st.sampled_from([None, 0]),
    seed=st.integers(0, 2**31),
)
def test_tables_say_what_the_rules_say(
    size: int, color: Any, tie: Any, stay: bool, anywhere: bool, view: int | None, seed: int
) -> None:
    game = CoinGame(size=size, color=color, tie=tie, stay=stay, anywhere=anywhere, view=view)
    tables = coin_game._tables(game, torch.device("cpu"))
    if tables is None:
        assert (size, stay, game.step_draws) == (3, True, 3)  # the only ones with too many outcomes
        return
    generator = torch.Generator().manual_seed(seed)
    state = game.reset(500, generator)
    cells = coin_game._cells(state)
    actions = torch.randint(int(game.action_space.n), (500, 2), generator=generator)
    draws = torch.rand(500, game.step_draws, generator=generator)
    for ours, theirs in zip(
        tables.play(cells, actions, draws), game._transition(cells, actions, draws), strict=True
    ):
        assert torch.equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    assert torch.equal(tables.look(cells), game._observations(cells))


def test_large_boards_and_two_coins_are_played_by_the_rules() -> None:
    for game in (CoinGame(coins=2, tie="both"), CoinGame(size=5), CoinGame(size=4)):
        assert coin_game._tables(game, torch.device("cpu")) is None
