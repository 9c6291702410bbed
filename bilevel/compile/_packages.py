"""Packages of machine code, built into the cache and loaded: C libraries and AOTInductor's graphs."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bilevel import __version__
from bilevel.compile import _cache as cache
from bilevel.compile._c_compiler import compile_source, open_library

Run = Callable[..., list[Tensor]]
"""A function in machine code: a list of tensors in, a list of tensors out, no check of either."""


def environment() -> tuple[str, ...]:
    """The environment of machine code: versions, processor, instruction set."""
    return (
        f"bilevel {__version__}",
        f"compiler {_sources()}",
        f"torch {torch.__version__}",
        platform.system(),
        platform.machine(),
        torch.backends.cpu.get_cpu_capability(),
        _processor(),
    )


@functools.cache
def _processor() -> str:
    """A digest of the processor's features: one home folder may serve several machines."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    able = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return hashlib.blake2b(able.encode(), digest_size=8).hexdigest()


@functools.cache
def _sources() -> str:
    """A digest of the source of `bilevel.compile`: a change of it makes all packages anew."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def build_library(source: str, key: str, about: str, operations: int) -> None:
    """Compile C source into the cache; `about` and `operations` describe it in `bilevel cache`."""
    _keep(key, lambda path: compile_source(source, path), about, operations)


def load_library(key: str) -> ctypes.CDLL:
    """Load a library; OSError if it is not there, or cannot be read."""
    return open_library(_find(key))


def build_graph(plan: Any, key: str, about: str) -> None:
    """Compile a graph (an `aoti.Plan`) into the cache; raises whatever torch does if it cannot."""
    from bilevel.compile._aoti import compile_graph  # noqa: PLC0415  # seconds of imports

    _keep(key, lambda path: compile_graph(plan, path), about, plan.operations)


def load_graph(key: str) -> Run:
    """Load AOTInductor's package; OSError if it is not there, or cannot be read."""
    from bilevel.compile._aoti import open_graph  # noqa: PLC0415  # seconds of imports

    path = _find(key)
    return open_graph(path, path.parent / cache.COMPILER)


def _keep(key: str, build: Callable[[Path], None], about: str, operations: int) -> None:
    began = time.perf_counter()
    described: dict[str, Any] = {"about": about, "operations": operations, "environment": environment()}

    def write(path: Path) -> None:
        build(path)
        described["seconds"] = round(time.perf_counter() - began, 1)

    cache.keep(key, write, described)


def _find(key: str) -> Path:
    path = cache.find(key)
    if path is None:
        raise OSError(f"the package {cache.package_path(key)} is gone")
    return path
