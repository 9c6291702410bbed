"""The repeated game that stops: against every sequence of joint actions, and against the endless game."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from games import make
from games.matrix import Cyclical, FiniteRepeatedGame, MatrixGame, RepeatedGame, SymmetricTwoAgentGame

STAGES: list[MatrixGame] = [SymmetricTwoAgentGame(), Cyclical(agents=3), make("rock-paper-scissors")]


def draw_logits(seed: int, game: RepeatedGame, *batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (*batch, game.num_agents, game.num_observations, int(game.action_space.n))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def by_enumeration(game: RepeatedGame, policies: Tensor) -> Tensor:
    """Play every sequence of joint actions, and weigh its `episode_value` by its probability."""
    agents, generator = game.num_agents, torch.Generator()
    joint_actions = list(itertools.product(range(int(game.action_space.n)), repeat=agents))
    sequences = torch.tensor(list(itertools.product(joint_actions, repeat=game.horizon)))
    state = game.reset(len(sequences), generator)
    probability, rewards = torch.ones(len(sequences), dtype=torch.float64), []
    for time in range(game.horizon):
        seen, actions = game.observe(state), sequences[:, time]
        for agent in range(agents):
            probability = probability * policies[agent, seen[:, agent], actions[:, agent]]
        state, reward, _ = game.step(state, actions, generator)
        rewards.append(reward.double())
    return (probability.unsqueeze(-1) * game.episode_value(torch.stack(rewards))).sum(0)


@pytest.mark.parametrize("stage", STAGES, ids=["two agents", "three agents", "three actions"])
@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("discount", [0.0, 0.9])
def test_values_and_their_gradients_are_those_of_all_episodes(
    stage: MatrixGame, horizon: int, discount: float
) -> None:
    game = FiniteRepeatedGame(stage=stage, horizon=horizon, discount=discount)
    logits = draw_logits(0, game).requires_grad_()
    found, expected = game.values(logits.softmax(-1)), by_enumeration(game, logits.softmax(-1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad(values[0], logits)[0] for values in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@pytest.mark.parametrize("stage", STAGES, ids=["two agents", "three agents", "three actions"])
@given(seed=st.integers(0, 2**31), discount=st.floats(0, 0.5))
@settings(max_examples=20)
def test_it_tends_to_the_endless_game(stage: MatrixGame, seed: int, discount: float) -> None:
    finite = FiniteRepeatedGame(stage=stage, discount=discount, horizon=60)
    endless = RepeatedGame(stage=stage, discount=discount)
    policies = draw_logits(seed, finite, 3).softmax(-1)
    torch.testing.assert_close(finite.values(policies), endless.values(policies), rtol=0, atol=1e-12)
    torch.testing.assert_close(finite.occupancy(policies), endless.occupancy(policies), rtol=0, atol=1e-12)


def test_occupancy_is_a_share_and_cooperation_the_probability_of_it() -> None:
    game = FiniteRepeatedGame(discount=0.9, horizon=4)
    policies = draw_logits(1, game, 5).softmax(-1)
    torch.testing.assert_close(game.occupancy(policies).sum(-1), torch.ones(5, dtype=torch.float64))
    steady = torch.tensor([0.3, 0.7], dtype=torch.float64).expand(2, 5, 2)
    torch.testing.assert_close(game.cooperation(steady), torch.full((2,), 0.3, dtype=torch.float64))


@pytest.mark.parametrize(("action", "name"), [(0, "best_welfare"), (1, "defection_welfare")])
def test_the_ends_of_the_scale_are_reached(action: int, name: str) -> None:
    game = FiniteRepeatedGame(discount=0.9, horizon=4)
    always = torch.nn.functional.one_hot(torch.full((2, 5), action), 2).double()
    assert float(game.values(always).sum()) == pytest.approx(getattr(game, name), abs=1e-12)


class Nameless(SymmetricTwoAgentGame):
    """The same payoffs, where nobody calls action 1 defecting."""

    @property
    def defection_welfare(self) -> float | None:
        return None


def test_what_has_no_defection_has_no_defection_welfare() -> None:
    assert FiniteRepeatedGame(stage=Nameless()).defection_welfare is None
