"""Agents that have left a game neither give nor receive, by whatever rule rewards pass between agents."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bilevel.agents import Trajectory
from bilevel.methods._d3c_bound import MixedBy, Mixing
from bilevel.methods._gifting import ChosenGifts
from bilevel.methods._lio import Incentives
from bilevel.methods._planner import Planner
from bilevel.methods._preferences import PreferenceTransfer, inequity_aversion
from bilevel.sharing import FixedMatrix, LearnedMatrix, OuterVariable, SharedBy, Sharing, SharingNetwork
from games.grid import StagHuntGrid
from games.wrappers import GiftGame, GiftRules
from tests.bilevel.sharing.test_transfers import (
    ACTIONS,
    AGENTS,
    BALANCED,
    BOX,
    EPISODES,
    GRAPH,
    PREFERENCES,
    RING,
    SEEDS,
    TIME,
    random_phi,
    trajectory,
)

HUNT = StagHuntGrid(agents=AGENTS, hunters=2)


def leaving(seed: int) -> Trajectory:
    """Episodes whose agents leave for good, one after the other, and earn nothing from then on."""
    draws, episodes = torch.Generator().manual_seed(seed), trajectory(seed)
    leaves = torch.randint(1, TIME + 2, (SEEDS, AGENTS, 1, EPISODES), generator=draws)
    present = torch.arange(TIME)[:, None] < leaves
    return episodes._replace(rewards=episodes.rewards * present, present=present)


def gifts(budget: str, purse: float = 0.0) -> ChosenGifts:
    rules = GiftRules(amount=0.5, budget=budget, purse=purse)  # type: ignore[arg-type]
    return ChosenGifts(GiftGame(game=HUNT, rules=rules))


CONSERVED: dict[str, OuterVariable] = {
    **BALANCED,
    "fixed matrix": FixedMatrix(torch.tensor([[0.5, 0.25, 0.25], [0, 1, 0], [0.125, 0.5, 0.375]]).double()),
    "learned matrix": LearnedMatrix(Sharing(RING)),
    "network among neighbors": SharingNetwork(Sharing(RING), BOX),
    "chosen gifts": gifts("zero-sum"),
}
"""Whose total is that of the game."""
OTHERS: dict[str, OuterVariable] = {
    "incentives": Incentives(GRAPH, BOX, ACTIONS),
    "payments": Planner(BOX, AGENTS, ACTIONS),
    "mixing": Mixing(GRAPH, own_weight=0.4),
    **PREFERENCES,
    "gifts out of a purse": gifts("fixed", purse=1.2),
    "gifts out of a purse that is filled": gifts("replenishable", purse=0.3),
}
EVERYTHING = CONSERVED | OTHERS


def acted(variable: OuterVariable, episodes: Trajectory, seed: int) -> Trajectory:
    """The same episodes, with actions of the game that the variable is about."""
    if not isinstance(variable, ChosenGifts):
        return episodes
    many = int(variable.game.action_space.n)
    draws = torch.Generator().manual_seed(seed)
    return episodes._replace(actions=torch.randint(many, episodes.actions.shape, generator=draws))


@pytest.mark.parametrize("variable", EVERYTHING.values(), ids=EVERYTHING.keys())
@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_nothing_goes_to_or_from_agents_that_have_left(variable: OuterVariable, seed: int) -> None:
    episodes = acted(variable, leaving(seed), seed)
    present = episodes.present
    assert present is not None
    transfer = variable.transfer(random_phi(variable, seed))
    seen, given_ = transfer.rewards(episodes), transfer.gifts(episodes)
    assert (seen[~present] == 0).all()
    others = ~torch.eye(AGENTS, dtype=torch.bool)[..., None, None]
    gone = ~present.unsqueeze(1) | ~present.unsqueeze(2)
    assert (given_[gone & others] == 0).all()


@pytest.mark.parametrize("variable", CONSERVED.values(), ids=CONSERVED.keys())
@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_the_total_is_conserved_among_the_agents_present(variable: OuterVariable, seed: int) -> None:
    episodes = acted(variable, leaving(seed), seed)
    assert episodes.present is not None
    given_rows = isinstance(variable, FixedMatrix)
    phi = variable.initial(seed, SEEDS) if given_rows else random_phi(variable, seed)
    seen = variable.transfer(phi).rewards(episodes)
    total = (seen * episodes.present).sum(1)
    torch.testing.assert_close(total, episodes.rewards.sum(1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("variable", EVERYTHING.values(), ids=EVERYTHING.keys())
def test_while_everybody_is_present_nothing_changes(variable: OuterVariable) -> None:
    episodes = acted(variable, trajectory(3), 3)
    everybody = torch.ones(SEEDS, AGENTS, TIME, EPISODES, dtype=torch.bool)
    transfer = variable.transfer(random_phi(variable))
    for rule in (transfer.rewards, transfer.gifts):
        there = rule(episodes._replace(present=everybody))
        torch.testing.assert_close(there, rule(episodes), rtol=0, atol=1e-12)


def one_step(rewards: list[float], present: list[bool]) -> Trajectory:
    own = torch.tensor(rewards, dtype=torch.float64).reshape(1, -1, 1, 1)
    still, here = torch.zeros_like(own).long(), torch.tensor(present).reshape(own.shape)
    return Trajectory(still, still, own, torch.ones_like(own[:, :1]), None, present=here)


def test_the_share_of_an_agent_that_left_stays_with_its_giver() -> None:
    matrix = torch.tensor([[[0.5, 0.2, 0.3], [0.25, 0.75, 0.0], [0.1, 0.6, 0.3]]], dtype=torch.float64)
    episodes = one_step([10.0, 100.0, 0.0], [True, True, False])
    assert SharedBy(matrix).rewards(episodes).flatten().tolist() == pytest.approx([33.0, 77.0, 0.0])
    assert SharedBy(matrix).gifts(episodes)[0, :, :, 0, 0].tolist() == [
        pytest.approx([8, 2, 0]),
        pytest.approx([25, 75, 0]),
        [0, 0, 0],
    ]


def test_of_an_agent_that_left_nothing_is_felt() -> None:
    weights = torch.tensor([[[0.5, 0.2, 0.3], [0.25, 0.75, 0.0], [0.1, 0.6, 0.3]]], dtype=torch.float64)
    episodes = one_step([10.0, 100.0, 0.0], [True, True, False])
    assert MixedBy(weights).rewards(episodes).flatten().tolist() == pytest.approx([28.0, 77.5, 0.0])
    envy = functools.partial(inequity_aversion, envy=0.5, guilt=0.25, trace_decay=0.95, discount=0.99)
    envious = PreferenceTransfer(envy, 3)
    assert envious.rewards(episodes).flatten().tolist() == pytest.approx([-35.0, 77.5, 0.0])


def test_the_part_of_a_gift_whose_receiver_left_is_not_spent() -> None:
    """Of a gift of .5 to two agents, one of whom has left, .25 is given: a purse of .6 lasts longer."""
    variable, give = gifts("fixed", purse=0.6), int(HUNT.action_space.n)
    own = torch.zeros(1, AGENTS, 3, 1, dtype=torch.float64)
    actions = torch.zeros(1, AGENTS, 3, 1, dtype=torch.int64)
    actions[:, 0] = give
    present = torch.ones_like(actions, dtype=torch.bool)
    present[:, 2, 0] = present[:, 2, 1:] = False
    mask = torch.ones_like(own[:, :1])
    episodes = Trajectory(torch.zeros_like(actions), actions, own, mask, None, present=present)
    assert variable.given(episodes)[0, 0, :, 0].tolist() == pytest.approx([0.25, 0.175, 0.0875])
    assert variable.rewards(episodes)[0, 1, :, 0].tolist() == pytest.approx([0.25, 0.175, 0.0875])


def test_networks_do_not_see_what_agents_that_left_do() -> None:
    """The actions of agents that have left have no meaning, so no gift may depend on them."""
    episodes = leaving(5)
    assert episodes.present is not None
    otherwise = episodes._replace(
        actions=torch.where(episodes.present, episodes.actions, 1 - episodes.actions)
    )
    assert not torch.equal(otherwise.actions, episodes.actions)
    for variable in (Incentives(GRAPH, BOX, ACTIONS), Planner(BOX, AGENTS, ACTIONS)):
        transfer = variable.transfer(random_phi(variable))
        assert torch.equal(transfer.rewards(episodes), transfer.rewards(otherwise))


def test_gradients_reach_the_shares_of_those_present_alone() -> None:
    logits = torch.zeros(1, 3, 3, dtype=torch.float64, requires_grad=True)
    episodes = one_step([1.0, 1.0, 0.0], [True, True, False])
    seen: Tensor = LearnedMatrix(Sharing(GRAPH)).transfer(logits).rewards(episodes)
    seen[0, 1].sum().backward()
    # agent 1 keeps 1 - T_10 of its own reward and gets T_01 of agent 0's; a softmax moves by T (1 - T)
    expected = torch.tensor([[[-1, 2, -1], [-2, 1, 1], [0, 0, 0]]], dtype=torch.float64) / 9
    torch.testing.assert_close(logits.grad, expected, rtol=0, atol=1e-12)
