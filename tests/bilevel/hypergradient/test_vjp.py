"""Vector-Jacobian products against `torch.autograd.grad`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bilevel.hypergradient import vjp

POINT = (
    torch.tensor([0.3, -1.2], dtype=torch.float64),
    torch.tensor(0.7, dtype=torch.float64),
    torch.ones(1),
)


def function(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    x, y, _ = inputs
    return x.sin() * y, torch.ones(2), (x @ x).exp() + y**3


@pytest.mark.parametrize("is_grads_batched", [False, True])
def test_the_product_is_autograds(is_grads_batched: bool) -> None:
    draws = torch.Generator().manual_seed(0)
    count = (3,) if is_grads_batched else ()
    cotangents = tuple(
        torch.randn((*count, *result.shape), generator=draws, dtype=torch.float64)
        for result in function(POINT)
    )
    results, pull = vjp(function, POINT, is_grads_batched=is_grads_batched)
    found = pull(cotangents)
    variables = [leaf.clone().requires_grad_() for leaf in POINT]
    first, _, last = function(tuple(variables))
    expected = torch.autograd.grad(
        [first, last],
        variables,
        [cotangents[0], cotangents[2]],
        allow_unused=True,
        is_grads_batched=is_grads_batched,
    )
    assert all(map(torch.equal, results, function(POINT)))
    assert all(map(torch.equal, found[:2], expected[:2]))
    assert torch.equal(found[2], torch.zeros(*count, 1))
    assert not any(leaf.requires_grad for leaf in (*results, *found))


def test_a_cotangent_of_another_shape_is_refused() -> None:
    _, pull = vjp(function, POINT)
    with pytest.raises(RuntimeError, match="shape"):
        pull((torch.ones(3), torch.ones(2), torch.ones(())))
