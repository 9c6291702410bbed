"""Returns over whole learning: means over the meta-steps of meta-episodes, and those of the last policies.

python -m docs.studies.meta_returns RUN ...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from bilevel.agents import Tabular
from bilevel.experiments import Run, interquartile_interval, load_run
from bilevel.methods import HasPolicies
from games.core import require


@dataclass(frozen=True, kw_only=True)
class Study:
    """Returns of both agents over whole learning, of runs of m-fos or coala-pg, and of selfish to compare.

    Raises:
        ValueError: a folder is no finished run, or its game does not have two agents.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of runs, as written by bilevel train or compare."""
    reached: float = -1.15
    """Mean return of both agents over all meta-steps that counts as cooperation, where a game defines it."""
    finite: bool = False
    """Divide returns by 1 - discount^horizon, what episodes of `horizon` steps have of a value per step."""


def whole_learning(run: Run) -> np.ndarray:
    """Each agent's mean return over learning, [agent, seed].

    Of m-fos and coala-pg: over the meta-steps of fresh meta-episodes; of another method, whose learning is
    the run itself: over its outer steps.
    """
    require(run.config.game.num_agents == 2, f"{run.config.game_name} does not have two agents.")
    if "meta_return_0" in run.final:
        return np.stack([run.final[f"meta_return_{agent}"] for agent in (0, 1)])
    return np.stack([run.curves[f"return_{agent}"].mean(0) for agent in (0, 1)])


TABLE_HEAD = """\
| run | agent 0, all meta-steps | agent 1 | lowest | cooperating seeds | agent 0, last | agent 1, last |
|---|---|---|---|---|---|---|"""


def table_row(label: str, learning: np.ndarray, last: np.ndarray, reached: float | None) -> str:
    """A line of the table, in Markdown.

    Args:
        label: name of the run.
        learning: returns over whole learning, [agent, seed].
        last: returns of the last policies, [agent, seed].
        reached: mean return of both agents that counts as cooperation; None: it is not defined.
    """

    def text(values: np.ndarray) -> str:
        interval = interquartile_interval(values)
        return f"{interval.estimate:.2f} [{interval.low:.2f}, {interval.high:.2f}]"

    together = learning.mean(0)
    cooperating = "" if reached is None else f"{int((together >= reached).sum())} of {len(together)}"
    cells = [label, *map(text, learning), f"{learning[0].min():.2f}", cooperating, *map(text, last)]
    return f"| {' | '.join(cells)} |"


POLICY_HEAD = """\
| run | agent | start | CC | CD | DC | DD |
|---|---|---|---|---|---|---|"""


def policy_rows(label: str, chances: np.ndarray) -> list[str]:
    """Lines of the second table, one for each agent, in Markdown.

    Args:
        label: name of the run.
        chances: mean probability of the first action, [agent, observation].
    """
    rows = ([label, str(agent), *(f"{each:.2f}" for each in row)] for agent, row in enumerate(chances))
    return [f"| {' | '.join(cells)} |" for cells in rows]


def last_policies(run: Run) -> np.ndarray:
    """Mean over seeds of each agent's probability of its first action, [agent, observation].

    Raises:
        ValueError: policies are not tables of two actions after five observations.
    """
    learner, state = run.learner()
    require(isinstance(learner, HasPolicies), f"{run.config.method_name} learns values of actions.")
    assert isinstance(learner, HasPolicies)
    policy, theta = learner.policies(state, 0)[0], state["theta"]
    fits = isinstance(policy, Tabular) and (policy.num_observations, policy.num_actions) == (5, 2)
    require(
        fits, f"Policies on {run.config.game_name} are not tables of two actions after five observations."
    )
    assert isinstance(policy, Tabular)
    chances: np.ndarray = policy.probabilities(theta.double())[..., 0].mean(0).numpy()
    return chances


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, a line for each run."""
    study = tyro.cli(Study, prog="python -m docs.studies.meta_returns", args=arguments)
    try:
        print(TABLE_HEAD, flush=True)
        runs = {folder.name: load_run(folder) for folder in study.runs}
        for label, run in runs.items():
            last = np.stack([run.final[f"return_{agent}"] for agent in (0, 1)])
            reached = study.reached if "cooperation" in run.final else None
            weight = run.config.game.episode_weight if study.finite else 1.0
            print(table_row(label, whole_learning(run) / weight, last / weight, reached), flush=True)
        print(f"\nP(first action), last policies:\n\n{POLICY_HEAD}")
        for label, run in runs.items():
            print("\n".join(policy_rows(label, last_policies(run))), flush=True)
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
