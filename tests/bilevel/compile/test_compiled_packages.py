"""Machine code: what is built, loaded and run gives what the functions give, in this process and the next."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bilevel.compile import Compiled
from bilevel.compile import _aoti as aoti
from bilevel.compile import _c_source as c_source
from bilevel.compile import _cache as cache
from bilevel.core import inner_step
from bilevel.hypergradient import BilevelProblem, Forward, Unrolled
from bilevel.optimizers import adam, sgd


def assert_same(estimator: Any, start: Any, tolerance: float, steps: int = 4) -> None:
    """Two calls: the first builds."""
    problem, *inputs = start
    expected = estimator(problem, *inputs, steps=steps)
    for _ in range(2):
        found = Compiled(estimator)(problem, *inputs, steps=steps)
        for name in ("gradient", "theta", "outer_loss"):
            one, other = getattr(found, name), getattr(expected, name)
            torch.testing.assert_close(one, other, rtol=0, atol=tolerance * float(other.abs().max()))


def kinds() -> list[str]:
    """What the packages in the cache are of."""
    return sorted(package.about["about"].partition(" of ")[0] for package in cache.packages())


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)], ids=["double", "single"]
)
def test_written_out_for_any_number_of_members(
    dtype: torch.dtype, tolerance: float, start: Callable[..., Any], shared_cache: Path
) -> None:
    estimator, optimizer = Unrolled(), adam(0.1)
    assert_same(estimator, start(optimizer, dtype=dtype), tolerance)
    built = kinds()
    for members in (2, 5, 300):
        assert_same(estimator, start(optimizer, members=members, dtype=dtype), tolerance)
    assert kinds() == built


def test_tangents(start: Callable[..., Any], shared_cache: Path) -> None:
    problem, *inputs = start(adam(0.1))
    drawn = dataclasses.replace(problem, inner_data=lambda theta, phi, k: None)
    assert_same(Forward(batch_dims=1), (drawn, *inputs), 1e-12)
    assert "jvp" in kinds()


def meeting() -> tuple[BilevelProblem, Tensor, Any, Tensor]:
    """Members that see each other's mean: plain tensors."""
    generator = torch.Generator().manual_seed(1)
    theta = torch.randn(4, 2, generator=generator, dtype=torch.float64)

    def loss(theta: Tensor, phi: Tensor, data: None) -> Tensor:
        return (theta - phi).square().sum(-1) + (theta - theta.mean(0)).pow(4).sum(-1)

    def outer_loss(theta: Tensor, phi: Tensor, data: None) -> Tensor:
        return (theta.mean() - phi).square().sum()

    problem = BilevelProblem(step=inner_step(loss, sgd(0.05)), outer_loss=outer_loss)
    return problem, theta, sgd(0.05).init(theta), theta.cos()


def test_what_is_not_written_out_is_one_graph_of_all_steps(
    shared_cache: Path, as_new: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c_source, "MAX_SCALARS", 10)
    before = set(shared_cache.glob("*.pt2"))
    assert_same(Unrolled(), meeting(), 1e-12)
    as_new()
    problem, *inputs = meeting()
    Compiled(Unrolled())(problem, *inputs, steps=4)
    assert len(set(shared_cache.glob("*.pt2")) - before) == 1


SCRIPT = """
import sys
import torch
from bilevel.hypergradient import BilevelProblem, Unrolled
from bilevel.compile import Compiled
from bilevel.compile import _cache as cache
from bilevel.optimizers import momentum
from bilevel.core import inner_step

before = len(cache.packages())
optimizer = momentum(0.1, 0.9)
problem = BilevelProblem(
    step=inner_step(lambda theta, phi, data: (theta - phi.exp()).square().sum(-1), optimizer),
    outer_loss=lambda theta, phi, data: theta.square().sum(-1),
)
for members in (2, 3):
    theta = torch.linspace(-1, 1, 2 * members, dtype=torch.float64).reshape(members, 2)
    found, expected = (
        estimator(problem, theta, optimizer.init(theta), theta.cos(), steps=3)
        for estimator in (Compiled(Unrolled()), Unrolled())
    )
    torch.testing.assert_close(found.gradient, expected.gradient, rtol=1e-12, atol=1e-12)
print(len(cache.packages()) - before)
assert not [name for name in sys.modules if name.startswith(("torch._inductor", "torch._dynamo"))]
"""


def test_the_next_process_builds_nothing_and_no_process_uses_a_folder_of_foreseeable_name(
    shared_cache: Path, tmp_path: Path
) -> None:
    built = []
    environment = {name: value for name, value in os.environ.items() if name != aoti.COMPILER_FOLDER}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", SCRIPT],
            env={**environment, "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        built.append(int(done.stdout))
    assert built == [1, 0]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_package_says_what_it_is(start: Callable[..., Any], shared_cache: Path) -> None:
    assert_same(Unrolled(), start(adam(0.1)), 1e-12)
    about = cache.packages()[0].about
    assert " of " in about["about"]
    assert f"torch {torch.__version__}" in about["environment"]
    assert about["seconds"] > 0
    assert about["operations"] > 0
