"""The real command line in processes of its own: signals, kill -9, and a pipe that closes."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT, SIGKILL, Signals

import pytest

from bilevel.experiments import RunFolder, create_run, load_config, train

TRAIN = ("train", "--game", "escape-room", "--method", "tos", "--inner.episodes", "4")
SMALL = ("--seeds", "2", "--outer-steps", "150", "--checkpoint-every", "7", "--evaluation-episodes", "4")


def bilevel(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bilevel", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[Signals, tuple[RunFolder, int, str]]:
    """Two runs, each stopped by another signal early on: folder, exit code, what it said."""
    place = tmp_path_factory.mktemp("killed")
    found = {}
    for number in (SIGINT, SIGKILL):
        folder = RunFolder(place / number.name)
        with bilevel(*TRAIN, *SMALL, "--out", str(folder.path)) as process:
            assert process.stderr is not None
            first = [process.stderr.readline() for _ in range(2)]
            assert first[1].startswith("outer step 15 of 150: welfare"), first
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
        found[number] = folder, process.returncode, said
    return found


@pytest.fixture(scope="module")
def whole(
    killed: dict[Signals, tuple[RunFolder, int, str]], tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    folder = create_run(load_config(killed[SIGINT][0].config), tmp_path_factory.mktemp("whole") / "run")
    train(folder)
    return folder


def test_a_signal_ends_in_one_sentence(killed: dict[Signals, tuple[RunFolder, int, str]]) -> None:
    """The other signals are tested where they need no process, in `test_train_command.py`."""
    folder, code, said = killed[SIGINT]
    assert code == 128 + SIGINT
    *_, first, last = said.splitlines()
    assert first.startswith(
        "Ctrl-C: stopping after this outer step, and saving it. A second one stops at once"
    )
    assert last.startswith(f"Stopped. {folder.path} is saved after ")
    assert last.endswith(f"Continue with: bilevel train --resume {folder.path}")
    assert "Traceback" not in said


@pytest.mark.parametrize("number", [SIGINT, SIGKILL])
def test_resumed_is_uninterrupted(
    number: Signals, killed: dict[Signals, tuple[RunFolder, int, str]], whole: RunFolder
) -> None:
    folder, code, _ = killed[number]
    assert code == (-SIGKILL if number == SIGKILL else 128 + number)
    assert not folder.finished
    train(folder)
    assert folder.metrics.read_bytes() == whole.metrics.read_bytes()
    assert folder.evaluation.read_bytes() == whole.evaluation.read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="watches /proc to see torch being imported")
def test_ctrl_c_while_torch_is_imported() -> None:
    with bilevel("train", "--help") as process:
        maps = Path(f"/proc/{process.pid}/maps")
        while "libtorch" not in maps.read_text():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(SIGINT)
        out, said = process.communicate(timeout=60)
    assert (process.returncode, out, said) == (130, "", "Stopped before anything was done.\n")


def test_a_reader_that_leaves_is_no_error() -> None:
    with bilevel("train", "--help") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        process.wait(timeout=60)
    assert said == ""
    assert process.returncode == 1


def readers_leave(*words: str) -> tuple[int, str]:
    """As `2>&1 | head -1`: the first line of progress is read, and nothing after it."""
    with bilevel(*words) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stderr.readline()
        process.stderr.close()
        process.stdout.close()
        process.wait(timeout=120)
    return process.returncode, first


def redirected(how: str) -> Callable[..., tuple[int, str]]:
    """By a shell; what can still be read is returned."""

    def run(*words: str) -> tuple[int, str]:
        shell = ["sh", "-c", f'exec "$@" {how}', "sh", sys.executable, "-m", "bilevel", *words]
        done = subprocess.run(shell, capture_output=True, text=True, check=False, timeout=120)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.parametrize(
    ("start", "code", "says"),
    [
        (readers_leave, 1, r"tos on escape-room: .*\n"),
        pytest.param(
            redirected("2>/dev/full"),
            0,
            r"(?s).*Everything else: .*",
            marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here"),
        ),
        (redirected("<&- >&- 2>&-"), 0, ""),
    ],
)
def test_no_run_ends_by_what_nobody_reads(
    start: Callable[..., tuple[int, str]], code: int, says: str, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    found, said = start(*TRAIN, *SMALL, "--outer-steps", "20", "--out", str(folder.path))
    assert (found, re.fullmatch(says, said) is not None) == (code, True), said
    assert folder.finished
    whole = create_run(load_config(folder.config), tmp_path / "whole")
    train(whole)
    assert folder.metrics.read_bytes() == whole.metrics.read_bytes()
    assert folder.evaluation.read_bytes() == whole.evaluation.read_bytes()
    assert (folder.figures / "welfare.png").exists()
