"""A thousand agents through the command line: exact and sampled, learned and given, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bilevel import RunFolder, load_run

Call = Callable[..., Any]
SMALL = ("--game.agents", 1000, "--seeds", 2, "--outer-steps", 2, "--inner.steps", 2)

SAMPLED = ("--inner.no-exact", "--inner.episodes", 4, "--evaluation-episodes", 8)


@pytest.mark.parametrize(
    ("game", "method", "settings"),
    [
        ("public-goods", "tos", ()),
        ("contribution", "selfish", ()),
        (
            "public-goods",
            "selfish",
            SAMPLED,
        ),
        ("symmetrical-prisoners-dilemma", "prosocial", ()),
    ],
)
def test_a_thousand_agents_learn(call: Call, game: str, method: str, settings: tuple[object, ...]) -> None:
    said = call("train", "--game", game, "--method", method, *SMALL, *settings, "--out", "run")
    assert said.code == 0, said.err
    results = load_run(RunFolder(Path("run")))
    assert results.curves["return"].shape == (2, 2, 1000)
    np.testing.assert_allclose(results.final["return"].sum(-1), results.final["welfare"], rtol=1e-4)
    assert len(Path("run/metrics.csv").read_text().partition("\n")[0].split(",")) <= 6
    assert results.final["share"].shape == (2, 1000, 1000)
    assert sum(path.stat().st_size for path in Path("run").glob("metrics*")) < 1_000_000


def test_selfish_agents_leave_the_pot_and_prosocial_ones_fill_it(call: Call) -> None:
    """In the direction of the gradients, k / N - 1 and k - 1."""
    for method, direction in (("selfish", -1), ("prosocial", 1)):
        call("train", "--game", "public-goods", "--method", method, *SMALL, "--out", method)
        cooperation = load_run(RunFolder(Path(method))).curves["cooperation"].mean(1)
        assert (np.sign(np.diff(cooperation)) == direction).all()


def test_theory_of_a_thousand_agents_is_refused_in_a_sentence(call: Call) -> None:
    said = call("theory", "--game", "public-goods", "--game.agents", 1000)
    assert said.code == 2
    assert said.sentence() == (
        "A payoff table has 2000000 entries at most; 1000 agents with 2 actions have 1000 x 2^1000."
    )
