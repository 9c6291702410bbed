"""Configuration of a run: one documented dataclass, from names, single settings or config.json."""

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

import games
from bilevel.core import fits, spelled
from bilevel.experiments._files import parse_json, require_regular
from bilevel.experiments._graph_text import read_graph, write_graph
from bilevel.experiments._presets import preset, sizes
from bilevel.experiments._resumable import PROVENANCE, provenance
from bilevel.methods import (
    METHODS,
    Curriculum,
    Learner,
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
from games.networked import Graph

MOST_SEEDS = 1_000_000
LARGEST_SEED = 2**63 - MOST_SEEDS
"""Largest first seed of a run: its last one must be a 64-bit integer, too."""
MOST_THREADS = 1024
"""Maximum number of threads: with very many OpenMP aborts without a message."""
LEAST = {"seeds": 1, "outer_steps": 1, "checkpoint_every": 1, "threads": 1, "evaluation_episodes": 2}
FORMAT = "bilevel-run/2"
OLD_FORMAT = "bilevel-run/1"
CompileChoice = Literal["auto", "always", "never"]
DtypeName = Literal["auto", "float32", "float64"]
"""Floating type of a run; auto: float64 for exact values, float32 for sampled episodes."""
NOT_SETTINGS = ("format", *PROVENANCE)
"""Entries of config.json that are not settings."""
ADDED = {
    "game.noise": 0.0,
    "method.action_inputs": "actions",
    "method.follow_graph": False,
    "method.inner.alignment": "none",
    "method.inner.alignment_coef": 1.0,
    "method.inner.center_adv": False,
    "method.inner.discount": None,
    "method.policy.initial_scale": 1.0,
    "method.rule": {"variant": "naive"},
}
"""Settings that are newer than the format -> their values in runs that do not have them."""
UNKNOWN = ("There is no game ", "There is no method ", "There is no hypergradient ")
"""Beginnings of messages about names that --load may register."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All settings that determine the numbers of a run.

    Raises:
        ValueError: a setting is out of range, or there is no such device.

    >>> import dataclasses
    >>> from bilevel.experiments import default_config, train
    >>> config = dataclasses.replace(default_config("chicken", "tos"), seeds=4, outer_steps=2)
    >>> train(config, out="run").curves["welfare"].shape
    (2, 4)
    """

    game_name: Annotated[str, tyro.conf.arg(name="game", metavar="NAME")]
    """Name of the game; `bilevel games` lists them."""
    method_name: Annotated[str, tyro.conf.arg(name="method", metavar="NAME")]
    """Name of the method; `bilevel methods` lists them."""
    game: Game
    """The game's settings."""
    method: Method
    """The method's settings."""
    seeds: int = 32
    """Number of independent repetitions, 1 or more, trained in one batch with seeds seed, seed + 1, ..."""
    seed: int = 0
    """First random seed, a nonnegative integer; results of a seed are bit-for-bit the same in any batch."""
    outer_steps: int = 300
    """Number of outer steps, 1 or more; in methods without outer variables, each is `inner.steps` policy
    updates."""
    checkpoint_every: int = 50
    """Outer steps between checkpoints, 1 or more."""
    evaluation_episodes: int = 1024
    """Fresh episodes per seed to evaluate the final policies on, 2 or more; unused if values are exact."""
    dtype: DtypeName = "auto"
    """Floating-point type; auto: float64 for exact values, float32 for sampled episodes."""
    device: str = "cpu"
    """Torch device, for instance cpu or cuda:0; it must support random generators."""
    threads: int = 1
    """CPU threads, from 1 to 1024; their number can change the rounding of sums."""
    compile: CompileChoice = "auto"
    """Compile the inner steps: always, never, or auto, which times the first steps of the run and compiles if
    that saves time. Compiled steps round differently (docs/explanation/compiled-steps.md)."""

    def __post_init__(self) -> None:
        for name in (*LEAST, "seed"):
            value = getattr(self, name)
            require(type(value) is int, f"{name} must be a whole number, not {value!r}.")
        for name, least in LEAST.items():
            value = getattr(self, name)
            require(value >= least, f"{name} must be {least} or more, not {value}.")
        require(self.seeds <= MOST_SEEDS, f"seeds must be {MOST_SEEDS} or less, not {self.seeds}.")
        require(0 <= self.seed <= LARGEST_SEED, f"seed must be from 0 to {LARGEST_SEED}, not {self.seed}.")
        require(self.threads <= MOST_THREADS, f"threads must be {MOST_THREADS} or fewer, not {self.threads}.")
        for name, choices in (("dtype", get_args(DtypeName)), ("compile", get_args(CompileChoice))):
            value = getattr(self, name)
            require(value in choices, f"{name} must be {', '.join(choices)}, not {value!r}.")
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
    def exact(self) -> bool:
        """True if agents learn from exact values, without episodes."""
        return self.method.exact and isinstance(self.game, ExactGame)

    @property
    def placement(self) -> Placement:
        """Seeds, precision and device, for `Method.build`."""
        name = ("float64" if self.exact else "float32") if self.dtype == "auto" else self.dtype
        return Placement(
            seeds=self.seeds, dtype=getattr(torch, name), device=self.device, compile=self.compile == "always"
        )

    @functools.cached_property
    def _learner(self) -> Learner:
        return self.method.build(self.game, self.placement)

    def require_applicable(self) -> None:
        """Require that the method applies to the game; keeps the learner for `build_learner`.

        Raises:
            ValueError: it does not (with the reason).
        """
        _ = self._learner

    def build_learner(self) -> Learner:
        """Build the method's learner, a new one for each caller."""
        learner = self._learner
        del vars(self)["_learner"]
        return learner

    @functools.cached_property
    def plain(self) -> dict[str, Any]:
        """All settings in JSON form; ValueError if the estimator has no name."""
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return settings | {"game": _plain_game(self.game), "method": plain_settings(self.method)}

    def to_json(self) -> dict[str, Any]:
        """Content of config.json: all settings, versions, commit; ValueError as `plain`."""
        return {"format": FORMAT, **self.plain, **provenance()}


def _plain_game(game: Any) -> dict[str, Any]:
    """Settings of a game in JSON form; kinds of graphs as text."""
    values = {name: getattr(game, name) for name in _names(game)}
    graphs = {name: write_graph(value) for name, value in values.items() if isinstance(value, Graph)}
    return dataclasses.asdict(game) | graphs


def default_config(game_name: str, method_name: str) -> RunConfig:
    """Build the configuration of a game and a method with their presets.

    Args:
        game_name: one of `games.names()`.
        method_name: one of `METHODS`.

    Raises:
        ValueError: there is no such game or method (names the nearest ones).

    >>> default_config("escape-room", "tos").game.num_agents
    2
    """
    game, method = preset(game_name, method_name)
    return RunConfig(game_name=game_name, method_name=method_name, game=game, method=method, **sizes(game))


def named_config(game: str | Game, method: str | Method) -> RunConfig:
    """Build the configuration of a game and a method, each by its name or as an object.

    Raises:
        ValueError: there is no such game or method (names the nearest), or an object's class has no name.
    """
    config = default_config(
        game if isinstance(game, str) else _game_name(game),
        method if isinstance(method, str) else _method_name(method),
    )
    objects = {"game": game, "method": method}
    changes: dict[str, Any] = {name: value for name, value in objects.items() if not isinstance(value, str)}
    return dataclasses.replace(config, **changes)


def _game_name(game: Game) -> str:
    """Name of an equal game in the catalogue, or else of one of its class."""
    same_class = [name for name in games.names() if type(games.make(name)) is type(game)]
    require(
        len(same_class) > 0,
        f"{type(game).__name__} is not in the catalogue: games.register(NAME, game) gives it a name.",
    )
    return next((name for name in same_class if games.make(name) == game), same_class[0])


def _method_name(method: Method) -> str:
    for name, kind in METHODS.items():
        if kind is type(method):
            return name
    raise ValueError(
        f"{type(method).__name__} has no name: bilevel.register_method(NAME, CLASS) gives it one."
    )


def configured(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """Replace settings of a configuration: the run's by name, the game's and the method's by dotted names.

    Raises:
        ValueError: a setting is unknown (names the nearest) or out of range.

    >>> config = configured(default_config("escape-room", "tos"), {"seeds": 8, "game.horizon": 3})
    >>> config.seeds, config.game.horizon
    (8, 3)
    >>> configured(config, {"inner": "ppo", "inner.clip_coef": 0.1, "own_share": 0.8}).method.own_share
    0.8
    """
    run: dict[str, Any] = {}
    game: dict[str, Any] = {}
    method: dict[str, Any] = {}
    for name, value in settings.items():
        if name.startswith("game."):
            game[name.removeprefix("game.")] = value
        elif "." in name or (name not in _names(config) and name in _names(config.method)):
            method[name] = value
        else:
            require_name(name, _names(config), "setting of a run")
            run[name] = value
    if game:
        run["game"] = _game_with(config, game)
    if method:
        run["method"] = config.method.with_settings(method)
    return dataclasses.replace(config, **run)


def _game_with(config: RunConfig, settings: Mapping[str, Any]) -> Game:
    """Replace settings of a game, of which graphs may be text."""
    before: Any = config.game
    hints = get_type_hints(type(before), include_extras=True)
    changed = {}
    for name, value in settings.items():
        require_name(name, _names(before), f"setting of {config.game_name}")
        default = getattr(before, name)
        if isinstance(default, Graph):
            changed[name] = read_graph(value) if isinstance(value, str) else value
        elif dataclasses.is_dataclass(default) or callable(default):
            changed[name] = value
        else:
            changed[name] = _restore_value(hints[name], value, f"game.{name}")
    game: Game = dataclasses.replace(before, **changed)
    return game


def _names(settings: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(settings)]


def load_config(path: Path) -> RunConfig:
    """Load a configuration from config.json.

    Raises:
        ValueError: there is no such file, or it is not a configuration of a run (with the reason).

    >>> from pathlib import Path
    >>> from bilevel.experiments import create_run, default_config
    >>> config = default_config("chicken", "tos")
    >>> folder = create_run(config, "run")
    >>> load_config(Path("run/config.json")) == config
    True
    """
    require_regular(path.parent)
    try:
        saved = parse_json(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{path.parent} is not a run folder: it has no {path.name}.") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a run's configuration: {error}.") from error
    saved_format = saved.get("format") if isinstance(saved, dict) else None
    require(
        saved_format != OLD_FORMAT,
        f"{path} is of the form {OLD_FORMAT}, in which a method's settings are not in parts (policy, "
        f"inner, outer, training), and this version reads {FORMAT} only: train the run again.",
    )
    require(
        saved_format == FORMAT,
        f"{path} is not a configuration of the form {FORMAT} (it says {saved_format!r}).",
    )
    try:
        return from_settings({name: value for name, value in saved.items() if name not in NOT_SETTINGS})
    except ValueError as error:
        hint = " (One of your own comes with --load FILE.py.)" if str(error).startswith(UNKNOWN) else ""
        raise ValueError(f"{path} is not a configuration that can be run: {error}{hint}") from error


def from_settings(settings: Any) -> RunConfig:
    """Build a configuration from its JSON form (`RunConfig.plain`).

    Raises:
        ValueError: a setting is missing, unknown, of another type, or out of range.

    >>> config = default_config("chicken", "tos")
    >>> from_settings(config.plain) == config
    True
    """
    require(isinstance(settings, dict), f"Settings are an object of names and values, not {settings!r}.")
    for name in ("game_name", "method_name"):
        require(isinstance(settings.get(name), str), f"The setting {name} must be a name.")
    config: RunConfig = _restore(default_config(settings["game_name"], settings["method_name"]), settings)
    return config


def _restore(default: Any, saved: Any, name: str = "") -> Any:
    """Build settings of the types in `default` from their JSON form; `name` is for messages."""

    def value_of(setting: str, hint: Any) -> Any:
        where, before, value = _join(name, setting), getattr(default, setting), saved[setting]
        if isinstance(before, SettingsGroup) or setting in parts:
            return _restore_part(parts[setting], value, where)
        if isinstance(before, Graph):
            require(isinstance(value, str), f"{where} must be a graph as text, but it is {value!r}.")
            return read_graph(value)
        if dataclasses.is_dataclass(before) and not callable(before):
            return _restore(before, value, where)
        return _restore_value(hint, value, where)

    parts = parts_of(type(default)) if isinstance(default, Method) else {}
    hints = get_type_hints(type(default), include_extras=True)
    saved = _complete(saved, set(_names(default)), name)
    return dataclasses.replace(default, **{setting: value_of(setting, hints[setting]) for setting in saved})


def _restore_part(variants: Mapping[str, type[SettingsGroup] | None], saved: Any, name: str) -> Any:
    if saved is None and "none" in variants:
        return None
    require(isinstance(saved, dict), f"{name} must be an object with settings, but it is {saved!r}.")
    saved = dict(saved)
    chosen = saved.pop("variant", None) if len(variants) > 1 else next(iter(variants))
    require(isinstance(chosen, str), f"The setting {name}.variant is missing.")
    require_name(chosen, [variant for variant, group in variants.items() if group], name)
    kind: Any = variants[chosen]
    hints = hints_of(kind)
    saved = _complete(saved, set(hints), name)
    return kind(**{each: _restore_value(hints[each], saved[each], _join(name, each)) for each in saved})


def _restore_value(hint: Any, saved: Any, name: str) -> Any:
    value = read_value(name, hint, saved)
    read = value is not saved and isinstance(saved, str)
    require(read or fits(value, hint), f"{name} must be of the type {spelled(hint)}, but it is {value!r}.")
    return value


def _complete(saved: Any, known: set[str], name: str) -> dict[str, Any]:
    """Add newer settings to saved ones; ValueError, naming it, if one is missing or unknown."""
    require(isinstance(saved, dict), f"{name} must be an object with settings, but it is {saved!r}.")
    missing = {_join(name, setting): setting for setting in known - saved.keys()}
    complete: dict[str, Any] = saved | {
        setting: ADDED[full] for full, setting in missing.items() if full in ADDED
    }
    for setting in sorted(known - complete.keys()):
        raise ValueError(f"The setting {_join(name, setting)} is missing.")
    for setting in sorted(complete.keys() - known):
        raise ValueError(f"There is no setting {_join(name, setting)}.")
    return complete


def _join(name: str, setting: str) -> str:
    return f"{name}.{setting}" if name else setting


def _require_device(device: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about device types that torch deprecates
            torch.empty(0, device=device)
            torch.Generator(device)
    except Exception as error:  # torch's backends raise various, mostly long, errors
        kind = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        others = [f"{kind.type}:{index}" for index in range(torch.accelerator.device_count())] if kind else []
        raise ValueError(
            f"There is no device {device!r} here to train on; there is {', '.join(['cpu', *others])}."
        ) from error
