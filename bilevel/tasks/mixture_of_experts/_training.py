"""Routers by name, and the training of a mixture with one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bilevel.core import Schedule
from bilevel.loss_weights import HyperParameter, LossWeights, LossWeightTuner
from bilevel.nn import (
    ExpertRouting,
    dense_routing,
    entmax,
    importance_loss,
    switch_loss,
    top_k_routing,
    update_bias,
)
from bilevel.tasks.mixture_of_experts._environment import Environment, States
from bilevel.tasks.mixture_of_experts._model import MixtureModel
from bilevel.tasks.mixture_of_experts._settings import MixtureSettings

ENDS = 1.001, 2.0  # bounds of a learned alpha


class Router(NamedTuple):
    """A router and its training."""

    text: str
    """A one-line description."""
    alpha: float | str = 1.0
    """Alpha of entmax; curriculum: by the schedule; learned: by the training loss; outer: by validation."""
    active: int | None = None
    """Experts that are selected by their scores, 0 for the setting `active`; None: by entmax."""
    balance: str = "none"
    """none, switch, importance, bias, or outer (Switch's loss with a learned weight)."""


ROUTERS: Mapping[str, Router] = {
    "softmax": Router("all experts, by softmax"),
    "softmax-balance": Router("softmax with the balance loss of Switch", balance="switch"),
    "sparsemax": Router("few experts, by sparsemax from the start", 2.0),
    "sparsemax-balance": Router("sparsemax with the balance loss of Switch", 2.0, balance="switch"),
    "sparsemax-importance": Router("sparsemax with the importance loss", 2.0, balance="importance"),
    "entmax": Router("entmax between them, its alpha learned by the training loss", "learned"),
    "curriculum": Router("from softmax to sparsemax, by the curriculum", "curriculum"),
    "curriculum-balance": Router(
        "the curriculum with the balance loss of Switch", "curriculum", balance="switch"
    ),
    "learned": Router(
        "entmax: alpha, from 1 on, and the balance weight learned from the validation loss",
        "outer",
        balance="outer",
    ),
    "top-1": Router("the best expert, weighted by its softmax probability", active=1),
    "top-1-balance": Router("the same with the balance loss of Switch", active=1, balance="switch"),
    "top-1-bias": Router("the same with selection biases (loss-free balance)", active=1, balance="bias"),
    "top-k": Router("the best `active` experts", active=0),
    "top-k-balance": Router("the same with the balance loss of Switch", active=0, balance="switch"),
}
"""Name -> router."""


class MixtureTraining:
    """A model, its router, and the losses of the next batch."""

    def __init__(self, settings: MixtureSettings, router: Router, seed: int) -> None:
        self.settings, self.router = settings, router
        generator = torch.Generator().manual_seed(seed)
        self.environment = Environment(settings, generator)
        self.validation_set = self.environment.draw(settings.validation_size, generator)
        self.test_set = self.environment.draw(settings.test_size, generator)
        self.stream = generator
        torch.manual_seed(seed)  # torch's layers take no generator
        self.model = MixtureModel(settings)
        start = 1.5 if router.alpha == "learned" else ENDS[0] + 0.05
        self.learned_alpha = HyperParameter("alpha", start, "bounded", bounds=ENDS)
        self.bias = torch.zeros(settings.experts)
        self.step = 0
        self.batch = self.draw()

    def draw(self) -> States:
        """Draw the next batch."""
        return self.environment.draw(self.settings.batch_size, self.stream)

    @property
    def alpha(self) -> float | Tensor:
        """Alpha of entmax in this step."""
        if isinstance(self.router.alpha, float):
            return self.router.alpha
        if self.router.alpha == "curriculum":
            return self.settings.alpha(self.step)
        value: Tensor = self.learned_alpha()
        return value

    def gate(self, scores: Tensor) -> ExpertRouting:
        """Routing of these scores in this step."""
        if self.router.active is None:
            return dense_routing(entmax(scores, self.alpha))
        bias = self.bias if self.router.balance == "bias" else None
        return top_k_routing(scores, self.router.active or self.settings.active, bias)

    def losses(self) -> dict[str, Tensor]:
        """Losses of the batch: `action`, and `balance` where the router has one."""
        logits, routing = self.model(self.batch.entities, self.gate)
        losses = {"action": cross_entropy(logits, self.batch.actions)}
        if self.router.balance in ("switch", "outer"):
            losses["balance"] = switch_loss(routing)
        elif self.router.balance == "importance":
            losses["balance"] = importance_loss(routing)
        return losses

    def validation(self) -> Tensor:
        """Cross-entropy of the validation set's actions."""
        logits, _ = self.model(self.validation_set.entities, self.gate)
        return cross_entropy(logits, self.validation_set.actions)

    def advance(self) -> None:
        """Go on to the next batch, after biases were updated by this one."""
        if self.router.balance == "bias":
            with torch.no_grad():
                routing = self.gate(self.model.scores(self.batch.entities))
            self.bias = update_bias(self.bias, routing, self.settings.bias_rate)
        self.batch = self.draw()
        self.step += 1


def trainer(training: MixtureTraining) -> Callable[[], float]:
    """Build the function that takes a training step and returns the weight of the balance loss in it."""
    settings, model = training.settings, training.model
    learns_outside = training.router.balance == "outer"
    own = [] if learns_outside else training.learned_alpha.parameters()
    optimizer = torch.optim.Adam(
        [*model.parameters(), *own], lr=settings.learning_rate, fused=not learns_outside
    )
    rate = Schedule.line(settings.learning_rate, 0.0, settings.steps)

    def decay() -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate(training.step)

    if learns_outside:
        weights = LossWeights(["balance"], max(settings.balance_coef, 1e-4))
        outer_optimizer = torch.optim.Adam(
            [*weights.parameters(), *training.learned_alpha.parameters()], lr=settings.outer_learning_rate
        )
        tuner = LossWeightTuner(
            model, optimizer, _Beside(weights), outer_optimizer, also=[training.learned_alpha]
        )

        def tune() -> float:
            decay()
            tuner.step(training.losses, training.validation)
            return weights.as_dict()["balance"]

        return tune

    def step() -> float:
        decay()
        losses = training.losses()
        total = losses["action"] + settings.balance_coef * losses.get("balance", torch.zeros(()))
        if not total.isfinite():
            raise FloatingPointError("The training loss is not finite: try a smaller learning rate.")
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        return settings.balance_coef if "balance" in losses else 0.0

    return step


class _Beside(torch.nn.Module):
    """The loss of actions with weight 1, and the others by their learned weights."""

    def __init__(self, weights: LossWeights) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        total: Tensor = losses["action"] + self.weights({"balance": losses["balance"]})
        return total
