"""Automatic grading of exercises: a friendly sentence, never a traceback, never the answer."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import torch

RIGHT, OPEN, WRONG = "✓", "○", "✗"
"""First characters of a grade; tests read them."""
DOTS = re.compile(r"(=|return)\s*\.\.\.\s*(#|$)", re.MULTILINE)
"""An assignment or return of dots, before the reader replaces them."""


class NotYetError(Exception):
    """An answer is wrong; the message states the error and gives a hint, not the answer."""


class NotDoneError(Exception):
    """There is no answer yet: the dots have not been replaced."""


def expect(condition: Any, sentence: str) -> None:
    """Raise NotYetError with this sentence for the reader unless the condition holds.

    >>> expect(1 + 1 == 3, "One and one is less than that.")
    Traceback (most recent call last):
    grading.NotYetError: One and one is less than that.
    """
    if not bool(condition):
        raise NotYetError(sentence)


def close(answer: Any, truth: Any, *, within: float = 1e-6) -> bool:
    """Whether numbers or tensors agree: same shape, and errors of at most `within` (relative where the truth
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


def graded(title: str) -> Callable[[Callable[..., str]], Callable[..., None]]:
    """Decorate a function that examines answers as a check that prints right, not yet, or not done.

    The function calls `expect` for each condition and returns a sentence for a right answer. Answers that are
    functions can be called directly: dots inside them, and exceptions, become sentences, too.

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
        @functools.wraps(look)
        def check(*answers: Any) -> None:
            print(_grade(title, look, answers))

        return check

    return decorate


def _grade(title: str, look: Callable[..., str], answers: tuple[Any, ...]) -> str:
    try:
        praise = look(*(_watched(answer) for answer in answers))
    except NotDoneError:
        return f"{OPEN} {title}: not done yet. Put your answer in the place of the dots."
    except NotYetError as found:
        return f"{WRONG} {title}: not yet. {found}"
    except Exception as error:  # noqa: BLE001 - whatever a reader's code does, the notebook goes on
        return f"{WRONG} {title}: not yet. Your code stopped with {type(error).__name__}: {error}"
    return f"{RIGHT} {title}: right. {praise}"


def _watched(answer: Any) -> Any:
    """The answer; a function is wrapped to detect dots inside it."""
    if not callable(answer):
        return _done(answer)
    if DOTS.search(_source(answer)):
        raise NotDoneError

    def call(*arguments: Any, **settings: Any) -> Any:
        try:
            return _done(answer(*arguments, **settings))
        except TypeError as error:
            if "ellipsis" in str(error):
                raise NotDoneError from error
            raise

    return call


def _source(function: Callable[..., Any]) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # typed into a terminal, or built in
        return ""


def _done(answer: Any) -> Any:
    """The answer, unless it contains dots or None (as from a function without `return`)."""
    parts = answer if isinstance(answer, (tuple, list)) else [answer]
    if any(part is ... or part is None for part in parts):
        raise NotDoneError
    return answer
