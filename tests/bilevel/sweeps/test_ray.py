"""Ray tasks on this machine, one of whose workers is killed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bilevel.sweeps import RayLauncher
from tests.bilevel.sweeps.launched import (
    launch,
    one_after_the_other,
    processes_in,
    small_sweep,
    welfare,
)

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray on this machine, started once."""
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_s_run_goes_on_elsewhere(tmp_path: Path) -> None:
    sweep, out = small_sweep(outer_steps=60), tmp_path / "launched"
    first = sweep.runs[0].folder(out)
    killed = []

    def kill() -> None:
        while not first.checkpoint.exists():
            time.sleep(0.01)
        for pid in processes_in(first.path):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    ended = launch(sweep, out, RayLauncher())
    thread.join()
    assert set(ended.values()) == {"finished"}
    assert welfare(sweep, out) == one_after_the_other(sweep, tmp_path / "here")
    assert killed or first.finished


def test_a_missing_package_has_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"needs the package ray: pip install 'bilevel\[ray\]'"):
        RayLauncher()
