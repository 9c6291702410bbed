"""Machine code belongs to the device whose tensors it reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optree
import pytest
import torch

from bilevel.compile import Compiled, CompiledFunction, how_it_runs
from bilevel.compile._functions import Inputs, Members
from bilevel.compile._program import PackageRequest, package_key
from bilevel.hypergradient import Unrolled


def request_on(device: str) -> PackageRequest:
    leaf = torch.ones(3, 2, device=device)
    return PackageRequest("doubling", lambda x: (2 * x,), Inputs((leaf,), (0,), Members.of([leaf])), 0)


def test_c_reads_the_memory_of_the_cpu_alone() -> None:
    assert package_key("c", request_on("cpu")) is not None
    assert package_key("c", request_on("meta")) is None


def test_graphs_of_two_devices_are_two_packages() -> None:
    assert package_key("graph", request_on("cpu")) != package_key("graph", request_on("meta"))


def test_a_function_of_tensors_elsewhere_runs_eagerly(built: list[str]) -> None:
    function = CompiledFunction(lambda x: 2 * x, "doubling")
    assert function(torch.ones(3, 2, device="meta")).device.type == "meta"
    assert not built


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@pytest.mark.parametrize("members", [1, 64])
def test_compiled_steps_on_a_gpu(members: int, start: Callable[..., Any], shared_cache: Path) -> None:
    cpu = start(members=members)
    moved = optree.tree_map(lambda leaf: leaf.cuda(), (cpu.theta, cpu.opt_state, cpu.phi))
    expected = Unrolled()(cpu.problem, cpu.theta, cpu.opt_state, cpu.phi, steps=3)
    problem = dataclasses.replace(cpu.problem)
    found = Compiled(Unrolled())(problem, *moved, steps=3)
    assert how_it_runs(problem.step) == "compiled"
    assert found.gradient.device.type == "cuda"
    torch.testing.assert_close(found.gradient.cpu(), expected.gradient, rtol=1e-9, atol=1e-12)
