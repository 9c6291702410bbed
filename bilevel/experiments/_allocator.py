"""Let the process keep the memory that it frees, so that large tensors cost no page faults."""

from __future__ import annotations

import ctypes
import os
import platform

from games.core import require

VARIABLE = "BILEVEL_MALLOC"
"""The environment variable that says who decides: bilevel ("keep", the default) or the system ("system")."""
CHOICES = ("keep", "system")
OTHERS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""Environment variables with which users tune glibc themselves: then nothing is changed."""

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_TENSOR = 2**31 - 1
"""From how many bytes on a tensor is mapped by itself: the most that mallopt takes."""
KEPT = 2**30
"""How many bytes may stay unused at the end of the heap."""
MOST_BEFORE_2_35 = 2**25
"""The most that earlier versions of glibc take for it."""


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for later tensors rather than return it to the kernel at once.

    By default glibc maps every tensor above 32 MiB (at first, above 128 KiB) afresh and unmaps it when it is
    freed, so that each page of it faults again: half of the CPU time of a run with large observations. With
    both thresholds raised, freed memory stays in the heap, of which up to 1 GiB may stay unused at its end.
    Numbers do not depend on it. It is a setting of the process, not of a run: hence an environment variable,
    BILEVEL_MALLOC=system, and not a setting in config.json, leaves everything as the system has it.

    Returns:
        Whether glibc took the thresholds: False without glibc, with BILEVEL_MALLOC=system, and where the
        environment tunes glibc's malloc itself.

    Raises:
        ValueError: BILEVEL_MALLOC is neither keep nor system.

    Source:
        mallopt(3).
    """
    choice = os.environ.get(VARIABLE, CHOICES[0])
    require(choice in CHOICES, f"{VARIABLE} is keep or system, not {choice!r}.")
    tuned = any(name in os.environ for name in OTHERS[:2]) or "glibc.malloc" in os.environ.get(OTHERS[2], "")
    if choice != "keep" or tuned or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mapped = mallopt(M_MMAP_THRESHOLD, LARGEST_TENSOR) or mallopt(M_MMAP_THRESHOLD, MOST_BEFORE_2_35)
    return bool(mapped and mallopt(M_TRIM_THRESHOLD, KEPT))
