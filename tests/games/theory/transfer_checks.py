"""How answers about minimal transfers are checked: by play, and at the corners of what is allowed."""

import itertools

import numpy as np
import pytest
import torch

from games.matrix import MatrixGame, NormalForm
from games.theory import FeasibleTransfer, InfeasibleTransfer, minimal_transfer
from games.theory._equilibria import action_values


def largest_gain(game: MatrixGame, optimum: tuple[int, ...], matrix: np.ndarray) -> float:
    """The most that leaving one's part of the optimum pays in the shared game, whatever the others do."""
    after, actions = NormalForm(table=(game.payoffs().numpy() @ matrix).tolist()), int(game.action_space.n)
    gains = []
    for profile in itertools.product(range(actions), repeat=game.num_agents):
        one_hot = torch.nn.functional.one_hot(torch.tensor(profile), actions).double()
        values = action_values(after, one_hot.unsqueeze(-2))
        gains += [(values[agent] - values[agent, kept]).max().item() for agent, kept in enumerate(optimum)]
    return max(gains)


def lowest_total(game: MatrixGame, proof: InfeasibleTransfer, vertices: list[np.ndarray]) -> float:
    """The least of the weighted gains over the corners of what is allowed, by the payoff table."""
    table = game.payoffs().numpy()
    totals = []
    for matrix in vertices:
        total = 0.0
        for (agent, action, profile), weight in proof.weights:
            left = (*profile[:agent], action, *profile[agent + 1 :])
            total += weight * float(((table[left] - table[profile]) @ matrix)[agent])
        totals.append(total)
    return min(totals)


def corners(agents: int, least: float) -> list[np.ndarray]:
    """Every way in which each giver keeps its least share and hands the rest to one agent."""
    rows = np.eye(agents)
    return [
        np.stack([least * rows[giver] + (1 - least) * rows[to] for giver, to in enumerate(receivers)])
        for receivers in itertools.product(range(agents), repeat=agents)
    ]


def ends(agents: int, least: float) -> list[np.ndarray]:
    """The two ends of one share for all."""
    return [
        share * np.eye(agents) + (1 - share) * (1 - np.eye(agents)) / (agents - 1) for share in (least, 1.0)
    ]


def require_proved(game: MatrixGame, least: float = 0.0) -> None:
    """Whatever the program answers, for one share or for many, is checked by other means."""
    found = minimal_transfer(game, min_share=least)
    agents = game.num_agents
    for answer, vertices in ((found.symmetric, ends), (found.general, corners)):
        if isinstance(answer, FeasibleTransfer):
            assert largest_gain(game, found.optimum.profile, answer.matrix) == pytest.approx(
                max(answer.largest_gain, 0), abs=1e-9
            )
            assert answer.largest_gain < 1e-8
            assert abs(answer.gap) < 1e-8
            np.testing.assert_allclose(answer.matrix.sum(1), 1, atol=1e-12)
            assert answer.matrix.min() >= 0
            assert answer.matrix.diagonal().min() == answer.share >= least - 1e-9
        else:
            weights = [weight for _, weight in answer.weights]
            assert min(weights) > 0
            assert sum(weights) == pytest.approx(1, abs=1e-12)
            lowest = lowest_total(game, answer, vertices(agents, least))
            assert lowest == pytest.approx(answer.gain, abs=1e-9)
            assert lowest > 0
    if found.s is not None:
        assert found.g is not None
        assert found.g >= found.s - 1e-9
