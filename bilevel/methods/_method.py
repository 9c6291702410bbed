"""Methods: settings composed of groups, and `build`, which assembles a learner."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import torch

from bilevel.agents import ExactPlay, Play, Tabular
from bilevel.core import UpdateRule, simultaneous_gradient
from bilevel.hypergradient import Unrolled
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._inner_settings import PPO, ActorCritic, PolicyGradient, VTrace
from bilevel.methods._outer_settings import (
    Alternating,
    Curriculum,
    Joint,
    LearnedLossWeights,
    OuterLoop,
    Staged,
)
from bilevel.methods._phases import Phase, TrainingSchedule, check_phases
from bilevel.methods._policy_settings import (
    AutoPolicy,
    ConvPolicy,
    GRUPolicy,
    MixturePolicy,
    MLPPolicy,
    TabularPolicy,
)
from bilevel.methods._rule_settings import (
    HOLA,
    LOLA,
    SOS,
    Competitive,
    Consensus,
    Extragradient,
    LookAhead,
    Naive,
    Symplectic,
)
from bilevel.methods._settings import SettingsGroup, check_fields, hints_of, parts_of, read_value, scheduled
from games.core import ExactGame, Game, require, require_name

AnyMethod = TypeVar("AnyMethod", bound="Method")


@dataclass(frozen=True, kw_only=True)
class Method(abc.ABC):
    """Settings of a method, some of them in groups (`SettingsGroup`), and the builder of its learner.

    Raises:
        ValueError: a setting is of another type, an unknown name, or out of range.

    >>> import games
    >>> from bilevel.methods import METHODS, Placement
    >>> method: Method = METHODS["tos"]()
    >>> learner = method.build(games.make("prisoners-dilemma"), Placement(seeds=4))
    >>> learner.update(learner.init(seed=0))[1]["welfare"].shape
    torch.Size([4])
    """

    def __post_init__(self) -> None:
        check_fields(self)

    @abc.abstractmethod
    def build(self, game: Game, placement: Placement) -> Learner:
        """Assemble game, agents, outer variable, inner step and outer objective into a learner.

        Raises:
            ValueError: the method or its policy does not apply to this game (with the reason).
        """

    @property
    def exact(self) -> bool:
        """True if agents learn from exact values, where a game has them."""
        return False

    @property
    def schedule(self) -> TrainingSchedule:
        """Schedule of all settings that may change during a run."""
        values = {name: value for name, (value, _) in scheduled(self).items()}
        inner: Any = getattr(self, "inner", None)
        return TrainingSchedule(values, self._phases(), getattr(inner, "steps", 1))

    def training_game(self, game: Game) -> Game:
        """Return the game that agents train on: the same game, unless the method adds actions to it.

        Raises:
            ValueError: the method cannot extend this game (with the reason).
        """
        return game

    def with_settings(self: AnyMethod, settings: Mapping[str, Any]) -> AnyMethod:
        """Copy with some settings replaced.

        A group is chosen by its variant's name, or is an object; settings that both variants have are kept.

        Args:
            settings: dotted name -> value; schedules, estimators and phases may be in their text forms.

        Raises:
            ValueError: a setting is unknown (names the nearest), missing, or invalid.

        >>> from bilevel.methods import ToS
        >>> method = ToS().with_settings({"inner.steps": 5, "outer.hypergradient": "truncated(steps=2)"})
        >>> method.inner.steps, method.outer.hypergradient
        (5, Truncated(steps=2))
        >>> method.with_settings({"inner": "ppo", "inner.clip_coef": 0.1}).inner.steps
        5
        >>> method.with_settings({"outer.lerning_rate": 0.1})
        Traceback (most recent call last):
        ValueError: There is no setting of ToS 'outer.lerning_rate'. Did you mean 'outer.learning_rate' ...
        """
        parts = parts_of(type(self))
        wanted = {name.replace("-", "_").removeprefix("method."): value for name, value in settings.items()}
        changed: dict[str, Any] = {}
        for part, variants in parts.items():
            inside = {
                name.partition(".")[2]: wanted.pop(name)
                for name in list(wanted)
                if name.startswith(f"{part}.")
            }
            chosen, group = wanted.pop(part, None), getattr(self, part)
            if isinstance(chosen, SettingsGroup):
                group = chosen
            elif chosen is not None:
                require_name(chosen, variants, part.replace("_", " "))
                kind = variants[chosen]
                if kind is not type(group):
                    group = None if kind is None else _switch(part, kind, group, inside)
            if inside:
                group = self._replace(part, group, inside)
            if group is not getattr(self, part):
                changed[part] = group
        replaced: AnyMethod = self._replace("", self, wanted, changed)
        return replaced

    def _replace(
        self, part: str, settings: Any, wanted: Mapping[str, Any], changed: Mapping[str, Any] = {}
    ) -> Any:
        """Copy a group, or the method itself, with settings that may be text."""
        hints = {} if settings is None else hints_of(type(settings))
        before = f"{part}." if part else ""
        for name in wanted:
            if name not in hints:
                self.refuse(f"{before}{name}", settings)
        read = {name: read_value(f"{before}{name}", hints[name], value) for name, value in wanted.items()}
        return dataclasses.replace(settings, **read, **changed) if read or changed else settings

    def refuse(self, name: str, group: Any = None) -> NoReturn:
        """Raise ValueError for an unknown setting, with the variants that have it, or the nearest names."""
        part, _, setting = name.partition(".")
        variants = parts_of(type(self)).get(part, {})
        having = [one for one, kind in variants.items() if kind is not None and setting in hints_of(kind)]
        now = getattr(getattr(self, part, None) if group is None else group, "variant", "none")
        require(
            not having,
            f"{name} is a setting of {part} {' or '.join(having)}, and {part} is {now}: choose {part} first.",
        )
        known = list(hints_of(type(self)))
        for field in list(known):
            value = getattr(self, field)
            if isinstance(value, SettingsGroup):
                known += [f"{field}.{one}" for one in hints_of(type(value))]
        require_name(name, known, f"setting of {type(self).__name__}")
        raise AssertionError(name)  # it is unknown

    def _phases(self) -> tuple[Phase, ...]:
        return (Phase(begin=0, moves="policies"),)


def _switch(part: str, kind: type[SettingsGroup], before: Any, inside: dict[str, Any]) -> SettingsGroup:
    """Build another variant of a group from common settings and required ones, popped from `inside`."""
    hints = hints_of(kind)
    kept = {} if before is None else {n: getattr(before, n) for n in hints_of(type(before)) if n in hints}
    for field in dataclasses.fields(kind):
        if field.default is dataclasses.MISSING:
            require(
                field.name in inside,
                f"{part.replace('_', ' ')} {kind.variant} needs the setting {part}.{field.name}.",
            )
            kept[field.name] = read_value(f"{part}.{field.name}", hints[field.name], inside.pop(field.name))
    return kind(**kept)


@contextlib.contextmanager
def suggesting_episodes() -> Iterator[None]:
    """Append to errors about exact values the suggestion to sample episodes."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error} (Switch exact off: --inner.no-exact.)") from error


