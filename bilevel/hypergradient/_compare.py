"""The comparison of several estimators on one problem."""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import scipy
import torch
from torch import Tensor

from bilevel.core import Tree, detach, leaves
from bilevel.hypergradient._check import HypergradientCheck, Reference, ReferenceName, entries_of, in_float64
from bilevel.hypergradient._estimator import BilevelProblem, Estimate, Estimator
from bilevel.hypergradient._named import ESTIMATORS, format_hypergradient, make_hypergradient
from bilevel.hypergradient._peak_memory import measure_peak
from bilevel.hypergradient._smoothing import SampledEstimate
from games.core import require

REFERENCES: dict[ReferenceName, str] = {
    "finite-differences": (
        "Error and cosine: relative to central finite differences, in float64, on the data of the first "
        "draw, which stay fixed. If the distribution of the data depends on theta or phi, as that of "
        "episodes does, finite differences miss this dependence: then supply exact values as the reference, "
        "if there are any."
    ),
    "unrolled": (
        "Error and cosine: relative to Unrolled, in float64, on the data of the first draw. Finite "
        "differences do not apply: on fixed data the outer loss is a surrogate whose value does not depend "
        "on theta. The correctness of Unrolled then depends on the surrogate; supply exact values as the "
        "reference, if there are any."
    ),
    "supplied": (
        "Error and cosine: of the mean over all draws, relative to the supplied reference; the error "
        "includes the noise of that mean."
    ),
}
"""The reference of errors, and its limits."""

COLUMNS = (
    "estimator",
    "relative_error",
    "cosine",
    "inside_interval",
    "relative_variance",
    "seconds",
    "peak_bytes",
    "step_calls",
    "reason",
)
"""The names of `HypergradientComparison.records`."""


@dataclass(frozen=True)
class EstimatorMeasured:
    """An estimator's errors and costs on a problem.

    >>> from bilevel.hypergradient import BilevelProblem, compare_hypergradients
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> start = torch.tensor(0.0), None, torch.tensor(1.0)
    >>> (row,) = compare_hypergradients(problem, *start, steps=2, estimators=["one-step"]).measured
    >>> row.estimator, round(row.check.relative_error, 3), row.relative_variance
    ('one-step', 0.333, 0.0)
    """

    estimator: str
    """Its text form, as it was asked for."""
    check: HypergradientCheck
    """The gradient beside the reference, in float64."""
    inside_interval: float | None
    """Fraction of directions whose reference lies in the 95 % interval of the estimate (0.95 is expected of
    an unbiased estimate); None for estimators without an interval."""
    relative_variance: float
    """Trace of the covariance over all draws, over the squared norm of the mean."""
    seconds: float
    """Median over the draws, at least 2, after a first run."""
    peak_bytes: int
    """Peak bytes of tensors above those at the start; see `measure_peak`."""
    step_calls: int
    """Number of calls of the step; one call for a whole batch of samples or tangents counts once."""

    def __str__(self) -> str:
        inside = self.inside_interval
        interval = "" if inside is None else f" ({inside:.0%} of directions inside its 95 % interval)"
        return (
            f"{self.estimator}: relative error {self.check.relative_error:.1e}{interval}, cosine "
            f"{self.check.cosine:.4f}, relative variance {self.relative_variance:.1e}, {self.seconds:.2g} s, "
            f"{self.peak_bytes} bytes, {self.step_calls} calls of the step"
        )


@dataclass(frozen=True)
class EstimatorRefused:
    """An estimator that does not apply to this problem.

    >>> from bilevel.hypergradient import BilevelProblem, compare_hypergradients
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> start = torch.tensor(0.0), None, torch.tensor(1.0)
    >>> (row,) = compare_hypergradients(problem, *start, steps=2, estimators=["implicit"]).refused
    >>> row.reason
    "Implicit needs the step's fixed point, but theta is about 0.33 times its own size away from it, ..."
    """

    estimator: str
    """Its text form, as it was asked for."""
    reason: str
    """The estimator's own message."""

    def __str__(self) -> str:
        return f"{self.estimator} does not apply: {self.reason}"


