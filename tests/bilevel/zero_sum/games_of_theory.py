"""Payoffs of the games in the tests, float64."""

import torch
from torch import Tensor

PENNIES = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
ROCK_PAPER_SCISSORS = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=torch.float64)
PERTURBED = torch.tensor([[0.0, -3, 3], [3, 0, -1], [-3, 1, 0]], dtype=torch.float64)
"""Perturbed rock-paper-scissors, with the only equilibrium (1/7, 3/7, 3/7) and the value 0."""
EQUILIBRIUM = torch.tensor([1.0, 3.0, 3.0], dtype=torch.float64) / 7
SHAPLEY = torch.stack((torch.eye(3), torch.eye(3).roll(1, -1)), -1).double()
"""Shapley's game: A = I, and B has the rows (0, 1, 0), (0, 0, 1), (1, 0, 0)."""


def tensors(*rows: list[float]) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(row, dtype=torch.float64) for row in rows)


def random_matrix(rows: int, columns: int, seed: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_start(*counts: int, seed: int, batch: tuple[int, ...] = ()) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(*batch, count, generator=generator, dtype=torch.float64).softmax(-1) for count in counts
    )
