"""The order of a site's search results, as Sphinx's searchtools.js finds it in the page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TITLE, OBJECT_NAME, OBJECT_PART, INDEX = 15, 11, 6, 100
OBJECT_PRIORITY = {0: 15, 1: 5, 2: -5}
MOST_OF_TEXT = 15
"""The most that a word in a page's text or title adds; texts are not searched here."""


@dataclass(frozen=True)
class Result:
    """A page, or a place in it."""

    score: int
    title: str
    page: str
    anchor: str


def load(site: Path) -> dict[str, Any]:
    """The index that a built site's search reads."""
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index: dict[str, Any] = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    return index


def search(index: dict[str, Any], query: str) -> list[Result]:
    """Results by titles, index entries and names of objects, the first one first."""
    query = query.lower().strip()
    found = [*_titles(index, query), *_entries(index, query), *_objects(index, query)]
    return sorted(found, key=lambda result: (-result.score, result.title.lower()))


def _titles(index: dict[str, Any], query: str) -> list[Result]:
    titles = index["titles"]
    return [
        Result(
            round(TITLE * len(query) / len(title)) + (titles[file] == title),
            title,
            index["docnames"][file],
            anchor or "",
        )
        for title, places in index["alltitles"].items()
        if query in title.lower().strip() and len(query) >= len(title) / 2
        for file, anchor in places
    ]


def _entries(index: dict[str, Any], query: str) -> list[Result]:
    return [
        Result(round(INDEX * len(query) / len(entry)), index["titles"][file], index["docnames"][file], anchor)
        for entry, places in index["indexentries"].items()
        if query in entry and len(query) >= len(entry) / 2
        for file, anchor, main in places
        if main  # the others come after all results
    ]


def _objects(index: dict[str, Any], query: str) -> list[Result]:
    found = []
    for prefix, objects in index["objects"].items():
        for file, _, priority, _, name in objects:
            full = f"{prefix}.{name}" if prefix else name
            last = full.lower().split(".")[-1]
            if query in full.lower():
                exact = query in (full.lower(), last)
                score = OBJECT_NAME if exact else OBJECT_PART if query in last else 0
                score += OBJECT_PRIORITY.get(priority, 0)
                found.append(Result(score, full, index["docnames"][file], full))
    return found