@dataclass(frozen=True, kw_only=True)
class PolicyMethod(Method, abc.ABC):
    """A method whose policies learn by policy gradients.

    >>> import games
    >>> from bilevel.methods import Placement, PolicyLearner
    >>> from bilevel.sharing import FixedMatrix
    >>> class Swap(PolicyMethod):
    ...     def build(self, game, placement):
    ...         return PolicyLearner(self, game, placement, FixedMatrix(torch.eye(2).flip(0)))
    >>> learner = Swap().build(games.make("prisoners-dilemma"), Placement())
    >>> learner.update(learner.init(seed=0))[1]["share_0_1"]
    tensor([1.], dtype=torch.float64)
    """

    policy: AutoPolicy | TabularPolicy | MLPPolicy | ConvPolicy | GRUPolicy | MixturePolicy = AutoPolicy()
    """Policies of the agents."""
    inner: PolicyGradient | ActorCritic | PPO | VTrace = PolicyGradient()
    """The policies' learner."""

    @property
    def exact(self) -> bool:
        """True if agents learn from exact values, where a game has them."""
        return isinstance(self.inner, PolicyGradient) and self.inner.exact

    @property
    def learned_loss_weights(self) -> LearnedLossWeights | None:
        """Settings of learned loss weights; None: not learned."""
        return None

    @property
    def update_rule(self) -> UpdateRule:
        """Direction of the policies' simultaneous step, from their losses."""
        return simultaneous_gradient

    @property
    def outer_loop(self) -> OuterLoop:
        """Optimizer and estimator of outer variables; unless an `OuterMethod`, of loss weights alone."""
        return OuterLoop(optimizer="adam", hypergradient=Unrolled())

    def play(self, game: Game) -> Play:
        """Build the losses and values of this method's agents in a game.

        Raises:
            ValueError: the policy does not fit the game, or exact values are required of a game without them
                or of a network.
        """
        original, game = game, self.training_game(game)
        policy = self.policy.build(game)
        if game is not original and isinstance(policy, Tabular):  # added actions learn as the others do
            policy = dataclasses.replace(policy, every_logit=True)
        if not (self.exact and isinstance(game, ExactGame)):
            return self.inner.sampled_play(game, policy)
        require(
            isinstance(policy, Tabular),
            "Exact values need a tabular policy: leave policy at auto, or play episodes (--inner.no-exact).",
        )
        require(
            getattr(self.inner, "entropy_scale", "none") == "none",
            "Exact values have no sampled advantages to scale the entropy bonus by: leave "
            "inner.entropy_scale at none, or play episodes (--inner.no-exact).",
        )
        assert isinstance(policy, Tabular)
        play = ExactPlay(game, policy)
        with suggesting_episodes():
            play.values(torch.zeros(1, game.num_agents, policy.num_parameters), ())
        return play


