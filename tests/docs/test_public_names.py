"""Public names: each is documented, and each function and class shows its use."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs" / "_ext"))

from public_names import has_doctest, names, source


def test_every_public_name_is_documented() -> None:
    assert not [full for full, public in names().items() if not public.text]


def test_every_public_function_and_class_has_an_example() -> None:
    assert not [full for full, public in names().items() if public.kind != "data" and not has_doctest(public)]


def test_data_are_shown_by_their_definition() -> None:
    assert source(names()["games.grid.OPEN"])[0].startswith("OPEN")
