"""For every test. Importing both packages here keeps pytest from importing a module twice."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from bilevel.compile import _cache as cache
from bilevel.hypergradient import ESTIMATORS
from bilevel.methods import METHODS
from bilevel.tasks import TASKS
from bilevel.tasks.vision_language_action._demonstrations import VARIABLE
from bilevel.trackers import TRACKERS
from games._catalogue import CATALOGUE

settings.register_profile("untimed", deadline=None)  # the first call of an operation loads its code
settings.load_profile("untimed")

collect_ignore_glob = ["tests/notebooks/answers/*"]  # cells, which stand in the names of their lessons
collect_ignore = [
    "bilevel/loss_weights/_lightning.py",
    "bilevel/loss_weights/_transformers.py",
    "tests/bilevel/cli/foreign_file.py",  # registers games, which is what commands load it for
]
"""They import what is large or not installed; tests that import it, too, run their doctests."""


gc.disable()


def pytest_collection_finish() -> None:
    """The garbage collector need not look through modules and tests again and again: they stay."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace.update(torch=torch, np=np)


@pytest.fixture(autouse=True)
def _doctest_folder(request: pytest.FixtureRequest) -> None:
    """Run each doctest in an empty folder, where it can write files."""
    if isinstance(request.node, pytest.DoctestItem):
        request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("tmp_path"))


@pytest.fixture(autouse=True)
def _a_cache_of_their_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What tests compile, and demonstrations that they make, do not lie among the user's."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path_factory.getbasetemp() / "packages"))
    monkeypatch.setenv(VARIABLE, str(tmp_path_factory.getbasetemp() / "demonstrations"))


@pytest.fixture(autouse=True)
def _forget_what_a_test_registers() -> Iterator[None]:
    registries: tuple[Any, ...] = (CATALOGUE, ESTIMATORS, METHODS, TASKS, TRACKERS)
    tables = [getattr(table, "data", table) for table in registries]
    before = [dict(table) for table in tables]
    yield
    for table, kept in zip(tables, before, strict=True):
        table.clear()
        table.update(kept)
