"""Symmetric games of two agents with two actions: four numbers say it all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from games.core import require
from games.matrix._matrix import MatrixGame, require_finite


@dataclass(frozen=True, kw_only=True)
class SymmetricTwoAgentGame(MatrixGame):
    """Two agents, each cooperates (action 0) or defects (action 1); payoffs R, S, T, P.

    The default is the prisoner's dilemma as the literature on opponent shaping plays it.

    Raises:
        ValueError: a payoff is not finite, or there are not two names.

    Source:
        Payoffs of the default: Foerster et al., Learning with Opponent-Learning Awareness, arXiv 1709.04326.

    >>> SymmetricTwoAgentGame().payoffs()[0, 1]
    tensor([-3.,  0.], dtype=torch.float64)
    """

    reward: float = -1
    """R, the payoff when both cooperate, in the game's units; any finite number."""
    sucker: float = -3
    """S, the payoff of who cooperates alone, in the game's units; any finite number."""
    temptation: float = 0
    """T, the payoff of who defects alone, in the game's units; any finite number."""
    punishment: float = -2
    """P, the payoff when both defect, in the game's units; any finite number."""
    names: tuple[str, str] = ("cooperate", "defect")
    """What the two actions are called; two names."""

    def __post_init__(self) -> None:
        require_finite(
            reward=self.reward, sucker=self.sucker, temptation=self.temptation, punishment=self.punishment
        )
        require(len(self.names) == 2, f"Two actions need two names; there are {len(self.names)}.")

    @property
    def action_names(self) -> tuple[str, ...]:
        return self.names

    def build_payoffs(self) -> NDArray[np.float64]:
        """Build [2, 2, agent]; the second agent's table is the first one's transpose."""
        own = np.array([[self.reward, self.sucker], [self.temptation, self.punishment]], dtype=np.float64)
        return np.stack((own, own.T), -1)
