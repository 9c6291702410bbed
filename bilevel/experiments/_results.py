"""Finished runs: learning curves, final measurements and policies, and joining runs of other seeds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

from bilevel.agents import Distribution, Policy, distribution_of
from bilevel.core import counted
from bilevel.experiments._checkpoint import load_checkpoint
from bilevel.experiments._config import RunConfig
from bilevel.experiments._files import digest_of
from bilevel.experiments._metrics import ENVIRONMENT_STEPS, in_every_step, is_array, read_metrics
from bilevel.experiments._policies import AgentPolicy, save_policies
from bilevel.experiments._resumable import PROVENANCE, RESUMPTIONS, list_differences, resumptions
from bilevel.experiments._run_folder import RunFolder, config_differences, read_summary
from bilevel.experiments._statistics import interquartile_mean
from bilevel.methods import HasPolicies, Learner, State
from games.core import require

if TYPE_CHECKING:
    from pandas import DataFrame

XAxis = Literal["outer-steps", "environment-steps"]
"""Unit of the x axis of learning curves."""
MAY_DIFFER = {"seed", "seeds", "checkpoint_every", "threads"}
"""Settings in which joined runs may differ."""


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run: its configuration, learning curves, final measurements and policies.

    >>> from bilevel.experiments import train
    >>> run = train("chicken", "tos", seeds=3, outer_steps=2, out="run")
    >>> run
    Run(tos on chicken: 3 seeds, 2 outer steps, welfare -0.659, in run)
    >>> run.curves["welfare"].shape, run.final["welfare"].shape, run.policy(agent=1).act(observation=0)
    ((2, 3), (3,), 0)
    """

    config: RunConfig
    """The settings."""
    curves: dict[str, np.ndarray]
    """Metric name -> [outer step, seed]."""
    final: dict[str, np.ndarray]
    """Metric name -> [seed], of the final policies on fresh episodes."""
    seconds: float
    """Training time in seconds."""
    provenance: tuple[dict[str, Any], ...] = ()
    """Versions and commit by outer step: at the beginning, then of each resumption."""
    path: Path | None = None
    """Folder of the run; None for joined runs."""

    def __repr__(self) -> str:
        config, welfare = self.config, self.final["welfare"]
        return (
            f"Run({config.method_name} on {config.game_name}: {counted(config.seeds, 'seed')}, "
            f"{counted(config.outer_steps, 'outer step')}, welfare {interquartile_mean(welfare):.4g}"
            f"{'' if self.path is None else f', in {self.path}'})"
        )

    @property
    def environment_steps(self) -> np.ndarray:
        """Environment steps of each seed until the end of each outer step, [outer step, seed].

        All episodes of training count, also those for outer losses and metrics; those of the final evaluation
        do not. A step counts until its episode ends.

        Raises:
            ValueError: agents learned from exact values, without environment steps; or they were not counted.

        >>> import bilevel
        >>> settings = {"seeds": 3, "outer_steps": 2, "inner.episodes": 4, "inner.exact": False}
        >>> bilevel.train("chicken", "tos", out="run", **settings).environment_steps
        array([[ 8.,  8.,  8.],
               [16., 16., 16.]])
        """
        counts = self.curves.get(ENVIRONMENT_STEPS)
        if counts is not None:
            return counts
        require_environment_steps(self.config)
        raise ValueError(
            f"The environment steps of {self.config.method_name} on {self.config.game_name} were not "
            "counted, as an earlier version began the run, or the method plays episodes by functions of its "
            "own: count outer steps, or train again."
        )

    def to_pandas(self, part: Literal["curves", "final"] = "curves") -> DataFrame:
        """Metrics as a data frame, one column per metric; matrices over many agents are left out.

        Args:
            part: `curves`, a row per outer step and seed, or `final`, a row per seed, measured on fresh
                episodes after training.

        Raises:
            ValueError: pandas is not installed, or there is no such part.
        """
        require(part in ("curves", "final"), f"part must be curves or final, not {part!r}.")
        require_pandas()
        from pandas import DataFrame  # noqa: PLC0415

        table = self.curves if part == "curves" else {name: row[None] for name, row in self.final.items()}
        steps, seeds = table["welfare"].shape
        index = {"outer_step": np.repeat(np.arange(steps), seeds)} if part == "curves" else {}
        seed = {"seed": np.tile(np.arange(self.config.seed, self.config.seed + seeds), steps)}
        numbers = {name: values.reshape(-1) for name, values in table.items() if values.ndim == 2}
        return DataFrame(index | seed | numbers)

    def policy(self, agent: int, repetition: int = 0) -> AgentPolicy:
        """Return the policy of one agent in one of the run's seeds; both are counted from 0.

        Raises:
            ValueError: there is no such agent or repetition, the run's folder is gone or the run was joined
                of several, or its agents do not act on their own observations alone (with the reason).
        """
        return AgentPolicy(*self._policies(repetition), agent)

    def export(self, path: str | Path, repetition: int = 0) -> None:
        """Write all agents' policies of one seed, counted from 0, to a file that `load_policy` reads.

        Raises:
            ValueError: as for `policy`.
            OSError: the file cannot be written.
        """
        save_policies(Path(path), *self._policies(repetition))

    def learner(self) -> tuple[Learner, State]:
        """Build the run's learner, and load its final state.

        Raises:
            ValueError: the run was joined from several, or its checkpoint is gone or damaged.
        """
        if self.path is None:
            raise ValueError("Joined runs have no folder to take policies from: load one of them.")
        learner = self.config.build_learner()
        fresh = learner.init(self.config.seed)
        return learner, load_checkpoint(RunFolder(self.path).checkpoint, like=fresh).state

    def _policies(self, repetition: int) -> tuple[Policy, Distribution, Tensor]:
        config = self.config
        require(
            0 <= repetition < config.seeds,
            f"The run has {config.seeds} repetitions, 0 to {config.seeds - 1}; there is no {repetition}.",
        )
        learner, state = self.learner()
        if not isinstance(learner, HasPolicies):
            raise ValueError(
                f"Agents of {config.method_name} do not act by their own observations alone, so that one "
                "agent's policy cannot be taken out: bilevel play shows them together."
            )
        policy, theta = learner.policies(state, repetition)
        return policy, distribution_of(config.method.training_game(config.game)), theta


