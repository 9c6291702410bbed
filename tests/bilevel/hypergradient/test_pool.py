"""The pool of buffers for kept states, and reverse sweeps whose states lie in it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bilevel.compile import Compiled
from bilevel.core import inner_step, leaves, tree_map
from bilevel.hypergradient import BilevelProblem, Truncated, Unrolled
from bilevel.hypergradient import _storage as storage
from bilevel.hypergradient._kernels import Kernels
from bilevel.hypergradient._storage import POOLED_BYTES, BufferPool, Storage
from bilevel.optimizers import adam


def state(value):
    return {"w": torch.full((3, 2), value)}, (torch.tensor(int(value)), None, "as it is")


def packed(value):
    return torch.full((3, 2), value), torch.full((4,), -value)


def same(a, b):
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def addresses(kept):
    return {leaf.data_ptr() for leaf in leaves(kept) if isinstance(leaf, torch.Tensor)}


@pytest.mark.parametrize("make", [state, packed])
@given(moves=st.lists(st.booleans(), max_size=30))
def test_every_state_stays_until_it_is_released(make, moves):
    """Kept (true) or released (false) in any order: what is kept is never written to."""
    pool, kept, count, most, seen = BufferPool(4), [], 0, 0, set()
    for keeps in moves:
        if keeps:
            count += 1
            kept.append((float(count), pool.keep(make(float(count)))))
            seen |= addresses(kept[-1][1])
            most = max(most, len(kept))
        elif kept:
            pool.release(kept.pop(len(kept) // 2)[1])
        for value, there in kept:
            assert all(same(a, b) for a, b in zip(leaves(there), leaves(make(value)), strict=True))
            assert type(there) is type(make(value))
    assert len({address for _, there in kept for address in addresses(there)}) == 2 * len(kept)
    assert len(seen) <= 2 * most


def test_the_same_memory_serves_again():
    pool = BufferPool(1)
    first = pool.keep(state(1.0))
    pool.release(first)
    assert addresses(pool.keep(state(2.0))) == addresses(first)


def test_other_forms_get_other_memory():
    pool = BufferPool(2)
    pair = pool.keep(packed(1.0))
    tree = pool.keep(list(packed(2.0)))
    wider = pool.keep((torch.ones(9), torch.zeros(2)))
    assert [leaf.shape for leaf in wider] == [(9,), (2,)]
    assert len(addresses(pair) | addresses(tree) | addresses(wider)) == 6


@pytest.mark.parametrize(
    ("theta", "pooled"),
    [
        (torch.zeros(3), False),
        (torch.zeros(POOLED_BYTES // 4), True),
        (torch.zeros(POOLED_BYTES // 4, device="meta"), False),
    ],
    ids=["small", "large", "elsewhere"],
)
def test_only_large_states_are_copied(theta, pooled):
    kernels = Kernels(BilevelProblem(step=lambda *_: None, outer_loss=lambda *_: theta), theta)
    kept = Storage(kernels, (theta, None))
    kept.reserve(1)
    assert (kept.put((theta, None))[0] is not theta) == pooled


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "bounds", [{"segments": "sqrt"}, {"segments": 2, "levels": 3}, {"memory_budget": "600B"}], ids=str
)
def test_reverse_sweeps_give_the_same_bits(monkeypatch, bounds, compiled):
    """Small states, taken for large ones."""
    monkeypatch.setattr(storage, "POOLED_BYTES", 1)
    wrap = Compiled if compiled else (lambda estimator: estimator)
    used = []
    keep = BufferPool.keep
    monkeypatch.setattr(BufferPool, "keep", lambda self, state: used.append(1) or keep(self, state))
    inner = adam(0.05)
    problem = BilevelProblem(
        step=inner_step(lambda theta, phi, data: (theta - phi * data).square() * phi.exp(), inner),
        outer_loss=lambda theta, phi, data: theta.square().sum(),
        inner_data=lambda theta, phi, k: torch.tensor(1.0 + k),
    )
    theta, phi = torch.linspace(-1, 1, 5), torch.tensor([0.3])
    for make in (Unrolled, lambda **more: Truncated(steps=9, **more)):
        start = (problem, theta, inner.init(theta), phi)
        expected = wrap(make())(*start, steps=12)
        assert not used
        found = wrap(make(**bounds))(*start, steps=12)
        assert used
        used.clear()
        torch.testing.assert_close(found.gradient, expected.gradient, rtol=0, atol=0)
        tree_map(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), found.theta, expected.theta)
