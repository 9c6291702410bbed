"""MLflow: a local database or folder, or a server."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from bilevel.experiments import RunConfig, RunFolder, flat_settings

MOST_BUFFERED = 500
"""Metrics that are sent together; a server takes 1000 at a time."""
MOST_PARAMETERS = 100
"""Parameters that a server takes at a time."""
LONGEST = 6000
"""Characters of a parameter."""
LATEST = 5.0
"""Seconds after which metrics are sent, even if they are few."""


class MLflow:
    """A run of MLflow, where MLFLOW_TRACKING_URI says: a server's address, or a local database or folder.

    MLflow's own default is a database in the current folder, which `mlflow ui` shows. MLFLOW_EXPERIMENT_NAME
    is the experiment (default here: bilevel).
    """

    key: str | None

    def __init__(self, folder: RunFolder, config: RunConfig, key: str | None) -> None:
        self._client = MlflowClient()
        self._buffer: list[Metric] = []
        self._sent = time.monotonic()
        self._status = "KILLED"
        if key is not None:
            self.key = key
            self._client.update_run(key, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "bilevel")
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        tags = {"game": config.game_name, "method": config.method_name, "folder": str(folder.path.resolve())}
        self.key = self._client.create_run(experiment, tags=tags, run_name=folder.path.name).info.run_id
        parameters = [
            Param(name, json.dumps(value)[:LONGEST]) for name, value in flat_settings(config.plain).items()
        ]
        for first in range(0, len(parameters), MOST_PARAMETERS):
            self._client.log_batch(self._id, params=parameters[first : first + MOST_PARAMETERS])

    @property
    def _id(self) -> str:
        assert self.key is not None
        return self.key

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        now = time.time_ns() // 1_000_000
        self._buffer += [Metric(name, value, now, step) for name, value in metrics.items()]
        if len(self._buffer) >= MOST_BUFFERED or time.monotonic() - self._sent > LATEST:
            self._send()

    def finish(self, summary: Mapping[str, float], figures: Sequence[Path]) -> None:
        now = time.time_ns() // 1_000_000
        self._buffer += [Metric(name, value, now, 0) for name, value in summary.items()]
        self._send()
        for path in figures:
            self._client.log_artifact(self._id, str(path), "figures")
        self._status = "FINISHED"

    def close(self) -> None:
        self._send()
        self._client.set_terminated(self._id, self._status)

    def _send(self) -> None:
        buffer, self._buffer, self._sent = self._buffer, [], time.monotonic()
        for first in range(0, len(buffer), MOST_BUFFERED):
            self._client.log_batch(self._id, metrics=buffer[first : first + MOST_BUFFERED])
