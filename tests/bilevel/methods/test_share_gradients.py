"""What receivers hand back to givers, against autograd through everything at once."""

from __future__ import annotations

import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bilevel.agents import QNetwork, best_value
from bilevel.methods._ltos_transitions import incoming, share_gradients, sharing_gradient
from bilevel.sharing import Sharing, SharingNetwork
from games.matrix import Cyclical

SEEDS, AGENTS, SAMPLES, FEATURES = 2, 4, 5, 3
GRAPHS = {
    "everybody": torch.ones(AGENTS, AGENTS, dtype=torch.bool),
    "a ring": Cyclical(agents=AGENTS).neighbors,
    "one way": torch.ones(AGENTS, AGENTS, dtype=torch.bool).triu(),
}
CRITIC = QNetwork(FEATURES, AGENTS, num_actions=3, hidden=(8,), activation="tanh")


class Case:
    """Random networks, samples and legal actions, in float64."""

    def __init__(self, seed: int, graph: Tensor) -> None:
        draws = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=draws, dtype=torch.float64)

        box = spaces.Box(-9.0, 9.0, (FEATURES,))
        self.variable = SharingNetwork(Sharing(graph, own_share=0.8), box, hidden=(6,))
        self.phi = normal(*self.variable.initial(0, SEEDS).shape)
        self.theta = normal(SEEDS, AGENTS, CRITIC.network.num_parameters)
        self.seen = normal(SEEDS, AGENTS, SAMPLES, FEATURES)
        self.legal = normal(SEEDS, AGENTS, SAMPLES, 3) < 0.5
        self.legal[..., 0] |= ~self.legal.any(-1)
        now = (normal(SEEDS, SAMPLES, AGENTS, AGENTS) < 0.3) & graph
        self.moving = now | torch.eye(AGENTS, dtype=torch.bool)

    def critic(self, w_in: Tensor) -> Tensor:
        return best_value(CRITIC(self.theta, self.seen, w_in), self.legal)


def at_once(case: Case, graph: Tensor | None) -> Tensor:
    """d (sum of all values, mean over samples) / d phi, written agent by agent, by autograd."""
    phi = case.phi.clone().requires_grad_()
    start, total = case.variable.sharing, torch.zeros((), dtype=torch.float64)
    for seed in range(SEEDS):
        for sample in range(SAMPLES):
            rows = []
            for giver in range(AGENTS):
                allowed = case.variable.sharing.neighbors if graph is None else graph[seed, sample]
                logits = case.variable.network(phi[seed, giver], case.seen[seed, giver, sample][None])[0]
                logits = (logits + start.start(allowed)[giver]).masked_fill(~allowed[giver], -torch.inf)
                rows.append(logits.softmax(-1))
            matrix = torch.stack(rows)
            for receiver in range(AGENTS):
                values = CRITIC(
                    case.theta[seed, receiver],
                    case.seen[seed, receiver, sample][None],
                    matrix[:, receiver][None],
                )[0]
                total = total + values[case.legal[seed, receiver, sample]].max() / SAMPLES
    (gradient,) = torch.autograd.grad(total, phi)
    return gradient


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("moves", [False, True], ids=["the same graph", "a graph for each sample"])
def test_shared_gradients_are_those_of_the_whole(name: str, moves: bool) -> None:
    case = Case(1, GRAPHS[name])
    graph = case.moving if moves else None
    found = sharing_gradient(case.variable, case.phi, case.seen, graph, case.critic)
    torch.testing.assert_close(found, at_once(case, graph), rtol=1e-11, atol=1e-13)
    assert (found.abs().amax(-1) > 0).any()


def test_each_receiver_hands_back_its_own_gradient() -> None:
    """Values a_i . w_in_i: the gradient by T[j, i] is a_i[j]."""
    slopes = torch.randn(AGENTS, AGENTS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = torch.full((1, 1, AGENTS, AGENTS), 0.25, dtype=torch.float64)
    found = share_gradients(lambda w_in: (w_in * slopes[:, None]).sum(-1), shares)
    torch.testing.assert_close(found[0, 0], slopes.T, rtol=0, atol=1e-15)


@given(seed=st.integers(0, 10_000), name=st.sampled_from(sorted(GRAPHS)), moves=st.booleans())
@settings(max_examples=30)
def test_rows_sum_to_one_along_the_edges_and_conserve_every_total(seed: int, name: str, moves: bool) -> None:
    case = Case(seed, GRAPHS[name])
    graph = case.moving if moves else None
    shares = case.variable.matrices(3 * case.variable.logits(case.phi, case.seen), graph)
    allowed = GRAPHS[name].expand(shares.shape) if graph is None else graph
    torch.testing.assert_close(shares.sum(-1), torch.ones_like(shares.sum(-1)), rtol=0, atol=1e-12)
    assert not shares[~allowed].any()
    rewards = torch.randn(SEEDS, SAMPLES, AGENTS, generator=torch.Generator().manual_seed(seed)).double()
    w_in = incoming(shares)  # [seed, receiver, sample, giver]
    seen = (w_in * rewards[:, None]).sum(-1)
    torch.testing.assert_close(seen.sum(1), rewards.sum(-1), rtol=0, atol=1e-12)


def test_a_step_along_it_raises_the_values() -> None:
    case = Case(3, GRAPHS["everybody"])

    def total(phi: Tensor) -> Tensor:
        shares = case.variable.matrices(case.variable.logits(phi, case.seen))
        return case.critic(incoming(shares)).sum() / SAMPLES

    gradient = sharing_gradient(case.variable, case.phi, case.seen, None, case.critic)
    gain = total(case.phi + 1e-7 * gradient) - total(case.phi)
    assert float(gain) == pytest.approx(1e-7 * float(gradient.square().sum()), rel=1e-4)
