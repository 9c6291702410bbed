from ._control_settings import ActorCriticSettings as ActorCriticSettings
from ._control_task import ActorCriticTask as ActorCriticTask
from ._grid_settings import TwoColorSettings as TwoColorSettings
from ._grid_task import TwoColorGrid as TwoColorGrid
