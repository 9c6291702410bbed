"""Registry of methods by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from games.core import Registry

if TYPE_CHECKING:
    from bilevel.methods._method import Method

METHODS: Registry[type[Method]] = Registry(
    "method",
    {
        "selfish": "bilevel.methods._fixed_sharing:Selfish",
        "prosocial": "bilevel.methods._fixed_sharing:Prosocial",
        "fixed": "bilevel.methods._fixed_sharing:Fixed",
        "spatial-discount": "bilevel.methods._fixed_sharing:SpatialDiscount",
        "tos": "bilevel.methods._tos:ToS",
        "ltos": "bilevel.methods._ltos:LToS",
        "lio": "bilevel.methods._lio:LIO",
        "d3c": "bilevel.methods._d3c:D3C",
        "lase": "bilevel.methods._lase:LASE",
        "planner": "bilevel.methods._planner:CentralPlanner",
        "contract": "bilevel.methods._formal_contract:FormalContract",
        "mediator": "bilevel.methods._mediator:Mediator",
        "aga": "bilevel.methods._aga:AgA",
        "advantage-alignment": "bilevel.methods._advantage_alignment:AdvantageAlignment",
        "lola-dice": "bilevel.methods._lola_dice:LOLADiCE",
        "pola": "bilevel.methods._pola:POLA",
        "meva": "bilevel.methods._meva:MeVa",
        "loqa": "bilevel.methods._loqa:LOQA",
        "m-fos": "bilevel.methods._m_fos:MFOS",
        "coala-pg": "bilevel.methods._coala:COALAPG",
        "mgrl": "bilevel.methods._self_tuning:MGRL",
        "stac": "bilevel.methods._self_tuning:STAC",
        "stacx": "bilevel.methods._self_tuning:STACX",
        "bmg": "bilevel.methods._self_tuning:BMG",
        "gifting": "bilevel.methods._gifting:Gifting",
        "inequity-aversion": "bilevel.methods._preferences:InequityAverse",
        "svo": "bilevel.methods._preferences:SVO",
    },
    listed_by="bilevel methods",
)
"""Name -> method, as the command line selects it; `register_method` adds one."""


def register_method(name: str, method: type[Method], *, replace: bool = False) -> None:
    """Register a method for the rest of the process.

    Args:
        name: for the command line and figures: lower case, words joined by hyphens.
        method: a frozen dataclass whose fields all have defaults.
        replace: replace a method of this name.

    Raises:
        ValueError: the name is taken, or has another form.

    >>> from bilevel.methods import ToS
    >>> register_method("tos", ToS)
    Traceback (most recent call last):
    ValueError: The method 'tos' exists already: replace=True puts the new one in its place.
    """
    METHODS.register(name, method, replace=replace)
