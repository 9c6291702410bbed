"""Heat maps of who gives whom how much: shares, incentives, payments, each in its unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from bilevel.experiments import Run, RunFolder
from bilevel.report import write_run_figures
from bilevel.report._heat_maps import (
    Transfers,
    color_limits,
    draw_transfers,
    final_transfers,
    roles_differ,
    sorted_by_role,
    transfer_note,
)
from tests.bilevel.report.compared import made_up


def shared(agents: int = 2) -> Transfers:
    found = final_transfers(made_up(returns=np.ones((4, agents)), agents=agents))
    assert found is not None
    return found


def giving(game: str = "escape-room", method: str = "lio", **final: float) -> Run:
    """A run of three seeds that gave, or paid, this much."""
    results = made_up(game, method, returns=((1.0, 1.0),) * 3, sharing=False)
    results.final.update({name: np.array([value - 1, value, value + 1]) for name, value in final.items()})
    return results


@pytest.mark.parametrize(("agents", "texts", "first"), [(2, 4, "0.75\n± 0.00"), (5, 25, "0.75"), (13, 0, "")])
def test_the_sharing_matrix_has_numbers_where_they_fit(agents: int, texts: int, first: str) -> None:
    axes = Figure().subplots()
    draw_transfers(axes, shared(agents))
    assert len(axes.texts) == texts
    assert not texts or axes.texts[0].get_text() == first
    (image,) = axes.images
    assert image.get_array().shape == (agents, agents)  # type: ignore[union-attr]
    assert image.get_clim() == (0, 1)


def test_the_heat_map_has_givers_in_rows() -> None:
    transfers = shared()
    transfers.values[0, 1] = 0.9
    axes = Figure().subplots()
    draw_transfers(axes, transfers)
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.9], [0.25, 0.75]])  # type: ignore[arg-type]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("receiver (agent)", "giver (agent)")


def test_incentives_are_amounts_between_agents_and_nobody_gives_itself() -> None:
    transfers = final_transfers(giving(incentive_0_1=3.0, incentive_1_0=2.0))
    assert transfers is not None
    assert (transfers.kind, transfers.unit) == ("incentive", "reward per episode")
    np.testing.assert_allclose(transfers.mean, [[0, 3], [2, 0]])
    assert color_limits([transfers]) == (0, 3)
    axes = Figure().subplots()
    draw_transfers(axes, transfers)
    assert axes.texts[1].get_text() == "3.00\n± 0.82"  # of 2, 3 and 4
    assert axes.images[0].get_clim() == (0, 3)


def test_a_planner_pays_and_taxes_in_one_row_with_white_at_nothing() -> None:
    transfers = final_transfers(giving(method="planner", paid_0=-2.0, paid_1=1.0))
    assert transfers is not None
    np.testing.assert_allclose(transfers.mean, [[-2, 1]])
    axes = Figure().subplots()
    draw_transfers(axes, transfers)
    assert axes.images[0].get_clim() == (-2, 2)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["planner"]
    assert color_limits([transfers, shared()]) == (-2, 2)


@pytest.mark.parametrize(
    ("game", "method", "unit"),
    [
        ("repeated-chicken", "gifting", "reward per step"),  # exact
        ("repeated-chicken", "lio", "reward per episode"),  # sampled
        ("chicken", "gifting", "reward per episode"),
        ("escape-room", "gifting", "reward per episode"),
    ],
)
def test_units_are_those_of_the_metrics(game: str, method: str, unit: str) -> None:
    transfers = final_transfers(giving(game, method, incentive_0_1=1.0, incentive_1_0=1.0))
    assert transfers is not None
    assert transfers.unit == unit


def test_who_gives_nothing_has_no_heat_map() -> None:
    assert final_transfers(made_up(sharing=False)) is None


@pytest.mark.parametrize(
    ("method", "metrics"),
    [("gifting", {"incentive_0_1": 1.0, "incentive_1_0": 2.0}), ("planner", {"paid_0": -1.0, "paid_1": 1.0})],
)
def test_a_run_has_its_heat_map(method: str, metrics: dict[str, Any], tmp_path: Path) -> None:
    written = write_run_figures(RunFolder(tmp_path), giving(method=method, **metrics))
    (path,) = (path for path in written if path.name == "sharing.png")
    with Image.open(path) as picture:
        assert np.asarray(picture.convert("L")).std() > 5


def test_a_title_notes_where_no_seed_is_near_the_mean() -> None:
    roles = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])  # each seed another role
    alike = np.full((2, 2, 2), 0.5)
    assert "no seed" in transfer_note(Transfers("share", "share", roles))
    assert transfer_note(Transfers("share", "share", alike)) == ""
    assert transfer_note(Transfers("share", "share", roles[..., :1])) == ""


GIVES, KEEPS = [0.2, 0.8], [0.1, 0.9]
SWAPPED = np.stack([[GIVES, KEEPS], [KEEPS[::-1], GIVES[::-1]]], -1)
"""Shares of two seeds, [giver, receiver, seed], whose agents have exchanged their roles."""


def run_with_shares(shares: np.ndarray, game: str, **settings: Any) -> Run:
    """A run that ended with these shares, [giver, receiver, seed]."""
    agents, _, seeds = shares.shape
    results = made_up(game, returns=np.ones((seeds, agents)), cooperation=False, **settings)
    results.final.update({f"share_{i}_{j}": shares[i, j] for i in range(agents) for j in range(agents)})
    return results


def test_agents_of_symmetric_games_are_sorted_by_role_within_each_seed() -> None:
    found = final_transfers(run_with_shares(SWAPPED, "escape-room"))
    assert found is not None
    np.testing.assert_allclose(found.mean, [GIVES, KEEPS])  # what both seeds have, not 0.55 and 0.45
    assert found.values.std(-1).max() == 0
    assert transfer_note(found) == "\nagents sorted by share given away"
    axes = Figure().subplots()
    draw_transfers(axes, found)
    assert axes.get_ylabel() == "giver (rank)"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1st", "2nd"]


@pytest.mark.parametrize("game", ["matching-pennies", "battle-of-the-sexes", "cleanup-lio-7x7"])
def test_agents_of_other_games_keep_their_numbers(game: str) -> None:
    found = final_transfers(run_with_shares(SWAPPED, game))
    assert found is not None
    np.testing.assert_array_equal(found.values, SWAPPED)
    assert transfer_note(found) == "\n(no seed is near this mean)"
    axes = Figure().subplots()
    draw_transfers(axes, found)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1"]


def test_agents_on_a_ring_are_not_sorted_although_the_ring_may_be_turned() -> None:
    ring = np.roll(np.eye(4), 1, 1)
    shares = np.stack([0.9 * ring + 0.1 * np.eye(4), np.eye(4)], -1)
    for game in ("cyclical-prisoners-dilemma", "circular-prisoners-dilemma"):
        found = final_transfers(run_with_shares(shares, game, agents=4))
        assert found is not None
        assert found.order == ""


def test_seeds_that_agree_keep_their_agents_numbers() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 8)
    shares = np.array([[0.2 + noise, 0.8 - noise], [0.1 + 0 * noise, 0.9 + 0 * noise]])
    assert not roles_differ(Transfers("share", "share", shares))
    found = final_transfers(run_with_shares(shares, "escape-room"))
    assert found is not None
    np.testing.assert_array_equal(found.values, shares)


@given(seed=st.integers(0, 2**32 - 1), agents=st.integers(2, 6))
def test_sorting_agents_renames_them_and_does_not_depend_on_their_numbers(seed: int, agents: int) -> None:
    draws = np.random.default_rng(seed)
    values = draws.dirichlet(np.ones(agents), (agents, 5)).transpose(0, 2, 1)  # [giver, receiver, seed]
    found = sorted_by_role(Transfers("share", "share", values))
    kept = found.values.diagonal().T  # [agent, seed]
    assert (np.diff(kept, axis=0) >= -1e-12).all()
    np.testing.assert_allclose(found.values.sum(1), 1)
    np.testing.assert_allclose(np.sort(found.values.sum(0), 0), np.sort(values.sum(0), 0))
    order = draws.permutation(agents)
    renamed = sorted_by_role(Transfers("share", "share", values[order][:, order]))
    np.testing.assert_allclose(renamed.values, found.values)


def test_a_planners_receivers_are_sorted_by_payment() -> None:
    paid = np.array([[[-1.0, 2.0], [2.0, -1.0]]])
    found = sorted_by_role(Transfers("payment", "reward per episode", paid))
    np.testing.assert_array_equal(found.mean, [[2.0, -1.0]])
    axes = Figure().subplots()
    draw_transfers(axes, found)
    assert axes.get_xlabel() == "receiver (rank)"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["planner"]
