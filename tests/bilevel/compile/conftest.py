"""Compiled kernels under test: a cache of their own, and graphs that run as they are where that will do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from bilevel.compile import _cache as cache
from bilevel.compile import _program as program
from bilevel.core import Tree, inner_step
from bilevel.hypergradient import BilevelProblem
from bilevel.optimizers import GradientTransformation, sgd
from tests.bilevel.compile.graphs import run_graphs_as_they_are


class Start(NamedTuple):
    """A problem and where its learning starts."""

    problem: BilevelProblem
    theta: Tree
    opt_state: Tree
    phi: Tree


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and a process that has seen no problem yet."""
    folder = tmp_path / "packages"
    monkeypatch.setenv(cache.VARIABLE, str(folder))
    forget()
    yield folder
    forget()


def forget() -> None:
    program.forget()


@pytest.fixture
def as_new() -> Callable[[], None]:
    """Make this process forget, as if it were another that shares the cache."""
    return forget


@pytest.fixture
def shared_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One cache for the whole session: what was built once is built."""
    folder = tmp_path_factory.getbasetemp() / "shared-packages"
    monkeypatch.setenv(cache.VARIABLE, str(folder))
    return folder


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """List what is compiled; graphs of plain tensors run as they are, without the C++ compiler."""
    yield run_graphs_as_they_are(monkeypatch)
    shutil.rmtree(cache.folder(), ignore_errors=True)


def quadratic(
    optimizer: GradientTransformation | None = None,
    *,
    members: int | None = 3,
    dtype: torch.dtype = torch.float64,
    per_agent_objective: bool = False,
) -> Start:
    """theta [member, 2] descends a loss in which its two entries meet; phi [member, 3] bends it."""
    optimizer = optimizer or sgd(0.1)
    generator = torch.Generator().manual_seed(members or 0)
    shape = () if members is None else (members,)
    theta = torch.randn(*shape, 2, generator=generator, dtype=torch.float64).to(dtype)
    phi = torch.randn(*shape, 3, generator=generator, dtype=torch.float64).to(dtype)

    def loss(theta: Tensor, phi: Tensor, data: None) -> Tensor:
        u, v = theta.unbind(-1)
        a, b, c = phi.unbind(-1)
        return (u - a) ** 2 + (v - b) ** 2 * torch.exp(0.3 * c) + torch.sin(u * v)

    def outer_loss(theta: Tensor, phi: Tensor, data: None) -> Tensor:
        one = (theta - 1).square().sum(-1) + 0.1 * phi.square().sum(-1)
        return torch.stack((one, theta[..., 0] * theta[..., 1])) if per_agent_objective else one

    problem = BilevelProblem(
        step=inner_step(loss, optimizer), outer_loss=outer_loss, per_agent_objective=per_agent_objective
    )
    return Start(problem, theta, optimizer.init(theta), phi)


@pytest.fixture(scope="session")
def start() -> Callable[..., Start]:
    return quadratic
