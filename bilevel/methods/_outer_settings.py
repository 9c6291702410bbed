"""Settings of the outer loop, of the order of updates, and of learned loss weights."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Annotated, Literal

from bilevel.core import Range, Scheduled
from bilevel.hypergradient import Estimator, Unrolled
from bilevel.methods._phases import Phase
from bilevel.methods._settings import ObjectiveName, OptimizerName, SettingsGroup, Whole
from games.core import require


@dataclass(frozen=True, kw_only=True)
class OuterLoop(SettingsGroup, part="outer"):
    """Outer loop: its optimizer, the hypergradient estimator, and the reinitialization of policies.

    The hypergradient differentiates through K inner steps; `reset` determines the policies with which they
    start.

    With `never`, learning is online: policies are trained in a single run, and each outer step differentiates
    the next K steps of it. That is cheap, and K may be 1. But with small K the hypergradient is greedy: it
    optimizes immediate returns, regardless of the effect on later learning.

    With `each-outer-step`, every outer step differentiates K steps of training from new initial policies. K
    must be large enough for policies to learn: with K = 1 they are never more than one update away from their
    initial values.

    Raises:
        ValueError: as for `SettingsGroup`; or `reset` would discard what a stateful estimator carries.

    >>> from bilevel import Truncated
    >>> from bilevel.methods import ToS
    >>> ToS(outer=OuterLoop(hypergradient=Truncated(steps=2), reset="each-outer-step")).outer.hypergradient
    Truncated(steps=2)
    """

    optimizer: OptimizerName = "adam"
    """Optimizer of the outer variables."""
    learning_rate: Annotated[Scheduled, Range(above=0)] = 0.1
    """Learning rate of the outer variables, above 0; or a schedule, such as 0:0.1, 200:0.01."""
    hypergradient: Estimator = Unrolled()
    """Estimator of the hypergradient, optionally with settings, such as truncated(steps=5) or
    implicit(solver=normal-cg); `bilevel hypergradients` lists them."""
    reset: Literal["never", "each-outer-step"] = "never"
    """Reinitialization of policies: never (online learning; greedy with few inner steps), or each-outer-step
    (new random policies; needs enough inner steps to learn in)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        estimator = self.hypergradient
        require(
            isinstance(estimator, Estimator),
            f"outer.hypergradient must be an estimator, such as Truncated(steps=5), not {estimator!r}.",
        )
        require(
            self.reset == "never" or not estimator.stateful,
            "With reset each-outer-step no state is carried from one outer step to the next, but "
            f"{estimator} needs one: leave reset at never, or choose a stateless "
            "estimator, such as truncated(steps=5) or evolution.",
        )


@dataclass(frozen=True, kw_only=True)
class Training(SettingsGroup, abc.ABC, part="training"):
    """Order of outer and inner updates."""

    @abc.abstractmethod
    def training_phases(self) -> tuple[Phase, ...]:
        """Phases of the training."""


@dataclass(frozen=True, kw_only=True)
class Joint(Training, variant="joint"):
    """Update policies and outer variables in each outer step.

    >>> from bilevel.methods import ToS
    >>> ToS(training=Joint()).schedule.phase(0).moves
    'both'
    """

    def training_phases(self) -> tuple[Phase, ...]:
        return (Phase(begin=0),)


@dataclass(frozen=True, kw_only=True)
class Alternating(Training, variant="alternating"):
    """Before each outer step, train policies for rounds of inner steps under fixed outer variables.

    >>> from bilevel.methods import ToS
    >>> ToS(training=Alternating(rounds=3)).schedule.phase(0).rounds
    3
    """

    rounds: Whole
    """Rounds of inner steps before the round that an outer step differentiates, 1 or more."""

    def training_phases(self) -> tuple[Phase, ...]:
        return (Phase(begin=0, rounds=self.rounds),)


@dataclass(frozen=True, kw_only=True)
class Staged(Training, variant="staged"):
    """Learn the outer variables first; then train new policies under them.

    Schedules of the entropy bonus and of the policies' learning rate restart with the new policies.

    >>> from bilevel.methods import ToS
    >>> schedule = ToS(training=Staged(outer_steps=100)).schedule
    >>> [(schedule.phase(step).moves, schedule.phase(step).policies) for step in (99, 100)]
    [('both', 'kept'), ('policies', 'new')]
    """

    outer_steps: Whole
    """Outer steps in which the outer variables learn, 1 or more, and fewer than the run's."""

    def training_phases(self) -> tuple[Phase, ...]:
        end = self.outer_steps
        return Phase(begin=0, end=end), Phase(begin=end, moves="policies", policies="new")


@dataclass(frozen=True, kw_only=True)
class Curriculum(Training, variant="curriculum"):
    """Phases of outer steps, which select the variables to update, and change settings.

    >>> from bilevel.methods import ToS, read_phases
    >>> phases = read_phases("0-100(moves=policies), 100-300(cost_weight=0.5)")
    >>> schedule = ToS(training=Curriculum(phases=phases)).schedule
    >>> schedule.phase(99).moves, schedule.value("cost_weight", 100)
    ('policies', 0.5)
    """

    phases: tuple[Phase, ...]
    """The phases, in order, such as 0-100(moves=policies), 100-300(cost_weight=0.5);
    docs/how-to/schedules-and-curricula.md."""

    def training_phases(self) -> tuple[Phase, ...]:
        return self.phases


@dataclass(frozen=True, kw_only=True)
class LearnedLossWeights(SettingsGroup, part="loss_weights", variant="learned"):
    """Learned weights of the policy, value and entropy terms of each agent's loss.

    Each agent has a factor on each term's coefficient. Factors are initially 1 and updated by the
    hypergradient through the policies' steps. Their objective is computed from the game's own rewards on
    fresh episodes, so it does not depend on the weights (docs/studies/loss-weights-and-sharing.md). The
    policy's factor scales the policy's learning rate; the value's factor has an effect only with 2 or more
    inner steps; an entropy bonus of 0 stays 0.

    Source:
        Zahavy et al., A self-tuning actor-critic algorithm (STAC), arXiv 2002.12928, for one agent; its
        outer loss is an actor-critic's own.

    >>> import games
    >>> from bilevel.methods import PPO, Placement, Selfish
    >>> method = Selfish(inner=PPO(steps=2), loss_weights=LearnedLossWeights(objective="welfare"))
    >>> learner = method.build(games.make("escape-room"), Placement(seeds=4))
    >>> learner.init(seed=0)["phi"]["loss_weights"].shape  # seed, agent, term
    torch.Size([4, 2, 3])
    """

    objective: ObjectiveName = "own-return"
    """Objective of the loss weights: own-return (each agent's), welfare (the sum), maximin, nash-welfare,
    gini-welfare, or a name registered with `register_objective`."""
    learning_rate: Annotated[Scheduled, Range(min=0)] = 0.03
    """Learning rate of the loss weights, 0 or more; or a schedule. They use the outer loop's
    optimizer and estimator; in methods without an outer loop, adam and unrolled."""
    max_factor: Annotated[float, Range(above=1)] = 10.0
    """Maximum ratio of a learned weight to its coefficient, above 1; the minimum is its inverse."""
