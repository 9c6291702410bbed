"""Phases of training and their text form, and schedules of settings over outer steps."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bilevel.core import Range, Schedule, Scheduled, read_settings, write_settings
from games.core import require, require_name

EXAMPLE = "0-100(moves=policies), 100-300(outer.learning_rate='0:0.1, 200:0.01')"
PHASE = re.compile(r"\s*(\d+)\s*-\s*(\d+)\s*(\([^()]*\))?\s*", re.ASCII)
CHOICES = {"moves": ("both", "policies", "outer"), "policies": ("kept", "new")}
STEPS = "inner.steps"
POLICY_SETTINGS = frozenset({"inner.entropy_coef", "inner.learning_rate", "policy.alpha"})
"""Settings whose schedules restart with new policies, and which apply where only policies are updated."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Successive outer steps that update the same variables.

    >>> from bilevel.methods import Curriculum, ToS
    >>> first = Phase(begin=0, end=100, moves="policies", settings={"inner.steps": 3})
    >>> schedule = ToS(training=Curriculum(phases=(first, Phase(begin=100, end=300)))).schedule
    >>> [(schedule.phase(step).moves, schedule.steps(step)) for step in (0, 100)]
    [('policies', 3), ('both', 1)]
    """

    begin: int
    """First outer step, counted from 0."""
    end: int | None = None
    """Outer step after the last one; None: unlimited."""
    moves: Literal["both", "policies", "outer"] = "both"
    """Variables that are updated; with outer, policies stay fixed, and the hypergradient is that of tentative
    steps from them."""
    policies: Literal["kept", "new"] = "kept"
    """Policies at the beginning: those of the phase before, or new ones."""
    rounds: int = 0
    """Rounds of inner steps before the round that an outer step differentiates."""
    settings: Mapping[str, Scheduled] = field(default_factory=dict)
    """Dotted setting, also inner.steps -> its value or schedule, from the phase's first outer step on."""


OWN = {"moves": "both", "policies": "kept", "rounds": 0}
"""Fields of `Phase` in its text form -> their defaults."""


def read_phases(text: str) -> tuple[Phase, ...]:
    """Read phases from their text form, BEGIN-END(SETTING=VALUE, ...), with commas between them.

    Args:
        text: each phase has the outer steps from BEGIN, counted from 0, to END, exclusive. Settings are
            moves, policies, rounds, inner.steps, and any that may change during a run: a number, or a
            schedule in quotes, whose steps are counted from BEGIN.

    Raises:
        ValueError: the text cannot be read, or a value has the wrong form.

    >>> [(phase.begin, phase.end, phase.moves) for phase in read_phases("0-5(moves=policies), 5-9")]
    [(0, 5, 'policies'), (5, 9, 'both')]
    """
    phases, position = [], 0
    while position < len(text):
        match = PHASE.match(text, position)
        if match is None or text[match.end() : match.end() + 1] not in ("", ","):
            raise ValueError(f"{text!r} are not phases: write them as in {EXAMPLE}.")
        phases.append(_read_phase(match))
        position = match.end() + 1
    require(
        bool(phases) and not text.rstrip().endswith(","),
        f"{text!r} are not phases: write them as in {EXAMPLE}.",
    )
    return tuple(phases)


def write_phases(phases: Sequence[Phase]) -> str:
    """Format phases as the text from which `read_phases` restores them.

    >>> from bilevel.methods import Phase
    >>> write_phases([Phase(begin=0, end=5, moves="policies", settings={"inner.steps": 3})])
    '0-5(moves=policies, inner.steps=3)'
    """
    texts = []
    for phase in phases:
        own = {name: value for name, default in OWN.items() if (value := getattr(phase, name)) != default}
        settings = {
            name: str(value) if isinstance(value, Schedule) else value
            for name, value in phase.settings.items()
        }
        texts.append(f"{phase.begin}-{phase.end}{write_settings(own | settings)}")
    return ", ".join(texts)


def check_phases(phases: Sequence[Phase], ranges: Mapping[str, Range]) -> tuple[Phase, ...]:
    """Check phases for a method, by ranges of settings that may change, and simplify their schedules."""
    checked = [_check_phase(phase, ranges) for phase in phases]
    require(bool(checked), f"Curriculum training needs phases: write them as in {EXAMPLE}.")
    end = 0
    for phase in checked:
        require(
            phase.begin <= end,
            f"phases leave a gap: nothing says what happens from outer step {end} to {phase.begin}.",
        )
        require(
            phase.begin == end,
            f"phases overlap: one ends at outer step {end}, and the next begins at {phase.begin}, not there.",
        )
        assert phase.end is not None
        end = phase.end
    return tuple(checked)


def require_end(phases: Sequence[Phase], outer_steps: int) -> None:
    """Raise ValueError unless phases end with the run.

    Args:
        phases: successive phases.
        outer_steps: outer steps of the run.

    >>> from bilevel.methods import read_phases
    >>> require_end(read_phases("0-5, 5-9"), 10)
    Traceback (most recent call last):
    ValueError: phases end at outer step 9, but the run has 10: nothing says what happens from 9 on.
    """
    end = phases[-1].end
    where = "nothing says what happens from" if end is not None and end < outer_steps else "they go on past"
    require(
        end == outer_steps,
        f"phases end at outer step {end}, but the run has {outer_steps}: {where} "
        f"{min(end or 0, outer_steps)}{' on' if where.startswith('nothing') else ''}.",
    )


