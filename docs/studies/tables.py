"""Run the commands behind the tables of the documents, each once for a version of the code.

python -m docs.studies.tables --help

The commands are those of the pages themselves: of every shell block below the line
<!-- run by docs/studies/tables.py -->. A block has its own folder, and its commands run there in turn.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import tyro

from games.core import require, require_name

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^<!-- run by docs/studies/tables\.py -->\n```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PRINT_WORDS = """
bilevel() { printf '%s\\0' bilevel "$@" $'\\x1e'; }
python() { printf '%s\\0' python "$@" $'\\x1e'; }
"""
"""Shell functions that print a command's words instead of running it."""


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Commands behind the tables of the documents: run those that are not done for this version of the code.

    Ctrl-C stops, and the same command continues; so it does after a kill or a reboot.
    """

    page: tuple[str, ...] = ()
    """Names of pages, as ltos; none: all pages that have such commands."""
    jobs: int = 1
    """Number of commands that run at once, 1 or more."""
    list: bool = False
    """List the commands with their state and their seconds, and run none."""
    out: Path = Path("runs/tables")
    """Folder of the results: VERSION/PAGE/SECTION/1.txt has the output of the section's first command, and
    1.log its progress."""
    docs: Path = ROOT / "docs"
    """Folder of the pages."""

    def __post_init__(self) -> None:
        require(self.jobs >= 1, f"jobs must be 1 or more, not {self.jobs}.")
        require(self.docs.is_dir(), f"docs must be the folder of the pages, and {self.docs} is none.")


@dataclass(frozen=True)
class Job:
    """One command of a page: number `place` of the `of` commands of its block."""

    page: str
    folder: Path
    place: int
    of: int
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """Page, section and place."""
        return f"{self.page}, {self.folder.name}, {self.place} of {self.of}"

    def process_words(self) -> list[str]:
        """Command line of the process: `bilevel train` with --resume if its run exists already."""
        program, *arguments = self.words
        if program == "python":
            return [sys.executable, *arguments]
        if arguments[0] == "train":
            if "--out" not in arguments:
                arguments += ["--out", f"runs/{self.place}"]
            out = arguments[arguments.index("--out") + 1]
            if (self.folder / out).exists():
                arguments = ["train", "--resume", out]
        return [sys.executable, "-m", "bilevel", *arguments]

    def file(self, suffix: str) -> Path:
        """File of this command in the folder of its block."""
        return self.folder / f"{self.place}{suffix}"

    def record(self) -> dict[str, float]:
        """Seconds so far, and whether the command is done; empty before its first attempt."""
        path = self.file(".json")
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def write_record(self, seconds: float, done: bool) -> None:
        """Replace the record at once, so that a kill leaves the old one or the new one."""
        part = self.file(".json.part")
        part.write_text(json.dumps({"seconds": round(seconds, 1), "done": done}), encoding="utf-8")
        part.replace(self.file(".json"))

    def state(self) -> str:
        """State for a list: done, begun or nothing, with the seconds so far."""
        record = self.record()
        return f"{'done' if record['done'] else 'begun'} {record['seconds']:.0f} s" if record else "-"


def code_version() -> str:
    """Hash of the code that commands run, without this file."""
    found = hashlib.sha256()
    for folder in ("bilevel", "games", "docs/studies"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path != Path(__file__).resolve():
                found.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:12]


def expand(block: str) -> list[tuple[str, ...]]:
    """Expand the loops and variables of a shell block, and run nothing.

    Args:
        block: text of a shell block that runs `bilevel` and `python` alone.

    Returns:
        The words of each command, in order.

    Raises:
        ValueError: the block fails, for instance as it runs another program.

    >>> expand("for game in chicken assurance; do bilevel train --game $game; done")
    [('bilevel', 'train', '--game', 'chicken'), ('bilevel', 'train', '--game', 'assurance')]
    """
    command = ["/bin/bash", "-euc", PRINT_WORDS + block]
    shell = subprocess.run(command, capture_output=True, text=True, env={"PATH": ""}, check=False)
    require(
        shell.returncode == 0,
        f"The block that begins with {block.splitlines()[0]!r} may run bilevel and python alone, but: "
        f"{shell.stderr.strip()}",
    )
    return [tuple(line.split("\0")[:-1]) for line in shell.stdout.split("\x1e\0")[:-1]]


def find_blocks(docs: Path, out: Path) -> dict[str, list[list[Job]]]:
    """Find the marked blocks of the pages.

    Args:
        docs: folder of the pages.
        out: folder of the results of this version.

    Returns:
        page's name -> its blocks, each the list of its commands.
    """
    pages: dict[str, list[list[Job]]] = {}
    for path in sorted(docs.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            titles = re.findall(r"^#+ (.*)", FENCED.sub("", text[: block.start()]), re.MULTILINE)
            section = "-".join(re.findall(r"[a-z0-9]+", titles[-1].lower())[:5]) if titles else path.stem
            commands = expand(block[1])
            digest = hashlib.sha256(repr(commands).encode()).hexdigest()[:6]  # other commands, other folder
            folder = out / path.stem / f"{section}-{digest}"
            jobs = [Job(path.stem, folder, i, len(commands), words) for i, words in enumerate(commands, 1)]
            pages.setdefault(path.stem, []).append(jobs)
    return pages


@dataclass
class Runner:
    """Commands in progress, which a signal stops."""

    version: str
    failed: list[Job] = field(default_factory=list)
    stopped: int = 0
    """The signal that stopped the commands, or 0."""
    changed: bool = False
    """True once the code is no longer that of the start."""
    running: set[subprocess.Popen[bytes]] = field(default_factory=set)

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Handle signals by `stop` in a `with` block; ignored ones, as under `nohup`, stay ignored."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in before.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, self.stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self, number: int, frame: FrameType | None = None) -> None:
        """Handle a signal: let every command save its results and end."""
        print("Stopping: the commands save their results.", file=sys.stderr, flush=True)
        self.stopped = number
        for process in tuple(self.running):
            process.send_signal(signal.SIGTERM)

    def run_block(self, jobs: Sequence[Job]) -> None:
        """Run the commands of a block that are not done, one after another, also after one has failed."""
        for job in jobs:
            if job.record().get("done"):
                continue
            self.changed = self.changed or code_version() != self.version
            if self.stopped or self.changed:
                return
            self.run(job)

    def run(self, job: Job) -> None:
        """Run a command, and record its seconds and whether it is done."""
        job.folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
        started, before = time.monotonic(), job.record().get("seconds", 0.0)
        with job.file(".log").open("ab") as log:
            if not self._lock(log.fileno(), job):
                return
            print(f"{job.name}: {shlex.join(job.words)}", flush=True)
            with job.file(".txt").open("wb") as output:
                process = subprocess.Popen(
                    job.process_words(),
                    cwd=job.folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C reaches it from here alone
                )
            self.running.add(process)
            if self.stopped:  # the signal came before the process was known
                process.send_signal(signal.SIGTERM)
            code = process.wait()
            self.running.discard(process)
        self.changed = self.changed or code_version() != self.version
        done = code == 0 and not self.changed
        job.write_record(before + time.monotonic() - started, done)
        if not done and not self.stopped and not self.changed:
            self.failed.append(job)
        print(f"{job.name}: {job.state()}{f', exit code {code}' if code else ''}", flush=True)

    def _lock(self, log: int, job: Job) -> bool:
        """Lock the log, which a command keeps open to its end, even if this script was killed."""
        told = False
        while not self.stopped:
            with suppress(BlockingIOError):
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            if not told:
                print(f"{job.name}: waiting for the process of an earlier start.", flush=True)
            told = True
            time.sleep(0.5)
        return False


def run_tables(tables: Tables) -> int:
    """Run or list the commands.

    Args:
        tables: settings of the command line.

    Returns:
        Exit code: 0 if all commands are done, 1 if some failed, 128 + signal after a signal.

    Raises:
        ValueError: no page has this name, or the code changed meanwhile.
    """
    version = code_version()
    out = tables.out.resolve() / version
    pages = find_blocks(tables.docs, out)
    for name in tables.page:
        require_name(name, pages, "page with such commands")
    blocks = [jobs for name, found in pages.items() if name in (tables.page or pages) for jobs in found]
    every = [job for jobs in blocks for job in jobs]
    runner = Runner(version)
    if tables.list:
        for job in every:
            print(f"{job.state():>14}  {job.name}: {shlex.join(job.words)}")
    else:
        with runner.handling_signals(), ThreadPoolExecutor(tables.jobs) as pool:
            tuple(pool.map(runner.run_block, blocks))
        require(
            not runner.changed,
            "The code changed meanwhile: the same command begins again, with the new code.",
        )
    for job in runner.failed:
        lines = job.file(".log").read_text(encoding="utf-8", errors="replace").splitlines()
        print(f"FAILED {job.name}: {lines[-1] if lines else ''} ({job.file('.log')})", file=sys.stderr)
    done = sum(bool(job.record().get("done")) for job in every)
    print(f"{done} of {len(every)} commands are done for the code {version}; results are in {out}")
    return 128 + runner.stopped if runner.stopped else int(bool(runner.failed))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: arguments of the command line; None: those of this process.
    """
    try:
        code = run_tables(tyro.cli(Tables, prog="python -m docs.studies.tables", args=arguments))
    except ValueError as error:
        sys.exit(str(error))
    sys.exit(code)


if __name__ == "__main__":
    main()
