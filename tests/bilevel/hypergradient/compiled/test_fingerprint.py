"""The same problem has the same name in every process; another one has another."""

from __future__ import annotations

import collections
import enum
import functools
import os
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import games
from bilevel.hypergradient.compiled.fingerprint import fingerprint, name_of
from bilevel.optimisers import adam
from bilevel.step import inner_step

RATE = 0.1
THIS = sys.modules[__name__]

SCRIPT = """
import functools, operator
import torch
from bilevel.hypergradient.compiled.fingerprint import fingerprint
from bilevel.optimisers import adam
from bilevel.step import inner_step

RATE = 0.1
KINDS = {"red", "green", "blue"}
payoffs = torch.tensor([1.0, 2.0])

def make(scale, *, power=2):
    def loss(theta, phi, data):
        def term(x):
            return RATE * x ** power
        assert "red" in {"red", "green", "blue"}
        return (payoffs * torch.relu(term(theta) - scale * phi)).sum(-1)
    return loss

for RATE in (0.1, 0.2):
    print(fingerprint(inner_step(make(0.5), adam(0.1)), functools.partial(operator.add, 1), torch.add, KINDS))
"""


def in_another_process(hash_seed: int) -> list[str]:
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_two_processes_agree_and_a_changed_global_is_seen() -> None:
    (first, other), again = in_another_process(100), in_another_process(200)
    assert first != other
    assert again == [first, other]


def scaled(factor: Any, default: Any = 1) -> Callable[..., Any]:
    def function(x: Any, by: Any = default, *, power: Any = default) -> Any:
        return factor * x * by**power

    return function


@dataclass(frozen=True)
class Settings:
    rate: float
    name: str = "sgd"


class Kind(enum.Enum):
    ONE = 1
    TWO = 2


class Rated:
    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, x: Any) -> Any:
        return self.rate * x

    def method(self, x: Any) -> Any:
        return x - self.rate


MAKERS: dict[str, Callable[[Any], Any]] = {
    "closure": scaled,
    "default": functools.partial(scaled, 1.0),
    "partial": lambda value: functools.partial(scaled(1.0), value),
    "attribute": Rated,
    "method": lambda value: Rated(value).method,
    "settings": Settings,
    "tensor": lambda value: scaled(torch.full((2,), value)),
    "list": lambda value: [1, value],
    "mapping": lambda value: {"a": value},
    "set": lambda value: {value, 1.5},
}


@pytest.mark.parametrize("name", MAKERS)
def test_equal_things_are_named_alike_and_others_are_not(name: str) -> None:
    make = MAKERS[name]
    assert fingerprint(make(2.0)) == fingerprint(make(2.0))
    assert fingerprint(make(2.0)) != fingerprint(make(3.0))


def test_weights_of_a_module_count() -> None:
    one, other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    assert fingerprint(scaled(one)) != fingerprint(scaled(other))
    other.load_state_dict(one.state_dict())
    assert fingerprint(scaled(one)) == fingerprint(scaled(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        ((1,), [1]),
        ("1", 1),
        (Kind.ONE, Kind.TWO),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.zeros(2, 1), torch.zeros(1, 2)),
        (torch.zeros(2, device="meta"), torch.zeros(3, device="meta")),
        (torch.zeros(2, device="meta"), torch.zeros(2)),
        (torch.float32, torch.float64),
        (torch.add, torch.mul),
        (lambda x: x + 1, lambda x: x + 2),
        (lambda x: x + 1, lambda x: x - 1),
        (types.SimpleNamespace(a=1), types.SimpleNamespace(a=2)),
        (int, float),
        (enum, functools),
    ],
)
def test_these_are_told_apart(one: Any, other: Any) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_a_function_that_refers_to_itself_has_a_name() -> None:
    def recursive(n: int) -> int:
        return 1 if n == 0 else n * recursive(n - 1)

    assert fingerprint(recursive) == fingerprint(recursive)


def test_a_name_not_bound_yet_is_no_obstacle() -> None:
    def early() -> str:
        def inner() -> str:
            return later

        name = fingerprint(inner)
        later = name
        return inner()

    assert early() == early()


def test_globals_of_a_local_function_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def rated(x: float) -> Callable[[], float]:
        return lambda: RATE * x

    before = fingerprint(rated)
    monkeypatch.setitem(globals(), "RATE", 0.3)
    assert fingerprint(rated) != before


class Labelled(dict[str, int]):
    label = 1


class Pair(NamedTuple):
    first: float
    second: int = 1

    @property
    def total(self) -> float:
        return self.first + self.second


class Network(torch.nn.Module):
    gain = 2.0

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * self.layer(x)


class Slotted:
    __slots__ = ("rate",)


@pytest.mark.parametrize(
    ("thing", "certain"),
    [
        (scaled(1.0), True),
        (scaled(torch.ones(2)), True),
        (scaled(torch.nn.Linear(2, 1)), True),
        (inner_step(scaled(1.0), adam(0.1)), True),
        (functools.partial(torch.add, alpha=2), True),
        (Rated(1.0), True),
        (scaled(Settings), True),
        (scaled(Settings(0.5)), True),
        (Pair(1.0, 2), True),
        (games.make("chicken"), True),
        (Network(), True),
        (Slotted(), False),
        (THIS, False),
        (torch.Generator(), False),
        (object(), False),
        ({Kind.ONE}, False),
        (scaled(np.arange(5000.0)), True),
        (scaled(np.array([object()])), False),
        (scaled(slice(1, None)), True),
        (scaled(np.float64(0.5)), True),
        (collections.deque([1]), False),
        (np.random.default_rng(0), False),
        (Labelled(), True),
    ],
)
def test_a_name_is_certain_where_everything_could_be_read(thing: Any, certain: bool) -> None:
    assert name_of(thing).certain is certain


def test_what_a_class_of_ones_own_holds_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    rated, before = Rated(1.0), fingerprint(Rated(1.0))
    monkeypatch.setattr(Rated, "__call__", lambda self, x: -self.rate * x)
    assert fingerprint(rated) != before
    network = Network()
    before = fingerprint(network)
    monkeypatch.setattr(Network, "gain", 3.0)
    assert fingerprint(network) != before


def test_what_a_mapping_of_ones_own_holds_besides_counts() -> None:
    one, other = Labelled(), Labelled()
    assert fingerprint(one) == fingerprint(other)
    other.size = 2  # type: ignore[attr-defined]
    assert fingerprint(one) != fingerprint(other)


def test_no_entry_of_a_long_array_is_left_out() -> None:
    """An array's text leaves out its middle."""
    one, other = np.zeros(5000), np.zeros(5000)
    assert fingerprint(scaled(one)) == fingerprint(scaled(other))
    other[2500] = 1
    assert fingerprint(scaled(one)) != fingerprint(scaled(other))
