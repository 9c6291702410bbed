"""C source of written-out functions: one loop over the members of a block, and a driver over blocks.

In a block each entry of a tensor is a vector over `W` members (lanes), all of which a vectorizing compiler
works on at once. Tensors outside are as PyTorch has them; a driver brings each block in and its results out.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.compile._c_compiler import lanes, vectorized
from bilevel.compile._c_operations import FUNCTIONS, TYPES, converted, expression, literal
from bilevel.compile._expressions import Constant, InputEntry, NotScalarError, Ref
from bilevel.compile._functions import FlatFunction, Inputs, Members, traceable
from bilevel.compile._scalars import Formulas, write_out

MAX_SCALARS = 6_000
"""Operations that a function may have, written out: some seconds of the C compiler's time."""


@dataclass(frozen=True)
class Leaf:
    """The layout of a tensor: [outer, member, inner]."""

    dtype: torch.dtype
    outer: int
    inner: int
    shared: bool
    """True without an axis of members: one entry for all of them."""
    summed: bool = False
    """True for a result that is a sum over members."""

    @classmethod
    def of(cls, leaf: Tensor, axis: int, members: Members) -> Leaf:
        """The layout of an input or a result whose members, if there are many, are counted by `axis`."""
        if leaf.dtype not in TYPES:
            raise NotScalarError(f"{leaf.dtype} has no C form")
        if leaf.ndim == 0:
            return cls(leaf.dtype, 1, 1, shared=True)
        if not members.many:
            return cls(leaf.dtype, leaf.numel(), 1, shared=False)
        if leaf.shape[axis] != members.count:
            raise NotScalarError("a result has no axis of members")
        return cls(leaf.dtype, math.prod(leaf.shape[:axis]), math.prod(leaf.shape[axis + 1 :]), shared=False)

    @property
    def entries(self) -> int:
        return self.outer * self.inner

    @property
    def kind(self) -> str:
        """Its type in C."""
        return TYPES[self.dtype]

    @property
    def length(self) -> str:
        """Length of its array in a block."""
        return "1" if self.shared and not self.summed else f"{self.entries} * W"


@dataclass(frozen=True)
class Function:
    """A written-out function of one member."""

    name: str
    """In C."""
    formulas: Formulas
    inputs: tuple[Leaf, ...]
    results: tuple[Leaf, ...]
    added: Collection[int] = ()
    """The results that are added to their arrays."""

    def source(self) -> str:
        """Write it as a C function of one block: inputs, then results."""
        known = self.formulas.known
        shared: list[str] = []
        lanes: list[str] = []
        outputs = [ids.flatten().tolist() for ids in self.formulas.results]
        names: dict[int, str] = {}
        for number in known.used([number for output in outputs for number in output]):
            meaning, dtype = known.meanings[number], known.dtypes[number]
            if dtype not in TYPES:
                raise NotScalarError(f"{dtype} has no C form")
            if isinstance(meaning, Constant):
                names[number] = literal(meaning.value, dtype)
                continue
            if isinstance(meaning, InputEntry):
                place = "0" if known.shared[number] else f"{meaning.place} * W + m"
                text = f"a{meaning.leaf}[{place}]"
            else:
                text = expression(known, number, names)
            names[number] = f"t{number}"
            line = f"const {TYPES[dtype]} t{number} = {text};"
            (shared if known.shared[number] else lanes).append(line)
        for leaf, output in enumerate(outputs):
            form = self.results[leaf]
            sign = "+=" if leaf in self.added else "="
            for entry, number in enumerate(output):
                if sign == "+=" and known.value(Ref(number)) == 0:
                    continue
                value = converted(names[number], known.dtypes[number], form.dtype)
                if form.length != "1":
                    lanes.append(f"r{leaf}[{entry} * W + m] {sign} {value};")
                elif known.shared[number]:
                    shared.append(f"*r{leaf} {sign} {value};")
                else:
                    raise NotScalarError("what all members share depends on each of them")
        arguments = [f"const {leaf.kind} *restrict a{n}" for n, leaf in enumerate(self.inputs)]
        arguments += [f"{leaf.kind} *restrict r{n}" for n, leaf in enumerate(self.results)]
        loop = ["#pragma omp simd", "for (int m = 0; m < W; m++) {", *lanes, "}"]
        return "\n".join([f"static void {self.name}({', '.join(arguments)}) {{", *shared, *loop, "}", ""])


HEADER = """\
typedef long long int64;
typedef int int32;
typedef _Bool bool;
void *aligned_alloc(unsigned long, unsigned long);
void free(void *);
"""

MOVING = """\
static inline void load_{kind}(
    const {kind} *from, {kind} *to, int outer, int inner, int64 members, const int64 *at) {{
  for (int o = 0; o < outer; o++)
    for (int i = 0; i < inner; i++)
      for (int m = 0; m < W; m++)
        to[(o * inner + i) * W + m] = from[(o * members + at[m]) * inner + i];
}}
static inline void store_{kind}(
    const {kind} *from, {kind} *to, int outer, int inner, int64 members, int64 at, int count) {{
  for (int o = 0; o < outer; o++)
    for (int i = 0; i < inner; i++)
      for (int m = 0; m < count; m++)
        to[(o * members + at + m) * inner + i] = from[(o * inner + i) * W + m];
}}
static inline void sum_{kind}(const {kind} *from, {kind} *to, int entries, int count) {{
  for (int e = 0; e < entries; e++)
    for (int m = 0; m < count; m++)
      to[e] += from[e * W + m];
}}
"""

