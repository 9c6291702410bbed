import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from games.matrix import MatrixState, NormalForm, SymmetricTwoAgentGame
from games.matrix._matrix import payoff_tensor

ROCK_PAPER_SCISSORS = NormalForm(
    table=(((0, 0), (-1, 1), (1, -1)), ((1, -1), (0, 0), (-1, 1)), ((-1, 1), (1, -1), (0, 0)))
)


def random_game(agents: int, actions: int, seed: int) -> NormalForm:
    table = np.random.default_rng(seed).normal(size=(*[actions] * agents, agents))
    return NormalForm(table=tuple(table.tolist()))


def random_policies(game: NormalForm, *batch: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (*batch, game.num_agents, 1, int(game.action_space.n))
    return torch.randn(shape, generator=generator, dtype=torch.float64).softmax(-1)


@given(agents=st.integers(2, 4), actions=st.integers(2, 3), seed=st.integers(0, 999))
@settings(max_examples=30)
def test_values_are_the_expectation_over_profiles(agents: int, actions: int, seed: int) -> None:
    game = random_game(agents, actions, seed)
    policies = random_policies(game, 2, seed=seed)
    payoffs = game.payoffs()
    expected = torch.zeros(2, agents, dtype=torch.float64)
    for profile in np.ndindex(*[actions] * agents):
        weight = torch.stack([policies[:, i, 0, action] for i, action in enumerate(profile)]).prod(0)
        expected += weight.unsqueeze(-1) * payoffs[profile]
    torch.testing.assert_close(game.values(policies), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_keep_batch_and_type(batch: tuple[int, ...], dtype: torch.dtype) -> None:
    game = random_game(3, 2, 0)
    values = game.values(random_policies(game, *batch).to(dtype))
    assert values.shape == (*batch, 3)
    assert values.dtype == dtype


def test_rock_paper_scissors_uniform_is_worth_nothing_and_exploiting_rock_one() -> None:
    uniform = torch.full((1, 3), 1 / 3, dtype=torch.float64)
    rock, paper = torch.eye(3, dtype=torch.float64)[:2].unsqueeze(1)
    game = ROCK_PAPER_SCISSORS
    assert game.values(torch.stack((uniform, uniform))).abs().max() < 1e-15
    # NashConv(always rock, uniform) = 1: only agent 1 gains from its best answer, paper.
    torch.testing.assert_close(game.values(torch.stack((rock, paper))), torch.tensor([-1.0, 1.0]).double())


def test_values_pass_gradcheck_twice() -> None:
    game = random_game(3, 2, 1)
    policies = random_policies(game, 2).requires_grad_()
    assert torch.autograd.gradcheck(game.values, policies)
    assert torch.autograd.gradgradcheck(game.values, policies)


@given(seed=st.integers(0, 99))
@settings(max_examples=10)
def test_step_pays_what_the_table_says(seed: int) -> None:
    game = random_game(3, 3, seed)
    generator = torch.Generator().manual_seed(seed)
    state = game.reset(16, generator)
    actions = torch.randint(3, (16, 3), generator=generator)
    after, rewards, done = game.step(state, actions, generator)
    payoffs = game.payoffs().float()
    for copy in range(16):
        assert rewards[copy].tolist() == payoffs[tuple(actions[copy].tolist())].tolist()
    assert done.all()
    assert game.ended(after).all()
    assert not game.ended(state).any()
    assert state.time.eq(0).all()
    assert state.actions.eq(-1).all()
    assert after.actions.equal(actions)


def test_spaces_and_observations() -> None:
    game = ROCK_PAPER_SCISSORS
    assert game.num_agents == 2
    assert game.action_space.n == 3
    assert game.observation_space.n == game.num_observations == 1
    assert game.horizon == 1
    assert game.observe(game.reset(4, torch.Generator())).equal(torch.zeros(4, 2, dtype=torch.int64))
    assert game.neighbors.all()


def test_a_game_without_the_reading_has_no_cooperation() -> None:
    game = ROCK_PAPER_SCISSORS
    state = game.reset(1, torch.Generator())
    assert game.cooperation(random_policies(game)) is None
    assert game.cooperates(state, torch.zeros(1, 2, dtype=torch.int64)) is None
    assert game.defection_welfare is None
    assert game.action_names == ("0", "1", "2")
    assert game.best_welfare == 0


def test_cooperation_is_action_zero() -> None:
    game = SymmetricTwoAgentGame(names=("stag", "hare"))
    policies = torch.tensor([[[0.25, 0.75]], [[1.0, 0.0]]])
    cooperation = game.cooperation(policies)
    assert cooperation is not None
    assert cooperation.tolist() == [0.25, 1.0]
    cooperates = game.cooperates(game.reset(1, torch.Generator()), torch.tensor([[0, 1]]))
    assert cooperates is not None
    assert cooperates.tolist() == [[True, False]]
    assert game.action_names == ("stag", "hare")


def test_lists_become_tuples_so_that_the_game_can_be_hashed() -> None:
    lists = NormalForm(table=[[[1, 2], [3, 4]], [[5, 6], [7, 8]]])  # type: ignore[arg-type]
    tuples = NormalForm(table=(((1, 2), (3, 4)), ((5, 6), (7, 8))))
    assert lists == tuples
    assert hash(lists) == hash(tuples)


def test_pickling_after_use_carries_settings_only() -> None:
    game = random_game(2, 2, 3)
    game.values(random_policies(game))
    copy = pickle.loads(pickle.dumps(game))
    assert copy == game
    assert set(vars(copy)) == {"table", "names", "cooperative"}


def test_payoffs_is_a_copy_and_the_kept_table_is_not_touched() -> None:
    game = random_game(2, 2, 4)
    before = game.values(random_policies(game))
    game.payoffs().zero_()
    assert game.values(random_policies(game)).equal(before)


def test_a_table_first_needed_inside_a_transform_serves_afterwards() -> None:
    game = random_game(2, 2, 5)
    policies = random_policies(game)
    inside = torch.func.grad(lambda x: torch.func.grad(lambda y: game.values(y).square().sum())(x).sum())
    inside(policies)
    assert game.values(policies).isfinite().all()
    with torch.inference_mode():
        payoff_tensor(game, torch.float32, torch.device("cpu"))
    tracked = policies.float().requires_grad_()
    (gradient,) = torch.autograd.grad(game.values(tracked).sum(), tracked)
    assert gradient.isfinite().all()


def test_compiles_to_one_graph() -> None:
    game = random_game(3, 2, 6)
    policies = random_policies(game, 4)
    torch.compiler.reset()  # else another test's sizes make this one's dynamic
    values = torch.compile(game.values, fullgraph=True, backend="eager")
    torch.testing.assert_close(values(policies), game.values(policies), atol=1e-14, rtol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"table": ((1, 2), (3, 4))}, r"needs the shape A x ... x A x N.* this one is 2 x 2"),
        ({"table": (((1, 2, 3), (3, 4, 5)), ((5, 6, 7), (7, 8, 9)))}, "this one is 2 x 2 x 3"),
        ({"table": (((1, 2),) * 3,) * 2}, "this one is 2 x 3 x 2"),
        ({"table": (((1, 2), (3,)), ((5, 6), (7, 8)))}, "equally long at each level"),
        ({"table": ((("a", 2), (3, 4)), ((5, 6), (7, 8)))}, "nested tuples of numbers"),
        ({"table": (((1, 2), (3, float("inf"))), ((5, 6), (7, 8)))}, "must be finite"),
        ({"table": (((1, 2),) * 2,) * 2, "names": ("a",)}, "2 actions and 1 names"),
        ({"table": (((1, 2),) * 3,) * 3, "cooperative": True}, "only with two actions; this one has 3"),
        ({"table": 7}, "this one is one number"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NormalForm(**settings)


@pytest.mark.parametrize("agents", [2, 3])
def test_render_marks_what_was_played(agents: int) -> None:
    game = random_game(agents, 2, 0)
    state = game.reset(2, torch.Generator())
    blank = game.render(state)
    assert blank.dtype == np.uint8
    assert blank.shape[2] == 3
    after, _, _ = game.step(state, torch.zeros(2, agents, dtype=torch.int64), torch.Generator())
    other = MatrixState(after.time, torch.ones_like(after.actions))
    frames = [game.render(after, 1), game.render(other, 1)]
    assert not np.array_equal(*frames)
