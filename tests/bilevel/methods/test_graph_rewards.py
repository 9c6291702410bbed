"""Rewards on graphs: spatial discount, means over neighborhoods, and difference rewards."""

from __future__ import annotations

from typing import Any

import networkx
import pytest
import torch

import games
from bilevel.methods import Placement, Prosocial, SpatialDiscount
from bilevel.sharing import Edges, edges_of, neighborhood_mean, pairs_within, spatial_discount
from games.networked import Aid, EdgeList, Grid, Ring, ScaleFree, SmallWorld
from tests.bilevel.methods.configured import configured
from tests.bilevel.sharing.test_edges import close, edges, graph_of, trajectory

PATH = Aid(agents=4, graph=EdgeList(edges=((0, 1), (1, 2), (2, 3))))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("discount", [0.0, 0.4, 1.0])
def test_weights_are_powers_of_the_shortest_paths(seed: int, discount: float) -> None:
    graph = graph_of(seed, 7)
    apart = dict(networkx.all_pairs_shortest_path_length(networkx.DiGraph(graph.numpy().astype(int))))
    expected = torch.zeros(1, 7, 7, dtype=torch.float64)
    for giver, distances in apart.items():
        for receiver, distance in distances.items():
            expected[0, giver, receiver] = discount**distance
    variable, episodes = spatial_discount(edges(graph), discount), trajectory(seed, 7)
    transfer = variable.transfer(variable.initial(seed=0, seeds=1))
    close(transfer.matrix, expected)
    close(transfer.rewards(episodes), torch.einsum("xij,sitk->sjtk", expected, episodes.rewards))


def test_the_ends_of_the_discount_are_selfish_and_the_sum() -> None:
    ring, episodes = edges_of(Aid(agents=6)), trajectory(0, 6)
    close(spatial_discount(ring, 0.0).transfer(torch.zeros(1, 0)).rewards(episodes), episodes.rewards)
    total = episodes.rewards.sum(1, keepdim=True).expand_as(episodes.rewards)
    close(spatial_discount(ring, 1.0).transfer(torch.zeros(1, 0)).rewards(episodes), total)


def test_weights_below_a_thousandth_and_beyond_the_largest_distance_are_zero() -> None:
    ring = edges_of(Aid(agents=100))
    assert pairs_within(ring, None)[1].max() == 50
    assert spatial_discount(ring, 0.5).weights.min() == 0.5**9  # 0.5^10 is less
    assert spatial_discount(ring, 0.1).weights.min() == pytest.approx(0.1**3)
    assert spatial_discount(ring, 0.9, max_distance=2).weights.min() == pytest.approx(0.81)
    assert len(spatial_discount(ring, 0.9, max_distance=2).weights) == 5 * 100


def test_ten_thousand_agents_on_a_grid_and_a_small_world() -> None:
    grid = edges_of(Aid(agents=10_000, graph=Grid()))
    weights = spatial_discount(grid, 0.5)
    assert weights.pairs.shape == (2, 10_000 * (2 * 9 * 10 + 1))  # a diamond of radius 9
    total = 1 + sum(4 * distance * 0.5**distance for distance in range(1, 10))
    ones = trajectory(0, 10_000)
    ones = ones._replace(rewards=torch.ones_like(ones.rewards))
    close(weights.transfer(torch.zeros(1, 0)).rewards(ones), ones.rewards * total)
    world = edges_of(Aid(agents=10_000, graph=SmallWorld()))
    with pytest.raises(ValueError, match=r"More than 20000000 pairs of agents are .* or fewer edges apart"):
        spatial_discount(world, 0.7)
    assert len(spatial_discount(world, 0.5, max_distance=2).weights) < 300_000


@pytest.mark.parametrize("graph", [Ring(), Ring(reach=3), Grid()])
def test_means_of_neighborhoods_of_one_size_conserve_the_total(graph: Any) -> None:
    episodes = trajectory(0, 12)
    mean = neighborhood_mean(edges_of(Aid(agents=12, graph=graph))).transfer(torch.zeros(1, 0))
    close(mean.rewards(episodes).sum(1), episodes.rewards.sum(1))


def test_the_mean_over_a_star_counts_the_center_for_each_leaf() -> None:
    star = edges_of(Aid(agents=5, graph=EdgeList(edges=tuple((0, leaf) for leaf in range(1, 5)))))
    episodes = trajectory(0, 5)
    seen = neighborhood_mean(star).transfer(torch.zeros(1, 0)).rewards(episodes)
    own = episodes.rewards
    close(seen[:, 0], own.mean(1))
    close(seen[:, 1:], (own[:, :1] + own[:, 1:]) / 2)


