"""`bilevel compare`: from end to end, again, interrupted, of finished runs; and every way it refuses."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bilevel import report as comparison_figures
from bilevel.cli import _train as train_command
from bilevel.cli import main
from bilevel.experiments import _run as run
from bilevel.methods import METHODS, PolicyLearner

Call = Callable[..., Any]
SMALL = ("--seeds", 4, "--outer-steps", 5)
DILEMMA = ("compare", "--game", "prisoners-dilemma", *SMALL)
PAIR = (*DILEMMA, "--methods", "selfish", "tos")
FOLDER = Path("runs/compare/prisoners-dilemma")
FIGURES = ["curves.png", "profile.png", "sharing.png"]
FILES = [*FIGURES, "table.csv", "seeds.csv", "marl-eval.json", "theory.json"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder in which `PAIR` was called once, and the output."""
    place = tmp_path_factory.mktemp("compared")
    out = io.StringIO()
    with contextlib.chdir(place), contextlib.redirect_stdout(out), pytest.raises(SystemExit):
        main([str(word) for word in PAIR])
    return place, out.getvalue()


@pytest.fixture
def pair(compared: tuple[Path, str], call: Call) -> str:
    """A copy of the finished comparison of `PAIR` in the test's own folder; its output."""
    place, out = compared
    shutil.copytree(place / FOLDER, FOLDER)
    return out


def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PolicyLearner, "update", lambda *_: pytest.fail("trained again"))


def numbers(label: str) -> tuple[bytes, bytes]:
    folder = FOLDER / label
    return (folder / "metrics.csv").read_bytes(), (folder / "evaluation.csv").read_bytes()


def rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_runs_then_reuses_then_adds_a_method(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    said = call(*PAIR)
    assert said.code == 0
    lines = said.err.splitlines()
    assert (
        lines[0] == f"run 1 of 2: selfish on prisoners-dilemma: 4 seeds, 5 outer steps, in {FOLDER}/selfish"
    )
    assert any(line.startswith("run 2 of 2: tos on") for line in lines)
    timed = re.compile(
        r"outer step 5 of 5: welfare \S+ \(\d+:\d\d:\d\d, \S+ steps per second, 0:00:00 left\)"
    )
    assert sum(timed.fullmatch(line) is not None for line in lines) == 2
    assert "prisoners-dilemma, 4 seeds" in said.out
    assert "Compared with selfish" in said.out
    assert re.search(r"s\*, maximum with the same share for all agents +0\.667", said.out)
    assert "No theoretical values" not in said.out
    assert "equality is undefined" in " ".join(said.out.split())  # the returns are negative
    assert said.out.splitlines()[-1] == f"Written to {FOLDER}: {', '.join(FILES)}"
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted([*FILES, "selfish", "tos"])

    with monkeypatch.context() as patched:
        no_training(patched)
        again = call(*PAIR)
    assert again.code == 0
    assert again.err.count("is finished already; nothing is trained again.") == again.err.count("\n") == 2
    assert again.out == said.out

    before = numbers("selfish"), numbers("tos")
    said = call(*PAIR, "generous=fixed", "--set", "generous.self-interest=0.3")
    assert said.code == 0
    assert [line for line in said.err.splitlines() if line.startswith("run ")] == [
        f"run 3 of 3: fixed on prisoners-dilemma: 4 seeds, 5 outer steps, in {FOLDER}/generous"
    ]
    assert (numbers("selfish"), numbers("tos")) == before
    assert [row["method"] for row in rows("table.csv")] == ["selfish", "tos", "generous"]
    assert json.loads((FOLDER / "generous/config.json").read_text())["method"]["self_interest"] == 0.3


@pytest.mark.usefixtures("painted")
def test_curves_over_environment_steps(call: Call) -> None:
    sizes = ("--seeds", 3, "--outer-steps", 2, "--evaluation-episodes", 8, "--set", "inner.episodes=4")
    pair = ("compare", "--game", "escape-room", "--methods", "selfish", "tos", *sizes, "--out", "both")
    figure = Path("both/curves.png")
    assert call(*pair).code == 0
    over_outer_steps = figure.read_bytes()
    assert call(*pair, "--x-axis", "environment-steps").code == 0
    over_environment_steps = figure.read_bytes()
    assert over_environment_steps != over_outer_steps
    folders = ("--runs", "both/selfish", "both/tos")
    assert call("compare", *folders, "--out", "both", "--x-axis", "environment-steps").code == 0
    assert figure.read_bytes() == over_environment_steps


def test_exact_values_have_no_environment_steps(call: Call) -> None:
    said = call(
        "compare", "--game", "chicken", "--methods", "selfish", "tos", "--x-axis", "environment-steps"
    )
    assert said.code == 2
    assert "selfish learns chicken from exact values, which take no environment steps" in said.sentence()
    assert not list(Path().iterdir())


def test_the_files_hold_what_the_runs_found(pair: str) -> None:
    seeds = rows("seeds.csv")
    with (FOLDER / "tos/evaluation.csv").open(newline="") as file:
        evaluated = list(csv.DictReader(file))
    assert [row["welfare"] for row in seeds if row["method"] == "tos"] == [
        row["welfare"] for row in evaluated
    ]
    theory = json.loads((FOLDER / "theory.json").read_text())
    assert (theory["optimum"], theory["worst_equilibrium"]) == (-2, -4)
    assert theory["s"] == theory["g"] == pytest.approx(2 / 3)
    assert theory["kept"]["selfish"] == {"estimate": 1, "low": 1, "high": 1}
    data = json.loads((FOLDER / "marl-eval.json").read_text())["bilevel"]["prisoners-dilemma"]
    final = data["tos"]["seed_3"]["absolute_metrics"]
    assert final["welfare"] == [float(evaluated[3]["welfare"])]
    assert data["selfish"]["seed_0"]["step_4"]["step_count"] == 5
    (first, second) = rows("table.csv")
    name = "probability_of_improvement"
    assert (first[name], first["difference"]) == ("", "")
    assert 0 <= float(second[f"{name}_low"]) <= float(second[name]) <= float(second[f"{name}_high"]) <= 1


@pytest.mark.parametrize("when", ["training", "evaluation", "figures"])
def test_ctrl_c_leaves_what_the_same_command_takes_up(
    when: str, call: Call, compared: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        if when == "training":
            real = PolicyLearner.update

            def update(learner: PolicyLearner, state: Any) -> Any:
                if learner.method.__class__.__name__ == "Selfish" and int(state["outer_step"]) == 3:
                    raise KeyboardInterrupt
                return real(learner, state)

            patched.setattr(PolicyLearner, "update", update)
        elif when == "evaluation":
            patched.setattr(run, "write_summary", interrupt)
        else:
            patched.setattr(comparison_figures, "write_comparison_figures", interrupt)
        said = call(*PAIR, "--checkpoint-every", 50)
    assert said.code == 130
    assert said.err.splitlines()[-1] == "Stopped. Run the same command again: what is done is kept."
    assert "Traceback" not in said.err
    assert call(*PAIR).code == 0
    for label in ("selfish", "tos"):
        path = FOLDER / label / "metrics.csv"
        assert path.read_bytes() == (compared[0] / path).read_bytes()


def test_a_checkpoint_is_taken_up(
    call: Call, compared: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*PAIR, "--checkpoint-every", 2)
    done: list[int] = []

    def show(_: Any, step: int, __: Any) -> None:
        done.append(step)
        if len(done) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(train_command.RunProgress, "show", show)
        assert call(*words).code == 130
        assert call(*words).code == 0
    assert done[:6] == [1, 2, 3, 3, 4, 5]  # from the checkpoint after step 2
    path = FOLDER / "selfish/metrics.csv"
    assert path.read_bytes() == (compared[0] / path).read_bytes()


def test_other_settings_under_the_same_name_are_refused(
    call: Call, pair: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}
    no_training(monkeypatch)
    for words, which in (
        (("--seed", 1), "selfish holds a run with other settings (seed 0 there, 1 here)"),
        (
            ("--set", "tos.own-share=0.9"),
            "tos holds a run with other settings (method.own_share None there, 0.9",
        ),
        (("--game.punishment", "-1.5"), "selfish holds a run with other settings (game.punishment"),
    ):
        said = call(*PAIR, *words)
        assert said.code == 2
        assert which in said.sentence()
        assert "nothing is overwritten, so choose another folder with --out." in said.sentence()
        assert {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()} == before


def test_finished_runs_are_compared_without_training(
    call: Call, pair: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seeds in (("other", 5), ("open", 4)):
        words = ("--game", "prisoners-dilemma", "--method", "fixed", "--seeds", seeds, "--outer-steps", 2)
        assert call("train", *words, "--out", name).code == 0
    Path("open/summary.json").unlink()
    no_training(monkeypatch)
    folders = (FOLDER / "selfish", FOLDER / "tos")
    said = call("compare", "--runs", *folders)
    assert (said.code, said.err) == (0, "")
    assert pair.startswith(said.out.rstrip("\n"))
    said = call("compare", "--runs", *folders, "--out", "figures")
    assert said.out.splitlines()[-1] == f"Written to figures: {', '.join(FILES)}"
    for words, says in (
        (("--runs", FOLDER / "tos"), "A comparison needs 2 runs or more, not 1."),
        (
            ("--runs", *folders, "other"),
            "fixed cannot be compared with selfish: they differ in seeds (5, not 4).",
        ),
        (("--runs", *folders, "open"), "open is not finished: continue it with bilevel train --resume open"),
        (("--runs", *folders, "nowhere"), "nowhere is not a run folder: it has no config.json."),
        (("--runs", *folders, "--seeds", 5), "--runs takes no other option but --out, --x-axis and --load"),
        (
            ("--runs", *folders, "--game", "chicken"),
            "--runs takes no other option but --out, --x-axis and --load",
        ),
    ):
        said = call("compare", *words)
        assert said.code == 2
        assert says in said.sentence()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--game", "prisoner"), "There is no game 'prisoner'; did you mean"),
        (("--methods", "selfish", "toss"), "There is no method 'toss'; did you mean 'tos'"),
        (("--methods", "selfish"), "A comparison needs 2 methods or more, not 1."),
        (("--methods", "tos", "tos"), "tos is there twice: give one of them a label"),
        (("--methods", "tos", "a/b=tos"), "letters, digits, - and _, not 'a/b'"),
        (("--seeds", 2), "An interval over seeds needs 3 seeds or more, not 2."),
        (("--outer-steps", 0), "outer_steps must be 1 or more, not 0."),
        (("--seed", -1), "seed must be from 0"),
        (("--set", "own-share=0.8"), "There is no setting of Selfish 'own_share'"),
        (("--set", "a=1", "--set", "b=2"), "--set is there 2 times: put everything after one --set."),
        (("--set", "tos.policy=mlp"), "tos does not apply to prisoners-dilemma: Exact values need a tabular"),
        (("--game.reward", "nan"), "reward"),
        (("--out", "/dev/null/here"), "/dev/null/here/selfish cannot be made"),
    ],
)
def test_a_mistake_is_one_sentence(words: tuple[object, ...], says: str, call: Call) -> None:
    said = call(*DILEMMA, *words)
    assert said.code == 2
    assert says in said.sentence()
    assert said.out == ""
    assert not list(Path().iterdir())


def test_what_does_not_apply_says_which_methods_do(call: Call) -> None:
    said = call(*PAIR, "--set", "tos.outer.hypergradient=implicit", "inner.exact=False")
    assert said.code == 2
    assert said.sentence().startswith("tos does not apply to prisoners-dilemma: Implicit needs")
    others = said.sentence().partition("Other methods that apply: ")[2].rstrip(".").split(", ")
    assert {"selfish", "prosocial", "fixed", "lio"} <= set(others) <= set(METHODS) - {"tos"}
    assert not Path("runs").exists()
    said = call(*DILEMMA, "--methods", "selfish", "lio", "--set", "lio.inner.exact=True")
    assert said.code == 2
    assert said.sentence().startswith("lio does not apply to prisoners-dilemma: With exact values agents can")
    assert "lio" not in said.sentence().partition("Other methods that apply: ")[2]


def test_options_that_cannot_be_read(call: Call) -> None:
    for words, says in ((("--sedes", 3), "--sedes"), (("--set", "tos.inner.steps=many"), "--inner.steps")):
        said = call(*PAIR, *words)
        assert said.code == 2
        assert says in said.err
        assert not Path("runs").exists()


def test_help(call: Call) -> None:
    said = call("compare", "--game", "chicken", "--help")
    assert said.code == 0
    for part in (
        "--methods",
        "--set",
        "--runs",
        "--out",
        "--seeds",
        "--outer-steps",
        "--game.",
        "on chicken",
    ):
        assert part in said.out


def test_matrices_of_many_agents_are_compared_by_their_files(call: Call) -> None:
    small = ("--seeds", 3, "--outer-steps", 2, "--evaluation-episodes", 2, "--set", "inner.episodes=2")
    said = call("compare", "--game.agents", 17, "--game.levers", 1, "--methods", "fixed", "tos", *small)
    assert said.code == 0, said.err
    assert said.err.count("share, 17 x 17 for each seed, goes to runs/compare/escape-room/") == 2
    assert Path("runs/compare/escape-room/tos/metrics.share.array").exists()
    header = Path("runs/compare/escape-room/seeds.csv").read_text().partition("\n")[0].split(",")
    assert "given_away" in header
    assert not [name for name in header if name.startswith("share")]
