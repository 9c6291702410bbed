"""Directions against an independent float64 program, to its printed digits, and closed forms."""

import math

import pytest
import torch

import games
from bilevel.agents import ExactPlay, Tabular
from bilevel.core import inner_step_per_agent, simultaneous_gradient
from bilevel.optimizers import optimistic, sgd
from bilevel.sharing import SharedBy
from bilevel.update_rules import (
    competitive,
    consensus,
    derivatives,
    extragradient,
    hola,
    lola,
    look_ahead,
    sos,
    symplectic,
)

FLOAT = torch.float64
LOGITS = torch.tensor([[[0.1, -0.2, 0.3, -0.4, 0.5], [-0.5, 0.4, -0.3, 0.2, -0.1]]], dtype=FLOAT)
NAIVE = (0.190437, 1.137197, 1.091629, 1.082833, 1.020105, 0.306524, 1.963637, 1.905690, 1.940723, 1.873083)
DILEMMA = {
    "naive": (simultaneous_gradient, NAIVE),
    "look-ahead": (
        lambda f, x: look_ahead(f, x, 0.1),
        (0.191121, 1.065075, 1.218806, 0.982648, 1.107323, 0.307122, 1.861408, 1.997686, 1.863726, 1.984137),
    ),
    "lola detached": (
        lambda f, x: lola(f, x, 0.1, detached=True),
        (0.190751, 0.789364, 1.558460, 0.640312, 1.323701, 0.306723, 1.521043, 2.244036, 1.598332, 2.297089),
    ),
    "lola": (
        lambda f, x: lola(f, x, 0.1),
        (0.191434, 0.717242, 1.685637, 0.540127, 1.410918, 0.307321, 1.418814, 2.336033, 1.521335, 2.408143),
    ),
    "sos": (
        lambda f, x: sos(f, x, 0.1),
        (0.191434, 0.717242, 1.685637, 0.540127, 1.410918, 0.307321, 1.418814, 2.336033, 1.521335, 2.408143),
    ),
    "competitive": (
        lambda f, x: competitive(f, x, 0.1, tolerance=1e-12),
        (0.188781, 1.049996, 1.203984, 0.970092, 1.094509, 0.305149, 1.849175, 1.985304, 1.851834, 1.971304),
    ),
    "lola, rate 1": (
        lola,
        (
            0.200405, -3.062347, 7.031706, -4.344231, 4.928236,
            0.314491, -3.484597, 6.209124, -2.253155, 7.223682,
        ),
    ),
    "competitive, rate 1": (
        lambda f, x: competitive(f, x, tolerance=1e-12),
        (
            0.087377, -0.018934, 1.213162, -0.130653, 0.983186,
            0.187868, 0.713445, 1.593803, 0.825359, 1.627969,
        ),
    ),
    "consensus": (
        consensus,
        (
            0.194737, -0.219442, 4.262932, -1.877015, 2.076893,
            0.329359, 0.863892, 5.764745, -1.884064, 2.347016,
        ),
    ),
    "symplectic": (
        symplectic,
        (
            0.195021, -0.288990, 3.159853, -0.777823, 2.391011,
            0.309967, 0.561087, 3.048151, 0.863056, 3.286197,
        ),
    ),
}  # fmt: skip


def repeated(name, **settings):
    """Losses of memory-one policies: minus their discounted returns, not normalized."""
    play = ExactPlay(games.make(f"repeated-{name}", **settings), Tabular(num_observations=5, num_actions=2))
    keep = SharedBy(torch.eye(2, dtype=FLOAT)[None])
    return lambda own, others: play.losses(own, others, keep, (), None)


def bilinear(own, others):
    """Agent 0 minimizes x y, agent 1 maximizes it."""
    return own * others.flip(-1) * torch.tensor([1.0, -1.0], dtype=own.dtype)


def tandem(own, others):
    return (own + others.flip(-1)) ** 2 - 2 * own


