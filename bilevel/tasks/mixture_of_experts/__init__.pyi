from ._model import GraphAttention as GraphAttention
from ._model import MixtureModel as MixtureModel
from ._settings import MixtureSettings as MixtureSettings
from ._task import MixtureOfExperts as MixtureOfExperts
