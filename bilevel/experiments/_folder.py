"""The folder of a run: its files, how it comes to be, and what a finished one holds.

summary.json, which says that a run is finished, and what its files then were.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

from bilevel.agents import Distribution, Policy, distribution_of
from bilevel.core import counted
from bilevel.experiments._allocator import keep_freed_memory
from bilevel.experiments._checkpoint import load_checkpoint, read_outer_step
from bilevel.experiments._config import RunConfig, from_settings, load_config
from bilevel.experiments._files import FULL, digest_of, make_folder, parse_json, vacant, write_text
from bilevel.experiments._metrics import in_every_step, is_array, read_metrics
from bilevel.experiments._policies import AgentPolicy, save_policies
from bilevel.experiments._provenance import PROVENANCE, RESUMPTIONS, resumptions
from bilevel.experiments._statistics import interquartile_mean
from bilevel.methods import HasPolicies, Learner, State
from games.core import require

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT = "bilevel-summary/1"
BEFORE = {"outer_steps", "seconds"}
"""All that versions without check sums wrote."""


class UncheckedWarning(UserWarning):
    """Files of a run were read that no check sum is kept of."""


def write_summary(path: Path, outer_steps: int, seconds: float, files: Mapping[str, str]) -> None:
    """Write the summary of a finished run, whole or not at all.

    Args:
        path: of the summary.
        outer_steps: how many were taken.
        seconds: spent in training.
        files: name -> SHA-256 sum of each file beside it.

    Raises:
        OSError: it cannot be written.
    """
    content = {"format": FORMAT, "outer_steps": outer_steps, "seconds": seconds, "files": dict(files)}
    write_text(path, json.dumps({**content, "sha256": _sum(content)}, indent=2) + "\n")


def read_summary(path: Path) -> tuple[float, dict[str, str]]:
    """Read a summary back.

    Returns:
        the seconds spent in training, and name -> check sum of the files beside it; of runs of versions that
        kept none, none, with an `UncheckedWarning`.

    Raises:
        ValueError: it is damaged, or no summary.
    """
    advice = f"delete it, and bilevel train --resume {path.parent} evaluates the run again"
    refusal = f"{path} is not the summary of a run, or it is damaged: {advice}."
    try:
        content: dict[str, Any] = parse_json(path.read_bytes())
        if set(content) == BEFORE:
            warnings.warn(f"{path} is of a version that kept no check sums.", UncheckedWarning, stacklevel=3)
            return float(content["seconds"]), {}
        whole = content.pop("sha256") == _sum(content) and content["format"] == FORMAT
        seconds, files = (
            float(content["seconds"]),
            {str(key): str(value) for key, value in content["files"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(refusal) from error
    require(whole, refusal)
    return seconds, files


def require_unharmed(path: Path, digest: str, advice: str) -> None:
    """Raise ValueError, with advice, unless a file is there and has this check sum."""
    try:
        found = digest_of(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): {advice}.") from error
    require(found == digest, f"{path} is damaged, or was changed after the run ended: {advice}.")


def _sum(content: Mapping[str, Any]) -> str:
    """The check sum of what a summary says, in one fixed form."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path
    """The folder itself; a string will do."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    @property
    def config(self) -> Path:
        """The whole configuration, versions, commit."""
        return self.path / "config.json"

    @property
    def checkpoint(self) -> Path:
        """Where the run stands."""
        return self.path / "checkpoint.pt"

    @property
    def metrics(self) -> Path:
        """One row per outer step and seed."""
        return self.path / "metrics.csv"

    @property
    def evaluation(self) -> Path:
        """The final policies on fresh episodes: one row per seed; there when the run is finished."""
        return self.path / "evaluation.csv"

    @property
    def summary(self) -> Path:
        """Seconds and steps; there when the run is finished."""
        return self.path / "summary.json"

    @property
    def figures(self) -> Path:
        """The folder of figures."""
        return self.path / "figures"

    @property
    def finished(self) -> bool:
        """Whether training and evaluation are done."""
        return self.summary.exists()

    def discard(self) -> None:
        """Remove the folder of a run that was never begun, with all that such a run has; config.json last."""
        for file in (self.metrics, self.path / RESUMPTIONS, self.config):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody else's files stay
            self.path.rmdir()


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run: its configuration, learning curves, final measurements and policies."""

    config: RunConfig
    """The run's whole configuration."""
    curves: dict[str, np.ndarray]
    """Metric name -> [outer step, seed]."""
    final: dict[str, np.ndarray]
    """Metric name -> [seed], the final policies on fresh episodes."""
    seconds: float
    """Spent in training."""
    provenance: tuple[dict[str, Any], ...] = ()
    """From which outer step on, under which versions and commit: how it began, then each resumption."""
    path: Path | None = None
    """Its folder; None for runs that were joined."""

    def __repr__(self) -> str:
        config, welfare = self.config, self.final["welfare"]
        return (
            f"Run({config.method_name} on {config.game_name}: {counted(config.seeds, 'seed')}, "
            f"{counted(config.outer_steps, 'outer step')}, welfare {interquartile_mean(welfare):.4g}"
            f"{'' if self.path is None else f', in {self.path}'})"
        )

    def to_pandas(self, part: Literal["curves", "final"] = "curves") -> DataFrame:
        """Metrics as a data frame, one column per metric; matrices of many agents are left out.

        Args:
            part: `curves`, a row per outer step and seed, or `final`, a row per seed, measured on fresh
                episodes after training.

        Raises:
            ValueError: pandas is not installed, or there is no such part.
        """
        require(part in ("curves", "final"), f"part must be curves or final, not {part!r}.")
        require_pandas()
        from pandas import DataFrame  # noqa: PLC0415

        table = self.curves if part == "curves" else {name: found[None] for name, found in self.final.items()}
        steps, seeds = table["welfare"].shape
        index = {"outer_step": np.repeat(np.arange(steps), seeds)} if part == "curves" else {}
        seed = {"seed": np.tile(np.arange(self.config.seed, self.config.seed + seeds), steps)}
        numbers = {name: values.reshape(-1) for name, values in table.items() if values.ndim == 2}
        return DataFrame(index | seed | numbers)

    def policy(self, agent: int, repetition: int = 0) -> AgentPolicy:
        """What one agent has learned in one of the run's seeds, to act in any loop.

        Args:
            agent: which one, from 0.
            repetition: which seed, from 0.

        Raises:
            ValueError: there is no such agent or repetition, the run's folder is gone or was joined of
                several, or its agents do not act by their own observations alone (says which).
        """
        return AgentPolicy(*self._policies(repetition), agent)

    def export(self, path: str | Path, repetition: int = 0) -> None:
        """Write all agents' policies of one seed to a file that `load_policy` reads.

        Args:
            path: of the file, which is replaced.
            repetition: which seed, from 0.

        Raises:
            ValueError: as `policy`.
            OSError: the file cannot be written.
        """
        save_policies(Path(path), *self._policies(repetition))

    def learner(self) -> tuple[Learner, State]:
        """Build the run's learner, and load its last state.

        Raises:
            ValueError: the run was joined of several, or its checkpoint is gone or damaged.
        """
        require(self.path is not None, "Joined runs have no folder to take policies from: load one of them.")
        assert self.path is not None
        learner = self.config.method.build(self.config.game, self.config.placement)
        fresh = learner.init(self.config.seed)
        return learner, load_checkpoint(RunFolder(self.path).checkpoint, like=fresh).state

    def _policies(self, repetition: int) -> tuple[Policy, Distribution, Tensor]:
        config = self.config
        require(
            0 <= repetition < config.seeds,
            f"The run has {config.seeds} repetitions, 0 to {config.seeds - 1}; there is no {repetition}.",
        )
        learner, state = self.learner()
        require(
            isinstance(learner, HasPolicies),
            f"Agents of {config.method_name} do not act by their own observations alone, so that one "
            "agent's policy cannot be taken out: bilevel play shows them together.",
        )
        assert isinstance(learner, HasPolicies)
        policy, theta = learner.policies(state, repetition)
        return policy, distribution_of(config.method.played(config.game)), theta


