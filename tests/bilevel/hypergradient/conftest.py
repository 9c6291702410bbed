"""Problems that the estimators are tested on, and the slow but plain way to their gradient."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from bilevel.core import Tree, detach, inner_step, inner_step_per_agent, leaves, tree_map
from bilevel.hypergradient import BilevelProblem
from bilevel.optimizers import GradientTransformation


class Setting(NamedTuple):
    """A problem without its optimizer."""

    loss: Callable[..., Tensor]
    outer_loss: Callable[[Tree, Tree, Tree], Tensor]
    theta: Tree
    phi: Tree
    data: Sequence[Tree]
    per_agent: bool

    def problem(self, optimizer: GradientTransformation, **more: Any) -> BilevelProblem:
        make = inner_step_per_agent if self.per_agent else inner_step
        return BilevelProblem(
            step=make(self.loss, optimizer),
            outer_loss=self.outer_loss,
            inner_data=lambda theta, phi, k: self.data[k],
            **more,
        )

    def to(self, dtype: torch.dtype) -> "Setting":
        theta, phi, data = (
            tree_map(lambda leaf: leaf.to(dtype), tree) for tree in (self.theta, self.phi, self.data)
        )
        return self._replace(theta=theta, phi=phi, data=data)


def network_setting() -> Setting:
    """A small network, fitted to data weighted and regularized by phi; judged without either."""
    draw = drawer(0)
    theta = {"in": 0.5 * draw(3, 4), "bias": 0.1 * draw(4), "out": draw(4)}
    phi = {"weights": draw(5), "decay": torch.tensor(-1.0, dtype=torch.float64)}

    def predict(theta: Tree, x: Tensor) -> Tensor:
        return torch.tanh(x @ theta["in"] + theta["bias"]) @ theta["out"]

    def loss(theta: Tree, phi: Tree, data: Tree) -> Tensor:
        x, y = data
        fit = (phi["weights"].sigmoid() * (predict(theta, x) - y) ** 2).sum()
        return fit + phi["decay"].exp() * sum(leaf.square().sum() for leaf in leaves(theta))

    def outer_loss(theta: Tree, phi: Tree, data: Tree) -> Tensor:
        return (predict(theta, check_x) - check_y).square().mean() + 0.01 * phi["weights"].square().sum()

    check_x, check_y = draw(6, 3), draw(6)
    data = [(draw(5, 3), draw(5)) for _ in range(8)]
    return Setting(loss, outer_loss, theta, phi, data, per_agent=False)


def sharing_setting(seeds: Sequence[int] = (1, 2)) -> Setting:
    """Three agents who contribute to a public good and share rewards by the softmax of phi."""
    draws = [drawer(seed) for seed in seeds]
    theta = {
        "trait": torch.stack([draw(3, 2) for draw in draws]),
        "level": torch.stack([draw(3) for draw in draws]),
    }
    phi = torch.stack([draw(3, 3) for draw in draws])
    data = [torch.stack([draw(3, 2) for draw in draws]) for _ in range(8)]

    def contribution(theta: Tree, seen: Tensor) -> Tensor:
        return (theta["level"] + (theta["trait"] * seen).sum(-1)).sigmoid()

    def rewards(contributions: Tensor) -> Tensor:
        total = contributions.sum(-1, keepdim=True)
        return 1.5 * torch.sqrt(1 + total) - contributions**2 - contributions

    def loss(own: Tree, others: Tree, phi: Tree, seen: Tensor) -> Tensor:
        mine, theirs = contribution(own, seen), contribution(others, seen)
        itself = torch.eye(3, dtype=torch.bool)
        # Row i: the contributions as agent i sees them, its own from `own`.
        profiles = torch.where(itself, mine.unsqueeze(-1), theirs.unsqueeze(-2))
        shares = phi.softmax(-1)
        return -(rewards(profiles) * shares.transpose(-1, -2)).sum(-1)

    def outer_loss(theta: Tree, phi: Tree, data: Tree) -> Tensor:
        return -rewards(contribution(theta, torch.ones_like(theta["trait"]))).sum(-1)

    return Setting(loss, outer_loss, theta, phi, data, per_agent=True)


def drawer(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


def autograd_unroll(setting: Setting, optimizer: GradientTransformation, steps: int) -> tuple[Tree, Tree]:
    """The plain way: one graph through all K steps. Gives theta_K and the gradient."""
    phi = tree_map(lambda leaf: leaf.clone().requires_grad_(), setting.phi)
    theta = tree_map(lambda leaf: leaf.clone().requires_grad_(), setting.theta)
    state = optimizer.init(tree_map(torch.Tensor.detach, theta))
    for k in range(steps):
        own = tree_map(torch.clone, theta)
        arguments = (own, theta) if setting.per_agent else (own,)
        total = setting.loss(*arguments, phi, setting.data[k]).sum()
        flat = iter(torch.autograd.grad(total, leaves(own), create_graph=True))
        gradient = tree_map(lambda leaf, flat=flat: next(flat), own)
        updates, state = optimizer.update(gradient, state, params=theta, inplace=False)
        theta = tree_map(torch.add, theta, updates)
    flat = iter(torch.autograd.grad(setting.outer_loss(theta, phi, None).sum(), leaves(phi)))
    return detach(theta), tree_map(lambda leaf: next(flat), phi)


def relative_error(estimated: Tree, expected: Tree) -> float:
    """The norm of the difference over the norm of what is expected, all leaves together."""
    pairs = list(zip(leaves(estimated), leaves(expected), strict=True))
    difference = torch.cat([(a - b).flatten() for a, b in pairs])
    return float(difference.norm() / torch.cat([b.flatten() for _, b in pairs]).norm())


@pytest.fixture(params=[network_setting, sharing_setting], ids=["network", "sharing"])
def setting(request: pytest.FixtureRequest) -> Setting:
    return request.param()


@pytest.fixture
def network() -> Setting:
    return network_setting()


@pytest.fixture
def sharing() -> Setting:
    return sharing_setting()


@pytest.fixture(scope="session")
def sharing_of() -> Callable[[Sequence[int]], Setting]:
    return sharing_setting


@pytest.fixture(scope="session")
def unroll() -> Callable[..., tuple[Tree, Tree]]:
    return autograd_unroll


@pytest.fixture(scope="session")
def error() -> Callable[[Tree, Tree], float]:
    return relative_error
