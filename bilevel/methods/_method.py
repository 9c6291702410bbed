"""What every method is: settings, and `build`, which wires existing parts into a learner.

The course of a training: what every setting is, and who moves, in each outer step.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch

from bilevel.agents import SURROGATES, ExactPlay, Play, Tabular
from bilevel.core import Range, Schedule, Scheduled, require_number
from bilevel.hypergradient import Estimator, Unrolled
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._phases import Phase
from bilevel.methods._settings import LossWeightSettings
from bilevel.optimizers import OPTIMIZERS
from games.core import ExactGame, Game, require, require_name


@dataclass(frozen=True)
class Course:
    """A method's schedules, and the phases that may replace them for a time.

    >>> phases = Phase(begin=0), Phase(begin=5, policies="new", schedules={"rate": Schedule.read("0:1, 2:3")})
    >>> course = Course({"rate": Schedule.read(0.5), "entropy": Schedule.read("0:4, 4:0")}, phases, 1)
    >>> [course.value("rate", step) for step in (4, 5, 6, 7)]
    [0.5, 1.0, 2.0, 3.0]
    >>> [course.value("entropy", step) for step in (0, 4, 5)]  # as of a run that has just begun
    [4.0, 0.0, 4.0]
    """

    schedules: Mapping[str, Schedule]
    """Setting -> its own schedule, in outer steps of the run."""
    phases: tuple[Phase, ...]
    """They follow one another from outer step 0 on, and the last one goes on."""
    inner_steps: int
    """Policy updates in each outer step, where a phase does not say."""
    inner: frozenset[str] = frozenset({"entropy", "inner_learning_rate"})
    """Settings of the policies' learning: their own schedules start again with new policies."""

    def phase(self, step: int) -> Phase:
        """The phase of this outer step, counted from 0."""
        return next(phase for phase in reversed(self.phases) if phase.begin <= step)

    def steps(self, step: int) -> int:
        """Policy updates in a round of this outer step."""
        return self.phase(step).inner_steps or self.inner_steps

    def value(self, name: str, step: int) -> float:
        """What a setting is in this outer step."""
        phase = self.phase(step)
        if name in phase.schedules:
            return phase.schedules[name](step - phase.begin)
        return self.schedules[name](step - (self._newest(step) if name in self.inner else 0))

    def changes(self, name: str) -> bool:
        """Whether a setting is not the same number all along, as far as anybody has said."""
        return not self.schedules[name].constant or any(name in phase.schedules for phase in self.phases)

    def ever(self, name: str) -> bool:
        """Whether a setting is ever other than 0."""
        given = [phase.schedules[name] for phase in self.phases if name in phase.schedules]
        return any(any(schedule.values) for schedule in [self.schedules[name], *given])

    def inner_steps_of(self, outer_steps: int) -> int:
        """How many policy updates all outer steps of a run look through."""
        return sum(self.steps(step) for step in range(outer_steps) if self.phase(step).moves != "policies")

    def _newest(self, step: int) -> int:
        """The outer step in which the policies of this one were new."""
        return max(
            (one.begin for one in self.phases if one.policies == "new" and one.begin <= step), default=0
        )


OptimiserName = Literal["sgd", "momentum", "adam", "adamw", "rmsprop"]


class OuterLevel(NamedTuple):
    """How the outer level moves, and of what learning."""

    optimizer: OptimiserName
    """What moves it."""
    hypergradient: str | Estimator
    """The estimator of its meta-gradient."""
    reset: str
    """When policies start anew: never, or each-outer-step."""


