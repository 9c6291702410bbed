"""Settings of the site; `make docs` builds it into docs/_build/html."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from bilevel import __version__  # noqa: E402 - of this checkout

gc.set_threshold(200_000, 50, 100)  # pages are large trees that stay

project = "bilevel"
author = "The bilevel authors"
copyright = "the bilevel authors, Apache-2.0"  # noqa: A001 - Sphinx's name
version = release = __version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "api",
    "commands",
    "mathml",
    "sources",
]
exclude_patterns = ["_build", "_ext", "_static"]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"
nb_render_markdown_format = "myst"  # tables and formulas of outputs, too
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # by default from another host

suppress_warnings = ["ref.python"]  # a short name in a signature may also be an attribute of classes

default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_mock_imports = ["accelerate", "lightning", "transformers"]
python_use_unqualified_type_names = True
napoleon_custom_sections = ["Returns", "Source", "Yields"]  # texts, not types
napoleon_use_ivar = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"bilevel {version}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
