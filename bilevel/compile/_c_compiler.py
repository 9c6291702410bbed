"""The system's C compiler, and its libraries as functions of tensors."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bilevel.compile._c_operations import FUNCTIONS

VARIABLE = "CC"
"""The environment variable that names another compiler, with options if need be."""

FLAGS = (
    *("-O2", "-march=native", "-fPIC", "-shared"),
    *("-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-w"),
)
"""Vectors, fused multiply-adds, no errno; NaN and infinity keep their meaning."""


def find_compiler() -> list[str]:
    """The command of the C compiler: `$CC`, or else cc, gcc or clang; OSError if there is none."""
    named = shlex.split(os.environ.get(VARIABLE, ""))
    for command in [named] if named else [["cc"], ["gcc"], ["clang"]]:
        if shutil.which(command[0]):
            return command
    missing = f"{named[0]}, which {VARIABLE} names, is" if named else "cc, gcc or clang are"
    raise OSError(f"there is no C compiler on this machine ({missing} not to be found)")


def compile_source(source: str, path: Path) -> None:
    """Compile C source into a shared library; OSError if there is no compiler, or it fails (says how)."""
    command = find_compiler()
    text = path.with_suffix(".c")
    text.write_text(source)
    call = [*command, *FLAGS, "-o", str(path), str(text), "-lm"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    text.unlink()
    if done.returncode:
        said = (done.stderr.strip() or "it says nothing").splitlines()[0]
        raise OSError(f"the C compiler {command[0]} fails: {said}")


VECTORS = {"x86_64": (("_ZGVdN4", ""), ("_ZGVdN8", "f")), "aarch64": (("_ZGVnN2", ""), ("_ZGVnN4", "f"))}
"""Prefixes of the names of vector functions, by processor: in double and in single precision."""


@functools.cache
def vectorized() -> frozenset[str]:
    """Functions of glibc's mathematics library that work on whole vectors, to 4 units in the last place."""
    try:
        library = ctypes.CDLL("libmvec.so.1")
    except OSError:
        return frozenset()
    return frozenset(
        name + suffix
        for prefix, suffix in VECTORS.get(platform.machine(), ())
        for name, arguments in FUNCTIONS.items()
        if hasattr(library, f"{prefix}{'v' * arguments}_{name}{suffix}")
    )


def lanes(dtypes: Sequence[torch.dtype]) -> int:
    """The number of members in a block: as many as fit a vector of this processor in the widest dtype."""
    wide = 64 if torch.backends.cpu.get_cpu_capability().startswith("AVX512") else 32
    return wide // max((dtype.itemsize for dtype in dtypes if dtype.is_floating_point), default=8)


def open_library(path: Path) -> ctypes.CDLL:
    """Load a library; OSError if it is none of this kind."""
    library = ctypes.CDLL(str(path))
    if not (hasattr(library, "run") and hasattr(library, "summed")):
        raise OSError(f"{path} is no library of this toolkit's")
    library.run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 6]
    library.run.restype = ctypes.c_int
    return library


class CFunction:
    """A library's function of tensors, unchecked: results of these shapes and dtypes, for so many members."""

    def __init__(
        self,
        library: ctypes.CDLL,
        results: Sequence[tuple[torch.Size, torch.dtype]],
        members: int,
        threads: int = 1,
    ) -> None:
        self._function = library.run
        self._results, self._members, self._threads = tuple(results), members, threads
        flags = (ctypes.c_int * len(results)).in_dll(library, "summed")
        self._summed = [place for place, summed in enumerate(flags) if summed]

    def __call__(self, leaves: Sequence[Tensor], *sizes: int) -> list[Tensor]:
        """Compute the results, from contiguous leaves of the shapes that the library was made for.

        Of a whole solve, `sizes` are the numbers of steps, of batches of data among the leaves (1: all steps
        share it), and of differentiated last steps. MemoryError if the states of the steps do not fit.
        """
        given = (ctypes.c_void_p * len(leaves))(*[leaf.data_ptr() for leaf in leaves])
        results = [
            torch.empty(shape, dtype=dtype) if shape else torch.zeros((), dtype=dtype)
            for shape, dtype in self._results
        ]
        sizes = sizes or (1, 1, 1)
        if self._threads == 1:
            self._part(given, results, (0, self._members), sizes)
        else:
            self._in_threads(given, results, sizes)
        return results

    def _part(
        self, given: Any, results: Sequence[Tensor], members: tuple[int, int], sizes: Sequence[int]
    ) -> None:
        taken = (ctypes.c_void_p * len(results))(*[result.data_ptr() for result in results])
        if self._function(given, taken, *members, self._members, *sizes):
            raise MemoryError(f"There is not enough memory for the states of {sizes[0]} steps.")

    def _in_threads(self, given: Any, results: list[Tensor], sizes: Sequence[int]) -> None:
        """Split the members over threads; sums over members are added in their order."""
        share = -(-self._members // self._threads)
        parts = []
        for first in range(0, self._members, share):
            own = list(results)
            for place in self._summed:
                own[place] = torch.zeros_like(results[place])
            parts.append((given, own, (first, min(first + share, self._members)), sizes))
        with ThreadPoolExecutor(len(parts)) as pool:
            for future in [pool.submit(self._part, *part) for part in parts]:
                future.result()
        for place in self._summed:
            for part in parts:
                results[place] += part[1][place]