def assert_near(direction, expected, tolerance=6e-7):
    expected = torch.as_tensor(expected, dtype=FLOAT).reshape(direction.shape)
    torch.testing.assert_close(direction, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", DILEMMA)
def test_directions_in_the_repeated_prisoners_dilemma(name):
    rule, expected = DILEMMA[name]
    losses = repeated("prisoners-dilemma", discount=0.96)
    assert_near(losses(LOGITS, LOGITS), (37.368268, 37.142269))
    assert_near(rule(losses, LOGITS), expected)


def test_alignment_has_a_negative_sign_at_this_point_of_the_dilemma():
    losses = repeated("prisoners-dilemma", discount=0.96)
    naive = torch.tensor(NAIVE, dtype=FLOAT)
    adjusted = torch.tensor(DILEMMA["symplectic"][1], dtype=FLOAT)
    assert_near(symplectic(losses, LOGITS, align=True), 2 * naive - adjusted, 2e-6)


def test_directions_in_repeated_matching_pennies():
    losses = repeated("matching-pennies", discount=0.9)
    naive = simultaneous_gradient(losses, LOGITS)
    ahead = (
        0.122530, -0.223096, -0.097186, 0.147473, 0.067913,
        0.021589, -0.094326, -0.212263, 0.176011, 0.263499,
    )  # fmt: skip
    assert_near(
        naive,
        (
            0.122383, -0.217056, -0.105250, 0.158741, 0.055334,
            0.024159, -0.106436, -0.205133, 0.169661, 0.265669,
        ),
    )  # fmt: skip
    assert_near(look_ahead(losses, LOGITS, 0.1), ahead)
    assert_near(lola(losses, LOGITS, 0.1, detached=True), ahead)  # zero-sum: L2 = -L1
    correction = look_ahead(losses, LOGITS, 0.1) - naive
    torch.testing.assert_close(lola(losses, LOGITS, 0.1), naive + 2 * correction)


def test_directions_in_repeated_chicken():
    """Normalized returns: the losses above, times 1 - 0.96."""
    unnormalized = repeated("chicken-100", discount=0.96)

    def losses(own, others):
        return 0.04 * unnormalized(own, others)

    zero = torch.zeros(1, 2, 5, dtype=FLOAT)
    for rule, row in {
        simultaneous_gradient: (-0.49, -2.94, -2.94, -2.94, -2.94),
        look_ahead: (-0.3675, -2.70774, 5.64774, -2.70774, 5.64774),
        lola: (-0.24, -2.64348, 14.76348, -2.64348, 14.76348),
        sos: (-0.24, -2.64348, 14.76348, -2.64348, 14.76348),
        lambda f, x: competitive(f, x, tolerance=1e-12): (-0.23438, -1.10556, -2.715243, 1.308964, -0.300719),
    }.items():
        assert_near(rule(losses, zero), (row, row), 6e-6)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_directions_in_tandem(rate):
    x = torch.tensor([0.9, 0.4], dtype=FLOAT)
    s = float(x.sum())
    xi = 2 * s - 2
    for direction, factor in (
        (look_ahead(tandem, x, rate), 1 - 2 * rate),
        (competitive(tandem, x, rate, tolerance=1e-12), 1 / (1 + 2 * rate)),
        (consensus(tandem, x, rate), 1 + 4 * rate),
        (symplectic(tandem, x, rate), 1),
    ):
        assert_near(direction, (xi * factor,) * 2, 1e-12)
    assert_near(derivatives(tandem, x).shaping(), (4 * s,) * 2, 1e-12)


@pytest.mark.parametrize(("s", "expected"), [(1.2, 0.16), (1.01, 0.0156768)])
def test_stable_opponent_shaping_in_tandem(s, expected):
    """For s = 1.2, p1 = 1/3 holds; for s = 1.01, p2 = |xi|^2 = 0.0008."""
    x = torch.tensor([s / 2, s / 2], dtype=FLOAT)
    assert_near(sos(tandem, x, 0.1), (expected, expected), 1e-12)


@pytest.mark.parametrize("a", [0.2, 0.5, 0.7, 0.9])
def test_radius_in_the_bilinear_game(a):
    """The factor of the distance from the equilibrium in a step of learning rate a."""
    x = torch.tensor([0.6, -0.8], dtype=FLOAT)
    ahead, adjusted = math.sqrt(1 - a**2 + a**4), math.sqrt((1 - a * 0.3) ** 2 + a**2)
    for rule, factor in {
        simultaneous_gradient: math.sqrt(1 + a**2),
        lambda f, x: extragradient(f, x, a): ahead,
        lambda f, x: look_ahead(f, x, a): ahead,
        lambda f, x: lola(f, x, a, detached=True): ahead,
        lambda f, x: lola(f, x, a): math.sqrt((1 - 2 * a**2) ** 2 + a**2),
        lambda f, x: consensus(f, x, 0.3): adjusted,
        lambda f, x: symplectic(f, x, 0.3): adjusted,
        lambda f, x: competitive(f, x, a, tolerance=1e-12): 1 / math.sqrt(1 + a**2),
    }.items():
        step = inner_step_per_agent(lambda own, others, phi, data: bilinear(own, others), sgd(a), rule)
        after, _ = step(x, sgd(a).init(x), None, None)
        assert float(after.norm()) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize(("a", "converges"), [(0.5, True), (0.57, True), (0.59, False)])
def test_optimistic_gradients_in_the_bilinear_game(a, converges):
    """The asymptotic factor is 0.707107 for a = 0.5; it converges below 1 / sqrt(3)."""
    optimizer = optimistic(a)
    step = inner_step_per_agent(lambda own, others, phi, data: bilinear(own, others), optimizer)
    x = torch.tensor([0.6, -0.8], dtype=FLOAT)
    state, radii = optimizer.init(x), []
    for _ in range(240):
        x, state = step(x, state, None, None)
        radii.append(float(x.norm()))
    factor = (radii[239] / radii[39]) ** (1 / 200)
    assert (factor < 1) == converges
    if a == 0.5:
        assert factor == pytest.approx(0.707107, abs=0.01)


def test_first_order_of_higher_order_lola_is_lola():
    losses = repeated("prisoners-dilemma", discount=0.96)
    for rate in (1e-3, 1e-4):  # the difference is of second order
        difference = hola(losses, LOGITS, rate) - lola(losses, LOGITS, rate)
        assert 0 < float(difference.abs().max()) < 10 * rate**2


def test_second_order_of_higher_order_lola_by_hand():
    """In x y, d^1 = (y + 2 a x, -x + 2 a y): L is linear in each, so d^2 follows by hand.

    d^2_1 = d/dx [x (y - a d^1_2)] = y - a d^1_2 + a x = y + 2 a x - 2 a^2 y, and agent 1 likewise.
    """
    x, y, a = 0.6, -0.8, 0.3
    found = hola(bilinear, torch.tensor([x, y], dtype=FLOAT), a, order=2)
    assert_near(found, (y + 2 * a * x - 2 * a**2 * y, -x + 2 * a * y + 2 * a**2 * x), 1e-12)
