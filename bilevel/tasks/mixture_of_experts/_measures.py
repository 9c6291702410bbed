"""Accuracy of a mixture, with all experts and without each."""

from __future__ import annotations

import torch
from torch import Tensor

from bilevel.tasks.mixture_of_experts._environment import States
from bilevel.tasks.mixture_of_experts._model import Gate, MixtureModel


@torch.no_grad()
def accuracies(model: MixtureModel, gate: Gate, states: States) -> tuple[float, list[float]]:
    """Accuracy with all experts, and without each, whose gates the others share in proportion, in %."""
    routing = gate(model.scores(states.entities))

    def accuracy(gates: Tensor) -> float:
        right = model.logits(states.entities, gates).argmax(-1) == states.actions
        return 100 * float(right.double().mean())

    without = []
    for expert in range(routing.gates.shape[-1]):
        rest = routing.gates.clone()
        rest[:, expert] = 0
        total = rest.sum(-1, keepdim=True)
        uniform = torch.full_like(rest, 1 / (rest.shape[-1] - 1))
        uniform[:, expert] = 0  # a state whose only expert is missing
        without.append(accuracy(torch.where(total > 0, rest / total.clamp(min=1e-12), uniform)))
    return accuracy(routing.gates), without