@dataclass(frozen=True)
class HypergradientComparison:
    """Estimators compared on one problem; `str` gives a line for each.

    `bilevel.report` has it as a table and as a figure.

    >>> from bilevel.hypergradient import BilevelProblem, compare_hypergradients
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> start = torch.tensor(0.0), None, torch.tensor(1.0)
    >>> comparison = compare_hypergradients(problem, *start, steps=2, estimators=["unrolled", "implicit"])
    >>> [row.estimator for row in comparison.measured], [row.estimator for row in comparison.refused]
    (['unrolled'], ['implicit'])
    """

    rows: tuple[EstimatorMeasured | EstimatorRefused, ...]
    """In the order of the request."""
    steps: int
    """K, the steps of inner learning."""
    resamples: int
    """Number of draws of everything random."""
    reference: ReferenceName
    """The reference of errors, a key of `REFERENCES`."""

    @property
    def measured(self) -> tuple[EstimatorMeasured, ...]:
        """The rows of estimators that apply."""
        return tuple(row for row in self.rows if isinstance(row, EstimatorMeasured))

    @property
    def refused(self) -> tuple[EstimatorRefused, ...]:
        """The rows of estimators that do not."""
        return tuple(row for row in self.rows if isinstance(row, EstimatorRefused))

    def records(self) -> list[dict[str, str | float | int | None]]:
        """Each row as a dictionary of `COLUMNS`; None where a value is missing."""
        records = []
        for row in self.rows:
            values = dict(vars(row))
            if isinstance(row, EstimatorMeasured):
                values |= {"relative_error": row.check.relative_error, "cosine": row.check.cosine}
            records.append({name: values.get(name) for name in COLUMNS})
        return records

    def __str__(self) -> str:
        return "\n".join([*map(str, self.rows), REFERENCES[self.reference]])


MUST_FOLLOW = (
    "Errors are measured in float64, and the step or a loss uses tensors that do not follow: convert them "
    "where they are used, as in x.to(theta.dtype), or give everything in float64."
)
NORMAL_QUANTILE = 1.96
"""Half the width of an estimate's 95 % interval, in standard errors."""


def compare_hypergradients(
    problem: BilevelProblem,
    theta: Tree,
    opt_state: Tree,
    phi: Tree,
    *,
    steps: int,
    estimators: Sequence[str | Estimator] | None = None,
    resamples: int = 8,
    build: Callable[[str | Estimator], Estimator] = make_hypergradient,
    generator: torch.Generator | None = None,
    reference: Tree | None = None,
    epsilon: float = 1e-5,
    max_entries: int = 64,
    tolerance: float = 1e-6,
    listener: Callable[[str], object] | None = None,
) -> HypergradientComparison:
    """Measure the errors, the noise and the costs of estimators on one problem.

    Errors are measured in float64, everything else in the precision of the inputs. An estimator that does not
    apply has a row with its reason. Everything random is drawn `resamples` times: the data, and the samples
    of an estimator that has a `seed`.

    Args:
        problem, theta, opt_state, phi, steps: as for `Estimator.estimate`.
        estimators: names, text forms or objects; None: all of `ESTIMATORS`, `truncated` with the last sqrt(K)
            steps.
        resamples: number of draws of everything random, at least 2.
        build: fits a named estimator to the problem; a ValueError of it becomes a row's reason.
        generator: the source of the problem's data, so that every estimator has the same draws; it is
            restored afterwards. None: each estimator has its own draws.
        reference: the true gradient, where it is known (from exact values, say), in the form of an
            estimate's; the mean over all draws is compared with it. None: finite differences.
        epsilon, max_entries: as in `check_hypergradient`.
        tolerance: the relative error that a row's `check` allows.
        listener: called with each estimator's text before its turn.

    Returns:
        A row for each estimator, in the order of `estimators`.

    Raises:
        ValueError: a setting is out of range, there is no such estimator, or the problem itself is invalid.

    >>> from bilevel.hypergradient import BilevelProblem
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> start = torch.tensor(0.0), None, torch.tensor(1.0)
    >>> comparison = compare_hypergradients(problem, *start, steps=2, estimators=["unrolled", "one-step"])
    >>> [round(row.check.relative_error, 6) for row in comparison.measured]  # the truth: 0.75, and 0.5 of it
    [0.0, 0.333333]
    """
    require(resamples >= 2, f"resamples must be at least 2, not {resamples}.")
    require(estimators is None or len(estimators) > 0, "estimators must name one at least; None is all.")
    for named in estimators or ():
        make_hypergradient(named)
    start = detach((theta, opt_state, phi))
    with _reseeding(generator, resamples) as start_draw:
        truth = Reference(
            problem,
            in_float64(*start),
            steps=steps,
            epsilon=epsilon,
            max_entries=max_entries,
            tolerance=tolerance,
            supplied=reference,
        )
        try:
            truth.detect_surrogate(resamples, start_draw)
        except RuntimeError as error:
            require("dtype" not in str(error), f"{MUST_FOLLOW} ({str(error).splitlines()[0]})")
            raise
        trial = _Trial(truth, start, resamples, start_draw)
        rows = []
        for named in _all_estimators(steps, truth.surrogate) if estimators is None else estimators:
            text = _text(named)
            if listener is not None:
                listener(text)
            rows.append(trial.row(text, functools.partial(build, named)))
    return HypergradientComparison(tuple(rows), steps, resamples, truth.name)


