"""Weights & Biases, offline unless the user is logged in."""

from __future__ import annotations

import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import wandb

from bilevel.experiments import RunConfig, RunFolder


class WeightsAndBiases:
    """A run of Weights & Biases, in the folder `wandb` of the run.

    Environment variables apply as usual, such as WANDB_PROJECT (default here: bilevel), WANDB_ENTITY and
    WANDB_MODE (default here: online if an API key is known, else offline; `wandb sync` uploads later).
    """

    key: str | None

    def __init__(self, folder: RunFolder, config: RunConfig, key: str | None) -> None:
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "bilevel"),
            group=os.environ.get("WANDB_RUN_GROUP", config.game_name),
            name=folder.path.name,
            id=key,
            resume=None if key is None else "allow",
            config=config.plain,
            dir=folder.path,
            mode=_mode(),
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
        )
        self.key = self._run.id

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def finish(self, summary: Mapping[str, float], figures: Sequence[Path]) -> None:
        self._run.summary.update(dict(summary))
        self._run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in figures})

    def close(self) -> None:
        self._run.finish()


def _mode() -> Literal["online", "offline"] | None:
    """None where WANDB_MODE decides."""
    if "WANDB_MODE" in os.environ:
        return None
    return "online" if "WANDB_API_KEY" in os.environ or _in_netrc() else "offline"


def _in_netrc() -> bool:
    """True if `wandb login` has saved an API key."""
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
