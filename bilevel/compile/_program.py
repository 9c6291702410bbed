"""Programs: the packages of one problem, found or built at first use, and verified against its functions."""

from __future__ import annotations

import functools
import hashlib
import platform
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bilevel import __version__
from bilevel.compile import _cache as cache
from bilevel.compile._c_compiler import CFunction, compile_source, open_library
from bilevel.compile._c_source import LibrarySource, make_source
from bilevel.compile._expressions import NotScalarError
from bilevel.compile._functions import (
    LOG,
    FlatFunction,
    Form,
    Inputs,
    ListFunction,
    Members,
    NotCompilableError,
    Run,
    TreeForm,
    eagerly,
    traceable,
)
from bilevel.compile._operations import operations_digest
from bilevel.core import Step, Tensors
from bilevel.hypergradient import BilevelProblem

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-3}
"""The greatest difference, over the largest entry of a leaf; a wrong graph is far beyond it. Other dtypes: 5
per cent."""


def perturbed(leaves: Sequence[Tensor]) -> list[Tensor]:
    """Inputs with floating entries a few per cent apart, zeros a little above; no two leaves alike."""
    generator = torch.Generator().manual_seed(0)
    moved = []
    for leaf in leaves:
        if not leaf.is_floating_point():
            moved.append(leaf.clone())
            continue
        draw = torch.rand(leaf.shape, generator=generator, dtype=torch.float64).to(leaf)
        moved.append(torch.where(leaf == 0, 0.01 * draw, leaf * (0.95 + 0.1 * draw)))
    return moved


def difference(
    package: Run, expected: ListFunction, inputs: Sequence[Tensor], sizes: tuple[int, ...] = ()
) -> str | None:
    """Compare a package with its function on plain leaves, and on perturbed ones; None if they agree."""
    for leaves in (list(inputs), perturbed(inputs)):
        results, wanted = package([leaf.contiguous() for leaf in leaves], *sizes), expected(leaves)
        if len(results) != len(wanted):
            return f"{len(results)} results instead of {len(wanted)}"
        # A gradient may be tiny beside the others: it is measured by the largest of them.
        scale = max((_size(right) for right in wanted if right.is_floating_point()), default=0.0)
        for place, (result, right) in enumerate(zip(results, wanted, strict=True)):
            if result.shape != right.shape or result.dtype != right.dtype:
                forms = (f"{leaf.dtype}{list(leaf.shape)}" for leaf in (result, right))
                return f"result {place} is {', not '.join(forms)}"
            if right.is_floating_point():
                tolerance = TOLERANCE.get(right.dtype, 0.05) * max(_size(right), 1e-6 * scale)
                if not torch.allclose(result, right, rtol=0, atol=tolerance, equal_nan=True):
                    return f"result {place} is off by {float((result - right).abs().max()):.2g}"
            elif not torch.equal(result, right):
                return f"result {place} differs"
    return None


def _size(leaf: Tensor) -> float:
    finite = leaf.detach().nan_to_num(nan=0, posinf=0, neginf=0)
    return float(finite.abs().max()) if finite.numel() else 0.0


class PackageRequest(NamedTuple):
    """A function of a problem that is to become a package."""

    kind: str
    """"step", "vjp", ..."""
    function: FlatFunction
    """The function, on plain leaves."""
    inputs: Inputs
    """An example."""
    out_axis: int
    """The axis of every result that counts members."""
    forms: tuple[Form, ...] = ("c", "graph")
    """The forms to try, in this order."""
    write: Callable[[Sequence[Tensor]], LibrarySource] | None = None
    """Its results -> its C source, if that is not simply the function entry by entry."""
    sizes: tuple[int, ...] = ()
    """Further arguments of its package."""


_loaded: dict[str, Any] = {}


@dataclass
class Program:
    """The packages of one problem: one step, one outer loss, inputs of one shape."""

    name: str
    """Name in the list of packages."""
    members: Members
    found: dict[Any, Run | None] = field(default_factory=dict)
    """Packages by kind and form of the data; None: it cannot be compiled."""
    warned: bool = False
    """True once the user was warned that something runs eagerly."""

    def package(self, request: PackageRequest) -> Run:
        """The package of a function, from the cache or built, and verified either way.

        NotCompilableError if its results differ from the function's; or whatever torch or the file system
        raises.
        """
        expected = eagerly(request.function)
        results = expected(request.inputs.leaves)
        keys = {form: key for form in request.forms if (key := package_key(form, request)) is not None}
        cached = {form for form, key in keys.items() if key in _loaded or cache.find(key)}
        reason = f"its {request.kind} has no form to be compiled in"
        for form in sorted(keys, key=lambda form: form not in cached):
            run = self._load_or_build(form, keys[form], request, results)
            if run is None:
                continue
            wrong = difference(run, expected, request.inputs.leaves, request.sizes)
            if wrong is None:
                return run
            reason = f"its {request.kind} as a package does not give what it gives eagerly ({wrong})"
        raise NotCompilableError(reason)

    def _load_or_build(
        self, form: Form, key: str, request: PackageRequest, results: Sequence[Tensor]
    ) -> Run | None:
        """The package of a function in this form; None if it has no such form."""
        try:
            return _load(form, key, request, results)
        except OSError:  # not built yet, or damaged
            cache.discard(key)
        return _load(form, key, request, results) if self._build(form, key, request, results) else None

    def _build(self, form: Form, key: str, request: PackageRequest, results: Sequence[Tensor]) -> bool:
        """Build a function's package in this form; False if it has none."""
        about, folder = f"{request.kind} of {self.name}", cache.folder()
        described: dict[str, Any] = {"about": about, "environment": environment()}
        if form == "c":
            LOG.info("Compiling the %s, once for all: %s.", about, folder)
            try:
                source = (
                    make_source(request.function, request.inputs, results, request.out_axis)
                    if request.write is None
                    else request.write(results)
                )
            except NotScalarError as error:
                LOG.debug("Not written out entry by entry: %s.", error)
                return False
            described["operations"] = source.operations
            cache.keep(key, functools.partial(compile_source, source.text), described)
            return True
        LOG.info("Compiling the %s, once for all, which may take a minute: %s.", about, folder)
        from bilevel.compile import _aoti as aoti  # noqa: PLC0415  # seconds of imports

        plan = aoti.make_plan(request.function, request.inputs)
        described["operations"] = plan.operations
        cache.keep(key, lambda path: aoti.compile_graph(plan, path), described)
        return True


