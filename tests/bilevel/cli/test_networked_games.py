"""Games on graphs through the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bilevel import load_run

Call = Callable[..., Any]


@pytest.mark.parametrize(
    ("method", "settings", "cooperation"),
    [
        ("spatial-discount", ("--method.discount", 0.6), 1.0),
        ("spatial-discount", ("--method.discount", 0.6, "--method.max-distance", 0), 0.0),
        ("prosocial", ("--method.common-reward", "neighborhood"), 1.0),
        ("prosocial", ("--method.common-reward", "difference"), 1.0),
    ],
)
def test_baselines_on_graphs_train_from_the_command_line(
    call: Call, method: str, settings: tuple[object, ...], cooperation: float
) -> None:
    words = ("--game", "aid", "--game.agents", 8, "--inner.no-exact", "--inner.episodes", 64, "--seeds", 3)
    said = call("train", *words, "--method", method, *settings, "--outer-steps", 60, "--out", "run")
    assert said.code == 0, said.err
    final = load_run("run").final["cooperation"]
    np.testing.assert_allclose(final, cooperation, atol=0.15)