BLOCKS = """\
  for (int64 at = first; at < last; at += W) {
    const int count = last - at < W ? last - at : W;
    int64 from[W];
    for (int m = 0; m < W; m++) from[m] = at + (m < count ? m : count - 1);
"""


def header(width: int) -> str:
    """Write the head of a source, for so many members in a block."""
    lines = [f"#define W {width}", HEADER]
    for name, arguments in FUNCTIONS.items():
        for kind, suffix in (("double", ""), ("float", "f")):
            called = f"{name}{suffix}"
            clones = '__attribute__((simd("notinbranch"))) ' if called in vectorized() else ""
            lines.append(f"{clones}{kind} {called}({', '.join([kind] * arguments)});")
    lines.extend(MOVING.format(kind=kind) for kind in TYPES.values())
    return "\n".join(lines)


def load(leaf: Leaf, source: str, to: str) -> str:
    if leaf.shared:
        return f"*{to} = *(const {leaf.kind} *){source};"
    sizes = f"{leaf.outer}, {leaf.inner}, members, from"
    return f"load_{leaf.kind}((const {leaf.kind} *){source}, {to}, {sizes});"


def store(leaf: Leaf, source: str, to: str) -> str:
    if leaf.summed:
        return f"sum_{leaf.kind}({source}, ({leaf.kind} *){to}, {leaf.entries}, count);"
    if leaf.shared:
        return f"*({leaf.kind} *){to} = *{source};"
    sizes = f"{leaf.outer}, {leaf.inner}, members, at, count"
    return f"store_{leaf.kind}({source}, ({leaf.kind} *){to}, {sizes});"


def declare(leaf: Leaf, name: str) -> str:
    return f"{leaf.kind} {name}[{leaf.length}] __attribute__((aligned(64)));"


def one_call(function: Function) -> str:
    """Write a function and a driver that calls it on every block of members."""
    inputs = [f"x{n}" for n in range(len(function.inputs))]
    results = [f"y{n}" for n in range(len(function.results))]
    body = [
        *(declare(leaf, name) for leaf, name in zip(function.inputs, inputs, strict=True)),
        *(declare(leaf, name) for leaf, name in zip(function.results, results, strict=True)),
        *(load(leaf, f"in[{n}]", inputs[n]) for n, leaf in enumerate(function.inputs)),
        f"{function.name}({', '.join(inputs + results)});",
        *(store(leaf, results[n], f"out[{n}]") for n, leaf in enumerate(function.results)),
    ]
    return function.source() + driver(body, function.results)


def driver(
    body: Sequence[str], results: Sequence[Leaf], before: Sequence[str] = (), after: Sequence[str] = ()
) -> str:
    """Write a library's exports: `run`, which returns 1 if memory is short, else 0, and `summed`.

    `body` are statements for each block of members; others come before the first and after the last one.
    """
    summed = ", ".join(str(int(leaf.summed)) for leaf in results)
    arguments = "const void *const *in, void *const *out, int64 first, int64 last, int64 members"
    return "\n".join(
        [
            f"const int summed[] = {{{summed}}};",
            f"int run({arguments}, int64 steps, int64 batches, int64 differentiated) {{",
            *before,
            BLOCKS,
            *body,
            "}",
            *after,
            "return 0;",
            "}",
            "",
        ]
    )


class LibrarySource(NamedTuple):
    text: str
    operations: int


def make_function(
    name: str, function: FlatFunction, inputs: Inputs, results: Sequence[Tensor], out_axis: int
) -> Function:
    """Write a function out entry by entry, with this name in C; NotScalarError if it has no such form."""
    alone, one = traceable("c", function, inputs)
    shared = [leaf.ndim == 0 for leaf in inputs.leaves]
    try:
        formulas = write_out(alone, one, shared=shared, max_size=MAX_SCALARS)
    except NotScalarError:
        raise
    except Exception as error:  # one member alone may break any assumption of the function's
        raise NotScalarError(f"{type(error).__name__}: {error}") from error
    written = []
    for result, ids in zip(results, formulas.results, strict=True):
        leaf = Leaf.of(result, out_axis, inputs.members)
        if leaf.entries != ids.numel():
            raise NotScalarError("a result has another number of entries for one member alone")
        depends = not all(formulas.known.shared[number] for number in ids.flatten().tolist())
        written.append(dataclasses.replace(leaf, summed=leaf.shared and depends))
    layouts = map(Leaf.of, inputs.leaves, inputs.axes, itertools.repeat(inputs.members))
    return Function(name, formulas, tuple(layouts), tuple(written))


def make_source(
    function: FlatFunction, inputs: Inputs, results: Sequence[Tensor], out_axis: int
) -> LibrarySource:
    """Write a library of one function; see `make_function`."""
    written = make_function("function", function, inputs, results, out_axis)
    return make_library(one_call(written), (written,), many=inputs.members.many)


def make_library(text: str, functions: Sequence[Function], *, many: bool) -> LibrarySource:
    """A library of functions, whose C source is `text`; `many`: for two members or more."""
    leaves = (leaf for function in functions for leaf in (*function.inputs, *function.results))
    width = lanes([leaf.dtype for leaf in leaves]) if many else 1
    operations = sum(len(function.formulas.known.meanings) for function in functions)
    return LibrarySource(header(width) + "\n" + text, operations)
