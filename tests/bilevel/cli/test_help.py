"""Help texts of all commands: paragraphs flow, and lines break only where the terminal ends."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import games
from bilevel.cli import _app as app
from bilevel.cli._settings import read_settings
from bilevel.methods import METHODS, parts_of
from bilevel.tasks import TASKS

Call = Callable[..., Any]
WIDTHS = (72, 100)
LISTS = {"methods", "hypergradients"}
"""Commands without settings."""


def commands() -> Iterator[str]:
    """Command lines that show all settings: of each command, task, game, method and variant of a part."""
    yield from (command for command in app.COMMANDS if command not in LISTS | {"tune", "play"})
    for task in TASKS:
        yield f"tune {task}"
    for name in {type(games.entry(name).game): name for name in games.names()}.values():
        yield f"play {name}"
    variants = {}
    for method in METHODS:
        yield f"train --method {method}"
        for part, kinds in parts_of(METHODS[method]).items():
            option = f"--{part.replace('_', '-')}"
            option = f"--inner ppo {option}" if part == "loss_weights" else option  # they need a critic
            variants |= {kind: f"train --method {method} {option} {name}" for name, kind in kinds.items()}
            if len(kinds) == 1:
                del variants[next(iter(kinds.values()))]  # shown with its method
    yield from (line for kind, line in variants.items() if kind is not None)


def halves(text: str) -> tuple[str, str]:
    """Split a help text into the description of the command, and the boxes of its options."""
    about, title, boxes = text.partition("\n options ")
    assert title, text
    return about.strip("\n"), title + boxes


def unforced_breaks(boxes: str, width: int) -> list[tuple[str, str]]:
    """Pairs of lines in boxes of which the second's first word has room at the end of the first."""
    found, in_default = [], False  # a default may be a map of many spaces
    for lines in itertools.pairwise(boxes.splitlines()):
        # two spaces are the edge of a box; titles have one
        above, below = (line[2:].rstrip(" -") if line.startswith("  ") else "" for line in lines)
        indent = len(below) - len(below.lstrip())
        # the help of an option begins in its column, or in the line after a long option
        alone = indent > 0 and not above.startswith(" ") and above[indent - 2 : indent] != "  "
        in_default = "(default:" in above or (in_default and above.startswith(" "))
        if above and below and not below.startswith("-") and not alone and not in_default:
            room = width - 2 - len(lines[0][2:].rstrip())
            found += [(above, below)] * (1 + len(below.split()[0]) <= room)
    return found


def test_every_paragraph_of_every_help_breaks_only_at_the_end_of_the_terminal(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    for line, width in zip(commands(), itertools.cycle(WIDTHS), strict=False):
        monkeypatch.setenv("COLUMNS", str(width))
        said = call(*line.split(), "--help")
        assert said.code == 0, (line, said.err)
        about, boxes = halves(said.out)
        assert not unforced_breaks(boxes, width), line
        assert not re.search(r"\n *\n *\n", boxes), line
        # a line break within a paragraph before the boxes begins an item of a list
        assert not re.findall(r"\S\n(?!  \S|--|\n).*", about), line


@dataclass(frozen=True)
class Part:
    """Part with the field's unit:
    `meters` or so, and no more.
    """

    length: float = 1.0  # of a part


@dataclass(frozen=True)
class Whole:
    """Whole of one part.

    Its prose has
    (of course) lines.

    Source:
        not shown.
    """

    part: Part = Part()
    count: int = 1
    """Number of parts,
    (which is 1) or
    more; and then

    a second paragraph."""


def test_each_paragraph_of_the_source_is_one_line(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(Whole, ["--help"], prog="whole")
    about, boxes = halves(capsys.readouterr().out)
    assert about.endswith("\n\nWhole of one part.\n\nIts prose has (of course) lines.")
    said = re.sub(" +", " ", boxes)
    assert "\n Part with the field's unit: `meters` or so, and no more. \n" in said
    assert " Number of parts, (which is 1) or more; and then \n \n a second paragraph. (default" in said
    assert "of a part (default: 1.0)" in said
    assert "not shown" not in about + said
    assert read_settings(Whole, ["--part.length", "2"], prog="whole") == Whole(Part(2.0))


def test_a_break_that_nothing_forces_is_found() -> None:
    box = "  --seeds INT   Number of\n                repetitions."
    assert unforced_breaks(box, 40) == [("--seeds INT   Number of", "              repetitions.")]
    assert not unforced_breaks(box, 36)
    assert not unforced_breaks("  --outer-steps INT\n        Number of outer steps.\n  --seeds INT", 80)
