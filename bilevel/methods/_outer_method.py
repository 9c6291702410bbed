"""What every method has that learns above: how it moves, by which meta-gradient, and of what learning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from bilevel.core import Range, Scheduled
from bilevel.hypergradient import ESTIMATORS, Estimator, format_hypergradient, make_hypergradient
from bilevel.methods._method import Course, Method, OptimiserName, OuterLevel
from bilevel.methods._phases import Phase, read_phases, write_phases
from bilevel.optimizers import OPTIMIZERS
from games.core import require, require_name

RESETS = ("never", "each-outer-step")
TRAINING_SETTINGS = {"inner_rounds": "alternating", "outer_stage": "staged"}
"""Setting -> the training that it belongs to."""


@dataclass(frozen=True, kw_only=True)
class OuterMethod(Method):
    """Settings of the outer loop, on top of the inner one's.

    Which `reset`, and how many `inner_steps` K? The meta-gradient asks how K steps of learning would end.

    never: learning is online, one long course of which each outer step sees the next K steps: cheap, and K
    may be 1. But the gradient looks no further than these: with small K it is greedy, and moves the outer
    variables towards what pays at once, whatever that does to learning later.
    each-outer-step: every outer step asks about a whole course of learning, from its start. So K must be
    large enough to learn in: with K = 1 policies are only ever one step away from where they start.

    And how do the two levels take turns (`training`)? Joint: both move together. Alternating: policies first
    take `inner_rounds` rounds of `inner_steps` under outer variables that stand still, and only the round
    after them is looked through. Staged: the outer variables are learned in the first `outer_stage` outer
    steps, and stay; policies then start from scratch under them, with an entropy bonus, and a schedule of
    their learning rate, that start again, too. Curriculum: `phases` say who moves, and what changes, when.

    Raises:
        ValueError: a setting is out of range or would not be used, a name is unknown, or an estimator is to
            remember what `reset` forgets.
    """

    ranges: ClassVar[Mapping[str, Range]] = {**Method.ranges, "outer_learning_rate": Range(above=0)}

    outer_optimizer: OptimiserName = "adam"
    """How the outer variables move."""
    outer_learning_rate: Scheduled = 0.1
    """Step size of the outer variables, above 0; or a schedule of it, as 0:0.1, 200:0.01."""
    hypergradient: str | Estimator = "unrolled"
    """How the meta-gradient is taken: an estimator's name, with settings if it needs any, as in
    truncated(steps=5) or implicit(solver=normal-cg); bilevel hypergradients lists them. Seeds are always
    independent members."""
    reset: Literal["never", "each-outer-step"] = "never"
    """When policies start anew: never (online learning; short-sighted with few inner steps), or in each outer
    step, from fresh draws (needs enough inner steps to learn in)."""

    training: Literal["joint", "alternating", "staged", "curriculum"] = "joint"
    """How the two levels take turns: together; several inner rounds to an outer step; the outer level first,
    then new policies under what it found; or by phases."""
    inner_rounds: int = 0
    """With alternating training: rounds of inner steps before the one that an outer step looks through, 1 or
    more."""
    outer_stage: int = 0
    """With staged training: outer steps in which the outer variables learn, 1 or more, and fewer than the
    run's."""
    phases: str = ""
    """With curriculum training: who moves, and which settings change, from which outer step to which, as
    0-100(moves=policies), 100-300(cost_weight=0.5); docs/training.md says all of it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_name(self.outer_optimizer, OPTIMIZERS, "outer_optimizer")
        require_name(self.reset, RESETS, "reset")
        # One form for each estimator, so that settings which mean the same are equal and config.json has it.
        object.__setattr__(self, "hypergradient", _usual_form(self.hypergradient))
        require(
            self.reset == "never" or not make_hypergradient(self.hypergradient).stateful,
            "With reset each-outer-step nothing goes on from one outer step to the next, and "
            f"{self.hypergradient} would have no state to carry on: leave reset at never, or choose a "
            "stateless estimator, as truncated(steps=5) or evolution.",
        )
        require_name(self.training, TRAINING, "training")
        require(
            bool(self.phases) == (self.training == "curriculum"),
            f"phases belong to curriculum training, which needs them, and they are {self.phases!r} with "
            f"{self.training} training.",
        )
        for name, training in TRAINING_SETTINGS.items():
            value, used = getattr(self, name), self.training == training
            require(
                isinstance(value, int) and (value >= 1 if used else value == 0),
                f"{name} is a whole number, 1 or more, with {training} training, and 0 without; it is "
                f"{value} with {self.training} training.",
            )
        require(
            self.training == "joint" or not make_hypergradient(self.hypergradient).stateful,
            f"The state of {self.hypergradient} holds every step that was taken, and {self.training} "
            "training takes steps that it does not see: choose a stateless estimator, as truncated(steps=5).",
        )
        phases = self._phases()
        object.__setattr__(self, "phases", write_phases(phases) if self.phases else "")
        require(
            self.reset == "never" or not any(phase.inner_rounds for phase in phases),
            "With reset each-outer-step there is no learning between outer steps to alternate with: leave "
            "reset at never.",
        )

    @property
    def outer_level(self) -> OuterLevel:
        """As the settings say."""
        return OuterLevel(self.outer_optimizer, self.hypergradient, self.reset)

    def _phases(self) -> tuple[Phase, ...]:
        return TRAINING[self.training](self)


def _staged(method: OuterMethod) -> tuple[Phase, ...]:
    end = method.outer_stage
    return Phase(begin=0, end=end), Phase(begin=end, moves="policies", policies="new")


def _curriculum(method: OuterMethod) -> tuple[Phase, ...]:
    return read_phases(
        method.phases, method.ranges, [name for name in method.ranges if name not in Course.inner]
    )


TRAINING: dict[str, Callable[[OuterMethod], tuple[Phase, ...]]] = {
    "joint": lambda method: (Phase(begin=0),),
    "alternating": lambda method: (Phase(begin=0, inner_rounds=method.inner_rounds),),
    "staged": _staged,
    "curriculum": _curriculum,
}
"""How the two levels take turns -> the phases that it means."""


def _usual_form(estimator: str | Estimator) -> str | Estimator:
    """The text form, or, of a class that has no name, the object."""
    require(
        isinstance(estimator, str) or (callable(estimator) and not isinstance(estimator, type)),
        f"hypergradient must be the name of an estimator, or an object with its call, not {estimator!r}.",
    )
    named = isinstance(estimator, str) or type(estimator) in ESTIMATORS.values()
    return format_hypergradient(estimator) if named else estimator
