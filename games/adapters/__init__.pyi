from ._foreign_game import ForeignGame as ForeignGame
from ._gymnasium import from_gymnasium as from_gymnasium
from ._openspiel import from_openspiel as from_openspiel
from ._parallel_env import parallel_env as parallel_env
from ._pettingzoo import from_pettingzoo as from_pettingzoo
from ._vector_env import vector_env as vector_env
