"""What every estimator of an outer gradient is given, and what it gives back.

What the settings of all estimators have in common.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from bilevel.core import Step, Tree


@dataclass(frozen=True, eq=False)
class Always:
    """A source that gives the same data every time: a full batch, or nothing at all.

    Who takes the steps may then leave out what drawing would need.

    >>> Always("batch")(None, None, 3)
    'batch'
    """

    data: Tree
    """What it gives."""

    def __call__(self, *_: Any) -> Tree:
        """Give the data, whatever the inner variables are."""
        return self.data


@dataclass(frozen=True, eq=False)
class Recorded:
    """A source of data that are there before learning begins, one lot for each step.

    >>> Recorded(("first batch", "second batch"))(None, None, 1)
    'second batch'
    """

    data: tuple[Tree, ...]
    """What step k sees, at least K of them."""

    def __call__(self, theta: Tree, phi: Tree, k: int) -> Tree:
        """Give step k's, whatever the inner variables are."""
        return self.data[k]


no_data = Always(None)
"""No data: for what is deterministic."""


@dataclass(frozen=True, kw_only=True)
class BilevelProblem:
    """Choose phi so that K steps of inner learning, which phi shapes, end well.

    F(phi) = outer_loss(theta_K, phi), where (theta_k+1, state_k+1) = step(theta_k, state_k, phi, data_k).
    """

    step: Step
    """One step of inner learning, a pure function; see `bilevel.core._step`."""
    outer_loss: Callable[[Tree, Tree, Tree], Tensor]
    """(theta_K, phi, outer data) -> the loss to minimize; of any shape, summed, so members of a batch are
    independent."""
    inner_data: Callable[[Tree, Tree, int], Tree] = no_data
    """(theta_k, phi, k) -> the data of step k; called once a step, in order, without gradients. With data
    that are known beforehand give `Always` or `Recorded`."""
    outer_data: Callable[[Tree, Tree], Tree] = no_data
    """(theta_K, phi) -> the data of the outer loss; called once, without gradients."""
    kernels: Callable[[BilevelProblem, Tree], Any] | None = None
    """(the problem, phi) -> what takes its steps and their derivatives (`bilevel.hypergradient._kernels`);
    None: torch, operation by operation. Estimators give the same with any, but for rounding."""
    several: bool = False
    """Whether the first axis of the outer loss counts objectives (one per agent, say), each of which has a
    gradient of its own."""

    def replay(self, inner_data: tuple[Tree, ...], outer_data: Tree) -> BilevelProblem:
        """Build the same problem with its data fixed to what was recorded in an `Estimate`."""
        return dataclasses.replace(self, inner_data=Recorded(inner_data), outer_data=Always(outer_data))


@dataclass(frozen=True)
class Estimate:
    """An outer gradient, and where inner learning ended."""

    theta: Tree
    """The inner variables after K steps."""
    opt_state: Tree
    """The optimizer's state after K steps."""
    outer_loss: Tensor
    """What `outer_loss` gave, detached."""
    gradient: Tree
    """d(sum of the outer loss) / d phi, shaped like phi; with several objectives, they are the first axis."""
    inner_data: tuple[Tree, ...]
    """The data each step saw."""
    outer_data: Tree
    """The data the outer loss saw."""
    past: Tree = field(default=None, kw_only=True)
    """What the next outer step is to be handed, from an estimator that remembers (`OnlineHypergradient`)."""


class Hypergradient(Protocol):
    """A way to estimate d(outer loss) / d phi; its settings are the fields of a frozen dataclass."""

    def __call__(
        self, problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree, *, steps: int
    ) -> Estimate:
        """Learn for K steps, and estimate the gradient of how that ended.

        Args:
            problem: the step and the outer loss.
            theta: the inner variables at the start, a nest of floating tensors.
            opt_state: the optimizer's state at the start.
            phi: the outer variables, a nest of floating tensors.
            steps: K, at least 1.

        Raises:
            ValueError: bad input, or the outer loss does not depend on phi through the steps at all.
        """
        ...


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings:
    """A frozen dataclass whose text shows what is no default.

    >>> from bilevel.hypergradient import Implicit
    >>> Implicit(solver="cg"), Implicit()
    (Implicit(solver='cg'), Implicit())
    """

    def __post_init__(self) -> None:
        """Check the settings; subclasses check theirs and call this."""

    def __repr__(self) -> str:
        """The settings that are no defaults, those without one first."""
        fields = sorted(dataclasses.fields(self), key=lambda field: field.default is not dataclasses.MISSING)
        values = {field.name: (getattr(self, field.name), field.default) for field in fields}
        told = [f"{name}={value!r}" for name, (value, default) in values.items() if value != default]
        return f"{type(self).__name__}({', '.join(told)})"
