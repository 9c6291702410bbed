"""A name for what a function computes, without tracing it: code, settings and constants, all the way down.

Two processes that build the same problem get the same name, so that the second finds the packages of the
first at once. A name is certain if everything that was met could be read to the ground. Where it is not (an
object that shows nothing of itself, a module of one's own that is looked into while the program runs), the
package it leads to is compared with the eager result in every process; where a name sees too much, the
problem is traced again, and no harm is done.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import sys
import types
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

PLAIN = (slice, range, type(...), torch.layout, torch.memory_format, np.dtype, np.generic)
"""Objects without attributes whose text says all there is; of any other it may leave something out."""

UNREAD = frozenset(
    (
        "__dict__",
        "__weakref__",
        "__doc__",
        "__module__",
        "__annotations__",
        "__abstractmethods__",
        "__parameters__",
        "__repr__",
        "__firstlineno__",
        "__static_attributes__",
        "__orig_bases__",
        "__annotate_func__",
        "__annotations_cache__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__match_args__",
        "_abc_impl",
    )
)
"""Members of a class that say nothing of what its objects compute."""


class Name(NamedTuple):
    """What things are called, and whether nothing that they are made of was missed."""

    text: str
    certain: bool


def name_of(*things: Any) -> Name:
    """Name things by what they are made of, and say whether that is certain.

    >>> name_of(1.0, torch.add).certain, name_of(object()).certain
    (True, False)
    """
    walk = _Walk()
    for thing in things:
        walk.take(thing)
    return Name(walk.name.hexdigest(), walk.certain)


def fingerprint(*things: Any) -> str:
    """Name things by what they are made of.

    >>> def scaled(factor):
    ...     return lambda x: factor * x
    >>> fingerprint(scaled(2.0)) == fingerprint(scaled(2.0))
    True
    >>> fingerprint(scaled(2.0)) == fingerprint(scaled(3.0))
    False
    """
    return name_of(*things).text


class _Walk:
    """A walk through objects that writes down what it meets; what it has met before it calls by its place."""

    def __init__(self) -> None:
        self.name = hashlib.blake2b(digest_size=16)
        self.met: dict[int, int] = {}
        self.kept: list[Any] = []
        self.certain = True

    def write(self, *words: Any) -> None:
        self.name.update(repr(words).encode())

    def take(self, thing: Any) -> None:
        if thing is None or isinstance(
            thing, bool | int | float | complex | str | bytes | torch.dtype | torch.device
        ):
            self.write(type(thing).__name__, repr(thing))
            return
        if id(thing) in self.met:
            self.write("met", self.met[id(thing)])
            return
        self.met[id(thing)] = len(self.met)
        self.kept.append(thing)
        self._describe(thing)

    def _describe(self, thing: Any) -> None:
        match thing:
            case torch.Tensor():
                self.write("tensor", tuple(thing.shape), str(thing.dtype), str(thing.device))
                if not thing.is_meta:
                    plain = thing.detach().cpu().contiguous().view(-1)
                    self.name.update(plain.view(torch.uint8).numpy().tobytes())
            case np.ndarray():
                self.certain &= not thing.dtype.hasobject
                self.write("array", thing.shape, thing.dtype.str)
                self.name.update(thing.tobytes())
            case enum.Enum():
                self.write("enum", thing.__class__.__qualname__, thing.name)
            case types.ModuleType():
                self.certain &= not _is_local(thing.__name__)  # what it holds besides its file is not read
                self.write("module", thing.__name__, _module_name(thing.__name__))
            case type():
                self._class(thing)
            case types.MethodType():
                self.write("method")
                self.take(thing.__func__)
                self.take(thing.__self__)
            case types.FunctionType():
                self._function(thing)
            case types.BuiltinFunctionType():
                self.write("builtin", thing.__module__, thing.__qualname__)
                self.take(thing.__self__)
            case staticmethod() | classmethod():
                self.write(type(thing).__name__)
                self.take(thing.__func__)
            case property():
                self.write("property")
                for function in (thing.fget, thing.fset, thing.fdel):
                    self.take(function)
            case functools.cached_property():
                self.write("cached property")
                self.take(thing.func)
            case types.GetSetDescriptorType() | types.MemberDescriptorType() | types.WrapperDescriptorType():
                self.write("descriptor", thing.__qualname__)
            case functools.partial():
                self.write("partial")
                for part in (thing.func, thing.args, thing.keywords):
                    self.take(part)
            case list() | tuple():
                self._container(thing, "sequence")
                for part in thing:
                    self.take(part)
            case dict() | types.MappingProxyType():
                self._container(thing, "mapping")
                for key, value in thing.items():
                    self.take(key)
                    self.take(value)
            case set() | frozenset():
                self.certain &= all(isinstance(part, bool | int | float | str) for part in thing)
                self.write("set", sorted(map(repr, thing)))
            case _:
                self._object(thing)

    def _container(self, thing: Any, word: str) -> None:
        self.write(word, len(thing))
        self.take(type(thing))
        if getattr(thing, "__dict__", None):
            self.take(vars(thing))

    def _function(self, function: types.FunctionType) -> None:
        self.write("function", function.__module__, function.__qualname__, _module_name(function.__module__))
        self._code(function.__code__)
        for part in (function.__defaults__, function.__kwdefaults__):
            self.take(part)
        for cell in function.__closure__ or ():
            try:
                self.take(cell.cell_contents)
            except ValueError:  # a name that is not bound yet
                self.certain = False
                self.write("empty cell")
        if _is_local(function.__module__):
            for name in _names(function.__code__):
                if name in function.__globals__:
                    self.write("global", name)
                    self.take(function.__globals__[name])

    def _code(self, code: types.CodeType) -> None:
        self.write(code.co_code, code.co_names, code.co_varnames)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant)
            elif isinstance(constant, frozenset):  # in another order in each process
                self.write("set", sorted(map(repr, constant)))
            else:
                self.write(repr(constant))

    def _object(self, thing: Any) -> None:
        kind = type(thing)
        self.write("object")
        self.take(kind)
        state = getattr(thing, "__dict__", None)
        if isinstance(state, dict):
            for name in sorted(state):
                self.write("attribute", name)
                self.take(state[name])
            self.certain &= not any(vars(base).get("__slots__") for base in kind.__mro__)
        elif kind.__name__ == "_tuplegetter":  # a field of a named tuple: its text holds its address
            self.write(thing.__reduce__()[1])
        elif not isinstance(thing, torch.Generator):
            self.write(repr(thing))
        if not isinstance(state, dict):
            self.certain &= isinstance(thing, PLAIN) or kind.__name__ == "_tuplegetter"

    def _class(self, kind: type) -> None:
        """An installed class is what its package's version says; a user's own is what it holds now."""
        self.write("class", kind.__module__, kind.__qualname__, _module_name(kind.__module__))
        if _is_local(kind.__module__):
            for base in (type(kind), *kind.__bases__):
                self.take(base)
            for name, member in sorted(vars(kind).items()):
                if name not in UNREAD:
                    self.write("member", name)
                    self.take(member)


def _names(code: types.CodeType) -> list[str]:
    """The names that a function, or one that it defines, looks up outside."""
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return [*code.co_names, *(name for part in inner for name in _names(part))]


def _is_local(module: str) -> bool:
    """Whether a module has no file or stands outside any installed package: a script, a notebook."""
    return _module_name(module).startswith("local")


@functools.cache
def _module_name(module: str) -> str:
    """An installed package by its version, this toolkit by all its files, any other module by its file."""
    loaded = sys.modules.get(module)
    top = sys.modules.get(module.partition(".")[0])
    if top is not None and top.__name__ in sys.stdlib_module_names:
        return "python"
    version = getattr(top, "__version__", None)
    if isinstance(version, str) and not _is_ours(module):
        return f"version {version}"
    file = getattr(loaded, "__file__", None)
    if file is None or not Path(file).exists():
        return "local"
    if _is_ours(module):
        return f"ours {_our_sources()}"
    return "local " + hashlib.blake2b(Path(file).read_bytes(), digest_size=8).hexdigest()


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("bilevel", "games")


@functools.cache
def _our_sources() -> str:
    """All source files of this toolkit, so that no package outlives a change of them."""
    name = hashlib.blake2b(digest_size=8)
    for top in ("bilevel", "games"):
        file = getattr(sys.modules.get(top), "__file__", None)
        for path in sorted(Path(file).parent.rglob("*.py")) if file else ():
            name.update(path.read_bytes())
    return name.hexdigest()
