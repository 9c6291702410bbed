"""Aid on graphs: by hand, closed forms, changing and hidden graphs."""

from __future__ import annotations

import dataclasses
import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from games import check_game
from games.adapters import ParallelView
from games.networked import Aid, EdgeList, Grid, RandomGeometric, Ring, ScaleFree, SmallWorld
from games.networked._aid import HELP, REFUSE
from games.theory import minimal_transfer, scripted_schelling
from tests.games.adapters.pettingzoo_contract import check_contract

WEIGHTED = EdgeList(edges=((0, 1, 2.0), (0, 2, 1.0), (1, 2, 0.25), (2, 0, 1.0)))
GAMES = [
    Aid(agents=5),
    Aid(agents=5, observe_graph=False, horizon=3),
    Aid(agents=9, graph=Grid()),
    Aid(agents=5, noise=2.0, horizon=2),
    Aid(agents=4, graph=WEIGHTED, split=False),
    Aid(agents=8, graph=ScaleFree(), split=False, horizon=2),
    Aid(agents=8, graph=RandomGeometric(radius=0.3)),
    Aid(agents=8, graph=SmallWorld(), rewiring=0.3, horizon=4),
    Aid(agents=8, graph=SmallWorld(), rewiring=0.3, rewire_every="episode", horizon=2),
    Aid(agents=4, graph=WEIGHTED, split=False, rewiring=1.0, observe_graph=False, horizon=3),
]


def played(game: Aid, actions: list[int]) -> list[float]:
    state = game.reset(1, torch.Generator())
    rewards: list[float] = game.step(state, torch.tensor([actions]), torch.Generator())[1][0].tolist()
    return rewards


def test_rewards_by_hand() -> None:
    assert played(Aid(agents=4), [HELP, REFUSE, HELP, HELP]) == [2, 3, -1, 2]
    both_ways = Aid(agents=4, graph=Ring(directed=False))
    assert played(both_ways, [HELP, REFUSE, REFUSE, REFUSE]) == [-1, 1.5, 0, 1.5]
    assert played(dataclasses.replace(both_ways, split=False), [HELP, REFUSE, HELP, REFUSE]) == [-1, 6, -1, 6]
    weighted = Aid(agents=4, graph=WEIGHTED, split=False)
    assert played(weighted, [HELP, HELP, REFUSE, HELP]) == [-1, 5, 3.75, -1]
    assert played(dataclasses.replace(weighted, split=True), [HELP, HELP, REFUSE, HELP]) == [-1, 1, 4, -1]


def test_cooperation_at_the_optimum_is_the_fraction_that_should_help() -> None:
    weighted = Aid(agents=4, graph=WEIGHTED, split=False)  # out-weights 3, 0.25, 1 and 0
    assert Aid(agents=5).best_cooperation == 1
    assert weighted.best_cooperation == float(weighted.optimum.float().mean()) == 0.5
    assert dataclasses.replace(weighted, cost=0.75).best_cooperation is None  # agent 1 may help or not


def test_noise_is_each_agents_own_and_has_mean_0() -> None:
    noisy, batch = Aid(agents=4, noise=2.0), 20_000
    generator = torch.Generator().manual_seed(0)
    actions = torch.tensor([[HELP, REFUSE, HELP, HELP]]).expand(batch, -1)
    errors = noisy.step(noisy.reset(batch, generator), actions, generator)[1] - torch.tensor([2.0, 3, -1, 2])
    assert (errors.mean(0).abs() < 5 * noisy.noise / batch**0.5).all()
    assert torch.allclose(errors.T.cov(), noisy.noise**2 * torch.eye(4), atol=0.2)
    policies = torch.full((4, 2, 2), 0.5)
    assert torch.equal(noisy.values(policies), Aid(agents=4).values(policies))
    assert noisy.best_welfare == Aid(agents=4).best_welfare


@given(
    agents=st.integers(2, 200),
    benefit=st.floats(1.5, 20),
    cost=st.floats(0.1, 1.5),
    horizon=st.integers(1, 5),
)
def test_the_optimum_of_a_ring_is_benefit_minus_cost_for_each(
    agents: int, benefit: float, cost: float, horizon: int
) -> None:
    game = Aid(agents=agents, benefit=benefit, cost=cost, horizon=horizon)
    assert game.best_welfare == pytest.approx(horizon * agents * (benefit - cost), rel=1e-12)


