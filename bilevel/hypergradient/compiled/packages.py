"""From a traced graph to machine code on disk, and from there to a function: AOTInductor's part."""

from __future__ import annotations

import datetime
import functools
import hashlib
import itertools
import json
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from bilevel._version import __version__
from bilevel.hypergradient.compiled import cache

Run = Callable[[list[Tensor]], list[Tensor]]
"""A loaded package: tensors in, tensors out, no check of either."""

FORMAT = 1
"""Raised whenever packages of older versions of this room must not be used."""

OPTIONS: dict[str, Any] = {
    "max_fusion_size": 10_000,
    "cpp.max_horizontal_fusion_size": 1_000,
    "cpp.enable_floating_point_contract_flag": "fast",
}
"""Inductor's options: long straight-line code in one loop, with fused multiply-adds."""


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

    @functools.cached_property
    def key(self) -> str:
        """Everything that the machine code depends on, as a name."""
        inputs = [(tuple(leaf.shape), str(leaf.dtype), str(leaf.device.type)) for leaf in self.examples]
        parts = (environment(), self.graph.code, inputs, self.members, self.threads, sorted(OPTIONS.items()))
        held = (vars(self.graph).items(), self.graph.named_parameters(), self.graph.named_buffers())
        constants = [
            (name, hashlib.blake2b(_bytes(value)).hexdigest())
            for name, value in itertools.chain(*held)
            if isinstance(value, Tensor)
        ]
        return hashlib.blake2b(repr((parts, constants)).encode(), digest_size=16).hexdigest()


def environment() -> tuple[str, ...]:
    """What machine code is made for: versions, processor, instruction set."""
    return (
        f"format {FORMAT}",
        f"bilevel {__version__}",
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


def build(plan: Plan, about: str) -> str:
    """Compile a plan into the cache, unless its package lies there already.

    Args:
        plan: what to build.
        about: what it is, in words, for `bilevel cache`.

    Returns:
        the package's key.

    Raises:
        Exception: whatever torch raises if it cannot: no compiler, an operation without a lowering.
        OSError: the cache folder cannot be written.
    """
    key = plan.key
    if not cache.package_path(key).exists():
        keep(export(plan), key, about, threads=plan.threads, operations=plan.operations)
    return key


def export(plan: Plan) -> ExportedProgram:
    """Say which lengths may change."""
    dim = torch.export.Dim("members", min=2, max=1 << 30)
    dynamic = tuple({leaf.ndim - 1: dim} if leaf.ndim else {} for leaf in plan.examples)
    with warnings.catch_warnings(), torch.no_grad():
        # torch 2.13 warns of its own use of a deprecated class in every export.
        warnings.simplefilter("ignore")
        return torch.export.export(
            plan.graph, plan.examples, dynamic_shapes=dynamic if plan.members else None
        )


def keep(program: ExportedProgram, key: str, about: str, *, threads: int, operations: int) -> None:
    """Compile a program and put its package, with a description, into the cache; as a whole or not at all.

    Args:
        program: what `export` gave.
        key: the package's name.
        about: what it is, in words.
        threads: how many it may use.
        operations: how many it has, for the description.
    """
    path = cache.package_path(key)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = cache.part_path(path)
    began = time.perf_counter()
    try:
        _compile(program, part, threads)
        described = {
            "about": about,
            "built": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - began, 1),
            "operations": operations,
            "environment": environment(),
        }
        cache.write_whole(cache.about_path(path), json.dumps(described, indent=1))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _compile(program: ExportedProgram, path: Path, threads: int) -> None:
    options = {**OPTIONS, "cpp.threads": threads}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=options)


def load(key: str) -> Run:
    """Load a package.

    Raises:
        OSError: the file is damaged.
    """
    path = cache.package_path(key)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = torch._inductor.aoti_load_package(str(path), run_single_threaded=True)
        except Exception as error:  # torch raises what its archive reader does
            raise OSError(f"the package {path} cannot be read: delete it, and it is built again") from error
    # The model's own call parses its signature anew each time, 10 us; its loader does not.
    run: Run = model.loader.run
    return run


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().view(-1)
    return bytes(flat.view(torch.uint8).numpy().tobytes()) + repr((tensor.shape, tensor.dtype)).encode()