def require_environment_steps(config: RunConfig) -> None:
    """Raise ValueError if a run takes no environment steps, as its agents learn from exact values.

    >>> from bilevel.experiments import default_config
    >>> require_environment_steps(default_config("chicken", "selfish"))
    Traceback (most recent call last):
    ValueError: selfish learns chicken from exact values, which take no environment steps: count outer steps,
    or play episodes (--inner.no-exact).
    """
    require(
        not config.exact,
        f"{config.method_name} learns {config.game_name} from exact values, which take no environment steps: "
        "count outer steps, or play episodes (--inner.no-exact).",
    )


def load_run(folder: str | Path | RunFolder) -> Run:
    """Load a finished run from its folder.

    Raises:
        ValueError: it is not a run, is not finished, or a file is damaged (names it).

    >>> from bilevel.experiments import train
    >>> run = train("chicken", "tos", seeds=3, outer_steps=2, out="run")
    >>> load_run("run").final["welfare"] == run.final["welfare"]
    array([ True,  True,  True])
    """
    folder = folder if isinstance(folder, RunFolder) else RunFolder(Path(folder))
    config = folder.load_config()
    require(
        folder.finished,
        f"{folder.path} is not finished: continue it with bilevel train --resume {folder.path}",
    )
    seconds, files = read_summary(folder.summary)
    for name, digest in files.items():
        require_checksum(folder, name, digest)
    curves, final = (
        read_metrics(path, [name for name in files if is_array(path, name)])
        for path in (folder.metrics, folder.evaluation)
    )
    for path, table, steps in ((folder.metrics, curves, config.outer_steps), (folder.evaluation, final, 1)):
        shape = next(iter(table.values())).shape
        same = all(values.shape[:2] == (steps, config.seeds) for values in table.values())
        recorded = {name for name in table if in_every_step(table[name].shape[1:])}
        require(
            same and recorded - {ENVIRONMENT_STEPS} == curves.keys() - {ENVIRONMENT_STEPS},
            f"{path} does not belong to this run: it has {shape[0]} steps of {shape[1]} seeds with "
            f"{len(table)} metrics, not {steps} steps of {config.seeds} seeds with {len(curves)} metrics.",
        )
    by_seed = {name: values[0] for name, values in final.items()}
    began = json.loads(folder.config.read_text(encoding="utf-8"))
    beginning = {"outer_step": 0, **{name: began.get(name) for name in PROVENANCE}}
    return Run(config, curves, by_seed, seconds, (beginning, *resumptions(folder.path)), folder.path)


