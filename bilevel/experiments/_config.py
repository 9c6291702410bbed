"""One documented dataclass is the whole configuration of a run, and config.json is that dataclass.

Dataclasses again from the JSON that was made of them; whatever does not fit is refused.

The largest numbers that settings of runs take.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import torch
import tyro

from bilevel.core import fits, spelled
from bilevel.experiments._files import parse_json, require_regular
from bilevel.experiments._presets import preset, sizes
from bilevel.experiments._provenance import PROVENANCE, provenance
from bilevel.methods import (
    Curriculum,
    Method,
    Placement,
    SettingsGroup,
    Staged,
    hints_of,
    parts_of,
    plain_settings,
    read_value,
    require_end,
)
from games.core import ExactGame, Game, require, require_name


def restore(default: Any, saved: Any, name: str = "") -> Any:
    """Build settings of the type of `default` from their JSON form (`RunConfig.plain`).

    Dataclasses inside it take their types from `default`, too, and parts of methods from their variants'
    names; lists become tuples.

    Args:
        default: an instance, whose settings are all replaced.
        saved: setting -> value.
        name: the name of the whole in messages; "" at the top.

    Raises:
        ValueError: a setting is missing, unknown, of another type, or refused by the dataclass itself.

    >>> from bilevel.experiments._presets import preset
    >>> game, method = preset("escape-room", "selfish")
    >>> restore(game, {**dataclasses.asdict(game), "agents": 3}).agents
    3
    >>> restore(game, {**dataclasses.asdict(game), "agents": "three"}, "game")
    Traceback (most recent call last):
    ValueError: game.agents must be of the type int, but it is 'three'.
    """

    def value_of(setting: str, hint: Any) -> Any:
        where, before, value = _join(name, setting), getattr(default, setting), saved[setting]
        if isinstance(before, SettingsGroup) or setting in parts:
            return _restore_part(parts[setting], value, where)
        if dataclasses.is_dataclass(before) and not callable(before):
            return restore(before, value, where)
        return _restore_value(hint, value, where)

    parts = parts_of(type(default)) if isinstance(default, Method) else {}
    hints = get_type_hints(type(default), include_extras=True)
    _require_names(saved, {field.name for field in dataclasses.fields(default)}, name)
    return dataclasses.replace(default, **{one: value_of(one, hints[one]) for one in saved})


def _restore_part(variants: Mapping[str, type[SettingsGroup] | None], saved: Any, name: str) -> Any:
    if saved is None and "none" in variants:
        return None
    require(isinstance(saved, dict), f"{name} must be an object with settings, but it is {saved!r}.")
    saved = dict(saved)
    chosen = saved.pop("variant", None) if len(variants) > 1 else next(iter(variants))
    require(isinstance(chosen, str), f"The setting {name}.variant is missing.")
    require_name(chosen, [one for one, kind in variants.items() if kind], name)
    kind: Any = variants[chosen]
    hints = hints_of(kind)
    _require_names(saved, set(hints), name)
    return kind(**{one: _restore_value(hints[one], saved[one], _join(name, one)) for one in saved})


def _restore_value(hint: Any, saved: Any, name: str) -> Any:
    value = read_value(name, hint, saved)
    read = value is not saved and isinstance(saved, str)
    require(
        read or fits(value, hint),
        f"{name} must be of the type {spelled(hint)}, but it is {value!r}.",
    )
    return value


def _require_names(saved: Any, known: set[str], name: str) -> None:
    require(isinstance(saved, dict), f"{name} must be an object with settings, but it is {saved!r}.")
    for setting in sorted(known - saved.keys()):
        raise ValueError(f"The setting {_join(name, setting)} is missing.")
    for setting in sorted(saved.keys() - known):
        raise ValueError(f"There is no setting {_join(name, setting)}.")


def _join(name: str, setting: str) -> str:
    return f"{name}.{setting}" if name else setting


MOST_SEEDS = 1_000_000
LARGEST_SEED = 2**63 - MOST_SEEDS
"""Random seeds are 64-bit numbers, the last one of a run, too."""
MOST_THREADS = 1024
"""OpenMP dies without a word of very many."""


FORMAT = "bilevel-run/2"
OLD_FORMAT = "bilevel-run/1"
CompileChoice = Literal["auto", "always", "never"]
COMPILE: tuple[str, ...] = get_args(CompileChoice)
DtypeName = Literal["auto", "float32", "float64"]
DTYPES: tuple[str, ...] = get_args(DtypeName)
BESIDE = ("format", *PROVENANCE)
"""What config.json says beside the settings."""
UNKNOWN = ("There is no game ", "There is no method ", "There is no hypergradient ")
"""How a refusal begins of what may be somebody's own, which only --load brings."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides the numbers of a run."""

    game_name: Annotated[str, tyro.conf.arg(name="game", metavar="NAME")]
    """What is played; `bilevel games` lists the names."""
    method_name: Annotated[str, tyro.conf.arg(name="method", metavar="NAME")]
    """Who learns what; `bilevel methods` lists the names."""
    game: Game
    """The game's settings."""
    method: Method
    """The method's settings."""
    seeds: int = 32
    """Independent repetitions, all in one batch, 1 or more: the random seeds seed, seed + 1, ..."""
    seed: int = 0
    """The first random seed, a whole number from 0: each gives the same bits, alone or beside others."""
    outer_steps: int = 300
    """Outer steps, 1 or more (methods that learn nothing above count theirs the same way)."""
    checkpoint_every: int = 50
    """Outer steps between checkpoints, 1 or more."""
    evaluation_episodes: int = 1024
    """Fresh episodes per seed on which the final policies are measured, 2 or more; unused when exact."""
    dtype: DtypeName = "auto"
    """Floating type; auto: float64 for exact values, float32 for sampled episodes."""
    device: str = "cpu"
    """Any torch device that has random generators, for instance cpu or cuda:0."""
    threads: int = 1
    """CPU threads, from 1 to 1024; sums may round differently with another number."""
    compile: CompileChoice = "auto"
    """Whether the hypergradient's steps are compiled, which rounds differently: always, never, or auto, where
    the run measures its first steps and compiles if that saves time (docs/compiled.md)."""

    def __post_init__(self) -> None:
        for name in ("seeds", "outer_steps", "checkpoint_every", "threads", "evaluation_episodes", "seed"):
            value = getattr(self, name)
            require(type(value) is int, f"{name} must be a whole number, not {value!r}.")
        for name in ("seeds", "outer_steps", "checkpoint_every", "threads"):
            require(getattr(self, name) >= 1, f"{name} must be 1 or more, not {getattr(self, name)}.")
        require(self.seeds <= MOST_SEEDS, f"seeds must be {MOST_SEEDS} or less, not {self.seeds}.")
        require(
            self.evaluation_episodes >= 2,
            f"evaluation_episodes must be 2 or more, not {self.evaluation_episodes}.",
        )
        require(0 <= self.seed <= LARGEST_SEED, f"seed must be from 0 to {LARGEST_SEED}, not {self.seed}.")
        require(self.dtype in DTYPES, f"dtype must be {', '.join(DTYPES)}, not {self.dtype!r}.")
        require(self.compile in COMPILE, f"compile must be {', '.join(COMPILE)}, not {self.compile!r}.")
        require(self.threads <= MOST_THREADS, f"threads must be {MOST_THREADS} or fewer, not {self.threads}.")
        training = getattr(self.method, "training", None)
        if isinstance(training, Staged):
            require(
                training.outer_steps < self.outer_steps,
                "training.outer_steps must leave outer steps to train policies in, but it is "
                f"{training.outer_steps} of {self.outer_steps}.",
            )
        if isinstance(training, Curriculum):
            require_end(training.phases, self.outer_steps)
        _require_device(self.device)

    @property
    def placement(self) -> Placement:
        """Seeds, precision and device, for `Method.build`."""
        exact = self.method.exact and isinstance(self.game, ExactGame)
        name = ("float64" if exact else "float32") if self.dtype == "auto" else self.dtype
        return Placement(
            seeds=self.seeds,
            dtype=getattr(torch, name),
            device=self.device,
            compile=self.compile == "always",
        )

    @functools.cached_property
    def plain(self) -> dict[str, Any]:
        """Every setting as JSON can hold it: schedules, estimators and phases in their text forms.

        Raises:
            ValueError: the estimator has no name (says how to give it one).
        """
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        game: Any = self.game
        return settings | {"game": dataclasses.asdict(game), "method": plain_settings(self.method)}

    def to_json(self) -> dict[str, Any]:
        """The content of config.json: every setting, the versions, the commit.

        Raises:
            ValueError: as `plain`.
        """
        return {"format": FORMAT, **self.plain, **provenance()}


