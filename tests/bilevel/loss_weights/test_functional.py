"""The functional way, all seeds at once, is the tuner's way seed by seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from bilevel.compile import Compiled
from bilevel.compile import _cache as cache
from bilevel.hypergradient import Unrolled
from bilevel.loss_weights import FunctionalTuner, LossWeights, LossWeightTuner, ScheduledLossWeights
from bilevel.optimizers import adam
from tests.bilevel.compile.graphs import run_graphs_as_they_are

SEEDS, STEPS, SAMPLES = 32, 4, 6
NETWORK = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
NAMES = ("square", "large")
Theta = dict[str, Tensor]
predict = torch.vmap(lambda theta, inputs: functional_call(NETWORK, theta, (inputs,)))


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def start() -> Theta:
    return {name: drawn(SEEDS, *p.shape, seed=len(name)) for name, p in NETWORK.named_parameters()}


def data(step: int) -> tuple[Tensor, Tensor]:
    inputs, outputs = NETWORK[0].in_features, NETWORK[-1].out_features
    return drawn(SEEDS, SAMPLES, inputs, seed=2 * step), drawn(SEEDS, SAMPLES, outputs, seed=2 * step + 1)


def squares(theta: Theta, batch: tuple[Tensor, Tensor]) -> Tensor:
    return (predict(theta, batch[0]) - batch[1]).square().mean((1, 2))


def losses(theta: Theta, batch: tuple[Tensor, Tensor]) -> Theta:
    shifted = predict(theta, batch[0]) - batch[1].roll(1, 1)
    return {"square": squares(theta, batch), "large": shifted.abs().mean((1, 2))}


def functional(**settings: Any) -> tuple[FunctionalTuner, LossWeights]:
    weights = LossWeights(NAMES, {"square": 0.7, "large": 1.3}, batch=(SEEDS,)).double()
    outer = torch.optim.Adam(weights.parameters(), lr=0.1)
    inner = adam(0.05, epsilon=1e-3)
    return FunctionalTuner(losses, squares, inner, weights, outer, **settings), weights  # type: ignore[return-value]


def run(tuner: FunctionalTuner, virtual_steps: int) -> tuple[Theta, list[Tensor]]:
    learner, seen = tuner.init(start()), []
    for step in range(STEPS):
        batches = [data(step + ahead) for ahead in range(virtual_steps)]
        learner, validation = tuner.step(learner, batches, data(1000))
        seen.append(validation)
    return learner.theta, seen


@pytest.mark.parametrize("virtual_steps", [1, 2])
def test_seeds_at_once_are_tuners_one_by_one(virtual_steps: int) -> None:
    tuner, weights = functional(virtual_steps=virtual_steps)
    theta, validations = run(tuner, virtual_steps)
    for seed in range(SEEDS):
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
        model.load_state_dict({name: leaf[seed] for name, leaf in start().items()})
        own = LossWeights(NAMES, {"square": 0.7, "large": 1.3}).double()
        alone = LossWeightTuner(
            model,
            torch.optim.Adam(model.parameters(), lr=0.05, eps=1e-3),
            own,
            torch.optim.Adam(own.parameters(), lr=0.1),
            virtual_steps=virtual_steps,
        )

        def both(step: int, model: nn.Module = model, seed: int = seed) -> dict[str, Tensor]:
            inputs, targets = (leaf[seed] for leaf in data(step))
            found = model(inputs)
            large = (found - targets.roll(1, 0)).abs().mean()
            return {"square": (found - targets).square().mean(), "large": large}

        for step in range(STEPS):
            ahead = [lambda step=step + k: both(step) for k in range(virtual_steps)]  # type: ignore[misc]
            result = alone.step(ahead, lambda: both(1000)["square"])
            assert result.validation_loss is not None
            torch.testing.assert_close(validations[step][seed], result.validation_loss, rtol=1e-8, atol=1e-12)
        torch.testing.assert_close(weights.values()[seed], own.values(), rtol=1e-8, atol=1e-12)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(theta[name][seed], parameter.detach(), rtol=1e-8, atol=1e-12)


def test_compiled_it_learns_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As one graph of the whole step; what C++ makes of such graphs is tested with the compiler."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "packages"))
    built = run_graphs_as_they_are(monkeypatch)
    found = []
    for compiled in (False, True):
        tuner, weights = functional(estimator=Compiled(Unrolled()) if compiled else Unrolled())
        theta, _ = run(tuner, 1)
        found.append((weights.values().detach(), *theta.values()))
    assert len(built) == 1
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_what_is_refused() -> None:
    weights = LossWeights(NAMES).double()
    outer = torch.optim.Adam(weights.parameters(), lr=0.1)
    scheduled = ScheduledLossWeights(NAMES, knots=(0, 4))
    with pytest.raises(ValueError, match="virtual_steps must be a whole number, 1 or more, not 0"):
        functional(virtual_steps=0)
    with pytest.raises(ValueError, match=r"ScheduledLossWeights has the buffer \['step'\]"):
        FunctionalTuner(losses, squares, adam(0.1), scheduled, outer)
    with pytest.raises(ValueError, match="The outer optimizer moves 4 parameters, and 1 are learned"):
        FunctionalTuner(losses, squares, adam(0.1), weights, torch.optim.Adam(NETWORK.parameters()))
    tuner, _ = functional(virtual_steps=3)
    with pytest.raises(ValueError, match="one batch for each of the 3 virtual steps, or one for all"):
        tuner.step(tuner.init(start()), [data(0), data(1)], data(1000))