def require_pandas() -> None:
    """Raise ValueError, with advice, unless pandas is installed."""
    require(find_spec("pandas") is not None, "A data frame needs pandas: pip install pandas")


def create_run(config: RunConfig, path: str | Path) -> RunFolder:
    """Make the folder of a new run, with its config.json; what cannot run makes none.

    Raises:
        ValueError: the folder exists (nothing is ever overwritten) or cannot be made; or the method does not
            apply to the game; or config.json could not say what the game is, because `game_name` names a
            game of another class, or what the estimator is, because its class has no name; or BILEVEL_MALLOC
            is neither keep nor system.
    """
    path = Path(path)
    keep_freed_memory()
    config.method.build(config.game, config.placement)
    text = json.dumps(config.to_json(), indent=2) + "\n"
    kept = from_settings(json.loads(json.dumps(config.plain)))
    require(
        kept == config,
        f"The game or method is not the one that {config.game_name} and {config.method_name} name.",
    )
    folder = RunFolder(path)
    try:
        make_folder(path, folder.config.name, text)
    except FileExistsError:
        raise ValueError(
            f"{path} exists, and a run never overwrites: choose another folder, or continue that run with "
            f"bilevel train --resume {path}"
        ) from None
    except OSError as error:
        if error.errno in FULL:
            raise
        raise ValueError(f"The folder {path} cannot be made: {error.strerror}.") from error
    return folder


