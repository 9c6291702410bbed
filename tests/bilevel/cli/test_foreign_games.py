"""Every command on environments of others, registered in one line."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest

import games
from bilevel.cli._settings import load_file
from games._catalogue import CATALOGUE
from tests.bilevel.methods.interrupted import assert_an_interruption_changes_nothing

Call = Callable[..., Any]
FILE = Path(__file__).with_name("foreign_file.py")
LOAD = ("--load", FILE)
SMALL = ("--outer-steps", 2, "--evaluation-episodes", 2)
TINY = (*SMALL, "--seeds", 2, "--inner.episodes", 2)
NAMES = ["meeting", "in-turn", "pole", "aim", "tic-tac-toe"]


@pytest.fixture(autouse=True)
def as_in_a_new_process() -> Iterator[None]:
    before = dict(CATALOGUE)
    yield
    CATALOGUE.clear()
    CATALOGUE.update(before)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    if request.param == "tic-tac-toe" and importlib.util.find_spec("pyspiel") is None:
        pytest.skip("OpenSpiel is an extra: pip install open_spiel")
    return str(request.param)


def test_each_is_trained_with_as_many_copies_as_seeds_and_episodes_need(call: Call, name: str) -> None:
    said = call("train", *LOAD, "--game", name, "--method", "tos", *TINY, "--out", "run")
    assert said.code == 0, said.err
    assert name in said.out
    assert len(Path("run/evaluation.csv").read_text().splitlines()) == 3  # a head and two seeds


@pytest.mark.parametrize("method", ["selfish", "tos"])
def test_an_interruption_changes_no_bit(tmp_path: Path, method: str) -> None:
    load_file(FILE)
    assert_an_interruption_changes_nothing("meeting", method, tmp_path)


@pytest.mark.parametrize("name", ["meeting", "aim"])
def test_a_member_of_a_batch_is_that_seed_alone(call: Call, name: str) -> None:
    words = ("--game", name, "--method", "selfish", "--outer-steps", 4, "--inner.episodes", 3)
    words = (*words, "--inner", "ppo", "--evaluation-episodes", 2)
    assert call("train", *LOAD, *words, "--seeds", 3, "--seed", 4, "--out", "batch").code == 0
    assert call("train", *words, "--seeds", 1, "--seed", 5, "--out", "alone").code == 0
    for table in ("metrics", "evaluation"):
        batch, alone = (pandas.read_csv(f"{run}/{table}.csv") for run in ("batch", "alone"))
        assert batch[batch.seed == 1].welfare.tolist() == alone.welfare.tolist()
        assert batch.welfare.nunique() > 2


def test_settings_of_the_constructor_are_options_and_are_kept(call: Call) -> None:
    words = ("--game", "meeting", "--game.max-cycles", 2, "--game.wind", 0.25, *TINY)
    assert call("train", *LOAD, *words, "--out", "run").code == 0
    kept = json.loads(Path("run/config.json").read_text())["game"]
    assert kept == {"wind": 0.25, "max_cycles": 2}
    assert "--game.max-cycles INT" in call("train", "--game", "meeting", "--help").out
    for name in CATALOGUE.keys() & {*NAMES}:  # as in a new process
        del CATALOGUE[name]
    assert "comes with --load FILE.py" in call("train", "--resume", "run").sentence()
    again = call("train", *LOAD, "--resume", "run")
    assert "finished already" in again.err


def test_methods_are_compared_on_one(call: Call) -> None:
    words = ("--game", "meeting", "--methods", "selfish", "prosocial", "tos", "--set", "inner.episodes=2")
    said = call("compare", *LOAD, *words, *SMALL, "--seeds", 3, "--out", "table")
    assert said.code == 0, said.err
    assert "prosocial" in said.out
    assert Path("table/table.csv").exists()


def test_estimators_are_checked_on_one(call: Call) -> None:
    words = ("--game", "meeting", "--inner.episodes", 2, "--seeds", 2, "--resamples", 2)
    said = call("check", *LOAD, *words, "--estimators", "unrolled", "truncated(steps=1)")
    assert said.code == 0, said.err
    assert "truncated" in said.out


@pytest.mark.parametrize("name", ["meeting", "pole", "aim"])
def test_each_is_watched_at_random_and_as_it_was_learned(call: Call, name: str) -> None:
    if name == "aim":
        assert "draws nothing that can be shown" in call("play", name, *LOAD).sentence()
        return
    call("train", *LOAD, "--game", name, "--method", "selfish", *TINY, "--out", "run")
    assert call("play", name, "--out", "random.gif").code == 0
    said = call("play", name, "--policy", "run", "--max-steps", 3, "--out", "learned.gif")
    assert said.code == 0, said.err
    assert Path("learned.gif").stat().st_size > 0


def test_each_has_a_page(call: Call, name: str) -> None:
    said = call("games", name, *LOAD)
    assert said.code == 0
    assert said.out.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (
            ["--game.wind", -1],
            2,
            "meeting_v0 cannot be opened with wind=-1.0: ValueError: a wind below 0 blows",
        ),
        (["--game.wind", 99], 2, "meeting_v0 failed when it was tried: OSError: the wind has taken the boat"),
        (["--game.max-cycles", 0, "--policy", "tabular"], 2, "A tabular policy needs observations"),
    ],
)
def test_a_refusal_is_one_sentence(words: list[Any], code: int, says: str, call: Call) -> None:
    said = call("train", *LOAD, "--game", "meeting", *TINY, *words)
    assert said.code == code
    assert says in said.sentence()


def test_a_failure_on_the_way_is_one_sentence(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    load_file(FILE)
    meeting = games.entry("meeting").game.source.make_env().__class__
    monkeypatch.setattr(meeting, "render", None)
    step, count = meeting.step, iter(range(10**9))

    def failing(self: Any, actions: Any) -> Any:
        if next(count) > 40:
            raise RuntimeError("the pier\nis gone")
        return step(self, actions)

    monkeypatch.setattr(meeting, "step", failing)
    said = call("train", "--game", "meeting", "--method", "tos", *TINY, "--outer-steps", 50)
    assert said.code == 1
    assert "failed: RuntimeError: the pier is gone" in said.err.splitlines()[-1]
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("games.register('mine', Aim)", "A game is a dataclass derived from games.Game"),
        ("games.register('mine', Aim())", "becomes one by from_pettingzoo, from_gymnasium or from_openspiel"),
        ("games.register('mine', games.from_gymnasium(Aim))", "Aim does not say how long an episode may be"),
        ("games.register('mine', games.from_gymnasium(Aim, stps=1))", "no setting of the environment 'stps'"),
    ],
)
def test_what_cannot_be_registered_is_refused(code: str, says: str, call: Call) -> None:
    body = FILE.read_text().partition("games.register")[0]
    Path("mine.py").write_text(f"{body}\n{code}\n")
    said = call("train", "--load", "mine.py", "--game", "mine")
    assert said.code == 2
    assert says in said.sentence()
