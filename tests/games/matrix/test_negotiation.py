"""The negotiation game: steps by hand, means of the scripts in closed form, sampling, bad input."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from games import check_game
from games.matrix import ContinuousNegotiation, Negotiation, NegotiationState
from games.theory import scripted_schelling

GAME = Negotiation()
NEXT = torch.zeros(1, 3)


def facing(
    game: Negotiation | ContinuousNegotiation, values: list[list[float]], units: list[float]
) -> NegotiationState:
    """One copy with these values of both agents, and quantities."""
    state = game.begin(torch.zeros(1, game.start_draws))
    return state._replace(values=torch.tensor([values]), units=torch.tensor([units]))


def test_what_is_contested_is_split_and_what_nobody_wants_is_lost() -> None:
    game = Negotiation(levels=6)
    state = facing(game, [[5.0, 1.0, 5.0], [1.0, 5.0, 1.0]], [1.0, 1.0, 1.0])
    first, second = 5 * 36 + 2 * 6 + 0, 5 * 36 + 1 * 6 + 4  # (5, 2, 0) and (5, 1, 4)
    after, rewards, done = game.advance(state, torch.tensor([[first, second]]), NEXT)
    assert after.proposals[0].tolist() == [[5, 2, 0], [5, 1, 4]]
    # halves of item 0; 2/5 and 1/5 of item 1; 0 and 4/5 of item 2
    expected = [(2.5 + 0.4) / 15, (0.5 + 1.0 + 0.8) / 15]
    assert rewards[0].tolist() == pytest.approx(expected)
    assert done.tolist() == [False]
    proportion = dataclasses.replace(game, split="proportion")
    rewards = proportion.advance(state, torch.tensor([[first, second]]), NEXT)[1]
    expected = [(2.5 + 2 / 3) / 15, (0.5 + 5 / 3 + 1.0) / 15]
    assert rewards[0].tolist() == pytest.approx(expected)


def test_nothing_is_divided_by_nothing() -> None:
    for split in ("above", "proportion"):
        game = Negotiation(split=split)
        rewards = game.advance(game.begin(NEXT), torch.zeros(1, 2, dtype=torch.int64), NEXT)[1]
        assert rewards.tolist() == [[0, 0]]


def test_what_agents_observe() -> None:
    game = Negotiation(items=2, sampling="uniform")
    state = facing(game, [[5.0, 1.0], [2.0, 4.0]], [3.0, 5.0])
    state = state._replace(proposals=torch.tensor([[[5.0, 0.0], [2.5, 5.0]]]))
    own, other = [1, 0.2, 1, 0], [0.4, 0.8, 0.5, 1]
    assert game.observe(state)[0].tolist() == [
        pytest.approx([0.6, 1, *own, *other]),
        pytest.approx([0.6, 1, *other, *own]),
    ]


def test_both_ways_of_sampling() -> None:
    contrast = GAME.begin(torch.rand(1000, 3, generator=torch.Generator().manual_seed(0)))
    assert set(contrast.values.flatten().tolist()) == {1, 5}
    assert (contrast.values.sum(1) == 6).all()
    assert contrast.values.mean().item() == pytest.approx(3, abs=0.2)
    assert (contrast.units == 1).all()
    game = Negotiation(sampling="uniform", items=4)
    uniform = game.begin(torch.rand(2000, game.start_draws, generator=torch.Generator().manual_seed(0)))
    for drawn in (uniform.values[:, 0], uniform.values[:, 1], uniform.units):
        counts = [(drawn == number).float().mean().item() for number in range(1, 6)]
        assert counts == pytest.approx([0.2] * 5, abs=0.03)


@pytest.mark.parametrize(
    ("sampling", "best", "defecting", "alone"),
    # of contrast: 1, 3/5 and (1/2 * 5/2 + 1/2 * 5 + 1/2 * 1/2) / 5
    [("contrast", 1.0, 0.6, 0.8), ("uniform", 3 * 3.8 / 5, 1.8, None)],
)
def test_means_of_the_scripts(sampling: Any, best: float, defecting: float, alone: float | None) -> None:
    """Within 4 standard errors of the closed forms, per step."""
    game = Negotiation(sampling=sampling)
    assert game.best_welfare == pytest.approx(50 * best)
    assert game.defection_welfare == pytest.approx(50 * defecting)
    found = scripted_schelling(game, torch.Generator().manual_seed(0), episodes=200)
    error = 4 * 2 * found.average.error + 1e-4
    welfare = 2 * found.average.mean
    assert abs(welfare[2] - 50 * best) <= error[2]
    assert abs(welfare[0] - 50 * defecting) <= error[0]
    if alone is not None:
        assert abs(welfare[1] - 50 * alone) <= error[1]
        assert found.defector.mean[0, 1] / 50 == pytest.approx(0.55, abs=0.01)
        assert found.cooperator.mean[0, 0] / 50 == pytest.approx(0.25, abs=0.01)
    assert "a social dilemma by greed and fear" in str(found.verdict())


@given(
    own=st.lists(st.integers(0, 5), min_size=3, max_size=3),
    other=st.lists(st.integers(0, 5), min_size=3, max_size=3),
    item=st.integers(0, 2),
)
def test_proposing_more_never_loses(own: list[int], other: list[int], item: int) -> None:
    game = ContinuousNegotiation()
    state = game.begin(torch.tensor([[0.1, 0.9, 0.3]]))
    more = [number + (i == item) * (5 - number) for i, number in enumerate(own)]
    less, most = (
        game.advance(state, torch.tensor([[mine, other]]).float(), NEXT)[1][0, 0] for mine in (own, more)
    )
    assert most >= less
    assert own[item] == 5 or most > less


def test_levels_and_numbers_are_the_same_game() -> None:
    levels, numbers = Negotiation(levels=4), ContinuousNegotiation()
    state = levels.begin(torch.tensor([[0.1, 0.9, 0.3]]))
    for _ in range(20):
        actions = torch.randint(64, (1, 2), generator=torch.Generator().manual_seed(3))
        names = [[float(part) for part in levels.action_names[action].split()] for action in actions[0]]
        rewards = levels.advance(state, actions, NEXT)[1]
        again = numbers.advance(state, torch.tensor([names]), NEXT)[1]
        torch.testing.assert_close(rewards, again, atol=1e-5, rtol=0)


def test_cooperation_is_to_concede() -> None:
    state = facing(GAME, [[5.0, 1.0, 3.0], [1.0, 5.0, 3.0]], [1.0, 1.0, 1.0])
    assert GAME.cooperates(state, torch.tensor([[0b101, 0b001]])).tolist() == [[True, True]]
    assert GAME.cooperates(state, torch.tensor([[0b010, 0b100]])).tolist() == [[False, False]]
    both = torch.tensor([[True, False]])
    assert GAME.scripted(state, both).tolist() == [[0b101, 0b111]]


@pytest.mark.parametrize(
    "game",
    [
        Negotiation(items=2, levels=3, split="proportion", horizon=4),
        ContinuousNegotiation(sampling="uniform", max_proposal=1.0),
    ],
    ids=["levels", "continuous"],
)
def test_the_contract(game: Negotiation | ContinuousNegotiation) -> None:
    check_game(game)
    assert pickle.loads(pickle.dumps(game)) == game


def test_actions_are_a_box() -> None:
    space = ContinuousNegotiation(items=2).action_space
    assert space == spaces.Box(0.0, 5.0, (2,), dtype=np.float32)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"items": 0}, "items must be a whole number from 1 to 12; it is 0"),
        ({"max_value": 1}, "max_value must be a whole number, 2 or more; it is 1"),
        ({"max_proposal": 0.0}, "max_proposal must be above 0, not 0.0"),
        ({"sampling": "even"}, "sampling must be contrast or uniform, not 'even'"),
        ({"split": "half"}, "split must be above or proportion, not 'half'"),
        ({"horizon": 0}, "at least 1 step; horizon is 0"),
    ],
)
@pytest.mark.parametrize("game", [Negotiation(), ContinuousNegotiation()], ids=["levels", "continuous"])
def test_bad_settings_are_refused(
    game: Negotiation | ContinuousNegotiation, setting: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(game, **setting)


def test_bad_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="levels must be a whole number, 2 or more; it is 1"):
        Negotiation(levels=1)
    with pytest.raises(ValueError, match="6 levels of 5 items are 7776: choose fewer"):
        Negotiation(levels=6, items=5)


def test_frames_tell_states_apart() -> None:
    states = [GAME.begin(NEXT), GAME.begin(1 - NEXT - 0.1)]
    states.append(GAME.advance(states[0], torch.tensor([[5, 3]]), NEXT)[0])
    frames = [GAME.render(state) for state in states]
    assert len({frame.tobytes() for frame in frames}) == 3
    assert len({frame.shape for frame in frames}) == 1
