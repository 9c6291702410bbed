"""C source of a whole solve: K steps, the outer loss, and pull-backs, block by block of members.

The states of a block's K steps lie in one buffer that stays in the processor's cache, and nothing but machine
code lies between two steps.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from bilevel.compile.c_source import Function, Leaf, driver, load, room, store

ALIGNED = 64
"""Bytes to whose multiples every array of the buffer is aligned."""


class Solve(NamedTuple):
    """The functions that a solve is made of, and how many tensors of each kind there are."""

    step: Function
    """(state, phi, data) -> the next state."""
    outer: Function
    """(state, phi, outer data) -> the outer loss, the state's cotangent, the gradient."""
    pull: Function
    """(state, phi, data, cotangent) -> the state's cotangent, and what is added to the gradient."""
    phi: int
    data: int

    def source(self) -> str:
        """Write the functions, and the library's function of (state, phi, outer data, data of steps).

        The data come once for all steps or once for each. Results: the outer loss, the state at the end, the
        gradient.
        """
        state = self.step.results
        count = len(state)
        phi = self.step.inputs[count : count + self.phi]
        data = self.step.inputs[count + self.phi :]
        last = self.outer.inputs[count + self.phi :]
        loss, *derivatives = self.outer.results
        cotangent = derivatives[: -self.phi]
        # Each member has its part of the gradient of what all share, to the end.
        gradient = [dataclasses.replace(leaf, summed=leaf.shared) for leaf in derivatives[-self.phi :]]
        outer = dataclasses.replace(self.outer, results=(loss, *cotangent, *gradient))
        added = range(len(cotangent), len(derivatives))
        pull = dataclasses.replace(self.pull, results=(*cotangent, *gradient), added=added)

        offsets, size = _offsets(state)
        places = [
            f"#define S{n}(k) (({leaf.kind} *)(states + (k) * STATE + {offset}))"
            for n, (leaf, offset) in enumerate(zip(state, offsets, strict=True))
        ]
        macros = [f"#define STATE (int64)({size})", *places]
        arrays = {"p": phi, "d": data, "e": last, "l": [loss], "c": cotangent, "n": cotangent, "g": gradient}

        def names(letter: str) -> list[str]:
            return [f"{letter}{n}" for n in range(len(arrays[letter]))]

        def at(k: str) -> list[str]:
            return [f"S{n}({k})" for n in range(count)]

        first_data = count + self.phi + len(last)
        data_of = [
            load(leaf, f"in[{first_data} + (lots > 1 ? k : 0) * {len(data)} + {n}]", f"d{n}")
            for n, leaf in enumerate(data)
        ]
        body = [
            *(room(leaf, f"{letter}{n}") for letter, found in arrays.items() for n, leaf in enumerate(found)),
            *(load(leaf, f"in[{n}]", f"S{n}(0)") for n, leaf in enumerate(state)),
            *(load(leaf, f"in[{count + n}]", f"p{n}") for n, leaf in enumerate(phi)),
            *(load(leaf, f"in[{count + self.phi + n}]", f"e{n}") for n, leaf in enumerate(last)),
            "for (int64 k = 0; k < steps; k++) {",
            *(["  if (lots > 1 || k == 0) {", *data_of, "  }"] if data else []),
            f"  {self.step.name}({', '.join(at('k') + names('p') + names('d') + at('k + 1'))});",
            "}",
            f"{outer.name}("
            + ", ".join(at("steps") + names("p") + names("e") + names("l") + names("c") + names("g"))
            + ");",
            "for (int64 k = steps - 1; k >= steps - pulled; k--) {",
            *(["  if (lots > 1) {", *data_of, "  }"] if data else []),
            f"  {pull.name}("
            + ", ".join(at("k") + names("p") + names("d") + names("c") + names("n") + names("g"))
            + ");",
            *(
                f"  __builtin_memcpy({c}, {n}, sizeof {c});"
                for c, n in zip(names("c"), names("n"), strict=True)
            ),
            "}",
            store(loss, "l0", "out[0]"),
            *(store(leaf, f"S{n}(steps)", f"out[{1 + n}]") for n, leaf in enumerate(state)),
            *(store(leaf, f"g{n}", f"out[{1 + count + n}]") for n, leaf in enumerate(gradient)),
        ]
        before = [f"char *states = aligned_alloc({ALIGNED}, (steps + 1) * STATE);", "if (!states) return 1;"]
        functions = [self.step.source(), outer.source(), pull.source()]
        results = [loss, *state, *gradient]
        return "\n".join([*macros, *functions, driver(body, results, before, ["free(states);"])])


def _offsets(leaves: tuple[Leaf, ...]) -> tuple[list[str], str]:
    """Where each array begins in a buffer, and how long it is, in bytes, as C expressions."""
    offsets, size = [], "0"
    for leaf in leaves:
        offsets.append(size)
        length = f"(sizeof({leaf.kind}) * {leaf.room} + {ALIGNED - 1}) / {ALIGNED} * {ALIGNED}"
        size = f"{size} + {length}"
    return offsets, size