@pytest.mark.parametrize(("discount", "helps"), [(0.25, False), (0.45, True)])
@pytest.mark.parametrize("hidden", [False, True])
def test_helping_on_a_ring_pays_if_the_discounted_benefit_exceeds_the_cost(
    discount: float, helps: bool, hidden: bool
) -> None:
    """The neighbor gains 3, discounted; where the graph is hidden, all are neighbors."""
    game = Aid(agents=6, observe_graph=not hidden)
    learner = SpatialDiscount(discount=discount).build(game, Placement())
    state = learner.init(seed=0)
    for _ in range(100):
        state, metrics = learner.update(state)
    assert (metrics["cooperation"] > 0.9).all() if helps else (metrics["cooperation"] < 0.1).all()


def test_dense_and_sparse_graphs_have_the_same_discounted_rewards() -> None:
    dense = Edges(PATH.neighbors.nonzero().T, 4)
    for variable in (spatial_discount(edges_of(PATH), 0.5), spatial_discount(dense, 0.5)):
        assert variable.transfer(torch.zeros(1, 0)).matrix[0, 0].tolist() == [1.0, 0.5, 0.25, 0.125]


@pytest.mark.parametrize(
    "game",
    [
        Aid(agents=6, graph=ScaleFree(), horizon=2, benefit=2.5),
        Aid(agents=6, graph=ScaleFree(), split=False, rewiring=0.5),
        games.make("public-goods", agents=5, k=1.7),
        games.make("symmetrical-stag-hunt", agents=4),
    ],
)
@pytest.mark.parametrize("default", [0, 1])
def test_difference_rewards_are_those_of_playing_the_step_again(game: Any, default: int) -> None:
    generator = torch.Generator().manual_seed(0)
    state = game.reset(20, generator)
    actions = torch.randint(2, (20, game.num_agents), generator=generator)
    welfare = game.step(state, actions, generator)[1].sum(-1)
    found = game.difference_rewards(actions, default)
    for agent in range(game.num_agents):
        other = actions.clone()
        other[:, agent] = default
        again = game.step(state, other, generator)[1].sum(-1)
        torch.testing.assert_close(found[:, agent], welfare - again, rtol=1e-5, atol=1e-5)


def test_difference_rewards_have_the_gradient_of_the_sum_with_less_variance() -> None:
    game = games.make("public-goods", agents=20, k=2.0)
    settings = {"inner__exact": False, "inner__episodes": 256}
    found = {}
    for reward in ("sum", "difference"):
        learner = configured(Prosocial, common_reward=reward, **settings).build(game, Placement(seeds=20))
        state = learner.init(seed=0)
        theta, transfer = state["theta"].requires_grad_(), learner.transfer(state["phi"])
        data = learner.play.sample(theta, transfer, torch.Generator().manual_seed(1))
        losses = learner.play.losses(theta, theta.detach(), transfer, data, None)
        found[reward] = torch.autograd.grad(losses.sum(), theta)[0].squeeze(-1)
    exact = Prosocial(common_reward="sum").build(game, Placement(seeds=20))
    theta, phi = exact.init(seed=0)["theta"].requires_grad_(), exact.init(seed=0)["phi"]
    losses = exact.play.losses(theta, theta.detach(), exact.transfer(phi), (), None)
    expected = torch.autograd.grad(losses.sum(), theta)[0].squeeze(-1)
    errors = {reward: gradient - expected for reward, gradient in found.items()}
    assert errors["difference"].std() < errors["sum"].std() / 4
    assert errors["difference"].mean().abs() < 0.003
    both = [configured(Prosocial, common_reward=reward).build(game, Placement()) for reward in found]
    first, second = (learner.update(learner.init(seed=0))[0]["theta"] for learner in both)
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"discount": 1.5}, "The spatial discount is from 0 to 1, not 1.5."),
        ({"max_distance": -1}, "max_distance is 0 or more, not -1."),
    ],
)
def test_settings_of_the_spatial_discount_out_of_range_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpatialDiscount(**settings)


def test_difference_rewards_are_refused_where_they_cannot_be_computed() -> None:
    with pytest.raises(ValueError, match="EscapeRoom cannot compute the welfare of other actions"):
        Prosocial(common_reward="difference").build(games.make("escape-room"), Placement())
    with pytest.raises(ValueError, match="The actions of Aid are 0 to 1; the default action is 2"):
        Prosocial(common_reward="difference", default_action=2).build(Aid(), Placement())
    with pytest.raises(ValueError, match="choose common_reward difference first"):
        Prosocial(default_action=1)
