from ._settings import WorldModelSettings as WorldModelSettings
from ._task import WorldModelTask as WorldModelTask