def test_32_agents_on_a_ring_can_gain_64() -> None:
    game = Aid()
    assert (game.num_agents, game.best_welfare, game.defection_welfare) == (32, 64, 0)
    helping = torch.ones(32, 1, dtype=torch.float64)
    policies = torch.stack((torch.zeros_like(helping), helping), -1).repeat(1, 2, 1).flip(-1)
    assert game.values(policies).tolist() == [2.0] * 32


@pytest.mark.parametrize("game", [game for game in GAMES if game.num_agents < 9], ids=str)
def test_the_optimum_is_the_best_of_all_profiles(game: Aid) -> None:
    profiles = torch.tensor(list(itertools.product((HELP, REFUSE), repeat=game.agents)))
    chosen = torch.nn.functional.one_hot(profiles, 2).double()
    policies = chosen.unsqueeze(-2).expand(-1, -1, game.num_observations, -1)
    welfare = game.values(policies).sum(-1)
    assert welfare.max().item() == pytest.approx(game.best_welfare, abs=1e-9)
    helps = torch.where(game.optimum, HELP, REFUSE)
    at_optimum = (profiles == helps).all(-1)
    assert welfare[at_optimum].item() == pytest.approx(game.best_welfare, abs=1e-9)


@pytest.mark.parametrize("game", GAMES, ids=str)
def test_nobody_gains_by_its_own_help(game: Aid) -> None:
    shape = (20, game.agents, game.num_observations, 2)
    policies = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(-1)
    policies.requires_grad_()
    values = game.values(policies)
    own = [torch.autograd.grad(values[:, i].sum(), policies, retain_graph=True)[0][:, i] for i in range(3)]
    for gradient in own:
        assert gradient[..., HELP].sum(-1).tolist() == pytest.approx([-game.horizon * game.cost] * 20)
        assert not gradient[..., REFUSE].any()


