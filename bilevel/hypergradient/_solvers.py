"""Iterative solvers of batched linear systems that are known by their products alone.

Unknowns are rows, [..., unknown], one system with an operator of its own for each leading index.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from games.core import require


@dataclass(frozen=True)
class System:
    """A linear operator on batched rows: a square matrix M for each, known by its products alone.

    >>> from bilevel.hypergradient import SOLVERS
    >>> turn = torch.tensor([[0.0, -2.0], [2.0, 0.0]])
    >>> system = System(apply=lambda v: v @ turn.T, transpose=lambda v: v @ turn)
    >>> SOLVERS["normal-cg"](system, torch.tensor([[2.0, 4.0]]), 1e-6, 9)  # tolerance, iterations
    tensor([[ 2., -1.]])
    """

    apply: Callable[[Tensor], Tensor]
    """v -> M v, both [..., unknown]."""
    transpose: Callable[[Tensor], Tensor]
    """v -> M' v."""

    def residual(self, solution: Tensor, right: Tensor) -> Tensor:
        """|right - M solution| / |right|, [...]; 0 where the right side is 0."""
        return _ratio(_norm(right - self.apply(solution)), _norm(right)).squeeze(-1)

    def transposed(self) -> System:
        """The system of M'."""
        return System(self.transpose, self.apply)


def gmres(system: System, right: Tensor, tolerance: float, iterations: int) -> Tensor:
    """Solve M x = b by the smallest residual in the Krylov space; for any invertible M.

    It stops once every |b - M x| is below `tolerance` times |b|, or after so many products with M, without
    restarts. Givens rotations keep the least-squares problem triangular, so that each iteration knows its
    residual, and weights are computed once, at the end. Memory: (iterations + 1) times the unknowns.

    Source:
        Saad and Schultz, GMRES: a generalized minimal residual algorithm, SIAM J. Sci. Stat. Comput. 7, 1986.

    >>> turn = torch.tensor([[0.0, -2.0], [2.0, 0.0]])
    >>> gmres(System(lambda v: v @ turn.T, lambda v: v @ turn), torch.tensor([[2.0, 4.0]]), 1e-6, 9)
    tensor([[ 2.0000, -1.0000]])
    """
    length = _norm(right)
    basis = [_ratio(right, length)]
    triangle = _Triangle(length)
    for _ in range(min(iterations, right.shape[-1])):
        vector = system.apply(basis[-1])
        size, known = _norm(vector), torch.stack(basis, -2)
        column = torch.zeros_like(known[..., 0])
        for _ in range(2):  # the second round removes what rounding left of the first
            part = (known @ vector.unsqueeze(-1)).squeeze(-1)
            vector = vector - (part.unsqueeze(-2) @ known).squeeze(-2)
            column = column + part
        rest = _norm(vector)
        # A row whose space is exhausted has its solution: it goes on with vectors of zero.
        rest = torch.where(rest > 10 * torch.finfo(rest.dtype).eps * size, rest, 0)
        basis.append(_ratio(vector, rest))
        triangle.add(torch.cat((column, rest), -1))
        if bool((triangle.missed.abs() <= tolerance * length).all()):
            break
    solution: Tensor = (triangle.weights().unsqueeze(-2) @ torch.stack(basis[:-1], -2)).squeeze(-2)
    return solution


class _Triangle:
    """Least-squares problem min |missed e_1 - H w| of a growing Hessenberg matrix, by Givens rotations.

    Args:
        length: first entry of the right side, [..., 1]; all others are 0.
    """

    def __init__(self, length: Tensor) -> None:
        self.missed = length
        """Residual with its sign, [..., 1]."""
        self._right: list[Tensor] = []
        self._rotations: list[tuple[Tensor, Tensor]] = []
        self._columns: list[list[Tensor]] = []

    def add(self, column: Tensor) -> None:
        """Add a column of the matrix, [..., its number + 1]."""
        entries = list(column.split(1, -1))
        for place, (cosine, sine) in enumerate(self._rotations):
            above, below = entries[place : place + 2]
            entries[place : place + 2] = cosine * above + sine * below, cosine * below - sine * above
        above, below = entries[-2:]
        size = torch.hypot(above, below)
        # A column that depends on earlier ones, up to rounding, gets the weight 0 and leaves the residual.
        rounding = 10 * len(entries) * torch.finfo(size.dtype).eps
        size = torch.where(size > rounding * _norm(column), size, 0)
        cosine, sine = _ratio(above, size), torch.where(size == 0, 1, _ratio(below, size))
        self._rotations.append((cosine, sine))
        self._columns.append([*entries[:-2], size])
        self._right.append(cosine * self.missed)
        self.missed = -sine * self.missed

    def weights(self) -> Tensor:
        """Solution by back substitution, [..., column]."""
        found: list[Tensor] = []
        for row in reversed(range(len(self._columns))):
            rest = self._right[row]
            for weight, column in zip(found, self._columns[row + 1 :], strict=True):
                rest = rest - column[row] * weight
            found.insert(0, _ratio(rest, self._columns[row][row]))
        return torch.cat(found, -1)


