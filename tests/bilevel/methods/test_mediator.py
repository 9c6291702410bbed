"""The mediator: committing is learned where theory says it pays, exactly and on episodes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import games
from bilevel.methods import Mediator, Placement
from games.core import Game
from tests.bilevel.methods.configured import configured

DILEMMA = games.make("prisoners-dilemma")


def built(game: Game = DILEMMA, /, **settings: Any) -> Any:
    """Two underscores stand for the dot of a part; `seeds` is the placement's."""
    seeds = settings.pop("seeds", 4)
    return configured(Mediator, **settings).build(game, Placement(seeds=seeds))


def trained(learner: Any, updates: int) -> tuple[Any, Any]:
    state = learner.init(0)
    for _ in range(updates):
        state, metrics = learner.update(state)
    return state, metrics


def test_one_step_in_the_dilemma_has_its_closed_form() -> None:
    """Agent 0 gains by committing: 1 over defection if agent 1 commits, else nothing."""
    learner = built(seeds=1, inner__learning_rate=0.5)
    state = learner.init(0)
    logits = state["theta"][0].reshape(2, 3)
    (p, q, c), other = logits[0].softmax(-1), logits[1].softmax(-1)
    against = {  # agent 0's payoffs of cooperating, defecting and committing
        0: (-1.0, 0.0, 0.0),
        1: (-3.0, -2.0, -2.0),
        2: (-3.0, -2.0, -1.0),
    }
    payoffs = sum(other[action] * torch.tensor(values).double() for action, values in against.items())
    own = torch.stack((p, q, c))
    slope = own * (payoffs - own @ payoffs)
    after, _ = learner.update(state)
    expected = logits[0] + 0.5 * slope
    torch.testing.assert_close(after["theta"][0, 0].flatten(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("exact", [True, False])
def test_the_dilemma_is_solved(exact: bool) -> None:
    _, metrics = trained(built(inner__exact=exact, inner__episodes=64), 200)
    assert (metrics["committed"] > 0.9).all()
    assert (metrics["welfare"] > -2.4).all()


def test_commitments_are_counted_alike() -> None:
    """The exact rate is the expectation of the sampled one."""
    exact, sampled = (built(seeds=1, inner__exact=choice, inner__episodes=20_000) for choice in (True, False))
    state = exact.init(0)
    found, expected = (learner.update(state)[1]["committed"] for learner in (sampled, exact))
    assert abs(float(found - expected)) < 0.05
    assert 0 < float(expected) < 1


def test_a_costly_role_is_no_reason_to_commit() -> None:
    """In the Escape Room, if all commit, the script sends agent 0 to the lever: it loses and agent 1 wins."""
    game = Mediator().training_game(games.make("escape-room"))
    generator = torch.Generator().manual_seed(0)
    state, total = game.reset(1, generator), torch.zeros(1, 2)
    for _ in range(game.horizon):
        state, rewards, done = game.step(state, torch.full((1, 2), 3), generator)
        total += rewards
        if done.all():
            break
    assert total[0, 0] < 0 < total[0, 1]


def test_games_without_a_script_are_refused() -> None:
    with pytest.raises(ValueError, match="Braess has none"):
        built(games.make("braess"))
