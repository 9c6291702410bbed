"""Calls of a model with substituted parameters and buffers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from bilevel.core import leaves
from bilevel.loss_weights._lifted import parameters_of
from bilevel.loss_weights._module_state import (
    Attributes,
    Place,
    RandomState,
    seed_validation,
    set_random_state,
)
from bilevel.loss_weights._module_state import random_state as global_random_state
from bilevel.loss_weights._purity import require_buffer_unread, written_without_gradient
from bilevel.loss_weights._torch_patches import (
    register_hook,
    substitute,
    unsubstitute,
    use_exact_norms,
    watching_hooks,
    without_reentrance,
)
from games.core import require

Result = TypeVar("Result")
Buffers = list[Tensor | None]
"""In the order of `buffer_places`; written to and replaced by the model as its own buffers are."""


class ModelSnapshot(NamedTuple):
    """State that calling a model changes."""

    buffers: list[tuple[nn.Module, str, Tensor | None]]  # the module, the name and the tensor itself
    values: list[Tensor | None]  # copies of these tensors
    random_state: RandomState
    attributes: Attributes


@dataclass(frozen=True, eq=False)
class Substitution:
    """Tensors in the modules during a call and during the backward pass of its graph."""

    params: Sequence[Tensor] | None  # None: the model's own
    buffers: Buffers


class StatelessModel(nn.Module):
    """Calls a function of no arguments with other values of the model's parameters.

    The modules themselves hold these values, and parameters in lists made elsewhere stand in for them
    (`_torch_patches.StandIn`), so that losses are written as usual. Raises ValueError if the optimizer has a
    parameter that is not the model's.
    """

    def __init__(self, model: Sequence[nn.Module], optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        self.model, self._optimizer = nn.ModuleList(model), optimizer
        self.differentiated = True
        """True if reverse mode will differentiate the current call in the model's parameters."""
        self.several_steps = False  # a virtual step can read the running statistics of another
        self.harmless: set[Place] = set()  # buffers and attributes that a call changes before it reads them
        self._parameter_hooks: list[dict[int, Any]] = []
        self._changing: list[nn.Module | None] = []
        self._exact_norms = False
        self._versions: list[int | None] = []
        self._recomputed: int | None = None
        self._now: Substitution | None = None
        self._last: Substitution | None = None
        self._own_buffers: Buffers = []
        self._keeps_last = False
        self.refresh()
        for number, (parameter, places) in enumerate(zip(self.trained, self._places, strict=True)):
            require(
                bool(places),
                f"Parameter {number} of the optimizer, of the shape {list(parameter.shape)}, is none of the "
                "model's: pass every module that the losses use, as a list.",
            )

    def refresh(self) -> None:
        """Find the trained parameters and the modules that hold them again, as a model may change."""
        self.trained = parameters_of(self._optimizer)
        self._changing.clear()
        self._recomputed = None
        places: dict[int, list[Place]] = {id(parameter): [] for parameter in self.trained}
        self.all_modules = [module for module in self.modules() if module is not self]
        self.buffer_places: list[Place] = []
        self.weight_norm = False
        for module in self.all_modules:
            for key, own in module._parameters.items():
                if id(own) in places:
                    places[id(own)].append((module, key))
            self.buffer_places += [(module, key) for key in module._buffers]
            self.weight_norm = self.weight_norm or _normalizes_weights(module)
        self._places = [places[id(parameter)] for parameter in self.trained]
        self.requires_grad = [parameter.requires_grad for parameter in self.trained]
        self._hooks = [parameter._backward_hooks or {} for parameter in self.trained]

    def snapshot(self) -> ModelSnapshot:
        """Save the state that calling the model changes."""
        buffers = [(module, key, module._buffers[key]) for module, key in self.buffer_places]
        values = [None if buffer is None else buffer.clone() for *_, buffer in buffers]
        return ModelSnapshot(buffers, values, self.random_state(), Attributes(self.all_modules))

    @torch.no_grad()
    def restore(self, snapshot: ModelSnapshot) -> None:
        """Restore buffers, plain attributes and random streams."""
        for (module, key, buffer), value in zip(snapshot.buffers, snapshot.values, strict=True):
            module._buffers[key] = buffer if buffer is None or value is None else buffer.copy_(value)
        snapshot.attributes.restore()
        set_random_state(snapshot.random_state)

    def copy_buffers(self, snapshot: ModelSnapshot | None = None) -> Buffers:
        """Copy the model's current buffers, such as running means of batch norm, or those of a snapshot."""
        if snapshot is None:
            own = self._buffers_in_place() if self._now is None else self._own_buffers
            pairs = [(b, b) for b in own]
        else:
            pairs = [(b, value) for (*_, b), value in zip(snapshot.buffers, snapshot.values, strict=True)]
        copies: dict[int, Tensor] = {}  # a buffer that two modules share is shared by the copies
        return [
            None if value is None else copies.setdefault(id(b), value.detach().clone()) for b, value in pairs
        ]

    def _buffers_in_place(self) -> Buffers:
        return [module._buffers.get(key) for module, key in self.buffer_places]

    @property
    def devices(self) -> list[torch.device]:
        """Accelerators that hold parameters, whose random streams are restored, too."""
        found = dict.fromkeys(parameter.device for parameter in self.trained)
        return [device for device in found if device.type not in ("cpu", "meta")]

    def random_state(self) -> RandomState:
        """State of the global random streams."""
        return global_random_state(self.devices)

    def seeded(self, function: Callable[[], Result], seed: int, step: int) -> Callable[[], Result]:
        """The same function with random streams seeded by a seed and a step."""

        def drawing() -> Result:
            seed_validation(seed, step, self.devices)
            return function()

        return drawing

    def call_own(self, function: Callable[[], Result]) -> Result:
        """Call a function with the model's own parameters; raises ValueError as `call`."""
        versions = [parameter._version for parameter in self.trained]
        with self.watching():
            result = function()
        self._require_unchanged(self.trained, versions)
        return result

    def call(self, function: Callable[[], Result], params: Sequence[Tensor], buffers: Buffers) -> Result:
        """Call a function with these parameters and buffers, which replace the model's own and may change.

        Raises ValueError if a module changes its parameters in place (says which).
        """
        self.differentiated = any(parameter.requires_grad for parameter in params)
        versions = [parameter._version for parameter in params]
        before, now = self._now, Substitution(params, buffers)
        written = [(buffer, -1 if buffer is None else buffer._version) for buffer in buffers]
        self._note_recomputed()
        self._install(now)
        try:
            result = function()
            buffers[:] = self._buffers_in_place()
        finally:
            self.differentiated = True
            if not self._keeps_last:
                self._install(before)
        self._require_unchanged(params, versions)
        if self._keeps_last:
            last, self._last = self._last, now
            if torch._C._functorch.peek_interpreter_stack() is None:
                for index in written_without_gradient(self.buffer_places, written, buffers):
                    self._require_unread(index, function, params)
                if torch.is_grad_enabled():
                    self._install_in_backward(result, now, last)
        return result

    def use_own(self, buffers: Buffers) -> None:
        """Install the model's own parameters with these buffers, while they are differentiated."""
        self._last = Substitution(None, buffers)
        self._versions = [None if buffer is None else buffer._version for buffer in buffers]
        self._install(self._last)

    @contextmanager
    def isolated(self) -> Iterator[None]:
        """Restore the installed tensors after each call in this context."""
        keeps, self._keeps_last = self._keeps_last, False
        try:
            yield
        finally:
            self._keeps_last = keeps

    @contextmanager
    def keeping_last(self) -> Iterator[None]:
        """Leave the last call's tensors installed, for checkpoints and custom backward passes.

        The backward pass visits the calls in reverse order, each with the tensors of its forward pass.
        """
        self._keeps_last, self._last = True, None
        self._parameter_hooks = [dict(hooks) for hooks in self._hooks]
        for own in self._hooks:
            own.clear()
        self._exact_norms = self.weight_norm or (self.several_steps and bool(self.buffer_places))
        try:
            with self.watching():
                yield
        finally:
            self._keeps_last, self._last = False, None
            self._install(None)
            for own, saved in zip(self._hooks, self._parameter_hooks, strict=True):
                own.update(saved)
            self._parameter_hooks = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Make checkpoints differentiable twice, and watch backward hooks, in this context."""
        with without_reentrance(), watching_hooks(self.all_modules, self._changing.append):
            yield

    def hooked(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Pass gradients with respect to the parameters through the hooks on them (`register_hook`)."""
        gradients_out = list(gradients)
        for place, hooks in enumerate(self._parameter_hooks):
            for hook in hooks.values():
                if (gradient := gradients_out[place]) is not None:
                    changed = hook(gradient)
                    gradients_out[place] = gradient if changed is None else changed
        return gradients_out

    def _install_in_backward(self, result: Any, now: Substitution, last: Substitution | None) -> None:
        """Install the tensors of each call when a backward pass enters it by its results.

        Autograd visits nodes in reverse order of creation, so a gradient that reaches the parameters has left
        this call for the one before.
        """
        for parameter in now.params or ():
            if parameter.grad_fn is not None:
                register_hook(parameter, functools.partial(self._enter_call, last))
        for leaf in leaves(result):
            if isinstance(leaf, Tensor) and leaf.grad_fn is not None:
                register_hook(leaf, functools.partial(self._enter_call, now))

    def _enter_call(self, substitution: Substitution | None, gradient: Tensor) -> None:
        if substitution is not None and any(b is not None and b.requires_grad for b in substitution.buffers):
            # running statistics that a later step wrote to: a recomputation may write to them again
            copies = [
                b.detach().clone() if b is not None and b.requires_grad else b for b in substitution.buffers
            ]
            substitution = Substitution(substitution.params, copies)
        if self._keeps_last:
            self._install(substitution)

    def _install(self, new: Substitution | None) -> None:
        """Install tensors in every module that holds the model's own; None: restore its own.

        `functional_call` looks up names and ties at each call, which takes longer than a small model.
        """
        if new is self._now:
            return
        if self._now is None:
            self._own_buffers = self._buffers_in_place()
        values = self.trained if new is None or new.params is None else new.params
        for places, own, value in zip(self._places, self.trained, values, strict=True):
            for module, key in places:
                module._parameters[key] = value  # type: ignore[assignment]
            if value is own:
                unsubstitute(own)
            else:
                substitute(own, value)
        buffers = self._own_buffers if new is None else new.buffers
        for (module, key), buffer in zip(self.buffer_places, buffers, strict=True):
            module._buffers[key] = buffer
        self._now = new
        if self._exact_norms:
            use_exact_norms(new is not None and new.params is not None)

    def require_own_unread(self, snapshot: ModelSnapshot, function: Callable[[], Any]) -> None:
        """Raise ValueError if this function has written to a buffer since the snapshot, and reads it."""
        written = [(buffer, -1) for *_, buffer in snapshot.buffers]
        own = self.copy_buffers()
        for index in written_without_gradient(self.buffer_places, written, own):
            value, now = snapshot.values[index], own[index]
            if value is not None and now is not None and not torch.equal(value, now):
                self._require_unread(index, function, self.trained)

    def _require_unread(self, index: int, function: Callable[[], Any], params: Sequence[Tensor]) -> None:
        if self.buffer_places[index] not in self.harmless:
            require_buffer_unread(self, index, function, params)
            self.harmless.add(self.buffer_places[index])

    def require_no_accumulate_hooks(self) -> None:
        """Raise ValueError if a parameter has a hook that `torch.autograd.grad` does not call."""
        for places, parameter in zip(self._places, self.trained, strict=True):
            if places and getattr(parameter, "_post_accumulate_grad_hooks", None):
                module, key = places[0]
                raise ValueError(
                    f"{self.describe(module)} has a post-accumulate-grad hook on its parameter {key!r}, "
                    "which a look ahead cannot follow: change the gradient by register_hook instead, or step "
                    "the optimizer after the backward pass."
                )

    def require_no_backward_hooks(self) -> None:
        """Raise ValueError if a module has backward hooks, which torch.func does not take."""
        for module in self.all_modules:
            if module._backward_hooks or module._backward_pre_hooks:
                raise ValueError(
                    f"{self.describe(module)} has a backward hook, which this estimator cannot follow: use "
                    "unrolled, or remove the hook."
                )

    def require_gradients_unchanged(self) -> None:
        """Raise ValueError if a backward hook changed a gradient while hooks were watched."""
        if self._changing:
            module = self._changing[0]
            owner = "An activation" if module is None else self.describe(module)
            raise ValueError(
                f"{owner} has a backward hook that changes gradients, and the hypergradient, which flows "
                "through the same graph, would be changed, too: change the gradients of parameters instead, "
                "by parameter.register_hook, or by max_norm and max_value."
            )

    def _note_recomputed(self) -> None:
        """Record a buffer that the backward pass of the model's own losses wrote to."""
        last = self._last
        if last is None or last.params is not None:
            return
        for index, (buffer, version) in enumerate(zip(last.buffers, self._versions, strict=True)):
            if buffer is not None and buffer._version != version:
                self._recomputed = index

    def require_not_recomputed(self) -> None:
        """Raise ValueError if a backward pass wrote to a buffer, which a model that moves first misses."""
        if self._recomputed is not None:
            module, key = self.buffer_places[self._recomputed]
            raise ValueError(
                f"{self.describe(module)} changes its buffer {key!r} in the backward pass, too, as batch "
                "norm in a checkpoint does, and a model that moves first takes none of its own: use "
                'first="weights".'
            )

    def _require_unchanged(self, params: Sequence[Tensor], versions: Sequence[int]) -> None:
        for places, parameter, version in zip(self._places, params, versions, strict=True):
            if places and parameter._version != version:
                module, key = places[0]
                raise ValueError(
                    f"{self.describe(module)} changes its parameter {key!r} in place when it is called, and "
                    "a step that does so cannot be differentiated: change it after the step instead."
                )

    def changed_buffer(self, before: Buffers, after: Buffers) -> str | None:
        """Describe a buffer that differs; None: there is none."""
        for (module, key), one, other in zip(self.buffer_places, before, after, strict=True):
            if one is not None and other is not None and not torch.equal(one, other):
                return f"{self.describe(module)} changes its buffer {key!r}"
        return None

    @property
    def compiled(self) -> bool:
        """True if a module of the model is made by torch.compile."""
        return any(
            module._compiled_call_impl is not None or type(module).__name__ == "OptimizedModule"
            for module in self.modules()
        )

    def describe(self, module: nn.Module) -> str:
        """Describe a module in an error message."""
        path = next(name for name, other in self.named_modules() if other is module)
        return f"The module {path.removeprefix('model.')!r} ({type(module).__name__})"


def _normalizes_weights(module: nn.Module) -> bool:
    """True if a module is torch's weight norm or has it as a hook."""
    return type(module).__name__ == "_WeightNorm" or any(
        type(hook).__name__ == "WeightNorm" for hook in module._forward_pre_hooks.values()
    )
