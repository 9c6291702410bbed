"""Reference pages of the public names: one page for each package, and one for each name, with its example."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import generated
from docstrings import inline, prepare
from docutils import nodes
from public_names import PublicName, exports, names, packages, short_names, source
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import ObjectEntry, PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

FOLDER = "reference/api"
KINDS = {"class": "Classes", "exception": "Exceptions", "function": "Functions", "data": "Data"}
MOST_LINES = 25
"""Lines of a constant's definition that its page shows."""

NAVIGATION: dict[str, str] = {}
"""Navigation of the names' pages, by its options."""
FOUND: dict[tuple[Any, ...], list[tuple[str, ObjectEntry]]] = {}
"""Objects that links have found, by the number of objects, and the links' names and contexts."""


class CachedDomain(PythonDomain):
    """Python's domain, which searches all objects once for each name, not once for each link."""

    def find_obj(self, *arguments: Any, **options: Any) -> list[tuple[str, ObjectEntry]]:
        """Find a Python object, with the arguments of `PythonDomain.find_obj`."""
        key = len(self.objects), *arguments[1:], *sorted(options.items())
        if key not in FOUND:
            FOUND[key] = super().find_obj(*arguments, **options)
        return list(FOUND[key])


def write_pages(app: Sphinx) -> None:
    """Write a page for each package and each name."""
    pages = {f"{package}.rst": package_page(package) for package in packages()}
    pages |= {f"{full}.rst": name_page(public) for full, public in names().items()}
    generated.write(Path(app.srcdir, FOLDER), pages | {"index.rst": index_page()})


def index_page() -> str:
    """The packages in their order, with the first sentence of each."""
    rows = [f"   * - :doc:`{package} <{package}>`\n     - {_first_line(package)}" for package in packages()]
    contents = "\n".join(f"   {package}" for package in packages())
    return f"""{_title("API reference")}
Every public name, by the package that exports it. A name that two packages export is documented once, with
the package that defines it.

.. list-table::
   :widths: 30 70

{chr(10).join(rows)}

.. toctree::
   :hidden:

{contents}
"""


def package_page(package: str) -> str:
    """The page of a package: its purpose, and its names by kind."""
    text = inspect.getdoc(import_module(package)) or ""
    parts = [_title(package), "\n".join(prepare(text.splitlines())), "", f".. py:module:: {package}", ""]
    exported = sorted(exports(package).values(), key=lambda public: public.name.lower())
    for kind, heading in KINDS.items():
        rows = [
            f"   * - :doc:`{public.name} <{public.full}>`\n     - {_summary(public)}"
            for public in exported
            if public.kind == kind
        ]
        if rows:
            parts += [heading, "-" * len(heading), "", ".. list-table::", "   :widths: 35 65", "", *rows, ""]
    return "\n".join(parts)


def name_page(public: PublicName) -> str:
    """A name's signature, docstring and members; of data, the definition."""
    parts = [":orphan:", "", _title(public.name), f".. py:currentmodule:: {public.package}", ""]
    parts += [f"In :doc:`{public.package} <{public.package}>`.", ""]
    if public.kind == "data":
        parts += [f".. py:data:: {public.name}", ""]
        parts += [f"   {line}".rstrip() for line in prepare(inspect.cleandoc(public.text).splitlines())]
    else:
        parts += [f".. auto{public.kind}:: {public.name}"]
        parts += ["   :members:", "   :show-inheritance:"] if public.kind != "function" else []
    if public.kind == "data":
        code = source(public)
        code = [*code[:MOST_LINES], "..."] if len(code) > MOST_LINES else code
        parts += ["", ".. rubric:: Definition", "", ".. code-block:: python", ""]
        parts += [f"   {line}".rstrip() for line in code]
    return "\n".join(parts) + "\n"


def prepare_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring into reStructuredText before Napoleon reads its sections."""
    described = what in ("attribute", "data", "property") and any(lines)
    first = (
        ["\\"] if described else []
    )  # an escaped line end, or Napoleon takes what is before a colon for a type
    lines[:] = [*first, *prepare(lines)]


def find_short_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element
) -> nodes.Element | None:
    """Link a name that is written without its package, where one package alone documents such a name."""
    if node.get("refdomain") != "py":
        return None
    full = short_names().get(node.get("reftarget", "").rstrip("()").split(".")[-1])
    if full is None:
        return None
    return make_refnode(app.builder, node["refdoc"], f"{FOLDER}/{full}", full, contnode, full)


def share_navigation(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Compute the navigation of the names' pages once: it is the same on all of them, and large."""
    if pagename.removeprefix(f"{FOLDER}/") in names():
        compute: Callable[..., str] = context["toctree"]

        def toctree(**options: Any) -> str:
            key = repr(sorted(options.items()))
            if key not in NAVIGATION:
                NAVIGATION[key] = compute(**options)
            return NAVIGATION[key]

        context["toctree"] = toctree


def _title(text: str) -> str:
    return f"{text}\n{'=' * len(text)}\n"


def _first_line(package: str) -> str:
    return _one_line(inspect.getdoc(import_module(package)) or "")


def _summary(public: PublicName) -> str:
    return _one_line(public.text)


def _one_line(text: str) -> str:
    paragraph = re.split(r"\n\s*\n", inspect.cleandoc(text))[0] if text.strip() else ""
    return " ".join(inline(paragraph.splitlines())) if paragraph else "\\"


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the pages, the docstrings and the short names."""
    app.add_domain(CachedDomain, override=True)
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)
    app.connect("missing-reference", find_short_name)
    app.connect("html-page-context", share_navigation, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
