"""AOTInductor: machine code from a traced graph of tensors."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from bilevel.compile._functions import FlatFunction, Inputs, traceable

COMPILER_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
"""The environment variable by which a user names another folder for the compiler's own files."""

OPTIONS: dict[str, Any] = {
    "max_fusion_size": 10_000,
    "cpp.max_horizontal_fusion_size": 1_000,
    "cpp.enable_floating_point_contract_flag": "fast",
    "aot_inductor.precompile_headers": False,
    "aot_inductor.compile_wrapper_opt_level": "O0",
    "aot_inductor.enable_line_tables": False,
}
"""Inductor's options: long straight-line code in one loop, with fused multiply-adds; no precompiled headers,
which Inductor would keep, 280 MB of them, in a folder under /tmp whose name anybody can foresee. What only
calls the loops is not optimized: a seventh of the time of a build, and nothing of a call's."""


class Plan(NamedTuple):
    """A traced graph, an example of its inputs, and the number of threads to compile it for."""

    graph: fx.GraphModule
    examples: tuple[Tensor, ...]
    threads: int

    @property
    def operations(self) -> int:
        return len(self.graph.graph.nodes)


def make_plan(function: FlatFunction, inputs: Inputs) -> Plan:
    """Trace a function, by `make_fx`: export alone would take the inputs of `torch.func` for constants."""
    function, leaves = traceable("graph", function, inputs)
    with torch.no_grad():
        graph = make_fx(function, decomposition_table=_decompositions())(*leaves)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return Plan(graph, leaves, inputs.threads("graph"))


@functools.cache
def _decompositions() -> dict[Any, Callable[..., Any]]:
    table = dict(core_aten_decompositions())
    del table[torch.ops.aten._softmax_backward_data.default]  # as short as it can be
    return table


def compile_graph(plan: Plan, path: Path) -> None:
    """Compile a graph into a package at this path; the compiler's files lie beside it."""
    options = {**OPTIONS, "cpp.threads": plan.threads}
    with warnings.catch_warnings(), torch.no_grad():
        # torch 2.13 warns of its own use of a deprecated class in every export.
        warnings.simplefilter("ignore")
        program = torch.export.export(plan.graph, plan.examples)
        with _inductor_in(path.parent / "inductor"):
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(path), inductor_configs=options
            )


@contextlib.contextmanager
def _inductor_in(folder: Path) -> Iterator[None]:
    """Set Inductor's folder, unless the user named one.

    Its own default, set in the environment at import, lies under /tmp with a name that anybody can foresee.
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


def open_graph(path: Path, folder: Path) -> Callable[[list[Tensor]], list[Tensor]]:
    """Load a package; `folder` is that of the compiler's own files. OSError if it cannot be read."""
    # Loading asks what the processor can do, of a program that is compiled for that, once, and kept.
    with warnings.catch_warnings(), _inductor_in(folder):
        warnings.simplefilter("ignore")
        try:
            model = torch._inductor.aoti_load_package(str(path), run_single_threaded=True)
        except Exception as error:  # torch raises what its archive reader does
            raise OSError(f"the package {path} cannot be loaded") from error
    # The model's own call parses its signature anew each time, 10 us; its loader does not.
    run: Callable[[list[Tensor]], list[Tensor]] = model.loader.run
    return run
