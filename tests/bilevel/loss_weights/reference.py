"""Reference hypergradients: differences through torch's own optimizer on the user's own model."""

from __future__ import annotations

import functools
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bilevel.loss_weights import LossWeightTuner
from bilevel.loss_weights._module_state import seed_validation, validation_seed
from tests.bilevel.loss_weights.scenarios import SCENARIOS, Loop, load_all, plain_step

load_all()

ESTIMATORS: dict[str, Callable[[int], dict[str, Any]]] = {
    "unrolled": lambda steps: {"estimator": "unrolled"},
    "unrolled, model first": lambda steps: {"estimator": "unrolled", "first": "model"},
    "directional": lambda steps: {"estimator": "directional"},
    "finite-difference": lambda steps: {"estimator": "finite-difference"},
    "implicit": lambda steps: {"estimator": "implicit"},
    "truncated": lambda steps: {"estimator": f"truncated(steps={steps})"},
    "forward": lambda steps: {"estimator": "forward"},
    "unrolled(segments=sqrt)": lambda steps: {"estimator": "unrolled(segments=sqrt)"},
    "one-step": lambda steps: {"estimator": "one-step"},
    "finite-difference()": lambda steps: {"estimator": "finite-difference()"},
}
"""Column of the table -> settings of the tuner, for so many virtual steps."""
LAST_STEP = ("one-step", "finite-difference()")
"""Those that promise what the last of the steps contributes."""
STEPS = (1, 3)
"""Virtual steps."""
TOLERANCE = 1e-6
"""Relative to the largest entry of the reference."""
SHIFT = 3e-4
"""Of the five-point differences: their error is of order 4 in it."""


class Cell(NamedTuple):
    """Outcome of a tuner in a scenario."""

    outcome: str
    """right, refused, wrong (another value) or raw (another error, or a changed state)."""
    detail: str = ""
    """Of a refusal its sentence; what was wrong otherwise."""


@contextmanager
def streams(seed: int = 0) -> Iterator[None]:
    """Seed torch's, NumPy's and Python's random streams inside, and leave them where they were."""
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])


def build(name: str) -> Loop:
    """Build the loop of a scenario anew, with nothing shared; call it inside `streams`."""
    loop = SCENARIOS[name]()
    for p in loop.learned():
        assert p.dtype is torch.float64, name
    return loop


@functools.cache
def reference(name: str, steps: int, *, last: bool = False) -> Tensor:
    """The gradient of the validation loss after so many plain steps in everything that is learned, flat.

    Args:
        name: of the scenario.
        steps: how many.
        last: whether the outer parameters are moved for the last step alone.
    """

    def after(place: int, entry: int, shift: float) -> float:
        with streams():
            loop = build(name)
            loop.change()
            seed = validation_seed()
            for index in range(steps):
                if index == (steps - 1 if last else 0):
                    with torch.no_grad():
                        loop.learned()[place].view(-1)[entry] += shift
                plain_step(loop, index)
            seed_validation(seed, 0)
            return float(loop.validation().detach())

    return torch.tensor([_slope(functools.partial(after, *each)) for each in _entries(name)]).double()


