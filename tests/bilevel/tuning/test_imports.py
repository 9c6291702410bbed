"""What comes with `import bilevel.tuning`, seen from a fresh process."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest

import bilevel
import bilevel.hypergradient
import bilevel.tuning
from bilevel import errors
from games import errors as errors_of_games

UNWANTED = {"games", "gymnasium", "scipy", "PIL", "matplotlib", "pettingzoo", "torchopt", "imageio", "rich"}
PROGRAM = """
import json, sys
import bilevel.tuning
from bilevel.tuning import HyperParameter, Implicit, LossWeights, LossWeightTuner, SampleWeights
from bilevel.tuning import ScheduledLossWeights, StepResult
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_the_tuner_loads_neither_games_nor_what_they_need() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    loaded = set(json.loads(found.stdout))
    assert {"bilevel", "torch", "higher"} <= loaded
    assert not loaded & UNWANTED


@pytest.mark.parametrize("package", [bilevel, bilevel.hypergradient, bilevel.tuning])
def test_every_public_name_loads(package: object) -> None:
    names = package.__all__  # type: ignore[attr-defined]
    assert dir(package) == sorted(names)
    for name in names:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Tunerr'"):
        _ = package.Tunerr  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["require", "require_name"])
def test_refusals_are_written_once(name: str) -> None:
    """The two packages share no module, so the text is compared."""
    assert inspect.getsource(getattr(errors, name)) == inspect.getsource(getattr(errors_of_games, name))
