"""`bilevel sweep`: options, files, plans, tables, and sweeps that are interrupted or killed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.bilevel.cli.conftest import Call
from tests.bilevel.sweeps.random_kills import run_with_kills

GRID = (
    *("--games", "chicken", "--methods", "tos", "selfish", "--seeds", "3", "--outer-steps", "3"),
    *("--sweep", "tos.outer.learning-rate=0.1,0.3", "--set", "inner.steps=2", "--workers", "2"),
)


def rows(name: str, folder: str = "runs/sweep") -> list[dict[str, str]]:
    with (Path(folder) / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_grid_from_the_command_line(call: Call) -> None:
    said = call("sweep", *GRID)
    assert said.code == 0
    assert "Sweep of 3 runs by 2 workers, in runs/sweep" in said.err
    assert "outer.learning_rate=0.3" in said.out
    table, seeds = rows("table.csv"), rows("seeds.csv")
    assert [(row["method"], row["settings"], row["state"]) for row in table] == [
        ("tos", "outer.learning_rate=0.1", "finished"),
        ("tos", "outer.learning_rate=0.3", "finished"),
        ("selfish", "preset", "finished"),
    ]
    assert [(row["method"], row["outer.learning_rate"], row["seed"]) for row in seeds] == [
        *(("tos", rate, str(seed)) for rate in ("0.1", "0.3") for seed in range(3)),
        *(("selfish", "", str(seed)) for seed in range(3)),
    ]
    again = call("sweep", *GRID)
    assert (again.out, again.code) == (said.out, 0)
    assert "(3 of 3 are there already)" in again.err


def test_a_plan_trains_nothing(call: Call) -> None:
    said = call("sweep", *GRID, "--dry-run")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "runs/sweep/chicken/tos/outer.learning_rate=0.1: 3 seeds, 3 outer steps"
    assert lines[-1].startswith("3 runs, about ")
    assert "with 2 workers: estimated from 3 outer steps" in lines[-1]
    assert not Path("runs").exists()


FILE = """\
games = ["chicken"]
methods = ["tos"]
seeds = 3
outer-steps = 3
workers = 1
search = "random"
trials = 2

[set]
"inner.steps" = 2

[sweep]
"outer.learning-rate" = { low = 0.01, high = 1.0, log = true }
"own_share" = [0.5, 0.9]
"""


def test_a_file_and_options_on_top_of_it(call: Call) -> None:
    Path("study.toml").write_text(FILE)
    assert call("sweep", "--config", "study.toml", "--seeds", "4").code == 0
    table = rows("table.csv")
    assert len(table) == 2
    assert all(row["settings"].startswith("outer.learning_rate=") for row in table)
    assert len(rows("seeds.csv")) == 8


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("trials =", "trails =", "study.toml, line 7: There is no option 'trails'. Did you mean 'trials'"),
        ("chicken", "chickn", "study.toml, line 1: There is no game 'chickn'; did you mean 'chicken'"),
        (
            "outer.learning",
            "outer.lerning",
            "study.toml, line 13: tos on chicken: There is no setting of ToS",
        ),
        ("inner.steps", "inner.stepz", "study.toml, line 10: tos on chicken: There is no setting of ToS"),
        ("[0.5, 0.9]", "[0.5, 1.5]", "study.toml, line 14: tos on chicken: own_share"),
        (
            "low = 0.01",
            "low = 2.0",
            "study.toml, line 13: outer.learning_rate: A range rises, and 2..1 does not",
        ),
        (
            "seeds = 3",
            "seeds = 'three'",
            "study.toml, line 3: seeds must be of the type int | None, but it is 'three'",
        ),
        ("[set]", "[set", "study.toml is not TOML: "),
    ],
)
def test_errors_in_a_file_name_its_line(before: str, after: str, message: str, call: Call) -> None:
    Path("study.toml").write_text(FILE.replace(before, after))
    said = call("sweep", "--config", "study.toml")
    assert said.code == 2
    assert message in said.sentence()
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--sweep", "own-share"),
            "--sweep takes [LABEL.]SETTING=VALUE, such as outer.learning-rate=0.01,0.1",
        ),
        (("--sweep", "own-share=0.5,0.5"), "own_share: The value 0.5 is there twice"),
        (("--set", "own-share"), "--set takes [LABEL.]SETTING=VALUE, such as inner.steps=5, not 'own-share'"),
        (("--games", "chicken", "--games", "braess"), "--games is there 2 times"),
        (("--workers", "0"), "The number of workers must be a whole number, 1 or more, not 0"),
        (("--slurm", "timeout_min=5"), "--slurm is for --launcher slurm, and this one is local"),
        (
            ("--launcher", "ray", "--ray", "adress=auto"),
            "There is no parameter of ray 'adress'. Did you mean",
        ),
        (("--config", "none.toml"), "There is no file none.toml of options"),
        (("--trials", "3"), "leave out the trials, or search at random"),
    ],
)
def test_refusals_are_one_sentence(words: tuple[str, ...], message: str, call: Call) -> None:
    said = call("sweep", *words)
    assert said.code == 2
    assert message in said.sentence()
    assert not list(Path().iterdir())


def test_two_sweeps_do_not_share_a_folder(call: Call) -> None:
    assert call("sweep", *GRID).code == 0
    said = call("sweep", *GRID[:-4], "--workers", "2")
    assert said.code == 2
    assert (
        "runs/sweep holds a sweep with other settings (settings.inner.steps 2 there, None here)" in said.err
    )


def test_runs_that_fail_are_told_and_tried_again(call: Call) -> None:
    Path("mine.py").write_text(BROKEN)
    words = ("--load", "mine.py", "--games", "mine", "chicken", "--methods", "selfish", "--seeds", "3")
    said = call("sweep", *words, "--outer-steps", "2", "--workers", "1")
    assert said.code == 1
    assert "1 run of 2 failed; the first is runs/sweep/mine/selfish/preset" in said.err
    assert "This game is broken." in said.err
    assert [row["state"] for row in rows("table.csv")] == ["failed", "finished"]
    assert "Failed: selfish on mine: " in said.out
    Path("mine.py").write_text(
        BROKEN.replace("raise", "return super().reset(batch, generator)\n        raise")
    )
    assert call("sweep", *words, "--outer-steps", "2", "--workers", "1").code == 0


BROKEN = """
import games
from games.grid import CoinGame


class Mine(CoinGame):
    def reset(self, batch, generator):
        raise RuntimeError("This game is broken.")


games.register("mine", Mine(), replace=True)
"""


@pytest.mark.slow
def test_a_sweep_that_is_killed_at_random_moments_loses_nothing(tmp_path: Path) -> None:
    assert len(run_with_kills(tmp_path, kills=3, outer_steps=60)) == 3
