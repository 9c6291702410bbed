"""Irrigation: by hand, the optimum against closed forms, all profiles and SciPy, exact values, theory."""

from __future__ import annotations

import dataclasses
import itertools
import pickle

import numpy as np
import pytest
import scipy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from games import check_game
from games.adapters import ParallelView
from games.networked import Irrigation
from games.theory import pure_equilibria, scripted_schelling, welfare_optima
from tests.games.adapters.pettingzoo_contract import check_contract

GAMES = [
    Irrigation(),
    Irrigation(agents=3, loss=0.3, exponent=0.7, horizon=2),
    Irrigation(agents=6, water=1.5, loss=0.1, exponent=0.3, observe_graph=False),
]


def fixed(game: Irrigation, profile: list[int]) -> torch.Tensor:
    """Policies that play these actions, [agent, 1, action]."""
    return torch.nn.functional.one_hot(torch.tensor(profile), game.num_actions).double().unsqueeze(1)


def test_steps_by_hand() -> None:
    game, generator = Irrigation(agents=3, water=18.0, loss=0.5), torch.Generator()
    state, rewards, done = game.step(game.reset(1, generator), torch.tensor([[2, 1, 0]]), generator)
    assert state.arrived.tolist() == [pytest.approx([18.0, 6.0, 1.5])]
    assert state.taken.tolist() == [pytest.approx([6.0, 3.0, 1.5])]
    assert rewards.tolist() == [pytest.approx([6**0.5, 3**0.5, 1.5**0.5])]
    assert done.tolist() == [True]
    all_taken, rewards, _ = game.step(state, torch.tensor([[0, 1, 0]]), generator)
    assert rewards.tolist() == [pytest.approx([18**0.5, 0, 0])]
    assert all_taken.arrived.tolist() == [[18, 0, 0]]


@given(
    agents=st.integers(2, 200),
    water=st.floats(0.1, 100),
    exponent=st.floats(0.05, 0.95),
    horizon=st.integers(1, 4),
)
def test_without_loss_equal_parts_are_best(agents: int, water: float, exponent: float, horizon: int) -> None:
    game = Irrigation(agents=agents, water=water, exponent=exponent, horizon=horizon)
    closed_form = horizon * agents * (water / agents) ** exponent
    assert game.best_welfare == pytest.approx(closed_form, rel=1e-9)
    assert game.optimum.tolist() == list(range(agents - 1, -1, -1))
    policies = fixed(game, game.optimum.tolist())
    assert game.values(policies).tolist() == pytest.approx([closed_form / agents] * agents, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    agents=st.integers(2, 5), loss=st.floats(0, 0.9), exponent=st.floats(0.1, 0.9), water=st.floats(0.5, 9)
)
def test_the_optimum_is_the_best_of_all_profiles(
    agents: int, loss: float, exponent: float, water: float
) -> None:
    game = Irrigation(agents=agents, loss=loss, exponent=exponent, water=water)
    profiles = torch.tensor(list(itertools.product(range(agents), repeat=agents)))
    policies = torch.nn.functional.one_hot(profiles, agents).double().unsqueeze(-2)
    welfare = game.values(policies).sum(-1)
    assert welfare.max().item() == pytest.approx(game.best_welfare, rel=1e-12)
    assert game.values(fixed(game, game.optimum.tolist())).sum().item() == pytest.approx(game.best_welfare)


@pytest.mark.parametrize("loss", [0.0, 0.2, 0.5])
def test_no_division_of_the_water_is_much_better(loss: float) -> None:
    """Any parts may be taken here: x_i of what is left, where SciPy and Hoelder's inequality agree."""
    agents, water, exponent = 4, 4.0, 0.5
    game = Irrigation(agents=agents, water=water, exponent=exponent, loss=loss)

    def negative(logits: np.ndarray) -> float:
        left, total = water, 0.0
        for part in [*(1 / (1 + np.exp(-logits))), 1.0]:
            total += (part * left) ** exponent
            left *= (1 - part) * (1 - loss)
        return -total

    found = -scipy.optimize.minimize(negative, np.zeros(agents - 1), tol=1e-12).fun
    reach = (1 - loss) ** np.arange(agents)
    bound = water**exponent * (reach ** (exponent / (1 - exponent))).sum() ** (1 - exponent)
    assert found == pytest.approx(bound, rel=1e-6)
    assert 0.98 * bound <= game.best_welfare <= bound + 1e-9


