"""Training by a rule that needs no validation loss, called as a tuner is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bilevel.errors import require
from bilevel.outer.loss_weights import Losses
from bilevel.tuning.checks import require_differentiable_mode, require_function, require_learnable
from bilevel.tuning.clipping import Clipping
from bilevel.tuning.history import History
from bilevel.tuning.lifted import parameters_of
from bilevel.tuning.rules import Rule
from bilevel.tuning.tuner import StepResult


class Trainer:
    """Trains a model with an optimiser by a rule's weights or directions: the rivals of `LossWeightTuner`.

    Args:
        optimiser: of the model's parameters, any of torch's.
        rule: one of `bilevel.tuning.rules`.
        rule_optimiser: of the rule's own parameters, if it has any.
        max_norm: as of `LossWeightTuner`.
        max_value: as of `LossWeightTuner`.

    Raises:
        ValueError: the rule has parameters and no optimiser for them, or an optimiser for others.

    >>> from bilevel.tuning.rules import Fixed
    >>> guess = torch.nn.Linear(1, 1, bias=False)
    >>> trainer = Trainer(torch.optim.SGD(guess.parameters(), lr=0.1), Fixed({"near": 1.0, "small": 0.5}))
    >>> losses = lambda: {"near": (guess.weight - 3).square().sum(), "small": guess.weight.square().sum()}
    >>> for _ in range(100):
    ...     _ = trainer.step(losses)
    >>> round(guess.weight.item(), 4)
    2.0
    """

    def __init__(
        self,
        optimiser: torch.optim.Optimizer,
        rule: Rule,
        rule_optimiser: torch.optim.Optimizer | None = None,
        *,
        max_norm: float | None = None,
        max_value: float | None = None,
    ) -> None:
        moved = {id(p) for p in (parameters_of(rule_optimiser) if rule_optimiser is not None else [])}
        own = {id(p) for p in rule.parameters()}
        require(
            moved == own,
            f"{type(rule).__name__} has {len(own)} parameters, and rule_optimiser moves {len(moved)}: give "
            "it those of the rule, and no others.",
        )
        self.optimiser, self.rule, self.rule_optimiser = optimiser, rule, rule_optimiser
        self.clipping, self.history, self.steps = Clipping(max_norm, max_value), History(), 0

    def step(
        self, train_losses: Callable[[], Losses], validation_loss: Callable[[], Tensor] | None = None
    ) -> StepResult:
        """Train the model by one step.

        Args:
            train_losses: gives name -> loss on a batch, each one number.
            validation_loss: not used; a tuner needs it, and both are called alike.

        Raises:
            ValueError: losses are for other names, not numbers, or detached.
            FloatingPointError: a loss is not a finite number; nothing was changed.
        """
        require_function("train_losses", train_losses)
        require_differentiable_mode()
        with torch.enable_grad():
            return self._step(train_losses)

    def _step(self, train_losses: Callable[[], Losses]) -> StepResult:
        losses = train_losses()
        require_learnable(losses)
        for name, loss in losses.items():
            if not loss.isfinite().all():
                raise FloatingPointError(
                    f"The loss {name!r} is not finite in step {self.steps}: try a smaller learning rate."
                )
        trained = parameters_of(self.optimiser)
        self.optimiser.zero_grad()
        self.rule.zero_grad()
        descended = self.rule.descend(losses, trained)
        self.clipping.in_place(trained)
        self.optimiser.step()
        if self.rule_optimiser is not None:
            self.rule_optimiser.step()
        self.rule.project_()
        self.rule.advance()
        self.steps += 1
        self.history.add(self.steps, self.rule.as_dict(), None)
        return StepResult(descended, None)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the trainer adds to a run; the model's and its optimiser's are saved beside it."""
        return {
            "rule": self.rule.state_dict(),
            "rule_optimiser": None if self.rule_optimiser is None else self.rule_optimiser.state_dict(),
            "steps": self.steps,
            "history": self.history.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where a state was saved."""
        self.rule.load_state_dict(state["rule"])
        if self.rule_optimiser is not None:
            self.rule_optimiser.load_state_dict(state["rule_optimiser"])
        self.steps = int(state["steps"])
        self.history.load_state_dict(state["history"])
