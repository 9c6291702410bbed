"""No outer step synchronizes with the device at every environment step.

To read a number of a tensor, as `.item()` and `bool(tensor)` do, or a shape that depends on its content,
the program waits for a GPU. Such operations are counted, on any device, for episodes of two lengths: there
must be as many for the longer ones.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import games
from bilevel.experiments import configured, default_config
from bilevel.methods import METHODS

WAITING = {
    "aten._local_scalar_dense.default",
    "aten.equal.default",
    "aten.is_nonzero.default",
    "aten.masked_select.default",
    "aten.nonzero.default",
    "aten._unique2.default",
    "aten.unique_dim.default",
}
"""Operations whose results the program itself needs."""
EXACT = {"d3c", "meva", "m-fos", "coala-pg"}
"""Methods that do not learn the coin game."""


class Waiting(TorchDispatchMode):
    """Counts the operations that wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(operation) in WAITING:
            self.count[str(operation)] += 1
        return operation(*args, **(kwargs or {}))


def waits(game: str, method: str, horizon: int) -> Counter[str]:
    """Count what waits in the second outer step."""
    settings = {"seeds": 2, "compile": "never", "game.horizon": horizon, "inner.episodes": 8}
    learner = configured(default_config(game, method), settings).build_learner()
    state, _ = learner.update(learner.init(0))
    with Waiting() as counted:
        learner.update(state)
    return counted.count


def test_what_waits_is_counted() -> None:
    with Waiting() as counted:
        assert torch.ones(2).sum().item() == 2
    assert counted.count == {"aten._local_scalar_dense.default": 1}


@pytest.mark.parametrize("method", [name for name in METHODS if name not in EXACT])
def test_methods_do_not_wait_in_every_environment_step(method: str) -> None:
    assert waits("coin-game", method, 4) == waits("coin-game", method, 8)


@pytest.mark.parametrize(
    "game",
    [
        name
        for name in games.names()
        if {"horizon"} <= set(getattr(games.make(name), "__dataclass_fields__", ()))
        and not default_config(name, "selfish").exact
    ],
)
def test_games_do_not_wait_in_every_environment_step(game: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("games.grid._social.SELECTING", set())  # as on a GPU
    assert waits(game, "selfish", 4) == waits(game, "selfish", 8)


@pytest.mark.parametrize("game", ["cleanup", "cleanup-lio-7x7", "harvest"])
def test_beams_of_all_agents_are_those_of_the_agents_that_fire(
    game: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def final() -> Any:
        settings = {"seeds": 2, "compile": "never", "game.horizon": 30, "inner.episodes": 8}
        learner = configured(default_config(game, "selfish"), settings).build_learner()
        state, metrics = learner.update(learner.init(0))
        return state["theta"], metrics

    selected = final()
    monkeypatch.setattr("games.grid._social.SELECTING", set())
    torch.testing.assert_close(final(), selected, rtol=0, atol=0)
