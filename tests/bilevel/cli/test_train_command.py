"""`bilevel train` in this process: what it writes and prints, and every way it refuses and stops."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bilevel
from bilevel import report as figures
from bilevel.cli import _train as train_command
from bilevel.experiments import RunFolder
from bilevel.experiments import _files as files
from bilevel.experiments import _run as run
from bilevel.hypergradient import ESTIMATORS, OneStep, register_hypergradient
from bilevel.methods import PolicyLearner

Call = Callable[..., Any]
SMALL = ("--seeds", 3, "--outer-steps", 4, "--inner.episodes", 4, "--evaluation-episodes", 4)
SHARING = ("--game", "escape-room", "--method", "tos", *SMALL)


def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def full_disk(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def numbers(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "metrics.csv").read_bytes(), (folder / "evaluation.csv").read_bytes()


@pytest.mark.usefixtures("painted")
def test_a_run_from_end_to_end(call: Call) -> None:
    said = call("train", *SHARING, "--game.agents", 3, "--out", "run")
    assert said.code == 0
    assert said.err.splitlines()[0] == "tos on escape-room: 3 seeds, 4 outer steps, in run"
    last = r"outer step 4 of 4: welfare \S+ \(\d+:\d\d:\d\d, \S+ steps per second, 0:00:00 left\)"
    assert re.fullmatch(last, said.err.splitlines()[-1])
    assert "[95 % interval]" in said.out
    assert "Everything else: run" in said.out
    assert sorted(path.name for path in Path("run").iterdir()) == [
        "checkpoint.pt",
        "config.json",
        "evaluation.csv",
        "figures",
        "metrics.csv",
        "summary.json",
    ]
    assert json.loads(Path("run/config.json").read_text())["game"]["agents"] == 3


def test_the_default_folder_says_game_method_and_seed(call: Call) -> None:
    assert call("train", *SHARING, "--seed", 5).code == 0
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("escape-room-tos-5-")


def test_runs_of_the_same_second_have_their_own_default_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda form: "20260101-000000")
    for _ in range(3):
        bilevel.train("chicken", "selfish", outer_steps=1, seeds=1)
    name = "chicken-selfish-0-20260101-000000"
    assert {path.name for path in Path("runs").iterdir()} == {name, f"{name}-2", f"{name}-3"}


@pytest.mark.usefixtures("painted")
def test_curves_over_environment_steps(call: Call) -> None:
    assert call("train", *SHARING, "--out", "run", "--x-axis", "environment-steps").code == 0
    figure = Path("run/figures/welfare.png")
    over_environment_steps = figure.read_bytes()
    assert "x_axis" not in Path("run/config.json").read_text()
    assert call("train", "--resume", "run").code == 0
    assert figure.read_bytes() != over_environment_steps
    assert call("train", "--resume", "run", "--x-axis", "environment-steps").code == 0
    assert figure.read_bytes() == over_environment_steps


def test_a_finished_run_is_shown_again_but_not_trained(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    call("train", *SHARING, "--out", "run")
    before = numbers(Path("run"))
    monkeypatch.setattr(PolicyLearner, "update", lambda *_: pytest.fail("trained again"))
    said = call("train", "--resume", "run")
    assert said.code == 0
    assert said.err == "run is finished already; nothing is trained again.\n"
    assert "tos" in said.out
    assert numbers(Path("run")) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--game", "escape"], "There is no game 'escape'; did you mean 'escape-room'"),
        (["--method", "toss"], "There is no method 'toss'; did you mean 'tos'"),
        (["--game", "zzz"], "There is no game 'zzz'; `bilevel games` lists all names."),
        (["--method", "zzz"], "There is no method 'zzz'; `bilevel methods` lists all names."),
        (["--game.agents", "0"], "Escape Room needs at least 2 agents; agents is 0."),
        (["--game.levers", "5"], "levers must be below agents = 2, but it is 5."),
        (["--seeds", "0"], "seeds must be 1 or more, not 0."),
        (["--outer-steps", "0"], "outer_steps must be 1 or more, not 0."),
        (["--device", "nonsense"], "There is no device 'nonsense' here to train on; there is "),
        (["--inner.learning-rate", "-1"], "inner.learning_rate must be"),
        (["--inner.learning-rate", "nan"], "inner.learning_rate must be"),
        (["--policy", "tabular"], "A tabular policy needs observations that are numbers"),
        (["--policy", "conv"], "A conv policy needs observations that are planes of a grid"),
        (
            ["--policy", "gru", "--policy.recurrent-size", "0"],
            "policy.recurrent_size must be a whole number, 1 or more, not 0.",
        ),
        (["--outer.hypergradient", "trunc"], "no hypergradient 'trunc'. Did you mean 'truncated'"),
        (["--outer.hypergradient", "truncated"], "'truncated' needs the setting 'steps'"),
        (["--outer.hypergradient", "truncated(5)"], "Settings of a hypergradient have names"),
        (["--outer.hypergradient=implicit(solver=gmers)"], "no solver 'gmers'. Did you mean 'gmres'"),
        (["--outer.hypergradient", "implicit"], "on sampled episodes it never does: use exact values"),
        (["--game", "repeated-chicken", "--game.discount", "1"], "discount must lie in [0, 1)"),
        (["--game", "repeated-chicken", "--game.stage.reward", "inf"], "reward"),
        (["--out", "/dev/null/run"], "The folder /dev/null/run cannot be made: Not a directory."),
        (["--resume", "nowhere"], "nowhere is not a run folder: it has no config.json."),
        (["--resume", "nowhere", "--seeds", "3"], "--resume takes no other option"),
        (["--resume", "nowhere", "--game", "chicken"], "--resume takes no other option"),
        (["--resume", "nowhere", "--outer-steps", "9", "--seed=1"], "--resume takes no other option"),
        (["--resume", "nowhere", "--outer-steps", "9"], "nowhere is not a run folder"),
        (["--x-axis", "seconds"], "--x-axis is outer-steps or environment-steps, not 'seconds'."),
        (
            ["--game", "chicken", "--x-axis", "environment-steps"],
            "tos learns chicken from exact values, which take no environment steps",
        ),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], says: str, call: Call) -> None:
    said = call("train", *words)
    assert said.code == 2
    assert says in said.sentence()
    assert said.out == ""
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seeds", "many"], "Error parsing --seeds"),
        (["--sedes", "3"], "Unrecognized options: --sedes"),
        (["--inner.surrogate", "guess"], "guess"),
        (["--outer.reset", "always"], "always"),
        (["--out"], "argument --out: expected one argument"),
    ],
)
def test_options_that_cannot_be_read(words: list[str], says: str, call: Call) -> None:
    said = call("train", *words)
    assert said.code == 2
    assert says in said.err
    assert "Traceback" not in said.err
    assert not list(Path().iterdir())


def test_help_says_meaning_unit_and_default_of_everything(call: Call) -> None:
    said = call("train", "--game", "repeated-chicken", "--help")
    text = " ".join(said.out.replace("│", " ").split())
    assert said.code == 0
    for part in ("Train tos on repeated-chicken.", "--resume FOLDER", "--out FOLDER", "--game NAME"):
        assert part in text
    assert "1 or more, trained in one batch with seeds seed, seed + 1, ... (default: 32)" in text
    kinds = {"--game.discount": "FLOAT", "--game.stage.sucker": "FLOAT"}
    for option, kind in {**kinds, "--outer.learning-rate": "NUMBER|STEP:NUMBER,..."}.items():
        _, found, rest = text.partition(f"{option} {kind} ")
        assert found
        assert "(default: " in rest.partition(" --")[0]


def test_help_shows_the_prose_of_docstrings_without_sources_and_examples(call: Call) -> None:
    words = ("--game", "braess", "--method", "selfish", "--inner", "ppo", "--loss-weights", "learned")
    said = call("train", *words, "--help").out
    assert "Learned weights of the policy, value and entropy terms" in said
    assert not re.search(r">>>|Raises:|Source:|Args:", said)


def test_help_names_every_hypergradient_also_ones_own(call: Call) -> None:
    register_hypergradient("mine-too", OneStep)
    words = call("train", "--game", "repeated-chicken", "--help").out.replace("│", " ").split()
    text = "".join(words)
    assert f"--outer.hypergradient{{{','.join(ESTIMATORS)}}}[(SETTING=VALUE,...)]" in text
    assert ",mine-too}" in text
    assert "--outer.reset{never,each-outer-step}" in text
    assert "(default:unrolled)" in text


@pytest.mark.parametrize(
    ("game", "text", "kept"),
    [
        ("repeated-chicken", "truncated(steps=3)", "truncated(steps=3)"),
        ("repeated-chicken", "evolution( samples=8,sigma=0.1 )", "evolution(samples=8, sigma=0.1)"),
        ("escape-room", "finite-difference", "finite-difference"),
    ],
)
def test_a_hypergradient_is_trained_with_kept_and_resumed(
    game: str, text: str, kept: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ("--outer.hypergradient", text, "--inner.steps", 2)
    words = ("train", "--game", game, *SMALL, *chosen, "--outer.reset", "each-outer-step")
    assert call(*words, "--out", "whole").code == 0
    saved = json.loads(Path("whole/config.json").read_text())["method"]
    assert (saved["outer"]["hypergradient"], saved["outer"]["reset"]) == (kept, "each-outer-step")
    with monkeypatch.context() as patched:
        patched.setattr(run, "write_summary", interrupt)
        assert call(*words, "--out", "run").code == 130
    assert call("train", "--resume", "run").code == 0
    assert numbers(Path("run")) == numbers(Path("whole"))
    assert call("train", "--game", game, *SMALL, "--inner.steps", 2, "--out", "other").code == 0
    assert numbers(Path("other")) != numbers(Path("whole"))


@pytest.mark.usefixtures("painted")
def test_a_finished_run_goes_on_to_more_outer_steps(call: Call) -> None:
    call("train", *SHARING, "--outer-steps", 6, "--out", "whole")
    call("train", *SHARING, "--out", "run")
    before = Path("run/figures/welfare.png").read_bytes()
    said = call("train", "--resume", "run", "--outer-steps", 6)
    assert said.code == 0
    assert said.err.splitlines()[-1].startswith("outer step 6 of 6: welfare ")
    assert "[95 % interval]" in said.out
    assert numbers(Path("run")) == numbers(Path("whole"))
    assert Path("run/figures/welfare.png").read_bytes() != before
    said = call("train", "--resume", "run", "--outer-steps", 5)
    assert said.code == 2
    assert said.sentence() == "run has taken 6 outer steps already: it can go on to more, not to 5."


def test_an_existing_folder_is_never_overwritten(call: Call) -> None:
    call("train", *SHARING, "--out", "run")
    before = numbers(Path("run"))
    said = call("train", *SHARING, "--seed", 1, "--out", "run")
    assert said.code == 2
    assert "run exists, and a run never overwrites" in said.sentence()
    assert numbers(Path("run")) == before


@pytest.mark.parametrize(
    ("room", "name", "stands"),
    [
        (run, "load_checkpoint", "run is saved after 4 of 4 outer steps."),
        (run, "write_summary", "run is saved after 4 of 4 outer steps."),
        (figures, "write_run_figures", "run is trained and evaluated."),
    ],
)
def test_ctrl_c_outside_training_says_how_to_go_on(
    room: Any, name: str, stands: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(run, "write_summary", interrupt)
        call("train", *SHARING, "--out", "run")
        if room is figures:
            patched.undo()
        patched.setattr(room, name, interrupt)
        said = call("train", "--resume", "run")
    assert said.code == 130
    assert said.err.splitlines()[-1] == f"Stopped. {stands} Continue with: bilevel train --resume run"
    assert call("train", "--resume", "run").code == 0
    assert Path("run/figures/welfare.png").exists()


@pytest.mark.parametrize(
    ("number", "twice"),
    [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGHUP, False), (signal.SIGTERM, True)],
)
def test_a_signal_in_training(
    number: signal.Signals, twice: bool, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("train", *SHARING, "--out", "whole")

    def show(*_: Any) -> None:
        for _ in range(1 + twice):
            signal.raise_signal(number)

    with monkeypatch.context() as patched:
        patched.setattr(train_command.RunProgress, "show", show)
        said = call("train", *SHARING, "--out", "run")
    assert said.code == (130 if twice else 128 + number)
    name = "Ctrl-C" if number == signal.SIGINT else number.name
    assert f"{name}: stopping after this outer step, and saving it. A second one stops at once" in said.err
    stands = "run has no checkpoint yet" if twice else "run is saved after 1 of"
    assert said.err.splitlines()[-1].startswith(f"Stopped. {stands}")
    assert said.err.splitlines()[-1].endswith("Continue with: bilevel train --resume run")
    assert call("train", "--resume", "run").code == 0
    assert numbers(Path("run")) == numbers(Path("whole"))


def test_a_full_disk_says_where_the_run_stands(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    call("train", *SHARING, "--out", "whole")
    writes, real = [], os.fsync

    def fsync(file: int) -> None:
        writes.append(file)
        if len(writes) > 5:  # config.json, then metrics.csv and checkpoint.pt twice
            full_disk()
        real(file)

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", fsync)
        said = call("train", *SHARING, "--checkpoint-every", 1, "--out", "run")
    assert said.code == 1
    assert said.err.splitlines()[-1] == (
        "A file could not be used: No space left on device. run is saved after 2 of 4 outer steps. "
        "Continue with: bilevel train --resume run"
    )
    assert call("train", "--resume", "run").code == 0
    assert numbers(Path("run")) == numbers(Path("whole"))


def test_numbers_that_are_not_finite(call: Call) -> None:
    said = call("train", *SHARING, "--inner.learning-rate", "1e39", "--out", "run")
    assert said.code == 1
    last = said.err.splitlines()[-1]
    for part in ("outer step 0", "seed 0", "agent 0", "smaller learning rate", "run has no checkpoint yet."):
        assert part in last


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("config.json", b"{", "run/config.json cannot be read as a run's configuration"),
        ("config.json", b'{"format": "other"}', "run/config.json is not a configuration of the form"),
        ("checkpoint.pt", b"PK", "run/checkpoint.pt is damaged"),
        ("metrics.csv", b"outer_step", "run/metrics.csv has 10 bytes, but its checkpoint was made when"),
    ],
)
def test_a_damaged_folder_is_one_sentence(
    name: str, content: bytes, says: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(run, "write_summary", interrupt)
        assert call("train", *SHARING, "--out", "run").code == 130
    Path("run", name).write_bytes(content)
    said = call("train", "--resume", "run")
    assert said.code == 2
    assert says in said.err.splitlines()[-1]
    assert "Traceback" not in said.err
    assert not RunFolder(Path("run")).finished


def test_paths_are_printed_as_they_are(call: Call) -> None:
    said = call("train", *SHARING, "--out", "[red] a b")
    assert said.code == 0
    assert "Everything else: [red] a b\n" in said.out


def test_who_manages_memory_is_keep_or_system(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILEVEL_MALLOC", "jemalloc")
    said = call("train", *SHARING, "--out", "run")
    assert said.code == 2
    assert said.err.splitlines()[-1] == "BILEVEL_MALLOC is keep or system, not 'jemalloc'."