@pytest.mark.parametrize("game", GAMES, ids=str)
def test_taking_everything_pays_most_and_leaves_the_others_dry(game: Irrigation) -> None:
    shape = (50, game.agents, 1, game.num_actions)
    generator = torch.Generator().manual_seed(0)
    policies = torch.randn(shape, generator=generator, dtype=torch.float64).softmax(-1)
    greedy = fixed(game, [0] * game.agents)
    for agent in range(game.agents):
        changed = policies.clone()
        changed[:, agent] = greedy[agent]
        assert (game.values(changed)[:, agent] > game.values(policies)[:, agent]).all()
    selfish = game.values(greedy)
    assert selfish.tolist() == pytest.approx([game.defection_welfare] + [0.0] * (game.agents - 1))


def test_theory_of_a_short_canal() -> None:
    game = Irrigation(agents=3, water=3.0)
    assert welfare_optima(game)[0].welfare == pytest.approx(3.0)
    found = pure_equilibria(game)
    assert {outcome.profile[0] for outcome in found} == {0}  # the others have nothing to choose
    assert found[0].welfare == pytest.approx(3**0.5)


def test_scripted_agents_show_who_pays() -> None:
    """Agent 0 pays 1 for the optimum, 2 - 1; those below gain by it."""
    found = scripted_schelling(Irrigation(), torch.Generator().manual_seed(0), episodes=4)
    assert found.cooperator.mean[:, -1] == pytest.approx([1.0] * 4)
    assert found.defector.mean[:, 0] == pytest.approx([2.0, 0.0, 0.0, 0.0])
    assert found.average.mean[[0, -1]] == pytest.approx([0.5, 1.0])


def test_gradients_exist_at_pure_policies() -> None:
    game = Irrigation()
    policies = fixed(game, [0, 1, 2, 3]).requires_grad_()
    (gradient,) = torch.autograd.grad(game.values(policies).sum(), policies, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), policies)
    assert gradient.isfinite().all()
    assert second.isfinite().all()


def test_neighbors_are_adjacent_or_all() -> None:
    game = Irrigation()
    assert game.neighbors.int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    assert dataclasses.replace(game, observe_graph=False).neighbors.all()
    assert Irrigation(loss=0.25).network.weights.tolist() == [0.75] * 3


@pytest.mark.parametrize("game", GAMES, ids=str)
def test_the_contract(game: Irrigation) -> None:
    check_game(game)
    assert pickle.loads(pickle.dumps(game)) == game


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"agents": 1}, "between 2 and 1000; it is 1"),
        ({"water": 0.0}, "water must be above 0, not 0.0"),
        ({"exponent": 1.0}, "above 0 and below 1, not 1.0"),
        ({"loss": 1.0}, "from 0 to less than 1, not 1.0"),
        ({"horizon": 0}, "at least 1 step; horizon is 0"),
    ],
)
def test_bad_settings_are_refused(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        Irrigation(**setting)


def test_frames_tell_states_apart() -> None:
    game, generator = Irrigation(horizon=3), torch.Generator()
    state = game.reset(1, generator)
    frames = [game.render(state)]
    for actions in ([0, 0, 0, 0], [3, 2, 1, 0]):
        state, _, _ = game.step(state, torch.tensor([actions]), generator)
        frames.append(game.render(state))
    assert len({frame.tobytes() for frame in frames}) == 3
    assert len({frame.shape for frame in frames}) == 1


def test_the_pettingzoo_contract() -> None:
    check_contract(lambda: ParallelView(Irrigation(horizon=3)))
