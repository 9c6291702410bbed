"""Sharing matrices: laws (derived) and refusals."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bilevel.sharing import Sharing, check_neighbors, identity_sharing, self_interest_sharing, share
from bilevel.sharing._sharing import redistribute
from games.matrix import Cyclical
from games.wrappers import check_sharing

AGENTS = st.integers(1, 6)
SEEDS = st.integers(0, 2**31)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_graph(seed: int, agents: int) -> torch.Tensor:
    return (draw(seed, agents, agents) > 0.3) | torch.eye(agents, dtype=torch.bool)


def everybody(agents: int) -> torch.Tensor:
    return torch.ones(agents, agents, dtype=torch.bool)


@given(agents=AGENTS, seed=SEEDS)
@settings(max_examples=30)
def test_a_total_is_conserved_whatever_is_shared(agents: int, seed: int) -> None:
    sharing = (3 * draw(seed, 4, agents, agents)).softmax(-1)
    rewards = 10 * draw(seed + 1, 4, agents)
    torch.testing.assert_close(share(rewards, sharing).sum(-1), rewards.sum(-1), rtol=0, atol=1e-12)
    many = draw(seed + 2, 4, agents, 7)
    torch.testing.assert_close(redistribute(many, sharing).sum(-2), many.sum(-2), rtol=0, atol=1e-12)


def test_rows_are_givers() -> None:
    """Agent 0 gives .3 of its reward to agent 1, who keeps everything."""
    sharing = torch.tensor([[0.7, 0.3], [0.0, 1.0]], dtype=torch.float64)
    rewards = torch.tensor([[10.0, 0.0], [0.0, 10.0]], dtype=torch.float64)
    expected = torch.tensor([[7.0, 3.0], [0.0, 10.0]], dtype=torch.float64)
    torch.testing.assert_close(share(rewards, sharing), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(redistribute(rewards.T, sharing), expected.T, rtol=0, atol=1e-12)


def test_zero_sum_games_are_scaled_by_the_difference_of_shares() -> None:
    """With r_2 = -r_1 sharing gives agent 1 (T_11 - T_21) r_1 (derived)."""
    sharing = torch.tensor([[0.9, 0.1], [0.4, 0.6]], dtype=torch.float64)
    rewards = torch.tensor([2.0, -2.0], dtype=torch.float64)
    expected = (0.9 - 0.4) * rewards
    torch.testing.assert_close(share(rewards, sharing), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("sharing", "sentence"),
    [
        ([[1.2, -0.2], [0.0, 1.0]], r"Shares must be 0 or more, but agent 0 gives agent 1 -0.2\."),
        ([[1.0, 0.0], [0.5, math.nan]], r"Shares must be 0 or more, but agent 1 gives agent 1 nan\."),
        ([[1.0, 0.0], [0.5, 0.4]], r"agent 1 keeps and gives must sum to 1, but .* misses 1 by -0.1\."),
        ([[1.0, 0.1], [0.0, 1.0]], r"agent 0 keeps and gives must sum to 1, but .* misses 1 by \+0.1\."),
        ([[1.0, math.inf], [0.0, 1.0]], r"agent 0 keeps and gives must sum to 1, but .* misses 1 by \+inf\."),
        ([[1.0, 0.0]], r"of 2 agents has the shape \[\.\.\., 2, 2\] \(giver, receiver\); .* has \[1, 2\]\."),
        ([1.0, 0.0], r"of 2 agents has the shape .*has \[2\]\."),
    ],
)
def test_what_is_no_sharing_matrix_is_refused(sharing: list, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        share(torch.ones(2, dtype=torch.float64), torch.tensor(sharing, dtype=torch.float64))


def test_a_batch_is_refused_by_the_place_of_its_first_bad_row() -> None:
    sharing = torch.eye(3).repeat(5, 1, 1)
    sharing[3, 2, 2] = 0.25
    with pytest.raises(ValueError, match=r"agent 2 keeps .* misses 1 by -0.75 \(in matrix 3\)"):
        check_sharing(sharing, agents=3)


def test_rewards_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="single number"):
        share(torch.tensor(1.0), torch.eye(2))
    with pytest.raises(ValueError, match=r"one dtype, but they are torch.float32 and torch.float64"):
        share(torch.ones(2), torch.eye(2, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"floating, but this one is torch.int64"):
        share(torch.ones(2), torch.eye(2, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rounding_of_a_softmax_is_forgiven(dtype: torch.dtype) -> None:
    check_sharing((5 * draw(0, 100, 6, 6)).to(dtype).softmax(-1), agents=6)


@given(agents=AGENTS, seed=SEEDS)
@settings(max_examples=30)
def test_learned_rows_sum_to_one_and_strangers_get_nothing(agents: int, seed: int) -> None:
    graph = random_graph(seed, agents)
    logits = (4 * draw(seed + 1, 3, agents, agents)).requires_grad_()  # a batch of seeds
    matrix = Sharing(graph).matrix(logits)
    check_sharing(matrix, agents=agents)
    torch.testing.assert_close(matrix.sum(-1), torch.ones_like(matrix[..., 0]), rtol=0, atol=1e-12)
    assert torch.equal(matrix == 0, (~graph).expand_as(matrix))
    weights = draw(seed + 2, 3, agents, agents)
    (gradient,) = torch.autograd.grad((matrix * weights).sum(), logits, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), logits)
    for derivative in (gradient, second):
        assert derivative.isfinite().all()
        assert (derivative.masked_select(~graph) == 0).all()
    for seed_logits, seed_matrix in zip(logits, matrix, strict=True):
        torch.testing.assert_close(Sharing(graph).matrix(seed_logits), seed_matrix, rtol=0, atol=1e-15)


@given(agents=AGENTS, seed=SEEDS, own_share=st.floats(0.01, 0.99))
@settings(max_examples=30)
def test_the_start_keeps_the_own_share_and_splits_the_rest_evenly(
    agents: int, seed: int, own_share: float
) -> None:
    """log(rho / (1 - rho) (k - 1)) on oneself is the reward-transfer rule with s = rho."""
    graph = random_graph(seed, agents)
    sharing = Sharing(graph, own_share)
    expected = self_interest_sharing(graph, own_share)
    torch.testing.assert_close(sharing.matrix(sharing.initial()), expected, rtol=0, atol=1e-12)


def test_a_start_without_an_own_share_is_even_over_the_neighborhood() -> None:
    buffer = Cyclical(agents=5).neighbors
    sharing, graph = Sharing(buffer), buffer.double()
    assert graph.sum(-1).tolist() == [3.0] * 5  # a buffer: oneself, the one before, the one after
    torch.testing.assert_close(sharing.matrix(sharing.initial()), graph / 3, rtol=0, atol=1e-15)


@pytest.mark.parametrize("own_share", [None, 0.2])
def test_who_has_no_neighbors_keeps_everything(own_share: float | None) -> None:
    sharing = Sharing(torch.eye(3, dtype=torch.bool), own_share)
    assert torch.equal(sharing.matrix(sharing.initial()), identity_sharing(3))


@pytest.mark.parametrize("own_share", [0.0, 1.0, -0.5, 1.5, math.nan])
def test_an_own_share_that_no_softmax_reaches_is_refused(own_share: float) -> None:
    with pytest.raises(ValueError, match="own_share is above 0 and below 1"):
        Sharing(everybody(2), own_share)


@given(agents=AGENTS, seed=SEEDS, self_interest=st.floats(0, 1))
@settings(max_examples=30)
def test_self_interest_is_a_sharing_matrix_on_every_graph(
    agents: int, seed: int, self_interest: float
) -> None:
    graph = random_graph(seed, agents)
    matrix = self_interest_sharing(graph, self_interest)
    check_sharing(matrix, agents=agents)
    alone = graph.sum(-1) == 1
    kept = alone.double() + (~alone).double() * self_interest
    torch.testing.assert_close(matrix.diagonal(), kept, rtol=0, atol=1e-15)
    assert (matrix[~graph] == 0).all()
    for giver in range(agents):
        given_to = matrix[giver][graph[giver] & ~torch.eye(agents, dtype=torch.bool)[giver]]
        assert given_to.numel() == 0 or given_to.max() == given_to.min()


@pytest.mark.parametrize("agents", [1, 2, 5])
def test_the_ends_of_self_interest(agents: int) -> None:
    assert torch.equal(self_interest_sharing(everybody(agents), 1.0), identity_sharing(agents))
    common = self_interest_sharing(everybody(agents), 1 / agents)
    torch.testing.assert_close(common, torch.full_like(common, 1 / agents), rtol=0, atol=1e-15)


@pytest.mark.parametrize("self_interest", [-0.1, 1.1, math.nan])
def test_self_interest_that_is_no_share_is_refused(self_interest: float) -> None:
    with pytest.raises(ValueError, match="Self-interest is a share from 0 to 1, not"):
        self_interest_sharing(everybody(2), self_interest)


@pytest.mark.parametrize(
    ("graph", "sentence"),
    [
        (torch.ones(2, 3, dtype=torch.bool), r"boolean \[2, 2\] .* is torch.bool \[2, 3\]"),
        (torch.ones(2, 2), r"boolean \[2, 2\] .* is torch.float32 \[2, 2\]"),
        (torch.ones(2, dtype=torch.bool), r"is torch.bool \[2\]"),
        (torch.tensor(True), r"is torch.bool \[\]"),
        (torch.tensor([[True, True], [True, False]]), r"diagonal .* is not for agent 1\."),
    ],
)
def test_what_is_no_graph_is_refused(graph: torch.Tensor, sentence: str) -> None:
    for use in (Sharing, check_neighbors, lambda graph: self_interest_sharing(graph, 0.5)):
        with pytest.raises(ValueError, match=sentence):
            use(graph)
