"""Differentiable steps of torch's own optimisers, by `higher`; nothing else in the toolkit imports it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from higher.optim import DifferentiableOptimizer
from torch import Tensor

from bilevel.tuning.supported import check_lifts, rule_of, unwrapped
from bilevel.tuning.torch_steps import Group, Rule

Params = list[Tensor]
ClipGradients = Callable[[Sequence[Tensor | None]], list[Tensor | None]]


class LiftedOptimiser(DifferentiableOptimizer):  # type: ignore[misc]  # higher has no types
    """An optimiser, with its state as it is, whose steps are differentiable functions.

    `higher` differentiates a loss and keeps the graph; what is done with the gradients are torch's own steps
    (`bilevel.tuning.torch_steps`: `higher` itself lacks AdamW, and adds Adam's epsilon elsewhere). Nothing of
    the optimiser is copied, so take these steps before it takes its own.

    Args:
        optimiser: one of `bilevel.tuning.supported.LIFTED`; not changed.
        clip: what happens to the gradients before each step; None: nothing.
        hooked: what hooks on parameters do to their gradients before that.
        reduce: what happens to them before that, as an average over processes; None: nothing.
        groups: parameter groups in the place of its own, with a learning rate that is to be differentiated.

    Raises:
        ValueError: the optimiser cannot be lifted (lists those that can), or ascends.

    >>> p = torch.nn.Parameter(torch.tensor([1.0]))
    >>> step = LiftedOptimiser(torch.optim.SGD([p], lr=0.5))
    >>> w = torch.tensor(3.0, requires_grad=True)
    >>> (after,) = step((w * p).sum(), [p])
    >>> torch.autograd.grad(after.sum(), w)
    (tensor(-0.5000),)
    """

    def __init__(
        self,
        optimiser: torch.optim.Optimizer,
        *,
        clip: ClipGradients | None = None,
        hooked: ClipGradients = list,
        reduce: ClipGradients | None = None,
        groups: Sequence[Group] | None = None,
    ) -> None:
        check_lifts(optimiser)
        optimiser = unwrapped(optimiser)
        self.rule = rule_of(optimiser)
        groups = optimiser.param_groups if groups is None else groups
        self.param_groups = [{**group, "params": [None] * len(group["params"])} for group in groups]
        self.state = [
            dict(enumerate(self.rule.read(p, optimiser.state.get(p, {}), group) for p in group["params"]))
            for group in groups
        ]
        places = iter(range(len(parameters_of(optimiser))))
        self._group_to_param_list = [[next(places) for _ in group["params"]] for group in self.param_groups]
        self.clip, self.hooked, self.reduce = clip, hooked, reduce
        self._grad_callback = self._keep_and_clip
        self.descended: list[Tensor | None] = []
        """The gradients of the last step, hooked, before clipping; None for a parameter that stayed."""
        self._fmodel, self._track_higher_grads = None, True

    def __call__(self, loss: Tensor | Sequence[Tensor], params: Sequence[Tensor]) -> Params:
        """Take one step on a loss.

        Args:
            loss: one number, a function of the parameters; or several to be added, whose gradients are then
                accumulated in their order, bit for bit as by one `backward` after the other.
            params: in the order of `parameters_of` the optimiser.

        Returns:
            the new parameters, functions of the old ones and of whatever the loss depends on.
        """
        parts = [loss] if isinstance(loss, Tensor) else loss
        if len(parts) == 1:
            return list(self.step(parts[0], params=list(params)))
        free = [place for place, p in enumerate(params) if p.requires_grad]
        leaves = [params[place] for place in free]
        found = [torch.autograd.grad(part, leaves, create_graph=True, allow_unused=True) for part in parts]
        gradients = dict(zip(free, accumulated(found), strict=True))
        return self.along([gradients.get(place) for place in range(len(params))], params)

    def along(self, gradients: Sequence[Tensor | None], params: Sequence[Tensor]) -> Params:
        """Take one step along gradients that are there already, None for a parameter that is to stay."""
        clipped = self._keep_and_clip(gradients)
        for group, places in zip(self.param_groups, self._group_to_param_list, strict=True):
            group["params"] = [params[place] for place in places]
        self._update([[clipped[place] for place in places] for places in self._group_to_param_list])
        return [p for group in self.param_groups for p in group["params"]]

    @property
    def rates(self) -> list[float]:
        """The learning rate of each parameter."""
        return [float(group["lr"]) for group in self.param_groups for _ in group["params"]]

    @property
    def decays(self) -> list[float]:
        """The weight decay of each parameter that is added to its gradient; 0 where it is decoupled."""
        return [_added_decay(self.rule, group) for group in self.param_groups for _ in group["params"]]

    def _keep_and_clip(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        hooked = self.hooked(gradients)
        self.descended = hooked if self.reduce is None else self.reduce(hooked)
        return self.descended if self.clip is None else self.clip(self.descended)

    def _update(self, grouped_grads: list[list[Tensor | None]], **_: Any) -> None:
        for group, states, grads in zip(self.param_groups, self.state, grouped_grads, strict=True):
            for index, gradient in enumerate(grads):
                if gradient is not None:  # who has no gradient is left alone, whatever its decay
                    moved = self.rule.move(group["params"][index], gradient, states[index], group)
                    group["params"][index], states[index] = moved


def parameters_of(optimiser: torch.optim.Optimizer) -> Params:
    """All parameters of an optimiser, group by group."""
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def accumulated(gradients: Sequence[Sequence[Tensor | None]]) -> list[Tensor | None]:
    """Add the gradients of several losses in their order, as `backward` does; None counts as nothing.

    >>> accumulated([[torch.ones(1), None, None], [torch.ones(1), torch.ones(1), None]])
    [tensor([2.]), tensor([1.]), None]
    """
    first, *rest = gradients
    total = list(first)
    for more in rest:
        total = [a if b is None else b if a is None else a + b for a, b in zip(total, more, strict=True)]
    return total


def _added_decay(rule: Rule, group: Group) -> float:
    decoupled = rule.decoupled or group.get("decoupled_weight_decay", False)
    return 0.0 if decoupled else float(group.get("weight_decay", 0.0))
