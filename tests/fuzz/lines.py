"""Random command lines over all commands and all of their settings."""

from __future__ import annotations

import dataclasses
import random
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import games
from bilevel.cli._app import COMMANDS
from bilevel.cli._cache import CacheSettings
from bilevel.cli._check import CheckSettings
from bilevel.cli._compare import CompareSettings
from bilevel.cli._demo import DemoSettings
from bilevel.cli._games import GamesSettings
from bilevel.cli._play import PlaySettings
from bilevel.cli._solve import SolveSettings
from bilevel.cli._theory import TheorySettings
from bilevel.cli._tune import Tune
from bilevel.experiments import RunConfig, preset
from bilevel.hypergradient import ESTIMATORS
from bilevel.methods import METHODS
from bilevel.tasks import TASKS, make_task

SETTINGS: dict[str, type] = {
    "train": RunConfig,
    "demo": DemoSettings,
    "compare": CompareSettings,
    "check": CheckSettings,
    "theory": TheorySettings,
    "solve": SolveSettings,
    "games": GamesSettings,
    "play": PlaySettings,
    "cache": CacheSettings,
    "tune": Tune,
}
LEADING = {
    "train": ("out", "resume", "load"),
    "compare": ("out", "load"),
    "check": ("out", "load"),
    "theory": ("load",),
    "solve": ("load", "figure"),
    "play": ("out", "policy", "load"),
    "tune": ("out", "load"),
}
"""Options that are read before the settings."""

