"""States that wait rounded or on the host: what comes back, and what that does to a gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bilevel import optimizers
from bilevel.core import inner_step, leaves, tree_map
from bilevel.hypergradient import BilevelProblem, Kernels, Unrolled
from bilevel.hypergradient import _storage as storage_room
from bilevel.hypergradient._storage import Storage, format_bytes, parse_bytes
from bilevel.optimizers import sgd

ROUNDING = {"float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}
"""Half the distance of neighbors, relative: significands of 24, 8 and 11 bits (IEEE 754; bfloat16)."""


def state(dtype=torch.float64):
    theta = {"w": torch.linspace(-2, 3, 7, dtype=dtype), "low": torch.ones(2, dtype=torch.float16)}
    return theta, (torch.tensor(5), torch.tensor([1e-3, 70.0], dtype=dtype), None)


def stored(start, dtype=None, **more):
    return Storage(Kernels(None, None), start, dtype, **more)


@pytest.mark.parametrize("name", ROUNDING)
def test_rounded_states_come_back_in_their_form(name):
    start = state()
    storage = stored(start, name)
    kept = storage.put(start)
    wide = getattr(torch, name)
    assert kept[0]["w"].dtype == kept[1][1].dtype == wide
    assert kept[0]["low"].dtype == torch.float16  # never widened, and not from one half to the other
    assert kept[1][0].dtype == torch.int64
    assert storage.state_bytes == 9 * wide.itemsize + 2 * 2 + 8
    assert not storage.exact

    def near(back, before):
        assert back.dtype == before.dtype
        limit = 0 if before.dtype != torch.float64 else ROUNDING[name]
        assert bool(((back - before).abs() <= limit * before.abs()).all())

    tree_map(near, storage.take(kept), start)


def test_nothing_is_copied_where_nothing_is_rounded():
    start = state(torch.float32)
    storage = stored(start, "float32")
    assert storage.exact
    assert storage.take(storage.put(start)) is start


def test_float16_ends():
    start = (torch.tensor([1e5]), None)
    with pytest.raises(
        ValueError, match="does not fit in float16, which ends at 65504: keep_dtype='bfloat16'"
    ):
        stored(start, "float16").put(start)
    assert stored(start, "bfloat16").put(start)[0].dtype == torch.bfloat16
    endless = (torch.tensor([torch.inf]), None)
    assert bool(stored(endless, "float16").put(endless)[0].isinf())


def product(steps_data):
    """theta' = theta - rate phi data theta: the step's derivative by phi is -rate data theta."""
    inner = sgd(0.1)
    return inner, BilevelProblem(
        step=inner_step(lambda theta, phi, data: phi * data * theta.square() / 2, inner),
        outer_loss=lambda theta, phi, data: theta,
        inner_data=lambda theta, phi, k: steps_data[k],
    )


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
@pytest.mark.parametrize("bounds", [{}, {"segments": "sqrt"}, {"segments": 2, "levels": 3}])
@given(seed=st.integers(0, 2**31), start=st.floats(0.5, 2))
@settings(max_examples=15)
def test_the_error_of_rounding_is_bounded(name, bounds, seed, start):
    """All parts -rate data_k theta_k prod (1 - rate phi data) have one sign, so they err by u each (derived).

    A state that is run again from a rounded one and rounded anew, level by level, has the factor (1 + u) once
    for each.
    """
    generator = torch.Generator().manual_seed(seed)
    data = torch.rand(12, generator=generator, dtype=torch.float64)
    theta, phi = torch.tensor(start, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    inner, problem = product(data)
    exact = Unrolled()(problem, theta, inner.init(theta), phi, steps=12)
    rounded = Unrolled(keep_dtype=name, **bounds)(problem, theta, inner.init(theta), phi, steps=12)
    torch.testing.assert_close(rounded.theta, exact.theta, rtol=0, atol=0)
    torch.testing.assert_close(rounded.outer_loss, exact.outer_loss, rtol=0, atol=0)
    levels = 1 + (bounds.get("levels", 1) if bounds else 0)
    limit = (1 + ROUNDING[name]) ** levels - 1 + 1e-12
    error = float((rounded.gradient / exact.gradient - 1).abs())
    assert 0 < error <= limit


@pytest.mark.parametrize("name", ["bfloat16", "float32"])
def test_where_steps_have_constant_derivatives_rounding_changes_nothing(name):
    """A quadratic loss, phi linear in it: the pull-backs do not depend on the state."""
    generator = torch.Generator().manual_seed(0)
    data = torch.rand(9, generator=generator, dtype=torch.float64)
    inner = optimizers.momentum(0.1)
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: data * (theta - phi).square() / 2, inner),
        outer_loss=lambda theta, phi, data: theta.square().sum(),
        inner_data=lambda theta, phi, k: data[k],
    )
    theta, phi = torch.rand(2, 3, generator=generator, dtype=torch.float64)
    start = (problem, theta, inner.init(theta), phi)
    rounded = Unrolled(keep_dtype=name, segments="sqrt")(*start, steps=9).gradient
    torch.testing.assert_close(rounded, Unrolled()(*start, steps=9).gradient, rtol=1e-14, atol=0)


def test_a_network_in_bfloat16(network, error):
    """Not a law but an order of size: parts of a sum that err by 2^-8 or so each."""
    inner = optimizers.momentum(0.05)
    start = (network.problem(inner), network.theta, inner.init(network.theta), network.phi)
    exact = Unrolled()(*start, steps=8).gradient
    for bounds in ({}, {"segments": "sqrt"}):
        rounded = Unrolled(keep_dtype="bfloat16", **bounds)(*start, steps=8).gradient
        assert 1e-6 < error(rounded, exact) < 0.03


@pytest.mark.parametrize("bounds", [{}, {"segments": 3}, {"keep_dtype": "bfloat16"}])
def test_every_kept_state_goes_to_the_host_and_comes_back(network, monkeypatch, bounds):
    """On the CPU, with the two copies replaced by ones that leave a mark: no kept state takes another way."""
    away, back = [], []

    def to_host(leaf):
        away.append(leaf)
        return leaf + 0  # another tensor, as a copy is

    def from_host(leaf, device):
        assert any(leaf.dtype == one.dtype and torch.equal(leaf, one) for one in away)
        back.append(device)
        return leaf

    inner = optimizers.adam(0.05)
    start = (network.problem(inner), network.theta, inner.init(network.theta), network.phi)
    expected = Unrolled(**bounds)(*start, steps=6).gradient
    monkeypatch.setattr(storage_room, "to_host", to_host)
    monkeypatch.setattr(storage_room, "from_host", from_host)
    found = Unrolled(**bounds, offload=True)(*start, steps=6).gradient
    tree_map(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), found, expected)
    size = len(leaves((network.theta, inner.init(network.theta))))
    assert len(away) == 6 * size
    assert len(back) >= 6 * size
    assert set(back) == {torch.device("cpu")}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_offloaded_states_lie_in_page_locked_memory():
    start = tree_map(lambda leaf: leaf.cuda(), state(torch.float32))
    storage = stored(start, offload=True)
    kept = storage.put(start)
    assert all(leaf.device.type == "cpu" and leaf.is_pinned() for leaf in leaves(kept))
    tree_map(
        lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0, check_device=True),
        storage.take(kept),
        start,
    )


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("512MB", 512_000_000),
        ("512 mb", 512_000_000),
        ("1.5GiB", 3 << 29),
        ("8KiB", 8192),
        ("2tb", 2 * 10**12),
        ("40B", 40),
    ],
)
def test_sizes_are_read(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["512", "MB", "-1MB", "0GB", "0.1B", "1 iB", "1e3MB", "5 PB", ""])
def test_bad_sizes_are_refused(text):
    with pytest.raises(ValueError, match="A size in bytes is a number above 0 and a unit"):
        parse_bytes(text)


@given(count=st.integers(1, 10**15))
def test_a_size_that_is_told_is_enough(count):
    told = parse_bytes(format_bytes(count))
    assert count <= told <= max(count + 1, int(count * 1.11))
