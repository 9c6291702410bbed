"""Models in DistributedDataParallel: gradients are averaged over processes, in virtual steps too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from games.core import require

_SHARDED = ("FullyShardedDataParallel", "XlaFullyShardedDataParallel", "DeepSpeedEngine", "DTensor")
"""Names of unsupported types of modules and parameters."""


class Processes:
    """The processes that train a model, wrapped in DistributedDataParallel, each on its part of a batch.

    With g_r the gradient of process r and V_r its validation loss, a step descends g = mean_r g_r, and the
    weights minimize V = mean_r V_r. So virtual steps average gradients differentiably, and the hypergradient
    is the mean over processes. Raises ValueError for unsupported modules and settings (says which).
    """

    def __init__(self, model: Iterable[nn.Module]) -> None:
        modules = [module for root in model for module in root.modules()]
        self.wrapped = [module for module in modules if isinstance(module, DistributedDataParallel)]
        kinds = [*map(type, modules), *(type(p) for each in modules for p in each.parameters(False))]
        sharded = dict.fromkeys(kind.__name__ for kind in kinds if kind.__name__ in _SHARDED)
        require(
            not sharded,
            f"The model holds a {'/'.join(sharded)}, whose parameters are spread over processes: virtual "
            "steps need whole parameters, so use DistributedDataParallel.",
        )
        multiprocess = (
            distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
        )
        require(
            bool(self.wrapped) or not multiprocess,
            "Several processes train together (torch.distributed), but no module of the model is wrapped in "
            "DistributedDataParallel, so that their weights would come apart: pass the wrapped model, in "
            "Lightning trainer.model, in Accelerate what prepare gives.",
        )
        for each in self.wrapped:
            settings = {"mixed_precision": each.mixed_precision, "a communication hook": each._comm_hooks}
            for name, value in settings.items():
                require(
                    not value,
                    f"DistributedDataParallel with {name} changes gradients as virtual steps do not: leave "
                    "it out.",
                )
        self.group = self.wrapped[0].process_group if self.wrapped else None
        require(
            all(each.process_group is self.group for each in self.wrapped),
            "Modules are wrapped in DistributedDataParallel with different process groups: use one.",
        )
        self._averaged = {
            id(p)
            for each in self.wrapped
            for name, p in each.module.named_parameters()
            if name not in each.parameters_to_ignore
        }

    @contextmanager
    def unwrapped(self) -> Iterator[None]:
        """Call wrapped modules without their wrappers, which communicate."""
        for each in self.wrapped:
            each.__dict__["forward"] = each.module.__call__
        try:
            yield
        finally:
            for each in self.wrapped:
                del each.__dict__["forward"]

    def begin(self, learned: Iterable[Tensor]) -> None:
        """Broadcast the learned tensors from the first process to the others."""
        if self.group is None:
            return
        device = self.wrapped[0].device
        for tensor in learned:
            sent = tensor.detach().to(device).contiguous()
            distributed.broadcast(sent, group=self.group, group_src=0)
            with torch.no_grad():
                tensor.copy_(sent)

    def mean_of_trained(
        self, gradients: Sequence[Tensor | None], trained: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """Average the gradients of wrapped parameters, differentiably; the others stay as they are."""
        places = [place for place, p in enumerate(trained) if id(p) in self._averaged]
        means = self.mean([gradients[place] for place in places], [trained[place] for place in places])
        found = list(gradients)
        for place, mean in zip(places, means, strict=True):
            found[place] = mean
        return found

    def mean(self, values: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor | None]:
        """Average over processes; None counts as 0, and stays None where every process has it."""
        if self.group is None or not values:
            return list(values)
        device = self.wrapped[0].device
        there = torch.tensor([float(value is not None) for value in values], device=device)
        distributed.all_reduce(there, group=self.group)
        filled = [torch.zeros_like(p) if v is None else v for v, p in zip(values, like, strict=True)]
        means: tuple[Tensor, ...] = _ProcessMean.apply(self.group, device, *filled)  # type: ignore[no-untyped-call]
        return [mean if n > 0 else None for mean, n in zip(means, there.tolist(), strict=True)]


class _ProcessMean(torch.autograd.Function):
    """Mean of tensors over processes; self-adjoint, so that cotangents are averaged, too."""

    @staticmethod
    def forward(ctx: Any, group: Any, device: torch.device, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.group, ctx.device = group, device
        dtype = max((t.dtype for t in tensors), key=lambda each: -torch.finfo(each).eps)
        flat = torch.cat([t.detach().flatten().to(device, dtype) for t in tensors])
        distributed.all_reduce(flat, group=group)
        parts = (flat / distributed.get_world_size(group)).split([t.numel() for t in tensors])
        return tuple(part.view(t.shape).to(t) for part, t in zip(parts, tensors, strict=True))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Any:
        means = _ProcessMean.apply(ctx.group, ctx.device, *cotangents)  # type: ignore[no-untyped-call]
        return None, None, *means
