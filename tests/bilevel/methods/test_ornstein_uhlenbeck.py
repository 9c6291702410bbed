"""The noise: its exact moments as it is discretized, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bilevel.methods._ltos_transitions import OrnsteinUhlenbeck


@given(theta=st.floats(0.01, 2.0), sigma=st.floats(0.0, 3.0), dt=st.floats(1e-4, 0.9))
def test_the_variance_it_settles_at_stays(theta: float, sigma: float, dt: float) -> None:
    """A step takes the variance v to (1 - theta dt)^2 v + sigma^2 dt; the one it settles at, to itself."""
    process = OrnsteinUhlenbeck(theta=theta, sigma=sigma, dt=dt)
    after = (1 - theta * dt) ** 2 * process.variance + sigma**2 * dt
    assert after == pytest.approx(process.variance, rel=1e-9)


def test_with_small_steps_the_variance_is_that_of_continuous_time() -> None:
    assert OrnsteinUhlenbeck(dt=1e-9).variance == pytest.approx(0.25**2 / (2 * 0.15), rel=1e-9)


def test_many_processes_have_the_moments() -> None:
    """From their means they settle, and correlate from one step to the next by 1 - theta dt."""
    process, draws = OrnsteinUhlenbeck(theta=0.5, sigma=0.8, dt=0.4), torch.Generator().manual_seed(0)
    mean = torch.full((100_000,), 3.0, dtype=torch.float64)
    noise = mean
    for _ in range(60):
        before, noise = noise, process.step(noise, mean, draws)
    error = process.variance * (2 / 100_000) ** 0.5
    assert float(noise.var()) == pytest.approx(process.variance, abs=4 * error)
    assert float(noise.mean()) == pytest.approx(3.0, abs=4 * (process.variance / 100_000) ** 0.5)
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


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"theta": 0.0}, "theta of the noise must be a finite number above 0, not 0"),
        ({"dt": -1.0}, "dt of the noise must be a finite number above 0, not -1"),
        ({"sigma": -0.1}, "sigma of the noise must be finite and 0 or more, not -0.1"),
        ({"theta": 4.0, "dt": 0.5}, "theta dt of the noise must be below 2, .* it is 2"),
    ],
)
def test_what_is_no_process_is_refused(settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        OrnsteinUhlenbeck(**settings)
