"""Losses that a batch lacks: their weights, and what the outer optimizer remembers of them, stay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bilevel.loss_weights._weights import LossWeights

Seen = dict[LossWeights, set[str]]
"""Weights -> the names of the losses that they were called with."""


@contextmanager
def noting_losses(modules: Iterable[nn.Module]) -> Iterator[Seen]:
    """Note what each `LossWeights` among these modules is called with inside.

    >>> weights = LossWeights(["label", "contour"])
    >>> with noting_losses([weights]) as seen:
    ...     _ = weights({"label": torch.tensor(2.0)})
    >>> seen[weights]
    {'label'}
    """
    seen: Seen = {module: set() for module in modules if isinstance(module, LossWeights)}
    handles = [
        each.register_forward_pre_hook(lambda module, given: seen[module].update(given[0])) for each in seen
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def keeping_absent(optimizer: torch.optim.Optimizer, seen: Seen) -> Iterator[None]:
    """Step an outer optimizer inside, and leave the weights of losses that were not seen as they are.

    An optimizer with momentum moves entries whose gradient is 0, too. So these entries, and those of the
    optimizer's averages, are put back. Weights that saw no loss at all are moved as usual.

    >>> weights = LossWeights(["label", "contour"], constraint="free")
    >>> weights.free.grad = torch.tensor([1.0, 0.0])
    >>> decaying = torch.optim.SGD(weights.parameters(), lr=0.5, weight_decay=0.5)
    >>> with keeping_absent(decaying, {weights: {"label"}}):
    ...     decaying.step()
    >>> weights.as_dict()
    {'label': 0.25, 'contour': 1.0}
    """
    kept: list[tuple[Tensor, str, Tensor, list[int]]] = []
    for weights, names in seen.items():
        if not names or not (absent := [i for i, name in enumerate(weights.names) if name not in names]):
            continue
        free, state = weights.free.detach(), optimizer.state.get(weights.free, {})
        alike = {k: v for k, v in state.items() if isinstance(v, Tensor) and v.shape == free.shape}
        for name, value in {"": free, **alike}.items():
            kept.append((weights.free, name, value[..., absent].clone(), absent))
    yield
    for parameter, name, before, absent in kept:
        now: Tensor = optimizer.state[parameter][name] if name else parameter.detach()
        now[..., absent] = before