@dataclass(frozen=True)
class TrainingSchedule:
    """Schedules of a method's settings, and training phases that override them.

    >>> from bilevel.core import Schedule
    >>> from bilevel.methods import Phase
    >>> phases = Phase(begin=0), Phase(begin=5, policies="new", settings={"rate": Schedule.read("0:1, 2:3")})
    >>> schedule = TrainingSchedule({"rate": 0.5, "inner.entropy_coef": Schedule.read("0:4, 4:0")}, phases, 1)
    >>> [schedule.value("rate", step) for step in (4, 5, 6, 7)]
    [0.5, 1.0, 2.0, 3.0]
    >>> [schedule.value("inner.entropy_coef", step) for step in (0, 4, 5)]  # begins again at 5
    [4.0, 0.0, 4.0]
    """

    settings: Mapping[str, Scheduled]
    """Dotted setting -> value or schedule, in outer steps of the run."""
    phases: tuple[Phase, ...]
    """Successive phases from outer step 0 on; the last one does not end."""
    inner_steps: int
    """Policy updates in each outer step, unless a phase sets them."""

    def phase(self, step: int) -> Phase:
        """Find the phase of an outer step, counted from 0."""
        return next(phase for phase in reversed(self.phases) if phase.begin <= step)

    def steps(self, step: int) -> int:
        """Policy updates in a round of an outer step."""
        steps: Any = self.phase(step).settings.get(STEPS, self.inner_steps)
        return int(steps)

    def value(self, name: str, step: int) -> float:
        """Look up the value of a setting in an outer step."""
        phase = self.phase(step)
        if name in phase.settings:
            return _at(phase.settings[name], step - phase.begin)
        restarts = [each.begin for each in self.phases if each.policies == "new" and each.begin <= step]
        start = max(restarts, default=0) if name in POLICY_SETTINGS else 0
        return _at(self.settings[name], step - start)

    def changes(self, name: str) -> bool:
        """True if a setting is not constant."""
        in_phase = any(name in phase.settings for phase in self.phases)
        return in_phase or isinstance(self.settings[name], Schedule)

    def is_used(self, name: str) -> bool:
        """True if a setting is ever other than 0."""
        groups = self.settings, *(phase.settings for phase in self.phases)
        values = [group[name] for group in groups if name in group]
        return any(any(each.values) if isinstance(each, Schedule) else bool(each) for each in values)

    def inner_steps_of(self, outer_steps: int) -> int:
        """Number of policy updates that are differentiated in a run of `outer_steps`."""
        return sum(self.steps(step) for step in range(outer_steps) if self.phase(step).moves != "policies")


def _at(value: Scheduled, step: int) -> float:
    return value(step) if isinstance(value, Schedule) else value


def _read_phase(match: re.Match[str]) -> Phase:
    name = f"the phase {match[1]}-{match[2]}"
    dotless = re.sub(r"\b([a-z_]+)\.([a-z_]+)(?=\s*=)", r"\1__\2", match[3] or "()")
    read = read_settings(dotless, of="a phase", within=match[0].strip(), example=EXAMPLE)
    own: dict[str, Any] = {}
    settings: dict[str, Scheduled] = {}
    for setting, value in read.items():
        setting = setting.replace("__", ".")
        if setting in OWN:
            own[setting] = value
        else:
            number = isinstance(value, int | float | str) and not isinstance(value, bool)
            require(number, f"{setting} of {name} is a number, or a schedule in quotes, not {value!r}.")
            try:
                settings[setting] = Schedule.read(value) if isinstance(value, str) else value
            except ValueError as error:
                raise ValueError(f"{setting} of {name}: {error}") from None
    return Phase(begin=int(match[1]), end=int(match[2]), settings=settings, **own)


def _check_phase(phase: Phase, ranges: Mapping[str, Range]) -> Phase:
    name = f"the phase {phase.begin}-{phase.end}"
    for setting, known in CHOICES.items():
        value = getattr(phase, setting)
        require(value in known, f"{setting} of {name} is {' or '.join(known)}, not {value!r}.")
    _require_whole(f"rounds of {name}", phase.rounds, least=0)
    settings: dict[str, Scheduled] = {}
    for setting, value in phase.settings.items():
        require_name(setting, [*OWN, STEPS, *ranges], f"setting of {name}")
        if setting == STEPS:
            _require_whole(f"{setting} of {name}", value, least=1)
            settings[setting] = value
        else:
            settings[setting] = ranges[setting].require_schedule(f"{setting} of {name}", value)
    require(
        phase.end is not None and phase.begin < phase.end,
        f"There is no outer step in {name}: a phase ends after it begins.",
    )
    require(
        phase.begin > 0 or phase.policies == "kept",
        f"In {name} policies are new anyway: policies=new is for phases that come later.",
    )
    require(
        phase.moves == "both" or phase.rounds == 0,
        f"rounds come before an outer step by which both levels move, and in {name} only "
        f"{phase.moves} do: leave them out, or write moves=both.",
    )
    unused = [one for one in settings if one not in POLICY_SETTINGS | {STEPS}]
    require(
        not unused or phase.moves != "policies",
        f"In {name} only policies move, and {', '.join(unused)} would never be used.",
    )
    return dataclasses.replace(phase, settings=settings)


def _require_whole(name: str, value: Any, least: int) -> None:
    require(
        type(value) is int and value >= least, f"{name} is a whole number, {least} or more, not {value!r}."
    )
