from ._grid_settings import TwoColorSettings as TwoColorSettings
from ._grid_task import TwoColorGrid as TwoColorGrid
