"""Sources of the site outside docs/: the lessons as committed, and links to files of the repository."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import generated
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
LESSONS = "tutorials/lessons"
TRANSLATIONS = ("zh",)
"""Folders of notebooks/ with translated lessons."""
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "how-to/contribute.md",
    "CHANGELOG.md": "reference/changelog.md",
    "tests/benchmarks/RESULTS.md": "studies/benchmarks.md",
    "notebooks/README.md": "tutorials/write-a-lesson.md",
    "notebooks/zh/README.md": "tutorials/chinese.md",
    "notebooks/zh/glossary.md": "tutorials/chinese-glossary.md",
}
"""File of the repository -> the page that shows it."""
INCLUDE = re.compile(r"```\{include\} (\S+)\n((?::.*\n)*)```")
LINK = re.compile(r"(\]\()([^)#\s:]+)([)#])")


def copy_lessons(app: Sphinx) -> None:
    """Copy the lessons and their translations."""
    for language in ("", *TRANSLATIONS):
        paths = sorted((ROOT / "notebooks" / language).glob("*.ipynb"))
        generated.write(Path(app.srcdir, LESSONS, language), {path.name: _lesson(path) for path in paths})


def _lesson(path: Path) -> str:
    """A lesson with the alternative texts of its figures where MyST-NB reads them."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        texts = [
            output["metadata"]["image/png"]["alt"]
            for output in cell.get("outputs", [])
            if "alt" in output.get("metadata", {}).get("image/png", {})
        ]
        if texts:
            cell["metadata"]["mystnb"] = {"image": {"alt": " ".join(texts)}}
    return json.dumps(notebook)


def take_in(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put in the files that a page includes, and lead links to files of the repository to their pages."""
    path = Path(app.env.doc2path(docname))
    if path.suffix == ".md":
        included = INCLUDE.sub(lambda found: _included(app, path.parent, found[1], found[2]), source[0])
        source[0] = _redirected(included, path.parent, path.parent)


def _included(app: Sphinx, folder: Path, name: str, options: str) -> str:
    file = (folder / name).resolve()
    app.env.note_dependency(str(file))
    text = file.read_text(encoding="utf-8")
    for option, wanted in re.findall(r":(start-after|end-before): (.*)", options):
        before, _, after = text.partition(f"{wanted}\n")
        text = after if option == "start-after" else before
    return _redirected(text, file.parent, folder)


def _redirected(text: str, origin: Path, folder: Path) -> str:
    """A text of `origin` with its links rewritten relative to `folder`."""
    parts = re.split(r"(^```.*?^```)", text, flags=re.DOTALL | re.MULTILINE)
    for index in range(0, len(parts), 2):
        parts[index] = LINK.sub(
            lambda found: found[1] + _target(origin, folder, found[2]) + found[3], parts[index]
        )
    return "".join(parts)


def _target(origin: Path, folder: Path, target: str) -> str:
    file = Path(os.path.normpath(origin / target))
    name = file.relative_to(ROOT).as_posix()
    if name.startswith("notebooks/") and file.suffix == ".ipynb":
        name = f"docs/{LESSONS}/{file.relative_to(ROOT / 'notebooks')}"
    elif name in PAGES:
        name = f"docs/{PAGES[name]}"
    return os.path.relpath(ROOT / name, folder)


def setup(app: Sphinx) -> dict[str, bool]:
    """Copy the lessons when the build begins, and take in files as pages are read."""
    app.connect("builder-inited", copy_lessons)
    app.connect("source-read", take_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
