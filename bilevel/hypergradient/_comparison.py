"""What a comparison of estimators found, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bilevel.hypergradient._agreement import HypergradientCheck

ReferenceName = Literal["finite-differences", "unrolled", "given"]

REFERENCES: dict[ReferenceName, str] = {
    "finite-differences": (
        "Error and cosine: in float64, against central finite differences on the data of the first draw. "
        "These data stand still in a difference: if what is drawn depends on theta or phi, as episodes "
        "do, neither the differences nor this table see that; give exact values as the reference then, where "
        "there are any."
    ),
    "unrolled": (
        "Error and cosine: in float64, against Unrolled on the data of the first draw. Finite "
        "differences have nothing to say here: on data drawn once the outer loss is a surrogate, whose value "
        "does not change with theta. Whether Unrolled itself is right is then a matter of the surrogate; "
        "give exact values as the reference, where there are any."
    ),
    "given": (
        "Error and cosine: of the mean over all draws, against the reference that was given; the noise of "
        "that mean is a part of the error."
    ),
}
"""What the errors are measured against, and what that does not see."""

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
    """What an estimator gave on this problem, and what it cost."""

    estimator: str
    """Its text form, as it was asked for."""
    check: HypergradientCheck
    """The gradient beside the reference, in float64."""
    inside_interval: float | None
    """The share of directions whose reference lies in the estimate's own 95 % interval (0.95 is to be
    expected of an estimate without bias); None for estimators that know no interval."""
    relative_variance: float
    """Trace of the covariance over all draws, over the squared norm of the mean."""
    seconds: float
    """Median over the draws, at least 2, after a first run."""
    peak_bytes: int
    """The most bytes of tensors alive above what was there at the start; see `measure_peak`."""
    step_calls: int
    """How often the step was called; one call for a whole batch of samples or tangents counts once."""

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
    """An estimator that does not apply to this problem."""

    estimator: str
    """Its text form, as it was asked for."""
    reason: str
    """Why, in its own words."""

    def __str__(self) -> str:
        return f"{self.estimator} does not apply: {self.reason}"


@dataclass(frozen=True)
class HypergradientComparison:
    """Estimators side by side on one problem; `str` gives a line each.

    `bilevel.report._estimators` has it as a table and as a figure.
    """

    rows: tuple[EstimatorMeasured | EstimatorRefused, ...]
    """In the order asked for."""
    steps: int
    """K, the steps of inner learning."""
    resamples: int
    """How often everything random was drawn anew."""
    reference: ReferenceName
    """What errors are measured against, a key of `REFERENCES`."""

    @property
    def measured(self) -> tuple[EstimatorMeasured, ...]:
        """The rows of those that apply."""
        return tuple(row for row in self.rows if isinstance(row, EstimatorMeasured))

    @property
    def refused(self) -> tuple[EstimatorRefused, ...]:
        """The rows of those that do not."""
        return tuple(row for row in self.rows if isinstance(row, EstimatorRefused))

    def records(self) -> list[dict[str, str | float | int | None]]:
        """Each row under the names of `COLUMNS`; None where there is nothing to say."""
        return [dict(zip(COLUMNS, _values(row), strict=True)) for row in self.rows]

    def __str__(self) -> str:
        return "\n".join([*map(str, self.rows), REFERENCES[self.reference]])


def _values(row: EstimatorMeasured | EstimatorRefused) -> Sequence[str | float | int | None]:
    if isinstance(row, EstimatorRefused):
        return (row.estimator, *[None] * (len(COLUMNS) - 2), row.reason)
    return (
        row.estimator,
        row.check.relative_error,
        row.check.cosine,
        row.inside_interval,
        row.relative_variance,
        row.seconds,
        row.peak_bytes,
        row.step_calls,
        None,
    )
