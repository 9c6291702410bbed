"""Whatever the program answers is proved by other means, on random games."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from games import make
from games.matrix import (
    Circular,
    Cyclical,
    MatrixGame,
    NormalForm,
    PublicGoods,
    SymmetricalChicken,
    SymmetricTwoAgentGame,
    Tycoon,
    random_general_sum,
)
from games.matrix._families import Family
from games.theory import InfeasibleTransfer, minimal_transfer
from tests.games.theory.transfer_checks import corners, lowest_total, require_proved

integers = st.integers(-10, 10)


@given(
    sucker=integers,
    spread=st.integers(1, 15),
    above=st.integers(0, 10),
    below=st.integers(0, 20),
    equal=st.booleans(),
)
@settings(max_examples=150)
def test_symmetric_games_of_two(sucker: int, spread: int, above: int, below: int, equal: bool) -> None:
    """s* = min of (R - S) / (T - S) if T > R and (T - P) / (T - S) if P > S (derived).

    Temptation is above sucker, and mutual cooperation the only optimum: 2R > T + S and R > P.
    """
    temptation = sucker + spread
    reward = (temptation + sucker) // 2 + 1 + above
    punishment = reward - 1 - below
    game = SymmetricTwoAgentGame(reward=reward, sucker=sucker, temptation=temptation, punishment=punishment)
    bounds = [1.0]
    if temptation > reward:
        bounds.append((reward - sucker) / spread)
    if punishment > sucker:
        bounds.append((temptation - punishment) / spread)
    least = 0.5 if equal else 0.0
    found = minimal_transfer(game, min_share=least)
    assert [outcome.profile for outcome in found.optima] == [(0, 0)]
    if min(bounds) < least:
        assert found.s is found.g is None
    else:
        assert found.s == pytest.approx(min(bounds), abs=1e-9)
        assert found.g == pytest.approx(min(bounds), abs=1e-9)
    require_proved(game, least)


@given(table=st.lists(integers, min_size=8, max_size=8), least=st.sampled_from((0.0, 0.3, 0.5, 1.0)))
@settings(max_examples=80)
def test_every_answer_for_two_agents_is_proved(table: list[int], least: float) -> None:
    require_proved(NormalForm(table=np.reshape(table, (2, 2, 2)).tolist()), least)


@given(
    family=st.sampled_from((Circular, Tycoon, Cyclical)),
    payoffs=st.tuples(integers, integers, integers, integers),
    least=st.sampled_from((0.0, 1 / 3)),
)
@settings(max_examples=40)
def test_every_answer_for_three_agents_is_proved(
    family: type[Family], payoffs: tuple[int, ...], least: float
) -> None:
    names = ("reward", "sucker", "temptation", "punishment")
    require_proved(
        family(agents=3, stage=SymmetricTwoAgentGame(**dict(zip(names, payoffs, strict=True)))), least
    )


@given(seed=st.integers(0, 999), agents=st.integers(2, 3), correlation=st.sampled_from((0.0, 0.9, 1.0)))
@settings(max_examples=30)
def test_every_answer_with_three_actions_is_proved(seed: int, agents: int, correlation: float) -> None:
    require_proved(random_general_sum(3, seed, agents=agents, correlation=correlation))


@pytest.mark.parametrize(
    "game",
    [
        make("prisoners-dilemma"),
        make("asymmetric-prisoners-dilemma"),
        Cyclical(agents=3),
        Circular(agents=4),
        SymmetricalChicken(agents=3),
        PublicGoods(agents=3, k=2),
    ],
    ids=lambda game: type(game).__name__,
)
def test_just_above_the_greatest_share_it_is_impossible(game: MatrixGame) -> None:
    found = minimal_transfer(game)
    assert found.s is not None
    assert found.g is not None
    assert minimal_transfer(game, min_share=found.g - 1e-6).g == pytest.approx(found.g, abs=1e-12)
    for margin in (1e-6, 1e-3):
        assert minimal_transfer(game, min_share=found.s + margin).s is None
        above = minimal_transfer(game, min_share=found.g + margin)
        assert isinstance(above.general, InfeasibleTransfer)
        agents = game.num_agents
        assert lowest_total(game, above.general, corners(agents, found.g + margin)) > 0
