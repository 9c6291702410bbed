"""Agents: policies, trajectories, advantages, surrogates, Q-learning.

One axis order everywhere: [seed, agent, time, episode, ...]. Parameters are [seed, agent, parameter]; gifts
and shares are [seed, giver, receiver, time, episode]. A `Trajectory` holds whole episodes, padded after their
end, where its `mask` is 0.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
