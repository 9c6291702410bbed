"""Loss weights and hypergradients without the extra `games`, which the command line asks for."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMPORTED_AS = {"docstring-parser": "docstring_parser", "pillow": "PIL"}
WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
LEARN = """
import torch
from bilevel import BilevelProblem, LossWeights, LossWeightTuner, Unrolled, check_hypergradient, inner_step
from bilevel.optimizers import sgd

model = torch.nn.Linear(2, 1)
weights = LossWeights(["near", "far"])
tuner = LossWeightTuner(
    model, torch.optim.SGD(model.parameters(), 0.1), weights, torch.optim.Adam(weights.parameters(), 0.1)
)
inputs = torch.ones(3, 2)
tuner.step(
    lambda: {"near": model(inputs).square().mean(), "far": (model(inputs) - 9).square().mean()},
    lambda: (model(inputs) - 1).square().mean(),
)
inner = sgd(0.1)
problem = BilevelProblem(
    step=inner_step(lambda theta, phi, data: (theta - phi).square().sum(), inner),
    outer_loss=lambda theta, phi, data: theta.square().sum(),
)
one = torch.ones(1, dtype=torch.float64)
assert check_hypergradient(problem, one, inner.init(one), 2 * one, steps=3).relative_error < 1e-6
print("done")
"""
COMMAND = """
from bilevel.cli import main
main(["train", "--game", "escape-room"])
"""


def extra(name: str) -> set[str]:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    packages = re.findall(r"(?m)^([\w-]+)", settings["options.extras_require"][name])
    return {IMPORTED_AS.get(package, package) for package in packages}


def run(program: str) -> subprocess.CompletedProcess[str]:
    program = WITHOUT.format(absent=extra("games")) + program
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )


def test_loss_weights_and_hypergradients_need_no_extra() -> None:
    found = run(LEARN)
    assert found.stdout == "done\n", found.stderr


def test_the_command_line_says_which_extra_it_needs() -> None:
    found = run(COMMAND)
    assert (found.returncode, found.stdout) == (1, "")
    assert re.fullmatch(r"The command line needs \w+: pip install 'bilevel\[games\]'\n", found.stderr)
