"""Every command of the page "Sweep on a cluster" runs, on this machine, to the same table."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bilevel.sweeps.random_kills import run_with_kills
from tests.test_documents import ROOT, commands

PAGE = ROOT / "docs" / "how-to" / "cluster.md"
COMMANDS = commands(PAGE)
"""With cuda:0 replaced by cpu."""
STUDY = """\
games = ["chicken"]
methods = ["tos"]
seeds = 2
outer-steps = 3

[set]
"compile" = "never"

[sweep]
"outer.learning-rate" = [0.1, 0.3]
"""


def on_this_machine(command: str) -> list[str]:
    """A command of the page as words, with processes of submitit instead of Slurm's jobs."""
    words = shlex.split(command)
    if "--slurm" in words and "cluster=local" not in words:
        words.insert(words.index("--slurm") + 1, "cluster=local")
    return [sys.executable, "-m", *words]


def run(command: str, folder: Path, environment: dict[str, str]) -> str:
    """Run a command in a folder that has the file of the study; its output."""
    (folder / "study.toml").write_text(STUDY)
    done = subprocess.run(
        on_this_machine(command),
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """Ray on this machine, with two of what it takes for GPUs: the variable that names its address."""
    ray = pytest.importorskip("ray")
    started = ray.init(num_cpus=4, num_gpus=2, log_to_driver=False, include_dashboard=False)
    yield {"RAY_ADDRESS": started.address_info["address"]}
    ray.shutdown()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The table of the study by the default launcher."""
    folder = tmp_path_factory.mktemp("local")
    run("bilevel sweep --config study.toml --out runs/study", folder, {})
    return (folder / "runs/study/seeds.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in COMMANDS if "--launcher ray" not in line])
def test_commands_run(command: str, table: bytes, tmp_path: Path) -> None:
    if command.startswith("bilevel report"):
        run("bilevel sweep --config study.toml --out runs/study", tmp_path, {})
    if "--launcher slurm" in command:
        pytest.importorskip("submitit")
    said = run(command, tmp_path, {})
    if "--dry-run" in command:
        assert "runs, about " in said
    elif "sweep" in command:
        assert (tmp_path / "runs/study/seeds.csv").read_bytes() == table
    else:
        assert (tmp_path / "study.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in COMMANDS if "--launcher ray" in line])
def test_commands_run_on_ray(command: str, cluster: dict[str, str], table: bytes, tmp_path: Path) -> None:
    run(command, tmp_path, cluster)
    assert (tmp_path / "runs/study/seeds.csv").read_bytes() == table


def kills(launcher: str) -> tuple[str, ...]:
    """The options of the page's command that kills a sweep by this launcher."""
    lines = re.findall(r"^python -m tests.bilevel.sweeps.random_kills (.*)$", PAGE.read_text(), re.MULTILINE)
    (found,) = (line for line in lines if launcher in line)
    return tuple(shlex.split(found.partition("--options ")[2]))


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "package"), [("slurm", "submitit"), ("ray", "ray")])
def test_sweeps_of_other_launchers_are_killed(launcher: str, package: str, tmp_path: Path) -> None:
    pytest.importorskip(package)
    assert len(run_with_kills(tmp_path, kills=2, outer_steps=200, others=kills(launcher), longest=4)) == 2
