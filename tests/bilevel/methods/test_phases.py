"""Phases: their text form, that they tile a run, and every way they are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bilevel.core import Range, Schedule
from bilevel.methods import LIO, METHODS, Curriculum, OuterMethod, ToS, require_end
from bilevel.methods._phases import Phase, check_phases, read_phases, write_phases
from tests.bilevel.methods.configured import configured

RANGES = {"outer.learning_rate": Range(above=0), "inner.entropy_coef": Range(min=0)}
VALUES = st.floats(0.1, 10) | st.tuples(st.integers(1, 9), st.floats(0.1, 10), st.floats(0.1, 10)).map(
    lambda drawn: Schedule(((0, drawn[1]), (drawn[0], drawn[2] + 20)))
)


@st.composite
def tilings(draw: st.DrawFn) -> tuple[Phase, ...]:
    ends = draw(st.lists(st.integers(1, 40), min_size=1, max_size=4, unique=True).map(sorted))
    phases = []
    for begin, end in zip([0, *ends], ends, strict=False):
        moves = draw(st.sampled_from(["both", "policies", "outer"]))
        names = ["inner.entropy_coef"] if moves == "policies" else list(RANGES)
        settings = draw(st.dictionaries(st.sampled_from(names), VALUES))
        if steps := draw(st.none() | st.integers(1, 9)):
            settings["inner.steps"] = steps
        phases.append(
            Phase(
                begin=begin,
                end=end,
                moves=moves,
                policies=draw(st.sampled_from(["kept", "new"])) if begin else "kept",
                rounds=draw(st.integers(0, 4)) if moves == "both" else 0,
                settings=settings,
            )
        )
    return tuple(phases)


@given(tilings())
def test_text_comes_back_as_the_same_phases(phases: tuple[Phase, ...]) -> None:
    text = write_phases(phases)
    assert check_phases(read_phases(text), RANGES) == phases
    assert write_phases(read_phases(text)) == text
    require_end(phases, phases[-1].end or 0)


def test_what_text_means() -> None:
    text = " 0-10 (moves=policies),10-20(outer.learning_rate='0:1,5:2', policies=new,inner.steps=3)"
    assert read_phases(text) == (
        Phase(begin=0, end=10, moves="policies"),
        Phase(
            begin=10,
            end=20,
            policies="new",
            settings={"outer.learning_rate": Schedule(((0, 1.0), (5, 2.0))), "inner.steps": 3},
        ),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("5-10", "phases leave a gap: nothing says what happens from outer step 0 to 5"),
        ("0-10, 12-20", "phases leave a gap: nothing says what happens from outer step 10 to 12"),
        ("0-10, 8-20", "phases overlap: one ends at outer step 10, and the next begins at 8"),
        ("0-10, 0-20", "phases overlap: one ends at outer step 10, and the next begins at 0"),
        ("0-10, 10-10", "There is no outer step in the phase 10-10"),
        ("10-0", "There is no outer step in the phase 10-0"),
        ("", r"are not phases: write them as in 0-100\(moves=policies\)"),
        ("0-10,", "are not phases: write them as in"),
        ("0-10 10-20", "are not phases: write them as in"),
        ("0-10(moves=policies", "are not phases: write them as in"),
        ("policies first", "are not phases: write them as in"),
        ("0-10(both)", "Settings of a phase have names, as in .*has both without one"),
        ("0-10(moves=)", "The settings in '0-10.*' cannot be read"),
        ("0-10(moves=both, moves=outer)", "The settings in .* cannot be read|given twice"),
        ("0-10(move=both)", "move of the phase 0-10: 'both' is not a schedule"),
        ("0-10(horizon=3)", "no setting of the phase 0-10 'horizon'"),
        ("0-10(moves=all)", "moves of the phase 0-10 is both or policies or outer, not 'all'"),
        ("0-10, 10-20(policies=old)", "policies of the phase 10-20 is kept or new, not 'old'"),
        ("0-10(policies=new)", "In the phase 0-10 policies are new anyway"),
        ("0-10(inner.steps=0)", "inner.steps of the phase 0-10 is a whole number, 1 or more, not 0"),
        ("0-10(inner.steps=1.5)", "inner.steps of the phase 0-10 is a whole number, 1 or more, not 1.5"),
        ("0-10(rounds=True)", "rounds of the phase 0-10 is a whole number, 0 or more, not True"),
        ("0-10(moves=outer, rounds=2)", "only outer do: leave them out, or write moves=both"),
        (
            "0-10(inner.entropy_coef=-1)",
            "inner.entropy_coef of the phase 0-10 must be a finite number of 0 or more, not -1",
        ),
        (
            "0-10(inner.entropy_coef=None)",
            "inner.entropy_coef of the phase 0-10 is a number, or a schedule in quotes, not None",
        ),
        ("0-10(inner.entropy_coef=high)", "inner.entropy_coef of the phase 0-10: 'high' is not a schedule"),
        (
            "0-10(inner.entropy_coef='0:1, 5:-1')",
            "inner.entropy_coef of the phase 0-10 must be .* 0 or more, not -1",
        ),
        ("0-10(moves=policies, outer.learning_rate=1)", "outer.learning_rate would never be used"),
    ],
)
def test_phases_that_make_no_sense_are_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_phases(read_phases(text), RANGES)


def test_phases_end_where_the_run_does() -> None:
    phases = read_phases("0-10, 10-20")
    require_end(phases, 20)
    with pytest.raises(
        ValueError, match="end at outer step 20, but the run has 30: nothing says what happens"
    ):
        require_end(phases, 30)
    with pytest.raises(ValueError, match="end at outer step 20, but the run has 15: they go on past 15"):
        require_end(phases, 15)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"training": "curriculum"}, "training curriculum needs the setting training.phases"),
        ({"training.phases": "0-10"}, "setting of training curriculum, and training is joint"),
        ({"training": "curriculum", "training.phases": "0-10, 12-20"}, "phases leave a gap"),
        (
            {"training": "curriculum", "training.phases": "0-10", "training.rounds": 2},
            "rounds is a setting of training alternating",
        ),
        (
            {"training": "curriculum", "training.phases": "0-9(rounds=2)", "outer.reset": "each-outer-step"},
            "no learning between outer steps",
        ),
        (
            {
                "training": "curriculum",
                "training.phases": "0-9",
                "outer.hypergradient": "truncated(steps=4, window=True)",
            },
            "holds every step",
        ),
    ],
)
@pytest.mark.parametrize("kind", [kind for kind in METHODS.values() if issubclass(kind, OuterMethod)])
def test_every_outer_method_refuses_a_curriculum_that_makes_no_sense(
    kind: type[OuterMethod], settings: dict[str, str], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        configured(kind, **settings)  # type: ignore[arg-type]


def test_a_phase_may_set_what_the_method_has_and_nothing_else() -> None:
    lio = LIO().with_settings({"training": "curriculum", "training.phases": "0-5(cost.learning_rate=0.1)"})
    assert lio.training == Curriculum(phases=read_phases("0-5(cost.learning_rate=0.1)"))
    with pytest.raises(ValueError, match=r"no setting of the phase 0-5 'cost\.learning_rate'"):
        ToS().with_settings({"training": "curriculum", "training.phases": "0-5(cost.learning_rate=0.1)"})


def test_equal_phases_are_equal_settings() -> None:
    one = ToS().with_settings(
        {
            "training": "curriculum",
            "training.phases": "0-5( inner.entropy_coef=0.10 ),5-9",
            "inner.learning_rate": "0:1,5:2",
        }
    )
    other = ToS().with_settings(
        {
            "training": "curriculum",
            "training.phases": "0-5(inner.entropy_coef=.1), 5-9",
            "inner.learning_rate": "0:1.0, 5:2.0",
        }
    )
    assert one == other
