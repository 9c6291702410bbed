"""What comes with `import bilevel.loss_weights`, seen from a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import bilevel
import bilevel.hypergradient
import bilevel.loss_weights
import bilevel.report
import games

UNWANTED = {"gymnasium", "scipy", "PIL", "matplotlib", "pettingzoo", "torchopt", "imageio", "rich"}
PROGRAM = """
import json, sys
import bilevel.loss_weights
from bilevel.loss_weights import HyperParameter, InverseHessian, LossWeights, LossWeightTuner, SampleWeights
from bilevel.loss_weights import ScheduledLossWeights, StepResult
print(json.dumps(sorted(sys.modules)))
"""


def test_the_tuner_loads_neither_games_nor_what_they_need() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    loaded = set(json.loads(found.stdout))
    assert {"bilevel", "torch", "higher"} <= loaded
    assert not loaded & UNWANTED
    assert all(name.startswith("games.core") for name in loaded if name.startswith("games."))
    assert "games.core._game" not in loaded


@pytest.mark.parametrize(
    "package", [bilevel, bilevel.hypergradient, bilevel.report, bilevel.loss_weights, games]
)
def test_every_public_name_loads(package: object) -> None:
    names = package.__all__  # type: ignore[attr-defined]
    assert dir(package) == sorted(names)
    for name in names:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="attribute Tunerr"):
        _ = package.Tunerr  # type: ignore[attr-defined]
