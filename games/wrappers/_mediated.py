"""Mediated games: agents may commit, and a mediator then acts for them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor

from games.core import ExactGame, State, Step, computed, numbered_actions, require
from games.wrappers._wrapper import WrappedExactGame, WrappedGame


@dataclass(frozen=True, kw_only=True)
class MediatedGame(WrappedGame):
    """A game with one more action, the last: to commit, that is, to let the mediator act in this step.

    The mediator cooperates for all agents if all that are present commit; otherwise it defects for those that
    commit. How to cooperate and to defect is the game's script (`Game.scripted`).

    Raises:
        ValueError: actions are not Discrete, there is one agent, or the game has no script.
    Source:
        Ivanov et al., Mediated Multi-Agent Reinforcement Learning, arXiv 2306.08419; Monderer and
        Tennenholtz, Strong mediated equilibrium, Artificial Intelligence 173, 2009.

    >>> from games import make
    >>> game, generator = MediatedGame(game=make("prisoners-dilemma")), torch.Generator()
    >>> game.action_names
    ('cooperate', 'defect', 'commit')
    >>> both, one = torch.tensor([[2, 2]]), torch.tensor([[2, 0]])  # agent 1 commits, or cooperates
    >>> [game.step(game.reset(1, generator), actions, generator)[1].tolist() for actions in (both, one)]
    [[[-1.0, -1.0]], [[0.0, -3.0]]]
    """

    action_names = computed(lambda self: (*self.game.action_names, "commit"))

    def __post_init__(self) -> None:
        kind = type(self.game).__name__
        numbered_actions(self.game, "A mediated game, which adds an action,")
        require(self.num_agents >= 2, f"{kind} has one agent: there is nobody to commit with.")
        generator = torch.Generator().manual_seed(0)
        everybody = torch.ones(1, self.num_agents, dtype=torch.bool)
        require(
            self.game.scripted(self.game.reset(1, generator), everybody) is not None,
            f"The mediator cooperates and defects by a game's script, and {kind} has none (Game.scripted).",
        )

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.game.num_actions + 1)

    def action_mask(self, state: State) -> Tensor | None:
        legal = self.game.action_mask(state)
        return None if legal is None else torch.cat((legal, torch.ones_like(legal[..., :1])), -1)

    def executed(self, state: State, actions: Tensor) -> Tensor:
        """Actions in the wrapped game, integer [batch, agent]."""
        commits = actions == self.game.num_actions
        present = self.game.present(state)
        agreed = (commits if present is None else commits | ~present).all(-1, keepdim=True)
        script = self.game.scripted(state, agreed.expand_as(commits))
        assert script is not None
        return torch.where(commits, script.to(actions.dtype), actions)

    def step(self, state: State, actions: Tensor, generator: torch.Generator) -> Step:
        return self.game.step(state, self.executed(state, actions), generator)

    def cooperates(self, state: State, actions: Tensor) -> Tensor | None:
        return self.game.cooperates(state, self.executed(state, actions))


@dataclass(frozen=True, kw_only=True)
class MediatedExactGame(MediatedGame, WrappedExactGame):
    """`MediatedGame` for a one-shot game with exact values.

    With c_i the probability that agent i commits, and q_i its policy with defection in place of committing,
    the values are V(q) + prod_i c_i [V(all cooperate) - V(all defect)].

    Raises:
        ValueError: the game is not one-shot; or as `MediatedGame`.

    >>> from games import make
    >>> game = MediatedExactGame(game=make("prisoners-dilemma"))
    >>> policies = torch.tensor([[[0.0, 0.0, 1.0]], [[0.0, 0.5, 0.5]]])  # agent 1 commits half of the time
    >>> game.values(policies), game.cooperation(policies)
    (tensor([-1.5000, -1.5000]), tensor([0.5000, 0.5000]))
    """

    game: ExactGame
    """The wrapped game."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.game.horizon == 1 and self.game.num_observations == 1,
            f"Mediated games have exact values if they are one-shot; {type(self.game).__name__} is not.",
        )

    def values(self, policies: Tensor) -> Tensor:
        own, agreed = self._resolved(policies)
        cooperating, defecting = self._scripts(policies)
        return self.game.values(own) + agreed * (self.game.values(cooperating) - self.game.values(defecting))

    def cooperation(self, policies: Tensor) -> Tensor | None:
        own, agreed = self._resolved(policies)
        scripts = [self.game.cooperation(script) for script in self._scripts(policies)]
        rates = self.game.cooperation(own)
        if rates is None or scripts[0] is None or scripts[1] is None:
            return None
        return rates + agreed * (scripts[0] - scripts[1])

    def _resolved(self, policies: Tensor) -> tuple[Tensor, Tensor]:
        """Policies with defection in place of committing, and the probability that all commit, [..., 1]."""
        commits = policies[..., -1:]
        _, defecting = self._scripts(policies)
        return policies[..., :-1] + commits * defecting, commits.squeeze((-2, -1)).prod(-1, keepdim=True)

    def _scripts(self, policies: Tensor) -> tuple[Tensor, Tensor]:
        """The script's cooperation and defection of all agents as policies, [agent, 1, action] each."""
        generator = torch.Generator(policies.device).manual_seed(0)
        state, actions = self.game.reset(1, generator), []
        for cooperative in (True, False):
            everybody = torch.full((1, self.num_agents), cooperative, device=policies.device)
            script = self.game.scripted(state, everybody)
            assert script is not None
            chosen = torch.nn.functional.one_hot(script[0].long(), self.game.num_actions)
            actions.append(chosen.to(policies.dtype).unsqueeze(-2))
        return actions[0], actions[1]
