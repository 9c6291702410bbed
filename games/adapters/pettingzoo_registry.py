"""The catalogue in PettingZoo's registry: importing this enters "bilevel/escape-room-v0" and the rest."""

from __future__ import annotations

import pettingzoo

from games import names
from games.core import require

NAMESPACE, VERSION = "bilevel", 0


def environment_id(name: str) -> str:
    """What a game of the catalogue is called in PettingZoo's registry.

    >>> environment_id("escape-room")
    'bilevel/escape-room-v0'
    """
    return f"{NAMESPACE}/{name}-v{VERSION}"


def register_environments() -> tuple[str, ...]:
    """Enter every game of the catalogue that is not there yet into PettingZoo's two registries.

    Importing this module does it; call it again for games that you registered later. Settings of the game,
    `render_mode` and `max_cycles` go to `pettingzoo.make` (see `games.adapters.parallel_env`).

    Returns:
        the identifiers of all games of the catalogue.

    Raises:
        ValueError: this PettingZoo has no registry.

    >>> "bilevel/chicken-v0" in register_environments()
    True
    >>> pettingzoo.make("parallel", "bilevel/escape-room-v0", agents=3, levers=2).possible_agents
    ['agent_0', 'agent_1', 'agent_2']
    """
    require(
        hasattr(pettingzoo, "parallel_registry"),
        f"PettingZoo has a registry since 1.27, and this is {pettingzoo.__version__}: pip install "
        "'pettingzoo>=1.27'.",
    )
    kinds = (
        ("parallel", pettingzoo.parallel_registry, "games.adapters._parallel_env:parallel_env"),
        ("aec", pettingzoo.aec_registry, "games.adapters._parallel_env:env"),
    )
    for name in names():
        for kind, registry, entry_point in kinds:
            if environment_id(name) not in registry:
                pettingzoo.register(kind, environment_id(name), entry_point, kwargs={"game": name})
    return tuple(map(environment_id, names()))


register_environments()
