"""GMRES against direct solutions and least squares in Krylov spaces, exhausted spaces, singular systems."""

import pytest
import torch

from bilevel.hypergradient import SOLVERS, System

GENERATOR = torch.Generator().manual_seed(0)
MATRICES = torch.randn(20, 6, 6, generator=GENERATOR, dtype=torch.float64)
RIGHT = torch.randn(20, 6, generator=GENERATOR, dtype=torch.float64)


def system_of(matrices):
    return System(
        lambda v: (matrices @ v.unsqueeze(-1)).squeeze(-1), lambda v: (v.unsqueeze(-2) @ matrices)[..., 0, :]
    )


def solve(matrices, right, iterations, tolerance=1e-13):
    return SOLVERS["gmres"](system_of(matrices), right, tolerance, iterations)


def test_all_iterations_solve_regular_systems():
    expected = torch.linalg.solve(MATRICES, RIGHT)
    torch.testing.assert_close(solve(MATRICES, RIGHT, 6), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("iterations", [1, 2, 4])
def test_fewer_iterations_minimize_the_residual_in_the_krylov_space(iterations):
    powers = [RIGHT.unsqueeze(-1)]
    for _ in range(iterations - 1):
        powers.append(MATRICES @ powers[-1])
    space = torch.cat(powers, -1)
    weights = torch.linalg.lstsq(MATRICES @ space, RIGHT.unsqueeze(-1)).solution
    torch.testing.assert_close(
        solve(MATRICES, RIGHT, iterations), (space @ weights).squeeze(-1), rtol=1e-9, atol=1e-9
    )


def test_rows_of_exhausted_spaces_keep_their_solutions_beside_others():
    matrices = torch.cat((torch.eye(6, dtype=torch.float64)[None], MATRICES[:3]))
    right = torch.cat((RIGHT[:1], RIGHT[:3]))
    right[1] = 0
    found = solve(matrices, right, 6)
    torch.testing.assert_close(found[0], right[0])
    assert (found[1] == 0).all()
    torch.testing.assert_close(found[2:], torch.linalg.solve(MATRICES[1:3], RIGHT[1:3]), rtol=1e-9, atol=1e-9)


def test_singular_systems_leave_their_residual():
    matrices = MATRICES.clone()
    matrices[:, :, 4:] = 0
    found = solve(matrices, RIGHT, 6)
    assert found.isfinite().all()
    assert found.abs().max() < 1e4
    assert (system_of(matrices).residual(found, RIGHT) > 1e-3).any()
