"""The repeated prisoner's dilemma with a learned sharing matrix, written by hand in PyTorch.

As `bilevel train --game repeated-prisoners-dilemma --method tos`: exact values, SGD inside, Adam outside, one
autograd graph over the inner steps and the outer loss, float64. Run it with

    python -m tests.benchmarks.peers.scripts.torch_dilemma --outer-steps 300 --out runs/by-hand.csv
"""

from __future__ import annotations

import torch
from torch import Tensor

from tests.benchmarks.peers.scripts.script import Table, arguments, evaluation_path

DISCOUNT = 0.96
INNER_RATE, OUTER_RATE = 1.0, 0.1
PAYOFFS = torch.tensor([[-1, -1], [-3, 0], [0, -3], [-2, -2]], dtype=torch.float64)
"""[joint action, agent]; CC, CD, DC, DD."""
IDENTITY = torch.eye(4, dtype=torch.float64)


def occupancy(theta: Tensor) -> Tensor:
    """Discounted share of each joint action, [seed, 4], of log-odds of cooperation [seed, agent, 5]."""
    first, second = theta.sigmoid().unbind(1)
    second = second[:, [0, 1, 3, 2, 4]]  # it sees CD where the first sees DC
    joint = torch.stack(
        (first * second, first * (1 - second), (1 - first) * second, (1 - first) * (1 - second)), -1
    )
    system = IDENTITY - DISCOUNT * joint[:, 1:]
    solution: Tensor = torch.linalg.solve(system.mT, joint[:, 0])
    return (1 - DISCOUNT) * solution


def inner_step(theta: Tensor, sharing: Tensor) -> Tensor:
    """One step of every agent on its own shared return."""
    shared = ((occupancy(theta) @ PAYOFFS).unsqueeze(1) @ sharing).squeeze(1) / (1 - DISCOUNT)
    gradient = torch.stack(
        [
            torch.autograd.grad(shared[:, agent].sum(), theta, create_graph=True)[0][:, agent]
            for agent in range(2)
        ],
        1,
    )
    return theta + INNER_RATE * gradient


def hypergradient(theta: Tensor, phi: Tensor, inner_steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """d(minus welfare after the inner steps) / d(phi), the policies then, and the shares of joint actions."""
    theta, phi = theta.detach().requires_grad_(), phi.detach().requires_grad_()
    sharing = phi.softmax(-1)
    for _ in range(inner_steps):
        theta = inner_step(theta, sharing)
    shares = occupancy(theta)
    (gradient,) = torch.autograd.grad(-(shares @ PAYOFFS).sum(), phi)
    return gradient, theta.detach(), shares.detach()


def measure(shares: Tensor, phi: Tensor) -> dict[str, list[float]]:
    """The metrics of one outer step."""
    values, sharing = shares @ PAYOFFS, phi.detach().softmax(-1)
    found = {
        "welfare": values.sum(-1),
        "return_0": values[:, 0],
        "return_1": values[:, 1],
        "cooperation": shares[:, 0] + (shares[:, 1] + shares[:, 2]) / 2,
        "given_away": 1 - sharing.diagonal(dim1=1, dim2=2).mean(-1),
    }
    found |= {f"share_{i}_{j}": sharing[:, i, j] for i in range(2) for j in range(2)}
    return {name: value.tolist() for name, value in found.items()}


def main() -> None:
    """Train."""
    args = arguments("The repeated prisoner's dilemma by hand, in PyTorch.")
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    theta = torch.randn(args.seeds, 2, 5, dtype=torch.float64)
    phi = torch.zeros(args.seeds, 2, 2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([phi], lr=OUTER_RATE)
    table = Table(args.out)
    for step in range(args.outer_steps):
        phi.grad, theta, shares = hypergradient(theta, phi, args.inner_steps)
        table.add(step, measure(shares, phi))
        optimizer.step()
    table.close()
    final = Table(evaluation_path(args.out))
    final.add(args.outer_steps, measure(occupancy(theta), phi))
    final.close()


if __name__ == "__main__":
    main()
