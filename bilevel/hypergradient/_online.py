"""Estimators that remember: what is carried from one outer step of online learning to the next."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from bilevel.core import Tree, split_floating, tree_map
from bilevel.hypergradient._estimator import BilevelProblem, Estimate, Hypergradient
from bilevel.hypergradient._purity import agree
from games.core import require


@runtime_checkable
class OnlineHypergradient(Hypergradient, Protocol):
    """An estimator that sees further back than one outer step: each is handed the past the last one gave.

    Learning must then be online: a past leads to one theta and opt_state, and any other start is refused.
    """

    @property
    def remembers(self) -> bool:
        """Whether these settings carry anything at all."""

    def begin(self, problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree, *, steps: int) -> Tree:
        """Make the past with which learning starts, in the form that it will always have.

        It does what no past does, and can stand in a state that is saved and loaded.

        Args:
            problem: as for the call, like the rest.
            theta: the inner variables at the start.
            opt_state: the optimizer's state at the start.
            phi: the outer variables.
            steps: K, at least 1.

        Returns:
            a nest of tensors.

        Raises:
            ValueError: these have no past (says why).
        """

    def __call__(
        self,
        problem: BilevelProblem,
        theta: Tree,
        opt_state: Tree,
        phi: Tree,
        *,
        steps: int,
        past: Any = None,
    ) -> Estimate:
        """Learn for K steps, and estimate the gradient of how that ended.

        Args:
            problem: as for `Hypergradient`, like the next four.
            theta: the inner variables at the start.
            opt_state: the optimizer's state at the start.
            phi: the outer variables.
            steps: K, at least 1; the same in every outer step.
            past: the past of the estimate that theta and opt_state are from; None where learning starts.

        Returns:
            the estimate, with the `past` for the next outer step.

        Raises:
            ValueError: as for `Hypergradient`; or `past` leads elsewhere, or has another form.
        """
        ...


def online(estimator: Hypergradient) -> OnlineHypergradient | None:
    """Give an estimator back if it remembers, else None.

    >>> from bilevel.hypergradient import Truncated
    >>> online(Truncated(steps=5)), online(Truncated(steps=5, window=True))
    (None, Truncated(steps=5, window=True))
    """
    return estimator if isinstance(estimator, OnlineHypergradient) and estimator.remembers else None


def require_leads_to(reached: tuple[Tree, Tree], start: tuple[Tree, Tree]) -> None:
    """Raise ValueError unless an outer step starts where its past ended, but for rounding.

    Args:
        reached: (theta, opt_state) where the past ended.
        start: those that were handed in with it.
    """
    found, expected = (split_floating(state)[0] for state in (reached, start))
    fits = [leaf.shape for leaf in found] == [leaf.shape for leaf in expected]
    require(
        fits and agree(found, expected),
        "The past does not lead to this theta and opt_state: hand in the past of the estimate that they are "
        "from, or none where learning starts anew.",
    )


def copied(tree: Tree) -> Tree:
    """Copy every tensor, so that a past outlives whatever its owner does to the original."""
    return tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, tree)