@settings(max_examples=20)
@given(game=st.sampled_from(GAMES), seed=st.integers(0, 2**32))
def test_welfare_of_a_step_is_what_help_is_worth_less_what_it_costs(game: Aid, seed: int) -> None:
    """On any graph, rewired or not: help reaches somebody else, and nothing of it is lost."""
    game = dataclasses.replace(game, noise=0.0)
    generator = torch.Generator().manual_seed(seed)
    state = game.reset(6, generator)
    gains = torch.from_numpy(game.benefit * game.network.out_weights - game.cost)
    for _ in range(game.horizon):
        actions = torch.randint(2, (6, game.agents), generator=generator)
        state, rewards, _ = game.step(state, actions, generator)
        expected = (actions == HELP).double() @ gains
        torch.testing.assert_close(rewards.double().sum(-1), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("game", GAMES, ids=str)
def test_the_contract(game: Aid) -> None:
    check_game(game)
    assert pickle.loads(pickle.dumps(game)) == game


def test_neighbors_follow_the_graph_and_a_hidden_one_shows_nothing() -> None:
    game = Aid(agents=4)
    assert game.neighbors.int().tolist() == [[1, 1, 0, 1], [1, 1, 1, 0], [0, 1, 1, 1], [1, 0, 1, 1]]
    hidden = dataclasses.replace(game, observe_graph=False)
    assert hidden.neighbors.all()
    assert hidden.num_observations == 1
    state = hidden.reset(2, torch.Generator())
    assert not hidden.observe(state).any()
    assert hidden.neighbors_now(state) is None
    weighted = Aid(agents=4, graph=WEIGHTED)
    assert weighted.observe(weighted.reset(1, torch.Generator())).tolist() == [[2, 1, 1, 0]]


def test_neighbors_now_are_the_agents_that_help_reaches() -> None:
    game = Aid(agents=6, rewiring=0.5, horizon=4)
    generator = torch.Generator().manual_seed(0)
    state = game.reset(5, generator)
    assert torch.equal(
        game.neighbors_now(state), dataclasses.replace(game, rewiring=0.0).neighbors.expand(5, 6, 6)
    )
    for _ in range(game.horizon):
        after, _, _ = game.step(state, torch.full((5, 6), REFUSE), generator)
        graph = game.neighbors_now(state)
        for agent in range(6):
            actions = torch.full((5, 6), REFUSE)
            actions[:, agent] = HELP
            helped = game.step(state, actions, generator)[1] > 0
            assert not (helped & ~graph[:, agent]).any()
            assert (helped.sum(-1) == 1).all()
        assert torch.equal(graph, graph.mT)
        state = after


def test_edges_are_rewired_as_often_as_they_should_be() -> None:
    """A new target differs from the old one with probability q (N - 2) / (N - 1)."""
    game, batch = Aid(agents=10, rewiring=0.3, horizon=2), 4000
    generator = torch.Generator().manual_seed(0)
    before = game.reset(batch, generator)
    after, _, _ = game.step(before, torch.zeros(batch, 10, dtype=torch.int64), generator)
    changed = (after.targets != before.targets).double().mean().item()
    expected = 0.3 * 8 / 9
    assert abs(changed - expected) < 5 * (expected * (1 - expected) / (10 * batch)) ** 0.5
    sources = torch.arange(10)
    assert not (after.targets == sources).any()
    episode = dataclasses.replace(game, rewire_every="episode")
    start = episode.reset(batch, generator)
    later, _, _ = episode.step(start, torch.zeros(batch, 10, dtype=torch.int64), generator)
    assert torch.equal(start.targets, later.targets)
    assert (start.targets != before.targets).any()


def test_scripted_agents_show_the_dilemma_of_the_donation_game() -> None:
    found = scripted_schelling(Aid(agents=6), torch.Generator().manual_seed(0), episodes=600)
    others = np.arange(6) / 5
    error = 5 * found.cooperator.error.max() + 1e-6
    assert found.cooperator.mean[0] == pytest.approx(3 * others - 1, abs=error)
    assert found.defector.mean[0] == pytest.approx(3 * others, abs=error)
    assert found.average.mean == pytest.approx(2 * np.arange(7) / 6, abs=error)
    assert str(found.verdict()) == "Between these two scripts, a social dilemma by greed and fear."


@pytest.mark.parametrize(("agents", "benefit"), [(3, 3.0), (4, 3.0), (5, 2.0)])
def test_minimal_transfers_have_a_closed_form(agents: int, benefit: float) -> None:
    """Helping pays if benefit times the share that the next agent gives exceeds what is kept of the cost."""
    game = Aid(agents=agents, benefit=benefit, observe_graph=False)
    found = minimal_transfer(game)
    assert found.s == pytest.approx(benefit / (benefit + agents - 1), abs=1e-9)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"cost": float("inf")}, "cost must be a finite number; it is inf"),
        ({"cost": 0.0}, "cost must be above 0, not 0.0"),
        ({"benefit": -1.0}, "benefit must be 0 or more, not -1.0"),
        ({"rewiring": 1.5}, "from 0 to 1, not 1.5"),
        ({"rewire_every": "never"}, "episode or step, not 'never'"),
        ({"horizon": 0}, "at least 1 step; horizon is 0"),
        ({"noise": -1.0}, "0 or more, not -1.0"),
        ({"agents": 1}, "at least 2 agents, not 1"),
        ({"agents": 10, "graph": Grid()}, "10 agents make 2 x 5"),
    ],
)
def test_bad_settings_are_refused(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        Aid(**setting)


def test_frames_tell_states_apart() -> None:
    game = Aid(agents=5, rewiring=0.9, horizon=3)
    generator = torch.Generator().manual_seed(0)
    state = game.reset(1, generator)
    frames = [game.render(state)]
    for action in (HELP, REFUSE):
        state, _, _ = game.step(state, torch.full((1, 5), action), generator)
        frames.append(game.render(state))
    assert len({frame.tobytes() for frame in frames}) == 3
    assert len({frame.shape for frame in frames}) == 1


def test_the_pettingzoo_contract() -> None:
    check_contract(lambda: ParallelView(Aid(agents=4, graph=WEIGHTED, rewiring=0.5, horizon=3)))
