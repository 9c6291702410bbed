"""The commands, and what becomes of a user's mistake: one sentence, never a traceback.

Interrupts that come where Python cannot raise KeyboardInterrupt as usual.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
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
"""How torch's RuntimeErrors say so where there is no CUDA; they have no class of their own."""
CUDA_MEMORY = "OutOfMemoryError"
"""The name of the class of torch's that do have one; torch itself is loaded only by commands that need it."""
NO_MEMORY = "There is not enough memory: fewer seeds, agents, episodes, steps or units need less."
PACKAGES = ("docstring_parser", "gymnasium", "imageio", "matplotlib", "pettingzoo", "PIL", "rich", "tyro")
"""What the extra `games` installs."""
LONGEST = 1500
"""Characters of a refusal; of a longer one, which repeats what it was given, the middle is left out."""


@dataclass(frozen=True)
class Command:
    """One word of the command line."""

    run: Callable[[list[str]], object]
    """Runs it with the arguments after the word."""
    summary: str
    """What it does, in one line."""


def _command_of(module: str, name: str) -> Callable[[list[str]], object]:
    """A function of a module of this package, which loads when it is called."""

    def run(arguments: list[str]) -> object:
        with leaving_at_once():  # torch takes seconds to load
            command: Callable[[list[str]], object] = getattr(import_module(f"bilevel.cli._{module}"), name)
        return command(arguments)

    return run


COMMANDS = {
    "train": Command(
        _command_of("train", "train_command"), "train a method on a game, many seeds at once; or resume a run"
    ),
    "demo": Command(
        _command_of("demo", "demo"),
        "two dilemmas, four methods: a table and figures in a minute or two",
    ),
    "compare": Command(
        _command_of("compare", "compare_command"),
        "compare methods on a game: a table with intervals, figures, files",
    ),
    "tune": Command(
        _command_of("tune", "tune_command"),
        "learn the weights of a task's losses; a table against other ways, or a list of tasks",
    ),
    "check": Command(
        _command_of("check", "check_command"),
        "which estimator of the meta-gradient suits a game and a method? a table",
    ),
    "theory": Command(
        _command_of("theory", "theory_command"),
        "what is best, stable and least to give in a one-shot game, with proofs",
    ),
    "games": Command(
        _command_of("games", "games_command"),
        "list the games; or one game's page, picture and Schelling diagram",
    ),
    "play": Command(
        _command_of("play", "play_command"),
        "write a clip of a game, played at random, by the book or by a run",
    ),
    "methods": Command(_command_of("games", "list_methods"), "list the methods"),
    "hypergradients": Command(
        _command_of("games", "list_hypergradients"), "list the estimators of the meta-gradient"
    ),
    "cache": Command(
        _command_of("cache", "cache_command"),
        "list the packages that steps were compiled into; or delete them",
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
    """What `bilevel --help` prints."""
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
    if len(sentence) > LONGEST:
        sentence = f"{sentence[: LONGEST // 2]} [...] {sentence[-LONGEST // 2 :]}"
    print(sentence, file=sys.stderr)
    return code
