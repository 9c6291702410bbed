"""`--track`: TensorBoard, Weights & Biases offline, and MLflow with a database and with a server."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bilevel.experiments import load_run
from bilevel.trackers import TrackerWarning
from tests.bilevel.cli.conftest import Call

ARGUMENTS = ["train", "--game", "chicken", "--method", "tos", "--seeds", "3", "--outer-steps", "5"]


# whatever the trackers' packages warn of
pytestmark = pytest.mark.filterwarnings("default")


def wandb_records(content: bytes) -> Iterator[bytes]:
    """Records of a file of Weights & Biases, which has the form of LevelDB's log, after 7 bytes."""
    position, record = 7, b""
    while position + 7 <= len(content):
        left = 32768 - position % 32768  # of this block; a header is never split
        if left < 7:
            position += left
            continue
        length, kind = struct.unpack("<4xHB", content[position : position + 7])
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield record
            record = b""


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def test_tensorboard_has_scalars_settings_and_figures(call: Call, painted: None) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    assert call(*ARGUMENTS, "--out", "run", "--track", "tensorboard").code == 0
    events = EventAccumulator("run/tensorboard")
    events.Reload()
    run = load_run("run")
    welfare = events.Scalars("charts/welfare")
    assert [event.step for event in welfare] == [1, 2, 3, 4, 5]
    assert [event.value for event in welfare] == pytest.approx(run.curves["welfare"].mean(1))
    assert events.Scalars("final/welfare")[0].value == pytest.approx(run.final["welfare"].mean())
    assert events.Tags()["images"] == ["figures/welfare", "figures/sharing", "figures/cooperation"]
    assert "config/text_summary" in events.Tags()["tensors"]


def test_wandb_runs_offline_without_an_account(call: Call, painted: None) -> None:
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record  # noqa: PLC0415

    assert call(*ARGUMENTS, "--out", "run", "--track", "wandb").code == 0
    (file,) = Path("run/wandb").glob("offline-run-*/run-*.wandb")
    rows, settings = [], {}
    for data in wandb_records(file.read_bytes()):
        record = Record.FromString(data)
        if record.HasField("history"):
            items = record.history.item
            rows.append(
                {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
            )
        if record.HasField("run"):
            settings = {item.key: json.loads(item.value_json) for item in record.run.config.update}
    welfare = [row["charts/welfare"] for row in rows if "charts/welfare" in row]
    assert welfare == pytest.approx(load_run("run").curves["welfare"].mean(1))
    assert settings["game_name"] == "chicken"
    assert settings["seeds"] == 3
    assert any("figures/welfare._type" in row or "figures/welfare" in row for row in rows)
    assert json.loads(Path("run/trackers.json").read_text()) == {"wandb": file.stem.removeprefix("run-")}


SERVER = """
import sys
from mlflow.server import app, handlers
from werkzeug.serving import make_server

folder = sys.argv[1]
handlers.initialize_backend_stores(f"sqlite:///{folder}/server.db", default_artifact_root=f"{folder}/files")
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """An MLflow server in another process: its address."""
    pytest.importorskip("mlflow")
    command = [sys.executable, "-W", "ignore", "-c", SERVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.terminate()


@pytest.mark.parametrize("place", ["database", "server"])
def test_mlflow_takes_metrics_settings_and_figures(
    place: str, call: Call, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri = "sqlite:///runs.db" if place == "database" else request.getfixturevalue("server")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert call(*ARGUMENTS, "--out", "run", "--track", "mlflow").code == 0
    client = mlflow.MlflowClient(uri)
    (found,) = client.search_runs([client.get_experiment_by_name("bilevel").experiment_id])
    welfare = client.get_metric_history(found.info.run_id, "charts/welfare")
    run = load_run("run")
    assert [metric.step for metric in welfare] == [1, 2, 3, 4, 5]
    assert [metric.value for metric in welfare] == pytest.approx(run.curves["welfare"].mean(1))
    assert found.data.metrics["final/welfare"] == pytest.approx(run.final["welfare"].mean())
    assert found.data.params["game_name"] == '"chicken"'
    assert found.info.status == "FINISHED"
    assert len(client.list_artifacts(found.info.run_id, "figures")) == 3
    assert Path("server.db").exists() == (place == "server")


def test_a_server_that_is_not_there_costs_the_tracker_and_not_the_run(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.warns(TrackerWarning, match="mlflow failed, and run goes on without it"):
        assert call(*ARGUMENTS, "--out", "run", "--track", "mlflow").code == 0
    assert load_run("run").config.outer_steps == 5


@pytest.mark.parametrize("command", ["train", "compare", "sweep"])
def test_an_unknown_tracker_is_refused_before_anything_is_written(command: str, call: Call) -> None:
    said = call(command, "--track", "tensorbord", "--out", "run")
    assert said.code == 2
    assert "There is no tracker 'tensorbord'. Did you mean 'tensorboard'?" in said.sentence()
    assert not Path("run").exists()


@pytest.mark.parametrize("command", ["compare", "sweep"])
def test_every_run_of_a_comparison_and_of_a_sweep_is_tracked(command: str, call: Call, painted: None) -> None:
    pytest.importorskip("tensorboard")
    common = ["--methods", "selfish", "tos", "--seeds", "3", "--outer-steps", "2", "--out", "out"]
    which = ["--game", "chicken"] if command == "compare" else ["--games", "chicken", "--workers", "1"]
    said = call(command, *which, *common, "--track", "tensorboard")
    assert said.code == 0, said
    assert len(list(Path("out").rglob("events.out.tfevents.*"))) == 2
