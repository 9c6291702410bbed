"""The look ahead as a step of the functional core, so that each of its estimators can take the gradient."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bilevel.compile import Compiled
from bilevel.core import Tensors, Tree
from bilevel.hypergradient import ESTIMATORS as HYPERGRADIENTS
from bilevel.hypergradient import BilevelProblem, Estimator, make_hypergradient
from bilevel.loss_weights._hypergradients import ESTIMATORS, LookAhead, MetaGradient
from bilevel.loss_weights._implicit import Implicit
from bilevel.loss_weights._random_streams import draw_from, drawing_from
from bilevel.loss_weights._torch_kernels import require_second_derivative
from bilevel.loss_weights._torch_steps import Memory
from games.core import require, require_name

Phi = dict[str, Tensor]
"""What is learned, by the names of the parameters."""


LOOP_ESTIMATORS: dict[str, Callable[[LookAhead], MetaGradient]] = {**ESTIMATORS, "implicit": Implicit()}
"""Those around a loop that is already there; a bare name means one of these first."""


def make_estimator(estimator: str | Implicit | Estimator) -> Callable[[LookAhead], MetaGradient]:
    """Find a way to take the meta-gradient: one for torch's modules, or one of `bilevel.hypergradient`.

    Args:
        estimator: a name in `LOOP_ESTIMATORS`; an `Implicit`; or a name of `bilevel.hypergradient`, settings
            in parentheses if it is to have any, or such an estimator itself: these go through the step.

    Raises:
        ValueError: there is none of that name; a setting is wrong; it is to be compiled; or it carries a
            state from one outer step to the next.
    """
    if isinstance(estimator, str):
        if estimator in LOOP_ESTIMATORS:
            return LOOP_ESTIMATORS[estimator]
        require_name(estimator.partition("(")[0].strip(), {**LOOP_ESTIMATORS, **HYPERGRADIENTS}, "estimator")
    elif isinstance(estimator, Implicit):
        return estimator
    built: Any = make_hypergradient(estimator)
    require(
        not built.stateful,
        f"The estimator {built!r} carries a state from one outer step to the next, but each look ahead "
        "starts anew, where the model is: use a stateless one.",
    )
    require(
        not isinstance(built, Compiled),
        "Losses that use a model as it is cannot be compiled: leave Compiled out, or write them as pure "
        "functions (docs/functional_loss_weights.md).",
    )
    return ThroughStep(built)


@dataclasses.dataclass(frozen=True)
class ThroughStep:
    """Takes the meta-gradient by an estimator of the functional core.

    The model is called with its parameters exchanged; the step is that of torch's optimizer, as a pure
    function. Each step's random draws begin where they began the first time it was taken, so dropout is pure.
    """

    estimator: Estimator
    """Which."""

    def __call__(self, ahead: LookAhead) -> MetaGradient:
        """Look ahead.

        Raises:
            ValueError: a module changes its buffers when it is called (says which); the estimator refuses.
            RuntimeError: torch cannot batch or differentiate something, as random draws.
        """
        step = PureStep(ahead)
        problem = BilevelProblem(
            step=step,
            outer_loss=step.outcome,
            inner_data=lambda theta, phi, k: (k, ahead.world.draws_now()),
        )
        estimate = self.estimator(problem, step.theta, step.memory, step.phi, steps=len(ahead.losses))
        found = dict(zip(map(id, step.learned.parameters()), estimate.gradient.values(), strict=True))
        return MetaGradient([found[id(p)] for p in ahead.outer], estimate.outer_loss.detach())


class PureStep:
    """One step of a look ahead: (theta, memory, phi, data) -> (theta', memory').

    theta are the parameters that are trained, memory what the optimizer remembers of each, phi what is
    learned, and data the number of the step and where its random draws begin.

    Args:
        ahead: the steps.

    Raises:
        ValueError: a module changes its buffers when it is called (says which).
    """

    def __init__(self, ahead: LookAhead) -> None:
        assert ahead.learned is not None, "nothing is learned"
        ahead.world.require_no_backward_hooks()
        self.ahead, self.learned, self._reader = ahead, ahead.learned, _Reader(ahead.learned)
        self.start = ahead.start()
        self.places = [place for place, p in enumerate(self.start) if p.requires_grad]
        self.theta: Tensors = tuple(self.start[place].detach() for place in self.places)
        self.phi: Phi = {name: p.detach() for name, p in self.learned.named_parameters()}
        lifted = ahead.optimizer
        memories = [memory for states in lifted.state for memory in states.values()]
        numbers = lifted.rule.decides_by
        self.memory = tuple(_as_tensors(memories[place], self.start[place], numbers) for place in self.places)
        self._group_of = [index for index, group in enumerate(lifted.param_groups) for _ in group["params"]]
        self._moved = [self._who_moves(index) for index in range(len(ahead.losses))]
        ahead.require_pure(self.start)

    def __call__(self, theta: Tree, memory: Tree, phi: Tree, data: Tree) -> tuple[Tree, Tree]:
        """Take the step."""
        index, draws = data

        def total(theta: Tensors) -> Tensor:
            draw_from(draws)
            self.ahead.rewind()
            buffers, params = self.ahead.world.buffers_now(), self._all(theta)
            loss: Tensor = self._reader.read(phi, lambda: self.ahead.total(index, params, buffers))
            return loss

        found = dict(zip(self.places, torch.func.grad(total)(theta), strict=True))
        gradients = [found[p] if p in self._moved[index] else None for p in range(len(self.start))]
        clip, rule = self.ahead.optimizer.clip, self.ahead.optimizer.rule
        gradients = self.ahead.optimizer.hooked(gradients)
        gradients = gradients if clip is None else clip(gradients)
        groups = self._reader.read(phi, self.ahead.groups)
        result = []
        for place, p, kept in zip(self.places, theta, memory, strict=True):
            gradient = gradients[place]
            if gradient is not None:
                moved, kept = rule.move(p, gradient, kept, groups[self._group_of[place]])
                p = moved.to(p.dtype)
            result.append((p, kept))
        return tuple(p for p, _ in result), tuple(kept for _, kept in result)

    def outcome(self, theta: Tree, phi: Tree, data: Tree) -> Tensor:
        """The validation loss."""
        world, buffers = self.ahead.world, self.ahead.world.buffers_now()
        self.ahead.rewind()
        with drawing_from(world.draws_now()):
            loss: Tensor = self._reader.read(
                phi, lambda: self.ahead.number(world.run(self.ahead.validation, self._all(theta), buffers))
            )
        return loss

    def _all(self, theta: Tensors) -> list[Tensor]:
        """Every parameter of the optimizer, the frozen ones as they are."""
        free = dict(zip(self.places, theta, strict=True))
        return [free.get(place, p) for place, p in enumerate(self.start)]

    def _who_moves(self, index: int) -> set[int]:
        """Find the parameters that have a gradient in a step: torch leaves the others alone."""
        world = self.ahead.world
        before, buffers = world.buffers_now(), world.buffers_now()
        self.ahead.rewind()
        with drawing_from(world.draws_now()):
            total = self.ahead.total(index, self.start, buffers)
        require_second_derivative(total)
        changed = world.changed_buffer(before, buffers)
        require(
            changed is None,
            f"{changed} when it is called, and this estimator takes the model as a pure function: use "
            "unrolled, or put it into eval mode.",
        )
        chosen = [self.start[place] for place in self.places]
        found = torch.autograd.grad(total, chosen, allow_unused=True)
        return {place for place, gradient in zip(self.places, found, strict=True) if gradient is not None}


class _Reader(nn.Module):
    """Runs a function with other values in the place of what is learned."""

    def __init__(self, learned: nn.Module) -> None:
        super().__init__()
        self.learned = learned

    def read(self, phi: Phi, function: Callable[[], Any]) -> Any:
        return functional_call(self, {f"learned.{name}": p for name, p in phi.items()}, (function,))

    def forward(self, function: Callable[[], Any]) -> Any:
        return function()


def _as_tensors(memory: Memory, parameter: Tensor, numbers: Sequence[str]) -> Memory:
    """Numbers as tensors: counts whole, others in the parameter's precision; zeros with room of their own."""
    return {
        name: torch.as_tensor(
            value, dtype=torch.int64 if name == "step" else parameter.dtype, device=parameter.device
        ).detach()
        if name in numbers
        else value.contiguous()
        for name, value in memory.items()
    }
