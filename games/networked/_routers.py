"""Routers at random points, linked to near ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from games.core import cached_constants

NOWHERE = -1
ATTEMPTS = 100


class Routers(NamedTuple):
    """Routers at random points, and the links between them.

    >>> from games.networked import Routing
    >>> network = Routing(routers=5).network
    >>> network.places.shape, network.links.shape[1]
    ((5, 2), 2)
    """

    places: NDArray[np.float64]
    """In the unit square, [router, 2]."""
    links: NDArray[np.int64]
    """The two ends of each link, [link, 2]."""
    times: NDArray[np.int64]
    """Steps that each link takes, [link]."""
    ports: NDArray[np.int64]
    """The link at each port of a router, [router, port]; -1 where there is none."""
    ends: NDArray[np.int64]
    """The router at the other end of each port, [router, port]; the router itself without a link."""
    steps: NDArray[np.int64]
    """Least number of steps from router to router, [router, router]."""
    first: NDArray[np.int64]
    """The port at which a shortest path begins, [router, target]; 0 at the target."""


@cached_constants
def random_routers(count: int, ports: int, seed: int) -> Routers:
    """Draw positions of routers until their links connect all of them.

    Args:
        count: number of routers.
        ports: largest number of links of a router.
        seed: random seed of the positions.
    Raises:
        ValueError: no connected routers were found in a number of draws.

    >>> from games.networked import random_routers
    >>> random_routers(20, ports=3, seed=0).links.shape
    (29, 2)
    """
    rng = np.random.default_rng(seed)
    for _ in range(ATTEMPTS):
        places = rng.random((count, 2))
        links = _nearest_links(places, ports)
        apart = np.linalg.norm(np.subtract(*places[links.T]), axis=-1)
        times = (10 * apart).astype(np.int64) // 2 + 1
        weights = scipy.sparse.coo_array((times, links.T), shape=(count, count)).tocsr()
        if scipy.sparse.csgraph.connected_components(weights, directed=False)[0] == 1:
            steps = scipy.sparse.csgraph.shortest_path(weights, directed=False)
            return _with_ports(places, links, times, steps.astype(np.int64), ports)
    raise ValueError(
        f"{count} routers with {ports} ports each are rarely connected: there were none in {ATTEMPTS} draws."
    )


def _nearest_links(places: NDArray[np.float64], ports: int) -> NDArray[np.int64]:
    """Link each router in turn to the nearest ones, as long as both have free ports: [link, 2]."""
    count = len(places)
    nearest = np.linalg.norm(places[:, None] - places, axis=-1).argsort(-1, kind="stable")
    linked: list[set[int]] = [set() for _ in range(count)]
    for router in range(count):
        for other in nearest[router].tolist():
            if len(linked[router]) == ports:
                break
            if len(linked[other]) < ports and other != router:
                linked[router].add(other)
                linked[other].add(router)
    pairs = [(router, other) for router in range(count) for other in sorted(linked[router]) if router < other]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _with_ports(
    places: NDArray[np.float64],
    links: NDArray[np.int64],
    times: NDArray[np.int64],
    steps: NDArray[np.int64],
    ports: int,
) -> Routers:
    count = len(places)
    at_ports = np.full((count, ports), NOWHERE, dtype=np.int64)
    ends = np.repeat(np.arange(count)[:, None], ports, 1)
    used = np.zeros(count, dtype=np.int64)
    for link, pair in enumerate(links.tolist()):
        for router, other in (pair, pair[::-1]):
            at_ports[router, used[router]], ends[router, used[router]] = link, other
            used[router] += 1
    through = np.where(at_ports >= 0, times[at_ports], steps.max() + 1)[..., None] + steps[ends]
    first = through.argmin(1)
    np.fill_diagonal(first, 0)
    return Routers(places, links, times, at_ports, ends, steps, first)
