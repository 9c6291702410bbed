"""How the command line's tests call it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from bilevel.cli import main


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    def sentence(self) -> str:
        """The one line on standard error, which is no traceback."""
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        return self.err.rstrip("\n")


Call = Callable[..., Said]


def _signature_alone(_: object, file: IO[bytes], **settings: object) -> None:
    file.write(b"\x89PNG")


@pytest.fixture
def painted() -> None:
    """For tests that use it, `call` leaves figures their pixels, which take most of a small run's time."""


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Call:
    """Call `bilevel WORDS` in this process, in an empty folder, with no terminal.

    Figures are drawn and their files written, but for the pixels: `tests/bilevel/report` tests those.
    """
    if "painted" not in request.fixturenames:
        monkeypatch.setattr(FigureCanvasAgg, "print_png", _signature_alone)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*words: object) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        assert isinstance(left.value.code, int)
        out, err = capsys.readouterr()
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", out + err), "control characters without a terminal"
        return Said(left.value.code, out, err)

    return run
