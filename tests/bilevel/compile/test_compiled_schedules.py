"""Settings that change on the way are data of a compiled step: nothing is built anew for their values."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import games
from bilevel.methods import OuterLearner, Placement, ToS


def build(compiled: bool, **settings: Any) -> OuterLearner:
    method = ToS().with_settings({"inner.steps": 3, "outer.optimizer": "sgd", **settings})
    learner = method.build(games.make("prisoners-dilemma"), Placement(seeds=3, compile=compiled))
    assert isinstance(learner, OuterLearner)
    return learner


@pytest.mark.parametrize(
    "changing",
    [
        {"inner.learning_rate": "0:1, 4:0.1", "inner.optimizer": "adam"},
        {"cost_weight": "0:0, 4:0.5", "outer.learning_rate": "0:0.1, 4:0.2"},
        {
            "training": "curriculum",
            "training.phases": "0-2(inner.learning_rate=0.5), 2-3(moves=policies), "
            "3-5(inner.learning_rate='0:1,2:2')",
        },
    ],
)
def test_one_package_serves_every_value(changing: dict[str, Any], built: list[str]) -> None:
    compiled, eager = build(True, **changing), build(False, **changing)
    state = eager.init(0)
    for _ in range(5):  # each from the same state, by plain steps: rounding is not carried on
        ours, (state, _) = compiled.update(state)[0], eager.update(state)
        for name in ("theta", "phi"):
            torch.testing.assert_close(ours[name], state[name], rtol=1e-12, atol=1e-12)
    assert len(built) == 2  # the solve and the outer update: as for one outer step
