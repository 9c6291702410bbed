"""Commands that are killed at operations on files, run again, and compared with what was never disturbed.

    python -m tests.bilevel.experiments.kill_cases --cases 200

Each case kills a command at one operation, often kills what is run to go on as well, and then lets that run
to its end. It must end well and without a traceback, in the same numbers; no part of a file may be left, and
other people's files must be what they were.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg

from bilevel.cli import main
from bilevel.experiments import RunFolder, load_run, provenance
from bilevel.tasks import TASKS
from tests.bilevel.experiments.kills import killed
from tests.bilevel.tasks.coin import Coin

SECONDS = 300
"""A command that takes longer hangs."""
RUN = "run"
SMALL = "--seeds 2 --outer-steps 4 --checkpoint-every 2 --evaluation-episodes 2"
TRAIN = f"train --game chicken --method tos {SMALL} --out {RUN}"
CROWD = "--game.agents 17 --game.levers 1"
THEIRS = ("notes.txt", ".film.7.part", "metrics.of.mine.array", "config.json.bak")
"""Files of somebody else, in every folder that there is before the kill."""


@dataclass(frozen=True)
class Scenario:
    """A command, and what is there before it."""

    command: str
    before: tuple[str, ...] = ()
    """Commands that are run first; the last one is killed at an operation in its middle if `cut`."""
    cut: bool = False
    undisturbed: str = ""
    """What ends in the same numbers, run from nothing; "": the command itself."""
    again: Callable[[Path, str], str] = field(default=lambda root, command: command)
    """What is typed after a kill."""


def resume_or_begin(root: Path, command: str) -> str:
    return f"train --resume {RUN}" if (root / RUN / "config.json").exists() else command


SCENARIOS = {
    "train": Scenario(TRAIN, again=resume_or_begin),
    "resume": Scenario(f"train --resume {RUN}", (TRAIN,), cut=True, undisturbed=TRAIN),
    "extend": Scenario(
        f"train --resume {RUN} --outer-steps 7",
        (TRAIN,),
        undisturbed=TRAIN.replace("--outer-steps 4", "--outer-steps 7"),
    ),
    "matrices": Scenario(
        f"train --game escape-room {CROWD} --method tos --inner.episodes 2 {SMALL} --out {RUN}",
        again=resume_or_begin,
    ),
    "compare": Scenario("compare --game chicken --methods selfish fixed --seeds 3 --outer-steps 2 --out all"),
    "tune": Scenario("tune coin --seeds 3 --out trials"),
}


class Fault(Exception):  # noqa: N818 - it is what is looked for
    """What must not be."""


def run_cases(count: int, seed: int, root: Path, names: list[str] | None = None) -> Iterator[tuple[str, str]]:
    """Run cases over all scenarios in turn: (scenario, what was done) for each.

    Raises:
        Fault: something is not as it must be (says what, and in which case).
    """
    TASKS["coin"] = Coin()
    _warm_up()
    draws, found = random.Random(seed), {}
    for case, name in zip(range(count), itertools.cycle(names or SCENARIOS), strict=False):
        if name not in found:
            found[name] = _prepare(SCENARIOS[name], root / f"{name}-whole")
        start, whole, operations = found[name]
        place = root / f"case-{case}"
        shutil.copytree(start, place)
        first = draws.randrange(operations)
        kept = draws.choice((0.0, 0.5, 1.0))
        second = draws.randrange(operations) if draws.random() < 0.5 else -1
        done = (
            f"killed at {first} of {operations} operations, {kept:.0%} of unsafe bytes kept, then at {second}"
        )
        try:
            _case(SCENARIOS[name], place, whole, first, kept, second)
        except Fault as fault:
            raise Fault(f"{name}, {done}, in {place}: {fault}") from None
        shutil.rmtree(place)
        yield name, done


def _case(scenario: Scenario, place: Path, whole: Path, first: int, kept: float, second: int) -> None:
    theirs = _plant(place)
    command = scenario.command
    if not _call(command, place, first, kept):
        raise Fault("it was not killed")
    for at in (second, -1):
        _call(scenario.again(place, command), place, at, kept)
    for path, content in theirs.items():
        if not path.exists() or path.read_bytes() != content:
            raise Fault(f"{path} belongs to somebody else, and was changed")
    parts = [path for path in place.rglob(".*.part") if path not in theirs]
    if parts:
        raise Fault(f"parts are left: {parts}")
    if _numbers(place) != _numbers(whole):
        raise Fault("the numbers are not those of the command that was never disturbed")


def _prepare(scenario: Scenario, root: Path) -> tuple[Path, Path, int]:
    """What is there before the command, what it should end in, and how many operations it takes."""
    start, whole = root / "start", root / "end"
    for folder in (start, whole):
        folder.mkdir(parents=True)
    for command in scenario.before:
        _call(command, start, _operations(command, start, root) // 2 if scenario.cut else -1, 1.0)
    operations = _operations(scenario.command, start, root)
    _call(scenario.undisturbed or scenario.command, whole, -1, 1.0)
    return start, whole, operations


def _operations(command: str, start: Path, root: Path) -> int:
    """How many operations a command takes, in a copy."""
    copy, counted = root / "counted", root / "count"
    shutil.copytree(start, copy)
    _call(command, copy, -1, 1.0, counted)
    shutil.rmtree(copy)
    return int(counted.read_text())


def _call(command: str, place: Path, at: int, kept: float, counted: Path | None = None) -> bool:
    """Run a command in a process of its own; whether it was killed."""
    said = place.parent / "said.txt"

    def call() -> None:
        signal.alarm(SECONDS)
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(file, number)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        os.chdir(place)
        main(command.split())

    try:
        return killed(at, call, place, kept=kept, counted=counted)
    except AssertionError as error:
        raise Fault(f"{command}: {error}: {said.read_text()[-2000:]}") from None
    finally:
        if "Traceback" in said.read_text():
            raise Fault(f"{command}: {said.read_text()[-2000:]}")


def _plant(place: Path) -> dict[Path, bytes]:
    """Put files of somebody else into every folder."""
    folders = [place, *(path for path in place.rglob("*") if path.is_dir())]
    for folder in folders:
        for name in THEIRS:
            (folder / name).write_text(f"{name} of somebody else")
    return {folder / name: (folder / name).read_bytes() for folder in folders for name in THEIRS}


def _without_seconds(path: Path) -> bytes:
    """A table without its column of seconds."""
    with path.open(newline="") as file:
        rows = [
            {name: word for name, word in row.items() if name != "seconds"} for row in csv.DictReader(file)
        ]
    return repr(rows).encode()


def _warm_up() -> None:
    """Do once what takes time in every process: imports, and asking git; a gradient would bar those of forks.

    Figures are drawn, but not rendered, which takes longer than all else: files are what matters here.
    """
    for command in ("train", "compare", "tune"):
        importlib.import_module(f"bilevel.cli._{command}")
    provenance()
    FigureCanvasAgg.print_png = lambda canvas, file, **how: file.write(b"picture")


def _numbers(place: Path) -> dict[str, bytes]:
    """The numbers that a command left, without what is measured of time."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place)
        if path.name == "seeds.csv":
            found[str(name)] = _without_seconds(path)
        if path.name in ("metrics.csv", "evaluation.csv", "config.json") or (
            path.suffix == ".array" and path.name not in THEIRS
        ):
            found[str(name)] = path.read_bytes()
        if path.name == "summary.json":
            load_run(RunFolder(path.parent))  # its check sums
    return found


def report(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as root:
        for number, (name, done) in enumerate(
            run_cases(chosen.cases, chosen.seed, Path(root), chosen.scenarios), 1
        ):
            print(f"{number:3} {name}: {done}", flush=True)
    print(f"{chosen.cases} kills: no traceback, no hang, no other number, no file of others touched.")


if __name__ == "__main__":
    report(sys.argv[1:])