@dataclass(frozen=True, kw_only=True)
class Method(LossWeightSettings, abc.ABC):
    """Settings of the inner loop, which every method has; subclasses add their own and wire the parts.

    Raises:
        ValueError: a number is out of range, a name is unknown, or the entropy bonus would never be used.
    """

    ranges: ClassVar[Mapping[str, Range]] = {
        "entropy": Range(least=0),
        "inner_learning_rate": Range(above=0),
        "loss_weight_learning_rate": Range(least=0),
    }
    """Settings that may change on the way -> where their values lie."""

    inner_optimizer: OptimiserName = "sgd"
    """How the policies descend their losses."""
    inner_learning_rate: Scheduled = 1.0
    """Step size of the policies, above 0; or a schedule of it, as 0:1, 200:0.1."""
    inner_steps: int = 1
    """Policy updates in each outer step, 1 or more."""
    exact: bool = True
    """Use exact values where the game has them (no sampling); off: play episodes."""
    episodes: int = 64
    """Episodes per seed that each policy update, and the measurement after it, plays, 2 or more; unused when
    exact."""
    surrogate: Literal["reinforce", "dice", "loaded-dice"] = "reinforce"
    """Whether the policies' sampled gradient sees, when differentiated again, that data depend on policies
    (dice; loaded-dice, with less noise) or not (reinforce: enough with one inner step). docs/sampled.md has
    the numbers. Ppo has a surrogate of its own."""
    entropy: float = 0.0
    """Entropy bonus at the start, reward units per nat, 0 or more: of an episode's steps together, or, where
    values are exact, of an observation on average."""
    entropy_end: float = 0.0
    """Entropy bonus at the end of its annealing, reward units per nat, 0 or more."""
    entropy_steps: int = 0
    """Outer steps over which the bonus goes from its start to its end; 0: it is the end value all along."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("inner_optimizer", OPTIMIZERS), ("surrogate", SURROGATES)):
            require_name(getattr(self, name), known, name)
        for name, least in (("inner_steps", 1), ("episodes", 2), ("entropy_steps", 0)):
            value = getattr(self, name)
            whole = isinstance(value, int) and value >= least
            require(whole, f"{name} must be a whole number, {least} or more, not {value}.")
        for name in ("entropy", "entropy_end"):
            require_number(name, getattr(self, name), least=0)
        for name, within in self.ranges.items():  # one form for each schedule, so that equal ones are equal
            object.__setattr__(self, name, within.require_schedule(name, getattr(self, name)))
        require(
            self.entropy_steps > 0 or self.entropy in (0, self.entropy_end),
            f"With entropy_steps 0 the bonus is entropy_end all along, and entropy {self.entropy:g} would "
            "never be used: set entropy_steps, or entropy_end alone for a constant bonus.",
        )

    @abc.abstractmethod
    def build(self, game: Game, placement: Placement) -> Learner:
        """Wire game, agents, outer variable, step and outer objective into a learner.

        Args:
            game: what is played.
            placement: how many seeds, which precision, which device.

        Raises:
            ValueError: the method or its policy does not apply to this game (says why).
        """

    @property
    def entropy_schedule(self) -> Schedule:
        """The entropy bonus over outer steps."""
        return Schedule.line(self.entropy, self.entropy_end, self.entropy_steps)

    @property
    def course(self) -> Course:
        """What changes on the way: here, what the method's own schedules say."""
        read = {name: Schedule.read(getattr(self, name)) for name in self.ranges}
        return Course(read | {"entropy": self.entropy_schedule}, self._phases(), self.inner_steps)

    def _phases(self) -> tuple[Phase, ...]:
        return (Phase(begin=0, moves="both" if self.learn_loss_weights else "policies"),)

    @property
    def outer_level(self) -> OuterLevel:
        """How what is learned above moves: here, the weights of losses, if they are learned."""
        return OuterLevel("adam", Unrolled(), "never")

    def played(self, game: Game) -> Game:
        """The game as this method's agents play it: the same, unless the method adds actions to it.

        Raises:
            ValueError: nothing can be added to this game (says why).
        """
        return game

    def play(self, game: Game) -> Play:
        """How this method plays this game.

        Raises:
            ValueError: the game has no such policy, or no exact values, or these were asked of a network or a
                critic.
        """
        game = self.played(game)
        policy = self.policy_for(game)
        if self.exact and isinstance(game, ExactGame):
            require(
                not self.needs_episodes,
                f"Exact values leave nothing for a critic to learn: with {self.inner_learner} play episodes "
                "(--method.no-exact), or choose policy-gradient.",
            )
            require(
                isinstance(policy, Tabular),
                "Exact values need a tabular policy: leave policy at auto, or switch exact off.",
            )
            assert isinstance(policy, Tabular)
            play = ExactPlay(game, policy)
            try:
                play.values(torch.zeros(1, game.num_agents, policy.num_parameters), ())
            except ValueError as error:
                raise ValueError(f"{error} (Switch exact off: --method.no-exact.)") from error
            return play
        return self.sampled_play(game, policy, self.surrogate, self.episodes)
