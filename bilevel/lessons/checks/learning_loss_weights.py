"""Checks of `09_learning_loss_weights`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bilevel.lessons import close, expect, graded


@graded("Exercise 1")
def check_1(slopes: Callable[[Tensor, Tensor, float], Any]) -> str:
    """Minus the rate times a dot product."""
    validation = torch.tensor([1.0, 0.0], dtype=torch.float64)
    losses = torch.tensor([[1.0, 0.0], [-2.0, 5.0], [0.0, 3.0]], dtype=torch.float64)
    answer = torch.as_tensor(slopes(validation, losses, 1.0))
    expect(answer.shape == (3,), "Three losses have three slopes.")
    expect(
        close(answer[2], 0.0),
        "A loss whose gradient is orthogonal to the validation gradient changes nothing.",
    )
    expect(
        not close(answer, [1.0, -2.0, 0.0]),
        "The signs are wrong: more weight on a loss with an aligned gradient makes V *smaller*.",
    )
    expect(close(answer, [-1.0, 2.0, 0.0]), "With rate 1 the slope is minus a dot product, for each loss.")
    expect(close(slopes(validation, losses, 0.5), [-0.5, 1.0, 0.0]), "A shorter step has a smaller effect.")
    generator = torch.Generator().manual_seed(0)
    v, g = torch.randn(5, 7, generator=generator, dtype=torch.float64).split((1, 4))
    expect(close(slopes(v[0], g, 0.3), -0.3 * g @ v[0]), "Right for two parameters, not for seven.")
    return "A loss gains weight if its gradient is aligned with the validation gradient."


@graded("Exercise 2")
def check_2(reweight: Callable[[Tensor], Any]) -> str:
    """The positive part of minus the slopes, normalized."""
    expect(
        close(reweight(torch.tensor([-1.0, -3.0])), [0.25, 0.75]),
        "Slopes of -1 and -3: both losses decrease V. Which weights are proportional to that?",
    )
    answer = torch.as_tensor(reweight(torch.tensor([-1.0, 2.0, -1.0])))
    expect(
        bool((answer >= 0).all()), "A weight must not be negative: the step would then increase that loss."
    )
    expect(
        close(answer, [0.5, 0.0, 0.5]),
        "Slopes of -1, 2 and -1: the second loss increases V. Clamp first, then divide.",
    )
    nothing = torch.as_tensor(reweight(torch.tensor([1.0, 0.0])))
    expect(not bool(nothing.isnan().any()), "If no loss decreases V, the sum is 0, and you divided by it.")
    expect(close(nothing, [0.0, 0.0]), "If no loss decreases V, all weights are 0.")
    expect(
        close(reweight(torch.tensor([-1e-4, -3e-4])), [0.25, 0.75], within=1e-3),
        "Small slopes give the same weights after dividing.",
    )
    return "With samples instead of losses this is the method `reweight` of the noisy digits."


@graded("Exercise 3")
def check_3(sample_slopes: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Any]) -> str:
    """-r grad V . (x_i theta - y_i) x_i, at theta."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    truth, theta, x, x_verified = normal(3), normal(3), normal(6, 3), normal(50, 3)
    y, y_verified = x @ truth, x_verified @ truth

    def validation(weights: Tensor, rate: float) -> Tensor:
        ahead = theta - rate * (weights * (x @ theta - y)) @ x
        return (x_verified @ ahead - y_verified).square().mean() / 2

    expected = torch.func.grad(validation)(torch.zeros(6, dtype=torch.float64), 0.1)
    answer = torch.as_tensor(sample_slopes(theta, x, y, x_verified, y_verified, 0.1))
    expect(answer.shape == (6,), "Six samples have six slopes.")
    expect(not close(answer, -expected), "The signs are wrong.")
    expect(
        not close(answer, 50 * expected) and not close(answer, 2 * expected),
        "A factor is off: V is the mean over the verified samples, of a loss with a half in front.",
    )
    expect(
        close(answer, expected),
        "As in exercise 1: the gradient of V (at w = 0 theta' is theta) and that of each sample.",
    )
    expect(
        close(sample_slopes(theta, x, y, x_verified, y_verified, 0.7), 7 * expected),
        "The rate is missing.",
    )
    return "A wrong label can flip the sign of the residual, and so that of the derivative."
