"""Learned loss weights in Lightning's `Trainer`: one callback (the extra `lightning`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from bilevel.loss_weights._lifted import require_unscaled
from bilevel.loss_weights._tuner import LossWeightTuner
from games.core import require


class LossWeightCallback(Callback):  # type: ignore[misc]  # not followed by mypy
    """Lightning callback that learns loss weights in automatic optimization; model steps are Lightning's.

    Before each training step the callback looks ahead on its batch and updates the weights. `training_step`
    returns the losses, weighted: `return self.weights(losses)`. Clipping, schedulers, precision, logging and
    checkpoints stay Lightning's; the state of the weights goes into its checkpoints. With outer learning rate
    0 training is bit-for-bit that with fixed weights. A step costs one call of the losses more than
    `LossWeightTuner.step`. In manual optimization, call that with `self.optimizers()` instead.

    Args:
        losses: (module, batch) -> input of the weights; `training_step` weights the same losses.
        validation_loss: module -> the loss on held-out data that the weights minimize, one number.
        weights: `LossWeights`, or another module from losses to one number.
        outer_optimizer: any torch optimizer of the weights' parameters.
        settings: settings of `LossWeightTuner`: also, learning_rate, virtual_steps, every, estimator.

    Raises:
        ValueError: when training starts: optimization is manual, there is not one optimizer, batches are
            accumulated, gradients are scaled, the module clips gradients by itself, or parameters are sharded
            (several devices are one run in DistributedDataParallel).

    >>> from lightning.pytorch import LightningModule, Trainer
    >>> from torch import nn
    >>> from torch.utils.data import DataLoader
    >>> from bilevel.loss_weights import LossWeights
    >>> class Guess(LightningModule):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.guess, self.weights = nn.Linear(1, 1), LossWeights(["right", "shifted"])
    ...     def losses(self, batch):
    ...         right = self.guess(batch) - 2 * batch
    ...         return {"right": right.square().mean(), "shifted": (right - 1).square().mean()}
    ...     def training_step(self, batch, batch_idx):
    ...         return self.weights(self.losses(batch))
    ...     def configure_optimizers(self):
    ...         return torch.optim.SGD(self.guess.parameters(), lr=0.1)
    >>> module, held_out = Guess(), torch.randn(20, 1)
    >>> callback = LossWeightCallback(
    ...     Guess.losses,
    ...     validation_loss=lambda module: module.losses(held_out)["right"],
    ...     weights=module.weights,
    ...     outer_optimizer=torch.optim.Adam(module.weights.parameters(), lr=0.1),
    ... )
    >>> off = ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")
    >>> trainer = Trainer(max_epochs=5, accelerator="cpu", callbacks=[callback], **dict.fromkeys(off, False))
    >>> trainer.fit(module, DataLoader(torch.randn(40, 1), batch_size=10))
    >>> learned = module.weights.as_dict()
    >>> learned["right"] > learned["shifted"]
    True
    """

    def __init__(
        self,
        losses: Callable[[Any, Any], Any],
        validation_loss: Callable[[Any], Tensor],
        weights: nn.Module,
        outer_optimizer: torch.optim.Optimizer,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.losses, self.validation_loss = losses, validation_loss
        self.weights, self.outer_optimizer, self.settings = weights, outer_optimizer, settings
        self.tuner: LossWeightTuner | None = None  # built when training starts
        self._loaded: Mapping[str, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Build the tuner around the module and its optimizer."""
        require(
            pl_module.automatic_optimization,
            "In manual optimization you take the step: call LossWeightTuner.step in training_step, with "
            "optimizer=self.optimizers().",
        )
        require(
            len(trainer.optimizers) == 1,
            f"The weights are learned through one optimizer, and there are {len(trainer.optimizers)}.",
        )
        require(
            trainer.accumulate_grad_batches == 1,
            "The look ahead sees one batch, and Lightning accumulates the gradients of "
            f"{trainer.accumulate_grad_batches}: use larger batches, or manual optimization and "
            "LossWeightTuner(..., accumulate=N).",
        )
        require(
            not is_overridden("configure_gradient_clipping", pl_module),
            "The module clips gradients by itself, which virtual steps do not: use the Trainer's "
            "gradient_clip_val.",
        )
        require_unscaled(trainer.precision_plugin)
        clip = "max_value" if trainer.gradient_clip_algorithm == "value" else "max_norm"
        settings = {clip: trainer.gradient_clip_val or None, **self.settings}
        self.tuner = LossWeightTuner(
            trainer.model, trainer.optimizers[0], self.weights, self.outer_optimizer, **settings
        )
        if self._loaded:
            self.tuner.load_state_dict(self._loaded)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Look ahead on the next training batch, and update the weights."""
        assert self.tuner is not None, "Lightning starts training before its batches"
        precision = trainer.precision_plugin

        def losses() -> Any:
            with precision.train_step_context():
                return self.losses(pl_module, batch)

        def validation_loss() -> Tensor:
            with precision.val_step_context():
                return self.validation_loss(pl_module)

        self.tuner.look_ahead(losses, validation_loss)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step, and log the weights."""
        assert self.tuner is not None, "Lightning starts training before its batches"
        self.tuner.advance()
        pl_module.log_dict({f"weights/{name}": value for name, value in self.tuner.learned_values().items()})

    def state_dict(self) -> dict[str, Any]:
        """The state of the weights in Lightning's checkpoints."""
        return dict(self._loaded) if self.tuner is None else self.tuner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a checkpoint when training starts."""
        self._loaded = state_dict
