"""`--load FILE`: games, methods and estimators of one's own."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path

from bilevel.errors import require


def load_file(path: Path) -> None:
    """Run a Python file that registers what is its own.

    Games (`games.register`), methods (`register_method`), estimators (`register_hypergradient`) or tasks
    (`register_task`).

    Only a file that the user names is ever run: a run's folder does not say which one it needs.

    Args:
        path: the file.

    Raises:
        ValueError: there is no such file, or it fails (says in which line, and how).
    """
    require(path.is_file(), f"There is no file {path} to load.")
    here = path.resolve()
    require(path.suffix == ".py", f"--load takes a Python file, with a name that ends in .py, not {path}.")
    name = f"loaded_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, here)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their annotations up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file can raise
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == here]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else "?"
        raise ValueError(f"{path}, line {line}: {type(error).__name__}: {error}") from error
