"""The noise: its exact moments as it is discretized."""

from __future__ import annotations

import pytest
import torch

from bilevel.methods._ltos_transitions import OrnsteinUhlenbeck


def test_many_processes_have_the_moments() -> None:
    """From their means they settle, and correlate from one step to the next by 1 - theta dt."""
    process, draws = OrnsteinUhlenbeck(theta=0.5, sigma=0.8, dt=0.4), torch.Generator().manual_seed(0)
    mean = torch.full((100_000,), 3.0, dtype=torch.float64)
    noise = mean
    for _ in range(60):
        before, noise = noise, process.step(noise, mean, draws)
    variance = 0.8**2 / (0.5 * (2 - 0.5 * 0.4))  # v = (1 - theta dt)^2 v + sigma^2 dt
    error = variance * (2 / 100_000) ** 0.5
    assert float(noise.var()) == pytest.approx(variance, abs=4 * error)
    assert float(noise.mean()) == pytest.approx(3.0, abs=4 * (variance / 100_000) ** 0.5)
    together = torch.corrcoef(torch.stack((before, noise)))[0, 1]
    assert float(together) == pytest.approx(1 - 0.5 * 0.4, abs=4 / 100_000**0.5)


def test_without_pushes_it_goes_back_by_its_closed_form() -> None:
    process = OrnsteinUhlenbeck(theta=0.3, sigma=0.0, dt=0.5)
    noise, mean = torch.tensor([2.0], dtype=torch.float64), torch.tensor([-1.0], dtype=torch.float64)
    for _ in range(5):
        noise = process.step(noise, mean, torch.Generator())
    torch.testing.assert_close(noise, mean + 0.85**5 * 3.0, rtol=0, atol=1e-14)


def test_it_starts_at_means_of_its_own_deviation() -> None:
    process = OrnsteinUhlenbeck(sigma=0.25)
    start = process.start(torch.zeros(50_000), torch.Generator().manual_seed(0))
    assert float(start.std()) == pytest.approx(0.25, rel=4 / 100_000**0.5)
