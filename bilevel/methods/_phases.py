"""Phases of a training: who moves in them, and what changes for their time; with a text form."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bilevel.core import Range, Schedule, read_settings, write_settings
from games.core import require, require_name

EXAMPLE = "0-100(moves=policies), 100-300(outer_learning_rate='0:0.1, 200:0.01')"
PHASE = re.compile(r"\s*(\d+)\s*-\s*(\d+)\s*(\([^()]*\))?\s*", re.ASCII)
MOVES = ("both", "policies", "outer")
POLICIES = ("kept", "new")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What is so from one outer step to another."""

    begin: int
    """The first outer step, counted from 0."""
    end: int | None = None
    """The outer step that is no longer in it; None: it goes on."""
    moves: Literal["both", "policies", "outer"] = "both"
    """Which level moves. Outer: the outer variables, by how policies would learn under them, which then stay
    as they are."""
    policies: Literal["kept", "new"] = "kept"
    """Whether the policies it begins with are those that there are, or new ones."""
    inner_steps: int | None = None
    """Policy updates in each outer step; None: as in the method's settings."""
    inner_rounds: int = 0
    """Rounds of inner steps before the one that an outer step looks through."""
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    """Setting -> its values, counted from the first outer step of the phase."""


def read_phases(text: str, ranges: Mapping[str, Range], outer: Sequence[str] = ()) -> tuple[Phase, ...]:
    """Read phases from their text form, BEGIN-END(SETTING=VALUE, ...), with commas between them.

    A phase has the outer steps from BEGIN, counted from 0, up to END, which is the next one's. Settings are
    moves, policies, inner_steps, inner_rounds, and any that may change on the way: a number, or a schedule in
    quotes, which counts from BEGIN.

    Args:
        text: the phases, in order.
        ranges: setting that may change -> where its values lie.
        outer: those of them that only matter where the outer level moves.

    Raises:
        ValueError: the text cannot be read, phases overlap, leave a gap or do not begin at 0, or a setting is
            unknown, out of range or would not be used.

    >>> [(phase.begin, phase.end, phase.moves) for phase in read_phases("0-5(moves=policies), 5-9", {})]
    [(0, 5, 'policies'), (5, 9, 'both')]
    """
    found, place = [], 0
    while place < len(text):
        word = PHASE.match(text, place)
        if word is None or text[word.end() : word.end() + 1] not in ("", ","):
            raise ValueError(f"{text!r} are not phases: write them as in {EXAMPLE}.")
        found.append(_phase(word, ranges, outer))
        place = word.end() + 1
    require(
        bool(found) and not text.rstrip().endswith(","),
        f"{text!r} are not phases: write them as in {EXAMPLE}.",
    )
    _require_tile(found)
    return tuple(found)


def write_phases(phases: Sequence[Phase]) -> str:
    """Write phases in the text form from which `read_phases` builds equal ones.

    >>> write_phases([Phase(begin=0, end=5, moves="policies", schedules={"entropy": Schedule.read(0.3)})])
    '0-5(moves=policies, entropy=0.3)'
    """
    return ", ".join(map(_write, phases))


def require_end(phases: Sequence[Phase], outer_steps: int) -> None:
    """Raise ValueError unless phases end where the run does.

    >>> require_end(read_phases("0-5, 5-9", {}), 10)
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


def _phase(word: re.Match[str], ranges: Mapping[str, Range], outer: Sequence[str]) -> Phase:
    name = f"the phase {word[1]}-{word[2]}"
    settings = read_settings(word[3] or "()", of="a phase", within=word[0].strip(), example=EXAMPLE)
    known = [*(one.name for one in dataclasses.fields(Phase) if one.name in CHECKS), *ranges]
    for setting, value in settings.items():
        require_name(setting, known, f"setting of {name}")
        if setting in CHECKS:
            CHECKS[setting](f"{setting} of {name}", value)
    schedules = {
        setting: _schedule(f"{setting} of {name}", settings.pop(setting), ranges[setting])
        for setting in list(settings)
        if setting in ranges
    }
    phase = Phase(begin=int(word[1]), end=int(word[2]), schedules=schedules, **settings)
    require(int(word[1]) < int(word[2]), f"There is no outer step in {name}: a phase ends after it begins.")
    require(
        phase.begin > 0 or phase.policies == "kept",
        f"In {name} policies are new anyway: policies=new is for phases that come later.",
    )
    require(
        phase.moves == "both" or phase.inner_rounds == 0,
        f"inner_rounds come before an outer step by which both levels move, and in {name} only "
        f"{phase.moves} do: leave them out, or write moves=both.",
    )
    unused = [setting for setting in schedules if setting in outer and phase.moves == "policies"]
    require(not unused, f"In {name} only policies move, and {', '.join(unused)} would never be used.")
    return phase


def _require_tile(phases: Sequence[Phase]) -> None:
    """Raise ValueError unless phases follow one another from 0 on."""
    end = 0
    for phase in phases:
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


def _schedule(name: str, value: Any, within: Range) -> Schedule:
    require(
        isinstance(value, int | float | str) and not isinstance(value, bool),
        f"{name} is a number, or a schedule in quotes, not {value!r}.",
    )
    return Schedule.read(within.require_schedule(name, value))


def _one_of(known: Sequence[str]) -> Any:
    def check(name: str, value: Any) -> None:
        require(value in known, f"{name} is {' or '.join(known)}, not {value!r}.")

    return check


def _whole(name: str, value: Any) -> None:
    require(type(value) is int and value >= 1, f"{name} is a whole number, 1 or more, not {value!r}.")


CHECKS = {
    "moves": _one_of(MOVES),
    "policies": _one_of(POLICIES),
    "inner_steps": _whole,
    "inner_rounds": _whole,
}
"""Settings that every method's phases have -> what refuses a value that cannot be."""


def _write(phase: Phase) -> str:
    said = {name: getattr(phase, name) for name in CHECKS if getattr(phase, name) != DEFAULTS[name]}
    said |= {
        name: schedule.values[0] if schedule.constant else str(schedule)
        for name, schedule in phase.schedules.items()
    }
    return f"{phase.begin}-{phase.end}{write_settings(said)}"


DEFAULTS = {one.name: one.default for one in dataclasses.fields(Phase)}
