"""Checkpoints: tensors and plain values only, loaded without executing anything."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import optree
import torch
from torch import Tensor

from bilevel.core import NAMESPACE, leaves, paths
from bilevel.experiments._files import FilePosition, write_atomic
from bilevel.experiments._metrics import Positions
from games.core import require

FORMAT = "bilevel-checkpoint/3"
EARLIER = ("bilevel-checkpoint/1", "bilevel-checkpoint/2")
"""Formats of versions that drew all seeds from one stream."""
UNSEALED, SEALED = b"\x00\x00", b"\x40\x00"
"""Comment length at the end of a zip file: 0, and 64 for the hexadecimal checksum."""
CONTENT = {
    "format": str,
    "marks": dict,
    "seconds": float,
    "settings": str,
    "steps_run": str,
    "names": list,
    "leaves": list,
}


class Checkpoint(NamedTuple):
    state: Any
    positions: Positions
    """Position in each file of metrics."""
    seconds: float
    """Training time so far."""
    settings: str = ""
    """Settings as JSON; "" where they are not needed."""
    steps_run: str = ""
    """Execution mode of the steps, "compiled" or "eagerly"; "" if not decided yet."""


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically; after an OSError the earlier one is unchanged."""
    content = {
        "format": FORMAT,
        "marks": {name: tuple(position) for name, position in checkpoint.positions.items()},
        "seconds": checkpoint.seconds,
        "settings": checkpoint.settings,
        "steps_run": checkpoint.steps_run,
        "names": paths(checkpoint.state),
        "leaves": leaves(checkpoint.state),
    }
    memory = io.BytesIO()  # torch.save to a full disk would raise RuntimeError rather than OSError
    torch.save(content, memory)
    sealed = seal(memory.getvalue())
    write_atomic(path, lambda file: file.write(sealed))


def seal(data: bytes) -> bytes:
    """Add a zip file's SHA-256 checksum as its comment; its own CRCs do not cover the offsets of entries."""
    body = data[: -len(UNSEALED)]
    return body + SEALED + hashlib.sha256(body).hexdigest().encode()


def load_checkpoint(path: Path, like: Any) -> Checkpoint:
    """Read a checkpoint into the structure of `like`; nothing in the file is executed.

    Args:
        path: the file, `RunFolder.checkpoint`.
        like: a state of the same learner, for instance `learner.init(seed)`.

    Returns:
        The state, with the positions in the files of metrics, the training time in seconds and the settings.

    Raises:
        ValueError: the file is missing, damaged, not a checkpoint, or of another learner (with the reason).

    >>> from bilevel.experiments import train
    >>> run = train("chicken", "tos", seeds=3, outer_steps=2, out="run")
    >>> checkpoint = load_checkpoint(run.path / "checkpoint.pt", like=run.config.build_learner().init(seed=0))
    >>> checkpoint.state["outer_step"]
    tensor(2)
    """
    content = _read(path)
    names, saved, new = paths(like), content["leaves"], leaves(like)
    require(
        content["names"] == names,
        f"{path} belongs to another learner: it holds {', '.join(content['names'])}; "
        f"this one has {', '.join(names)}.",
    )
    for name, old, fresh in zip(names, saved, new, strict=True):
        require(
            old.shape == fresh.shape and old.dtype == fresh.dtype,
            f"{path} belongs to another learner: its {name} is {old.dtype} {list(old.shape)}, "
            f"not {fresh.dtype} {list(fresh.shape)}.",
        )
    moved = [old.to(fresh.device).contiguous() for old, fresh in zip(saved, new, strict=True)]
    state = optree.tree_unflatten(optree.tree_structure(like, namespace=NAMESPACE), moved)
    positions = {name: FilePosition(*position) for name, position in content["marks"].items()}
    return Checkpoint(state, positions, content["seconds"], content["settings"], content["steps_run"])


def read_leaf(path: Path, name: str) -> Tensor:
    """Read one tensor of a checkpoint by its name; ValueError as `load_checkpoint`, or if there is none."""
    content = _read(path)
    require(name in content["names"], f"{path} has no {name}; it holds {', '.join(content['names'])}.")
    leaf: Tensor = content["leaves"][content["names"].index(name)]
    return leaf


def read_outer_step(path: Path) -> int:
    """Read a checkpoint's number of outer steps; ValueError as `read_leaf` and `outer_step_of`."""
    return outer_step_of(path, read_leaf(path, "outer_step"))


def outer_step_of(path: Path, leaf: Tensor) -> int:
    """Check that a checkpoint's number of outer steps is a whole number from 0, and return it."""
    fits = leaf.shape == () and leaf.dtype == torch.int64 and int(leaf) >= 0
    require(fits, f"{path} does not say after how many outer steps it was made.")
    return int(leaf)


def read_settings(path: Path) -> str:
    """Read a checkpoint's settings, as JSON; ValueError as `load_checkpoint`."""
    settings: str = _read(path)["settings"]
    return settings


def _is_plain(leaf: object) -> bool:
    """True if a leaf is a dense CPU tensor, not quantized, without gradient, and not a lazy view."""
    return (
        type(leaf) is Tensor
        and leaf.device.type == "cpu"
        and leaf.layout == torch.strided
        and not (leaf.is_quantized or leaf.requires_grad or leaf.is_conj() or leaf.is_neg())
    )


def _is_mark(name: object, position: object) -> bool:
    if not (isinstance(name, str) and isinstance(position, tuple) and len(position) == 2):
        return False
    size, digest = position
    return type(size) is int and size >= 0 and isinstance(digest, str)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"There is no checkpoint {path}.") from None
    unsealed = data[: -len(SEALED) - 2 * hashlib.sha256().digest_size] + UNSEALED
    require(
        seal(unsealed) == data or data[-len(UNSEALED) :] == UNSEALED,  # a torch.save file that is not ours
        f"{path} is damaged: its check sum does not fit; nothing in it was executed.",
    )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as parts:  # uncompressed entries cannot expand in memory
            stored = all(part.compress_type == zipfile.ZIP_STORED for part in parts.infolist())
        content: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True) if stored else None
    except Exception as error:  # a damaged file can make the reader fail in any way at all
        raise ValueError(
            f"{path} is damaged, or it is not a checkpoint of this toolkit; nothing in it was executed."
        ) from error
    require(
        not isinstance(content, dict) or content.get("format") not in EARLIER,
        f"{path} was made by an earlier version, which drew all seeds from one random stream, and cannot be "
        "resumed with the same numbers: train the run anew in another folder.",
    )
    valid: bool = (
        isinstance(content, dict)
        and all(isinstance(content.get(key), kind) for key, kind in CONTENT.items())
        and content["format"] == FORMAT
        and len(content["names"]) == len(content["leaves"])
        and all(isinstance(name, str) for name in content["names"])
        and all(map(_is_plain, content["leaves"]))
        and 0 <= content["seconds"] < math.inf
        and all(_is_mark(*mark) for mark in content["marks"].items())
    )
    require(valid, f"{path} is not a checkpoint of the form {FORMAT}; nothing in it was executed.")
    checked: dict[str, Any] = content
    return checked
