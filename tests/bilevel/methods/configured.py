"""Methods with some settings, by keywords in which two underscores stand for the dot of a part."""

from __future__ import annotations

from typing import Any, TypeVar

from bilevel.methods import Method

AnyMethod = TypeVar("AnyMethod", bound=Method)

OWN_LEARNERS = {
    "ltos",
    "aga",
    "coala-pg",
    "m-fos",
    "lola-dice",
    "loqa",
    "meva",
    "pola",
    "advantage-alignment",
    "mgrl",
    "stac",
    "stacx",
    "bmg",
}
"""Methods that take neither other inner learners nor learned loss weights."""


def configured(kind: type[AnyMethod] | AnyMethod, **settings: Any) -> AnyMethod:
    """A method; `inner__exact` is left out where a critic learns, which plays episodes anyway."""
    dotted = {name.replace("__", "."): value for name, value in settings.items()}
    if dotted.get("inner", "policy-gradient") != "policy-gradient":
        dotted.pop("inner.exact", None)
    method = kind() if isinstance(kind, type) else kind
    return method.with_settings(dotted)
