"""Checks of `14_world_model`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from bilevel.lessons import close, expect, graded, parts


@graded("Exercise 1")
def check_1(trained_by: Callable[[str], Iterable[str]]) -> str:
    """All three train the encoder, and one loss each of the other networks."""
    answer = {}
    for part in ("encoder", "decoder", "dynamics", "controller"):
        names = trained_by(part)
        answer[part] = {names} if isinstance(names, str) else set(names)
    known = {"reconstruction", "dynamics", "policy"}
    expect(
        all(names <= known for names in answer.values()), "Losses are reconstruction, dynamics and policy."
    )
    expect(answer["decoder"] == {"reconstruction"}, "The decoder: which losses contain decoded images?")
    expect(answer["dynamics"] == {"dynamics"}, "The dynamics: which losses contain predictions?")
    expect(
        answer["controller"] == {"policy"}, "The controller: which losses contain probabilities of actions?"
    )
    expect(answer["encoder"] == known, "The encoder: which losses are functions of the latents?")
    return "The encoder is where the losses compete."


@graded("Exercise 2")
def check_2(encoder_slopes: Callable[[float, float, float, float], Any]) -> str:
    """(q e x - e x') q x, and (q e x - e x') (q x - x')."""
    exchanged, stop_right, free_right = [], [], []
    for e, q, x, after in ((1.0, 1.0, 1.0, 2.0), (0.5, -2.0, 3.0, 1.0), (2.0, 0.3, -1.0, 0.7)):
        error = q * e * x - e * after
        stop, free = parts(encoder_slopes(e, q, x, after), 2, "Return two derivatives.")
        exchanged.append(close(stop, error * (q * x - after)) and close(free, error * q * x))
        stop_right.append(close(stop, error * q * x))
        free_right.append(close(free, error * (q * x - after)))
    expect(
        not all(exchanged),
        "The two are exchanged: with the stop-gradient the target does not depend on e.",
    )
    expect(all(stop_right), "With the stop-gradient only the prediction q e x depends on e.")
    expect(all(free_right), "Without it the target e x' depends on e, too.")
    return "Without the stop-gradient the slope is (q x - x')^2 e: descent shrinks the encoder toward e = 0."


@graded("Exercise 3")
def check_3(advantages: Callable[[Tensor, float], Any]) -> str:
    """Discounted rewards to go, minus the mean of the other copies."""
    rewards = torch.tensor([[1.0, 0.0], [0.0, 0.0], [4.0, 0.0]], dtype=torch.float64)
    answer = torch.as_tensor(advantages(rewards, 0.5))
    expect(answer.shape == (3, 2), "An advantage for each reward: [time, copy].")
    expect(
        not close(answer[:, 0], [1.0, 1.0, 2.0]),
        "The baseline is the mean over the other copies; yours contains the copy itself.",
    )
    expect(
        not close(answer, torch.tensor([[1.0, -1.0], [0.5, -0.5], [4.25, -4.25]])),
        "Sum the rewards from this step on, not those before it.",
    )
    expect(
        close(answer[2], [4.0, -4.0]),
        "In the last step the sum is its own reward, here 4 and 0; subtract that of the other copy.",
    )
    expect(
        close(answer, [[2.0, -2.0], [2.0, -2.0], [4.0, -4.0]]), "The last step is right, the others are not."
    )
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    power = torch.arange(6)[None] - torch.arange(6)[:, None]
    later = torch.where(power >= 0, 0.9 ** power.double(), 0.0) @ rewards
    truth = later - (later.sum(1, keepdim=True) - later) / 4
    expect(close(advantages(rewards, 0.9), truth), "Right for two copies, not for five.")
    return "A baseline of the other copies leaves the expected policy gradient unchanged."


@graded("Exercise 4")
def check_4(logit_slopes: Callable[[Tensor, Tensor], Any]) -> str:
    """w_k (slope_k - the mean of the slopes with probabilities softmax(phi))."""
    generator = torch.Generator().manual_seed(0)
    zeros = torch.zeros(2, dtype=torch.float64)
    first = torch.tensor([1.0, 3.0], dtype=torch.float64)
    expect(
        not close(logit_slopes(zeros, first), [-0.5, 0.5]), "The factor N is missing: the weights sum to N."
    )
    expect(
        close(logit_slopes(zeros, first), [-1.0, 1.0]),
        "Two losses with weights 1 and slopes 1 and 3: a larger first weight makes the second one smaller.",
    )
    for count in (3, 5):
        phi, slopes = torch.randn(2, count, generator=generator, dtype=torch.float64)
        p = phi.softmax(0)
        truth = count * p * (slopes - p @ slopes)
        expect(close(logit_slopes(phi, slopes), truth), "Right for equal weights, not for others.")
    return "The sum is 0: adding a constant to all phi changes no weight."
