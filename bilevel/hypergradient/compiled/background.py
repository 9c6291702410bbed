"""Building one package in a process beside this one, which builds another meanwhile.

Most of a build is one thread of Python and one of the C++ compiler, so two at a time take little longer than
one. Whatever goes wrong over there, the package is then built here, where errors are told.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from bilevel.hypergradient.compiled import cache, packages

_building: dict[str, subprocess.Popen[bytes]] = {}


def start(plan: packages.Plan, about: str) -> None:
    """Begin to build a plan's package in another process, if there is a core for it and it is not there yet.

    Args:
        plan: what to build.
        about: what it is, in words, for `bilevel cache`.
    """
    key = plan.key
    if _cores() < 2 or key in _building or cache.package_path(key).exists():
        return
    exported = cache.part_path(cache.package_path(key))
    exported.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    torch.export.save(packages.export(plan), exported)
    words = [str(exported), key, str(plan.threads), about, str(plan.operations)]
    _building[key] = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", __name__, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait(key: str) -> None:
    """Wait for the process that builds this package, if one does."""
    process = _building.pop(key, None)
    if process is not None:
        process.wait()


def main(exported: str, key: str, threads: str, about: str, operations: str) -> None:
    """Build what another process exported."""
    path = Path(exported)
    try:
        program = torch.export.load(path)
    finally:
        path.unlink()
    packages.keep(program, key, about, threads=int(threads), operations=int(operations))


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


if __name__ == "__main__":
    main(*sys.argv[1:])
