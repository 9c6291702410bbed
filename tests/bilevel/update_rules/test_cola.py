"""COLA: consistent updates in closed form, of the error and of fitted networks."""

import math

import pytest
import torch

from bilevel.update_rules import consistency_error, fit_cola

FLOAT, RATE = torch.float64, 0.1


def tandem(own, others):
    total = (own + others.flip(-2)).squeeze(-1)
    return total**2 - 2 * own.squeeze(-1)


def consistent(theta):
    """Tandem's consistent update a s + b: a = -2 r (1 + a)^2 and b = 2 r / (1 + 2 r (1 + a)), s = x + y."""
    a = (-(1 + 4 * RATE) + math.sqrt((1 + 4 * RATE) ** 2 - 16 * RATE**2)) / (4 * RATE)
    b = 2 * RATE / (1 + 2 * RATE * (1 + a))
    return (a * theta.sum(-2, keepdim=True) + b).expand(theta.shape)


def points(count=64, seed=1):
    return 2 * torch.rand(count, 2, 1, generator=torch.Generator().manual_seed(seed), dtype=FLOAT) - 1


def test_the_closed_form_has_no_consistency_error():
    torch.testing.assert_close(
        consistency_error(tandem, consistent, points(), RATE), torch.zeros(64, 2, dtype=FLOAT)
    )


def test_the_error_of_naive_updates_by_hand():
    """Naive: Delta = -r (2 s - 2), to which LOLA's answer is -r (2 (s + Delta) (1 - 2 r) - 2)."""

    def naive(theta):
        return -RATE * (2 * theta.sum(-2, keepdim=True) - 2).expand(theta.shape)

    at = points()
    s, delta = at.sum(-2), naive(at).squeeze(-1)
    expected = (delta + RATE * (2 * (s + delta) * (1 - 2 * RATE) - 2)) ** 2
    torch.testing.assert_close(consistency_error(tandem, naive, at, RATE), expected)


def test_fitted_networks_find_the_consistent_update():
    rule, error = fit_cola(
        tandem,
        lambda generator: 2 * torch.rand(64, 2, 1, generator=generator, dtype=FLOAT) - 1,
        rate=RATE,
        hidden_size=(8,),
        steps=1000,
    )
    assert float(error) < 1e-5
    at = points(seed=3)
    torch.testing.assert_close(-RATE * rule(tandem, at), consistent(at), rtol=0, atol=0.02)
    with pytest.raises(ValueError, match="fitted to parameters of the shape"):
        rule(tandem, torch.zeros(3, 1, dtype=FLOAT))


def test_a_rate_of_zero_is_refused():
    with pytest.raises(ValueError, match="The rate of fit_cola must be above 0, not 0"):
        fit_cola(tandem, lambda generator: points(), rate=0.0)