@functools.cache
def implicit_reference(name: str, terms: int = 3) -> Tensor:
    """What `implicit` promises, P sum_(k <= terms) (I - H P)^k, products as differences of gradients."""

    def gradient(shift: Tensor | None, place: int, entry: int, rise: float, *, training: bool) -> Any:
        """Loss, and gradient in the parameters, with these and one outer entry shifted."""
        with streams():
            loop = build(name)
            loop.change()
            trained = _trained(loop)
            with torch.no_grad():
                loop.learned()[place].view(-1)[entry] += rise
                if shift is not None:
                    for p, part in zip(trained, shift.split([p.numel() for p in trained]), strict=True):
                        p.add_(part.view_as(p))
            if not training:
                seed_validation(validation_seed(), 0)
            count = loop.settings.get("accumulate", 1)
            parts = [loop.weights(loop.losses(part)) for part in range(count)] if training else []
            loss = torch.stack(parts).mean() if training else loop.validation()
            for p in trained:
                p.grad = None
                if not training and p._backward_hooks:  # the derivative of the validation loss, as it is
                    p._backward_hooks.clear()
            loss.backward()  # as users do: hooks are called, and reentrant checkpoints work
            found = {p: p.grad for p in trained}
            moved = [found.get(p) is not None for p in trained]
            rows = [torch.zeros_like(p) if (g := found.get(p)) is None else g for p in trained]
            mask = [torch.full_like(p, float(m)) for p, m in zip(trained, moved, strict=True)]
            return loss.detach(), _flat(rows), _flat(mask)

    with streams():
        loop = build(name)
        loop.change()
        always = isinstance(loop.optimizer, torch.optim.Adafactor | torch.optim.Muon)
        symmetric = loop.symmetric
        decoupled = [group.get("decoupled_weight_decay", always) for group in loop.optimizer.param_groups]
        rates, decays = [], []
        for group, apart in zip(loop.optimizer.param_groups, decoupled, strict=True):
            rates += [torch.full_like(p, float(group["lr"])) for p in group["params"]]
            decay = 0.0 if apart else group.get("weight_decay", 0.0)
            decays += [torch.full_like(p, decay) for p in group["params"]]
    rate, decay = _flat(rates), _flat(decays)
    moved = gradient(None, 0, 0, 0.0, training=True)[2]

    def along(unit: Tensor) -> Tensor:
        image: Tensor = _slope(lambda h: gradient(h * unit, 0, 0, 0.0, training=True)[1])
        return image

    columns = None if symmetric else torch.stack([along(unit) for unit in torch.eye(len(rate)).double()], 1)

    def curve(row: Tensor) -> Tensor:
        """Multiply by the transpose of the gradient's derivative."""
        size = float(row.norm()) or 1.0
        image = along(row / size) * size if columns is None else columns.T @ row
        return moved * (image + decay * row)

    term = found = moved * gradient(None, 0, 0, 0.0, training=False)[1]
    for _ in range(terms):
        term = term - curve(rate * term)
        found = found + term
    solution, entries = rate * found, []
    for place, entry in _entries(name):
        mixed = _slope(lambda h: gradient(None, place, entry, h, training=True)[1])  # noqa: B023
        direct = _slope(lambda h: float(gradient(None, place, entry, h, training=False)[0]))  # noqa: B023
        entries.append(direct - float(mixed @ solution))
    return torch.tensor(entries).double()


def found(name: str, estimator: str, steps: int) -> Cell:
    """Take one outer step of a tuner with outer learning rate 0, and judge what it did.

    Right: the hypergradient is the reference's, and the model, the optimizer and the random streams are what
    one plain step leaves. Refused: one sentence of ours, and nothing has changed.
    """
    after = after_plain_step(name)
    with streams():
        loop = build(name)
        settings = {"virtual_steps": steps, **ESTIMATORS[estimator](steps), **loop.settings}
        outer = torch.optim.SGD(loop.learned(), lr=0.0)
        seen: list[Tensor] = []

        def note(*_: Any) -> None:
            seen.append(_flat([torch.zeros_like(p) if p.grad is None else p.grad for p in loop.learned()]))

        outer.register_step_pre_hook(note)
        before = state_of(loop)
        try:
            tuner = LossWeightTuner(
                loop.model,
                loop.optimizer,
                loop.weights,
                outer,
                also=loop.also,
                learning_rate=loop.learning_rate,
                **settings,
            )
            loop.change()
            before = state_of(loop)
            count = steps * loop.settings.get("accumulate", 1)
            tuner.step([functools.partial(loop.losses, index) for index in range(count)], loop.validation)
        except Exception as error:  # noqa: BLE001
            changed = differences(before, state_of(loop))
            if changed or not _ours(error):
                return Cell("raw", f"{type(error).__name__}: {error}; changed: {changed}")
            return Cell("refused", str(error))
        changed = differences(after, state_of(loop), 1e-12 if "model first" in estimator else 0.0)
    if changed:
        return Cell("wrong", f"not the plain step in {changed}")
    last = estimator in LAST_STEP and steps > 1
    wanted = implicit_reference(name) if estimator == "implicit" else reference(name, steps, last=last)
    error = float((seen[0] - wanted).abs().max() / wanted.abs().max())
    return Cell("right") if error <= TOLERANCE else Cell("wrong", f"off by {error:.1g}")


