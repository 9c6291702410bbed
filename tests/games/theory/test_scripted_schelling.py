"""Each game is the dilemma it claims to be: scripted cooperators and defectors say so."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

import games
from games.matrix import MatrixGame, NormalForm
from games.theory import Estimated, ScriptedSchelling, dilemma_test, schelling, scripted_schelling
from games.theory._scripted_schelling import ScriptedVerdict

GREED, FEAR, BOTH = "by greed.", "by fear.", "by greed and fear."
TURNS = "no social dilemma shows: 2R > T + S fails (cooperating beats taking turns"
DILEMMAS: dict[str, tuple[str, dict[str, int]]] = {
    "escape-room": (TURNS, {}),  # one lever-puller is enough
    "clans": (BOTH, {"horizon": 20}),
    "coin-game": (BOTH, {}),
    "coin-game-two-coins": (BOTH, {"horizon": 150}),
    "coin-game-lase": (BOTH, {}),
    "cleanup": (GREED, {"horizon": 400, "episodes": 24}),
    "cleanup-lio-10x10": (TURNS, {}),  # one cleaner is enough
    "cleanup-lio-7x7": (TURNS, {}),
    "cleanup-lase": (GREED, {}),
    "harvest-closed": (GREED, {"horizon": 400, "episodes": 24}),
    "stag-hunt-grid": (FEAR, {}),
    "snowdrift": (GREED, {}),
    "prisoner-corridor": (BOTH, {}),
    "aid": (BOTH, {"agents": 8}),
    "aid-hidden": (BOTH, {"agents": 8}),
    "aid-rewired": (BOTH, {"agents": 8}),
    "jungle": (GREED, {"agents": 4, "foods": 4, "size": 8, "horizon": 40}),
}
"""Name -> what the diagram says, and settings that make it quick."""


@functools.cache
def diagram(name: str, *, episodes: int = 64, **settings: int) -> ScriptedSchelling:
    game = games.make(name, **settings)
    return scripted_schelling(game, torch.Generator().manual_seed(0), episodes=episodes)


@pytest.mark.parametrize("name", DILEMMAS)
def test_the_game_is_the_dilemma_that_its_scripts_make_of_it(name: str) -> None:
    expected, settings = DILEMMAS[name]
    verdict = diagram(name, **settings).verdict()
    assert verdict.is_dilemma == (expected != TURNS)
    assert expected in str(verdict)


def test_a_game_of_taking_turns_has_everything_else_of_a_dilemma() -> None:
    for name in ("escape-room", "cleanup-lio-10x10", "cleanup-lio-7x7"):
        failed = diagram(name).verdict().failed
        assert [condition.name for condition in failed] == ["cooperating beats taking turns"]


@pytest.mark.parametrize("name", ["harvest", "harvest-open"])
def test_in_an_open_harvest_a_single_scripted_defector_ruins_all(name: str) -> None:
    """So that nobody is tempted by it: restraint pays, the dilemma lies among those who restrain less."""
    found = diagram(name, horizon=400, episodes=24)
    assert found.average.mean[-1] > 1.5 * found.average.mean[0]
    assert [condition.name for condition in found.verdict().failed] == ["greed", "fear"]
    assert found.defector.mean[0, -1] > 1.3 * found.cooperator.mean[0, -2]  # side by side, in the same group


@pytest.mark.parametrize("name", [name for name in games.names() if isinstance(games.make(name), MatrixGame)])
def test_a_matrix_game_has_the_diagram_of_its_payoffs(name: str) -> None:
    game = games.make(name)
    assert isinstance(game, MatrixGame)
    if not game.cooperative:
        if name == "cournot":  # a script among more than two actions: see test_cournot.py
            return
        with pytest.raises(ValueError, match="Nobody has written a script"):
            scripted_schelling(game, torch.Generator())
        return
    exact = schelling(game)
    found = scripted_schelling(game, torch.Generator().manual_seed(0), episodes=400)
    for role, values in ((found.cooperator, exact.cooperator), (found.defector, exact.defector)):
        expected = values.mean(0, keepdims=True) if game.symmetric else values
        assert role.mean == pytest.approx(expected, abs=5 * role.error.max() + 1e-5)
    assert found.average.mean == pytest.approx(exact.average, abs=5 * found.average.error.max() + 1e-5)


def test_escape_room_by_hand() -> None:
    """The lone lever-puller pays 1 for the others' 10; without one nobody moves."""
    found = scripted_schelling(games.make("escape-room"), torch.Generator().manual_seed(0))
    assert found.cooperator.mean[0] == pytest.approx([-1, 4.5])
    assert found.defector.mean[0] == pytest.approx([0, 10])
    assert found.average.mean == pytest.approx([0, 4.5, 4.5])
    assert np.allclose(found.average.error, 0)


