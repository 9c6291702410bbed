"""Agents: policies stacked over seeds and agents, rollouts, returns, surrogate losses and Q-learning."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