def normal_cg(system: System, right: Tensor, tolerance: float, iterations: int) -> Tensor:
    """Solve M x = b by conjugate gradient on M'M x = M'b; for any invertible M.

    Converges at the pace of the condition number squared; two products an iteration.

    Source:
        Hestenes and Stiefel, Methods of conjugate gradients for solving linear systems, J. Res. NBS 49, 1952;
        in the form CGLS of Bjorck, Numerical methods for least squares problems, 1996.

    >>> turn = torch.tensor([[0.0, -2.0], [2.0, 0.0]])
    >>> normal_cg(System(lambda v: v @ turn.T, lambda v: v @ turn), torch.tensor([[2.0, 4.0]]), 1e-6, 9)
    tensor([[ 2., -1.]])
    """
    goal = tolerance * _norm(right)
    solution, residual = torch.zeros_like(right), right
    slope = system.transpose(residual)
    direction, size = slope, _dot(slope, slope)
    for _ in range(iterations):
        image = system.apply(direction)
        # A row that has arrived stands still, so that rounding cannot lead it away.
        pace = torch.where(_norm(residual) > goal, _ratio(size, _dot(image, image)), 0)
        solution, residual = solution + pace * direction, residual - pace * image
        if bool((_norm(residual) <= goal).all()):
            break
        slope = system.transpose(residual)
        before, size = size, _dot(slope, slope)
        direction = slope + _ratio(size, before) * direction
    return solution


def cg(system: System, right: Tensor, tolerance: float, iterations: int) -> Tensor:
    """Solve M x = b by conjugate gradient for a symmetric, positive definite M.

    ValueError if M is not positive definite in a direction that the search takes.

    Source:
        Hestenes and Stiefel, Methods of conjugate gradients for solving linear systems, J. Res. NBS 49, 1952.

    >>> stretch = System(lambda v: v * torch.tensor([1.0, 4.0]), lambda v: v * torch.tensor([1.0, 4.0]))
    >>> cg(stretch, torch.tensor([[2.0, 4.0]]), 1e-6, 9)
    tensor([[2.0000, 1.0000]])
    """
    goal = tolerance * _norm(right)
    solution, residual = torch.zeros_like(right), right
    direction, size = residual, _dot(residual, residual)
    for _ in range(iterations):
        image = system.apply(direction)
        curvature, moving = _dot(direction, image), _norm(residual) > goal
        require(
            bool((~moving | (curvature > 0)).all()),
            "Conjugate gradient needs a positive definite system, but the inner loss curves downwards in a "
            'direction that it took (theta is at no minimum): use solver="gmres" or "normal-cg".',
        )
        pace = torch.where(moving, _ratio(size, curvature), 0)
        solution, residual = solution + pace * direction, residual - pace * image
        if bool((_norm(residual) <= goal).all()):
            break
        before, size = size, _dot(residual, residual)
        direction = residual + _ratio(size, before) * direction
    return solution


def neumann(system: System, right: Tensor, tolerance: float, iterations: int) -> Tensor:
    """Sum the first terms of (I - J)^-1 b = b + J b + J^2 b + ..., where M = I - J.

    It takes exactly `iterations` terms, whatever the tolerance; ValueError if they do not shrink over their
    second half. Memory: three times the unknowns.

    Source:
        Lorraine et al., Optimizing millions of hyperparameters by implicit differentiation, arXiv 1911.02590.

    >>> half = System(lambda v: 0.5 * v, lambda v: 0.5 * v)
    >>> neumann(half, torch.tensor([[1.0]]), 0.0, 3)  # 1 + 1/2 + 1/4
    tensor([[1.7500]])
    """
    term, total = right, torch.zeros_like(right)
    sizes = [_norm(term)]
    for _ in range(iterations):
        total = total + term
        term = term - system.apply(term)
        sizes.append(_norm(term))
    half = iterations // 2
    growth = _ratio(sizes[-1], sizes[half]) ** (1 / (iterations - half))
    rounding = torch.finfo(right.dtype).eps * sizes[0]
    require(
        bool(((growth < 1) | (sizes[-1] <= rounding)).all()),
        "The Neumann series needs a step that contracts, but its terms grow by a factor of "
        f'{float(growth.max()):.3g} each: use solver="gmres" or "normal-cg", or a smaller inner rate.',
    )
    return total


SOLVERS: dict[str, Callable[[System, Tensor, float, int], Tensor]] = {
    "gmres": gmres,
    "normal-cg": normal_cg,
    "cg": cg,
    "neumann": neumann,
}
"""Every solver by its name: (M, b, tolerance, iterations) -> x."""


def _norm(rows: Tensor) -> Tensor:
    norm: Tensor = rows.norm(dim=-1, keepdim=True)
    return norm


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum(-1, keepdim=True)


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """Divide; 0 where the divisor is 0."""
    return torch.where(below == 0, 0, above / torch.where(below == 0, 1, below))