@dataclass(frozen=True)
class _Trial:
    """The measurements that all estimators go through."""

    reference: Reference
    start: tuple[Tree, Tree, Tree]
    """(theta, opt_state, phi) in the precision that was given."""
    resamples: int
    start_draw: Callable[[int], object]
    """Called before draw number ..."""

    def row(self, text: str, build: Callable[[], Estimator]) -> EstimatorMeasured | EstimatorRefused:
        """Build and measure one estimator, or record its refusal."""
        try:
            return self._measure(text, build())
        except ValueError as error:
            return EstimatorRefused(text, str(error))
        except RuntimeError as error:  # torch cannot batch or differentiate something, or has no memory left
            lines = str(error).splitlines() or [type(error).__name__]
            return EstimatorRefused(text, f"torch stopped it: {lines[0]}")

    def _measure(self, text: str, estimator: Estimator) -> EstimatorMeasured:
        problem, steps, step_calls = self.reference.problem, self.reference.steps, 0

        def step(*arguments: Tree) -> tuple[Tree, Tree]:
            nonlocal step_calls
            step_calls += 1
            return problem.step(*arguments)

        self.start_draw(0)
        exact = estimator(dataclasses.replace(problem, step=step), *self.reference.start, steps=steps)
        device = leaves(self.start[2])[0].device
        self.start_draw(0)
        _, peak = measure_peak(lambda: estimator(problem, *self.start, steps=steps), device)
        gradients, seconds = self._draw(estimator, device)
        variances = (gradients - gradients[0]).var(0)  # identical draws have none at all
        check, inside = self._judge(text, exact, gradients, variances)
        size, spread = float(gradients.mean(0).square().sum()), float(variances.sum())
        return EstimatorMeasured(
            estimator=text,
            check=check,
            inside_interval=inside,
            relative_variance=spread / size if size else math.inf if spread else 0.0,
            seconds=statistics.median(seconds),
            peak_bytes=peak,
            step_calls=step_calls,
        )

    def _draw(self, estimator: Estimator, device: torch.device) -> tuple[Tensor, list[float]]:
        """Estimate on each draw: gradients, [draw, entry] or [draw, objective, entry], and seconds."""
        problem, gradients, seconds = self.reference.problem, [], []
        for draw in range(self.resamples):
            self.start_draw(draw)
            again = _reseeded(estimator, draw)
            began = time.perf_counter()
            estimate = again(problem, *self.start, steps=self.reference.steps)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - began)
            gradients.append(entries_of(in_float64(estimate.gradient)[0], problem.per_agent_objective))
        return torch.stack(gradients), seconds

    def _judge(
        self, text: str, exact: Estimate, gradients: Tensor, variances: Tensor
    ) -> tuple[HypergradientCheck, float | None]:
        """Compare an estimate with the reference; with one that was given, the mean over all draws."""
        reference, rows, errors = self.reference, self.reference.rows, None
        check = reference.check(exact, text)
        if reference.name == "supplied":
            check = dataclasses.replace(check, estimated=gradients.mean(0) @ rows.T)
            reach = float(scipy.special.stdtrit(self.resamples - 1, 0.975)) / math.sqrt(self.resamples)
            errors = reach * variances.sqrt() if variances.any() else None
        elif isinstance(exact, SampledEstimate):
            errors = NORMAL_QUANTILE * entries_of(exact.standard_error, reference.problem.per_agent_objective)
        if errors is None:
            return check, None
        # Errors of different entries count as independent, which they nearly are.
        reach_along = (errors.square() @ rows.square().T).sqrt()
        rounding = reference.rounding(exact.outer_loss)
        inside = (check.estimated - check.differences).abs() <= reach_along + rounding
        return check, float(inside.double().mean())


@contextmanager
def _reseeding(generator: torch.Generator | None, count: int) -> Iterator[Callable[[int], object]]:
    """A function that seeds the generator for draw k; afterwards the generator is as it was."""
    if generator is None:
        yield lambda draw: None
        return
    before = generator.get_state()
    seeds = torch.randint(2**62, (count,), generator=generator, device=generator.device).tolist()
    try:
        yield lambda draw: generator.manual_seed(seeds[draw])
    finally:
        generator.set_state(before)


def _all_estimators(steps: int, surrogate: bool) -> list[str]:
    """Every estimator with needed settings; samples draw their own data where the loss is a surrogate."""
    needed = {"truncated": f"(steps={math.isqrt(steps - 1) + 1})"}
    if surrogate:
        needed["evolution"] = "(members=True, fresh_data=True)"
    return [name + needed.get(name, "") for name in ESTIMATORS]


def _text(estimator: str | Estimator) -> str:
    """An estimator as it was asked for, or its text form if its class has one."""
    if isinstance(estimator, str):
        return estimator
    return format_hypergradient(estimator) if type(estimator) in ESTIMATORS.values() else repr(estimator)


def _reseeded(estimator: Estimator, draw: int) -> Estimator:
    """The same estimator with another seed, if it has one."""
    settings: Any = estimator  # a frozen dataclass, as every estimator is
    if not isinstance(getattr(settings, "seed", None), int):
        return estimator
    other: Estimator = dataclasses.replace(settings, seed=settings.seed + draw)
    return other
