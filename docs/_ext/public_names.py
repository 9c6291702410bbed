"""Public names of both packages, read from their `__init__.pyi`, with the source of each."""

from __future__ import annotations

import ast
import functools
import inspect
from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("bilevel", "games")
RAISED = ("Error", "Exception", "Warning", "Interrupt")
"""Endings of the names of exceptions' bases."""


@dataclass(frozen=True)
class PublicName:
    """A name that a package exports."""

    package: str
    """The public package that it is documented with."""
    name: str
    source: Path
    """The file that defines it."""

    @property
    def full(self) -> str:
        """The dotted name."""
        return f"{self.package}.{self.name}"

    @property
    def value(self) -> Any:
        """The object itself."""
        return getattr(import_module(self.package), self.name)

    @property
    def kind(self) -> str:
        """`class`, `exception`, `function` or `data`."""
        node = definition(self)
        if isinstance(node, ast.ClassDef):
            raised = any(ast.unparse(base).endswith(RAISED) for base in node.bases)
            return "exception" if raised else "class"
        if isinstance(node, ast.FunctionDef) or inspect.isfunction(self.value):
            return "function"
        return "class" if node is None and inspect.isclass(self.value) else "data"

    @property
    def text(self) -> str:
        """The docstring; of data, the string below its definition."""
        node = definition(self)
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            return ast.get_docstring(node) or ""
        if self.kind != "data":
            return inspect.getdoc(self.value) or ""
        return string_below(tree(self.source), node)


@functools.cache
def tree(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def packages() -> list[str]:
    """Every package with an `__init__.pyi`, by name."""
    stubs = [stub for top in PACKAGES for stub in sorted((ROOT / top).rglob("__init__.pyi"))]
    return [".".join(stub.parent.relative_to(ROOT).parts) for stub in stubs]


@functools.cache
def exports(package: str) -> dict[str, PublicName]:
    """The exports of a package, each as documented: with the package whose private module defines it."""
    stub = ROOT.joinpath(*package.split("."), "__init__.pyi")
    found = {}
    for node in tree(stub).body:
        if not isinstance(node, ast.ImportFrom):
            continue
        origin = package.split(".")[: len(package.split(".")) - node.level + 1] + (node.module or "").split(
            "."
        )
        for alias in node.names:
            found[alias.asname or alias.name] = _located(package, origin, alias.name)
    return found


@functools.cache
def names() -> dict[str, PublicName]:
    """Full name -> every public name, once."""
    found = {public.full: public for package in packages() for public in exports(package).values()}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


@functools.cache
def short_names() -> dict[str, str]:
    """Name -> full name, of those that one package alone defines; full names, too."""
    every = names()
    counted = Counter(public.name for public in every.values())
    return {public.name: full for full, public in every.items() if counted[public.name] == 1} | {
        full: full for full in every
    }


def definition(public: PublicName) -> ast.stmt | None:
    """The statement that defines a name in its file: the last, as overloads come first."""
    for node in reversed(tree(public.source).body):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == public.name:
            return node
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        targets = [part for one in targets for part in (one.elts if isinstance(one, ast.Tuple) else [one])]
        if any(isinstance(target, ast.Name) and target.id == public.name for target in targets):
            return node
    return None


def string_below(module: ast.Module, node: ast.stmt | None) -> str:
    """The string that stands below an assignment and documents it."""
    after = module.body[module.body.index(node) + 1 :][:1] if node in module.body else []
    for statement in after:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            return str(statement.value.value)
    return ""


def source(public: PublicName) -> list[str]:
    """The lines of a name's definition."""
    node = definition(public)
    lines = public.source.read_text(encoding="utf-8").splitlines()
    return lines[node.lineno - 1 : node.end_lineno] if node else []


def has_doctest(public: PublicName) -> bool:
    """True if the docstring of a name, or of one of its methods, has an example."""
    body = getattr(definition(public), "body", [])
    methods = [ast.get_docstring(part) or "" for part in body if isinstance(part, ast.FunctionDef)]
    return any(">>>" in text for text in (public.text, *methods))


def _located(package: str, origin: list[str], name: str) -> PublicName:
    path = ROOT.joinpath(*origin).with_suffix(".py")
    if not path.exists():
        return exports(".".join(origin))[name]
    for node in tree(path).body:  # a module may pass on what another package defines
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            other = node.module or ""
            if not node.level and other.startswith(PACKAGES) and name in exports_if_public(other):
                return exports(other)[name]
    return PublicName(package, name, path)


def exports_if_public(package: str) -> dict[str, PublicName]:
    """The exports of a package; none where there is no such public package."""
    return exports(package) if ROOT.joinpath(*package.split("."), "__init__.pyi").exists() else {}
