"""Thresholds of mechanisms: known numbers, other programs, and dominance in the enumerated games."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import games
from games import make, mechanism_thresholds, minimal_transfer
from games.matrix import CountedFamily, SymmetricTwoAgentGame


class AnyPayoffs(CountedFamily):
    """Random integer payoffs of cooperators and defectors by the number of other cooperators."""

    def counted_payoffs(self, others: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        drawn = np.random.default_rng(self.agents).integers(-5, 6, (2, self.agents)).astype(float)
        return drawn[0][others], drawn[1][others]


def dilemma(reward: float, sucker: float, temptation: float, punishment: float) -> SymmetricTwoAgentGame:
    return SymmetricTwoAgentGame(reward=reward, sucker=sucker, temptation=temptation, punishment=punishment)


@pytest.mark.parametrize(
    ("payoffs", "sharing", "contract", "taxes"),
    [((-1, -3, 0, -2), 1 / 3, 1, (2, 2)), ((3, 0, 5, 1), 0.4, 2, (4, 3))],
)
def test_prisoners_dilemmas(
    payoffs: tuple[float, ...], sharing: float, contract: float, taxes: tuple[float, ...]
) -> None:
    found = mechanism_thresholds(dilemma(*payoffs))
    assert found.sharing == pytest.approx(sharing, abs=1e-12)
    assert (found.contract, found.incentive, found.taxes) == (contract, contract, taxes)
    assert found.taxed_dominant
    assert found.mediated_dominant
    assert found.mediated_equilibrium


@pytest.mark.parametrize("agents", [2, 3, 7, 16, 1000])
@pytest.mark.parametrize("k", [1.0, 1.5, 1.9])
def test_public_goods(agents: int, k: float) -> None:
    found = mechanism_thresholds(make("public-goods", agents=agents, k=k))
    assert found.sharing == pytest.approx(1 - k / agents, abs=1e-9)
    assert found.contract == pytest.approx(1 - k / agents, abs=1e-9)
    assert found.incentive == found.contract
    np.testing.assert_allclose(found.taxes, k * (agents - 1) / agents, atol=1e-9)
    assert found.taxed_dominant
    assert found.mediated_dominant


def symmetric_games() -> list[games.ExactGame]:
    drawn = np.random.default_rng(0).integers(-4, 5, (40, 4)).tolist()
    return [*(dilemma(*payoffs) for payoffs in drawn), *(AnyPayoffs(agents=agents) for agents in range(2, 9))]


@pytest.mark.parametrize("game", symmetric_games(), ids=str)
def test_dominance_just_at_the_thresholds(game: games.ExactGame) -> None:
    """Each mechanism's game is built profile by profile, at its threshold and a little below."""
    found, agents = mechanism_thresholds(game), game.num_agents
    table = games.theory.payoff_table(game)
    defects = np.moveaxis(np.indices(table.shape[:-1]), 0, -1)
    cooperators = agents - 1 - (defects.sum(-1, keepdims=True) - defects)

    def dominant(paid: NDArray[np.float64]) -> bool:
        return bool((paid[1, ..., 0] - paid[0, ..., 0] <= 1e-9).all())

    def shared(share: float) -> Any:
        others = table.sum(-1, keepdims=True) - table
        return (1 - share) * table + share * others / (agents - 1)

    def contracted(payment: float) -> Any:
        return table - payment * defects + payment * (defects.sum(-1, keepdims=True) - defects) / (agents - 1)

    below = 1e-3
    if found.sharing is None:
        assert not any(dominant(shared(share)) for share in np.linspace(0, 1, 101))
    else:
        assert dominant(shared(found.sharing))
        assert found.sharing == 0 or not dominant(shared(found.sharing - below))
    assert dominant(contracted(found.contract))
    assert found.contract == 0 or not dominant(contracted(found.contract - below))
    assert dominant(table + found.incentive * (1 - defects))
    assert found.incentive == 0 or not dominant(table + (found.incentive - below) * (1 - defects))
    taxes = np.array(found.taxes)
    assert dominant(table - taxes[cooperators] * defects) == found.taxed_dominant
    others = table.sum(-1) - table[..., 0]
    harm = (others[0] - others[1]).ravel()  # by agent 0's defection
    counts = cooperators[0, ..., 0].ravel()
    np.testing.assert_allclose(harm, taxes[counts], atol=1e-9)
    welfare = (table[1].sum(-1) - table[0].sum(-1)).ravel()  # what all gain by agent 0's defection
    np.testing.assert_allclose((np.array(found.gains) - taxes)[counts], welfare, atol=1e-9)


@pytest.mark.parametrize("game", symmetric_games(), ids=str)
def test_the_mediated_game(game: games.ExactGame) -> None:
    """Agents commit (2), cooperate (0) or defect (1): the game of three actions is enumerated."""
    found, agents = mechanism_thresholds(game), game.num_agents
    table = games.theory.payoff_table(game)

    def payoff(profile: tuple[int, ...]) -> float:
        played = 0 if set(profile) == {2} else 1
        return float(table[tuple(played if act == 2 else act for act in profile)][0])

    all_commit = (2,) * (agents - 1)
    assert found.mediated_equilibrium == all(
        payoff((2, *all_commit)) >= payoff((act, *all_commit)) for act in (0, 1)
    )
    if agents <= 6:
        assert found.mediated_dominant == all(
            payoff((2, *others)) >= payoff((act, *others))
            for others in itertools.product(range(3), repeat=agents - 1)
            for act in (0, 1)
        )


@pytest.mark.parametrize("game", symmetric_games(), ids=str)
def test_sharing_is_what_the_linear_program_finds(game: games.ExactGame) -> None:
    for optimum in games.welfare_optima(game):
        if len(set(optimum.profile)) == 1:
            s = minimal_transfer(game, optimum=optimum.profile).s
            given = mechanism_thresholds(game, cooperate=optimum.profile[0]).sharing
            assert (s is None) == (given is None)
            assert s is None or given == pytest.approx(1 - s, abs=1e-7)


def test_names_of_actions_do_not_matter() -> None:
    """With the actions swapped, defection is made dominant as cooperation was."""
    game = dilemma(-1, -3, 0, -2)
    swapped = mechanism_thresholds(dilemma(-2, 0, -3, -1), cooperate=1)
    found = mechanism_thresholds(game)
    assert (swapped.sharing, swapped.gains, swapped.taxes) == (found.sharing, found.gains, found.taxes)


@pytest.mark.parametrize(
    ("game", "cooperate", "sentence"),
    [
        (make("prisoners-dilemma"), 2, "must be 0 or 1; it is 2"),
        (make("rock-paper-scissors"), 0, "are compared in games of two actions"),
        (
            make("matching-pennies"),
            0,
            "are compared in symmetric games; in NormalForm, payoffs depend on more",
        ),
        (make("cyclical-prisoners-dilemma", agents=4), 0, "are compared in symmetric games; in Cyclical"),
        (make("repeated-chicken"), 0, "Only one-shot games have a payoff table"),
    ],
)
def test_bad_input_is_one_sentence(game: games.Game, cooperate: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        mechanism_thresholds(game, cooperate=cooperate)
