"""Resumable folders: fixed settings, one process at a time, a record of versions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from bilevel.experiments._files import DISK_FULL, can_make_folder, file_lock, make_folder
from bilevel.experiments._provenance import PROVENANCE, note_resumption
from games.core import require


@dataclass(frozen=True)
class ResumableFolder:
    """A folder with a file of settings: the same settings resume the work in it, others are refused."""

    path: Path

    settings_file: ClassVar[str] = "settings.json"
    content: ClassVar[str] = "trials"
    """Name of the folder's content in messages."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    @property
    def config(self) -> Path:
        """Path of the file of settings, versions and commit."""
        return self.path / self.settings_file

    @property
    def is_new(self) -> bool:
        """True if `create` can create the folder: the path does not exist, or is an empty folder."""
        return can_make_folder(self.path, self.settings_file)

    def create(self, record: Mapping[str, Any], *, refusal: str) -> None:
        """Create the folder with its file of settings, the record.

        Raises:
            ValueError: something else exists there (with the message `refusal`), or it cannot be created.
            OSError: the disk is full.
        """
        try:
            make_folder(self.path, self.settings_file, json.dumps(record, indent=2) + "\n")
        except FileExistsError:
            raise ValueError(refusal) from None
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
            raise ValueError(f"The folder {self.path} cannot be made: {error.strerror}.") from error

    def require_same(self, saved: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Raise ValueError, naming the settings, unless the saved ones are the same."""
        differing = differences(saved, settings)
        require(
            not differing,
            f"{self.path} holds {self.content} with other settings "
            f"({list_differences(differing, '{0} there, {1} here')}): nothing is overwritten, so choose "
            "another folder with --out.",
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for this process in a `with` block; ValueError if another process has locked it."""
        with file_lock(self.config) as acquired:
            require(acquired, f"Another process works in {self.path}: wait for it, or stop it.")
            yield

    def note_resumption(self, unit: str, done: int) -> None:
        config = json.loads(self.config.read_text(encoding="utf-8"))
        note_resumption(self.path, {name: config.get(name) for name in PROVENANCE}, unit, done)


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Compare two nested mappings: dotted name of each differing setting -> both values, None if missing.

    >>> differences({"game": {"agents": 2}}, {"game": {"agents": 3}, "seeds": 8})
    {'game.agents': (2, 3), 'seeds': (None, 8)}
    """
    before, after = _flat(one), _flat(other)
    names = dict.fromkeys([*before, *after])
    return {
        name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    }


def list_differences(differing: Mapping[str, tuple[Any, Any]], form: str) -> str:
    """Format the first few differences, as "seeds 32, not 8", where `form` is "{0}, not {1}"."""
    shown = [f"{name} {form.format(*values)}" for name, values in list(differing.items())[:3]]
    more = len(differing) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return flat
