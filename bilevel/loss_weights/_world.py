"""A model and what is learned above it, as functions of their parameters."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from bilevel.core import leaves
from bilevel.loss_weights import _hooks as hooks
from bilevel.loss_weights import _random_streams as draws
from bilevel.loss_weights import _torch_gaps as stand_in
from bilevel.loss_weights._lifted import parameters_of
from bilevel.loss_weights._module_state import (
    Attributes,
    Versions,
    require_unread,
    versions_of,
    written_without_gradient,
)
from bilevel.loss_weights._random_streams import Draws
from bilevel.loss_weights._torch_gaps import use_exact_norms, without_reentrance
from games.core import require

Result = TypeVar("Result")
Buffers = list[Tensor | None]
"""In the order of `World`'s places; written to, and exchanged, where the model does so with its own."""


class Moment(NamedTuple):
    """What calling a model changes, as it was."""

    buffers: list[tuple[nn.Module, str, Tensor | None]]
    """The module, the name and the tensor itself."""
    copies: list[Tensor | None]
    """What these held."""
    draws: Draws
    """Where the random streams were."""
    attributes: Attributes
    """Of the modules."""


@dataclass(frozen=True, eq=False)
class Held:
    """What the modules hold while something runs, and while the graph of that is differentiated."""

    params: Sequence[Tensor] | None
    """None: the model's own."""
    buffers: Buffers


