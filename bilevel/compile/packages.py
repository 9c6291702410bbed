"""Machine code from a traced graph, kept on disk and loaded as a function: AOTInductor's part."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from bilevel._version import __version__
from bilevel.compile import cache

Run = Callable[[list[Tensor]], list[Tensor]]
"""A loaded package: tensors in, tensors out, no check of either."""

COMPILER_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
"""The environment variable by which a user names another folder for the compiler's own files."""

OPTIONS: dict[str, Any] = {
    "max_fusion_size": 10_000,
    "cpp.max_horizontal_fusion_size": 1_000,
    "cpp.enable_floating_point_contract_flag": "fast",
    "aot_inductor.precompile_headers": False,
}
"""Inductor's options: long straight-line code in one loop, with fused multiply-adds; no precompiled headers,
which Inductor would keep, 280 MB of them, in a folder under /tmp whose name anybody can foresee."""


@dataclass(frozen=True)
class Plan:
    """A graph and how it is to be built."""

    graph: fx.GraphModule
    examples: tuple[Tensor, ...]
    """Inputs of the right form."""
    members: bool
    """Whether the last axis of every input but 0-dim ones may have any length of 2 or more."""
    threads: int

    @property
    def operations(self) -> int:
        """How many operations the graph has."""
        return len(self.graph.graph.nodes)


def environment() -> tuple[str, ...]:
    """What machine code is made for: versions, processor, instruction set."""
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
    """What this processor can do, all of which machine code uses: one home folder may serve many."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    able = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return hashlib.blake2b(able.encode(), digest_size=8).hexdigest()


@functools.cache
def _sources() -> str:
    """The source of this package, so that no compiled package outlives a change of how graphs are written."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def build(plan: Plan, key: str, about: str) -> None:
    """Compile a plan into the cache.

    Args:
        plan: what to build.
        key: the package's name in the cache.
        about: what it is, in words, for `bilevel cache`.

    Raises:
        Exception: whatever torch raises if it cannot: no compiler, an operation without a lowering.
        OSError: the cache folder cannot be written.
    """
    began = time.perf_counter()
    described: dict[str, Any] = {
        "about": about,
        "operations": plan.operations,
        "environment": environment(),
    }

    def write(path: Path) -> None:
        with _inductor_in(path.parent / "inductor"):
            _compile(_export(plan), path, plan.threads)
        described["seconds"] = round(time.perf_counter() - began, 1)

    cache.keep(key, write, described)


def _export(plan: Plan) -> ExportedProgram:
    """Say which lengths may change."""
    dim = torch.export.Dim("members", min=2, max=1 << 30)
    dynamic = tuple({leaf.ndim - 1: dim} if leaf.ndim else {} for leaf in plan.examples)
    with warnings.catch_warnings(), torch.no_grad():
        # torch 2.13 warns of its own use of a deprecated class in every export.
        warnings.simplefilter("ignore")
        return torch.export.export(
            plan.graph, plan.examples, dynamic_shapes=dynamic if plan.members else None
        )


def _compile(program: ExportedProgram, path: Path, threads: int) -> None:
    options = {**OPTIONS, "cpp.threads": threads}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=options)


@contextlib.contextmanager
def _inductor_in(folder: Path) -> Iterator[None]:
    """Let Inductor keep its files there, unless the user named a folder for them.

    Its own choice, which it writes into the environment when it is imported, lies under /tmp, and anybody can
    foresee its name.
    """
    foreseeable = importlib.import_module("torch._inductor.runtime.cache_dir_utils").default_cache_dir()
    named = os.environ.get(COMPILER_FOLDER)
    if named is not None and Path(named) != Path(foreseeable):
        yield
        return
    os.environ[COMPILER_FOLDER] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(COMPILER_FOLDER)
        if named is not None:
            os.environ[COMPILER_FOLDER] = named


def load(key: str) -> Run:
    """Load a package.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    path = cache.find(key)
    if path is None:
        raise OSError(f"the package {cache.package_path(key)} is gone")
    # Loading asks what the processor can do, of a program that is compiled for that, once, and kept.
    with warnings.catch_warnings(), _inductor_in(path.parent / cache.COMPILER):
        warnings.simplefilter("ignore")
        try:
            model = torch._inductor.aoti_load_package(str(path), run_single_threaded=True)
        except Exception as error:  # torch raises what its archive reader does
            raise OSError(f"the package {path} cannot be loaded") from error
    # The model's own call parses its signature anew each time, 10 us; its loader does not.
    run: Run = model.loader.run
    return run
