"""Sample weights by the alignment of each sample's gradient with the gradient on clean data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bilevel.loss_weights._module_state import Attributes, fork_random_state, validation_seed
from bilevel.loss_weights._stateless_model import StatelessModel
from bilevel.loss_weights._training import (
    Clipping,
    History,
    Resumable,
    StepResult,
    require_functions,
    require_learnable,
)
from games.core import require


class Reweighter(Resumable):
    """Learning to Reweight: training with sample weights computed for each batch.

    A step looks ahead by one plain gradient step on sum_i eps_i L_i from eps = 0; the weight of sample i is
    the positive part of -d L_val / d eps_i, normalized over the batch: up to the learning rate the inner
    product of the gradients of L_i and L_val. Then the model takes its own step on sum_i w_i L_i. If no
    sample helps, all weights are 0. The calls are those of `LossWeightTuner`, without an outer optimizer.

    Args:
        model: the module that the losses use; several as a list.
        optimizer: any torch optimizer of the model's parameters.
        max_norm: as in `LossWeightTuner`.
        max_value: as in `LossWeightTuner`.

    Raises:
        ValueError: the optimizer has a parameter that is not the model's.

    Source:
        Ren et al., Learning to reweight examples for robust deep learning, arXiv 1803.09050.

    Two of three samples have gradients in the right direction, one of them twice as long:

    >>> from torch import nn
    >>> guess = nn.Linear(1, 1, bias=False)
    >>> reweighter = Reweighter(guess, torch.optim.SGD(guess.parameters(), lr=0.1))
    >>> each = lambda: guess.weight[0] * torch.tensor([1.0, 2.0, -5.0])
    >>> _ = reweighter.step(each, lambda: guess.weight.sum())
    >>> reweighter.weights
    tensor([0.3333, 0.6667, 0.0000])
    """

    saved = ("steps", "validation_seed", "weights", "history")

    def __init__(
        self,
        model: nn.Module | Sequence[nn.Module],
        optimizer: torch.optim.Optimizer,
        *,
        max_norm: float | None = None,
        max_value: float | None = None,
    ) -> None:
        self.model = StatelessModel([model] if isinstance(model, nn.Module) else model, optimizer)
        self.optimizer, self.clipping = optimizer, Clipping(max_norm, max_value)
        self.history, self.steps = History(), 0
        self.validation_seed: int | None = None  # as in `LossWeightTuner`
        self.weights = torch.zeros(0)  # weights of the last batch, [sample]: 0 or more, of sum 1, or all 0

    @torch.enable_grad()
    def step(self, train_losses: Callable[[], Tensor], validation_loss: Callable[[], Tensor]) -> StepResult:
        """Weight the samples of a batch, and train the model by one step.

        Args:
            train_losses: computes the loss of each sample, [sample] (reduction="none").
            validation_loss: computes the loss on clean data, one number; its changes of buffers, such as
                those of batch norm, and of plain attributes are undone, and it has its own random stream.

        Returns:
            The weighted training loss, and the validation loss of the model before the step.

        Raises:
            ValueError: losses have another shape or are detached.
            FloatingPointError: a loss is not a finite number; no parameter was changed.
        """
        require_functions(train_losses=train_losses, validation_loss=validation_loss)
        self.model.refresh()
        params = [parameter for parameter in self.model.trained if parameter.requires_grad]
        direction, outcome = self._validation_gradient(validation_loss, params)
        with self.model.watching():
            losses = train_losses()
        require_learnable(losses)
        require(
            losses.ndim == 1,
            f"Samples are weighted one by one, [sample], but the losses have the shape {list(losses.shape)}: "
            'use reduction="none".',
        )
        for name, values in (("training", losses), ("validation", outcome)):
            if not values.isfinite().all():
                raise FloatingPointError(
                    f"The {name} loss is not finite in step {self.steps}: try a smaller learning rate."
                )
        self.weights = normalized_positive(alignment(losses, params, direction))
        self.optimizer.zero_grad()
        loss = (self.weights * losses).sum()
        loss.backward()
        self.clipping.in_place(self.model.trained)
        self.optimizer.step()
        self.steps += 1
        self.history.add(self.steps, self.as_dict(), float(outcome))
        return StepResult(loss.detach(), outcome)

    def as_dict(self) -> dict[str, float]:
        """Fraction of the last batch with a weight above 0, for a history."""
        return {"samples with weight": float((self.weights > 0).double().mean())} if self.steps else {}

    def _validation_gradient(
        self, validation_loss: Callable[[], Tensor], params: Sequence[Tensor]
    ) -> tuple[list[Tensor | None], Tensor]:
        """Gradient of the validation loss in the model's parameters, and the loss, detached."""
        if self.validation_seed is None:
            self.validation_seed = validation_seed()
        seeded = self.model.seeded(validation_loss, self.validation_seed, self.steps)
        attributes = Attributes(self.model.all_modules)
        with fork_random_state(self.model.random_state()), self.model.watching():
            loss = self.model.call(seeded, self.model.trained, self.model.copy_buffers())
        attributes.restore()
        require(
            isinstance(loss, Tensor) and loss.ndim == 0 and loss.requires_grad,
            "The validation loss must be one number, a tensor without axes that depends on the model.",
        )
        return list(torch.autograd.grad(loss, list(params), allow_unused=True)), loss.detach()


def alignment(losses: Tensor, params: Sequence[Tensor], direction: Sequence[Tensor | None]) -> Tensor:
    """Inner product of each loss's gradient with a direction, [sample]; the losses' graph is kept."""
    weights = torch.zeros_like(losses, requires_grad=True)
    gradients = torch.autograd.grad(
        (weights * losses).sum(), list(params), create_graph=True, allow_unused=True
    )
    products = [
        (gradient * along).sum()
        for gradient, along in zip(gradients, direction, strict=True)
        if gradient is not None and along is not None
    ]
    require(
        len(products) > 0,
        "The validation loss and the training losses have no parameter in common: no weight can change it.",
    )
    (each,) = torch.autograd.grad(torch.stack(products).sum(), weights, retain_graph=True)
    return each


def normalized_positive(values: Tensor) -> Tensor:
    """Positive part divided by its sum; zeros where nothing is positive."""
    positive = values.clamp(min=0)
    largest = positive.max()
    shares = positive / torch.where(largest > 0, largest, 1)  # at most 1, however small all of them are
    return shares / shares.sum().clamp(min=1)
