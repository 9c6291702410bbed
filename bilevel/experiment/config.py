"""One documented dataclass is the whole configuration of a run, and config.json is that dataclass."""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from bilevel.errors import require
from bilevel.experiment.presets import preset
from bilevel.methods.base import Method, Placement
from games.base import ExactGame, Game

FORMAT = "bilevel-run/1"
RECORDED_PACKAGES = ("bilevel", "torch", "torchopt", "numpy", "scipy", "gymnasium", "pettingzoo")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a run's numbers, and where it goes."""

    game_name: Annotated[str, tyro.conf.arg(name="game", metavar="NAME")]
    """What is played; `bilevel games` lists the names."""
    method_name: Annotated[str, tyro.conf.arg(name="method", metavar="NAME")]
    """Who learns what; `bilevel methods` lists the names."""
    game: Game
    """The game's settings."""
    method: Method
    """The method's settings."""
    seeds: int = 32
    """Independent repetitions, all in one batch, 1 or more."""
    seed: int = 0
    """Where all randomness starts: the same seed gives the same bits."""
    outer_steps: int = 300
    """Outer steps, 1 or more (methods that learn nothing above count theirs the same way)."""
    checkpoint_every: int = 50
    """Outer steps between checkpoints, 1 or more."""
    evaluation_episodes: int = 1024
    """Fresh episodes per seed on which the final policies are measured; unused when values are exact."""
    dtype: Literal["auto", "float32", "float64"] = "auto"
    """Floating type; auto: float64 for exact values, float32 for sampled episodes."""
    device: str = "cpu"
    """Any torch device."""
    threads: int = 1
    """CPU threads; sums may round differently with another number."""

    def __post_init__(self) -> None:
        for name in ("seeds", "outer_steps", "checkpoint_every", "threads"):
            require(getattr(self, name) >= 1, f"{name} must be 1 or more, not {getattr(self, name)}.")
        require(self.evaluation_episodes >= 2, "evaluation_episodes must be 2 or more.")
        require(self.seed >= 0, f"seed must be 0 or more, not {self.seed}.")
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"There is no device {self.device!r} here: {reason}") from error

    @property
    def placement(self) -> Placement:
        """Seeds, precision and device, for `Method.build`."""
        exact = self.method.exact and isinstance(self.game, ExactGame)
        name = ("float64" if exact else "float32") if self.dtype == "auto" else self.dtype
        return Placement(seeds=self.seeds, dtype=getattr(torch, name), device=self.device)

    def to_json(self) -> dict[str, Any]:
        """What config.json holds: every setting, the versions, the commit."""
        return {
            "format": FORMAT,
            **dataclasses.asdict(self),
            "versions": {name: version(name) for name in RECORDED_PACKAGES}
            | {"python": platform.python_version()},
            "commit": _commit(),
        }


def default_config(game_name: str, method_name: str) -> RunConfig:
    """The configuration that works for this pair without a further word.

    Raises:
        ValueError: there is no such game or method (names the nearest ones).

    >>> default_config("escape-room", "tos").game.num_agents
    2
    """
    game, method = preset(game_name, method_name)
    return RunConfig(game_name=game_name, method_name=method_name, game=game, method=method)


def load_config(path: Path) -> RunConfig:
    """Read config.json back.

    Raises:
        ValueError: there is no such file, or it is not a configuration of a run (says why).
    """
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.parent} is not a run folder: it has no {path.name}.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a run's configuration: {error}.") from error
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        found = saved.get("format") if isinstance(saved, dict) else None
        raise ValueError(f"{path} is not a configuration of the form {FORMAT} (it says {found!r}).")
    try:
        default = default_config(saved["game_name"], saved["method_name"])
        known = {field.name for field in dataclasses.fields(RunConfig)}
        config: RunConfig = _apply(default, {key: value for key, value in saved.items() if key in known})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a whole configuration: {error}.") from error
    return config


def _apply(default: Any, saved: dict[str, Any]) -> Any:
    """Replace a dataclass's settings by saved ones, nested dataclasses likewise."""

    def restore(name: str, value: Any) -> Any:
        before = getattr(default, name)
        if dataclasses.is_dataclass(before) and isinstance(value, dict):
            return _apply(before, value)
        return _tuples(value)

    return dataclasses.replace(default, **{name: restore(name, value) for name, value in saved.items()})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _commit() -> str | None:
    """The commit this code runs from, with -dirty if files differ; None outside a repository."""
    here = Path(__file__).resolve().parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
