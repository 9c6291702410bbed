"""Run folders that were damaged, or forged by somebody who knows their form."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bilevel.experiments._checkpoint import seal
from tests.fuzz.judge import ask

FILES = ("config.json", "checkpoint.pt", "metrics.csv", "evaluation.csv", "summary.json")
RUN = (
    "--game=escape-room",
    "--seeds=3",
    "--checkpoint-every=1",
    "--evaluation-episodes=2",
    "--inner.steps=1",
    "--inner.episodes=2",
)
JSON_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3.5, 1e308, 10**30, -(10**30), 2**63, "", "x", "nan", "tos", "😀",
    "\ud800", "\u0000", "cuda:7", "meta", "a" * 5000, [], [1], [[]], ["x", 1, None], {}, {"a": 1},
    {"": {"": {}}}, [[1] * 3] * 3,
)  # fmt: skip
JSON_TEXTS = (
    "", " ", "null", "[]", "{}", "NaN", "-Infinity", '"x"', "{" * 100_000, "[" * 100_000, "1" * 5000,
    '{"format": "bilevel-run/1"}', '{"a": 1, "a": 2}', "\ufeff{}", "{'a': 1}", '{"format": 1e999}',
    '{"format": "bilevel-run/1", "game_name": "escape-room", "method_name": "tos"}',
    '{"seconds": 1e999}', '{"seconds": null}',
    '{"outer_steps": 1, "seconds": "nan"}', '{"outer_steps": -1, "seconds": -1}',
)  # fmt: skip
COMMANDS = (
    ["train", "--resume", "run"],
    ["play", "--policy", "run", "--max-steps=2", "--scale=0.3"],
    ["play", "--policy", "run", "--repetition=2", "--max-steps=2", "--scale=0.3"],
    ["compare", "--runs", "run", "other"],
    ["compare", "--runs", "run", "other", "--out", "files"],
    ["train", "--game=escape-room", "--out", "run"],
)


def originals(folder: Path) -> None:
    """Make what is damaged later: a finished run, the same one unfinished, and another to compare with."""
    for name, method, steps in (
        ("finished", "tos", 2),
        ("other", "selfish", 2),
        ("lase", "lase", 1),
        ("ltos", "ltos", 1),
    ):
        answer = ask(
            ["train", *RUN, f"--method={method}", f"--outer-steps={steps}", "--out", str(folder / name)],
            seconds=0,
        )
        assert answer.code == 0, answer.err
    unfinished = folder / "unfinished"
    shutil.copytree(folder / "finished", unfinished)
    for name in ("summary.json", "evaluation.csv"):
        (unfinished / name).unlink()
    saved = json.loads((unfinished / "config.json").read_text())
    (unfinished / "config.json").write_text(json.dumps({**saved, "outer_steps": 3}))


class Folders:
    """A stream of spoiled run folders; the same seed gives the same ones.

    Args:
        seed: of all choices.
        folder: where `originals` put what is spoiled; the spoiled one is called "run".
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self._draw, self._folder = random.Random(seed), folder

    def spoil(self) -> tuple[str, list[str]]:
        """Spoil a folder anew; returns what was done, in words, and a command to try it with."""
        draw, run = self._draw, self._folder / "run"
        _remove(run)
        kind = draw.choice(("finished", "unfinished", "unfinished", "lase", "ltos"))
        shutil.copytree(self._folder / kind, run)
        ways: tuple[Callable[[Path], str], ...] = (
            self._damage, self._forge_json, self._forge_json, self._forge_checkpoint, self._forge_checkpoint,
            self._forge_table, self._put_something_else,
        )  # fmt: skip
        done = [draw.choice(ways)(run) for _ in range(draw.choice((1, 1, 1, 2)))]
        return f"{kind}: {'; '.join(done)}", list(draw.choice(COMMANDS))

    def _some_file(self, run: Path) -> Path:
        there = [run / name for name in FILES if (run / name).is_file()]
        return self._draw.choice(there) if there else run / "config.json"

    def _damage(self, run: Path) -> str:
        """Bytes that are not what they were."""
        draw, file = self._draw, self._some_file(run)
        data = bytearray(file.read_bytes() if file.is_file() else b"")
        way = draw.choice(("cut", "flip", "flip", "empty", "double", "noise", "remove", "zeros"))
        if way == "cut":
            del data[draw.randrange(len(data) + 1) :]
        elif way == "flip":
            for _ in range(draw.choice((1, 3, 20))):
                if data:
                    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        elif way == "remove":
            file.unlink(missing_ok=True)
            return f"{file.name} removed"
        else:
            noise = bytes(draw.randrange(256) for _ in range(200))
            data = bytearray(
                {"empty": b"", "double": bytes(data) * 2, "noise": noise, "zeros": bytes(len(data))}[way]
            )
        file.write_bytes(data)
        return f"{file.name}: {way}"

    def _put_something_else(self, run: Path) -> str:
        """Something that is no file of the kind in a file's place."""
        draw, file = self._draw, run / self._draw.choice((*FILES, "figures", ".config.json.1.part"))
        _remove(file)
        way = draw.choice(("folder", "fifo", "loop", "device", "nowhere", "link", "random"))
        if way == "folder":
            (file / "inside").mkdir(parents=True)
        elif way == "fifo":
            os.mkfifo(file)
        else:
            target = {
                "loop": file.name,
                "device": "/dev/zero",
                "nowhere": "nothing/here",
                "link": "..",
                "random": "/dev/urandom",
            }
            file.symlink_to(target[way])
        return f"{file.name}: {way}"

    def _forge_json(self, run: Path) -> str:
        """A configuration or a summary that is well-formed and wrong."""
        draw = self._draw
        file = run / draw.choice(("config.json", "config.json", "config.json", "summary.json"))
        if not file.is_file() or draw.random() < 0.15:
            text = draw.choice(JSON_TEXTS)
            _remove(file)
            file.write_text(text, encoding="utf-8")
            return f"{file.name}: {text[:60]!r}"
        try:
            saved = json.loads(file.read_bytes())
        except (ValueError, RecursionError):
            return f"{file.name} is spoiled already"
        said = _forge(saved, draw)
        file.write_text(json.dumps(saved), encoding="utf-8")
        return f"{file.name}: {said}"

    def _forge_table(self, run: Path) -> str:
        """Tables whose rows or numbers are others."""
        draw, file = self._draw, run / self._draw.choice(("metrics.csv", "evaluation.csv"))
        if not file.is_file():
            return f"no {file.name} to forge"
        rows = [row.split(",") for row in file.read_text(encoding="utf-8", errors="replace").splitlines()]
        for _ in range(draw.choice((1, 2))):
            row = draw.choice(rows) if rows else []
            if row:
                row[draw.randrange(len(row))] = draw.choice(
                    ("", "nan", "inf", "1e999", "x", "-1", "9" * 400, "😀", '"', "0x1", "1,2", "1j")
                )
        if rows and draw.random() < 0.3:
            rows.append(list(draw.choice(rows)))
        file.write_text(
            "\n".join(map(",".join, rows)) + draw.choice(("\n", "\n", "", "\r\n")), encoding="utf-8"
        )
        return f"{file.name}: other numbers"

    def _forge_checkpoint(self, run: Path) -> str:
        """A checkpoint of the right form, whose content somebody else made up."""
        draw, file = self._draw, run / "checkpoint.pt"
        try:
            content = torch.load(file, weights_only=True)
        except Exception:  # noqa: BLE001 - it is spoiled already, in any way at all
            return "checkpoint.pt is spoiled already"
        if draw.random() < 0.35:
            name = draw.choice(tuple(content))
            content[name] = draw.choice(
                (*JSON_VALUES, float("nan"), float("inf"), torch.zeros(2), b"x", {1: 2})
            )
            said = f"{name} = {content[name]!r:.60}"
        else:
            place = draw.randrange(len(content["leaves"]))
            leaf, said = other_tensor(content["leaves"][place], draw)
            content["leaves"][place] = leaf
            said = f"{content['names'][place]}: {said}"
        if draw.random() < 0.1:
            content[draw.choice(("more", "format", "names"))] = ["x"] * draw.choice((1, 10_000))
            said += ", and a part more"
        memory = io.BytesIO()
        try:
            torch.save(content, memory)
        except (RuntimeError, NotImplementedError, AttributeError):
            return f"checkpoint.pt: {said} cannot be saved"
        file.write_bytes(seal(memory.getvalue()))
        return f"checkpoint.pt: {said}"


