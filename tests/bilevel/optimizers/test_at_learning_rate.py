"""An optimizer made once, at a learning rate that is told with each update."""

import pytest
import torch

from bilevel.optimizers import OPTIMIZERS, at_learning_rate, make_optimizer, tied

RATES = [0.3, 0.01, 0.2]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("as_tensor", [True, False])
def test_same_bits_as_made_with_each_rate(name: str, dtype: torch.dtype, as_tensor: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(2, 3, 5, generator=generator, dtype=dtype)
    once = make_optimizer(name, learning_rate=1.0)
    mine, theirs = once.init(theta), make_optimizer(name, learning_rate=RATES[0]).init(theta)
    for number in RATES:
        rate = torch.tensor(number, dtype=dtype) if as_tensor else number
        gradient = torch.randn(theta.shape, generator=generator, dtype=dtype)
        found, mine = tied(at_learning_rate(once, rate)).update(gradient, mine, params=theta)
        anew = tied(make_optimizer(name, learning_rate=rate))
        expected, theirs = anew.update(gradient, theirs, params=theta)
        assert torch.equal(found, expected)
        theta = theta + found
