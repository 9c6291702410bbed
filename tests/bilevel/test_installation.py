"""Loss weights and hypergradients without the extra `games`; a wheel, in an environment of its own."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from importlib import metadata
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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
    """Packages that an extra adds, but for those that torch requires anyway."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    packages = set(re.findall(r"(?m)^([\w-]+)", settings["options.extras_require"][name]))
    of_torch = {re.split(r"[^\w-]", line)[0] for line in requires("torch") or [] if "extra ==" not in line}
    return {IMPORTED_AS.get(package, package) for package in packages - of_torch}


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


def wheel(folder: Path) -> Path:
    """A wheel of this checkout, built of a copy, so that nothing is left in the checkout."""
    copy = folder / "copy"
    for name in ("bilevel", "games"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(copy))
    (built,) = folder.glob("*.whl")
    return built


def pip(*arguments: str) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr


def required(requirements: list[str], extra: str = "") -> set[str]:
    """The installed distributions that requirements name, and all that those require in turn."""
    found: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), extra) for text in requirements]
    while waiting:
        requirement, of = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": of}):
            continue
        for wanted in {(requirement.name.lower(), of) for of in ("", *requirement.extras)} - found:
            found.add(wanted)
            further = metadata.requires(requirement.name) or []
            waiting += [(Requirement(text), wanted[1]) for text in further]
    return {name for name, _ in found}


def link(name: str, place: Path) -> None:
    """Put a distribution of this environment into another one."""
    for file in metadata.files(name) or []:
        top = file.parts[0]
        if top not in ("..", "__pycache__") and not (place / top).exists():
            (place / top).symlink_to(Path(str(metadata.distribution(name).locate_file(top))).resolve())


@pytest.mark.slow
def test_a_wheel_runs_the_readme_in_an_environment_of_its_own(tmp_path: Path) -> None:
    """The environment has the wheel and what the wheel asks for, and nothing else that is installed here."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    pip("--python", str(python), "install", "--no-deps", "--no-index", str(wheel(tmp_path)))
    (place,) = environment.glob("lib/python*/site-packages")
    (installed,) = metadata.distributions(name="bilevel", path=[str(place)])
    needed = required(installed.requires or [], "games")
    assert {"torch", "torchopt", "gymnasium", "tyro"} <= needed
    assert not {"pytest", "sphinx", "pandas"} & needed
    for name in sorted(needed):
        link(name, place)
    (example,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    where = f"assert bilevel.__file__.startswith({str(environment)!r})\n"
    run = subprocess.run(
        [python, "-I", "-c", example + where], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "runs" / "policies.pt").is_file()
    script = [environment / "bin" / "bilevel", "methods"]
    assert "tos" in subprocess.run(script, capture_output=True, text=True, check=True).stdout
