"""Pointwise aten operations as C expressions, which give for NaN and infinity what PyTorch gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from bilevel.compile._expressions import Expressions, NotScalarError, Operation, Ref

aten = torch.ops.aten

TYPES = {
    torch.float64: "double",
    torch.float32: "float",
    torch.int64: "int64",
    torch.int32: "int32",
    torch.bool: "bool",
}
"""The C type of each dtype that has one."""

UNARY = (
    *("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "erf", "erfc", "exp", "exp2"),
    *("expm1", "log", "log10", "log1p", "log2", "sin", "sinh", "tan", "tanh"),
)
"""Operations that are called like a function of C's mathematics library."""
FUNCTIONS = {**dict.fromkeys(UNARY, 1), "atan2": 2, "pow": 2}
"""All functions of that library that are used, and how many arguments they have."""

ROUNDINGS = ("ceil", "floor", "trunc")

FLOATING = {
    **{getattr(aten, name): f"{name}{{f}}({{a}})" for name in UNARY},
    **{getattr(aten, name): f"__builtin_{name}{{f}}({{a}})" for name in ROUNDINGS},
    aten.atan2: "atan2{f}({a}, {b})",
    aten.div: "{a} / {b}",
    aten.reciprocal: "1 / {a}",
    aten.round: "__builtin_rint{f}({a})",
    aten.rsqrt: "1 / __builtin_sqrt{f}({a})",
    aten.sigmoid: "1 / (1 + exp{f}(-{a}))",
    aten.sqrt: "__builtin_sqrt{f}({a})",
}
"""Operations on floating arguments, which are {a} and {b}; {f} is the suffix of single precision."""

ARITHMETIC = {
    aten.abs: "({a} < 0 ? -{a} : {a})",
    aten.add: "{a} + {b}",
    aten.clamp_max: "({a} > {b} || {b} != {b} ? {b} : {a})",
    aten.clamp_min: "({a} < {b} || {b} != {b} ? {b} : {a})",
    aten.maximum: "({a} != {a} || {a} > {b} ? {a} : {b})",
    aten.minimum: "({a} != {a} || {a} < {b} ? {a} : {b})",
    aten.mul: "{a} * {b}",
    aten.neg: "-{a}",
    aten.relu: "({a} < 0 ? 0 : {a})",
    aten.sign: "({a} > 0) - ({a} < 0)",
    aten.sub: "{a} - {b}",
}
"""Operations on arguments of the result's dtype, floating or integer."""

COMPARISONS = {
    aten.eq: "{a} == {b}",
    aten.ge: "{a} >= {b}",
    aten.gt: "{a} > {b}",
    aten.isnan: "{a} != {a}",
    aten.le: "{a} <= {b}",
    aten.lt: "{a} < {b}",
    aten.ne: "{a} != {b}",
}
"""Operations that compare arguments in their common dtype."""

LOGICAL = {
    getattr(aten, f"{kind}_{name}"): form
    for kind in ("bitwise", "logical")
    for name, form in {"and": "{a} & {b}", "not": "!{a}", "or": "{a} | {b}", "xor": "{a} ^ {b}"}.items()
}
"""Operations on truth values."""

POWERS: Mapping[float, str] = {
    0.5: "__builtin_sqrt{f}({a})",
    -0.5: "1 / __builtin_sqrt{f}({a})",
    -1.0: "1 / {a}",
    -2.0: "1 / ({a} * {a})",
    1.0: "{a}",
    2.0: "{a} * {a}",
    3.0: "{a} * {a} * {a}",
}
"""Powers that PyTorch computes in simpler ways, too."""


