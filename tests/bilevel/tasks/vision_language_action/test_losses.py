"""InfoNCE at chance, with false negatives, and as mutual information; reconstruction in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from bilevel.tasks.vision_language_action._losses import info_nce, reconstruction_loss
from tests.bilevel.tasks.vision_language_action.tiny import views

F64 = torch.float64


@pytest.mark.parametrize("batch", [2, 7, 64])
def test_info_nce_at_chance_is_the_log_of_the_batch_size(batch):
    loss = info_nce(torch.full((batch, batch), 0.3, dtype=F64), torch.arange(batch))
    assert loss.item() == pytest.approx(math.log(batch), abs=1e-12)


def test_false_negatives_are_left_out_in_closed_form():
    """Two of four pairs have mission 5: these two have two negatives at chance, the others three."""
    loss = info_nce(torch.zeros(4, 4, dtype=F64), torch.tensor([5, 1, 5, 2]))
    assert loss.item() == pytest.approx((2 * math.log(3) + 2 * math.log(4)) / 4, abs=1e-12)


def test_scores_of_false_negatives_do_not_matter():
    labels, scores = torch.tensor([5, 1, 5]), torch.randn(3, 3, dtype=F64)
    other = scores.clone()
    other[0, 2], other[2, 0] = 1e3, -1e3
    assert info_nce(scores, labels) == info_nce(other, labels)
    other[0, 1] += 1
    assert info_nce(scores, labels) != info_nce(other, labels)


def test_a_batch_with_one_mission_has_loss_zero_and_no_gradient():
    scores = torch.randn(3, 3, dtype=F64, requires_grad=True)
    loss = info_nce(scores, torch.zeros(3, dtype=torch.int64))
    (gradient,) = torch.autograd.grad(loss, scores)
    assert loss.item() == 0
    assert not gradient.any()


def test_info_nce_of_two_pairs_by_hand():
    scores = torch.tensor([[1.0, 0.0], [2.0, 4.0]], dtype=F64)
    rows = math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-2))
    columns = math.log(1 + math.exp(1)) + math.log(1 + math.exp(-4))
    assert info_nce(scores, torch.tensor([0, 1])).item() == pytest.approx((rows + columns) / 4, abs=1e-12)


def test_derivatives_of_info_nce_with_false_negatives():
    labels = torch.tensor([0, 1, 0, 2])
    scores = torch.randn(4, 4, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: info_nce(x, labels), scores)
    assert torch.autograd.gradgradcheck(lambda x: info_nce(x, labels), scores)


@given(some.lists(some.integers(0, 3), min_size=2, max_size=8), some.integers(0, 2**31))
def test_info_nce_is_at_chance_at_most_the_log_and_invariant_to_the_order(labels, seed):
    generator = torch.Generator().manual_seed(seed)
    names, count = torch.tensor(labels), len(labels)
    assert info_nce(torch.zeros(count, count, dtype=F64), names) <= math.log(count) + 1e-12
    scores = torch.randn(count, count, dtype=F64, generator=generator)
    order = torch.randperm(count, generator=generator)
    assert torch.allclose(info_nce(scores, names), info_nce(scores[order][:, order], names[order]))
    assert torch.allclose(info_nce(scores, names), info_nce(scores.T, names))


def test_reconstruction_at_chance_and_when_certain():
    images = views(3, torch.Generator().manual_seed(0))
    uniform = reconstruction_loss(torch.zeros(3, 7, 7, 20, dtype=F64), images)
    assert uniform.item() == pytest.approx(math.log(11 * 6 * 3), abs=1e-12)
    certain = torch.cat(
        [torch.nn.functional.one_hot(part, n) for part, n in zip(images.unbind(-1), (11, 6, 3), strict=True)],
        -1,
    )
    assert reconstruction_loss(1000.0 * certain, images).item() == 0
