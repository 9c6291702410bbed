"""Language check: docstrings that name nothing, phrases of the old dialect, British spelling of identifiers.

python -m tests.language prints FILE:LINE and the reason, and exits with 1 if there is any.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

QUESTION = re.compile(r"\s*(What|Who|Whose|Whether|How|Which)\b")
DIALECT = re.compile(
    r"\b(learned (above|below)|learns? (above|below)|the level (above|below)|by the book|the way there"
    r"|walk(s|ed)? back|foretells?|to the last bit|by the last bit|is dear"
    r"|what is (seen|played|given|kept|told)|(?<![a-z] )who (plays|gives|learns|moves))\b",
    re.IGNORECASE,
)
BRITISH = re.compile(
    r"optimi[s]e|initiali[s]|normali[s]|regulari[s]|generali[s]|minimi[s]e|maximi[s]e"
    r"|behaviou[r]|colou[r]|neighbou[r]",
    re.I,
)
GENERATED = {"_build", "api", "commands", "methods", "lessons"}
"""Folders of pages that the documentation's build writes from the code."""


def strings_and_names(source: str) -> Iterator[tuple[int, str, str]]:
    """Docstrings (also those of attributes) and defined names of a module: (line, "doc" or "name", text)."""
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                yield statement.lineno, "doc", str(statement.value.value)
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, "name", node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, "name", node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, "name", node.arg


def check_text(text: str) -> Iterator[tuple[int, str]]:
    """Lines of a text that hold a phrase of the old dialect."""
    for number, line in enumerate(text.splitlines(), start=1):
        if found := DIALECT.search(line):
            yield number, f'"{found[0]}" is not a term of the field'


def check_module(source: str) -> Iterator[tuple[int, str]]:
    """Lines of a Python module that break a rule."""
    yield from check_text(source)
    for line, kind, text in strings_and_names(source):
        if kind == "doc" and QUESTION.match(text):
            yield line, f'begin the docstring with a noun or an imperative verb, not "{text.split()[0]}"'
        if kind == "name" and BRITISH.search(text):
            yield line, f"{text}: identifiers are spelled as PyTorch spells them"


def main(root: Path = Path()) -> int:
    """Print what breaks a rule; the exit status."""
    folders = ("bilevel", "games", "docs")
    modules = [path for folder in folders for path in sorted((root / folder).rglob("*.py"))]
    pages = [path for path in sorted((root / "docs").rglob("*.md")) if not GENERATED & set(path.parts)]
    texts = [*sorted(root.glob("*.md")), *pages, *sorted((root / "notebooks").glob("*.py"))]
    found = [(path, *row) for path in modules for row in check_module(path.read_text(encoding="utf-8"))]
    found += [(path, *row) for path in texts for row in check_text(path.read_text(encoding="utf-8"))]
    for path, line, reason in found:
        print(f"{path}:{line}: {reason}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
