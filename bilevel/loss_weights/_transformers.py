"""Learned loss weights in Hugging Face's `Trainer`: one subclass (the extra `transformers`).

A callback would not do: the Trainer passes it neither batches nor losses.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import Trainer

from bilevel.loss_weights._tuner import LossWeightTuner
from games.core import require

SAVED = "loss_weights.pt"  # file in a checkpoint's folder


class LossWeightTrainer(Trainer):  # type: ignore[misc]  # not followed by mypy
    """A `Trainer` that learns loss weights; the model's steps are the `Trainer`'s.

    Before the first part of each accumulated batch it looks ahead on all parts and updates the weights.
    Clipping, schedulers, bfloat16, logging, evaluation and checkpoints stay the Trainer's; the state of the
    weights is saved and resumed with them. With outer learning rate 0 training is bit-for-bit that with fixed
    weights. A step costs one call of the losses more than `LossWeightTuner.step`.

    Args:
        arguments: as in `Trainer`.
        losses: (model, inputs) -> (input of the weights, the model's outputs), each loss a mean over the
            batch; replaces `compute_loss`.
        validation_loss: model -> the loss on held-out data that the weights minimize, one number.
        weights: `LossWeights`, or another module from losses to one number.
        outer_optimizer: any torch optimizer of the weights' parameters.
        tuner_settings: settings of `LossWeightTuner`: also, learning_rate, virtual_steps, every, estimator.
        keywords: as in `Trainer`.

    Raises:
        ValueError: a setting would change the losses (compute_loss_func, label_smoothing_factor); in the
            first step: parameters are sharded, devices are several, gradients are scaled (fp16), or the
            optimizer is not one of torch's.

    >>> from torch import nn
    >>> from transformers import TrainingArguments
    >>> from bilevel.loss_weights import LossWeights
    >>> def losses(model, inputs):
    ...     right = model(**inputs) - 2 * inputs["input"]
    ...     return {"right": right.square().mean(), "shifted": (right - 1).square().mean()}, None
    >>> weights, held_out = LossWeights(["right", "shifted"]), {"input": torch.randn(20, 1)}
    >>> off = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no"}
    >>> trainer = LossWeightTrainer(
    ...     nn.Linear(1, 1),
    ...     TrainingArguments("trained", max_steps=20, learning_rate=0.1, use_cpu=True, **off),
    ...     train_dataset=[{"input": torch.randn(1)} for _ in range(40)],
    ...     losses=losses,
    ...     validation_loss=lambda model: losses(model, held_out)[0]["right"],
    ...     weights=weights,
    ...     outer_optimizer=torch.optim.Adam(weights.parameters(), lr=0.1),
    ... )
    >>> _ = trainer.train()
    {'train_runtime': ...}
    >>> weights.as_dict()["right"] > weights.as_dict()["shifted"]
    True
    """

    def __init__(
        self,
        *arguments: Any,
        losses: Callable[[Any, dict[str, Any]], tuple[Any, Any]],
        validation_loss: Callable[[Any], Tensor],
        weights: nn.Module,
        outer_optimizer: torch.optim.Optimizer,
        tuner_settings: Mapping[str, Any] | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__(*arguments, **keywords)
        require(
            self.compute_loss_func is None and self.label_smoother is None,
            "`losses` gives the losses: do there what compute_loss_func or label_smoothing_factor would do.",
        )
        self.losses, self.validation_loss = losses, validation_loss
        self.weights, self.outer_optimizer = weights, outer_optimizer
        self.tuner_settings = dict(tuner_settings or {})
        self.tuner: LossWeightTuner | None = None  # built in the first step
        # each loss is a mean over its part: the Trainer divides by the number of parts
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = False
        self._parts: list[Any] = []
        self._loaded: Mapping[str, Any] = {}

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **_: Any
    ) -> Any:
        """Weight the losses, without gradients with respect to the weights."""
        losses, outputs = self.losses(model, inputs)
        fixed = {name: p.detach() for name, p in self.weights.named_parameters()}
        loss = functional_call(self.weights, fixed, (losses,))
        return (loss, outputs) if return_outputs else loss

    def get_batch_samples(self, *arguments: Any, **keywords: Any) -> Any:
        """Keep the parts of the next batch."""
        samples = super().get_batch_samples(*arguments, **keywords)
        self._parts = list(samples[0])
        return samples

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *rest: Any, **keywords: Any) -> Tensor:
        """Look ahead before the first part of a batch, and count the step after its last."""
        tuner = self._tuner()
        if inputs is self._parts[0]:
            model.train()
            tuner.accumulate = len(self._parts)
            prepared = [self._prepare_inputs(part) for part in self._parts] * tuner.virtual_steps
            tuner.look_ahead(
                [functools.partial(self._losses, model, part) for part in prepared],
                functools.partial(self._validation_loss, model),
            )
        loss: Tensor = super().training_step(model, inputs, *rest, **keywords)
        if inputs is self._parts[-1]:
            tuner.advance()
        return loss

    def log(self, logs: dict[str, float], *rest: Any, **keywords: Any) -> None:
        """Log the weights beside the training loss."""
        if "loss" in logs and self.tuner is not None:
            logs.update({f"weights/{name}": value for name, value in self.tuner.learned_values().items()})
        super().log(logs, *rest, **keywords)

    def _losses(self, model: nn.Module, part: dict[str, Any]) -> Any:
        with self.compute_loss_context_manager():
            return self.losses(model, dict(part))[0]

    def _validation_loss(self, model: nn.Module) -> Tensor:
        with self.compute_loss_context_manager():
            return self.validation_loss(model)

    def _tuner(self) -> LossWeightTuner:
        if self.tuner is not None and self.tuner.optimizer is not self.optimizer:  # `train` was called again
            self._loaded, self.tuner = self.tuner.state_dict(), None
        if self.tuner is None:
            require(
                not (self.is_deepspeed_enabled or self.is_fsdp_enabled),
                "DeepSpeed and FSDP shard parameters, which a look ahead exchanges: train without them.",
            )
            require(
                self.args.world_size == 1 and self.args.n_gpu <= 1,
                f"The Trainer trains on {max(self.args.world_size, self.args.n_gpu)} devices: use one "
                "(CUDA_VISIBLE_DEVICES=0), or Accelerate and LossWeightTuner, which averages over them.",
            )
            clip = {"max_norm": self.args.max_grad_norm or None, **self.tuner_settings}
            model, outer = self.accelerator.unwrap_model(self.model), self.outer_optimizer
            self.tuner = LossWeightTuner(model, self.optimizer, self.weights, outer, **clip)
            if self._loaded:
                self.tuner.load_state_dict(self._loaded)
        return self.tuner

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save and self.tuner is not None:
            torch.save(self.tuner.state_dict(), Path(output_dir) / SAVED)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and (Path(checkpoint) / SAVED).is_file():
            self._loaded = torch.load(Path(checkpoint) / SAVED, weights_only=True)
            self.tuner = None
