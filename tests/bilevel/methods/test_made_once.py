"""What does not change from step to step is made when a learner is built."""

import functools
from typing import Any

import pytest

import games
from bilevel.methods import METHODS, Placement
from bilevel.optimizers import OPTIMIZERS

SCHEDULED = {"inner_learning_rate": "0:0.2, 4:0.1"}
CASES = [
    ("repeated-prisoners-dilemma", "tos", {}),
    ("repeated-prisoners-dilemma", "tos", SCHEDULED | {"outer_learning_rate": "0:0.1, 4:0.05"}),
    (
        "escape-room",
        "tos",
        SCHEDULED | {"share_parameters": True, "inner_learner": "ppo", "learn_loss_weights": True},
    ),
    ("escape-room", "lio", SCHEDULED),
    ("coin-game", "ltos", {"batch_size": 4}),
]


@pytest.mark.parametrize(("game", "method", "settings"), CASES)
def test_optimizers(
    game: str, method: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def counted(make: Any) -> Any:
        @functools.wraps(make)
        def counting(*args: Any, **kwargs: Any) -> Any:
            made.append(make.__name__)
            return make(*args, **kwargs)

        return counting

    for name, make in list(OPTIMIZERS.items()):
        monkeypatch.setitem(OPTIMIZERS, name, counted(make))
    smaller: dict[str, Any] = {} if game.startswith("repeated") else {"episodes": 2}
    learner = METHODS[method](**(smaller | settings)).build(games.make(game), Placement(seeds=1))
    before = len(made)
    assert before > 0
    state = learner.init(0)
    for _ in range(3):
        state, _ = learner.update(state)
    assert len(made) == before
