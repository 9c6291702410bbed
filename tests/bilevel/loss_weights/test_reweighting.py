"""Learning to Reweight against its own derivative, taken by hand, by autograd and through a step."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bilevel.loss_weights import Reweighter
from bilevel.loss_weights._reweighting import normalized_positive
from tests.bilevel.loss_weights.loops import OPTIMIZERS, Regression, regression


def reweighter_of(task: Regression, optimizer: str = "sgd") -> Reweighter:
    return Reweighter(task.model, OPTIMIZERS[optimizer](list(task.model.parameters())))


def parameters(task: Regression) -> Tensor:
    return torch.cat([p.detach().flatten() for p in task.model.parameters()])


def test_a_line_by_hand() -> None:
    """y = a x: sample i pulls by 2 (a x_i - y_i) x_i, and counts as far as that is the clean set's way."""
    line = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        line.weight.fill_(1.0)
    x, y = torch.tensor([1.0, 2.0, 3.0, 1.0]).double(), torch.tensor([2.0, 4.0, 0.0, 1.0]).double()
    reweighter = Reweighter(line, torch.optim.SGD(line.parameters(), lr=0.1))
    result = reweighter.step(
        lambda: (line(x[:, None])[:, 0] - y).square(), lambda: (line(x[:1, None])[:, 0] - 3).square().mean()
    )
    # The clean set pulls by 2 (1 - 3) = -4; the samples by -2, -8, +18 and 0.
    assert reweighter.weights.tolist() == pytest.approx([0.2, 0.8, 0.0, 0.0])
    # Losses 1, 4, 9, 0: descended is 0.2 + 3.2, by a step of -0.1 (0.2 (-2) + 0.8 (-8)).
    assert float(result.loss) == pytest.approx(3.4)
    assert line.weight.item() == pytest.approx(1 + 0.1 * 6.8)
    assert result.validation_loss is not None
    assert float(result.validation_loss) == pytest.approx(4.0)
    assert reweighter.history.values == {"samples with weight": [0.5]}


@given(seed=st.integers(0, 10_000), rate=st.floats(1e-4, 1.0))
@settings(max_examples=20)
def test_weights_are_the_papers_derivative(seed: int, rate: float) -> None:
    """-d L_val / d eps at eps = 0 after one gradient step of any length, its positive part over its sum."""
    task = regression(seed=seed)
    eps = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    params = dict(task.model.named_parameters())
    gradients = torch.autograd.grad((eps * task.each()).sum(), list(params.values()), create_graph=True)
    moved = {name: p - rate * g for (name, p), g in zip(params.items(), gradients, strict=True)}
    inputs, targets = task.held_out
    after = (torch.func.functional_call(task.model, moved, (inputs,)) - targets).square().mean()
    (slope,) = torch.autograd.grad(after, eps)
    expected = (-slope).clamp(min=0)
    reweighter = reweighter_of(task)
    reweighter.step(task.each, task.validation)
    torch.testing.assert_close(reweighter.weights, expected / expected.sum().clamp(min=1e-300))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_step_is_the_optimizers_own_on_the_weighted_loss(name: str) -> None:
    ours, plain = regression(), regression()
    reweighter = reweighter_of(ours, name)
    optimizer = OPTIMIZERS[name](list(plain.model.parameters()))
    for _ in range(3):
        reweighter.step(ours.each, ours.validation)
        optimizer.zero_grad()
        (reweighter.weights * plain.each()).sum().backward()
        optimizer.step()
    torch.testing.assert_close(parameters(ours), parameters(plain), rtol=0, atol=1e-15)


def test_the_validation_loss_leaves_no_trace() -> None:
    """Batch norm's running means and dropout's draws are those of the training losses alone."""
    ours, plain = (regression(nn.BatchNorm1d(4), nn.Dropout(0.3)) for _ in range(2))
    reweighter = reweighter_of(ours)
    torch.manual_seed(3)
    reweighter.step(ours.each, ours.validation)
    torch.manual_seed(3)
    plain.each()
    for one, other in zip(ours.model.buffers(), plain.model.buffers(), strict=True):
        assert torch.equal(one, other)


def test_what_no_sample_helps_is_not_followed() -> None:
    task = regression()
    reweighter = reweighter_of(task)
    reweighter.step(lambda: task.each()[:1], lambda: -task.each()[0])
    assert reweighter.weights.tolist() == [0.0]
    assert torch.equal(parameters(task), parameters(regression()))


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8))
def test_weights_are_none_or_sum_to_1(values: list[float]) -> None:
    weights = normalized_positive(torch.tensor(values, dtype=torch.float64))
    assert (weights >= 0).all()
    assert float(weights.sum()) == pytest.approx(float(any(value > 0 for value in values)))


def test_saved_is_resumed() -> None:
    task = regression()
    reweighter = reweighter_of(task, "adam")
    for _ in range(3):
        reweighter.step(task.each, task.validation)
    again = copy.deepcopy(task)
    resumed = reweighter_of(again, "adam")
    resumed.optimizer.load_state_dict(copy.deepcopy(reweighter.optimizer.state_dict()))
    resumed.load_state_dict(copy.deepcopy(reweighter.state_dict()))
    for _ in range(3):
        reweighter.step(task.each, task.validation)
        resumed.step(again.each, again.validation)
    assert torch.equal(parameters(task), parameters(again))
    assert reweighter.history.state_dict() == resumed.history.state_dict()


def test_what_cannot_be_weighed_is_refused_before_the_model_moves() -> None:
    task = regression()
    before, reweighter, other = parameters(task), reweighter_of(task), regression()
    free = torch.zeros(3, requires_grad=True)
    for losses, validation, sentence in (
        (lambda: task.each().mean(), task.validation, r"\[sample\], but the losses have the shape \[\]"),
        (lambda: task.each().detach(), task.validation, "does not depend on the model's parameters"),
        (task.each, task.each, "The validation loss must be one number"),
        (task.each, lambda: task.validation().detach(), "The validation loss must be one number"),
        (lambda: free * 1, task.validation, "have no parameter in common"),
    ):
        with pytest.raises(ValueError, match=sentence):
            reweighter.step(losses, validation)
    for losses, validation, sentence in (
        (lambda: task.each() * torch.nan, task.validation, "The training loss is not finite in step 0"),
        (task.each, lambda: task.validation() * torch.inf, "The validation loss is not finite in step 0"),
    ):
        with pytest.raises(FloatingPointError, match=sentence):
            reweighter.step(losses, validation)
    with pytest.raises(ValueError, match="is none of the model's"):
        Reweighter(task.model, torch.optim.SGD(other.model.parameters(), lr=0.1))
    assert torch.equal(parameters(task), before)


class Moody(nn.Module):
    """Counts its calls, and adds their number to what it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(3, 1).double(), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = checkpoint(self.layer, x.clone().requires_grad_(), use_reentrant=True) + self.calls
        return out.squeeze(-1)


def test_validation_leaves_attributes_and_mode_as_they_were_and_reentrant_checkpoints_count() -> None:
    torch.manual_seed(0)
    model, x, y = Moody(), torch.randn(6, 3).double(), torch.randn(6).double()
    reweighter = Reweighter(model, torch.optim.SGD(model.parameters(), lr=0.1))

    def validation() -> Tensor:
        model.eval()
        return (model(x) - y).square().mean()

    reweighter.step(lambda: (model(x) - y).square(), validation)
    assert model.calls == 1
    assert model.training
    assert reweighter.weights.sum().item() == pytest.approx(1.0)
