"""Public names of both packages, read from their `__init__.pyi`: where each lives, and an example of it."""

from __future__ import annotations

import ast
import doctest
import functools
import inspect
import re
import textwrap
from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("bilevel", "games")
RAISED = ("Error", "Exception", "Warning", "Interrupt")
"""Endings of the names of exceptions' bases."""
LONGEST = 45
"""Lines of an example that is taken from somewhere else."""


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


@dataclass(frozen=True)
class Example:
    """Code that uses a name, and where it stands."""

    code: str
    where: Path


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


def example(public: PublicName) -> Example | None:
    """The shortest code that uses a name: in docstrings, documents, lessons, tests or the packages.

    A class that nothing constructs is shown by a function that returns it; data are their own example.
    """
    if public.kind == "data":
        return Example(source(public.source, definition(public)), public.source)
    for candidates in (_doctests(), _document_blocks(), _lesson_cells(), _tests()):
        if found := _shortest(candidates, public):
            return found
    returning = [
        one for one in names().values() if _returns(one) == public.name and one.package == public.package
    ]
    for maker in returning:
        if own := _own_doctest(maker):
            return own
        if found := _shortest([*_document_blocks(), *_tests()], maker):
            return found
    if found := _shortest(_library_functions(), public):
        return found
    everything = (*_document_blocks(), *_tests(), *_library_functions())
    using = [one for one in everything if _uses(one, public)]
    return _around(min(using, key=lambda one: len(one.code)), public.name) if using else None


def source(path: Path, node: ast.stmt | None) -> str:
    """The lines of a statement, with its decorators."""
    if node is None:
        return ""
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
    return textwrap.dedent("\n".join(_lines(path)[first - 1 : node.end_lineno])) + "\n"


def has_doctest(public: PublicName) -> bool:
    """True if the docstring of a name, or of one of its methods, has an example."""
    node = definition(public)
    if not isinstance(node, ast.ClassDef | ast.FunctionDef):
        return False
    parts = [node, *(part for part in ast.walk(node) if isinstance(part, ast.FunctionDef))]
    return any(">>>" in (ast.get_docstring(part) or "") for part in parts)


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


def _shortest(candidates: list[Example], public: PublicName) -> Example | None:
    using = [one for one in candidates if one.code.count("\n") < LONGEST and _uses(one, public)]
    return min(using, key=lambda one: len(one.code), default=None)


def _around(one: Example, name: str) -> Example:
    """The shortest statement that uses a name."""
    lines = one.code.splitlines()
    using = [
        lines[node.lineno - 1 : node.end_lineno]
        for node in ast.walk(ast.parse(one.code))
        if isinstance(node, ast.stmt) and re.search(rf"\b{name}\b", _without_strings(node))
    ]
    shortest: list[str] = min(using, key=len)
    return Example(textwrap.dedent("\n".join(shortest)) + "\n", one.where)


def _without_strings(node: ast.stmt) -> str:
    """The names in a statement, without its docstrings and other texts."""
    inner = ast.walk(node)
    parts = [n.id if isinstance(n, ast.Name) else getattr(n, "attr", "") for n in inner]
    return " ".join(map(str, parts))


def _uses(one: Example, public: PublicName) -> bool:
    if public.name not in one.code:
        return False
    own = one.where.is_relative_to(ROOT / public.package.split(".")[0])
    known = own and public.name in _module_names(one.where)
    bare = known or (own and f".{public.name}(" in one.code)  # code runs among its module's names
    return public.name in _names_used(one.code, bare)


def _returns(public: PublicName) -> str:
    node = definition(public)
    return ast.unparse(node.returns) if isinstance(node, ast.FunctionDef) and node.returns else ""


def _own_doctest(public: PublicName) -> Example | None:
    node = definition(public)
    text = ast.get_docstring(node) if isinstance(node, ast.ClassDef | ast.FunctionDef) else None
    examples = doctest.DocTestParser().get_examples(text or "")
    return Example("".join(one.source for one in examples), public.source) if examples else None


@functools.cache
def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


@functools.cache
def _module_names(path: Path) -> frozenset[str]:
    imports = [node for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)]
    found = {alias.asname or alias.name for node in imports for alias in node.names}
    for node in tree(path).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return frozenset(found)


@functools.cache
def _names_used(code: str, bare: bool) -> frozenset[str]:
    """The names that code takes from both packages; with `bare`, every name it loads."""
    try:
        parsed = ast.parse(code)
    except SyntaxError:
        return frozenset()
    nodes = list(ast.walk(parsed))
    loaded = {node.id for node in nodes if isinstance(node, ast.Name)}
    imported = {
        alias.asname or alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES
        for alias in node.names
    }
    modules = {*PACKAGES, *(name for name in imported if name.islower())}
    through = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (bare or node.value.id in modules)
    }
    return frozenset((loaded if bare else loaded & imported) | through)


@functools.cache
def _doctests() -> list[Example]:
    found = []
    for path in _files(*PACKAGES):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.Module):
                examples = doctest.DocTestParser().get_examples(ast.get_docstring(node) or "")
                if examples:
                    found.append(Example("".join(one.source for one in examples), path))
    return found


@functools.cache
def _document_blocks() -> list[Example]:
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [
        Example(block, path)
        for path in paths
        for block in re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.S | re.M)
    ]


@functools.cache
def _lesson_cells() -> list[Example]:
    return [
        Example(cell.partition("\n")[2].strip() + "\n", path)
        for path in sorted((ROOT / "notebooks").glob("[0-9]*.py"))
        for cell in path.read_text(encoding="utf-8").split("\n# %%")
        if not cell.startswith(" [markdown]")
    ]


@functools.cache
def _tests() -> list[Example]:
    """Every test function that needs public names alone, below the imports that it uses."""
    found = [
        Example(_with_imports(path, node), path)
        for path in _files("tests")
        for node in tree(path).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test")
    ]
    return [one for one in found if not re.search(r"import _|\._\w", one.code)]


@functools.cache
def _library_functions() -> list[Example]:
    """Every function, class and table of the packages themselves."""
    return [
        Example(source(path, node), path)
        for path in _files(*PACKAGES)
        for node in tree(path).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign)
    ]


def _with_imports(path: Path, node: ast.FunctionDef) -> str:
    code = source(path, node)
    used = set(re.findall(r"\w+", code))
    imports = [one for one in tree(path).body if isinstance(one, ast.ImportFrom | ast.Import)]
    lines = [line for one in imports if (line := _import_line(one, used))]
    return "\n".join(lines) + "\n\n\n" + code


def _import_line(node: ast.Import | ast.ImportFrom, used: set[str]) -> str:
    wanted = [alias for alias in node.names if (alias.asname or alias.name).split(".")[0] in used]
    if not wanted:
        return ""
    if isinstance(node, ast.Import):
        return ast.unparse(ast.Import(wanted))
    return ast.unparse(ast.ImportFrom(node.module, wanted, node.level))


def _files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
