"""The contract test of games, on a right game and on wrong ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from bilevel.agents import random_actor
from bilevel.report import film
from games import Game, check_game, make, uniform
from games.adapters import parallel_env
from games.matrix import NormalForm
from games.wrappers import gift_actions, shared, zero_sum


class DiceState(NamedTuple):
    time: Tensor
    face: Tensor


@dataclass(frozen=True, kw_only=True)
class Dice(Game):
    """Two agents guess a die that is thrown in every step."""

    agents: int = 2
    horizon: int = 3

    num_agents = property(lambda self: self.agents)
    action_space = property(lambda self: spaces.Discrete(6))
    observation_space = property(lambda self: spaces.Discrete(6))

    def throw(self, batch: int, generator: torch.Generator) -> Tensor:
        return (uniform((batch,), generator) * 6).long()

    def reset(self, batch: int, generator: torch.Generator) -> Any:
        return DiceState(torch.zeros(batch, dtype=torch.int64), self.throw(batch, generator))

    def observe(self, state: Any) -> Tensor:
        return state.face[:, None].expand(-1, self.agents)

    def step(self, state: Any, actions: Tensor, generator: torch.Generator) -> Any:
        after = DiceState(state.time + 1, self.throw(len(actions), generator))
        return after, (actions == after.face[:, None]).float(), after.time >= self.horizon


def test_a_right_game_passes() -> None:
    check_game(Dice())


def test_a_game_that_is_not_drawn_is_played_all_the_same() -> None:
    view = parallel_env(Dice(), render_mode="rgb_array")
    view.reset(seed=0)
    view.step({"agent_0": 0, "agent_1": 1})
    for draw in (view.render, lambda: next(film(Dice(), random_actor(Dice()), torch.Generator()))):
        with pytest.raises(ValueError, match=r"Dice cannot be drawn: it has no method render\(state"):
            draw()
    assert not Dice().can_render
    assert make("chicken").can_render


@pytest.mark.parametrize(
    "game",
    [
        gift_actions(make("escape-room"), amount=2.0),
        gift_actions(make("prisoners-dilemma"), amount=2.0, budget="fixed", purse=1.0),
        shared(make("stag-hunt-grid"), torch.full((4, 4), 0.25)),
        zero_sum(make("repeated-chicken")),
    ],
    ids=lambda game: type(game).__name__,
)
def test_wrapped_games_pass(game: Game) -> None:
    check_game(game)


class ListState(Dice):
    def reset(self, batch: int, generator: torch.Generator) -> Any:
        return list(super().reset(batch, generator))


class NumberInState(Dice):
    def reset(self, batch: int, generator: torch.Generator) -> Any:
        return super().reset(batch, generator)._replace(time=0)


class FloatObservations(Dice):
    def observe(self, state: Any) -> Tensor:
        return super().observe(state).float()


class OutsideItsSpace(Dice):
    def observe(self, state: Any) -> Tensor:
        return super().observe(state) + 1


class IntegerRewards(Dice):
    def step(self, state: Any, actions: Tensor, generator: torch.Generator) -> Any:
        after, rewards, done = super().step(state, actions, generator)
        return after, rewards.long(), done


class InfiniteRewards(Dice):
    def step(self, state: Any, actions: Tensor, generator: torch.Generator) -> Any:
        after, rewards, done = super().step(state, actions, generator)
        return after, rewards / 0, done


class DoneByAgent(Dice):
    def step(self, state: Any, actions: Tensor, generator: torch.Generator) -> Any:
        after, rewards, done = super().step(state, actions, generator)
        return after, rewards, done[:, None].expand(-1, 2)


class NeverDone(Dice):
    def step(self, state: Any, actions: Tensor, generator: torch.Generator) -> Any:
        after, rewards, done = super().step(state, actions, generator)
        return after, rewards, done & False


class InPlace(Dice):
    def step(self, state: Any, actions: Tensor, generator: torch.Generator) -> Any:
        state.time.add_(1)
        return super().step(state._replace(time=state.time - 1), actions, generator)


class OwnDraws(Dice):
    def throw(self, batch: int, generator: torch.Generator) -> Tensor:
        return torch.randint(6, (batch,))


class SharedDie(Dice):
    def throw(self, batch: int, generator: torch.Generator) -> Tensor:
        return super().throw(batch, generator).cumsum(0) % 6


class ByRowsInName(Dice):
    draws_by_rows = property(lambda self: True)

    def throw(self, batch: int, generator: torch.Generator) -> Tensor:
        return torch.randint(6, (batch,), generator=generator)


class OneName(Dice):
    action_names = property(lambda self: ("guess",))


class NoNeighbors(Dice):
    neighbors = property(lambda self: torch.zeros(2, 2, dtype=torch.bool))


class PaysTheAbsent(Dice):
    def present(self, state: Any) -> Tensor:
        return (state.time < 1)[:, None].expand(-1, 2)

    def step(self, state: Any, actions: Tensor, generator: torch.Generator) -> Any:
        after, rewards, done = super().step(state, actions, generator)
        return after, rewards + 1, done


class BadScript(Dice):
    def scripted(self, state: Any, cooperative: Tensor) -> Tensor:
        return 6 * cooperative.long()


class FloatFrame(Dice):
    def render(self, state: Any, index: int = 0, scale: float = 1.0) -> np.ndarray:
        return np.zeros((2, 2, 3))


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (ListState, r"reset must give its state as a NamedTuple of tensors, not as list"),
        (NumberInState, r"a tensor whose first axis is the batch, 4 copies; reset gives 0"),
        (FloatObservations, r"observe\(state\) must be integer of shape \[4, 2\], not torch.float32"),
        (OutsideItsSpace, r"must lie in observation_space, Discrete\(6\); some observation does not"),
        (
            IntegerRewards,
            r"rewards of .* must be floating of shape \[4, 2\], not torch.int64",
        ),
        (InfiniteRewards, r"must be finite numbers"),
        (DoneByAgent, r"done, must be bool of shape \[4\], not torch.bool of shape \[4, 2\]"),
        (NeverDone, r"at the horizon, step 3, but nowhere else; it does not in step 3"),
        (InPlace, r"must not change the state that it is given"),
        (OwnDraws, r"another episode when it starts from the same generator"),
        (SharedDie, r"another episode with one seed alone than with that seed in a batch"),
        (ByRowsInName, r"says that it draws by rows, but it draws with torch's own functions"),
        (OneName, r"action_names must name each of 6 actions; it has 1 names"),
        (NoNeighbors, r"neighbors must be True on its diagonal"),
        (PaysTheAbsent, r"pays an agent that has left"),
        (BadScript, r"scripted\(state, cooperative\) must choose legal actions"),
        (FloatFrame, r"must give one frame, a uint8 array \[height, width, 3\]"),
    ],
)
def test_wrong_games_are_refused(kind: type[Dice], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_game(kind())


def test_what_is_no_game_is_refused() -> None:
    with pytest.raises(ValueError, match=r"derived from games.Game, and str is not"):
        check_game("chicken")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"horizon must be a whole number of steps, 1 or more, not 0"):
        check_game(Dice(horizon=0))


PENNIES = (((1, -1), (-1, 1)), ((-1, 1), (1, -1)))


@dataclass(frozen=True, kw_only=True)
class OtherValues(NormalForm):
    def values(self, policies: Tensor) -> Tensor:
        return super().values(policies) + 0.5


@dataclass(frozen=True, kw_only=True)
class DetachedValues(NormalForm):
    def values(self, policies: Tensor) -> Tensor:
        return super().values(policies).detach()


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (OtherValues, r"values must be the expectation of episode_value; it says \["),
        (DetachedValues, r"values must be differentiable in the policies"),
    ],
)
def test_wrong_values_are_refused(kind: type[NormalForm], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_game(kind(table=PENNIES))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (((0, 0), (1, 0)), "Dice.influence must lead from agents to other agents, 0 to 1."),
        (((0, 1), (2, 0)), "Dice.influence must lead from agents to other agents, 0 to 1."),
        (
            ((0.0,), (1.0,)),
            "Dice.influence must be int64 of shape [2, 1], not torch.float32",
        ),
    ],
)
def test_an_influence_graph_joins_agents_of_the_game(pairs: Any, message: str) -> None:
    wrong = type("Dice", (Dice,), {"influence": property(lambda self: torch.tensor(pairs))})()
    with pytest.raises(ValueError, match=re.escape(message)):
        check_game(wrong)
    right = type("Dice", (Dice,), {"influence": property(lambda self: torch.tensor([[0, 1], [1, 0]]))})()
    check_game(right)