def package_key(form: Form, request: PackageRequest) -> str | None:
    """The name of a function's package: a digest of all that its machine code depends on, and a suffix.

    None for C if the inputs are not on the CPU, or the function cannot be called for one member alone. For a
    graph, whatever the function raises is raised.
    """
    devices = sorted({leaf.device.type for leaf in request.inputs.leaves} - {"cpu"})
    if form == "c" and devices:
        return None
    function, leaves = traceable(form, request.function, request.inputs)
    try:
        operations = operations_digest(function, leaves)
    except Exception:
        if form == "graph":
            raise
        return None  # one member alone may break any assumption of the function's
    inputs = request.inputs
    threads = form == "graph" and inputs.threads(form)
    processors = [_accelerator(device) for device in devices]
    parts = environment(), operations, form, inputs.members.many, threads, *processors
    name = hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()
    return f"{name}.{'so' if form == 'c' else 'pt2'}"


@functools.cache
def environment() -> tuple[str, ...]:
    """The environment of machine code: versions, own source, processor (a home folder may serve several)."""
    sources = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        sources.update(path.read_bytes())
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return (
        f"bilevel {__version__}",
        f"compiler {sources.hexdigest()}",
        f"torch {torch.__version__}",
        platform.system(),
        platform.machine(),
        torch.backends.cpu.get_cpu_capability(),
        hashlib.blake2b(features.encode(), digest_size=8).hexdigest(),
    )


@functools.cache
def _accelerator(device: str) -> str:
    """The kind of an accelerator: machine code for one does not run on another."""
    return f"{device} {torch.cuda.get_device_name()}" if device == "cuda" else device


def _load(form: Form, key: str, request: PackageRequest, results: Sequence[Tensor]) -> Run:
    """Load a package; OSError if it is not in the cache, or cannot be read."""
    if key not in _loaded:
        path = cache.find(key)
        if path is None:
            raise OSError(f"the package {cache.package_path(key)} is gone")
        if form == "c":
            _loaded[key] = open_library(path)
        else:
            from bilevel.compile import _aoti as aoti  # noqa: PLC0415  # seconds of imports

            _loaded[key] = aoti.open_graph(path, path.parent / cache.COMPILER)
    if form == "graph":
        run: Run = _loaded[key]
        return run
    inputs, kinds = request.inputs, [(result.shape, result.dtype) for result in results]
    return CFunction(_loaded[key], kinds, inputs.members.count or 1, inputs.threads(form))


MAX_PROGRAMS = 64
"""Programs kept; the oldest goes first."""

_programs: OrderedDict[Any, Program] = OrderedDict()


Flat = tuple[Tensors, TreeForm]
"""A tree as its leaves and its form."""


def find_program(problem: BilevelProblem, state: Flat, phi: Flat) -> Program:
    """The program of a problem with inputs of these shapes, which is created if there is none."""
    key = (
        identity(problem.step),
        identity(problem.outer_loss),
        problem.per_agent_objective,
        *(state[1], phi[1]),
        *((leaf.shape, leaf.dtype, leaf.device) for leaf in (*state[0], *phi[0])),
        torch.get_num_threads(),
    )
    if key not in _programs:
        name = getattr(problem.outer_loss, "__qualname__", type(problem.outer_loss).__name__)
        _programs[key] = Program(name, Members.of((*state[0], *phi[0])))
        if len(_programs) > MAX_PROGRAMS:
            _programs.popitem(last=False)
    return _programs[key]


def how_it_runs(step: Step | None) -> str:
    """Look up the execution mode of a step in this process.

    Args:
        step: the step of a problem; None: of no problem.

    Returns:
        "compiled"; "eagerly", also if only some functions of the step have packages; or "" if no such step
        was to be compiled.

    >>> from bilevel.compile import Compiled
    >>> from bilevel.hypergradient import BilevelProblem, Unrolled
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> estimate = Compiled(Unrolled())(problem, torch.zeros(1), None, torch.ones(1), steps=2)
    >>> how_it_runs(step)
    'compiled'
    """
    wanted = None if step is None else identity(step)
    programs = [program for key, program in _programs.items() if key[0] == wanted]
    if any(program.warned for program in programs):
        return "eagerly"
    return "compiled" if any(package for each in programs for package in each.found.values()) else ""


def forget() -> None:
    """Forget every program and every loaded package, but for those on disk."""
    _programs.clear()
    _loaded.clear()


def identity(function: Callable[..., Any]) -> Any:
    """A function itself, or its address if it cannot be hashed (the program keeps it)."""
    try:
        hash(function)
    except TypeError:
        return id(function)
    return function
