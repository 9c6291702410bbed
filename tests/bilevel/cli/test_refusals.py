"""What used to end in a traceback, or never: each is one sentence now."""

from __future__ import annotations

import io
import json
import os
import shutil
import weakref
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bilevel.cli import _app as app
from bilevel.experiments._checkpoint import seal
from tests.fuzz.judge import Answer, ask, inside

SMALL = (
    "--seeds=2",
    "--outer-steps=2",
    "--checkpoint-every=1",
    "--evaluation-episodes=2",
    "--inner.steps=1",
    "--inner.episodes=2",
)
LTOS = (
    "--method=ltos",
    "--inner.batch-size=2",
    "--inner.buffer-size=20",
    "--outer.every=1",
    "--outer.updates=1",
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path) -> Iterator[None]:
    with inside(tmp_path):
        yield


def refused(answer: Answer, *words: str, code: int = 2) -> None:
    """One sentence, not too long, with these words; nothing else went wrong."""
    assert not answer.fault, answer.fault
    assert answer.code == code, answer.err
    said = answer.err.strip().splitlines()[-1]
    assert len(said) < 700
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 7.28 TiB for an array"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: 8 bytes"
        ),
        RuntimeError("Storage size calculation overflowed with sizes=[9223372036854775807, 2]"),
        torch.OutOfMemoryError("CUDA out of memory."),
    ],
)
def test_no_memory(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(arguments: list[str]) -> None:
        raise error

    monkeypatch.setitem(app.COMMANDS, "train", SimpleNamespace(run=run))
    refused(ask(["train"]), "There is not enough memory", code=1)


def test_what_does_not_fit_in_memory_is_said() -> None:
    size = "9000000000"
    answer = ask(
        ["train", "--game=escape-room", "--policy=mlp", "--policy.hidden-size", size, "--out=a", *SMALL]
    )
    refused(answer, "There is not enough memory", code=1)


@pytest.mark.parametrize("wish", ["1e-9", "1e9", "inf", "nan", "0", "-1"])
def test_frames_per_second_that_no_film_can_have(wish: str) -> None:
    refused(
        ask(["play", "chicken", f"--frames-per-second={wish}"]), "frames_per_second must be from 0.01 to 100"
    )
    assert not Path("chicken.gif").exists()


@pytest.mark.parametrize("wish", ["0.01", "100"])
def test_frames_per_second_at_the_ends(wish: str) -> None:
    answer = ask(["play", "chicken", f"--frames-per-second={wish}", "--scale=0.3"], seconds=0)
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("wish", ["1e-9", "1e9", "inf", "nan", "0"])
def test_scales_that_no_picture_can_have(wish: str) -> None:
    refused(ask(["play", "chicken", f"--scale={wish}"]), "scale must be from 0.1 to 20")


@pytest.mark.parametrize(
    "device",
    ["fpga", "vulkan", "xla", "hpu", "privateuseone", "mkldnn", "meta", "cpu:1" + "0" * 30, "cuda:99", ""],
)
def test_devices_that_are_not_there(device: str) -> None:
    answer = ask(["train", f"--device={device}", "--out=a"])
    refused(answer, f"There is no device {device!r} here", "there is cpu")
    assert len(answer.err) < 200


def test_what_was_typed_is_not_repeated_at_length() -> None:
    answer = ask(["x" * 100_000])
    assert answer.code == 2
    assert "Known: train" in answer.err
    assert len(answer.err) < 2000


def test_names_that_are_no_text() -> None:
    name = os.fsdecode(b"\xff.gif")
    answer = ask(["play", "chicken", "--out", name, "--scale=0.3"], seconds=0)
    assert answer.code == 0, answer.err
    assert "\\udcff.gif" in answer.out
    assert Path(name).exists()


def test_without_home_and_entry_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container with a user of its own."""

    def nobody(*_: object) -> None:
        raise KeyError("getpwuid(): uid not found: 54321")

    monkeypatch.setattr("pwd.getpwuid", nobody)
    for name in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "BILEVEL_CACHE"):
        monkeypatch.delenv(name, raising=False)
    refused(
        ask(["cache"]), "there is no home folder to keep packages in: name a folder in BILEVEL_CACHE", code=1
    )


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two outer steps, whose ends are missing."""
    folder = tmp_path_factory.mktemp("runs")
    for name, more in (("tos", ()), ("ltos", LTOS)):
        with inside(folder):
            answer = ask(["train", "--game=escape-room", f"--out={name}", *more, *SMALL], seconds=0)
        assert answer.code == 0, answer.err
        for file in ("summary.json", "evaluation.csv"):
            (folder / name / file).unlink()
        config = json.loads((folder / name / "config.json").read_text())
        (folder / name / "config.json").write_text(json.dumps({**config, "outer_steps": 3}))
    return folder


@pytest.fixture
def run(originals: Path) -> Path:
    shutil.copytree(originals / "tos", "run")
    return Path("run")


Content = dict[str, Any]


def forge(run: Path, change: Callable[[Content], object], *, compress: bool = False) -> None:
    """Write the checkpoint anew with another content, and the right check sum."""
    file, memory = run / "checkpoint.pt", io.BytesIO()
    content = torch.load(file, weights_only=True)
    change(content)
    torch.save(content, memory)
    if compress:
        packed = io.BytesIO()
        with zipfile.ZipFile(memory) as parts, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as other:
            for part in parts.infolist():
                other.writestr(part.filename, parts.read(part))
        memory = packed
    file.write_bytes(seal(memory.getvalue()))


def put(name: str, leaf: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        place = content["names"].index(name)
        content["leaves"][place] = leaf(content["leaves"][place])

    return change


NO_CHECKPOINT = "not a checkpoint of the form"
FORGED: dict[str, tuple[Callable[[Content], object], str]] = {
    "no numbers": (put("theta", lambda leaf: torch.empty_like(leaf, device="meta")), NO_CHECKPOINT),
    "sparse": (put("theta", lambda leaf: leaf.to_sparse()), NO_CHECKPOINT),
    "a parameter": (put("theta", torch.nn.Parameter), NO_CHECKPOINT),
    "vast, on paper": (put("theta", lambda leaf: leaf.new_zeros(1).expand(10**12)), "another learner"),
    "fewer than no steps": (put("outer_step", lambda leaf: leaf - 10**9), "after how many outer steps"),
    "too many steps": (put("outer_step", lambda leaf: leaf + 10**9), "asks for 3 only"),
    "a time before time": (lambda content: content.update(seconds=float("-inf")), NO_CHECKPOINT),
    "no time": (lambda content: content.update(seconds=float("nan")), NO_CHECKPOINT),
    "settings: none": (lambda content: content.update(settings="[1]"), "settings that cannot be run"),
    "settings: no JSON": (lambda content: content.update(settings="x"), "settings that cannot be run"),
    "settings: deep": (lambda content: content.update(settings="[" * 100_000), "nested too deeply"),
    "settings: of another": (
        lambda content: content.update(settings=content["settings"].replace('"tos"', '"x"')),
        "There is no method 'x'",
    ),
    "long names": (
        lambda content: content.update(names=["x" * 10_000] * len(content["names"])),
        "another learner",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_forged_checkpoints(run: Path, name: str) -> None:
    change, words = FORGED[name]
    forge(run, change)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    answer = ask(["train", "--resume", "run"], seconds=0)
    assert not answer.fault, answer.fault
    assert answer.code == 2, answer.err
    assert words in answer.err
    assert len(answer.err) < 2000
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_compressed_checkpoints_are_not_unpacked(run: Path) -> None:
    """A few kilobytes could fill the memory."""
    forge(run, put("theta", lambda leaf: leaf), compress=True)
    refused(ask(["train", "--resume", "run"]), "not a checkpoint of the form")


ACTIONS, WRITTEN = "replay/0/2", "replay/1"


@pytest.mark.parametrize(
    ("name", "leaf"),
    [
        (ACTIONS, lambda leaf: leaf + 100),
        (ACTIONS, lambda leaf: leaf - 100),
        (WRITTEN, lambda leaf: torch.full_like(leaf, 2**63 - 1)),
        (WRITTEN, lambda leaf: leaf - 1000),
    ],
)
def test_forged_replay_buffers(
    originals: Path, name: str, leaf: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    shutil.copytree(originals / "ltos", "run")
    forge(Path("run"), put(name, leaf))
    refused(ask(["train", "--resume", "run"], seconds=0), "The replay buffer has actions or counts")
    assert Path("run/config.json").exists()


@pytest.mark.parametrize("file", ["config.json", "checkpoint.pt", "metrics.csv", "evaluation.csv"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipes_and_devices_in_a_run_folder(run: Path, file: str, kind: str) -> None:
    (run / file).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(run / file)
    else:
        (run / file).symlink_to("/dev/zero")
    for command in (
        ["train", "--resume", "run"],
        ["play", "--policy", "run"],
        ["compare", "--runs", "run", "other"],
    ):
        refused(ask(command), f"run/{file} is a pipe or a device, not a file")


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000, "{", "\x00", '{"format": 1e999}'])
def test_configurations_that_cannot_be_read(run: Path, text: str) -> None:
    (run / "config.json").write_text(text)
    refused(ask(["train", "--resume", "run"]), "run/config.json")


def test_an_interrupt_in_a_callback_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python ignores what is raised in the callback of a weak reference, and prints a traceback of it."""

    class Thing:
        pass

    def run(arguments: list[str]) -> None:
        def gone(_: object) -> None:
            raise KeyboardInterrupt

        thing = Thing()
        reference = weakref.ref(thing, gone)
        del thing
        while reference() is None:
            pass

    monkeypatch.setitem(app.COMMANDS, "train", SimpleNamespace(run=run))
    answer = ask(["train"])
    assert answer.code == 130
    assert answer.err == "Stopped.\n"
