"""Folder of a run: its files, and the summary with checksums that marks it as finished."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import games
from bilevel.experiments._checkpoint import read_outer_step
from bilevel.experiments._config import RunConfig, default_config, load_config
from bilevel.experiments._execution import keep_freed_memory
from bilevel.experiments._files import parse_json, write_text
from bilevel.experiments._resumable import RESUMPTIONS, ResumableFolder, differences
from games.core import require
from games.networked import Graph

FORMAT = "bilevel-summary/1"
WRITTEN: dict[Path, tuple[str, RunConfig]] = {}
"""Last folder created by this process -> the text of its config.json, and the configuration."""


@dataclass(frozen=True)
class RunFolder(ResumableFolder):
    """The files of one run.

    >>> from bilevel.experiments import create_run, default_config, train
    >>> folder = create_run(default_config("chicken", "tos"), "run")
    >>> folder, folder.finished, folder.metrics.name
    (RunFolder(path=...Path('run')), False, 'metrics.csv')
    """

    settings_file: ClassVar[str] = "config.json"
    content: ClassVar[str] = "a run"

    def load_config(self) -> RunConfig:
        """Load the configuration from config.json; not parsed again while the file is unchanged."""
        text, config = WRITTEN.get(self.path, ("", None))
        if config is not None and config.game_name in games.names():
            with contextlib.suppress(OSError):
                if self.config.read_text(encoding="utf-8") == text:
                    return config
        return load_config(self.config)

    @property
    def checkpoint(self) -> Path:
        """Path of the checkpoint, the learner's state after a number of outer steps."""
        return self.path / "checkpoint.pt"

    @property
    def metrics(self) -> Path:
        """Path of the metrics: one row per outer step and seed."""
        return self.path / "metrics.csv"

    @property
    def evaluation(self) -> Path:
        """Path of the final policies' metrics on fresh episodes: one row per seed; exists when finished."""
        return self.path / "evaluation.csv"

    @property
    def summary(self) -> Path:
        """Path of training time, outer steps and checksums; exists when finished."""
        return self.path / "summary.json"

    @property
    def trackers(self) -> Path:
        """Path of the names of the trackers that the run reports to; exists if there are any."""
        return self.path / "trackers.json"

    @property
    def figures(self) -> Path:
        """Path of the folder of figures."""
        return self.path / "figures"

    @property
    def finished(self) -> bool:
        """True if training and evaluation are done."""
        return self.summary.exists()

    def discard(self) -> None:
        """Remove the folder of a run that has taken no outer step; config.json last."""
        for file in (self.metrics, self.path / RESUMPTIONS, self.trackers, self.config):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # other files stay
            self.path.rmdir()


def new_folder(config: RunConfig) -> Path:
    """Name the default folder of a new run: in runs/, by game, method, seed and time, and not there yet.

    >>> from bilevel.experiments import default_config
    >>> new_folder(default_config("chicken", "tos")).as_posix()
    'runs/chicken-tos-0-2...'
    """
    names = config.game_name, config.method_name, str(config.seed), time.strftime("%Y%m%d-%H%M%S")
    first = Path("runs", "-".join(names))
    numbered = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([first], numbered) if not path.exists())


def create_run(config: RunConfig, path: str | Path) -> RunFolder:
    """Create the folder of a new run, with its config.json, if it can be trained.

    Args:
        config: the configuration.
        path: path of the folder, which must not exist.

    Returns:
        The folder, from which `train` starts the run.

    Raises:
        ValueError: the folder exists (nothing is ever overwritten) or cannot be created; the method does not
            apply to the game; config.json could not identify the game, as `game_name` is of another class, or
            the estimator, as its class has no name; or BILEVEL_MALLOC is neither keep nor system.

    >>> import dataclasses
    >>> from bilevel.experiments import default_config, train
    >>> folder = create_run(dataclasses.replace(default_config("chicken", "tos"), outer_steps=2), "run")
    >>> train(folder)
    Run(tos on chicken: 32 seeds, 2 outer steps, welfare ..., in run)
    """
    path = Path(path)
    keep_freed_memory()
    config.require_applicable()
    named = default_config(config.game_name, config.method_name)
    require(
        _same_types(named.game, config.game) and type(named.method) is type(config.method),
        f"The game or method is not the one that {config.game_name} and {config.method_name} name.",
    )
    record = config.to_json()
    folder = RunFolder(path)
    folder.create(
        record,
        refusal=f"{path} exists, and a run never overwrites: choose another folder, or continue that run "
        f"with bilevel train --resume {path}",
    )
    WRITTEN.clear()
    WRITTEN[folder.path] = json.dumps(record, indent=2) + "\n", config
    return folder


def _same_types(one: Any, other: Any) -> bool:
    """True if two games, and the dataclasses in them, are of the same types."""
    if isinstance(one, Graph) and isinstance(other, Graph):
        return True  # text names the kind of graph
    if type(one) is not type(other):
        return False
    pairs = [(getattr(one, each.name), getattr(other, each.name)) for each in dataclasses.fields(one)]
    return all(_same_types(*pair) for pair in pairs if dataclasses.is_dataclass(pair[0]))


def config_differences(one: RunConfig, other: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Compare the settings of two runs: dotted name of each differing one -> both values."""
    return differences(one.plain, other.plain)


def run_status(folder: RunFolder) -> str:
    """Describe the saved progress of a run in one sentence.

    Raises:
        ValueError: its checkpoint is damaged.

    >>> from bilevel.experiments import create_run, default_config
    >>> run_status(create_run(default_config("chicken", "tos"), "run"))
    'run has no checkpoint yet and would start again.'
    """
    if folder.finished:
        return f"{folder.path} is trained and evaluated."
    if not folder.checkpoint.exists():
        return f"{folder.path} has no checkpoint yet and would start again."
    done, total = read_outer_step(folder.checkpoint), folder.load_config().outer_steps
    return f"{folder.path} is saved after {done} of {total} outer steps."


def write_summary(path: Path, outer_steps: int, seconds: float, files: Mapping[str, str]) -> None:
    """Write the summary of a finished run atomically; `files`: name -> SHA-256 checksum."""
    content = {"format": FORMAT, "outer_steps": outer_steps, "seconds": seconds, "files": dict(files)}
    write_text(path, json.dumps({**content, "sha256": _sum(content)}, indent=2) + "\n")


def read_summary(path: Path) -> tuple[float, dict[str, str]]:
    """Read training time, and file name -> checksum, from a summary; ValueError if damaged."""
    advice = f"delete it, and bilevel train --resume {path.parent} evaluates the run again"
    refusal = f"{path} is not the summary of a run, or it is damaged: {advice}."
    try:
        content: dict[str, Any] = parse_json(path.read_bytes())
        whole = content.pop("sha256") == _sum(content) and content["format"] == FORMAT
        files = {str(name): str(digest) for name, digest in content["files"].items()}
        seconds = float(content["seconds"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(refusal) from error
    require(whole, refusal)
    return seconds, files


def _sum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
