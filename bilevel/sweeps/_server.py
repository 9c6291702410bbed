"""The server of processes from which workers are forked, with the modules that they share."""

from __future__ import annotations

import multiprocessing
from typing import Any

PRELOADED = ["bilevel.sweeps._work"]
"""Modules that the server imports once. A package would load nothing: its names load when they are used."""


def worker_context() -> Any:
    """Multiprocessing's context for workers: a server that forks them, or else fresh processes."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def start_server() -> None:
    """Start the server, if there is one, without waiting for it: it imports while this process goes on.

    >>> start_server()
    """
    if worker_context().get_start_method() == "forkserver":
        from multiprocessing.forkserver import ensure_running  # noqa: PLC0415 - not on every system

        ensure_running()
