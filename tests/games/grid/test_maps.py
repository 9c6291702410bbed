"""Maps: what is read, and what is refused."""

from __future__ import annotations

import pytest

from games.grid._tables import read_map

SYMBOLS = {"@": "wall", "P": "spawn", "Q": "spawn", "A": "apple"}


def test_cells_are_numbered_row_by_row() -> None:
    layout = read_map(["@PA", "Q A"], SYMBOLS, agents=2)
    assert layout == {"wall": (0,), "spawn": (1, 3), "apple": (2, 5)}


@pytest.mark.parametrize(
    ("rows", "agents", "sentence"),
    [
        ([], 1, "The map is empty"),
        ([""], 1, "The map is empty"),
        (["@P", "@"], 1, "row 0 has 2 symbols, row 1 has 1"),
        (["P ", " x"], 1, "has 'x' in row 1, column 1; known symbols are ' ' empty, '@' wall, 'P' spawn"),
        (["@A"], 1, r"has 0 places to start from \(symbol 'P'\), but 1 agents need one each"),
        (["PQ"], 3, "has 2 places to start from"),
    ],
)
def test_bad_maps_are_refused(rows: list[str], agents: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_map(rows, SYMBOLS, agents=agents)
