"""Checkpoints: tensors and numbers only, loaded without executing anything."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NamedTuple

import optree
import torch

from bilevel.errors import require
from bilevel.experiment.files import write_whole

FORMAT = "bilevel-checkpoint/1"
NAMESPACE = "torchopt"  # optimiser states of TorchOpt register their nodes there


class Checkpoint(NamedTuple):
    """Where a run stood."""

    state: Any
    """The learner's state."""
    metrics_bytes: int
    """How long metrics.csv was."""
    seconds: float
    """Seconds spent in training so far."""


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all."""
    paths, leaves, _ = optree.tree_flatten_with_path(checkpoint.state, namespace=NAMESPACE)
    content = {
        "format": FORMAT,
        "metrics_bytes": checkpoint.metrics_bytes,
        "seconds": checkpoint.seconds,
        "names": ["/".join(map(str, path)) for path in paths],
        "leaves": leaves,
    }
    write_whole(path, lambda file: torch.save(content, file))


def load_checkpoint(path: Path, like: Any) -> Checkpoint:
    """Read a checkpoint back into the structure of `like`; nothing in the file is executed.

    Args:
        path: the file.
        like: a state of the same learner, for instance `learner.init(seed)`.

    Raises:
        ValueError: there is no such file, it is damaged, it is no checkpoint of ours, or it belongs to
            another learner (says which of these, and where).
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"There is no checkpoint {path}.") from None
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        KeyError,
        ValueError,
        AttributeError,
    ) as error:
        raise ValueError(
            f"{path} is damaged, or it is not a checkpoint of this toolkit; nothing in it was executed."
        ) from error
    require(
        isinstance(content, dict) and content.get("format") == FORMAT,
        f"{path} is not a checkpoint of the form {FORMAT}; nothing in it was executed.",
    )
    paths, leaves, structure = optree.tree_flatten_with_path(like, namespace=NAMESPACE)
    names = ["/".join(map(str, path)) for path in paths]
    saved = content["leaves"]
    require(
        content["names"] == names and len(saved) == len(leaves),
        f"{path} belongs to another learner: it holds {', '.join(content['names'])}; "
        f"this one has {', '.join(names)}.",
    )
    for name, old, new in zip(names, saved, leaves, strict=True):
        require(
            old.shape == new.shape and old.dtype == new.dtype,
            f"{path} belongs to another learner: its {name} is {old.dtype} {list(old.shape)}, "
            f"not {new.dtype} {list(new.shape)}.",
        )
    moved = [old.to(new.device) for old, new in zip(saved, leaves, strict=True)]
    return Checkpoint(optree.tree_unflatten(structure, moved), content["metrics_bytes"], content["seconds"])
