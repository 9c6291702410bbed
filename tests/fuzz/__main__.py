"""`python -m tests.fuzz`: many random cases, each worker process a part of them; every fault is told.

A fault is a traceback, an end of the process, a command that does not stop when it is told to, or a refusal
that nobody could read. Each is printed with the command line that shows it, and with --seed and --only it
is done again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.folders import Folders, originals
from tests.fuzz.judge import address_space, ask, inside
from tests.fuzz.lines import Lines


class Case(NamedTuple):
    """One case, before it is tried."""

    said: str
    """What was done to the folder; "" for a mere command line."""
    arguments: list[str]


def cases(kind: str, seed: int, folder: Path) -> Case:
    """The case of this number; it follows from the number alone."""
    if kind == "lines":
        return Case("", Lines(seed).line())
    said, arguments = Folders(seed, folder).spoil()
    return Case(said, arguments)


def kind_of(number: int) -> str:
    """Every third case spoils a folder, the others are command lines."""
    return "folders" if number % 3 == 2 else "lines"


def work(numbers: list[int], made: Path, seconds: float, pipe: multiprocessing.connection.Connection) -> None:
    """Try these cases, and tell of each before and after it."""
    with tempfile.TemporaryDirectory(prefix="bilevel-fuzz-") as name, inside(Path(name)):
        folder = Path(name)
        for original in made.iterdir():
            (folder / original.name).symlink_to(original)
        shutil.copytree(made / "finished", folder / "there")
        address_space(6)
        for number in numbers:
            case = cases(kind_of(number), number, folder)
            pipe.send((number, case, None))
            pipe.send((number, case, ask(case.arguments, seconds=seconds).fault))
    pipe.send(None)


def main() -> int:
    """Try the cases; returns how many showed a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="how many (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="the number of the first case")
    parser.add_argument("--seconds", type=float, default=2.0, help="after which a command is told to stop")
    parser.add_argument("--only", type=int, help="try the case of this number alone, and print its answer")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bilevel-fuzz-") as name:
        made = Path(name)
        with inside(made):
            originals(made)
        if chosen.only is not None:
            return _one(chosen.only, made, chosen.seconds)
        return _many(list(range(chosen.seed, chosen.seed + chosen.cases)), made, chosen.seconds)


def _one(number: int, made: Path, seconds: float) -> int:
    with inside(made):
        case = cases(kind_of(number), number, made)
        answer = ask(case.arguments, seconds=seconds)
    print(
        f"{case.said}\nbilevel {shlex.join(case.arguments)}\n{answer.out}{answer.err}exit code {answer.code}"
    )
    print(answer.fault or "no fault")
    return int(bool(answer.fault))


def _many(numbers: list[int], made: Path, seconds: float) -> int:
    faults, left = 0, numbers
    while left:
        mine, theirs = multiprocessing.Pipe(duplex=False)
        context = multiprocessing.get_context("fork")
        process = context.Process(target=work, args=(left, made, seconds, theirs))
        process.start()
        theirs.close()
        at: tuple[int, Case, str | None] | None = None
        try:
            while (told := mine.recv()) is not None:
                at = told
                number, case, fault = told
                if fault:
                    faults += 1
                    _tell(number, case, fault)
                if fault is not None and (number + 1) % 100 == 0:
                    print(
                        f"{number + 1 - numbers[0]} of {len(numbers)} cases, {faults} faults", file=sys.stderr
                    )
        except EOFError:  # the process ended in the middle of a case
            assert at is not None
            faults += 1
            process.join()
            _tell(at[0], at[1], f"the process ended with the exit code {process.exitcode}")
        process.join()
        left = [] if at is None or told is None else [number for number in left if number > at[0]]
    print(f"{len(numbers)} cases: {faults} faults")
    return int(bool(faults))


def _tell(number: int, case: Case, fault: str) -> None:
    print(f"case {number}: {case.said}\n  bilevel {shlex.join(case.arguments)!a}\n  {fault}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
