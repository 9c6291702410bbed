"""Automatic grading of exercises: a friendly sentence, never a traceback, never the answer."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import torch

RIGHT, OPEN, WRONG = "✓", "○", "✗"
"""First characters of a grade; tests read them."""
UNREAD: dict[str, str] = {}
"""Names that a cell was to define which Python could not read -> the reason (`watch_cells`)."""


class NotYetError(Exception):
    """An answer is wrong; the message states the error and gives a hint, not the answer."""


class NotDoneError(Exception):
    """There is no answer yet: the dots have not been replaced."""


def expect(condition: Any, sentence: str) -> None:
    """Raise NotYetError with this sentence for the reader unless the condition holds.

    >>> expect(1 + 1 == 3, "One and one is less than that.")
    Traceback (most recent call last):
    bilevel.lessons._grading.NotYetError: One and one is less than that.
    """
    if not bool(condition):
        raise NotYetError(sentence)


def close(answer: Any, truth: Any, *, within: float = 1e-6) -> bool:
    """True if numbers or tensors agree: same shape, and errors of at most `within` (relative where the truth
    exceeds 1).

    >>> close(0.1 + 0.2, 0.3), close(torch.ones(2), torch.ones(3)), close("one", 1.0)
    (True, False, False)
    """
    try:
        answer = torch.as_tensor(answer, dtype=torch.float64).detach()
    except (TypeError, ValueError, RuntimeError):
        return False
    truth = torch.as_tensor(truth, dtype=torch.float64)
    return answer.shape == truth.shape and bool(
        ((answer - truth).abs() <= within * truth.abs().clamp(min=1)).all()
    )


def parts(answer: Any, count: int, sentence: str) -> list[Any]:
    """The parts of a tuple, a list, an array or a tensor of one axis.

    Raises:
        NotYetError: there is another number of parts; the sentence says what is expected.

    >>> parts(torch.tensor([1.0, 2.0]), 2, "Give a pair.")
    [tensor(1.), tensor(2.)]
    """
    expect(hasattr(answer, "__len__") and hasattr(answer, "__getitem__"), sentence)
    expect(getattr(answer, "ndim", 1) > 0, sentence)  # the length of a scalar tensor raises an error
    expect(not isinstance(answer, (str, dict)) and len(answer) == count, sentence)
    return [answer[place] for place in range(count)]


def single(answer: Any, sentence: str = "Return one number.") -> torch.Tensor:
    """One number, also given as a list, an array or a tensor with one entry, as a tensor without axes.

    Raises:
        NotYetError: there are more numbers, or none; the sentence says what is expected.

    >>> single([0.5])
    tensor(0.5000, dtype=torch.float64)
    """
    found: torch.Tensor = torch.as_tensor(answer, dtype=torch.float64).detach()
    expect(found.numel() == 1, sentence)
    return found.reshape(())


def graded(title: str) -> Callable[[Callable[..., str]], Callable[..., None]]:
    """Decorate a function that examines answers as a check that prints right, not yet, or not done.

    The function calls `expect` for each condition and returns a sentence for a right answer. Answers that are
    functions can be called directly: dots that they return, missing results and exceptions become sentences,
    too. Dots that are left over do not matter to an answer that is right.

    Args:
        title: title of the exercise, for instance "Exercise 1".

    Returns:
        a decorator; the check has the same arguments as the function and returns nothing.

    >>> @graded("Exercise 0")
    ... def check_0(answer):
    ...     expect(close(answer, 2), "It is not 1 + 1.")
    ...     return "1 + 1 = 2."
    >>> check_0(...), check_0(3), check_0(2)
    ○ Exercise 0: not done yet. Put your answer in the place of the dots.
    ✗ Exercise 0: not yet. It is not 1 + 1.
    ✓ Exercise 0: right. 1 + 1 = 2.
    (None, None, None)
    """

    def decorate(look: Callable[..., str]) -> Callable[..., None]:
        def check(*answers: Any) -> None:
            print(_grade(title, look, answers))

        # without functools.wraps: the docstring of `look` may tell the answer
        check.__name__ = check.__qualname__ = look.__name__
        check.__doc__ = f"Print a sentence about your answer to {title}: right, not yet, or not done yet."
        return check

    return decorate


def _grade(title: str, look: Callable[..., str], answers: tuple[Any, ...]) -> str:
    stale = [name for name in map(_name, answers) if name in UNREAD]
    if stale:
        return (
            f"{WRONG} {title}: not yet. Python could not read the cell that defines {stale[0]} "
            f"({UNREAD[stale[0]]}), so your last change is not here: correct it, and run it again."
        )
    try:
        praise = look(*(_watched(answer) for answer in answers))
    except Exception as error:  # noqa: BLE001 - whatever a reader's code does, the notebook goes on
        if isinstance(error, NotDoneError) or any(_has_dots(answer) for answer in answers):
            dotted = next((_name(one) for one in answers if _has_dots(one)), "")
            where = f" in {dotted}" if dotted else ""
            return f"{OPEN} {title}: not done yet. Put your answer in the place of the dots{where}."
        if isinstance(error, NotYetError):
            return f"{WRONG} {title}: not yet. {error}"
        return f"{WRONG} {title}: not yet. Your code stopped with {type(error).__name__}: {error}"
    return f"{RIGHT} {title}: right. {praise}"


def _watched(answer: Any) -> Any:
    """The answer; a function is wrapped to detect dots in its results, and results that are missing."""
    if not callable(answer):
        return _done(answer)

    def call(*arguments: Any, **settings: Any) -> Any:
        try:
            result = _done(answer(*arguments, **settings))
        except (AttributeError, TypeError):  # tensors are numbers, but numbers are no tensors
            if not any(isinstance(argument, float) for argument in arguments):
                raise
            result = _done(answer(*map(_as_tensor, arguments), **settings))
        expect(
            result is not None,
            f"{_name(answer)} returns nothing: end it with `return` and the result; `print` only shows it.",
        )
        return result

    return call


def _done(answer: Any) -> Any:
    """The answer, unless it contains dots."""
    parts = answer if isinstance(answer, (tuple, list)) else [answer]
    if any(part is ... for part in parts):
        raise NotDoneError
    return answer


def _as_tensor(argument: Any) -> Any:
    return torch.tensor(argument, dtype=torch.float64) if isinstance(argument, float) else argument


def _name(answer: Any) -> str:
    return getattr(answer, "__name__", "") if callable(answer) else ""


def _has_dots(answer: Any) -> bool:
    """True if a function still has dots that its code reaches, in the place of a value or a statement."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(answer)))
    except (OSError, TypeError, SyntaxError):  # typed into a terminal, built in, or part of a line
        return False
    blocks = [
        block
        for node in ast.walk(tree)
        for block in (getattr(node, name, None) for name in ("body", "orelse", "finalbody"))
        if isinstance(block, list)
    ]
    return any(_is_dots(statement) for block in blocks for statement in _reached(block))


def _reached(block: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a block up to the first that leaves it."""
    for statement in block:
        yield statement
        if isinstance(statement, (ast.Return, ast.Raise, ast.Continue, ast.Break)):
            return


def _is_dots(statement: ast.AST) -> bool:
    """True if a statement without a block has dots, other than those that select from a tensor."""
    if isinstance(statement, ast.Subscript) or hasattr(statement, "body"):
        return False
    if isinstance(statement, ast.Constant):
        return statement.value is ...
    return any(map(_is_dots, ast.iter_child_nodes(statement)))
