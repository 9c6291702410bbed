"""A lesson alone, in an empty folder and a fresh environment, installs what it needs and runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import build
import nbformat
import pytest
from nbclient import NotebookClient

from bilevel.lessons import VARIABLE

ROOT = build.FOLDER.parent
KERNEL = "alone"


def run(*command: str | Path) -> None:
    """Run a command; what it said if it fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_lesson_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels, environment, folder = (tmp_path / name for name in ("wheels", "environment", "folder"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("PIP_CONSTRAINT", str(ROOT / "constraints.txt"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "runs", "_build", "tests", "docs"))
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, source)
    run(sys.executable, "-m", "venv", environment)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "ipykernel")  # what shows a notebook has a kernel
    run(python, "-m", "ipykernel", "install", "--prefix", environment, "--name", KERNEL)
    monkeypatch.setenv("JUPYTER_PATH", str(environment / "share" / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    monkeypatch.setenv(VARIABLE, "fast")

    folder.mkdir()
    shutil.copy(build.FOLDER / "00_start_here.ipynb", folder)
    notebook = nbformat.read(folder / "00_start_here.ipynb", as_version=4)
    where = nbformat.v4.new_code_cell("import bilevel\n\nprint(bilevel.__file__)")
    notebook.cells.append(where)
    client = NotebookClient(
        notebook, timeout=1200, kernel_name=KERNEL, resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=dict(os.environ))
    assert where.outputs[0].text.startswith(str(environment))
    assert any(
        "image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])
    )