def default_config(game_name: str, method_name: str) -> RunConfig:
    """The configuration that works for this pair without a further word.

    Raises:
        ValueError: there is no such game or method (names the nearest ones).

    >>> default_config("escape-room", "tos").game.num_agents
    2
    """
    game, method = preset(game_name, method_name)
    return RunConfig(game_name=game_name, method_name=method_name, game=game, method=method, **sizes(game))


def load_config(path: Path) -> RunConfig:
    """Read config.json back.

    Raises:
        ValueError: there is no such file, or it is not a configuration of a run (says why).
    """
    require_regular(path.parent)
    try:
        saved = parse_json(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{path.parent} is not a run folder: it has no {path.name}.") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a run's configuration: {error}.") from error
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        found = saved.get("format") if isinstance(saved, dict) else None
        require(
            found != OLD_FORMAT,
            f"{path} is of the form {OLD_FORMAT}, in which a method's settings are not in parts (policy, "
            f"inner, outer, training), and this version reads {FORMAT} only: train the run again.",
        )
        raise ValueError(f"{path} is not a configuration of the form {FORMAT} (it says {found!r}).")
    settings = {name: value for name, value in saved.items() if name not in BESIDE}
    try:
        return from_settings(settings)
    except ValueError as error:
        hint = " (One of your own comes with --load FILE.py.)" if str(error).startswith(UNKNOWN) else ""
        raise ValueError(f"{path} is not a configuration that can be run: {error}{hint}") from error


def from_settings(settings: Any) -> RunConfig:
    """Build a configuration from its JSON form (`RunConfig.plain`).

    Raises:
        ValueError: there is no such game or method, or a setting is missing, unknown, of another type or out
            of range (says which).
    """
    require(isinstance(settings, dict), f"Settings are an object of names and values, not {settings!r}.")
    for name in ("game_name", "method_name"):
        require(isinstance(settings.get(name), str), f"The setting {name} must be a name.")
    default = default_config(settings["game_name"], settings["method_name"])
    config: RunConfig = restore(default, settings)
    return config


def _require_device(device: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of device types that torch gives up
            torch.empty(0, device=device)
            torch.Generator(device)
    except Exception as error:  # torch's backends have many ways to say no, most of them long
        raise ValueError(
            f"There is no device {device!r} here to train on; there is {', '.join(_devices())}."
        ) from error


def _devices() -> list[str]:
    """The devices of this machine that have random generators."""
    if not torch.accelerator.is_available():
        return ["cpu"]
    kind = torch.accelerator.current_accelerator()
    assert kind is not None
    return ["cpu", *(f"{kind.type}:{index}" for index in range(torch.accelerator.device_count()))]