def require_checksum(folder: RunFolder, name: str, digest: str) -> None:
    """Raise ValueError, with advice, unless a file of a finished run is unchanged."""
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
    path = folder.path / name
    try:
        actual = digest_of(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): {advice}.") from error
    require(actual == digest, f"{path} is damaged, or was changed after the run ended: {advice}.")


def join_runs(runs: Sequence[Run]) -> Run:
    """Join finished runs of consecutive seeds, in any order, into one run of all of them.

    Results of random seed `seed` + i do not depend on the other seeds of a run: `seed=0, seeds=4` and
    `seed=4, seeds=4` join to `seed=0, seeds=8`.

    Raises:
        ValueError: there are no runs, settings differ (names them), or seeds overlap or leave a gap.

    >>> from bilevel.experiments import train
    >>> shared = {"seeds": 2, "outer_steps": 2}
    >>> parts = [train("chicken", "tos", seed=seed, out=f"seed-{seed}", **shared) for seed in (0, 2)]
    >>> join_runs(parts)
    Run(tos on chicken: 4 seeds, 2 outer steps, welfare ...)
    """
    require(len(runs) > 0, "There are no runs to join.")
    first, *others = ordered = sorted(runs, key=lambda run: run.config.seed)
    for run in others:
        differing = config_differences(run.config, first.config)
        refused = {name: differing[name] for name in differing if name not in MAY_DIFFER}
        require(
            not refused,
            f"Runs that are joined differ in their seeds alone, but these do in "
            f"{list_differences(refused, '({0}, not {1})')}.",
        )
    following = first.config.seed
    for run in ordered:
        require(
            run.config.seed == following,
            f"Seeds that are joined follow one another, but after seed {following - 1} comes "
            f"{run.config.seed}: train a run with --seed {following}.",
        )
        following += run.config.seeds
    return Run(
        config=dataclasses.replace(first.config, seeds=following - first.config.seed),
        curves={
            name: np.concatenate([run.curves[name] for run in ordered], 1)
            for name in first.curves
            if all(name in run.curves for run in others)
        },
        final={name: np.concatenate([run.final[name] for run in ordered]) for name in first.final},
        seconds=sum(run.seconds for run in ordered),
        provenance=tuple(record for run in ordered for record in run.provenance),
    )


def group_joinable(runs: Sequence[Run]) -> list[list[int]]:
    """Group the indices of runs that `join_runs` can join.

    >>> from bilevel.experiments import train
    >>> same = {"seeds": 2, "outer_steps": 2}
    >>> runs = [train("chicken", "tos", seed=seed, out=f"{seed}", **same) for seed in (2, 7, 0)]
    >>> group_joinable(runs)
    [[2, 0], [1]]
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(runs)), key=lambda index: runs[index].config.seed):
        config = runs[index].config
        for group in groups:
            last = runs[group[-1]].config
            follows = config.seed == last.seed + last.seeds
            if follows and config_differences(config, last).keys() <= MAY_DIFFER:
                group.append(index)
                break
        else:
            groups.append([index])
    return sorted(groups, key=min)


def require_pandas() -> None:
    require(find_spec("pandas") is not None, "A data frame needs pandas: pip install pandas")
