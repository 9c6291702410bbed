"""Whether a value that came as text is of the type that a setting has."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

UNIONS = (Union, UnionType)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, for the types that settings have: numbers, names and tuples of them.

    >>> fits((1, 2), tuple[int, ...]), fits(1, float), fits(True, int), fits(None, float | None)
    (True, True, False, True)
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Annotated:
        return fits(value, inner[0])
    if origin is Literal:
        return value in inner
    if origin in UNIONS:
        return any(fits(value, one) for one in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        each = inner[:1] * len(value) if inner[1:] == (...,) else inner
        return len(each) == len(value) and all(map(fits, value, each))
    if hint is float:
        return type(value) in (int, float)
    return type(value) is (NoneType if hint is None else hint)


def spelled(hint: Any) -> str:
    """Spell a type as a refusal does.

    >>> spelled(Annotated[int, "counts"]), spelled(float | None), spelled(Literal["a", "b"])
    ('int', 'float | None', "Literal['a', 'b']")
    """
    if get_origin(hint) is Annotated:
        return spelled(get_args(hint)[0])
    return (
        hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
    )
