"""For every test: both packages, imported once whichever file is collected first, and what doctests assume."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import bilevel  # noqa: F401
import games  # noqa: F401


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace.update(torch=torch, np=np)
