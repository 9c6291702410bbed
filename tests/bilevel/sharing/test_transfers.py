"""What passes between agents: who conserves what, where it is 0, and how it depends on what happens."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bilevel.agents import MLP, Trajectory
from bilevel.methods import SVO, InequityAverse, gift_weights, relationships
from bilevel.methods._lase_critic import NetworkCritic
from bilevel.methods._lase_perspective import Imagined
from bilevel.methods._lase_sharing import Empathetic, Empathy
from bilevel.methods._lio import Incentives, incentive_costs
from bilevel.methods._planner import Planner
from bilevel.methods._preferences import PreferenceTransfer, inequity_aversion, social_value_orientation
from bilevel.sharing import (
    ObservationEncoder,
    OuterVariable,
    SharedBy,
    Sharing,
    SharingNetwork,
    per_episode,
    per_step,
)

SEEDS, AGENTS, TIME, EPISODES, ACTIONS = 2, 3, 4, 5, 2
BOX = spaces.Box(0.0, 1.0, (2, 3))
GRAPH = torch.ones(AGENTS, AGENTS, dtype=torch.bool)
RING = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 1]], dtype=torch.bool)


EIGHTHS = st.integers(-40, 40).map(lambda number: number / 8)
"""Sums of these are exact: an angle jumps at half a turn."""


def trajectory(seed: int = 0, space: Any = BOX) -> Trajectory:
    """Random episodes, some of which end early, all in float64."""
    draws = torch.Generator().manual_seed(seed)
    shape = (SEEDS, AGENTS, TIME, EPISODES)
    ends = torch.randint(1, TIME + 1, (SEEDS, 1, 1, EPISODES), generator=draws)
    mask = (torch.arange(TIME)[:, None] < ends).double()
    if isinstance(space, spaces.Discrete):
        seen: Tensor = torch.randint(int(space.n), shape, generator=draws)
    else:
        seen = torch.rand(*shape, *space.shape, generator=draws, dtype=torch.float64)
    return Trajectory(
        observations=seen,
        actions=torch.randint(ACTIONS, shape, generator=draws),
        rewards=torch.randn(shape, generator=draws, dtype=torch.float64) * mask,
        mask=mask,
        cooperated=None,
    )


def random_phi(variable: OuterVariable, seed: int = 1) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    first = variable.initial(seed, SEEDS)
    return first + torch.randn(first.shape, generator=draws, dtype=torch.float64)


POLICY = MLP(6, ACTIONS, (5,), observation_axes=2)
SIGHT = ObservationEncoder(BOX, AGENTS, ACTIONS)


def empathy(graph: Tensor) -> Empathy:
    return Empathy(graph, NetworkCritic(SIGHT, (6,)), Imagined(POLICY, SIGHT, (6,)), POLICY.num_parameters)


BALANCED: dict[str, OuterVariable] = {
    "empathy": empathy(GRAPH),
    "empathy among neighbors": empathy(RING),
    "sharing network": SharingNetwork(Sharing(GRAPH), BOX),
    "held": SharingNetwork(Sharing(RING, own_share=0.7), BOX, interval=3),
    "incentives that givers pay": Incentives(GRAPH, BOX, ACTIONS, charged=True),
    "balanced payments": Planner(BOX, AGENTS, ACTIONS, balanced=True),
}


@pytest.mark.parametrize("variable", BALANCED.values(), ids=BALANCED.keys())
@given(seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_what_is_balanced_conserves_the_total_of_each_step(variable: OuterVariable, seed: int) -> None:
    episodes = trajectory(seed)
    seen = variable.transfer(random_phi(variable, seed)).rewards(episodes)
    torch.testing.assert_close(seen.sum(1), episodes.rewards.sum(1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("space", [BOX, spaces.Discrete(4)])
def test_shares_are_those_of_each_givers_own_network(space: Any) -> None:
    variable = SharingNetwork(Sharing(RING, own_share=0.7), space, hidden=(6,))
    phi, episodes = random_phi(variable), trajectory(3, space)
    shares = variable.transfer(phi).shares(episodes)
    assert shares.shape == (SEEDS, AGENTS, AGENTS, TIME, EPISODES)
    seed, giver, time, episode = 1, 2, 3, 0
    seen = episodes.observations[seed, giver, time, episode]
    inputs = torch.eye(4, dtype=torch.float64)[seen] if space is not BOX else seen.flatten()
    out = variable.network(phi[seed, giver], inputs[None])[0] + variable.sharing.initial()[giver]
    expected = out.masked_fill(~RING[giver], -torch.inf).softmax(-1)
    torch.testing.assert_close(shares[seed, giver, :, time, episode], expected, rtol=0, atol=1e-12)
    assert (shares[:, ~RING] == 0).all()


@pytest.mark.parametrize("graph", [GRAPH, RING])
def test_empathys_shares_are_the_rules(graph: Tensor) -> None:
    variable, episodes = empathy(graph), trajectory(6)
    phi = random_phi(variable)
    critics, perspectives, agent_policies = variable.parts(phi)
    values = variable.critic.counterfactual_values(critics, episodes)
    policies = variable.perspective.policies(perspectives, agent_policies, episodes)
    transfer = variable.transfer(phi)
    shares = transfer.shares(episodes)
    assert shares.shape == (SEEDS, AGENTS, AGENTS, TIME, EPISODES)
    seed, time, episode = 1, 2, 3
    place = seed, time, episode
    found = relationships(values[place], policies[place], episodes.actions[seed, :, time, episode])
    expected = gift_weights(found, graph)
    torch.testing.assert_close(shares[seed, :, :, time, episode], expected, rtol=0, atol=1e-12)
    assert not shares[:, ~graph].any()
    assert shares[:, 0, 1].any()
    by_hand = torch.einsum("sijte,site->sjte", shares, episodes.rewards)
    torch.testing.assert_close(transfer.rewards(episodes), by_hand, rtol=0, atol=1e-12)


def test_empathy_leaves_illegal_actions_out() -> None:
    """An agent with one legal action can do nothing for anybody, whatever critics say of the others."""
    variable, episodes = empathy(GRAPH), trajectory(6)
    legal = torch.ones(SEEDS, AGENTS, TIME, EPISODES, ACTIONS, dtype=torch.bool)
    legal[:, 1] = torch.nn.functional.one_hot(episodes.actions[:, 1], ACTIONS).bool()
    phi = random_phi(variable)
    free = variable.transfer(phi).shares(episodes)
    bound = variable.transfer(phi).shares(episodes._replace(legal=legal))
    assert free[:, 0, 1].any()
    assert not bound[:, [0, 2], 1].any()
    torch.testing.assert_close(bound[:, 0, 2], free[:, 0, 2], rtol=0, atol=1e-12)


def test_no_derivative_goes_through_gifts() -> None:
    variable, episodes = empathy(GRAPH), trajectory(6)
    phi = random_phi(variable).requires_grad_()
    assert not Empathetic(variable, phi).rewards(episodes).requires_grad


def test_first_shares_are_nearly_the_own_share_and_streams_differ() -> None:
    variable = SharingNetwork(Sharing(GRAPH, own_share=0.8), BOX)
    first = variable.initial(seed=7, seeds=3)
    assert torch.equal(first[:2], variable.initial(seed=7, seeds=2))
    assert not torch.equal(first[0], first[1])
    report = variable.transfer(first[:2]).report(trajectory())
    torch.testing.assert_close(report["given_away"], torch.full((2,), 0.2).double(), rtol=0, atol=0.1)


def test_held_shares_are_those_of_the_step_in_which_they_were_chosen() -> None:
    free = SharingNetwork(Sharing(GRAPH), BOX)
    held = dataclasses.replace(free, interval=3)
    phi, episodes = random_phi(free), trajectory(5)
    seen_when_chosen = episodes._replace(observations=episodes.observations[:, :, [0, 0, 0, 3]])
    by_step, kept = free.transfer(phi).shares(seen_when_chosen), held.transfer(phi).shares(episodes)
    torch.testing.assert_close(kept, by_step, rtol=0, atol=0)


def moving(seed: int = 0) -> Trajectory:
    """Episodes whose graph changes from step to step; everybody is always its own neighbor."""
    draws = torch.Generator().manual_seed(seed)
    graph = torch.rand(SEEDS, AGENTS, AGENTS, TIME, EPISODES, generator=draws) < 0.5
    return trajectory(seed)._replace(neighbors=graph | torch.eye(AGENTS, dtype=torch.bool)[..., None, None])


@pytest.mark.parametrize("interval", [1, 3])
@given(seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_shares_go_along_the_edges_of_their_step(interval: int, seed: int) -> None:
    variable = SharingNetwork(Sharing(GRAPH, own_share=0.7), BOX, interval=interval)
    phi, episodes = random_phi(variable, seed), moving(seed)
    transfer = variable.transfer(phi)
    shares = transfer.shares(episodes)
    assert torch.equal(shares > 0, episodes.neighbors)
    torch.testing.assert_close(shares.sum(2), torch.ones_like(shares.sum(2)), rtol=0, atol=1e-12)
    seen = transfer.rewards(episodes)
    torch.testing.assert_close(seen.sum(1), episodes.rewards.sum(1), rtol=0, atol=1e-12)


def test_the_own_share_is_kept_on_every_graph() -> None:
    """With networks that say nothing an agent keeps .7, however many neighbors it has; alone, all."""
    variable, episodes = SharingNetwork(Sharing(GRAPH, own_share=0.7), BOX), moving()
    shares = variable.transfer(torch.zeros_like(variable.initial(0, SEEDS))).shares(episodes)
    assert episodes.neighbors is not None
    alone = (episodes.neighbors.sum(2) == 1).double()
    kept = shares.diagonal(dim1=1, dim2=2).movedim(-1, 1)
    torch.testing.assert_close(kept, 0.7 + 0.3 * alone, rtol=0, atol=1e-12)


def test_what_is_held_is_what_the_network_said_not_the_graph() -> None:
    free = SharingNetwork(Sharing(GRAPH), BOX)
    phi, episodes = random_phi(free), moving(3)
    held = dataclasses.replace(free, interval=TIME).transfer(phi).shares(episodes)
    first = episodes.observations[:, :, :1].expand_as(episodes.observations)
    by_step = free.transfer(phi).shares(episodes._replace(observations=first))
    torch.testing.assert_close(held, by_step, rtol=0, atol=0)


def test_incentives_are_those_of_each_givers_own_network() -> None:
    variable = Incentives(RING, BOX, ACTIONS, max_gift=3.0, hidden=(6,))
    phi, episodes = random_phi(variable), trajectory(4)
    gifts = variable.transfer(phi).gifts(episodes)
    seed, giver, time, episode = 1, 1, 0, 2
    acted = torch.eye(ACTIONS, dtype=torch.float64)[episodes.actions[seed, [0, 2], time, episode]]
    inputs = torch.cat((episodes.observations[seed, giver, time, episode].flatten(), acted.flatten()))
    out = 3.0 * variable.network(phi[seed, giver], inputs[None])[0].sigmoid()
    expected = torch.where(torch.tensor([False, False, True]), out, 0.0)
    torch.testing.assert_close(gifts[seed, giver, :, time, episode], expected, rtol=0, atol=1e-12)
    assert ((gifts >= 0) & (gifts <= 3)).all()
    seen = variable.transfer(phi).rewards(episodes)
    torch.testing.assert_close(seen, episodes.rewards + gifts.sum(1), rtol=0, atol=1e-12)


def test_incentives_do_not_see_what_their_giver_does() -> None:
    variable = Incentives(GRAPH, BOX, ACTIONS)
    episodes = trajectory()
    other = episodes._replace(actions=episodes.actions.clone())
    other.actions[:, 1] = 1 - other.actions[:, 1]
    transfer = variable.transfer(random_phi(variable))
    before, after = transfer.gifts(episodes), transfer.gifts(other)
    assert torch.equal(before[:, 1], after[:, 1])
    assert not torch.equal(before[:, 0], after[:, 0])


def test_incentives_for_cooperation_depend_on_nothing_else_of_an_action() -> None:
    variable = Incentives(RING, BOX, ACTIONS, max_gift=3.0, hidden=(6,), action_inputs="cooperation")
    phi, draws = random_phi(variable), torch.Generator().manual_seed(0)
    episodes = trajectory(4)
    cooperated = torch.rand(episodes.actions.shape, generator=draws).round()
    episodes = episodes._replace(cooperated=cooperated)
    gifts = variable.transfer(phi).gifts(episodes)
    seed, giver, receiver, time, episode = 1, 1, 2, 0, 2
    seen = episodes.observations[seed, giver, time, episode].flatten()
    inputs = torch.cat((seen, cooperated[seed, [0, 2], time, episode].to(seen.dtype)))
    out = 3.0 * variable.network(phi[seed, giver], inputs[None])[0].sigmoid()
    torch.testing.assert_close(gifts[seed, giver, receiver, time, episode], out[receiver], rtol=0, atol=1e-12)
    renamed = episodes._replace(actions=1 - episodes.actions)
    assert torch.equal(variable.transfer(phi).gifts(renamed), gifts)


def test_incentive_costs_by_hand() -> None:
    variable = Incentives(GRAPH, BOX, ACTIONS)
    episodes, discount = trajectory(), 0.5
    transfer = variable.transfer(random_phi(variable))
    gifts = transfer.gifts(episodes)
    by_hand = torch.stack([discount**t * gifts[:, :, :, t].sum(2) for t in range(TIME)]).sum(0).mean(-1)
    torch.testing.assert_close(incentive_costs(transfer, episodes, discount), by_hand, rtol=0, atol=1e-12)
    report = transfer.report(episodes)
    torch.testing.assert_close(report["given"], gifts.sum((2, 3)).mean((1, 2)), rtol=0, atol=1e-12)
    torch.testing.assert_close(report["incentive_2_0"], gifts[:, 2, 0].sum(1).mean(-1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("balanced", [False, True])
@given(seed=st.integers(0, 1000), scale=st.sampled_from([1.0, 100.0]))
@settings(max_examples=20)
def test_a_planner_keeps_to_its_budget(balanced: bool, seed: int, scale: float) -> None:
    variable = Planner(BOX, AGENTS, ACTIONS, budget=1.5, balanced=balanced)
    payments = variable.transfer(scale * random_phi(variable, seed)).payments(trajectory(seed))
    assert (payments.abs().sum(1) <= 1.5 + 1e-12).all()


PREFERENCES: dict[str, PreferenceTransfer] = {
    "envy": PreferenceTransfer(
        functools.partial(inequity_aversion, envy=5.0, guilt=0.05, trace_decay=0.95, discount=0.99), AGENTS
    ),
    "orientation": PreferenceTransfer(
        functools.partial(social_value_orientation, weight=0.2, target=45.0), AGENTS
    ),
}


def test_nothing_passes_after_the_end() -> None:
    episodes = trajectory()
    over = (episodes.mask == 0).expand(-1, AGENTS, -1, -1)
    variables: list[OuterVariable] = [
        *BALANCED.values(),
        Planner(BOX, AGENTS, ACTIONS),
        *PREFERENCES.values(),
    ]
    for variable in variables:
        assert (variable.transfer(random_phi(variable)).rewards(episodes)[over] == 0).all()


def test_inequity_aversion_by_hand() -> None:
    """Two steps, two agents; the second step compares what is left of the first."""
    rewards = torch.tensor([[[[1.0], [0.0]], [[0.0], [0.0]]]], dtype=torch.float64)
    felt = inequity_aversion(rewards, None, envy=2.0, guilt=0.5, trace_decay=0.5, discount=0.8)
    expected = torch.tensor([[[[0.5], [-0.2]], [[-2.0], [-0.8]]]], dtype=torch.float64)
    torch.testing.assert_close(felt, expected, rtol=0, atol=1e-12)


@given(target=st.floats(-180, 180), own=EIGHTHS, other=EIGHTHS)
def test_an_orientation_costs_the_angle(target: float, own: float, other: float) -> None:
    rewards = torch.tensor([own, other], dtype=torch.float64).reshape(1, 2, 1, 1)
    felt = social_value_orientation(rewards, None, weight=0.3, target=target)[0, 0, 0, 0]
    expected = own - 0.3 * abs(math.atan2(other, own) - math.radians(target))
    assert float(felt) == pytest.approx(expected, abs=1e-9)


def test_means_leave_out_what_comes_after_the_end() -> None:
    episodes = trajectory(8)
    ones = torch.ones(SEEDS, AGENTS, TIME, EPISODES, dtype=torch.float64)
    lengths = episodes.mask.sum((1, 2)).mean(-1)
    torch.testing.assert_close(per_episode(ones, episodes), lengths[:, None].expand(-1, AGENTS))
    torch.testing.assert_close(per_step(ones, episodes), torch.ones(SEEDS, AGENTS).double())


def test_a_matrix_in_every_step_is_that_matrix() -> None:
    episodes, draws = trajectory(), torch.Generator().manual_seed(0)
    matrix = torch.rand(SEEDS, AGENTS, AGENTS, generator=draws, dtype=torch.float64).softmax(-1)
    gifts = SharedBy(matrix).gifts(episodes)
    torch.testing.assert_close(gifts.sum(1), SharedBy(matrix).rewards(episodes), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: SharingNetwork(Sharing(GRAPH), BOX, interval=0), "interval must be 1 step or more, not 0"),
        (lambda: SharingNetwork(Sharing(GRAPH), BOX, hidden=(0,)), "needs 1 unit or more"),
        (lambda: InequityAverse(envy=-1.0), "envy must be 0 or more, not -1"),
        (lambda: InequityAverse(trace_decay=2.0), "trace_decay is from 0 to 1, not 2"),
        (lambda: SVO(weight=-1.0), "weight must be 0 or more, not -1"),
        (lambda: SVO(target=200.0), "angle from -180 to 180, not 200"),
    ],
)
def test_what_is_no_transfer_is_refused(build: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build()


def test_what_the_others_did_is_in_order() -> None:
    episodes = trajectory()
    acted = ObservationEncoder(BOX, AGENTS, ACTIONS).encode_other_actions(episodes, episodes.rewards)
    assert acted.shape == (SEEDS, AGENTS, TIME, EPISODES, 2 * ACTIONS)
    assert torch.equal(acted[..., ACTIONS:].argmax(-1)[:, 1], episodes.actions[:, 2])
    assert torch.equal(acted[..., :ACTIONS].argmax(-1)[:, 1], episodes.actions[:, 0])
