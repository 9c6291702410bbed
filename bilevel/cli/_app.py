"""The commands, their exit codes, and errors and interruptions as one sentence."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import FrameType
from typing import NoReturn

import bilevel
from bilevel.cli._output import FAILED, Stopped, unusable
from games.core import CopyError, require_name

INTERRUPTED = 128 + signal.SIGINT
TORCH_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "Storage size calculation overflowed",
    "integer multiplication overflow",
)
"""Texts of torch's out-of-memory RuntimeErrors without CUDA, which have no class of their own."""
CUDA_MEMORY = "OutOfMemoryError"
"""Name of torch's class of out-of-memory errors with CUDA; importing torch is left to the commands."""
NO_MEMORY = "There is not enough memory: fewer seeds, agents, episodes, steps or units need less."
PACKAGES = ("docstring_parser", "gymnasium", "imageio", "matplotlib", "pettingzoo", "PIL", "rich", "tyro")
"""Packages of the extra `games`."""
NO_WORKERS = {"-h", "--help", "--dry-run", "slurm", "ray"}
"""Arguments of a command with which it starts no workers of its own."""
MAX_LENGTH = 1500
"""Characters of an error message; the middle of a longer one, which repeats its input, is left out."""


@dataclass(frozen=True)
class Command:
    """A command, whose module loads when it runs."""

    summary: str
    """One line of `bilevel --help`."""
    module: str
    function: str
    starts_workers: bool = False
    """True if it starts processes, whose server then imports its modules at the same time as the command."""

    def run(self, arguments: list[str]) -> None:
        """Run the command with the arguments after its name."""
        if self.starts_workers and not NO_WORKERS & set(arguments):
            from bilevel.sweeps import start_server  # noqa: PLC0415 - of no other command

            start_server()
        with _leaving_at_once():  # torch takes seconds to load
            function = getattr(import_module(f"bilevel.cli.{self.module}"), self.function)
        function(arguments)


COMMANDS = {
    name: Command(summary, f"_{name}", f"{name}_command", starts_workers=name == "sweep")
    for name, summary in {
        "train": "train a method on a game, many seeds at once; or resume a run",
        "demo": "train four methods on three dilemmas: a table and figures in a minute or two",
        "evaluate": "evaluate a run's policies, also in a game of other settings: a table",
        "compare": "compare methods on a game: a table with intervals, figures, files",
        "sweep": "train over games, methods and values of settings, by several processes: a table and files",
        "report": "write runs, comparisons or sweeps as one HTML page",
        "watch": "serve the same page on this machine while runs go on",
        "tournament": "learners and fixed strategies in every pairing: a table and a figure",
        "tune": "compare learned and fixed loss weightings on a task: a table; or list the tasks",
        "check": "compare hypergradient estimators on a game and a method: a table",
        "theory": "optima, equilibria, minimal transfers and mechanisms of a one-shot game",
        "solve": "let learning rules solve a zero-sum game: NashConv over time, strategies, a figure",
        "games": "list the games; or one game's page, picture and Schelling diagram",
        "play": "render a video of a game, with random, scripted or learned policies",
    }.items()
} | {
    "methods": Command("list the methods", "_games", "list_methods"),
    "hypergradients": Command("list the hypergradient estimators", "_games", "list_hypergradients"),
    "cache": Command("list, build or delete the cache of compiled steps", "_cache", "cache_command"),
}


@contextmanager
def _leaving_at_once() -> Iterator[None]:
    """Let SIGINT end the process at once during imports, with a sentence that nothing was done.

    A KeyboardInterrupt in the middle of an import may surface as any exception. Outside the main thread,
    where Python allows no handlers, nothing is changed.
    """

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        with contextlib.suppress(OSError):
            os.write(2, b"Stopped before anything was done.\n")
        os._exit(INTERRUPTED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def interrupting_again() -> Iterator[None]:
    """Repeat interrupts, in a `with` block, that Python had to ignore, as in a weak reference's callback."""

    def interrupt() -> None:
        time.sleep(0.01)  # not at once: it would be ignored, too
        _thread.interrupt_main()

    def repeat(ignored: sys.UnraisableHookArgs) -> None:
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            _thread.start_new_thread(interrupt, ())  # Thread.start would wait, and be interrupted itself
        else:
            sys.__unraisablehook__(ignored)

    reported, sys.unraisablehook = sys.unraisablehook, repeat
    try:
        yield
    finally:
        sys.unraisablehook = reported


def run(arguments: list[str]) -> int:
    """Run one command and return the exit code."""
    try:
        _run(arguments)
        sys.stdout.flush()
    except ValueError as error:
        return _refuse(str(error), 2)
    except (FloatingPointError, CopyError) as error:
        return _refuse(" ".join(str(error).split()), FAILED)
    except Stopped as stop:
        return _refuse(str(stop), stop.code)
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in PACKAGES:
            raise
        return _refuse(f"The command line needs {package}: pip install 'bilevel[games]'", FAILED)
    except MemoryError:  # Python's and NumPy's
        return _refuse(NO_MEMORY, FAILED)
    except RuntimeError as error:
        if type(error).__name__ != CUDA_MEMORY and not any(text in str(error) for text in TORCH_MEMORY):
            raise
        return _refuse(NO_MEMORY, FAILED)
    except BrokenPipeError:  # the reader of our output has closed it, as `head` does
        return FAILED
    except OSError as error:
        return _refuse(unusable(error), FAILED)
    return 0


def _run(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
    elif arguments[0] == "--version":
        print(bilevel.__version__)
    else:
        name, *rest = arguments
        require_name(name, COMMANDS, "command")
        COMMANDS[name].run(rest)


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items())
    return (
        "bilevel: learn reward sharing and loss weights by hypergradients, jointly with the policies.\n\n"
        f"usage: bilevel COMMAND [OPTIONS]\n\n{lines}\n\n"
        "bilevel COMMAND --help lists the options; for train, name the game and the method first:\n"
        "  bilevel train --game escape-room --method tos --help"
    )


def _refuse(sentence: str, code: int) -> int:
    if len(sentence) > MAX_LENGTH:
        sentence = f"{sentence[: MAX_LENGTH // 2]} [...] {sentence[-MAX_LENGTH // 2 :]}"
    print(sentence, file=sys.stderr)
    return code
