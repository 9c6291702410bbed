"""Fixed rules on a graph that changes: in each step they are those of a fixed graph, that of the step."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import games
from bilevel.methods import Fixed, Placement, Prosocial, SpatialDiscount
from bilevel.sharing import (
    CurrentWeights,
    SplitAmongCurrent,
    Trajectory,
    discounted_by_distance,
    mean_of_neighbors,
    neighborhood_mean,
    self_interest_sharing,
    spatial_discount,
)
from games.networked import Aid
from tests.bilevel.methods.configured import configured
from tests.bilevel.sharing.test_edges import EPISODES, SEEDS, STEPS, close, edges, graph_of, trajectory

EPISODE_STEPS = list(itertools.product(range(SEEDS), range(STEPS), range(EPISODES)))


def moving(seed: int, agents: int, *, leaving: bool = False) -> Trajectory:
    graphs = [graph_of(seed + place, agents) for place in range(len(EPISODE_STEPS))]
    stacked = torch.stack(graphs).reshape(SEEDS, STEPS, EPISODES, agents, agents)
    return trajectory(seed, agents, leaving=leaving)._replace(neighbors=stacked.permute(0, 3, 4, 1, 2))


def transfer_of(variable: Any) -> Any:
    return variable.transfer(variable.initial(seed=0, seeds=SEEDS))


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 7), st.sampled_from([0.0, 0.3, 1.0]))
def test_each_step_has_the_weights_of_its_graph(seed: int, agents: int, number: float) -> None:
    episodes = moving(seed, agents)

    def discounted(graphs: torch.Tensor) -> torch.Tensor:
        return discounted_by_distance(graphs, number)

    def nearby(graphs: torch.Tensor) -> torch.Tensor:
        return discounted_by_distance(graphs, number, max_distance=1)

    pairs = [
        (SplitAmongCurrent(agents, number), lambda graph: self_interest_sharing(graph, number)),
        (CurrentWeights(agents, mean_of_neighbors), lambda graph: dense(neighborhood_mean(edges(graph)))),
        (CurrentWeights(agents, discounted), lambda graph: dense(spatial_discount(edges(graph), number))),
        (
            CurrentWeights(agents, nearby),
            lambda graph: dense(spatial_discount(edges(graph), number, 1)),
        ),
    ]
    for variable, fixed in pairs:
        seen = transfer_of(variable).rewards(episodes)
        for each, time, episode in EPISODE_STEPS:
            weights = fixed(episodes.neighbors[each, :, :, time, episode])
            close(seen[each, :, time, episode], weights.mT @ episodes.rewards[each, :, time, episode])


def dense(variable: Any) -> torch.Tensor:
    matrix: torch.Tensor = variable.transfer(torch.zeros(1, 0, dtype=torch.float64)).matrix[0]
    return matrix


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(2, 7))
def test_what_is_kept_and_split_is_conserved_among_the_agents_present(seed: int, agents: int) -> None:
    episodes, transfer = moving(seed, agents, leaving=True), transfer_of(SplitAmongCurrent(agents, 0.4))
    seen = transfer.rewards(episodes)
    close(seen.sum(1), episodes.rewards.sum(1))
    assert not seen[~episodes.present].any()
    weighted = transfer_of(CurrentWeights(agents, mean_of_neighbors)).rewards(episodes)
    assert not weighted[~episodes.present].any()


def test_the_share_given_away_is_that_of_agents_with_neighbors() -> None:
    episodes = moving(3, 4)
    alone = (episodes.neighbors.sum(2) == 1).double().mean((2, 3))
    given_away = transfer_of(SplitAmongCurrent(4, 0.4)).report(episodes)["given_away"]
    close(given_away, 0.6 * (1 - alone.mean(1)))


@pytest.mark.parametrize(("follow", "helps"), [(True, True), (False, False)])
def test_helping_pays_if_shares_follow_the_agents_that_are_helped(follow: bool, helps: bool) -> None:
    """Half for all 9 others: 3 x 0.5 / 9 for the helper, less than the half of its cost that it pays."""
    game = Aid(agents=10, rewiring=1.0, horizon=2)
    rule = {"self_interest": 0.5, "follow_graph": follow, "inner.exact": False}
    learner = configured(Fixed, **rule).build(game, Placement(seeds=3))
    state = learner.init(seed=0)
    for _ in range(60):
        state, metrics = learner.update(state)
    assert (metrics["cooperation"] > 0.8).all() if helps else (metrics["cooperation"] < 0.2).all()


@pytest.mark.parametrize(
    ("method", "rule"),
    [(Fixed, {}), (Prosocial, {"common_reward": "neighborhood"}), (SpatialDiscount, {})],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_fixed_graphs_and_exact_values_are_refused(method: Any, rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"graph of Aid does not change: leave follow_graph off\."):
        method(**rule, follow_graph=True).build(Aid(), Placement())
    with pytest.raises(ValueError, match="switch exact off"):
        method(**rule, follow_graph=True).build(games.make("aid-rewired"), Placement())


def test_only_the_mean_over_a_neighborhood_has_a_graph_to_follow() -> None:
    with pytest.raises(ValueError, match="common_reward is sum: choose common_reward neighborhood"):
        Prosocial(common_reward="sum", follow_graph=True)
