"""Checkpoints: tensors and numbers only, loaded without executing anything."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import optree
import torch
from torch import Tensor

from bilevel.errors import require
from bilevel.experiment.files import write_whole
from bilevel.tree import NAMESPACE, leaves, paths

FORMAT = "bilevel-checkpoint/3"
EARLIER = ("bilevel-checkpoint/1", "bilevel-checkpoint/2")
"""Formats of versions that drew all seeds from one stream."""
CONTENT = {
    "format": str,
    "metrics_bytes": int,
    "seconds": float,
    "settings": str,
    "names": list,
    "leaves": list,
}


class Checkpoint(NamedTuple):
    """Where a run stood."""

    state: Any
    """The learner's state."""
    metrics_bytes: int
    """How long metrics.csv was."""
    seconds: float
    """Seconds spent in training so far."""
    settings: str = ""
    """The settings it was made with, as JSON; "" where nobody will ask."""


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        OSError: it cannot be written; the one before stays.
    """
    content = {
        "format": FORMAT,
        "metrics_bytes": checkpoint.metrics_bytes,
        "seconds": checkpoint.seconds,
        "settings": checkpoint.settings,
        "names": paths(checkpoint.state),
        "leaves": leaves(checkpoint.state),
    }
    memory = io.BytesIO()  # torch.save to a full disk would raise RuntimeError rather than OSError
    torch.save(content, memory)
    write_whole(path, lambda file: file.write(memory.getbuffer()))


def load_checkpoint(path: Path, like: Any) -> Checkpoint:
    """Read a checkpoint back into the structure of `like`; nothing in the file is executed.

    Args:
        path: the file.
        like: a state of the same learner, for instance `learner.init(seed)`.

    Raises:
        ValueError: there is no such file, it is damaged, it is no checkpoint of ours, or it belongs to
            another learner (says which of these, and where).
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
    moved = [old.to(fresh.device) for old, fresh in zip(saved, new, strict=True)]
    state = optree.tree_unflatten(optree.tree_structure(like, namespace=NAMESPACE), moved)
    return Checkpoint(state, content["metrics_bytes"], content["seconds"], content["settings"])


def read_leaf(path: Path, name: str) -> Tensor:
    """Read one tensor of a checkpoint by its name in the state.

    Raises:
        ValueError: as `load_checkpoint`; or the checkpoint has no such tensor.
    """
    content = _read(path)
    require(name in content["names"], f"{path} has no {name}; it holds {', '.join(content['names'])}.")
    leaf: Tensor = content["leaves"][content["names"].index(name)]
    return leaf


def read_settings(path: Path) -> str:
    """Read the settings that a checkpoint was made with, as JSON.

    Raises:
        ValueError: as `load_checkpoint`.
    """
    settings: str = _read(path)["settings"]
    return settings


def _read(path: Path) -> dict[str, Any]:
    """The file's content, sure to be of our form."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"There is no checkpoint {path}.") from None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as parts:  # torch does not compare the check sums
            whole = parts.testzip() is None
        content: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True) if whole else {}
    except Exception as error:  # a damaged file can make the reader fail in any way at all
        raise ValueError(
            f"{path} is damaged, or it is not a checkpoint of this toolkit; nothing in it was executed."
        ) from error
    require(whole, f"{path} is damaged: its check sums do not fit.")
    require(
        not isinstance(content, dict) or content.get("format") not in EARLIER,
        f"{path} was made by an earlier version, which drew all seeds from one random stream, and cannot be "
        "gone on from to the same numbers: train the run anew in another folder.",
    )
    ours: bool = (
        isinstance(content, dict)
        and all(isinstance(content.get(key), kind) for key, kind in CONTENT.items())
        and content["format"] == FORMAT
        and len(content["names"]) == len(content["leaves"])
        and all(isinstance(name, str) for name in content["names"])
        and all(isinstance(leaf, Tensor) for leaf in content["leaves"])
    )
    require(ours, f"{path} is not a checkpoint of the form {FORMAT}; nothing in it was executed.")
    found: dict[str, Any] = content
    return found
