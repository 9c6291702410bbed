"""The bilevel problem, the estimate of its hypergradient, and the protocol of estimators."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bilevel.core import Step, Tree, detach, split_floating, tree_map
from bilevel.hypergradient._validation import agree
from games.core import require


@dataclass(frozen=True, eq=False)
class FixedData:
    """A data source that gives the same data in every step: a full batch, or nothing.

    >>> FixedData("batch")(None, None, 3)
    'batch'
    """

    data: Tree
    """The data."""

    def __call__(self, *_: Any) -> Tree:
        return self.data


@dataclass(frozen=True, eq=False)
class RecordedData:
    """A data source whose batches are known before learning begins, one for each step.

    >>> RecordedData(("first batch", "second batch"))(None, None, 1)
    'second batch'
    """

    data: tuple[Tree, ...]
    """The data of step k, at least K of them."""

    def __call__(self, theta: Tree, phi: Tree, k: int) -> Tree:
        return self.data[k]


@dataclass(frozen=True, eq=False)
class FromState:
    """A source of outer data that depends on the optimizer's state, too, as further steps do.

    >>> from bilevel.hypergradient import BilevelProblem, Unrolled
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state + 1)  # counts its steps
    >>> count = FromState(lambda theta, opt_state, phi: opt_state)
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta, outer_data=count)
    >>> Unrolled()(problem, torch.tensor(0.0), torch.tensor(0), torch.tensor(1.0), steps=2).outer_data
    tensor(2)
    """

    draw: Callable[[Tree, Tree, Tree], Tree]
    """(theta_K, opt_state_K, phi) -> the data of the outer loss; called once, without gradients."""

    def __call__(self, theta: Tree, phi: Tree) -> Tree:
        raise TypeError("FromState needs the optimizer's state: call draw(theta, opt_state, phi).")


NO_DATA = FixedData(None)


@dataclass(frozen=True, kw_only=True)
class BilevelProblem:
    """A bilevel problem: choose phi to minimize the outer loss after K steps of inner learning.

    F(phi) = outer_loss(theta_K, phi), where (theta_k+1, state_k+1) = step(theta_k, state_k, phi, data_k).

    >>> from bilevel.core import inner_step
    >>> from bilevel.hypergradient import Unrolled
    >>> from bilevel.optimizers import sgd
    >>> inner = sgd(0.25)
    >>> step = inner_step(lambda theta, phi, data: (theta - phi) ** 2, inner)  # theta follows phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: (theta - 1) ** 2)
    >>> zero = torch.tensor(0.0)
    >>> Unrolled()(problem, zero, inner.init(zero), zero, steps=2).gradient  # 2 (0 - 1) (1 - 0.5^2)
    tensor(-1.5000)
    """

    step: Step
    """One step of inner learning, a pure function; see `bilevel.core.Step`."""
    outer_loss: Callable[[Tree, Tree, Tree], Tensor]
    """(theta_K, phi, outer data) -> the loss to minimize; of any shape, summed, so members of a batch are
    independent."""
    inner_data: Callable[[Tree, Tree, int], Tree] = NO_DATA
    """(theta_k, phi, k) -> the data of step k; called once a step, in order, without gradients. With data
    that are known beforehand use `FixedData` or `RecordedData`."""
    outer_data: Callable[[Tree, Tree], Tree] = NO_DATA
    """(theta_K, phi) -> the data of the outer loss; called once, without gradients. If they depend on the
    optimizer's state, use `FromState`."""
    kernels: Callable[[BilevelProblem, Tree], Any] | None = None
    """(problem, phi) -> the `Kernels` that take its steps and their derivatives; None: torch, operation by
    operation. Estimates are the same with any, but for rounding."""
    per_agent_objective: bool = False
    """True: the first axis of the outer loss counts objectives (one per agent, say), each of which has a
    gradient of its own."""

    def replay(self, inner_data: tuple[Tree, ...], outer_data: Tree) -> BilevelProblem:
        """Build the same problem with its data fixed to those recorded in an `Estimate`."""
        return dataclasses.replace(
            self, inner_data=RecordedData(inner_data), outer_data=FixedData(outer_data)
        )