def expression(known: Expressions, number: int, names: Mapping[int, str]) -> str:
    """Write one operation as a C expression of the type of its result; NotScalarError if it has none.

    `names` are the C names of the expressions that it is made of.
    """
    operation = known.meanings[number]
    assert isinstance(operation, Operation)
    target, args, kwargs = operation.target, operation.args, dict(operation.kwargs)
    packet, dtype = getattr(target, "overloadpacket", target), known.dtypes[number]
    refused = NotScalarError(f"{target} has no C form")
    if dtype not in TYPES:
        raise refused

    def text(argument: Any, wanted: torch.dtype) -> str:
        if not isinstance(argument, Ref):
            return literal(argument, wanted)
        return converted(names[argument.number], known.dtypes[argument.number], wanted)

    def filled(form: str, wanted: torch.dtype) -> str:
        texts = {name: text(argument, wanted) for name, argument in zip("abc", args, strict=False)}
        return form.format(f="f" if wanted == torch.float32 else "", **texts)

    if packet is aten._to_copy:
        return text(args[0], kwargs.get("dtype", dtype))
    if packet in (aten.add, aten.sub) and set(kwargs) == {"alpha"}:
        sign = "+" if packet is aten.add else "-"
        return f"{text(args[0], dtype)} {sign} {literal(kwargs['alpha'], dtype)} * {text(args[1], dtype)}"
    if kwargs:
        raise refused
    if packet is aten.where:
        return f"({text(args[0], torch.bool)} ? {text(args[1], dtype)} : {text(args[2], dtype)})"
    if packet is aten.clamp:
        return _clamp(text, args, dtype)
    if packet is aten.pow:
        if not dtype.is_floating_point:
            raise refused
        simple = None if isinstance(args[1], Ref) else POWERS.get(float(args[1]))
        return filled(simple or "pow{f}({a}, {b})", dtype)
    if packet in COMPARISONS:
        common = _common(known, args)
        if common in TYPES:
            return filled(COMPARISONS[packet], common)
    if packet in LOGICAL and (dtype == torch.bool or packet is not aten.bitwise_not):
        return filled(LOGICAL[packet], dtype)
    if packet in ARITHMETIC and dtype != torch.bool:
        return filled(ARITHMETIC[packet], dtype)
    if packet in FLOATING and dtype.is_floating_point:
        return filled(FLOATING[packet], dtype)
    raise refused


def has_c_form(target: Any) -> bool:
    """True for an operation that `expression` writes, for some dtypes at least."""
    packet = getattr(target, "overloadpacket", target)
    others = (aten._to_copy, aten.where, aten.clamp, aten.pow)
    return packet in others or any(packet in table for table in (FLOATING, ARITHMETIC, COMPARISONS, LOGICAL))


def literal(value: bool | int | float, dtype: torch.dtype) -> str:
    """Write a number as a C constant of this dtype, exactly."""
    kind = TYPES[dtype]
    if dtype == torch.bool:
        return str(int(bool(value)))
    if not dtype.is_floating_point:
        whole = int(value)
        return f"({kind}){whole}LL" if whole > -(2**63) else f"({kind})(-{2**63 - 1}LL - 1)"
    number = float(value)
    if math.isfinite(number):
        text = number.hex()
    else:
        text = '__builtin_nan("")' if math.isnan(number) else f"{'-' * (number < 0)}__builtin_inf()"
    return f"(({kind}){text})" if dtype == torch.float32 else f"({text})"


def converted(name: str, own: torch.dtype, wanted: torch.dtype) -> str:
    """Write a value of one dtype as one of another."""
    if own == wanted:
        return name
    return f"({name} != 0)" if wanted == torch.bool else f"(({TYPES[wanted]}){name})"


def _common(known: Expressions, args: tuple[Any, ...]) -> torch.dtype:
    """The dtype in which arguments are compared."""
    if len(args) > 1:
        return known.result_dtype(aten.add.Tensor, args)
    own: torch.dtype = known.dtypes[args[0].number]
    return own


def _clamp(text: Callable[[Any, torch.dtype], str], args: tuple[Any, ...], dtype: torch.dtype) -> str:
    """Write a clamp, of which either bound may be missing; NaN stays, of x or of a bound."""
    result = text(args[0], dtype)
    for bound, sign in zip(args[1:], "<>", strict=False):
        if bound is not None:
            edge = text(bound, dtype)
            result = f"({result} {sign} {edge} || {edge} != {edge} ? {edge} : {result})"
    return result
