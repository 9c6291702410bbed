"""What each command loads, seen from a fresh process: nothing heavy that it does not use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMPILERS = {"torch._dynamo", "torch._inductor", "torch.fx.experimental.symbolic_shapes", "sympy"}
OTHERS = {"pettingzoo", "sklearn", "higher", "scipy.stats", "scipy.optimize"}
FIGURES = {"matplotlib", "imageio"}
METHODS = {"bilevel.methods._method", "bilevel.compile._compiled", "torchopt"}
UNWANTED = COMPILERS | OTHERS
PROGRAM = """
import json, sys
import bilevel.cli._train

def stop(*arguments):
    raise SystemExit(sorted(sys.modules))

if sys.argv[1] == "train":
    bilevel.cli._train.show = stop  # from here on figures are drawn
try:
    from bilevel.cli import main
    main(sys.argv[1:])
except SystemExit as leaving:
    loaded = leaving.code if isinstance(leaving.code, list) else sorted(sys.modules)
print(json.dumps(loaded))
"""
LISTING = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules))))
from bilevel.cli import main
main(sys.argv[1:])
"""
PAIRS = ("repeated-prisoners-dilemma tos", "escape-room ltos")
TRAIN = "train --game {} --method {} --seeds 3 --outer-steps 2 --evaluation-episodes 2 --out run"


def loaded_by(program: str, line: str, folder: Path) -> set[str]:
    root = str(Path(__file__).parents[3])
    found = subprocess.run(
        [sys.executable, "-c", program, *line.split()],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={"PYTHONPATH": root, "PATH": "/usr/bin:/bin"},
    )
    return set(json.loads(found.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("line", "unwanted"),
    [
        ("--help", UNWANTED | FIGURES | METHODS | {"torch", "numpy", "tyro", "rich"}),
        ("--version", UNWANTED | FIGURES | METHODS | {"torch", "numpy", "tyro", "rich"}),
        ("cache", UNWANTED | FIGURES | {"torch"}),
        ("games", UNWANTED | FIGURES | METHODS | {"torch", "numpy", "rich"}),
        ("methods", UNWANTED | FIGURES | {"torch", "numpy", "rich"}),
        ("compare --help", UNWANTED | FIGURES),
        ("check --help", UNWANTED | FIGURES),
        ("play chicken --help", UNWANTED | FIGURES),
        ("theory", COMPILERS | FIGURES | METHODS | {"pettingzoo", "scipy.stats"}),
        ("solve --steps 5", COMPILERS | FIGURES | {"pettingzoo", "scipy.stats"}),
    ],
)
def test_a_command_loads_what_it_needs(line: str, unwanted: set[str], tmp_path: Path) -> None:
    assert not loaded_by(LISTING, line, tmp_path) & unwanted


@pytest.mark.parametrize("pair", PAIRS)
def test_a_run_loads_no_compiler_and_no_figures(pair: str, tmp_path: Path) -> None:
    loaded = loaded_by(PROGRAM, TRAIN.format(*pair.split()), tmp_path)
    assert "torch" in loaded
    assert (tmp_path / "run" / "summary.json").exists()
    assert not loaded & (UNWANTED | FIGURES | {"scipy"})


@pytest.mark.parametrize("package", ["bilevel", "games"])
def test_packages_answer_at_once(package: str, tmp_path: Path) -> None:
    program = f"import json, sys, {package}\nprint(json.dumps(sorted(sys.modules)))"
    assert not loaded_by(program, "", tmp_path) & {"torch", "numpy", "gymnasium"}
