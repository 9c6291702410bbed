"""What does not change from step to step is made when a learner is built."""

import functools
from typing import Any

import pytest

import games
from bilevel.methods import METHODS, Placement
from bilevel.optimizers import OPTIMIZERS
from tests.bilevel.methods.configured import configured

SCHEDULED = {"inner.learning_rate": "0:0.2, 4:0.1"}
CASES = [
    ("repeated-prisoners-dilemma", "tos", {}),
    ("repeated-prisoners-dilemma", "tos", SCHEDULED | {"outer.learning_rate": "0:0.1, 4:0.05"}),
    (
        "escape-room",
        "tos",
        SCHEDULED
        | {"policy": "mlp", "inner": "ppo", "loss_weights": "learned", "policy.share_parameters": True},
    ),
    ("escape-room", "lio", SCHEDULED),
    ("coin-game", "ltos", {"inner.batch_size": 4}),
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
    smaller: dict[str, Any] = {} if game.startswith("repeated") else {"inner.episodes": 2}
    learner = configured(METHODS[method], **smaller | settings).build(games.make(game), Placement(seeds=1))
    before = len(made)
    assert before > 0
    state = learner.init(0)
    for _ in range(3):
        state, _ = learner.update(state)
    assert len(made) == before
