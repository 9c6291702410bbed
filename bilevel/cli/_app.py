"""The commands, their exit codes, and errors and interruptions as one sentence."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
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


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """While entered, for imports: SIGINT ends the process, and a sentence says that nothing was done.

    A KeyboardInterrupt in the middle of an import may come out as anything. Outside the main thread, where
    Python allows no handlers, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def interrupting_again() -> Iterator[None]:
    """While entered: an interrupt that Python had to ignore comes once more."""
    reported, sys.unraisablehook = sys.unraisablehook, _interrupt_again
    try:
        yield
    finally:
        sys.unraisablehook = reported


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, b"Stopped before anything was done.\n")
    os._exit(INTERRUPTED)


def _interrupt_again(ignored: sys.UnraisableHookArgs) -> None:
    """Interrupt once more where Python had to ignore it, as in the callback of a weak reference."""
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        again = threading.Timer(0.01, _thread.interrupt_main)  # not at once: here it would be ignored, too
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(ignored)


TORCH_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "Storage size calculation overflowed",
    "integer multiplication overflow",
)
"""In RuntimeErrors of torch without CUDA, which have no class of their own."""
CUDA_MEMORY = "OutOfMemoryError"
"""Name of the class of those with CUDA; torch itself is loaded only by commands that need it."""
NO_MEMORY = "There is not enough memory: fewer seeds, agents, episodes, steps or units need less."
PACKAGES = ("docstring_parser", "gymnasium", "imageio", "matplotlib", "pettingzoo", "PIL", "rich", "tyro")
"""What the extra `games` installs."""
MAX_LENGTH = 1500
"""Characters of a refusal; of a longer one, which repeats what it was given, the middle is left out."""


@dataclass(frozen=True)
class Command:
    """A command, whose module loads when it runs."""

    module: str
    function: str
    summary: str
    """One line of `bilevel --help`."""

    def run(self, arguments: list[str]) -> None:
        """Run it with the arguments after its name."""
        with leaving_at_once():  # torch takes seconds to load
            function = getattr(import_module(f"bilevel.cli.{self.module}"), self.function)
        function(arguments)


COMMANDS = {
    "train": Command(
        "_train", "train_command", "train a method on a game, many seeds at once; or resume a run"
    ),
    "demo": Command(
        "_demo", "demo", "train four methods on two dilemmas: a table and figures in a minute or two"
    ),
    "compare": Command(
        "_compare", "compare_command", "compare methods on a game: a table with intervals, figures, files"
    ),
    "tune": Command(
        "_tune",
        "tune_command",
        "learn the weights of a task's losses; a table against other ways, or a list of tasks",
    ),
    "check": Command(
        "_check", "check_command", "compare hypergradient estimators on a game and a method: a table"
    ),
    "theory": Command(
        "_theory",
        "theory_command",
        "optima, equilibria and minimal transfers of a one-shot game, with proofs",
    ),
    "games": Command(
        "_games", "games_command", "list the games; or one game's page, picture and Schelling diagram"
    ),
    "play": Command(
        "_play", "play_command", "write a film of a game, by a random, scripted or learned policy"
    ),
    "methods": Command("_games", "list_methods", "list the methods"),
    "hypergradients": Command("_games", "list_hypergradients", "list the hypergradient estimators"),
    "cache": Command(
        "_cache", "cache_command", "list the packages that steps were compiled into; or delete them"
    ),
}


def run(arguments: list[str]) -> int:
    """Run one command and return the exit code."""
    try:
        _command(arguments)
        sys.stdout.flush()
    except ValueError as error:
        return _say(str(error), 2)
    except (FloatingPointError, CopyError) as error:
        return _say(" ".join(str(error).split()), FAILED)
    except Stopped as stop:
        return _say(str(stop), stop.code)
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in PACKAGES:
            raise
        return _say(f"The command line needs {package}: pip install 'bilevel[games]'", FAILED)
    except MemoryError:  # Python's and NumPy's
        return _say(NO_MEMORY, FAILED)
    except RuntimeError as error:
        memory = type(error).__name__ == CUDA_MEMORY or any(said in str(error) for said in TORCH_MEMORY)
        if not memory:
            raise
        return _say(NO_MEMORY, FAILED)
    except BrokenPipeError:  # whoever read our output has left, as `head` does
        return FAILED
    except OSError as error:
        return _say(unusable(error), FAILED)
    return 0


def _command(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
    elif arguments[0] == "--version":
        print(bilevel.__version__)
    else:
        name, *rest = arguments
        require_name(name, COMMANDS, "command")
        COMMANDS[name].run(rest)


def usage() -> str:
    """The text of `bilevel --help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "bilevel: learn what to share, together with the policies.",
            "",
            "usage: bilevel COMMAND [OPTIONS]",
            "",
            *lines,
            "",
            "bilevel COMMAND --help says more; for train, name the game and the method first:",
            "  bilevel train --game escape-room --method tos --help",
        ]
    )


def _say(sentence: str, code: int) -> int:
    if len(sentence) > MAX_LENGTH:
        sentence = f"{sentence[: MAX_LENGTH // 2]} [...] {sentence[-MAX_LENGTH // 2 :]}"
    print(sentence, file=sys.stderr)
    return code
