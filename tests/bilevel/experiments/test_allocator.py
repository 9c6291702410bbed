"""glibc keeps freed memory: fewer page faults, the same numbers, and the environment may say no."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from bilevel import create_run, default_config
from bilevel.experiments import _execution as execution

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")

FAULTS = """
import resource, numpy
from bilevel.experiments._execution import keep_freed_memory
print(keep_freed_memory())
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
numpy.zeros(16_000_000).fill(1)
before = faults()
for _ in range(10):
    numpy.empty(16_000_000).fill(1)  # 128 MB, 31250 pages
print(faults() - before)
"""


def faults(**environment: str) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, count = done.stdout.split()
    return kept, int(count)


@glibc
def test_memory_that_was_freed_is_used_again_without_page_faults() -> None:
    # Huge pages, where the kernel gives them, make the faults of the second process fewer, not none.
    kept, few = faults()
    left, many = faults(BILEVEL_MALLOC="system")
    assert (kept, left) == ("True", "False")
    assert few < 100 < many


@glibc
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BILEVEL_MALLOC", "system"),
        ("MALLOC_TRIM_THRESHOLD_", "131072"),
        ("MALLOC_MMAP_THRESHOLD_", "131072"),
        ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=131072"),
    ],
)
def test_what_the_environment_says_is_left_alone(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert not execution.keep_freed_memory()


def test_without_glibc_nothing_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(execution.ctypes, "CDLL", None)
    assert not execution.keep_freed_memory()


def test_another_choice_is_refused_before_a_run_has_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BILEVEL_MALLOC", "sytem")
    with pytest.raises(ValueError, match="BILEVEL_MALLOC is keep or system, not 'sytem'"):
        create_run(default_config("chicken", "tos"), tmp_path / "run")
    assert not list(tmp_path.iterdir())
