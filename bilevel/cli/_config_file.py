"""TOML files of options: `--config FILE.toml`, for train, compare and sweep."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bilevel.core import option_words
from games.core import require

T = TypeVar("T")
TABLES = ("set", "sweep")
"""Tables of settings; all other entries are options of the command."""


@dataclass(frozen=True)
class ConfigFile:
    """Options of a command from a TOML file.

    >>> text = 'games = ["chicken"]\\n[sweep]\\n"own_share" = [0.5, 0.9]\\n'
    >>> _ = Path("study.toml").write_text(text)
    >>> found = read_config_file(Path("study.toml"))
    >>> found.options, found.tables["sweep"], found.line("own_share")
    ({'games': ['chicken']}, {'own_share': [0.5, 0.9]}, 3)
    """

    path: Path
    """Path of the file."""
    options: Mapping[str, Any]
    """Option, with underscores -> value."""
    tables: Mapping[str, Mapping[str, Any]]
    """Table -> setting, as it is written -> value; for set and sweep."""

    def line(self, key: str) -> int | None:
        """Number of the line, from 1, where a key is; None: unknown."""
        names = {key, key.replace("_", "-"), key.replace("-", "_")}
        for number, text in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
            written = re.match(r"""\s*(?:"([^"]+)"|'([^']+)'|([\w.-]+))\s*=""", text)
            if written is not None and next(filter(None, written.groups())) in names:
                return number
        return None

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Add the file, and the line of the setting that an error names, to its message."""
        try:
            yield
        except ValueError as error:
            keys = [*self.options, *(key for table in self.tables.values() for key in table)]
            places = [(place, key) for key in keys if (place := _place(key, str(error))) is not None]
            number = self.line(min(places)[1]) if places else None
            where = str(self.path) if number is None else f"{self.path}, line {number}"
            raise ValueError(f"{where}: {error}") from error

    def words(self, command: str, written: Sequence[str]) -> list[str]:
        """The file as words of `bilevel train` or `bilevel compare`, but for options that are written anyway.

        Args:
            command: train, in which settings are options, or compare, in which they follow --set.
            written: words of the command line.

        Raises:
            ValueError: the file has a [sweep], or several games or, for train, methods.
        """
        require(not self.tables["sweep"], "The table [sweep] is for bilevel sweep.")
        options = dict(self.options)
        plural = {"games": "game"} | ({"methods": "method"} if command == "train" else {"method": "methods"})
        for name, other in plural.items():
            if name in options:
                options[other] = options.pop(name)
        taken = {word.partition("=")[0].removeprefix("--").replace("-", "_") for word in written}
        found: list[str] = []
        for name, value in options.items():
            if name in taken:
                continue
            values = value if isinstance(value, list) else [value]
            require(
                name in ("methods", "track") or len(values) == 1,
                f"There are {len(values)} values of {name}, and bilevel {command} takes one: choose it by "
                f"--{name.replace('_', '-')}.",
            )
            many = name in ("methods", "track")
            found += [f"--{name}", *map(str, values)] if many else option_words(name, values[0])
        if command == "train":
            for name, value in self.tables["set"].items():
                found += option_words(name, value) if name.replace("-", "_") not in taken else []
        elif self.tables["set"] and "set" not in taken:
            found += ["--set", *(f"{name}={_text(value)}" for name, value in self.tables["set"].items())]
        return found


def read_config_file(path: Path) -> ConfigFile:
    """Read a TOML file of options.

    Raises:
        ValueError: there is no such file, or it is not TOML (names the line).
    """
    require(path.is_file(), f"There is no file {path} of options.")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}.") from error
    options: dict[str, Any] = {}
    tables: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
    for name, value in content.items():
        if name in TABLES:
            require(isinstance(value, dict), f"{path}: {name} is a table of settings, [{name}].")
            tables[name] = _flat(value)
        elif isinstance(value, dict):
            options |= {f"{name}.{key}": each for key, each in _flat(value).items()}
        else:
            options[name.replace("-", "_")] = value
    return ConfigFile(path, options, tables)


def split_config_file(arguments: list[str]) -> tuple[ConfigFile | None, list[str]]:
    """Split --config FILE off the words of a command.

    Raises:
        ValueError: as `read_config_file`, or the option is there twice, or without a file.

    >>> split_config_file(["--seeds", "2"])
    (None, ['--seeds', '2'])
    """
    rest, found = [], []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name != "--config":
            rest.append(word)
            continue
        with contextlib.suppress(StopIteration):
            value = value if equals else next(words)
        require(bool(value), "--config takes a TOML file.")
        found.append(Path(value))
    require(len(found) < 2, "--config is there twice: put everything into one file.")
    return (read_config_file(found[0]) if found else None), rest


def read_with_config_file(command: str, arguments: list[str], read: Callable[[list[str]], T]) -> T:
    """Read the words of a command, with those of the file of --config before them, if there is one.

    Args:
        command: train or compare.
        arguments: words of the command line.
        read: reads all words.

    Raises:
        ValueError: as `read`; the message then names the line of the file.
    """
    file, rest = split_config_file(arguments)
    if file is None:
        return read(rest)
    with file.named_in_errors():
        return read([*file.words(command, rest), *rest])


def _place(key: str, message: str) -> tuple[int, int] | None:
    """Place of a setting, with or without its label, in a message, and minus its length; None: absent."""
    plain = key.replace("-", "_")
    found = [
        (match.start(), -len(name))
        for name in (plain, plain.partition(".")[2])
        if name
        for match in re.finditer(rf"(?<![\w.]){re.escape(name)}(?![\w])", message.replace("-", "_"))
    ]
    return min(found, default=None)


def _flat(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        full = f"{before}{name}"
        if isinstance(value, dict) and not {"low", "high"} <= value.keys():
            flat |= _flat(value, f"{full}.")
        else:
            flat[full] = value
    return flat


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