@dataclass(frozen=True, kw_only=True)
class UpdateRuleMethod(PolicyMethod, abc.ABC):
    """A method whose policies can also learn by another update rule than simultaneous gradients.

    >>> from bilevel.methods import D3C, LOLA
    >>> method = D3C(rule=LOLA(rate=0.3))
    >>> isinstance(method, UpdateRuleMethod), method.rule.variant
    (True, 'lola')
    """

    rule: Naive | LookAhead | LOLA | SOS | Consensus | Symplectic | Competitive | Extragradient | HOLA = (
        Naive()
    )
    """Update rule of the policies: naive gradients, or one that shapes the other agents' learning."""

    @property
    def update_rule(self) -> UpdateRule:
        return self.rule.direction

    def play(self, game: Game) -> Play:
        play = super().play(game)
        self.rule.require_play(play)
        return play


@dataclass(frozen=True, kw_only=True)
class LossWeightMethod(UpdateRuleMethod, abc.ABC):
    """A method that can learn the weights of its loss terms, if these include a critic's loss.

    Raises:
        ValueError: as for `Method`; or loss weights are learned without a critic.

    >>> from bilevel.methods import PPO, LearnedLossWeights, Selfish
    >>> method = Selfish(inner=PPO(), loss_weights=LearnedLossWeights())
    >>> isinstance(method, LossWeightMethod), method.loss_weights.objective
    (True, 'own-return')
    >>> Selfish(loss_weights=LearnedLossWeights())
    Traceback (most recent call last):
    ValueError: Loss weights are learned where there is a critic's loss besides the policy's, and ...
    """

    loss_weights: LearnedLossWeights | None = None
    """Learned weights of the terms of agents' losses; None: the coefficients stay as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.loss_weights is None or not isinstance(self.inner, PolicyGradient),
            "Loss weights are learned where there is a critic's loss besides the policy's, and "
            "policy-gradient has none: choose the inner learner actor-critic or ppo, or learn no loss "
            "weights.",
        )

    @property
    def learned_loss_weights(self) -> LearnedLossWeights | None:
        return self.loss_weights

    def _phases(self) -> tuple[Phase, ...]:
        return (Phase(begin=0, moves="policies" if self.loss_weights is None else "both"),)


@dataclass(frozen=True, kw_only=True)
class OuterMethod(LossWeightMethod, abc.ABC):
    """A method that learns outer variables by a hypergradient through the policies' steps.

    Raises:
        ValueError: as for `Method`; or settings are incompatible (with the reason).

    >>> import games
    >>> from bilevel.methods import OuterLearner, Placement
    >>> from bilevel.sharing import OBJECTIVES, LearnedMatrix, Sharing
    >>> class Fair(OuterMethod):
    ...     def build(self, game, placement):
    ...         rows = LearnedMatrix(Sharing(game.neighbors, 0.9))
    ...         return OuterLearner(self, game, placement, rows, objective=OBJECTIVES["maximin"])
    >>> learner = Fair().build(games.make("prisoners-dilemma"), Placement())
    >>> learner.update(learner.init(seed=0))[1]["share_0_0"]
    tensor([0.9000], dtype=torch.float64)
    """

    outer: OuterLoop = OuterLoop()
    """The outer variables' optimizer and hypergradient."""
    training: Joint | Alternating | Staged | Curriculum = Joint()
    """Order of inner and outer updates."""

    def __post_init__(self) -> None:
        super().__post_init__()
        estimator = self.outer.hypergradient
        require(
            isinstance(self.training, Joint) or not estimator.stateful,
            f"The state of {estimator} holds every step that was taken, and {self.training.variant} training "
            "takes steps that it does not see: choose a stateless estimator, such as truncated(steps=5).",
        )
        if isinstance(self.training, Curriculum):
            ranges = {name: within for name, (_, within) in scheduled(self).items()}
            phases = check_phases(self.training.phases, ranges)
            object.__setattr__(self, "training", Curriculum(phases=phases))
        require(
            self.outer.reset == "never" or not any(phase.rounds for phase in self._phases()),
            "With reset each-outer-step there is no learning between outer steps to alternate with: leave "
            "reset at never.",
        )

    @property
    def outer_loop(self) -> OuterLoop:
        return self.outer

    def _phases(self) -> tuple[Phase, ...]:
        return self.training.training_phases()