def is_new(path: Path) -> bool:
    """Whether `create_run` can make a run here: there is nothing, or an empty folder."""
    return vacant(path, RunFolder(path).config.name)


def load_run(folder: str | Path | RunFolder) -> Run:
    """Load a finished run.

    Args:
        folder: of the run.

    Raises:
        ValueError: it is no run, is not finished, or a file is damaged (says which).
    """
    folder = folder if isinstance(folder, RunFolder) else RunFolder(Path(folder))
    config = load_config(folder.config)
    require(
        folder.finished,
        f"{folder.path} is not finished: continue it with bilevel train --resume {folder.path}",
    )
    seconds, files = read_summary(folder.summary)
    for name, digest in files.items():
        _require_unharmed(folder, name, digest)
    curves, final = (
        read_metrics(path, [name for name in files if is_array(path, name)])
        for path in (folder.metrics, folder.evaluation)
    )
    for path, table, steps in ((folder.metrics, curves, config.outer_steps), (folder.evaluation, final, 1)):
        shape = next(iter(table.values())).shape
        same = all(values.shape[:2] == (steps, config.seeds) for values in table.values())
        require(
            same and _of_every_step(table) == curves.keys(),
            f"{path} does not belong to this run: it has {shape[0]} steps of {shape[1]} seeds with "
            f"{len(table)} metrics, not {steps} steps of {config.seeds} seeds with {len(curves)} metrics.",
        )
    last = {name: values[0] for name, values in final.items()}
    return Run(config, curves, last, seconds, _provenance(folder), folder.path)


def _of_every_step(table: Mapping[str, np.ndarray]) -> set[str]:
    return {name for name, values in table.items() if in_every_step(values.shape[1:])}


def _require_unharmed(folder: RunFolder, name: str, digest: str) -> None:
    """Raise ValueError, saying what to do, unless a file of a finished run is what it was."""
    again = f"bilevel train --resume {folder.path}"
    delete, does = "summary.json", "evaluates"
    if name == folder.metrics.name or is_array(folder.metrics, name):
        delete, does = "summary.json and checkpoint.pt", "trains"
    elif name == RESUMPTIONS:
        delete = "it and summary.json"
    else:
        known = name in (folder.config.name, folder.evaluation.name) or is_array(folder.evaluation, name)
        require(known, f"{folder.summary} speaks of {name!r}, which is no file of a run.")
    advice = f"put back a copy of it, or delete {delete}, and {again} {does} the run again"
    require_unharmed(folder.path / name, digest, advice)


def _provenance(folder: RunFolder) -> tuple[dict[str, Any], ...]:
    began = json.loads(folder.config.read_text(encoding="utf-8"))
    return {"outer_step": 0, **{name: began.get(name) for name in PROVENANCE}}, *resumptions(folder.path)


def standing(folder: RunFolder) -> str:
    """Where a run stands on the disk, in one sentence.

    Raises:
        ValueError: it is no run, or its checkpoint is damaged.
    """
    if folder.finished:
        return f"{folder.path} is trained and evaluated."
    if not folder.checkpoint.exists():
        return f"{folder.path} has no checkpoint yet and would start again."
    done, total = read_outer_step(folder.checkpoint), load_config(folder.config).outer_steps
    return f"{folder.path} is saved after {done} of {total} outer steps."