@dataclass(frozen=True)
class Estimate:
    """A hypergradient, and the final state of the inner loop that it differentiates.

    >>> from bilevel.hypergradient import BilevelProblem, Unrolled
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta**2)
    >>> estimate = Unrolled()(problem, torch.tensor(0.0), None, torch.tensor(1.0), steps=1)
    >>> estimate.theta, estimate.outer_loss, estimate.gradient
    (tensor(0.5000), tensor(0.2500), tensor(0.5000))
    """

    theta: Tree
    """The inner variables after K steps."""
    opt_state: Tree
    """The optimizer's state after K steps."""
    outer_loss: Tensor
    """The value of `outer_loss`, detached."""
    gradient: Tree
    """d(sum of the outer loss) / d phi, shaped like phi; with several objectives, they are the first axis."""
    inner_data: tuple[Tree, ...]
    """The data of each step."""
    outer_data: Tree
    """The data of the outer loss."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Estimator(abc.ABC):
    """An estimator of the hypergradient, d(outer loss) / d phi: a frozen dataclass of its settings.

    A stateful one carries a state from one outer step to the next, and differentiates beyond one outer step.
    Learning is then online: the state belongs to the theta and opt_state at which the last estimate ended,
    and another start is refused. The state of a stateless one is None.

    An estimator that ignores inner learning:

    >>> from dataclasses import dataclass
    >>> from bilevel.hypergradient import BilevelProblem, Estimate, outer_gradients, roll_out
    >>> @dataclass(frozen=True)
    ... class Direct(Estimator):
    ...     def estimate(self, problem, theta, opt_state, phi, state=None, *, steps):
    ...         run = roll_out(problem, theta, opt_state, phi, steps)
    ...         loss, _, (gradient,) = outer_gradients(problem, run.end, phi, run.outer_data)
    ...         return Estimate(*run.end, loss, gradient, run.inner_data, run.outer_data), None
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta + 3 * phi)
    >>> Direct()(problem, torch.tensor(0.0), None, torch.tensor(1.0), steps=1).gradient  # the truth: 3.5
    tensor(3.)
    """

    @property
    def stateful(self) -> bool:
        """True if these settings carry a state from one outer step to the next."""
        return False

    def init(self, problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree, *, steps: int) -> Tree:
        """Create the state with which learning starts, in the form that it will always have.

        Arguments as for `estimate`.

        Returns:
            a nest of tensors; None if the estimator is stateless.

        Raises:
            ValueError: the problem leaves nothing that a state could hold (says why).
        """
        return None

    @abc.abstractmethod
    def estimate(
        self,
        problem: BilevelProblem,
        theta: Tree,
        opt_state: Tree,
        phi: Tree,
        state: Any = None,
        *,
        steps: int,
    ) -> tuple[Estimate, Tree]:
        """Learn for K steps, and estimate the gradient of the outer loss after them.

        Args:
            problem: the step and the outer loss.
            theta: the inner variables at the start, a nest of floating tensors.
            opt_state: the optimizer's state at the start.
            phi: the outer variables, a nest of floating tensors.
            state: from `init`, or from the estimate that theta and opt_state come from; None where learning
                starts.
            steps: K, at least 1; of a stateful estimator the same in every outer step.

        Returns:
            the estimate, and the state for the next outer step.

        Raises:
            ValueError: bad input; the outer loss does not depend on phi through the steps at all; a step,
                taken again, gives another result (`ImpureStepError`); `state` belongs to another start or has
                another form; or the estimator does not apply to this problem (says why).
        """

    def __call__(
        self, problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree, *, steps: int
    ) -> Estimate:
        """Estimate the hypergradient where learning starts; see `estimate` for arguments and errors."""
        return self.estimate(problem, theta, opt_state, phi, steps=steps)[0]

    def __repr__(self) -> str:
        """The settings that differ from their defaults, those without a default first."""
        fields = sorted(dataclasses.fields(self), key=lambda field: field.default is not dataclasses.MISSING)
        values = [(field.name, getattr(self, field.name), field.default) for field in fields]
        changed = [f"{name}={value!r}" for name, value, default in values if value != default]
        return f"{type(self).__name__}({', '.join(changed)})"


class StatelessEstimator(Estimator):
    """An estimator whose state is None: `_estimate`, on detached inputs."""

    def estimate(
        self,
        problem: BilevelProblem,
        theta: Tree,
        opt_state: Tree,
        phi: Tree,
        state: Any = None,
        *,
        steps: int,
    ) -> tuple[Estimate, Tree]:
        return self._estimate(problem, (detach(theta), detach(opt_state)), detach(phi), steps), None

    @abc.abstractmethod
    def _estimate(
        self, problem: BilevelProblem, start: tuple[Tree, Tree], phi: Tree, steps: int
    ) -> Estimate: ...


def require_leads_to(reached: tuple[Tree, Tree], start: tuple[Tree, Tree]) -> None:
    """Raise ValueError unless the (theta, opt_state) of an estimator's state is the start, up to rounding."""
    found, expected = (split_floating(tree)[0] for tree in (reached, start))
    same_form = [leaf.shape for leaf in found] == [leaf.shape for leaf in expected]
    require(
        same_form and agree(found, expected),
        "The estimator's state does not lead to this theta and opt_state: give the state that came with "
        "them, or none where learning starts anew.",
    )


def copied(tree: Tree) -> Tree:
    return tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, tree)
