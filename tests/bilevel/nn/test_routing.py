"""Routers: known values, derivatives of first and second order, and the balance of loads."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from bilevel.nn import (
    ExpertRouting,
    entmax,
    importance_loss,
    switch_loss,
    top_k_routing,
    update_bias,
)

SCORES = torch.tensor([1.0, 0.5, -1.0, 0.2], dtype=torch.float64)
KNOWN = {
    1.0: (0.4564, 0.2768, 0.0618, 0.2051),
    1.25: (0.5258, 0.2787, 0.0153, 0.1802),
    1.5: (0.5928, 0.2703, 0.0, 0.1369),
    2.0: (0.75, 0.25, 0.0, 0.0),
}


def dense(gates):
    chosen = torch.nn.functional.one_hot(gates.argmax(-1), gates.shape[-1]).to(gates)
    return ExpertRouting(gates, gates, chosen)


@pytest.mark.parametrize("alpha", KNOWN)
def test_entmax_has_the_known_values(alpha):
    expected = torch.tensor(KNOWN[alpha], dtype=torch.float64)
    torch.testing.assert_close(entmax(SCORES, alpha), expected, rtol=0, atol=5e-5)


def test_entmax_with_a_tensor_at_2_is_sparsemax():
    torch.testing.assert_close(entmax(SCORES, torch.tensor(2.0, dtype=torch.float64)), entmax(SCORES, 2.0))


@given(
    st.lists(st.floats(-5, 5), min_size=2, max_size=6),
    st.floats(1.01, 2.0),
    st.floats(-3, 3),
)
def test_entmax_is_a_distribution_that_ignores_shifts_and_keeps_the_order(scores, alpha, shift):
    scores = torch.tensor(scores, dtype=torch.float64)
    found = entmax(scores, alpha)
    assert bool((found >= 0).all())
    assert float(found.sum()) == pytest.approx(1, abs=1e-9)
    torch.testing.assert_close(entmax(scores + shift, alpha), found, rtol=0, atol=1e-6)
    assert bool((found[scores.argsort()].diff() >= -1e-9).all())


@pytest.mark.parametrize("alpha", [1.2, 1.5, 1.8])
def test_derivatives_are_exact_to_the_second_order_also_in_alpha(alpha):
    """The package's own second derivatives are not: hypergradients of a learned alpha need them."""
    scores = torch.stack((SCORES, SCORES.flip(0) * 0.7)).requires_grad_()
    free = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
    assert gradcheck(entmax, (scores, free))
    assert gradgradcheck(entmax, (scores, free))


def test_one_selected_expert_has_its_softmax_probability_and_several_sum_to_one():
    scores = SCORES.expand(3, -1)
    one, two = top_k_routing(scores, 1), top_k_routing(scores, 2)
    torch.testing.assert_close(one.gates[0, 0], scores.softmax(-1)[0, 0])
    assert one.gates[0, 1:].eq(0).all()
    torch.testing.assert_close(two.gates.sum(-1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(two.gates[0, 0] / two.gates[0, 1], (SCORES[0] - SCORES[1]).exp())
    torch.testing.assert_close(top_k_routing(scores, 4).gates, scores.softmax(-1))


def test_a_bias_selects_but_does_not_weigh():
    bias = torch.tensor([0.0, 0.0, 5.0, 0.0], dtype=torch.float64)
    routing = top_k_routing(SCORES[None], 1, bias)
    assert routing.chosen.tolist() == [[0, 0, 1, 0]]
    torch.testing.assert_close(routing.gates[0, 2], SCORES.softmax(-1)[2])


@pytest.mark.parametrize("experts", [2, 4, 7])
def test_balance_losses_of_equal_and_collapsed_loads(experts):
    equal, collapsed = torch.eye(experts), torch.eye(experts)[[0] * experts]
    assert float(switch_loss(dense(equal))) == pytest.approx(1)
    assert float(switch_loss(dense(collapsed))) == pytest.approx(experts)
    assert float(importance_loss(dense(equal))) == pytest.approx(0, abs=1e-6)
    assert float(importance_loss(dense(collapsed))) == pytest.approx(experts - 1)


def test_the_balance_loss_moves_probability_from_a_busy_expert():
    scores = torch.zeros(8, 4, requires_grad=True)
    busy = torch.zeros(8, 4)
    busy[:, 0] = 1
    loss = switch_loss(ExpertRouting(scores.softmax(-1), scores.softmax(-1), busy))
    (slope,) = torch.autograd.grad(loss, scores)
    assert bool((slope[:, 0] > 0).all())
    assert bool((slope[:, 1:] < 0).all())


def test_loss_free_balance_evens_the_loads_out():
    """Experts whose scores are always lower are selected as often after enough updates."""
    generator, bias = torch.Generator().manual_seed(0), torch.zeros(4)
    handicap = torch.tensor([1.0, 0.5, 0.0, -1.0])
    for _ in range(2000):
        scores = torch.randn(64, 4, generator=generator) + handicap
        bias = update_bias(bias, top_k_routing(scores, 1, bias), rate=0.01)
    scores = torch.randn(20000, 4, generator=generator) + handicap
    loads = top_k_routing(scores, 1, bias).chosen.mean(0)
    assert float(loads.max()) < 0.3
    assert float(top_k_routing(scores, 1).chosen.mean(0).max()) > 0.5


@pytest.mark.parametrize("alpha", [0.5, 2.1])
def test_an_alpha_out_of_range_is_refused(alpha):
    with pytest.raises(ValueError, match=r"must be from 1 \(softmax\) to 2 \(sparsemax\)"):
        entmax(SCORES, alpha)


@pytest.mark.parametrize("active", [0, 5])
def test_a_router_cannot_select_more_experts_than_there_are(active):
    with pytest.raises(ValueError, match=f"from 1 to all 4 experts, not {active}"):
        top_k_routing(SCORES[None], active)


@pytest.mark.parametrize("alpha", [1.0, 1.5, 2.0])
def test_a_tensor_of_alphas_is_each_alpha(alpha):
    alphas = torch.tensor([[alpha], [1.7]], dtype=torch.float64)
    found = entmax(SCORES.expand(2, -1), alphas)
    torch.testing.assert_close(found[0], entmax(SCORES, alpha), rtol=0, atol=1e-12)
    torch.testing.assert_close(found[1], entmax(SCORES, 1.7), rtol=0, atol=1e-12)


@pytest.mark.parametrize("mapped", [(0, None), (None, 0), (0, 0), (1, 0)])
def test_transformations_of_torch_func_pass(mapped):
    """Forward mode and vmap, by which some estimators differentiate, agree with a loop."""
    scores = torch.stack([SCORES * factor for factor in (0.5, 1.0, 1.5)])
    scores = scores if mapped[0] is not None else SCORES
    alphas = (
        torch.tensor([1.3, 1.5, 2.0], dtype=torch.float64) if mapped[1] is not None else torch.tensor(1.5)
    )

    def slopes(scores, alpha):
        return torch.func.jvp(lambda s: entmax(s, alpha), (scores,), (torch.arange(4.0).double(),))[1]

    given_scores = scores.mT if mapped[0] == 1 else scores
    found = torch.vmap(slopes, in_dims=mapped)(given_scores, alphas)
    for place in range(3):
        score = scores[place] if mapped[0] is not None else scores
        alpha = alphas[place] if mapped[1] is not None else alphas
        jacobian = torch.autograd.functional.jacobian(lambda s, a=alpha: entmax(s, a), score)
        torch.testing.assert_close(found[place], jacobian @ torch.arange(4.0).double())
