"""Launcher of Ray tasks, on this machine or a cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bilevel.sweeps._launcher import Prepare, require_workers
from bilevel.sweeps._work import Outcome, Status, work_on
from games.core import require

MOST_DEATHS = 3
"""Tasks that one run may lose before it counts as failed."""


@dataclass(frozen=True)
class RayLauncher:
    """Ray tasks, one for each run.

    A task whose worker or node is lost goes on elsewhere, from the run's last checkpoint; so the folder of
    the sweep must be on a file system that all nodes share.

    Raises:
        ValueError: ray is missing (says how to install it), or a number is below its minimum.

    >>> RayLauncher(workers=0)
    Traceback (most recent call last):
    ValueError: The number of tasks at a time must be a whole number, 1 or more, not 0.
    """

    workers: int = 100
    """Maximum number of tasks at a time."""
    address: str | None = None
    """Address of a cluster, such as auto or ray://HOST:10001; None: Ray starts on this machine."""
    cpus: int = 1
    """CPUs of each task."""
    gpus: float = 0
    """GPUs of each task; a fraction lets tasks share one."""

    def __post_init__(self) -> None:
        require_workers("tasks at a time", self.workers)
        require(
            self.cpus >= 1 and self.gpus >= 0, "A task needs a CPU or more, and no negative number of GPUs."
        )
        _ray()

    def launch(self, paths: Iterable[str], prepare: Prepare | None = None) -> Iterator[tuple[str, Outcome]]:
        """Work on runs, and yield each with its outcome when it ends, finished or failed.

        Args:
            paths: folders of the runs; the next one is asked for when there are fewer tasks than `workers`.
            prepare: called once in each task.

        Raises:
            KeyboardInterrupt: the command is stopped; runs in progress keep their last checkpoints.
        """
        ray = _ray()
        started = not ray.is_initialized()
        if started:
            ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR)
        work = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)(_work)
        source, tasks, deaths = iter(paths), dict[Any, str](), dict[str, int]()
        again: list[str] = []
        try:
            while True:
                while len(tasks) < self.workers:
                    path = again.pop() if again else next(source, None)
                    if path is None:
                        break
                    tasks[work.remote(path, prepare)] = path
                if not tasks:
                    return
                ended, _ = ray.wait(list(tasks))
                for task in ended:
                    path = tasks.pop(task)
                    outcome = self._outcome(task, path, deaths)
                    if outcome is None:
                        again.append(path)
                    else:
                        yield path, outcome
        finally:
            if started:
                ray.shutdown()

    def _outcome(self, task: Any, path: str, deaths: dict[str, int]) -> Outcome | None:
        """The outcome of a task that has ended; None if its run is to go on in another one."""
        ray = _ray()
        try:
            status, message = ray.get(task)
        except ray.exceptions.RayError as error:
            deaths[path] = deaths.get(path, 0) + 1
            if deaths[path] < MOST_DEATHS:
                return None
            reason = str(error).splitlines()[0]
            return Outcome(Status.FAILED, f"Its task was lost {deaths[path]} times: {reason}")
        return None if status == Status.INTERRUPTED else Outcome(Status(status), message)


def _work(path: str, prepare: Prepare | None) -> tuple[str, str]:
    if prepare is not None:
        prepare()
    status, message = work_on(path)
    return status.value, message


def _ray() -> Any:
    try:
        import ray  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ValueError("The ray launcher needs the package ray: pip install 'bilevel[ray]'") from None
    return ray
