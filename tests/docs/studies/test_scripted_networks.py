"""The study behind routing-and-traffic.md: its scripts against those of the games, and its ascents."""

from __future__ import annotations

import functools

import pytest
import torch

import games
from docs.studies.scripted_networks import (
    ADMIT,
    ROADS,
    SMALL_TRAFFIC,
    ascend,
    print_scores,
    returns,
    signals,
    wait_or_push,
)


def test_pushers_follow_shortest_paths_whatever_the_loads() -> None:
    game = games.make("routing", agents=4, routers=5, horizon=20)
    pushers = torch.ones(4, dtype=torch.bool)
    found = returns(game, functools.partial(wait_or_push, game, pushers=pushers), 8)
    torch.testing.assert_close(found, returns(game, game.shortest_paths, 8), rtol=0, atol=0)


def test_packets_that_wait_are_never_rejected_alone() -> None:
    game = games.make("routing", agents=1, routers=5, horizon=20)
    script = functools.partial(wait_or_push, game, pushers=torch.zeros(1, dtype=torch.bool))
    found = returns(game, script, 8)
    assert (found % game.arrival_reward == 0).all()
    assert found.sum() > 0


def test_a_signal_serves_its_longest_queue() -> None:
    game = games.make("traffic", rows=1, columns=1, demand=0.0)
    state = game.reset(4, torch.Generator())
    for phase, (side, turn) in enumerate(((0, 1), (2, 0), (1, 2), (3, 0))):
        state.queues[phase, 0, side, turn] = 6.0
    chosen = signals(game, state, torch.zeros(3))
    assert chosen[:, 0].tolist() == [0, 1, 2, 3]
    assert chosen.tolist() == game.max_pressure(state).tolist()  # no roads ahead


def test_of_one_signal_own_return_is_the_welfare() -> None:
    game = games.make("traffic", rows=1, columns=1, horizon=10, demand=0.3)
    torch.testing.assert_close(ascend(game, True, 2), ascend(game, False, 2), rtol=0, atol=0)


def test_each_script_has_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_scores(episodes=2, full=False)
    names = [line.split(" | ")[0] for line in capsys.readouterr().out.splitlines()]
    assert len(names) == len(set(names)) == 5


def test_on_short_roads_a_signal_gains_and_the_others_lose_if_it_lets_vehicles_in() -> None:
    game = games.make("traffic", **SMALL_TRAFFIC, **ROADS["demand 0.2, short roads"])
    everybody = torch.tensor(ADMIT).repeat(9, 1)
    one = torch.zeros(9, 3)
    one[1] = everybody[1]
    before, after, jammed = (
        returns(game, functools.partial(signals, game, theta=theta), 16)
        for theta in (torch.zeros(3), one, everybody)
    )
    change = (after - before).mean(0)
    assert change[1] > 0
    assert change.sum() < 0
    assert jammed.sum(1).mean() < 1.1 * before.sum(1).mean()
