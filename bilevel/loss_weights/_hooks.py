"""Backward hooks of modules and activations, watched while other gradients than theirs are taken."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

register_hook: Callable[..., Any] = torch.Tensor.register_hook
"""As torch has it, whatever is watched."""

Report = Callable[[nn.Module | None], None]
"""Takes the module whose hook changed a gradient; None: the hook is an activation's."""


@contextmanager
def watching(modules: Iterable[nn.Module], report: Report) -> Iterator[None]:
    """Report backward hooks that change gradients.

    A hook is there for the gradient of the training loss. But the hypergradient flows through the same graph,
    and the gradient of the validation loss through one like it, where it would be called, too. One that only
    looks does no harm; one that changes what it sees makes the hypergradient wrong.

    Hooks that were registered inside on what is computed there are watched also after the context.

    Args:
        modules: whose hooks to watch.
        report: called whenever a hook returns another gradient.

    >>> seen = []
    >>> with watching([], seen.append):
    ...     x = torch.ones(2, requires_grad=True)
    ...     y = 2 * x
    ...     _ = y.register_hook(lambda g: g / 2)
    ...     _ = torch.autograd.grad(y.sum(), x)
    >>> seen
    [None]
    """
    replaced: list[tuple[dict[int, Any], dict[int, Any]]] = []
    for module in modules:
        for hooks in (module._backward_hooks, module._backward_pre_hooks):
            if hooks:
                replaced.append((hooks, dict(hooks)))
                hooks.update({key: _watched(hook, report, module) for key, hook in hooks.items()})
    tensors: Any = torch.Tensor
    tensors.register_hook = lambda tensor, hook: register_hook(tensor, _watched(hook, report))
    try:
        yield
    finally:
        tensors.register_hook = register_hook
        for hooks, own in replaced:
            hooks.update(own)


def _watched(hook: Callable[..., Any], report: Report, module: nn.Module | None = None) -> Callable[..., Any]:
    """The hook, reported when it returns another gradient: of a module's the first gradients are compared."""

    @functools.wraps(hook)
    def watched(*args: Any) -> Any:
        found = hook(*args)
        if found is not None and not _same(found, args[0] if module is None else args[1]):
            report(module)
        return found

    return watched


def _same(found: Any, given: Any) -> bool:
    if isinstance(found, tuple):
        return isinstance(given, tuple) and all(map(_same, found, given))
    if found is None or found is given:
        return True
    if torch._C._functorch.peek_interpreter_stack() is not None:  # values cannot be looked at
        return False
    return isinstance(given, Tensor) and torch.equal(found, given)
