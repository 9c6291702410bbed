"""A network over losses starts as their sum, never gains by a greater loss, and is learned by a tuner."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bilevel.loss_weights import LossNetwork, LossWeightTuner
from tests.bilevel.loss_weights.loops import regression

NAMES = ("square", "large")


def network(seed: int = 0) -> LossNetwork:
    return LossNetwork(NAMES, 3, generator=torch.Generator().manual_seed(seed)).double()


def losses(*values: float) -> dict[str, Tensor]:
    return {
        name: torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for name, value in zip(NAMES, values, strict=True)
    }


@given(st.integers(0, 99), st.floats(-20, 20), st.floats(-20, 20))
@settings(max_examples=30)
def test_no_loss_counts_below_0_after_any_step_and_slopes_are_as_told(
    seed: int, one: float, other: float
) -> None:
    combined = network(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in combined.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    combined.project_()
    for values in ((one, other), (1.0, 1.0)):
        given_losses = losses(*values)
        slopes = torch.autograd.grad(combined(given_losses), list(given_losses.values()))
        assert all(slope >= 0 for slope in slopes)
    assert list(combined.as_dict().values()) == pytest.approx([float(slope) for slope in slopes], abs=1e-9)


@pytest.mark.parametrize("estimator", ["unrolled", "directional", "finite-difference", "implicit"])
def test_it_is_learned_by_every_estimator(estimator: str) -> None:
    task, combined = regression(), network()
    assert float(combined(losses(2.0, 3.0)).detach()) == 5.0
    before = [parameter.detach().clone() for parameter in combined.parameters()]
    tuner = LossWeightTuner(
        task.model,
        torch.optim.SGD(task.model.parameters(), lr=0.05),
        combined,
        torch.optim.SGD(combined.parameters(), lr=0.05),
        estimator=estimator,  # type: ignore[arg-type]
    )
    for _ in range(20):
        tuner.step(task.losses, task.validation)
    assert any((new != old).any() for new, old in zip(combined.parameters(), before, strict=True))
    assert list(tuner.history.values)[:2] == list(NAMES)


def test_bad_settings_are_refused() -> None:
    generator = torch.Generator()
    with pytest.raises(ValueError, match="hidden must be 1 or more, not 0"):
        LossNetwork(NAMES, 0, generator=generator)
    with pytest.raises(ValueError, match="'a' comes twice"):
        LossNetwork(["a", "a"], generator=generator)
    with pytest.raises(ValueError, match="each loss needs a weight, and each weight a loss"):
        network()({"square": torch.tensor(1.0)})
