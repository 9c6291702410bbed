"""Methods by name."""

from __future__ import annotations

from bilevel.methods._d3c import D3C
from bilevel.methods._fixed_sharing import Fixed, Prosocial, Selfish
from bilevel.methods._gifting import Gifting
from bilevel.methods._lase import LASE
from bilevel.methods._lio import LIO
from bilevel.methods._ltos import LToS
from bilevel.methods._method import Method
from bilevel.methods._planner import CentralPlanner
from bilevel.methods._preferences import SVO, InequityAverse
from bilevel.methods._tos import ToS
from games.core import require

METHODS: dict[str, type[Method]] = {
    "selfish": Selfish,
    "prosocial": Prosocial,
    "fixed": Fixed,
    "tos": ToS,
    "ltos": LToS,
    "lio": LIO,
    "d3c": D3C,
    "lase": LASE,
    "planner": CentralPlanner,
    "gifting": Gifting,
    "inequity-aversion": InequityAverse,
    "svo": SVO,
}


def register_method(name: str, method: type[Method]) -> None:
    """Add a method of one's own, for the rest of the process.

    Args:
        name: what to call it on the command line and in figures.
        method: a frozen dataclass whose fields all have defaults.

    Raises:
        ValueError: the name is taken.

    >>> register_method("tos", ToS)
    Traceback (most recent call last):
    ValueError: There is a method 'tos' already.
    """
    require(name not in METHODS, f"There is a method {name!r} already.")
    METHODS[name] = method
