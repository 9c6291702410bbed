"""`bilevel check`: from end to end, and what becomes of mistakes."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
SMALL = ("--game", "prisoners-dilemma", "--seeds", 2, "--resamples", 2)

ESTIMATOR_FILE = """
from dataclasses import dataclass
from bilevel.hypergradient import Estimator, Unrolled, register_hypergradient

@dataclass(frozen=True)
class Mine(Estimator):
    def estimate(self, problem, theta, opt_state, phi, state=None, *, steps):
        return Unrolled().estimate(problem, theta, opt_state, phi, steps=steps)

register_hypergradient("mine", Mine)
"""


def numbers(folder: str) -> dict[str, dict[str, str]]:
    with Path(folder, "estimators.csv").open(newline="") as file:
        return {row["estimator"]: row for row in csv.DictReader(file)}


@pytest.mark.usefixtures("painted")
def test_all_estimators_on_an_exact_game(call: Call) -> None:
    said = call("check", *SMALL, "--inner-steps", 3, "--outer-steps-before", 2, "--out", "found")
    assert said.code == 0
    assert "tos on prisoners-dilemma, after 2 outer steps, 2 seeds, K = 3 inner steps" in " ".join(
        said.out.split()
    )
    assert said.out.rstrip().endswith("Written: found/estimators.png, found/estimators.csv")
    assert said.err.splitlines()[:3] == ["outer step 1 of 2", "outer step 2 of 2", "measuring unrolled"]
    rows = numbers("found")
    assert float(rows["unrolled"]["relative_error"]) < 1e-6
    assert float(rows["truncated(steps=2)"]["relative_error"]) > 0.1
    assert float(rows["unrolled"]["relative_variance"]) == 0
    assert rows["implicit"]["reason"].startswith("Implicit needs the step's fixed point")
    assert Path("found/estimators.png").stat().st_size > 10_000


def test_chosen_estimators_on_a_sampled_game(call: Call) -> None:
    said = call(
        "check",
        *("--game", "escape-room", "--inner.episodes", 32, "--inner-steps", 2, "--seeds", 1),
        *("--resamples", 2, "--out", "found", "--estimators", "unrolled", "evolution", "one-step"),
    )
    assert said.code == 0
    rows = numbers("found")
    assert list(rows) == ["unrolled", "evolution", "one-step"]
    assert float(rows["unrolled"]["relative_error"]) == 0  # the reference, where values are blind
    assert float(rows["unrolled"]["relative_variance"]) > 0
    assert "fresh_data=True" in rows["evolution"]["reason"]
    assert "relative to Unrolled, in float64, on the data of the first draw" in " ".join(said.out.split())


def test_a_sampled_game_with_exact_values_is_compared_with_them(call: Call) -> None:
    words = (*SMALL, "--inner.no-exact", "--inner.surrogate", "dice", "--estimators", "unrolled")
    said = call("check", *words, "--inner-steps", 1, "--inner.episodes", 512, "--out", "found")
    assert "relative to the supplied reference" in " ".join(said.out.split())
    assert 0 < float(numbers("found")["unrolled"]["relative_error"]) < 0.5
    assert float(numbers("found")["unrolled"]["cosine"]) > 0.9


def test_where_exact_values_cannot_serve_it_says_why(call: Call) -> None:
    words = (*SMALL, "--inner.no-exact", "--estimators", "one-step")
    said = call("check", *words, "--inner.entropy-coef", 0.1)
    assert "not compared with exact values: they take the entropy bonus in another unit" in said.err
    said = call("check", *words, "--policy", "mlp")
    assert "not compared with exact values: Exact values need a tabular policy" in said.err


def test_an_estimator_of_ones_own(call: Call) -> None:
    Path("mine.py").write_text(ESTIMATOR_FILE)
    said = call("check", *SMALL, "--load", "mine.py", "--estimators", "mine")
    assert said.code == 0
    assert said.err == "measuring mine\n"
    assert "\nmine " in said.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--method", "selfish"], "selfish takes no gradient through its inner steps"),
        (["--game", "chess"], "chess"),
        (["--estimators", "unroled"], "There is no hypergradient 'unroled'. Did you mean 'unrolled'"),
        (["--estimators", "truncated"], "needs the setting 'steps'"),
        (["--inner-steps", "0"], "inner_steps must be 1 or more, not 0."),
        (["--outer-steps-before", "-1"], "outer_steps_before must be 0 or more, not -1."),
        (["--resamples", "1"], "resamples must be 2 or more, not 1."),
        (["--seeds", "0"], "seeds must be 1 or more, not 0."),
        (["--device", "abacus"], "There is no device 'abacus' here"),
        (["--load", "none.py"], "There is no file none.py to load."),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], says: str, call: Call) -> None:
    said = call("check", *words)
    assert said.code == 2
    assert says in said.sentence()


def test_a_folder_that_cannot_be_is_told_before_the_work(call: Call) -> None:
    said = call("check", *SMALL, "--out", "/dev/null/here")
    assert said.code == 1
    assert said.sentence().startswith("A file could not be used: /dev/null/here")


def test_help(call: Call) -> None:
    said = call("check", "--help")
    assert said.code == 0
    for option in ("--estimators", "--outer-steps-before", "--inner-steps", "--resamples", "--out", "--load"):
        assert option in said.out
