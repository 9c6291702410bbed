"""Folders of generated pages, which git ignores."""

from __future__ import annotations

from pathlib import Path


def write(folder: Path, pages: dict[str, str]) -> None:
    """Write pages by file name, delete all other files, and leave those alone that are the same as before."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_file() and path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
