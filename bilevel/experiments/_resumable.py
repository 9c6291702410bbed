"""Resumable folders: fixed settings, one process at a time, and the provenance of their results."""

from __future__ import annotations

import contextlib
import functools
import json
import platform
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

from bilevel import __version__
from bilevel.experiments._files import (
    DISK_FULL,
    can_make_folder,
    file_lock,
    make_folder,
    parse_json,
    write_text,
)
from games.core import require

PACKAGES = ("torch", "torchopt", "numpy", "scipy", "gymnasium", "pettingzoo")
OPTIONAL = ("scikit-learn",)
"""Recorded where they are installed."""
PROVENANCE = ("versions", "commit")
RESUMPTIONS = "resumptions.json"
"""File of all resumptions of a folder's work, [{outer_step, versions, commit}, ...]."""


class FolderInUse(ValueError):  # noqa: N818 - a state of the folder
    """Raised when another process works in a folder.

    >>> from pathlib import Path
    >>> folder = ResumableFolder(Path("study"))
    >>> folder.create({}, refusal="study exists.")
    >>> with folder.locked(), folder.locked():
    ...     pass
    Traceback (most recent call last):
    bilevel.experiments...FolderInUse: Another process works in study: wait for it, or stop it.
    """


class ProvenanceWarning(UserWarning):
    """Work is resumed under other package versions, or another commit, than it began with."""


def provenance() -> dict[str, Any]:
    """List the versions of the packages that affect numbers, and the commit, as in config.json.

    Returns:
        versions: package -> version. commit: of this code, with -dirty if files differ; None without git.

    >>> record = provenance()
    >>> sorted(record), "torch" in record["versions"]
    (['commit', 'versions'], True)
    """
    return {"versions": dict(_installed()), "commit": _commit()}


def note_resumption(folder: Path, began: dict[str, Any], unit: str, done: int) -> None:
    """Record that work in a folder is resumed, and warn if versions or the commit have changed.

    Args:
        folder: folder of the record.
        began: the provenance at the beginning, as in config.json.
        unit, done: unit and amount of progress, such as "outer_step" and 50.
    """
    before, now = resumptions(folder), provenance()
    changed = _changes([began, *before][-1], now)
    if not done and not before and not changed:
        return  # a new run
    write_text(folder / RESUMPTIONS, json.dumps([*before, {unit: done, **now}], indent=2) + "\n")
    if changed:
        warnings.warn(
            f"{folder} is resumed under other versions than before ({', '.join(changed)}): numbers may "
            f"differ from those of an uninterrupted run; {RESUMPTIONS} in this folder records the steps of "
            "resumption.",
            ProvenanceWarning,
            stacklevel=2,
        )


def resumptions(folder: Path) -> list[dict[str, Any]]:
    """Read the record of the resumptions of a folder's work, in order; ValueError if it is damaged."""
    path = folder / RESUMPTIONS
    try:
        records = parse_json(path.read_bytes())
        if not (isinstance(records, list) and all(isinstance(each, dict) for each in records)):
            raise ValueError("it is not a list of records")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged: delete it, and what it said is lost alone.") from error
    return records


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """List the differences of two records, in words."""

    def flat(record: dict[str, Any]) -> dict[str, Any]:
        versions = record.get("versions")
        return {**(versions if isinstance(versions, dict) else {}), "commit": record.get("commit")}

    old, new = flat(before), flat(now)
    return [
        f"{name} {old.get(name)} then, {new.get(name)} now"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


@functools.cache
def _installed() -> dict[str, str]:
    versions = {"bilevel": __version__, "python": platform.python_version()}
    versions |= {name: version(name) for name in PACKAGES}
    for name in OPTIONAL:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


@functools.cache
def _commit() -> str | None:
    """Commit of this code, with -dirty if files differ; None if git does not track this file."""
    module = Path(__file__).resolve()

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=module.parent, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", module.name)  # an installed copy may lie within another repository
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or None
    except (OSError, subprocess.SubprocessError):
        return None


@dataclass(frozen=True)
class ResumableFolder:
    """A folder with a file of settings: the same settings resume the work in it, others are refused.

    >>> from pathlib import Path
    >>> folder = ResumableFolder(Path("study"))
    >>> folder.create({"seeds": 8}, refusal="study exists.")
    >>> folder.require_same({"seeds": 8}, {"seeds": 9})
    Traceback (most recent call last):
    ValueError: study holds trials with other settings (seeds 8 there, 9 here): nothing is overwritten, so
    choose another folder with --out.
    """

    path: Path
    """Path of the folder."""

    settings_file: ClassVar[str] = "settings.json"
    """Name of the file of settings."""
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
        """Require saved settings to be the same as these.

        Raises:
            ValueError: they differ (names the settings).
        """
        differing = differences(saved, settings)
        require(
            not differing,
            f"{self.path} holds {self.content} with other settings "
            f"({list_differences(differing, '{0} there, {1} here')}): nothing is overwritten, so choose "
            "another folder with --out.",
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for this process in a `with` block.

        Raises:
            FolderInUse: another process has locked it.
        """
        with file_lock(self.config) as acquired:
            if not acquired:
                raise FolderInUse(f"Another process works in {self.path}: wait for it, or stop it.")
            yield

    def note_resumption(self, unit: str, done: int) -> None:
        """Record that work is resumed after `done` units, and warn if versions or the commit have changed."""
        config = json.loads(self.config.read_text(encoding="utf-8"))
        note_resumption(self.path, {name: config.get(name) for name in PROVENANCE}, unit, done)


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Compare two nested mappings: dotted name of each differing setting -> both values, None if missing.

    >>> differences({"game": {"agents": 2}}, {"game": {"agents": 3}, "seeds": 8})
    {'game.agents': (2, 3), 'seeds': (None, 8)}
    """
    before, after = flat_settings(one), flat_settings(other)
    names = dict.fromkeys([*before, *after])
    return {
        name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    }


def list_differences(differing: Mapping[str, tuple[Any, Any]], form: str) -> str:
    """Format the first few differences, as "seeds 32, not 8", where `form` is "{0}, not {1}"."""
    shown = [f"{name} {form.format(*values)}" for name, values in list(differing.items())[:3]]
    more = len(differing) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def flat_settings(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Flatten nested settings: dotted name, after `before` -> value.

    >>> flat_settings({"game": {"agents": 2}, "seeds": 8})
    {'game.agents': 2, 'seeds': 8}
    """
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        inner = isinstance(value, dict)
        flat |= flat_settings(value, f"{before}{name}.") if inner else {f"{before}{name}": value}
    return flat
