"""Loss weights learned by pure functions, for batches of seeds and compilation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bilevel.core import Tree, inner_step, outer_step
from bilevel.hypergradient import BilevelProblem, Estimator, FixedData, RecordedData, make_hypergradient
from bilevel.loss_weights._training import require_counts, require_moved
from bilevel.loss_weights._weights import Learned, LossWeights
from bilevel.optimizers import GradientTransformation
from games.core import require


class TrainState(NamedTuple):
    """Model parameters and optimizer state of a functional tuner; with seeds, leaves have a row for each.

    >>> from bilevel.loss_weights import FunctionalTuner, LossWeights
    >>> from bilevel.optimizers import sgd
    >>> weights = LossWeights(["a", "b"])
    >>> outer = torch.optim.Adam(weights.parameters(), lr=0.1)
    >>> losses = lambda theta, batch: {"a": (theta - 3) ** 2, "b": theta**2}
    >>> tuner = FunctionalTuner(losses, lambda theta, held_out: (theta - 3) ** 2, sgd(0.25), weights, outer)
    >>> state, validation_loss = tuner.step(tuner.init(torch.tensor(1.0)), [None], None)
    >>> isinstance(state, TrainState), 1 < state.theta < 3
    (True, tensor(True))
    """

    theta: Tree
    """Model parameters, a pytree of tensors."""
    opt_state: Tree
    """State of the model's optimizer."""


class FunctionalTuner:
    """`LossWeightTuner` for pure losses: the same look-ahead and order of steps.

    As losses depend on their arguments alone, seeds can be a leading axis of everything (weights with
    `batch=(seeds,)`, every leaf of theta, every loss), and the look-ahead can be compiled.

    Args:
        losses: (theta, batch) -> input of the weights, name -> [*seeds] for `LossWeights`.
        validation_loss: (theta, held-out data) -> [*seeds].
        optimizer: optimizer of the model, one of `bilevel.optimizers`.
        weights: `LossWeights`, or any module without buffers from losses to [*seeds].
        outer_optimizer: any torch optimizer of the weights' parameters; elementwise ones, such as Adam, keep
            seeds independent.
        virtual_steps: steps of the look-ahead, 1 or more.
        estimator: one of `bilevel.hypergradient`, by name or as an object, such as `Compiled(Unrolled())`.

    Raises:
        ValueError: a setting is out of range, weights have buffers, or the outer optimizer does not
            update exactly the weights.

    >>> from bilevel.loss_weights import LossWeights
    >>> from bilevel.optimizers import sgd
    >>> weights = LossWeights(["right", "wrong"], batch=(3,))
    >>> outer_optimizer = torch.optim.Adam(weights.parameters(), lr=0.1)
    >>> losses = lambda theta, batch: {"right": (theta - 3) ** 2, "wrong": (theta + 3) ** 2}
    >>> validation_loss = lambda theta, held_out: (theta - 3) ** 2
    >>> tuner = FunctionalTuner(losses, validation_loss, sgd(0.1), weights, outer_optimizer)
    >>> state = tuner.init(torch.tensor([0.0, 1.0, 2.0]))
    >>> for _ in range(50):
    ...     state, validation = tuner.step(state, [None], None)
    >>> bool((weights.values()[:, 0] > 2 * weights.values()[:, 1]).all())
    True
    """

    def __init__(
        self,
        losses: Callable[[Tree, Tree], Tree],
        validation_loss: Callable[[Tree, Tree], Tensor],
        optimizer: GradientTransformation,
        weights: nn.Module,
        outer_optimizer: torch.optim.Optimizer,
        *,
        virtual_steps: int = 1,
        estimator: str | Estimator = "unrolled",
    ) -> None:
        require_counts(virtual_steps=virtual_steps)
        buffers = [name for name, _ in weights.named_buffers()]
        require(
            not buffers,
            f"{type(weights).__name__} has the buffer {buffers[:1]}, which a pure step would not see change: "
            "use weights without buffers, or LossWeightTuner.",
        )
        require_moved(outer_optimizer, weights.parameters(), "the weights")
        self.optimizer, self.weights, self.outer_optimizer = optimizer, weights, outer_optimizer
        self.virtual_steps, self.estimator = virtual_steps, make_hypergradient(estimator)

        def weighted(theta: Tree, phi: Tree, batch: Tree) -> Tensor:
            values = losses(theta, batch)
            if isinstance(weights, LossWeights):  # a loss absent from one batch would be absent from all
                weights.check(values, complete=True)
            total: Tensor = functional_call(weights, phi, (values,))
            return total

        self.problem = BilevelProblem(
            step=inner_step(weighted, optimizer),
            outer_loss=lambda theta, phi, held_out: validation_loss(theta, held_out),
        )
        """The look-ahead without its data, for `check_hypergradient` or a custom loop."""

    def init(self, theta: Tree) -> TrainState:
        """Initial state with these parameters."""
        return TrainState(theta, self.optimizer.init(theta))

    def step(self, state: TrainState, batches: Sequence[Tree], held_out: Tree) -> tuple[TrainState, Tensor]:
        """Look ahead, update the weights, and train by one step.

        Args:
            state: from `init` or the last step.
            batches: data of each virtual step, the first also of the model's own step; or one for all.
            held_out: data of the validation loss.

        Returns:
            The state after the step, and the validation loss after the virtual steps, [*seeds].

        Raises:
            ValueError: the wrong number of batches; or as the estimator.
        """
        given = list(batches) * self.virtual_steps if len(batches) == 1 else list(batches)
        require(
            len(given) == self.virtual_steps,
            f"There is one batch for each of the {self.virtual_steps} virtual steps, or one for all, but "
            f"these are {len(given)}.",
        )
        problem = dataclasses.replace(
            self.problem, inner_data=RecordedData(tuple(given)), outer_data=FixedData(held_out)
        )
        estimate = self.estimator(problem, *state, self.phi(), steps=self.virtual_steps)
        phi = dict(self.weights.named_parameters())
        outer_step(phi, estimate.gradient, None, self.outer_optimizer)
        for module in self.weights.modules():
            if isinstance(module, Learned):
                module.project_()
        with torch.no_grad():
            after = self.problem.step(*state, self.phi(), given[0])
        return TrainState(*after), estimate.outer_loss

    def phi(self) -> dict[str, Tensor]:
        """Name -> outer parameter, detached."""
        return {name: parameter.detach() for name, parameter in self.weights.named_parameters()}
