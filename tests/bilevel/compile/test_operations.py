"""The digest of a graph: the same in every process, another for anything that the function computes with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import games
from bilevel.compile._operations import TooManyOperationsError, operations_digest
from bilevel.core import inner_step
from bilevel.optimizers import adam

ONE = torch.linspace(0.1, 0.9, 3)
RATE = 1.0


def digest(function: Callable[..., Any], *inputs: Tensor) -> str:
    return operations_digest(lambda *flat: (function(*flat),), inputs or (ONE,))


def scaled(x: Tensor) -> Tensor:
    return scaled.scale * x  # type: ignore[attr-defined]


class Scale:
    __slots__ = ("rate",)

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, x: Tensor) -> Tensor:
        return self.rate * x


def by_attribute(value: float) -> Callable[[Tensor], Tensor]:
    scaled.scale = value  # type: ignore[attr-defined]
    return scaled


def by_environment(value: float) -> Callable[[Tensor], Tensor]:
    os.environ["SCALE"] = str(value)
    return lambda x: float(os.environ["SCALE"]) * x


def by_global(value: float) -> Callable[[Tensor], Tensor]:
    globals()["RATE"] = value
    return lambda x: RATE * x


def by_tensor(held: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: x.sum() * held


MAKERS: dict[str, Callable[[float], Callable[[Tensor], Tensor]]] = {
    "an attribute of the function": by_attribute,
    "the environment": by_environment,
    "a global": by_global,
    "a closure": lambda value: lambda x: value * x,
    "an object without a __dict__": Scale,
    "a number": lambda value: lambda x: torch.full((3,), value) * x,
    "a tensor": lambda value: by_tensor(torch.tensor([1.0, value, 2.0])),
    "a long tensor's middle": lambda value: by_tensor(
        torch.cat((torch.zeros(5000), torch.tensor([value]), torch.zeros(5000)))
    ),
    "a parameter": lambda value: by_tensor(torch.nn.Parameter(torch.full((1,), value))),
    "an option": lambda value: lambda x: torch.add(x, x, alpha=value),
    "the derivative": lambda value: torch.func.grad(lambda x: (x**value).sum()),
    "a tangent": lambda value: lambda x: torch.func.jvp(lambda y: (y * value).sin(), (x,), (x,))[1],
}


@pytest.mark.parametrize("name", MAKERS)
def test_whatever_a_function_reads_counts_by_its_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALE", "1")
    found = [digest(MAKERS[name](value)) for value in (2.0, 3.0, 2.0)]
    assert found[0] == found[2]
    assert found[0] != found[1]


def test_inputs_count_by_their_form_alone() -> None:
    def double(x: Tensor) -> Tensor:
        return 2 * x

    assert digest(double, ONE) == digest(double, 5 * ONE)
    assert digest(double, ONE) != digest(double, ONE.double())
    assert digest(double, ONE) != digest(double, ONE[:2])


def test_which_input_is_read_counts() -> None:
    first, second = (digest(lambda *flat, i=i: flat[i].sin(), ONE, ONE.clone()) for i in (0, 1))
    assert first != second


def test_which_result_is_given_counts() -> None:
    def two(x: Tensor) -> tuple[Tensor, Tensor]:
        return x.sin(), x.cos()

    assert operations_digest(two, (ONE,)) != operations_digest(lambda x: two(x)[::-1], (ONE,))


@pytest.mark.parametrize(("one", "other"), [(0.0, -0.0), (1, 1.0), (1, True), (0.1, 0.1 + 1e-17)])
def test_numbers_that_compute_otherwise_are_told_apart(one: Any, other: Any) -> None:
    same = repr(one) == repr(other)
    found = [digest(lambda x, n=n: torch.where(x > 0.5, x, torch.full_like(x, n))) for n in (one, other)]
    assert (found[0] == found[1]) is same


def test_what_does_not_enter_the_graph_does_not_count() -> None:
    def commented(x: Tensor) -> Tensor:
        """Double it."""
        unused = "a name"  # noqa: F841
        return 2 * x

    assert digest(commented) == digest(lambda x: 2 * x)


def test_more_operations_than_wanted_are_refused() -> None:
    def long(x: Tensor) -> tuple[Tensor]:
        for _ in range(100):
            x = x.sin()
        return (x,)

    operations_digest(long, (ONE,), max_operations=100)
    with pytest.raises(TooManyOperationsError):
        operations_digest(long, (ONE,), max_operations=99)


def game_step() -> Callable[..., tuple[Tensor, ...]]:
    game, optimizer = games.make("repeated-prisoners-dilemma"), adam(0.1)

    def loss(theta: Tensor, phi: Tensor, data: None) -> Tensor:
        policies = torch.stack((theta.sigmoid(), 1 - theta.sigmoid()), -1)
        return (game.values(policies) * phi).sum()

    step = inner_step(loss, optimizer)

    def flat(theta: Tensor, phi: Tensor) -> tuple[Tensor, ...]:
        return step(theta, optimizer.init(theta), phi, None)[:1]

    return flat


SCRIPT = """
import torch
from tests.bilevel.compile.test_operations import game_step
from bilevel.compile._operations import operations_digest
print(operations_digest(game_step(), (torch.zeros(2, 5), torch.ones(2))))
"""


def test_two_processes_agree() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONHASHSEED": "100", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == operations_digest(game_step(), (torch.zeros(2, 5), torch.ones(2)))
