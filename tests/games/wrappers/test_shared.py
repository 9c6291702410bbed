"""Shared rewards: conserved, exact where the game is exact, and bad matrices refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from games import make
from games.adapters._parallel_env import ParallelView, env
from games.core import ExactGame, Game, two_action_policies
from games.matrix import EscapeRoom
from games.matrix._escape_room import DOOR, LEVER, START
from games.wrappers import shared
from games.wrappers._shared import IncentiveGame, SharedExactGame, SharedGame
from tests.games.adapters.pettingzoo_contract import check_contract


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Games pay in the default type: laws are tested to rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def matrix(agents: int, seed: int) -> Tensor:
    """A random sharing matrix with some zeros."""
    draws = torch.rand(agents, agents, generator=torch.Generator().manual_seed(seed))
    draws = torch.where(draws < 0.3, 0, draws) + 0.1 * torch.eye(agents)
    return draws / draws.sum(-1, keepdim=True)


def some_play(game: Game, seed: int, batch: int = 5) -> Iterator[tuple[object, Tensor, Tensor]]:
    """States, rewards and ends of random play to the horizon."""
    generator = torch.Generator().manual_seed(seed)
    state = game.reset(batch, generator)
    for _ in range(game.horizon):
        actions = torch.randint(int(game.action_space.n), (batch, game.num_agents), generator=generator)
        state, rewards, done = game.step(state, actions, generator)
        yield state, rewards, done


@given(agents=st.integers(2, 5), seed=st.integers(0, 2**32))
@settings(max_examples=25)
def test_sharing_conserves_the_total(agents: int, seed: int) -> None:
    game = shared(EscapeRoom(agents=agents, levers=1, random_start=True), matrix(agents, seed))
    for state, rewards, _ in some_play(game, seed):
        torch.testing.assert_close(rewards.sum(-1), state.extrinsic.sum(-1), rtol=0, atol=1e-12)
        torch.testing.assert_close(state.given.sum(-1), state.extrinsic, rtol=0, atol=1e-12)
        torch.testing.assert_close(state.given.sum(-2), rewards, rtol=0, atol=1e-12)


@given(
    name=st.sampled_from(["repeated-chicken", "public-goods", "matching-pennies"]), seed=st.integers(0, 2**32)
)
@settings(max_examples=25)
def test_exact_values_are_shared_exactly(name: str, seed: int) -> None:
    plain = make(name)
    assert isinstance(plain, ExactGame)
    T = matrix(plain.num_agents, seed)
    game = shared(plain, T)
    assert isinstance(game, SharedExactGame)
    shape = (7, plain.num_agents, plain.num_observations, int(plain.action_space.n))
    policies = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).softmax(-1)
    torch.testing.assert_close(game.values(policies), plain.values(policies) @ T, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        game.values(policies).sum(-1), plain.values(policies).sum(-1), rtol=0, atol=1e-12
    )
    cooperation, as_before = game.cooperation(policies), plain.cooperation(policies)
    assert (cooperation is None) == (as_before is None)
    assert cooperation is None or torch.equal(cooperation, as_before)


def test_the_steps_of_an_exact_game_pay_its_values() -> None:
    game = shared(make("prisoners-dilemma"), [[0.7, 0.3], [0.2, 0.8]])
    joint = torch.cartesian_prod(torch.arange(2), torch.arange(2))
    generator = torch.Generator()
    _, rewards, _ = game.step(game.reset(4, generator), joint, generator)
    policies = torch.nn.functional.one_hot(joint, 2).unsqueeze(-2).double()
    torch.testing.assert_close(rewards, game.values(policies), rtol=0, atol=1e-12)


@given(w1=st.floats(0, 1), w2=st.floats(0, 1), p=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_inner_gradient_of_the_prisoners_dilemma(w1: float, w2: float, p: tuple[float, float]) -> None:
    """With (-1, -3, 0, -2) and shares w given away, d V~_1 / d p_1 = -(1 - w1) + 2 w2 (derived)."""
    game = shared(make("prisoners-dilemma"), [[1 - w1, w1], [w2, 1 - w2]])
    cooperate = torch.tensor(p).unsqueeze(-1).requires_grad_()
    (gradient,) = torch.autograd.grad(game.values(two_action_policies(cooperate))[0], cooperate)
    assert gradient[0, 0].item() == pytest.approx(-(1 - w1) + 2 * w2, abs=1e-12)


@given(keep=st.floats(0, 1), take=st.floats(0, 1))
def test_sharing_a_zero_sum_game_scales_it(keep: float, take: float) -> None:
    """By T_11 - T_21, for both agents (derived)."""
    plain = make("matching-pennies")
    assert isinstance(plain, ExactGame)
    game = shared(plain, [[keep, 1 - keep], [take, 1 - take]])
    policies = two_action_policies(torch.tensor([[0.9], [0.3]]))
    torch.testing.assert_close(
        game.values(policies), (keep - take) * plain.values(policies), rtol=0, atol=1e-12
    )


def test_identity_and_common_reward() -> None:
    plain = make("public-goods")
    assert isinstance(plain, ExactGame)
    policies = two_action_policies(torch.tensor([[0.1], [0.6], [0.8]]))
    values = plain.values(policies)
    torch.testing.assert_close(shared(plain, torch.eye(3)).values(policies), values, rtol=0, atol=0)
    common = shared(plain, np.full((3, 3), 1 / 3)).values(policies)
    torch.testing.assert_close(common, values.mean().expand(3), rtol=0, atol=1e-12)


def test_a_shared_game_is_the_game_in_all_else() -> None:
    plain = EscapeRoom(agents=3, levers=2)
    game = shared(plain, matrix(3, 0))
    assert type(game) is SharedGame
    assert game.best_welfare == plain.best_welfare == 8
    assert game.defection_welfare == plain.defection_welfare
    assert game.action_names == plain.action_names
    generator = torch.Generator()
    state = game.reset(2, generator)
    actions = torch.tensor([[LEVER, LEVER, DOOR], [START, LEVER, DOOR]])
    assert torch.equal(game.cooperates(state, actions), actions == LEVER)
    state, _, done = game.step(state, actions, generator)
    assert done.tolist() == game.ended(state).tolist() == [True, False]
    assert np.array_equal(game.render(state, 1), plain.render(state.game, 1))


def test_the_game_is_told_what_was_given() -> None:
    game = shared(EscapeRoom(), [[0.75, 0.25], [0.5, 0.5]])
    generator = torch.Generator()
    state, rewards, _ = game.step(game.reset(1, generator), torch.tensor([[LEVER, DOOR]]), generator)
    assert rewards.tolist() == [[-0.75 + 5, -0.25 + 5]]
    assert state.extrinsic.tolist() == [[-1, 10]]
    assert game.observe(state)[0, :, -1].tolist() == [-0.25, 5]
    again = game.give(state, torch.ones(1, 2, 2))
    assert game.observe(again)[0, :, -1].tolist() == [0.75, 6]


def test_restart_leaves_the_others_alone() -> None:
    game = shared(EscapeRoom(), [[0.75, 0.25], [0.5, 0.5]])
    generator = torch.Generator()
    before, *_ = game.step(game.reset(2, generator), torch.tensor([[LEVER, DOOR]] * 2), generator)
    after = game.restart(before, torch.tensor([True, False]), generator)
    assert after.extrinsic.tolist() == [[0, 0], [-1, 10]]
    assert torch.equal(after.given[1], before.given[1])
    assert not after.given[0].any()
    assert after.game.time.tolist() == [0, 1]


def test_settings_are_plain_numbers_that_can_be_compared_and_kept() -> None:
    plain = make("repeated-stag-hunt")
    one = shared(plain, torch.tensor([[0.5, 0.5], [0.0, 1.0]]))
    other = shared(plain, [[0.5, 0.5], [0, 1]])
    assert one == other == pickle.loads(pickle.dumps(one)) == copy.deepcopy(one)
    assert hash(one) == hash(other)
    assert one.sharing == ((0.5, 0.5), (0.0, 1.0))


@pytest.mark.parametrize(
    ("sharing", "sentence"),
    [
        ([[1.1, -0.1], [0, 1]], "0 or more, but agent 0 gives agent 1 -0.1"),
        (
            [[0.5, 0.5], [0.2, 0.9]],
            r"agent 1 keeps and gives must sum to 1, but it sums to 1\.1 and misses 1 by \+0\.1",
        ),
        ([[0.5, 0.5], [float("nan"), 1]], "agent 1 gives agent 0 nan"),
        ([[0.5, 0.5], [float("inf"), 1]], "sums to inf"),
        (np.eye(3), "of 2 agents has the shape .* .giver, receiver.; this one has .3, 3"),
        (1.0, "two axes"),
        ([[1, 0], [1]], "rows of numbers, all equally long"),
        (torch.eye(2).requires_grad_(), "requires a gradient"),
    ],
)
def test_bad_matrices_are_refused(sharing: object, sentence: str) -> None:
    for target in (make("chicken"), EscapeRoom(), ParallelView(EscapeRoom())):
        message = sentence.replace("agent 0", "agent (agent_)?0").replace("agent 1", "agent (agent_)?1")
        with pytest.raises(ValueError, match=message):
            shared(target, sharing)


def test_strangers_share_nothing() -> None:
    tycoon = make("tycoon-prisoners-dilemma")
    allowed = [[0.8, 0.1, 0.1], [0.5, 0.5, 0], [0.5, 0, 0.5]]
    assert shared(tycoon, allowed).num_agents == 3
    with pytest.raises(
        ValueError, match=r"Agent 1 gives agent 2 the share 0\.25, but .* they are no neighbors"
    ):
        shared(tycoon, [[1, 0, 0], [0.5, 0.25, 0.25], [0, 0, 1]])


def test_what_is_no_game_is_refused() -> None:
    with pytest.raises(ValueError, match=r"and OrderEnforcingWrapper is neither .*aec_to_parallel"):
        shared(env("chicken"), np.eye(2))
    with pytest.raises(ValueError, match="by a sharing matrix givers pay in any case"):
        shared(EscapeRoom(), np.eye(2), givers_pay=True)


def reward_the_lever(seen: Tensor, actions: Tensor) -> Tensor:
    """Everybody gives 3 to whoever chooses the lever, and its second observation squared to everybody."""
    given = 3.0 * (actions == LEVER).unsqueeze(-2) + seen[..., 1].square().unsqueeze(-1)
    return given.expand(-1, actions.shape[-1], -1)


@pytest.mark.parametrize("givers_pay", [False, True])
def test_incentives_by_hand(givers_pay: bool) -> None:
    game = shared(EscapeRoom(), reward_the_lever, givers_pay=givers_pay)
    assert isinstance(game, IncentiveGame)
    generator = torch.Generator()
    state, rewards, _ = game.step(game.reset(1, generator), torch.tensor([[LEVER, DOOR]]), generator)
    # Both stand at the start, so that each gives the other 1 more.
    assert state.extrinsic.tolist() == [[-1, 10]]
    assert state.given.tolist() == [[[0, 1], [4, 0]]]
    assert rewards.tolist() == ([[-1 + 4 - 1, 10 + 1 - 4]] if givers_pay else [[-1 + 4, 10 + 1]])
    assert game.best_welfare == (9 if givers_pay else None)
    assert game.defection_welfare == (0 if givers_pay else None)


@given(seed=st.integers(0, 2**32), agents=st.integers(2, 5))
@settings(max_examples=25)
def test_incentives_that_givers_pay_conserve_the_total(seed: int, agents: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def random_gifts(seen: Tensor, actions: Tensor) -> Tensor:
        return torch.randn(*actions.shape, actions.shape[-1], generator=generator)

    plain = EscapeRoom(agents=agents, levers=1)
    for state, rewards, _ in some_play(shared(plain, random_gifts, givers_pay=True), seed):
        torch.testing.assert_close(rewards.sum(-1), state.extrinsic.sum(-1), rtol=0, atol=1e-12)
    for state, rewards, _ in some_play(shared(plain, random_gifts), seed):
        torch.testing.assert_close(rewards, state.extrinsic + state.given.sum(-2), rtol=0, atol=1e-12)


def test_incentives_are_differentiable_and_stay_among_neighbors() -> None:
    weight = torch.tensor(2.0, requires_grad=True)
    game = shared(
        make("tycoon-prisoners-dilemma"), lambda seen, actions: weight * torch.ones(len(actions), 3, 3)
    )
    generator = torch.Generator()
    state, rewards, _ = game.step(game.reset(1, generator), torch.tensor([[0, 0, 0]]), generator)
    assert (state.given[0] != 0).tolist() == [[False, True, True], [True, False, False], [True, False, False]]
    (slope,) = torch.autograd.grad(rewards.sum(), weight)
    assert slope.item() == 4


def test_incentives_of_a_wrong_shape_are_refused() -> None:
    game = shared(EscapeRoom(), lambda seen, actions: torch.zeros(1, 2))
    generator = torch.Generator()
    with pytest.raises(ValueError, match=r"giver, receiver\] = \(1, 2, 2\), not \(1, 2\)"):
        game.step(game.reset(1, generator), torch.tensor([[0, 0]]), generator)


def test_the_view_tells_what_the_game_itself_paid() -> None:
    game = shared(make("prisoners-dilemma"), [[0.5, 0.5], [0, 1]])
    view = ParallelView(game)
    view.reset(seed=0)
    _, rewards, _, _, infos = view.step({"agent_0": 0, "agent_1": 1})
    assert rewards == {"agent_0": -1.5, "agent_1": -1.5}
    told = {"cooperated": True, "extrinsic_reward": -3.0, "given": -1.5, "received": 0.0}
    assert infos["agent_0"] == told


@pytest.mark.parametrize(
    "game", [EscapeRoom(agents=3, levers=2, random_start=True), make("repeated-public-goods", horizon=9)]
)
def test_views_of_shared_games_keep_the_contract(game: Game) -> None:
    check_contract(lambda: ParallelView(shared(game, matrix(3, 4))))
