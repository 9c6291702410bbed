"""Ranges of the settings that `bilevel compare --tune` searches, and the draws of its trials."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bilevel.core import Schedule
from bilevel.experiments._config import RunConfig
from bilevel.experiments._environment_steps import StepCosts, step_costs
from bilevel.methods import Method

DIGITS = 3
"""Significant digits of drawn values."""
BATCH = "inner.episodes"


@dataclass(frozen=True)
class SearchRange:
    """Range of a setting in a search, and the distribution of its draws.

    >>> SearchRange(0.1, 10).value(0.75, default=0.3), SearchRange(0.1, 10).text
    (0.949, 'log-uniform, 0.1 to 10 times the default')
    >>> SearchRange(0, 90, scale="uniform", relative=False).value(0.5, default=45.0)
    45.0
    """

    low: float
    """Lower bound."""
    high: float
    """Upper bound."""
    scale: Literal["log-uniform", "uniform"] = "log-uniform"
    """Distribution between the bounds."""
    relative: bool = True
    """Bounds are multiples of the default, which scale a whole schedule."""

    @property
    def text(self) -> str:
        """The range in words."""
        unit = " times the default" if self.relative else ""
        return f"{self.scale}, {self.low:g} to {self.high:g}{unit}"

    def value(self, uniform: float, default: Any) -> Any:
        """Map a draw from [0, 1) to a value, or to a scaled schedule if the default is one."""
        number = self.low + (self.high - self.low) * uniform
        if self.scale == "log-uniform":
            number = self.low * (self.high / self.low) ** uniform
        if not self.relative:
            return _rounded(number)
        if isinstance(default, Schedule):
            return Schedule(tuple((time, _rounded(number * value)) for time, value in default.knots))
        return _rounded(number * default)


@dataclass(frozen=True)
class BatchRange:
    """Batches in a search: multiples of the default, at equal environment steps of training.

    >>> BatchRange((0.5, 1, 2)).value(0.9, default=64), BatchRange((0.5, 1, 2)).text
    (128, '0.5, 1 or 2 times the default, at equal environment steps')
    """

    factors: tuple[float, ...]
    """Multiples of the default, with equal probabilities."""

    @property
    def text(self) -> str:
        """The range in words."""
        *most, last = [f"{factor:g}" for factor in self.factors]
        return f"{', '.join(most)} or {last} times the default, at equal environment steps"

    def value(self, uniform: float, default: int, fewest: int = 2) -> int:
        """Map a draw from [0, 1) to a number of episodes."""
        return max(round(default * self.factors[int(uniform * len(self.factors))]), fewest)


Range = SearchRange | BatchRange

OF_ALL: dict[str, Range] = {
    "inner.learning_rate": SearchRange(0.1, 10),
    "inner.entropy_coef": SearchRange(0.1, 10),
    BATCH: BatchRange((0.25, 0.5, 1, 2, 4)),
    "outer.learning_rate": SearchRange(0.1, 10),
}
"""Setting -> its range, for every method that has the setting."""
OF_METHOD: dict[str, dict[str, Range]] = {
    "fixed": {"self_interest": SearchRange(0, 1, "uniform", relative=False)},
    "spatial-discount": {"discount": SearchRange(0, 1, "uniform", relative=False)},
    "tos": {"own_share": SearchRange(0.1, 0.9, "uniform", relative=False)},
    "ltos": {
        "own_share": SearchRange(0.1, 0.9, "uniform", relative=False),
        "inner.exploration": SearchRange(0.2, 1, "uniform", relative=False),
    },
    "lio": {
        "max_incentive": SearchRange(0.3, 3),
        "cost.learning_rate": SearchRange(0.1, 10),
        "cost.weight": SearchRange(0.1, 10),
    },
    "d3c": {
        "own_weight": SearchRange(0.5, 0.99, "uniform", relative=False),
        "mixing_learning_rate": SearchRange(0.3, 100, relative=False),
    },
    "lase": {"critic.learning_rate": SearchRange(0.1, 10)},
    "planner": {"budget": SearchRange(0.3, 3)},
    "contract": {"initial_payment": SearchRange(0.1, 5)},
    "aga": {"alignment_weight": SearchRange(0.1, 10)},
    "advantage-alignment": {"inner.alignment_coef": SearchRange(0.1, 10)},
    "loqa": {"opponents.coef": SearchRange(0.1, 10), "q.learning_rate": SearchRange(0.1, 10)},
    "coala-pg": {"training.learning_rate": SearchRange(0.1, 10)},
    "lola-dice": {"look_ahead.learning_rate": SearchRange(0.1, 10)},
    "m-fos": {"training.learning_rate": SearchRange(0.1, 10)},
    "meva": {"meta.learning_rate": SearchRange(0.1, 10)},
    "pola": {"look_ahead.learning_rate": SearchRange(0.1, 10), "proximal.kl_coef": SearchRange(0.1, 10)},
    "stac": {"kl_coef": SearchRange(0.1, 10)},
    "stacx": {"kl_coef": SearchRange(0.1, 10)},
    "gifting": {"amount": SearchRange(0.1, 10)},
    "inequity-aversion": {"envy": SearchRange(0.1, 10), "guilt": SearchRange(0.1, 10)},
    "svo": {
        "target": SearchRange(0, 90, "uniform", relative=False),
        "weight": SearchRange(0.1, 10),
    },
}
"""Method -> setting -> its range, besides those of `OF_ALL`."""
INSTEAD_OF_ZERO: dict[str, Range] = {"inner.entropy_coef": SearchRange(0.001, 0.1, relative=False)}
"""Setting -> its range where the default is 0."""
LEFT_OUT = {("ltos", BATCH), ("meva", "inner.entropy_coef")}
"""(method, setting) of `OF_ALL` that are not searched: episodes of a replay buffer are no batch, and `meva`
takes no entropy bonus."""


def search_table() -> list[tuple[str, str, str]]:
    """List the ranges of a search: (methods, setting, range in words).

    >>> search_table()[0]
    ('all', 'inner.learning_rate', 'log-uniform, 0.1 to 10 times the default')
    """
    rows = []
    for name, within in OF_ALL.items():
        zero = INSTEAD_OF_ZERO.get(name)
        rows.append(("all", name, f"{within.text}{f'; if the default is 0: {zero.text}' if zero else ''}"))
    rows += [
        (method, name, within.text) for method, ranges in OF_METHOD.items() for name, within in ranges.items()
    ]
    return rows


@dataclass(frozen=True)
class SearchSpace:
    """Settings of a run that a search varies.

    >>> from bilevel.experiments import default_config
    >>> space = SearchSpace(default_config("prisoners-dilemma", "fixed"), pinned={"inner.entropy_coef"})
    >>> list(space.ranges)
    ['inner.learning_rate', 'self_interest']
    >>> space.settings(0, seed=0), list(space.settings(1, seed=0))
    ({}, ['inner.learning_rate', 'self_interest'])
    """

    config: RunConfig
    """The run with its default settings."""
    pinned: Collection[str] = ()
    """Dotted names of settings that are not searched."""
    _costs: dict[int, StepCosts] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Batch -> environment steps of outer steps, as measured."""

    @property
    def ranges(self) -> Mapping[str, Range]:
        """Setting -> its range, of the settings that the method has and the run uses."""
        method, name = self.config.method, self.config.method_name
        found: dict[str, Range] = {}
        for setting, within in (OF_ALL | OF_METHOD.get(name, {})).items():
            default = setting_of(method, setting)
            if default is MISSING or setting in self.pinned or (name, setting) in LEFT_OUT:
                continue
            if setting == BATCH and not self._batch_varies:
                continue
            relative = isinstance(within, SearchRange) and within.relative
            within = INSTEAD_OF_ZERO.get(setting, within) if default == 0 else within
            if not (relative and default in (0, None) and setting not in INSTEAD_OF_ZERO):
                found[setting] = within
        return found

    @property
    def defaults(self) -> dict[str, Any]:
        """Searched setting -> its default."""
        return {setting: setting_of(self.config.method, setting) for setting in self.ranges}

    def settings(self, trial: int, seed: int) -> dict[str, Any]:
        """Draw the settings of a trial: setting -> value; none for trial 0, the default settings.

        They depend on the seed, the method, the trial and the setting's name alone.
        """
        if trial == 0:
            return {}
        method = self.config.method
        values: dict[str, Any] = {}
        for setting, within in self.ranges.items():
            uniform = uniform_of(f"{seed}/{self.config.method_name}/{trial}/{setting}")
            default = self.defaults[setting]
            if isinstance(within, BatchRange):
                minibatches = setting_of(method, "inner.num_minibatches")
                fewest = 2 if minibatches is MISSING else max(2, minibatches)
                values[setting] = within.value(uniform, default, fewest)
            else:
                values[setting] = within.value(uniform, default)
        return values

    def trial_config(self, trial: int, seed: int) -> RunConfig:
        """Build the run of a trial.

        With another batch it has the outer steps that take the environment steps of the default run, or a
        little fewer, and schedules end at the same fraction of the training. A batch of which the training
        would have no outer step is replaced by the default.
        """
        config, settings = self.config, self.settings(trial, seed)
        steps = config.outer_steps
        if BATCH in settings:
            default = setting_of(config.method, BATCH)
            steps = self._costs_of(settings[BATCH]).outer_steps(self._costs_of(default).total(steps))
            if steps == 0:
                del settings[BATCH]
                steps = config.outer_steps
        method = config.method.with_settings(settings)
        if steps != config.outer_steps:
            method = method.with_settings(_stretched(method, steps / config.outer_steps))
        return dataclasses.replace(config, method=method, outer_steps=steps)

    def _costs_of(self, episodes: int) -> StepCosts:
        if episodes not in self._costs:
            method = self.config.method.with_settings({BATCH: episodes})
            self._costs[episodes] = step_costs(dataclasses.replace(self.config, method=method))
        return self._costs[episodes]

    @property
    def _batch_varies(self) -> bool:
        """True if agents play episodes, in a training without phases, whose ends are outer steps."""
        return not self.config.exact and len(self.config.method.schedule.phases) == 1


MISSING: Any = object()


def setting_of(method: Method, name: str) -> Any:
    """Look up a setting by its dotted name; `MISSING` if the method does not have it."""
    value: Any = method
    for part in name.split("."):
        value = getattr(value, part, MISSING)
    return value


def _stretched(method: Method, factor: float) -> dict[str, Schedule]:
    """Schedules of a method's settings, with their outer steps multiplied: dotted name -> schedule."""
    stretched = {}
    for name, schedule in method.schedule.settings.items():
        if isinstance(schedule, Schedule):
            values: dict[int, list[float]] = {}
            for time, value in schedule.knots:
                values.setdefault(round(time * factor), []).append(value)
            # a schedule has two knots at most at an outer step
            knots = [
                (time, value) for time, here in values.items() for value in (here[0], here[-1])[: len(here)]
            ]
            stretched[name] = Schedule(tuple(knots))
    return stretched


def uniform_of(key: str) -> float:
    """Draw a number from [0, 1) that depends on a text alone.

    >>> uniform_of("0/tos/1/own_share") == uniform_of("0/tos/1/own_share")
    True
    """
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6]) / 2**48


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
