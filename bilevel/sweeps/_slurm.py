"""Launcher of Slurm jobs, through submitit."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bilevel.experiments import RunFolder, parse_json, write_text
from bilevel.sweeps._launcher import Prepare, require_workers
from bilevel.sweeps._work import Outcome, Status, status_of, work_on

RECORD = "job.json"
"""File of a run's folder: the Slurm job that works on it."""
LOGS = "slurm"
"""Folder of submitit's files within the sweep's folder."""
MOST_LOSSES = 3
"""Jobs that one run may lose before it counts as failed."""
MOST_REQUEUES = 1000
"""Times that Slurm may requeue a job that reached its time limit."""
ACTIVE = ("PENDING", "RUNNING", "REQUEUED", "CONFIGURING", "COMPLETING", "SUSPENDED", "UNKNOWN")
"""States of Slurm jobs that will go on."""


@dataclass(frozen=True)
class SlurmLauncher:
    """Slurm jobs, one for each run, submitted and followed by submitit.

    A job that is preempted, or reaches its time limit, is requeued, and resumes its run from the last
    checkpoint. Jobs go on when the launching command is stopped; the same command then follows them again.

    Raises:
        ValueError: submitit is missing (says how to install it), or the number of jobs is below 1.

    >>> SlurmLauncher(workers=8, parameters={"slurm_partition": "cpu", "timeout_min": 240}).workers
    8
    """

    workers: int = 100
    """Maximum number of jobs at a time."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of submitit's executor: timeout_min, cpus_per_task, gpus_per_node, slurm_partition, ..."""
    out: Path = Path("runs/sweep")
    """Folder of the sweep, on a file system that all nodes share; receives the jobs' logs in slurm/."""
    cluster: Literal["slurm", "local"] = "slurm"
    """slurm, or local: submitit's own processes on this machine, to try it."""
    interval: float = 10.0
    """Seconds between two looks at the jobs; with the cluster local, 1 at most."""

    def __post_init__(self) -> None:
        require_workers("jobs at a time", self.workers)
        _submitit()

    def launch(self, paths: Iterable[str], prepare: Prepare | None = None) -> Iterator[tuple[str, Outcome]]:
        """Submit jobs for runs, and yield each run with its outcome when it ends, finished or failed.

        Args:
            paths: folders of the runs; the next one is asked for when there are fewer jobs than `workers`.
            prepare: called once in each job.

        Raises:
            KeyboardInterrupt: the command is stopped; the jobs go on.
        """
        submitit = _submitit()
        executor = submitit.AutoExecutor(
            self.out.resolve() / LOGS / "%j", self.cluster, slurm_max_num_timeout=MOST_REQUEUES
        )
        executor.update_parameters(name="bilevel", **self.parameters)
        source, jobs, losses = iter(paths), dict[str, Any](), dict[str, int]()
        while True:
            while len(jobs) < self.workers and (path := next(source, None)) is not None:
                jobs[path] = self._found(path) or self._submit(executor, path, prepare)
            if not jobs:
                return
            ended = [path for path, job in jobs.items() if job.done()]
            for path in ended:
                outcome = _outcome(jobs.pop(path), path)
                if outcome.status in (Status.INTERRUPTED, Status.WAITING):
                    losses[path] = losses.get(path, 0) + 1
                    if losses[path] < MOST_LOSSES:
                        jobs[path] = self._submit(executor, path, prepare)
                        continue
                    outcome = Outcome(Status.FAILED, f"Its job ended {losses[path]} times: {outcome.message}")
                yield path, outcome
            if not ended:
                time.sleep(self.interval if self.cluster == "slurm" else min(self.interval, 1.0))

    def _submit(self, executor: Any, path: str, prepare: Prepare | None) -> Any:
        job = executor.submit(Job(prepare), str(Path(path).resolve()))
        record = {"cluster": self.cluster, "id": job.job_id, "folder": str(job.paths.folder)}
        write_text(Path(path) / RECORD, json.dumps(record) + "\n")
        return job

    def _found(self, path: str) -> Any:
        """The job that an earlier command submitted for a run, if it will go on; None if there is none."""
        file = Path(path) / RECORD
        if self.cluster != "slurm" or not file.exists():
            return None
        record = parse_json(file.read_bytes())
        job = _submitit().SlurmJob(folder=record["folder"], job_id=record["id"])
        return job if job.state in ACTIVE else None


class Job:
    """Work of a job on one run; submitit calls `checkpoint` before the job is preempted.

    >>> Job(None).prepare is None
    True
    """

    def __init__(self, prepare: Prepare | None) -> None:
        self.prepare = prepare

    def __call__(self, path: str) -> Outcome:
        """Train the run in a folder."""
        # Slurm's SIGTERM comes after the signal at which submitit requeues the job
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.prepare is not None:
            self.prepare()
        return work_on(path)

    def checkpoint(self, path: str) -> Any:
        """Request the same work again, in the requeued job: it resumes from the run's last checkpoint."""
        return _submitit().helpers.DelayedSubmission(self, path)


def _outcome(job: Any, path: str) -> Outcome:
    """The outcome of a job that has ended: its result, or what its run's folder tells."""
    try:
        outcome: Outcome = job.result()
    except Exception as error:  # noqa: BLE001 - of submitit: the job failed, or left no result
        known = status_of(RunFolder(Path(path)))
        return known if known.status is not Status.WAITING else Outcome(Status.WAITING, str(error).strip())
    return outcome


def _submitit() -> Any:
    try:
        import submitit  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ValueError(
            "The slurm launcher needs the package submitit: pip install 'bilevel[sweeps]'"
        ) from None
    return submitit
