"""What people look at: figures and tables.

The names below draw or write files, and load when they are first used, as Matplotlib takes long to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from games.lazy import lazy_names

if TYPE_CHECKING:
    from bilevel.report.catalogue import page
    from bilevel.report.catalogue_files import write_catalogue, write_game
    from bilevel.report.clip import check_film, film, write_film
    from bilevel.report.comparison_figures import write_comparison_figures
    from bilevel.report.comparison_files import write_comparison_files
    from bilevel.report.estimators_figure import write_comparison
    from bilevel.report.figures import write_overview, write_run_figures

__all__ = [
    "check_film",
    "film",
    "page",
    "write_catalogue",
    "write_comparison",
    "write_comparison_figures",
    "write_comparison_files",
    "write_film",
    "write_game",
    "write_overview",
    "write_run_figures",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "bilevel.report.catalogue": ("page",),
        "bilevel.report.catalogue_files": ("write_catalogue", "write_game"),
        "bilevel.report.clip": ("check_film", "film", "write_film"),
        "bilevel.report.comparison_figures": ("write_comparison_figures",),
        "bilevel.report.comparison_files": ("write_comparison_files",),
        "bilevel.report.estimators_figure": ("write_comparison",),
        "bilevel.report.figures": ("write_overview", "write_run_figures"),
    },
)
