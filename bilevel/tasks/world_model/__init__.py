"""A world model that learns to act from pixels: autoencoder, recurrent dynamics and controller."""

from bilevel.tasks.world_model.settings import WorldModelSettings
from bilevel.tasks.world_model.task import WorldModelTask

__all__ = ["WorldModelSettings", "WorldModelTask"]