WORDS = (
    "",
    " ",
    "-",
    "--",
    "---",
    "-1",
    "--help",
    "-h",
    "=",
    "a=b",
    "None",
    "True",
    "nan",
    "[red]",
    "[/red]",
    "{x}",
    "%s",
    "\\",
    "'",
    '"',
    "\n",
    "\t",
    "/dev/null",
    "/dev/null/x",
    "~",
    "ünïcödé",
    "😀",
    "\udcff",
    "\u202e",
    "\uff11",
    "a" * 300,
    "a/" * 3000,
    "(" * 200,
    "()",
    "(1,2)",
    "1,2",
    "0:1",
    "0:1,0:2",
    "1:1,0:2",
    "0:nan",
    "0:",
    ":",
    ",",
    "lambda: 0",
    "__import__('os')",
    "cuda",
    "cuda:9",
    "cpu:1",
    "mps",
    "meta",
    "xla",
    "hpu",
    "privateuseone",
    "vulkan",
    "fpga",
    "mkldnn",
    "cpu:99999999999999999999",
    "cuda:-1",
)
WHOLE = ("0", "-1", "1", "2", "3")
ODD_WHOLE = ("-0", "+1", "01", "1_0", "1.0", "1e3", "0x10", " 1", "1 ", "9" * 5000)
"""Whole numbers as they are not usually written, or none."""
HUGE = ("1000000", str(2**31), str(2**32 - 1), str(2**63 - 1), str(2**64), "1" * 30)
REAL = (
    "0",
    "-0.0",
    "1",
    "-1",
    "0.5",
    "1e-9",
    "1e-320",
    "1e-300",
    "1e308",
    "-1e308",
    "1e40",
    "inf",
    "-inf",
    "nan",
)
ODD_REAL = ("1e309", "1_000.5", ".5", "5.", "1e", "0x1p3", " 0.5")
ESTIMATOR_SETTINGS = (
    "", "(", "()", "(steps=1)", "(steps=-1)", "(x=1)", "(steps=nan)", "(1)", "(steps=1,steps=1)", "(**{})",
    "(solver=normal-cg)", "(samples=0)", "(sigma=inf)", "(keep='x')", "(a=(1,(2,(3,))))", "(members=1)",
    "(steps=[1])", "(steps=1e999)", "(steps=" + "-" * 60 + "1)",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Option:
    """One setting, as the command line has it."""

    flag: str
    hint: Any
    usual: Any


def options_of(default: Any, prefix: str = "") -> Iterator[Option]:
    """Every setting of a dataclass, those of dataclasses inside it included."""
    hints = get_type_hints(type(default), include_extras=False)
    for field in dataclasses.fields(default):
        if field.name in ("game_name", "method_name"):
            continue
        name, value = field.name, getattr(default, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            inner = "" if field.name == "settings" else f"{prefix}{name.replace('_', '-')}."
            yield from options_of(value, inner)
        else:
            yield Option(f"{prefix}{name}".replace("_", "-"), hints[field.name], value)


class Lines:
    """A stream of command lines; the same seed gives the same lines.

    Args:
        seed: of all choices.
    """

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)

    def line(self) -> list[str]:
        """The next command line."""
        draw = self._draw
        command = draw.choice(tuple(SETTINGS) + ("train", "theory", "play", "compare", "check") * 2)
        if draw.random() < 0.02:
            command = draw.choice((*COMMANDS, *WORDS))
        return [command, *self._arguments(command)][: None if command or draw.random() < 0.5 else 0]

    def _arguments(self, command: str) -> list[str]:
        draw, kind = self._draw, SETTINGS.get(command)
        if kind is None:
            return draw.choices(WORDS, k=draw.randrange(3))
        words, default = self._named(command)
        options = [] if default is None else list(options_of(default))
        for option in draw.sample(options, k=min(len(options), draw.choice((0, 1, 1, 2, 3, 5)))):
            words += self._option(option)
        for name in LEADING.get(command, ()):
            if draw.random() < (0.4 if name == "policy" else 0.05):
                some = (
                    ("there", "scripted", "random") if draw.random() < 0.6 else ("there/x", "nowhere", *WORDS)
                )
                words += [f"--{name}", draw.choice(some)]
        if draw.random() < 0.03:
            words.insert(draw.randrange(len(words) + 1), draw.choice(WORDS))
        if draw.random() < 0.03 and words:
            words = draw.sample(words, k=len(words))
        return words + self._small(command, {option.flag for option in options}, words)

    def _named(self, command: str) -> tuple[list[str], Any]:
        """The names that come first, and the settings that these names have."""
        draw = self._draw
        game, method = draw.choice(games.names()), draw.choice(tuple(METHODS))
        written = self._changed(game), self._changed(method)
        if command == "train":
            found = _tried(lambda: _run(game, method))
            return ["--game", written[0], "--method", written[1]], found
        if command == "check":
            found = _tried(lambda: CheckSettings(**_parts(game, "tos")))
            return ["--game", written[0], "--method", "tos"], found
        if command == "compare":
            return ["--game", written[0]], CompareSettings(game_name=game, game=games.make(game))
        if command == "theory":
            return ["--game", written[0]], _tried(
                lambda: TheorySettings(game_name=game, game=games.make(game))
            )
        if command == "solve":
            return ["--game", written[0]], _tried(
                lambda: SolveSettings(game_name=game, game=games.make(game))
            )
        if command == "play":
            return [written[0]], PlaySettings(game=games.make(game))
        if command == "games":
            return draw.choice(([], [written[0]])), GamesSettings()
        if command == "tune":
            task = draw.choice(tuple(TASKS))
            return draw.choice(([], [self._changed(task)], [task])), Tune(settings=make_task(task).settings())
        return [], SETTINGS[command]()

    def _changed(self, name: str) -> str:
        """The name, or, now and then, something else."""
        chance = self._draw.random()
        if chance < 0.97:
            return name
        return name[:-1] if chance < 0.98 else self._draw.choice(WORDS)

    def _option(self, option: Option) -> list[str]:
        draw, value = self._draw, self._value(option.hint, option.usual)
        if isinstance(option.usual, bool) and draw.random() < 0.8:
            head, _, last = option.flag.rpartition(".")
            off = f"{head}.no-{last}" if head else f"no-{last}"
            return [f"--{draw.choice((option.flag, off))}"]
        if draw.random() < 0.03:
            return [f"--{option.flag}"]
        if draw.random() < 0.2:
            return [f"--{option.flag}={value[0]}" if value else f"--{option.flag}="]
        return [f"--{option.flag}", *value]

    def _value(self, hint: Any, usual: Any) -> list[str]:
        """Words that may stand for a value of this type."""
        draw, chance = self._draw, self._draw.random()
        if chance < 0.05:
            return [draw.choice(WORDS)]
        if chance < 0.08:
            return [draw.choice(HUGE)]
        kinds = [hint] if get_origin(hint) not in (typing.Union, types.UnionType) else list(get_args(hint))
        kind = draw.choice(kinds)
        if get_origin(kind) is Literal:
            return [str(draw.choice(get_args(kind)))]
        if get_origin(kind) is tuple or isinstance(usual, tuple):
            some = WHOLE if int in get_args(kind) else (*WHOLE, *REAL)
            return [draw.choice(some) for _ in range(draw.randrange(5))]
        if kind is int:
            return [draw.choice(WHOLE if draw.random() < 0.8 else ODD_WHOLE)]
        if kind is float:
            return [draw.choice(REAL if draw.random() < 0.8 else ODD_REAL)]
        if kind is type(None):
            return ["None"]
        if isinstance(usual, str) and draw.random() < 0.7:
            return [draw.choice(tuple(ESTIMATORS)) + draw.choice(ESTIMATOR_SETTINGS)]
        return [draw.choice((*WORDS, *REAL))]

    def _small(self, command: str, flags: set[str], words: list[str]) -> list[str]:
        """What keeps the work small, where nothing else was said of it."""
        sizes = {
            "seeds": "3", "outer-steps": "1", "evaluation-episodes": "2", "inner.steps": "1",
            "inner.episodes": "2", "game.horizon": "3", "resamples": "2", "inner-steps": "1",
            "episodes": "2", "max-steps": "3", "scale": "0.3", "updates": "2", "steps": "2",
            "policy.hidden-size": "2",
        }  # fmt: skip
        if command == "games":
            sizes = {"episodes": "2"}
        said = {word.split("=")[0] for word in words}
        small = [(flag, value) for flag, value in sizes.items() if flag in flags and f"--{flag}" not in said]
        lists = ["--methods", "selfish", "tos"] if command == "compare" and "--methods" not in said else []
        if command == "compare":
            sets = (
                "tos.inner.steps=1",
                "inner.steps=1",
                "selfish.inner.entropy-coef=nan",
                "x",
                "tos.outer.hypergradient=(",
                "=",
            )
            lists += ["--set", self._draw.choice(sets), "inner.episodes=2"] if "--set" not in said else []
        if command == "check" and "--estimators" not in said:
            lists = ["--estimators", *self._draw.sample(tuple(ESTIMATORS), k=2)]
        return [*lists, *(f"--{flag}={value}" for flag, value in small)]


def _parts(game: str, method: str) -> dict[str, Any]:
    settings = dict(zip(("game", "method"), preset(game, method), strict=True))
    return {"game_name": game, "method_name": method, **settings}


def _run(game: str, method: str) -> RunConfig:
    return RunConfig(**_parts(game, method))


def _tried(build: Callable[[], Any]) -> Any:
    """What is built, or None where these names do not go together."""
    try:
        return build()
    except ValueError:
        return None