def other_tensor(leaf: torch.Tensor, draw: random.Random) -> tuple[torch.Tensor, str]:
    """A tensor in the place of another one: of another shape or kind, or of the same with other numbers."""
    floating = leaf.is_floating_point()
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "nan": lambda: torch.full_like(leaf, torch.nan) if floating else torch.full_like(leaf, 255),
        "infinite": lambda: torch.full_like(leaf, torch.inf) if floating else torch.zeros_like(leaf),
        "huge": lambda: torch.full_like(leaf, 1e30 if floating else torch.iinfo(leaf.dtype).max),
        "least": lambda: torch.full_like(leaf, -1e30 if floating else torch.iinfo(leaf.dtype).min),
        "one more": lambda: leaf + 1,
        "noise": lambda: (torch.randn(leaf.shape) * 10).to(leaf.dtype),
        "another shape": lambda: leaf.reshape(-1)[: max(leaf.numel() - 1, 0)],
        "one axis more": lambda: leaf.unsqueeze(0),
        "another dtype": lambda: leaf.to(torch.float16 if floating else torch.float32),
        "complex": lambda: leaf.to(torch.complex64),
        "boolean": lambda: leaf.bool(),
        "empty": lambda: leaf.new_zeros(0),
        "enormous but repeated": lambda: leaf.new_zeros(1).expand(10**12),
        "right shape, repeated": lambda: leaf.new_zeros(()).expand(leaf.shape),
        "sparse": lambda: leaf.to_sparse(),
        "quantized": lambda: torch.quantize_per_tensor(leaf.float().reshape(-1), 0.1, 0, torch.qint8),
        "meta": lambda: torch.empty_like(leaf, device="meta"),
        "a parameter": lambda: torch.nn.Parameter(leaf.clone(), requires_grad=floating),
        "conjugated": lambda: leaf.to(torch.complex64).conj(),
        "transposed": lambda: leaf.mT if leaf.ndim > 1 else leaf,
    }  # fmt: skip
    way = draw.choice(tuple(ways))
    try:
        return ways[way](), way
    except (RuntimeError, OverflowError, ValueError, TypeError):
        return leaf.new_zeros(1), f"{way} (as zeros)"


def _forge(saved: Any, draw: random.Random) -> str:
    """Change one part of what JSON holds, in place; returns what, in words."""
    spot, path = saved, ""
    while isinstance(spot, dict) and spot:
        name = draw.choice(tuple(spot))
        path += f".{name}"
        if isinstance(spot[name], dict) and draw.random() < 0.8:
            spot = spot[name]
            continue
        if draw.random() < 0.1:
            del spot[name]
            return f"{path} removed"
        if draw.random() < 0.1:
            spot[draw.choice(("more", "", "😀", "__class__", "a" * 2000))] = 1
            return f"{path}: one more beside it"
        spot[name] = draw.choice(JSON_VALUES)
        return f"{path} = {spot[name]!r:.60}"
    return "nothing"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