@functools.cache
def after_plain_step(name: str) -> dict[str, Any]:
    """State of the loop after one step without a tuner."""
    with streams():
        plain = build(name)
        plain.change()
        plain_step(plain)
        return state_of(plain)


def state_of(loop: Loop) -> dict[str, Any]:
    """Everything that a step may change, as bytes and plain values, by path."""
    modules = loop.model if isinstance(loop.model, list) else [loop.model]
    state: dict[str, Any] = {}
    for number, root in enumerate([*modules, loop.weights, *loop.also]):
        for path, module in root.named_modules():
            _collect(state, f"{number}.{path}", {k: v for k, v in vars(module).items() if k != "_modules"})
    groups = [{k: v for k, v in g.items() if k != "params"} for g in loop.optimizer.param_groups]
    _collect(state, "optimizer.groups", groups)
    trained = _trained(loop)
    _collect(state, "optimizer.state", [dict(loop.optimizer.state.get(p, {})) for p in trained])
    for number, p in enumerate(trained):
        state[f"optimizer.{number}"] = _form(p)
    _, keys, *rest = np.random.get_state()
    state["streams"] = torch.get_rng_state().numpy().tobytes(), keys.tobytes(), rest, random.getstate()  # type: ignore[union-attr]
    return state


def differences(before: dict[str, Any], after: dict[str, Any], tolerance: float = 0.0) -> list[str]:
    """The paths whose values differ, tensors by more than this."""

    def same(path: str) -> bool:
        one, other = before.get(path, missing), after.get(path, missing)
        if one == other or not tolerance or not isinstance(one, Form) or not isinstance(other, Form):
            return bool(one == other)
        if one[:4] != other[:4] or one.dtype is not torch.float64:
            return False
        values = [np.frombuffer(form.content) for form in (one, other)]
        return np.allclose(*values, rtol=0, atol=tolerance)

    missing = object()
    return [path for path in {**before, **after} if not same(path)]


class Form(NamedTuple):
    """A tensor, comparable."""

    kind: str
    requires_grad: bool
    dtype: torch.dtype
    shape: tuple[int, ...]
    content: bytes


def _form(tensor: Tensor) -> Form:
    content = tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    return Form(type(tensor).__name__, tensor.requires_grad, tensor.dtype, tuple(tensor.shape), content)


def _collect(state: dict[str, Any], path: str, value: Any) -> None:
    if isinstance(value, Tensor):
        state[path] = _form(value)
    elif isinstance(value, dict):
        for key, each in value.items():
            _collect(state, f"{path}.{key}", each)
    elif isinstance(value, list | tuple):
        for key, each in enumerate(value):
            _collect(state, f"{path}.{key}", each)
    elif value is None or isinstance(value, bool | int | float | str):
        state[path] = repr(value)


def _ours(error: Exception) -> bool:
    """Whether this is one of our sentences: raised by our code, in one line that ends as sentences do."""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    said = str(error)
    return (
        type(error) in (ValueError, TypeError)
        and ("/bilevel/" in last or "/games/" in last)
        and "/site-packages/" not in last
        and "\n" not in said
        and said.endswith(".")
    )


def _slope(function: Callable[[float], Any]) -> Any:
    """The derivative at 0, by five points."""
    near, far = (function(h) - function(-h) for h in (SHIFT, 2 * SHIFT))
    return (8 * near - far) / (12 * SHIFT)


def _entries(name: str) -> list[tuple[int, int]]:
    with streams():
        learned = build(name).learned()
    return [(place, entry) for place, p in enumerate(learned) for entry in range(p.numel())]


def _trained(loop: Loop) -> list[Tensor]:
    return [p for group in loop.optimizer.param_groups for p in group["params"]]


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.detach().flatten() for t in tensors])
