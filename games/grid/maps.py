"""Maps as text: a letter for each cell, read once and refused early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from games.errors import require


def read_map(rows: Sequence[str], symbols: Mapping[str, str], *, agents: int) -> dict[str, tuple[int, ...]]:
    """Read where everything lies on a map.

    Args:
        rows: the map from top to bottom, equally long lines of symbols.
        symbols: what each symbol means, "spawn" among the meanings; a space is empty ground.
        agents: how many need a place to start from.

    Returns:
        for each meaning its cells, numbered row by row, in increasing order.

    Raises:
        ValueError: the map is empty or its rows differ in length; a symbol is unknown (says where it stands);
            there are fewer places to start from than agents.

    >>> read_map(["@P", "P "], {"@": "wall", "P": "spawn"}, agents=2)
    {'wall': (0,), 'spawn': (1, 2)}
    """
    require(bool(rows) and bool(rows[0]), "The map is empty: give rows of symbols.")
    width = len(rows[0])
    found: dict[str, list[int]] = {meaning: [] for meaning in dict.fromkeys(symbols.values())}
    for number, row in enumerate(rows):
        require(
            len(row) == width,
            f"The map's rows must be equally long: row 0 has {width} symbols, row {number} has {len(row)}.",
        )
        for column, symbol in enumerate(row):
            if symbol == " ":
                continue
            known = ", ".join(f"{key!r} {meaning}" for key, meaning in symbols.items())
            require(
                symbol in symbols,
                f"The map has {symbol!r} in row {number}, column {column}; "
                f"known symbols are ' ' empty, {known}.",
            )
            found[symbols[symbol]].append(number * width + column)
    places = len(found.get("spawn", []))
    require(
        places >= agents,
        f"The map has {places} places to start from (symbol "
        f"{next((key for key, meaning in symbols.items() if meaning == 'spawn'), '?')!r}), "
        f"but {agents} agents need one each.",
    )
    return {meaning: tuple(cells) for meaning, cells in found.items()}
