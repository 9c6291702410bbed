"""The tasks by their names; one is imported when it is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from bilevel.tasks._task import Task
from games.core import require, require_name

TASKS: dict[str, str | Task] = {
    "noisy-digits": "bilevel.tasks:NoisyDigits",
    "auxiliary-digits": "bilevel.tasks._auxiliary_digits:AuxiliaryDigits",
    "world-model": "bilevel.tasks.world_model:WorldModelTask",
}
"""Name -> the task, or "module:class", called without arguments, of one that is not imported yet."""
PACKAGES = {
    "sklearn": "scikit-learn",
    "gymnasium": "gymnasium",
    "pygame": "pygame-ce",
    "tensorboard": "tensorboard",
}
"""What tasks import of the extra `tasks` -> what the package is called."""


class MissingPackage(ValueError):  # noqa: N818 - a sentence for the user, as every ValueError here
    """A task needs a package of the extra `tasks` that is not installed."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Turn the absence of an optional package into one sentence that says how to get it.

    Args:
        name: of the task that needs it.

    >>> with extra("noisy-digits"):
    ...     raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn.datasets")
    Traceback (most recent call last):
    bilevel.tasks._registry.MissingPackage: The task noisy-digits needs scikit-learn: pip install
    'bilevel[tasks]'
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        package = PACKAGES.get((missing.name or "").partition(".")[0])
        if package is None:
            raise
        raise MissingPackage(f"The task {name} needs {package}: pip install 'bilevel[tasks]'") from None


def make_task(name: str) -> Task:
    """Look a task up.

    Raises:
        ValueError: there is no such task (names the nearest), or a package that it needs is missing (says how
            to get it).

    >>> make_task("noisy-digit")
    Traceback (most recent call last):
    ValueError: There is no task 'noisy-digit'. Did you mean 'noisy-digits'...
    """
    require_name(name, TASKS, "task")
    found = TASKS[name]
    if isinstance(found, str):
        module, _, attribute = found.partition(":")
        with extra(name):
            found = getattr(import_module(module), attribute)()
    task: Task = found
    return task


def register_task(name: str, task: Task) -> None:
    """Add a task of one's own, for the rest of the process.

    Args:
        name: what to call it on the command line; lower case, words joined by hyphens.
        task: an object that keeps the contract of `Task`.

    Raises:
        ValueError: the name is taken, or is no such name.

    >>> digits = make_task("noisy-digits")
    >>> register_task("noisy-digits", digits)
    Traceback (most recent call last):
    ValueError: There is a task 'noisy-digits' already.
    """
    require(
        re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) is not None,
        f"A task's name is lower case, its words joined by hyphens; {name!r} is not.",
    )
    require(name not in TASKS, f"There is a task {name!r} already.")
    TASKS[name] = task
