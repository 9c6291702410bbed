"""Gifts as a transfer: what is reckoned from episodes is what the game itself reckoned, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import games
from bilevel.agents import MLP, Trajectory
from bilevel.agents._rollout import rollout
from bilevel.methods._gifting import ChosenGifts
from games.matrix import EscapeRoom
from games.wrappers import GiftGame, GiftRules

RULES = [
    GiftRules(amount=1.5),
    GiftRules(amount=1.5, budget="fixed", purse=4.0),
    GiftRules(amount=6.0, budget="replenishable", purse=2.0),
]
every_budget = pytest.mark.parametrize("rules", RULES, ids=lambda rules: rules.budget)
SEEDS, EPISODES = 2, 16


@dataclass(frozen=True, kw_only=True)
class Watched(GiftGame):
    """Keeps what was given and what was left, by the game's own account."""

    seen: list[tuple[Tensor, Tensor]]

    def step(self, state: Any, actions: Tensor, generator: torch.Generator) -> Any:
        after, rewards, done = super().step(state, actions, generator)
        self.seen.append((after.given, after.purse))
        return after, rewards, done


def played(rules: GiftRules) -> tuple[ChosenGifts, Trajectory, list[tuple[Tensor, Tensor]]]:
    """Random play of three agents, of which some leave early."""
    game = Watched(game=EscapeRoom(agents=3), rules=rules, separate=True, seen=[])
    policy, gifts = MLP(game.observation_space.shape[0], 6, (4,)), ChosenGifts(game)
    generator = torch.Generator().manual_seed(0)
    theta = policy.initial(generator, SEEDS, 3)
    torch.set_default_dtype(torch.float64)  # games pay in the default type
    try:
        return gifts, rollout(game, policy, theta, gifts, EPISODES, generator), game.seen
    finally:
        torch.set_default_dtype(torch.float32)


def by_seed(values: Tensor) -> Tensor:
    """[seed * episode, ...] -> [seed, ..., episode]."""
    return values.reshape(SEEDS, EPISODES, *values.shape[1:]).movedim(1, -1)


@every_budget
def test_gifts_are_those_that_the_game_saw(rules: GiftRules) -> None:
    gifts, episodes, seen = played(rules)
    found = gifts.gifts(episodes)
    mask = episodes.mask.squeeze(1)  # [seed, time, episode]
    assert 0 < mask.mean() < 1
    for time, (told, _) in enumerate(seen):
        expected = by_seed(told) * mask[:, None, None, time]
        torch.testing.assert_close(found[:, :, :, time], expected, rtol=0, atol=1e-12)
    assert (found.sum((1, 2, 3, 4)) > 0).all()
    if rules.source.limited:
        least = torch.stack([purse for _, purse in seen]).min()
        assert 0 <= least < rules.amount  # some purse ran dry, which is what has to be followed


@every_budget
def test_rewards_are_the_games_own_with_what_is_received_and_paid(rules: GiftRules) -> None:
    gifts, episodes, _ = played(rules)
    found, given = gifts.rewards(episodes), gifts.gifts(episodes)
    expected = episodes.rewards + given.sum(1) - (given.sum(2) if rules.source.pays else 0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    if rules.source.pays:
        torch.testing.assert_close(found.sum(1), episodes.rewards.sum(1), rtol=0, atol=1e-11)


@every_budget
def test_the_report_is_of_an_episode(rules: GiftRules) -> None:
    gifts, episodes, _ = played(rules)
    report, total = gifts.report(episodes), gifts.gifts(episodes).sum(-2).mean(-1)
    assert len(report) == 1 + 3 * 2
    torch.testing.assert_close(report["incentive_2_0"], total[:, 2, 0], rtol=0, atol=1e-12)
    torch.testing.assert_close(report["given"], total.sum((1, 2)) / 3, rtol=0, atol=1e-12)
    assert gifts.report(None) == {}


def test_nothing_else_tells_the_game_of_gifts() -> None:
    game = GiftGame(game=games.make("escape-room"), rules=RULES[0], separate=True)
    assert not game.takes_gifts
    assert ChosenGifts(game).initial(0, 5).shape == (5, 0)