@pytest.mark.parametrize(("agents", "levers"), [(2, 1), (3, 1), (3, 2), (5, 2)])
def test_escape_rooms_script_reaches_the_optimum(agents: int, levers: int) -> None:
    game = games.make("escape-room", agents=agents, levers=levers)
    found = scripted_schelling(game, torch.Generator().manual_seed(0), episodes=2)
    assert agents * found.average.mean[-1] == pytest.approx(10 * (agents - levers) - levers)
    assert game.best_welfare == 10 * (agents - levers) - levers


def test_rows_say_everything_once() -> None:
    rows = scripted_schelling(games.make("chicken"), torch.Generator().manual_seed(0)).records()
    assert [(row["role"], row["cooperating"]) for row in rows] == [
        *(("cooperator", others) for others in range(2)),
        *(("defector", others) for others in range(2)),
        *(("group", count) for count in range(3)),
    ]
    assert {row["agent"] for row in rows} == {"all"}
    assert rows[1]["mean"] == 0
    assert rows[2]["mean"] == -10


def test_agents_who_are_not_alike_have_rows_of_their_own() -> None:
    """As they have payoffs of their own: R, S, T, P are 6, 0, 8, 2 for agent 0 and 3, 0, 4, 1 for agent 1."""
    game = games.make("asymmetric-prisoners-dilemma")
    found = scripted_schelling(game, torch.Generator().manual_seed(0), episodes=2)
    assert found.cooperator.mean.tolist() == [[0, 6], [0, 3]]
    assert found.defector.mean.tolist() == [[2, 8], [1, 4]]
    assert [(row["role"], row["agent"]) for row in found.records()[::2]] == [
        ("cooperator", "0"), ("cooperator", "1"), ("defector", "0"), ("defector", "1"), ("group", "all"),
        ("group", "all"),
    ]  # fmt: skip
    assert str(found.verdict()) == "Between these two scripts, a social dilemma by greed and fear."


def test_a_mean_over_agents_does_not_hide_who_loses() -> None:
    """Means of R, S, T, P are 3, 0, 5, 1, but agent 0 has 4, 1, 6, 5 and would rather have all defect."""
    game = NormalForm(table=(((4, 2), (1, 4)), ((6, -1), (5, -3))), cooperative=True)
    found = scripted_schelling(game, torch.Generator().manual_seed(0), episodes=2)
    assert found.cooperator.mean.mean(0).tolist() == [0, 3]
    assert found.defector.mean.mean(0).tolist() == [1, 5]
    exact = dilemma_test(game)
    assert found.verdict() == ScriptedVerdict(exact.required, exact.motives)
    assert [condition.formula for condition in found.verdict().failed] == ["R > P"]


def test_red_who_wins_ties_has_values_of_its_own() -> None:
    """Two defectors: red gains on average 99 and blue loses 99, of which the mean shows nothing."""
    found = scripted_schelling(games.make("coin-game", tie="red"), torch.Generator().manual_seed(0))
    assert found.agents == ("0", "1")
    assert found.defector.mean[:, 0] == pytest.approx([99, -99], abs=5 * found.defector.error[:, 0].max())
    assert found.average.mean[0] == pytest.approx(0, abs=5 * found.average.error[0])
    assert not found.verdict().is_dilemma  # red would rather have all defect


def test_what_two_scripts_do_not_show_is_not_denied() -> None:
    said = str(diagram("escape-room").verdict())
    assert said.startswith("Between these two scripts, no social dilemma shows: 2R > T + S fails")
    assert said.endswith("; other policies may face one.")


def test_one_episode_says_nothing_of_errors() -> None:
    with pytest.raises(ValueError, match="2 episodes or more, not from 1"):
        scripted_schelling(games.make("chicken"), torch.Generator(), episodes=1)


def of_means(cooperator: list[float], defector: list[float], average: list[float]) -> ScriptedSchelling:
    """Data with these means, all with a standard error of 1."""
    parts = (Estimated(np.array(mean), np.ones_like(mean)) for mean in ([cooperator], [defector], average))
    return ScriptedSchelling(("all",), len(cooperator), 64, *parts)


def test_better_replies_and_best_counts_are_ties_within_two_standard_errors() -> None:
    data = of_means([0.0, 5.0, 9.0], [4.0, 3.0, 5.0], [1.0, 8.0, 10.0, 9.0])  # errors of differences: 1.41
    assert data.better_replies().tolist() == [[1, 0, -1]]
    assert data.best_counts() == range(1, 4)
    assert of_means([0.0], [9.0], [9.0, 0.0]).best_counts() == range(1)
