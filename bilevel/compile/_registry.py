"""Which programs this process knows, and what of a problem tells two apart."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch

from bilevel.compile._functions import Members, TreeForm
from bilevel.compile._program import Program
from bilevel.core import Step, Tensors
from bilevel.hypergradient import BilevelProblem

MOST = 64
"""Programs kept; the one that was not used for longest goes first."""

_programs: OrderedDict[Any, Program] = OrderedDict()


Taken = tuple[Tensors, TreeForm]
"""A tree taken apart."""


def find(problem: BilevelProblem, state: Taken, phi: Taken) -> Program:
    """Find the program of a problem with inputs of these shapes, or begin one."""
    key = _key(problem, state, phi)
    program = _programs.get(key)
    if program is None:
        name = getattr(problem.outer_loss, "__qualname__", type(problem.outer_loss).__name__)
        members = Members.of((*state[0], *phi[0]))
        program = _programs[key] = Program(name, members)
        while len(_programs) > MOST:
            _programs.popitem(last=False)
    return program


def how_it_runs(step: Step | None) -> str:
    """How a step that was to be compiled ran in this process: "compiled", "eagerly", or "" (there is none).

    A step with packages for some of its functions only ran eagerly.
    """
    wanted = None if step is None else identity(step)
    programs = [program for key, program in _programs.items() if key[0] == wanted]
    if any(program.warned for program in programs):
        return "eagerly"
    return "compiled" if any(package for each in programs for package in each.found.values()) else ""


def forget() -> None:
    """Forget every program: what is on disk is found again."""
    _programs.clear()


def identity(function: Callable[..., Any]) -> Any:
    """What tells a function apart: itself, or its place where it cannot be hashed (the program keeps it)."""
    try:
        hash(function)
    except TypeError:
        return id(function)
    return function


def _key(problem: BilevelProblem, state: Taken, phi: Taken) -> Any:
    return (
        identity(problem.step),
        identity(problem.outer_loss),
        problem.several,
        state[1],
        phi[1],
        tuple([(leaf.shape, leaf.dtype, leaf.device) for leaf in (*state[0], *phi[0])]),
        torch.get_num_threads(),
    )