class World(nn.Module):
    """Runs a function of no arguments with other values in the place of the model's parameters.

    Whoever holds the model itself sees those values too, so that losses may be written as they always were;
    and so does a list of its parameters, wherever it was made (`bilevel.loss_weights._torch_gaps`).

    Args:
        model: the modules that the losses use.
        optimizer: of the parameters that are trained.

    Raises:
        ValueError: the optimizer has a parameter that is none of the model's.

    >>> model = nn.Linear(1, 1)
    >>> world = World([model], torch.optim.SGD(model.parameters(), lr=0.1))
    >>> zeros = [torch.zeros_like(p) for p in world.trained]
    >>> world.run(lambda: model(torch.ones(1)), zeros, world.buffers_now())
    tensor([0.])
    """

    def __init__(self, model: Sequence[nn.Module], optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        self.model, self._optimizer = nn.ModuleList(model), optimizer
        self.differentiated = True
        """Whether whatever runs now is to be differentiated in the model's parameters by reverse mode."""
        self.several = False
        """Whether several steps are looked through, so that one sees the running statistics of another."""
        self._own_hooks: list[dict[int, Any]] = []
        self._changing: list[nn.Module | None] = []
        self._exact = False
        self.harmless: set[tuple[nn.Module, str]] = set()
        """Buffers and attributes that change when the model is called, and are not read before they do."""
        self._versions: list[int | None] = []
        self._recomputed: int | None = None
        self._held: Held | None = None
        self._ran: Held | None = None
        self._own_buffers: Buffers = []
        self._stays = False
        self.look_again()
        for number, (parameter, places) in enumerate(zip(self.trained, self._places, strict=True)):
            require(
                bool(places),
                f"Parameter {number} of the optimizer, of the shape {list(parameter.shape)}, is none of the "
                "model's: pass every module that the losses use, as a list.",
            )

    def look_again(self) -> None:
        """Find anew which parameters are trained, and where modules hold them: a model may have changed."""
        self.trained = parameters_of(self._optimizer)
        self._changing.clear()
        self._recomputed = None
        held: dict[int, list[tuple[nn.Module, str]]] = {id(parameter): [] for parameter in self.trained}
        self.modules_now = [module for module in self.modules() if module is not self]
        self._buffer_places: list[tuple[nn.Module, str]] = []
        self.weight_norm = False
        for module in self.modules_now:
            for key, own in module._parameters.items():
                if (places := held.get(id(own))) is not None:
                    places.append((module, key))
            self._buffer_places += [(module, key) for key in module._buffers]
            self.weight_norm = self.weight_norm or _normalizes_weights(module)
        self._places = [held[id(parameter)] for parameter in self.trained]
        self.free = [parameter.requires_grad for parameter in self.trained]
        """Whether each is trained at all, and not frozen."""
        self._hooks = [parameter._backward_hooks or {} for parameter in self.trained]

    def require_followed(self) -> None:
        """Raise ValueError where a parameter has a hook that no gradient by `torch.autograd.grad` meets."""
        for places, parameter in zip(self._places, self.trained, strict=True):
            if places and getattr(parameter, "_post_accumulate_grad_hooks", None):
                module, key = places[0]
                raise ValueError(
                    f"{self.owner(module)} has a post-accumulate-grad hook on its parameter {key!r}, which a "
                    "look ahead cannot follow: change the gradient by register_hook instead, or step the "
                    "optimizer after the backward pass."
                )

    def hooked(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Gradients in the parameters as hooks on them (`register_hook`) leave them."""
        found = list(gradients)
        for place, own in enumerate(self._own_hooks):
            for hook in own.values():
                if (gradient := found[place]) is not None:
                    changed = hook(gradient)
                    found[place] = gradient if changed is None else changed
        return found

    def run_itself(self, function: Callable[[], Result]) -> Result:
        """Call the function with the model as it is.

        Raises:
            ValueError: as `run`.
        """
        versions = [parameter._version for parameter in self.trained]
        with self.watching():
            result = function()
        self._require_unchanged(self.trained, versions)
        return result

    def now(self) -> Moment:
        """What calling the model changes, to go back to."""
        buffers = [(module, key, module._buffers[key]) for module, key in self._buffer_places]
        copies = [None if buffer is None else buffer.clone() for *_, buffer in buffers]
        return Moment(buffers, copies, self.draws_now(), self.attributes_now())

    @torch.no_grad()
    def go_back(self, moment: Moment) -> None:
        """Bring buffers, plain attributes and random streams back to where they were."""
        for (module, key, buffer), copied in zip(moment.buffers, moment.copies, strict=True):
            module._buffers[key] = buffer if buffer is None or copied is None else buffer.copy_(copied)
        moment.attributes.restore()
        draws.draw_from(moment.draws)

    def attributes_now(self) -> Attributes:
        """The modules' plain attributes, to be restored."""
        return Attributes(self.modules_now)

    @staticmethod
    def buffers_at(moment: Moment) -> Buffers:
        """Copies of the buffers as they were."""
        copies: dict[int, Tensor] = {}
        return [
            None if copied is None else copies.setdefault(id(buffer), copied.clone())
            for (*_, buffer), copied in zip(moment.buffers, moment.copies, strict=True)
        ]

    def buffers_now(self) -> Buffers:
        """Copies of the model's own buffers, as batch norm's running means, that may be written to."""
        copies: dict[int, Tensor] = {}
        own = self._buffers_in_place() if self._held is None else self._own_buffers
        return [None if b is None else copies.setdefault(id(b), b.detach().clone()) for b in own]

    def _buffers_in_place(self) -> Buffers:
        return [module._buffers.get(key) for module, key in self._buffer_places]

    def run(self, function: Callable[[], Result], params: Sequence[Tensor], buffers: Buffers) -> Result:
        """Call the function with these parameters and buffers; the model's own are not touched.

        Args:
            function: of no arguments.
            params: in the order of the optimizer's.
            buffers: in the order of `buffers_now`; afterwards they are what the model made of them.

        Raises:
            ValueError: a module changes its parameters in place (says which).
        """
        self.differentiated = any(parameter.requires_grad for parameter in params)
        versions = [parameter._version for parameter in params]
        before, held = self._held, Held(params, buffers)
        written = versions_of(buffers)
        self._note_recomputed()
        self._hold(held)
        try:
            result = function()
            buffers[:] = self._buffers_in_place()
        finally:
            self.differentiated = True
            if not self._stays:
                self._hold(before)
        self._require_unchanged(params, versions)
        if self._stays:
            ran, self._ran = self._ran, held
            if torch._C._functorch.peek_interpreter_stack() is None:
                self._require_unread(function, held, written)
                if torch.is_grad_enabled():
                    self._follow_back(result, held, ran)
        return result

    def _require_unread(self, function: Callable[[], Any], held: Held, written: Versions) -> None:
        for index in written_without_gradient(self._buffer_places, written, held.buffers):
            place = self._buffer_places[index]
            if place not in self.harmless:
                require_unread(self, self._buffer_places, index, function, held.params or ())
                self.harmless.add(place)

    def require_own_unread(self, moment: Moment, function: Callable[[], Any]) -> None:
        """The same for what the model itself has computed since then, by this function."""
        written = [(buffer, -1) for *_, buffer in moment.buffers]
        own = self.buffers_now()
        for index in written_without_gradient(self._buffer_places, written, own):
            place, copied, now = self._buffer_places[index], moment.copies[index], own[index]
            if place in self.harmless or copied is None or now is None or torch.equal(copied, now):
                continue
            require_unread(self, self._buffer_places, index, function, self.trained)
            self.harmless.add(place)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Run inside without a trace: what stays in place is what was there before."""
        stays, self._stays = self._stays, False
        try:
            yield
        finally:
            self._stays = stays

    @contextmanager
    def staying(self) -> Iterator[None]:
        """Leave what ran last in place inside, for whatever reads the model while gradients are taken.

        Checkpoints compute activations anew then, and functions with a backward pass of their own may read a
        module. Gradients go back through the runs in reverse order, and each finds the parameters and buffers
        that it ran with.
        """
        self._stays, self._ran = True, None
        self._own_hooks = [dict(hooks) for hooks in self._hooks]
        for own in self._hooks:
            own.clear()
        self._exact = self.weight_norm or (self.several and bool(self._buffer_places))
        try:
            with self.watching():
                yield
        finally:
            self._stays, self._ran = False, None
            self._hold(None)
            for own, kept in zip(self._hooks, self._own_hooks, strict=True):
                own.update(kept)
            self._own_hooks = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Have checkpoints be differentiable twice, and watch hooks, inside."""
        with without_reentrance(), hooks.watching(self.modules_now, self._changing.append):
            yield

    def require_no_backward_hooks(self) -> None:
        """Raise ValueError if a module has backward hooks, which torch.func does not take."""
        for module in self.modules_now:
            if module._backward_hooks or module._backward_pre_hooks:
                raise ValueError(
                    f"{self.owner(module)} has a backward hook, which this estimator cannot follow: use "
                    "unrolled, or remove the hook."
                )

    def require_unhooked(self) -> None:
        """Raise ValueError if a backward hook changed a gradient while hooks were watched."""
        if self._changing:
            module = self._changing[0]
            owner = "An activation" if module is None else self.owner(module)
            raise ValueError(
                f"{owner} has a backward hook that changes gradients, and the hypergradient, which flows "
                "through the same graph, would be changed, too: change the gradients of parameters instead, "
                "by parameter.register_hook, or by max_norm and max_value."
            )

    def stay(self, buffers: Buffers) -> None:
        """Hold the model's own parameters, with these buffers, while something of them is differentiated."""
        self._ran = Held(None, buffers)
        self._versions = [None if buffer is None else buffer._version for buffer in buffers]
        self._hold(self._ran)

    def _note_recomputed(self) -> None:
        """Note a buffer that the backward pass of the model's own losses wrote to."""
        ran = self._ran
        if ran is None or ran.params is not None:
            return
        for place, (buffer, version) in enumerate(zip(ran.buffers, self._versions, strict=True)):
            if buffer is not None and buffer._version != version:
                self._recomputed = place

    def require_not_recomputed(self) -> None:
        """Raise ValueError if a backward pass wrote to a buffer: one who moves first takes none."""
        if self._recomputed is not None:
            module, key = self._buffer_places[self._recomputed]
            raise ValueError(
                f"{self.owner(module)} changes its buffer {key!r} in the backward pass, too, as batch norm "
                "in a checkpoint does, and a model that moves first takes none of its own: use "
                'first="weights".'
            )

    def _follow_back(self, result: Any, held: Held, ran: Held | None) -> None:
        """Have gradients find what each run ran with.

        Autograd takes nodes in the reverse order of their making. So when a gradient reaches the parameters,
        all of this run is behind, and what ran before it follows; and when one enters by its results, all of
        this run is ahead.
        """
        for parameter in held.params or ():
            if parameter.grad_fn is not None:
                hooks.register_hook(parameter, functools.partial(self._arrive, ran))
        for leaf in leaves(result):
            if isinstance(leaf, Tensor) and leaf.grad_fn is not None:
                hooks.register_hook(leaf, functools.partial(self._arrive, held))

    def _arrive(self, held: Held | None, gradient: Tensor) -> None:
        if held is not None and any(b is not None and b.requires_grad for b in held.buffers):
            # Running statistics that a later step wrote to: what computes anew may write to them again.
            copies = [b.detach().clone() if b is not None and b.requires_grad else b for b in held.buffers]
            held = Held(held.params, copies)
        if self._stays:
            self._hold(held)

    def _hold(self, held: Held | None) -> None:
        """Put these into every module that holds the model's own, or its own again; None: those.

        `functional_call` would look for them by name and for ties at each call, which takes longer than a
        small model does.
        """
        if held is self._held:
            return
        if self._held is None:
            self._own_buffers = self._buffers_in_place()
        values = self.trained if held is None or held.params is None else held.params
        for places, own, value in zip(self._places, self.trained, values, strict=True):
            for module, key in places:
                module._parameters[key] = value  # type: ignore[assignment]
            if value is own:
                stand_in.end(own)
            else:
                stand_in.begin(own, value)
        buffers = self._own_buffers if held is None else held.buffers
        for (module, key), buffer in zip(self._buffer_places, buffers, strict=True):
            module._buffers[key] = buffer
        self._held = held
        if self._exact:
            use_exact_norms(held is not None and held.params is not None)

    @property
    def compiled(self) -> bool:
        """Whether torch.compile has made a module of the model."""
        return any(
            module._compiled_call_impl is not None or type(module).__name__ == "OptimizedModule"
            for module in self.modules()
        )

    @property
    def devices(self) -> list[torch.device]:
        """The accelerators that hold parameters: their random streams are restored, too."""
        found = dict.fromkeys(parameter.device for parameter in self.trained)
        return [device for device in found if device.type not in ("cpu", "meta")]

    def draws_now(self) -> Draws:
        """Where the random streams are."""
        return draws.draws_now(self.devices)

    def seeded(self, function: Callable[[], Result], seed: int, step: int) -> Callable[[], Result]:
        """The same function with draws that a seed and a step name; the streams are left where it ends."""

        def drawing() -> Result:
            draws.seed_validation(seed, step, self.devices)
            return function()

        return drawing

    def _require_unchanged(self, params: Sequence[Tensor], versions: Sequence[int]) -> None:
        for places, parameter, version in zip(self._places, params, versions, strict=True):
            if places and parameter._version != version:
                module, key = places[0]
                raise ValueError(
                    f"{self.owner(module)} changes its parameter {key!r} in place when it is called, and a "
                    "step that does so cannot be differentiated: change it after the step instead."
                )

    def changed_buffer(self, before: Buffers, after: Buffers) -> str | None:
        """Name a buffer that is another now: the module, and "its buffer 'name'"; None: there is none."""
        for (module, key), one, other in zip(self._buffer_places, before, after, strict=True):
            if one is not None and other is not None and not torch.equal(one, other):
                return f"{self.owner(module)} changes its buffer {key!r}"
        return None

    def owner(self, module: nn.Module) -> str:
        """The module, for a sentence."""
        path = next(name for name, found in self.named_modules() if found is module)
        return f"The module {path.removeprefix('model.')!r} ({type(module).__name__})"


def _normalizes_weights(module: nn.Module) -> bool:
    """Whether a module is torch's weight norm, or has it as a hook."""
    return type(module).__name__ == "_WeightNorm" or any(
        type(hook).__name__ == "WeightNorm" for hook in module._forward_pre_hooks.values()
    )
