"""What every method has that learns above: how it moves, by which meta-gradient, and of what learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bilevel.errors import require, require_name
from bilevel.hypergradient import ESTIMATORS, Hypergradient, format_hypergradient, make_hypergradient
from bilevel.hypergradient.online import online
from bilevel.methods.base import Method, OptimiserName, require_number
from bilevel.optimisers import OPTIMISERS

RESETS = ("never", "each-outer-step")


@dataclass(frozen=True, kw_only=True)
class OuterMethod(Method):
    """Settings of the outer loop, on top of the inner one's.

    Which `reset`, and how many `inner_steps` K? The meta-gradient asks how K steps of learning would end.

    never: learning is online, one long course of which each outer step sees the next K steps: cheap, and K
    may be 1. But the gradient looks no further than these: with small K it is greedy, and moves the outer
    variables towards what pays at once, whatever that does to learning later.
    each-outer-step: every outer step asks about a whole course of learning, from its start. So K must be
    large enough to learn in: with K = 1 policies are only ever one step away from where they start.

    Raises:
        ValueError: a setting is out of range, a name is unknown, or an estimator is to remember what `reset`
            forgets.
    """

    outer_optimiser: OptimiserName = "adam"
    """How the outer variables move."""
    outer_learning_rate: float = 0.1
    """Step size of the outer variables, above 0."""
    hypergradient: str | Hypergradient = "unrolled"
    """How the meta-gradient is taken: an estimator's name, with settings if it needs any, as in
    truncated(steps=5) or implicit(solver=normal-cg); bilevel hypergradients lists them. Seeds are always
    independent members."""
    reset: Literal["never", "each-outer-step"] = "never"
    """When policies start anew: never (online learning; short-sighted with few inner steps), or in each outer
    step, from fresh draws (needs enough inner steps to learn in)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_name(self.outer_optimiser, OPTIMISERS, "outer_optimiser")
        require_number("outer_learning_rate", self.outer_learning_rate, above=0)
        require_name(self.reset, RESETS, "reset")
        # One form for each estimator, so that settings which mean the same are equal and config.json has it.
        object.__setattr__(self, "hypergradient", _usual_form(self.hypergradient))
        require(
            self.reset == "never" or online(make_hypergradient(self.hypergradient)) is None,
            "With reset each-outer-step nothing goes on from one outer step to the next, and "
            f"{self.hypergradient} would have nothing to remember: leave reset at never, or choose an "
            "estimator without a past, as truncated(steps=5) or evolution.",
        )


def _usual_form(estimator: str | Hypergradient) -> str | Hypergradient:
    """The text form, or, of a class that has no name, the object."""
    require(
        isinstance(estimator, str) or (callable(estimator) and not isinstance(estimator, type)),
        f"hypergradient must be the name of an estimator, or an object with its call, not {estimator!r}.",
    )
    named = isinstance(estimator, str) or type(estimator) in ESTIMATORS.values()
    return format_hypergradient(estimator) if named else estimator
