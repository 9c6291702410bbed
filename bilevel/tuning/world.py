"""A model and what is learned above it, as functions of their parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bilevel.errors import require
from bilevel.tuning import draws
from bilevel.tuning.draws import Draws
from bilevel.tuning.lifted import parameters_of

Result = TypeVar("Result")


class Moment(NamedTuple):
    """What calling a model changes, as it was."""

    buffers: list[tuple[nn.Module, str, Tensor | None]]
    """The module, the name and the tensor itself."""
    copies: list[Tensor | None]
    """What these held."""
    draws: Draws
    """Where the random streams were."""


class World(nn.Module):
    """Runs a function of no arguments with other values in the place of the model's parameters.

    Whoever holds the model itself sees those values too, so that losses may be written as they always were.

    Args:
        model: the modules that the losses use.
        optimiser: of the parameters that are trained.

    Raises:
        ValueError: the optimiser has a parameter that is none of the model's.

    >>> model = nn.Linear(1, 1)
    >>> world = World([model], torch.optim.SGD(model.parameters(), lr=0.1))
    >>> zeros = [torch.zeros_like(p) for p in world.trained]
    >>> world.run(lambda: model(torch.ones(1)), zeros, world.buffers_now())
    tensor([0.])
    """

    def __init__(self, model: Sequence[nn.Module], optimiser: torch.optim.Optimizer) -> None:
        super().__init__()
        self.model = nn.ModuleList(model)
        names = {id(parameter): name for name, parameter in self.named_parameters()}
        self.trained = parameters_of(optimiser)
        for number, parameter in enumerate(self.trained):
            require(
                id(parameter) in names,
                f"Parameter {number} of the optimiser, of the shape {list(parameter.shape)}, is none of the "
                "model's: pass every module that the losses use, as a list.",
            )
        self.differentiated = True
        """Whether whatever runs now is to be differentiated in the model's parameters by reverse mode."""
        self.names = [names[id(parameter)] for parameter in self.trained]
        held: dict[int, list[tuple[nn.Module, str]]] = {id(parameter): [] for parameter in self.trained}
        for module in self.modules():
            for key, own in module._parameters.items():
                held.get(id(own), []).append((module, key))
        self._places = [held[id(parameter)] for parameter in self.trained]

    def run_itself(self, function: Callable[[], Result]) -> Result:
        """Call the function with the model as it is.

        Raises:
            ValueError: as `run`.
        """
        versions = [parameter._version for parameter in self.trained]
        result = function()
        self._require_unchanged(self.trained, versions)
        return result

    def now(self) -> Moment:
        """What calling the model changes, to go back to."""
        places = [(module, key) for module in self.modules() for key in module._buffers]
        buffers = [(module, key, module._buffers[key]) for module, key in places]
        copies = [None if buffer is None else buffer.clone() for *_, buffer in buffers]
        return Moment(buffers, copies, self.draws_now())

    @torch.no_grad()
    def go_back(self, moment: Moment) -> None:
        """Bring buffers and random streams back to where they were."""
        for (module, key, buffer), copied in zip(moment.buffers, moment.copies, strict=True):
            module._buffers[key] = buffer if buffer is None or copied is None else buffer.copy_(copied)
        draws.draw_from(moment.draws)

    def buffers_now(self) -> dict[str, Tensor]:
        """Copies of the buffers, as batch norm's running means, that may be written to."""
        return {name: buffer.clone() for name, buffer in self.named_buffers()}

    def run(
        self, function: Callable[[], Result], params: Sequence[Tensor], buffers: dict[str, Tensor]
    ) -> Result:
        """Call the function with these parameters and buffers; the model's own are not touched.

        Args:
            function: of no arguments.
            params: in the order of the optimiser's.
            buffers: written to where the model writes to its own.

        Raises:
            ValueError: a module changes its parameters in place (says which).
        """
        self.differentiated = any(parameter.requires_grad for parameter in params)
        versions = [parameter._version for parameter in params]
        try:
            with self._exchanged(params):
                result: Result = functional_call(self, buffers, (function,)) if buffers else function()
        finally:
            self.differentiated = True
        self._require_unchanged(params, versions)
        return result

    @contextmanager
    def _exchanged(self, params: Sequence[Tensor]) -> Iterator[None]:
        """Hold these inside, in every module that holds the model's own.

        `functional_call` would look for them by name and for ties at each call, which takes longer than a
        small model does.
        """
        for places, value in zip(self._places, params, strict=True):
            for module, key in places:
                module._parameters[key] = value  # type: ignore[assignment]
        try:
            yield
        finally:
            for places, own in zip(self._places, self.trained, strict=True):
                for module, key in places:
                    module._parameters[key] = own  # type: ignore[assignment]

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

    def forward(self, function: Callable[[], Result]) -> Result:
        """Call the function; `run` says with which parameters."""
        return function()

    def _require_unchanged(self, params: Sequence[Tensor], versions: Sequence[int]) -> None:
        for name, parameter, version in zip(self.names, params, versions, strict=True):
            if parameter._version != version:  # not `require`: the sentence takes longest of all to write
                raise ValueError(
                    f"{self.owner(name)} changes its parameter {name.rpartition('.')[2]!r} in place when it "
                    "is called, and a step that does so cannot be differentiated: change it after the step "
                    "instead."
                )

    def owner(self, name: str) -> str:
        """The module that has a parameter or buffer of this name, for a sentence."""
        path = name.rpartition(".")[0]
        return f"The module {path.removeprefix('model.')!r} ({type(self.get_submodule(path)).__name__})"
