"""Tournaments of learners and fixed strategies: every pairing, or one pool.

In a match each of two agents learns by a method of its own. Both methods take an outer step from the same
joint policy, and each agent keeps its own method's update of its own policy: a learner models the other agent
as a learner of its own kind, and in the next step observes the other's actual policy. So any two methods with
policies of the same form can meet, whatever else their states contain. A learner of action values meets them
as a table of its action probabilities, and the other agent's policy is part of its environment.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bilevel.agents import Policy, PolicyWithCritic, Tabular
from bilevel.experiments._comparison import require_comparable
from bilevel.experiments._config import RunConfig
from bilevel.experiments._files import parse_json, write_text
from bilevel.experiments._resumable import ResumableFolder, provenance
from bilevel.experiments._statistics import Interval, interquartile_interval
from bilevel.methods import HasActionTable, PolicyGradient, PolicyLearner, Selfish, State, TabularPolicy
from games.core import ExactGame, require
from games.matrix import MemoryOneStrategy, RepeatedGame

CERTAIN = 30.0
"""Log-odds of an action that a fixed strategy always takes: a probability of 1 - 1e-13."""
POOL = "pool"


class Match(NamedTuple):
    """Final policies of two entrants, evaluated.

    >>> Match("lola", "naive", np.array([[-1.0], [-1.0]]), np.array([1.0])).returns.shape
    (2, 1)
    """

    first: str
    """Label of the entrant in seat 0."""
    second: str
    """Label of the entrant in seat 1."""
    returns: np.ndarray
    """Each seat's return, [2, seed], in the units of `Game.episode_value`."""
    cooperation: np.ndarray
    """Fraction of cooperative actions of both agents, [seed]; NaN where the game does not define it."""


@dataclass(frozen=True)
class TournamentFolder(ResumableFolder):
    """Folder of a tournament: its settings, and a file for each match."""

    settings_file: ClassVar[str] = "tournament.json"
    content: ClassVar[str] = "matches"

    def match_path(self, first: str, second: str, *, pool: bool) -> Path:
        """Path of the file of a match."""
        return self.path / "matches" / f"{POOL + '-' if pool else ''}{first}--{second}.json"


@dataclass(frozen=True, kw_only=True)
class Tournament:
    """Learners, by label, and fixed strategies, in every pairing.

    Raises:
        ValueError: there are fewer than two entrants or 3 seeds, or no learner; a label appears twice;
            learners differ in game, seeds, steps or evaluation; the game does not have two agents; a learner
            has no policies that another one can meet; policies have different forms; or a strategy does not
            fit the game.

    >>> from bilevel.experiments import default_config
    >>> import dataclasses
    >>> base = dataclasses.replace(
    ...     default_config("repeated-prisoners-dilemma", "selfish"), seeds=4, outer_steps=50
    ... )
    >>> lola = dataclasses.replace(base, method=base.method.with_settings({"rule": "lola"}))
    >>> tournament = Tournament(learners={"naive": base, "lola": lola})
    >>> match = tournament.play("lola", "naive")
    >>> match.first, match.returns.shape
    ('lola', (2, 4))
    """

    learners: Mapping[str, RunConfig]
    """Label -> configuration; all of one game, with the same seeds, steps and evaluation."""
    strategies: Mapping[str, MemoryOneStrategy] = field(default_factory=dict)
    """Name -> fixed strategy of a repeated game with two actions."""

    def __post_init__(self) -> None:
        require(bool(self.learners), "A tournament needs a learner: name methods with --learners.")
        game = self.base.game
        require(
            game.num_agents == 2,
            f"A tournament pairs two agents, and {self.base.game_name} has {game.num_agents}: choose a game "
            "with two, or set --game.agents 2 if the game has that setting.",
        )
        require(
            len(self.labels) >= 2,
            f"A tournament needs two entrants or more, and {self.labels[0]} is the only one: add learners "
            "(--learners) or fixed strategies (--strategies).",
        )
        twice = [label for label in self.learners if label in self.strategies]
        require(not twice, f"{', '.join(twice)} is a learner and a strategy: give the learner another label.")
        require_comparable(self.learners)
        config = self.base
        for label, other in self.learners.items():
            require(
                other.outer_steps == config.outer_steps,
                f"All learners take as many outer steps as the first, {config.outer_steps}, but {label} has "
                f"{other.outer_steps}.",
            )
        require(
            not self.strategies or (isinstance(game, RepeatedGame) and game.num_actions == 2),
            f"Fixed strategies are for repeated games with two actions, and {config.game_name} is none: "
            "choose repeated-prisoners-dilemma or another repeated-NAME.",
        )
        for label, learner in self._learners.items():
            if not isinstance(learner, PolicyLearner):
                self._require_table(label, learner)
                continue
            require(
                learner.continues_policies,
                f"{label} does not continue from the policies of a match, as it learns on meta-episodes from "
                "fresh policies: leave it out.",
            )
            require(
                _policy_of(learner) == self.policy,
                f"{label} and {next(iter(self.learners))} have policies of different forms, and in a match "
                "they must be the same: leave out methods that add actions, or give all the same --set "
                "policy=NAME.",
            )

    def _require_table(self, label: str, learner: Any) -> None:
        require(
            isinstance(learner, HasActionTable),
            f"{label} has no policies that another method's learner can meet: leave it out.",
        )
        require(
            isinstance(self.policy, Tabular),
            f"{label} learns values of actions, and meets tabular policies alone: give the other learners "
            "--set policy=tabular, or leave it out.",
        )
        try:
            learner.action_table(learner.init(self.base.seed), exploring=False)
        except ValueError as error:
            raise ValueError(f"{label} cannot meet others on {self.base.game_name}: {error}") from error

    @property
    def base(self) -> RunConfig:
        """Configuration of the first learner, which has the common conditions."""
        return next(iter(self.learners.values()))

    @property
    def labels(self) -> list[str]:
        """Labels of all entrants, learners first."""
        return [*self.learners, *self.strategies]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """All pairs of entrants, in both orders of seats."""
        return [(first, second) for first in self.labels for second in self.labels]

    def play(self, first: str, second: str, progress: Callable[[int], None] = lambda step: None) -> Match:
        """Let two entrants learn together, and evaluate their final policies.

        Args:
            first: label of the entrant in seat 0.
            second: label of the entrant in seat 1.
            progress: called with the number of outer steps done.

        Raises:
            FloatingPointError: as for the learners' `update`.
        """
        seats = [_Seat(self, label, place) for place, label in enumerate((first, second))]
        learns = bool({first, second} & set(self.learners))
        for step in range(self.base.outer_steps if learns else 0):
            joint = _joint(seats)
            for seat in seats:
                seat.learn(joint)
            progress(step + 1)
        return self._evaluated(seats)

    def play_pool(self, progress: Callable[[int], None] = lambda step: None) -> list[Match]:
        """Let all entrants learn in one pool, each against another one drawn at random in each outer step.

        Every learner has a policy for each seat. In a step both policies meet the same other entrant, and all
        learners learn from the policies before the step. In the end all pairs are evaluated.

        Args:
            progress: called with the number of outer steps done.
        """
        seats = {label: [_Seat(self, label, place) for place in (0, 1)] for label in self.labels}
        draw = np.random.default_rng(self.base.seed)
        for step in range(self.base.outer_steps):
            meetings = []
            for label in self.learners:
                others = [each for each in self.labels if each != label]
                other = seats[others[draw.integers(len(others))]]
                own = seats[label]
                meetings += [(own[0], _joint([own[0], other[1]])), (own[1], _joint([other[0], own[1]]))]
            for seat, joint in meetings:
                seat.learn(joint)
            progress(step + 1)
        return [self._evaluated([seats[first][0], seats[second][1]]) for first, second in self.pairs]

    def _evaluated(self, seats: Sequence[_Seat]) -> Match:
        learner = self._evaluator
        state = learner.init(self.base.seed)
        state["outer_step"] = state["outer_step"] + self.base.outer_steps
        joint = torch.stack([seat.final_parameters() for seat in seats], 1)
        state["theta"] = _with_policies(self.policy, state["theta"], joint)
        metrics = learner.evaluate(state, episodes=self.base.evaluation_episodes)
        numbers = {name: value.double().cpu().numpy() for name, value in metrics.items()}
        returns = np.stack([numbers["return_0"], numbers["return_1"]])
        cooperation = numbers.get("cooperation", np.full(self.base.seeds, np.nan))
        return Match(seats[0].label, seats[1].label, returns, cooperation)

    @functools.cached_property
    def _learners(self) -> dict[str, Any]:
        built = {}
        for label, config in self.learners.items():
            try:
                built[label] = config.method.build(config.game, config.placement)
            except ValueError as error:
                raise ValueError(f"{label} does not apply to {config.game_name}: {error}") from error
        return built

    @property
    def policy(self) -> Policy:
        """Policy of all entrants, without critics."""
        return _policy_of(self._evaluator)

    @property
    def exact(self) -> bool:
        """True if the final policies are evaluated by exact values."""
        return not self._evaluator.play.draws

    @functools.cached_property
    def _evaluator(self) -> PolicyLearner:
        """Learner that evaluates final policies: the first one that has policies, or one of tables."""
        for learner in self._learners.values():
            if isinstance(learner, PolicyLearner):
                return learner
        exact = isinstance(self.base.game, ExactGame)
        method = Selfish(policy=TabularPolicy(), inner=PolicyGradient(exact=exact))
        learner = method.build(self.base.game, self.base.placement)
        assert isinstance(learner, PolicyLearner)
        return learner

    @property
    def record(self) -> dict[str, Any]:
        """Settings of the tournament, for its file."""
        settings = {
            "learners": {label: config.plain for label, config in self.learners.items()},
            "strategies": {name: list(strategy) for name, strategy in self.strategies.items()},
        }
        return dict(json.loads(json.dumps(settings)))  # as it is read again: lists for tuples

    def open_folder(self, path: Path) -> TournamentFolder:
        """Create the folder of a tournament, or find that of the same tournament.

        Raises:
            ValueError: something else is there, or a tournament with other settings.
        """
        folder = TournamentFolder(path)
        refusal = f"{path} has other files, and no tournament: choose another --out."
        if folder.is_new:
            folder.create({**self.record, **provenance()}, refusal=refusal)
        else:
            require(folder.config.exists(), refusal)
            saved = parse_json(folder.config.read_bytes())
            folder.require_same({name: saved.get(name) for name in self.record}, self.record)
        return folder

    def run(
        self,
        folder: TournamentFolder,
        *,
        pool: bool,
        show: Callable[[str, float], None] = lambda name, part: None,
    ) -> list[Match]:
        """Play the matches that are missing from the folder, and return all.

        An interrupted match starts again; finished ones are kept.

        Args:
            folder: from `open_folder`.
            pool: play one pool instead of every pairing.
            show: called with the name of the match and the fraction of it that is done, 1 once it is written.
        """
        steps = self.base.outer_steps

        def showing(name: str) -> Callable[[int], None]:
            return lambda step: show(name, step / steps) if step < steps else None

        def missing(first: str, second: str) -> bool:
            return not folder.match_path(first, second, pool=pool).exists()

        def keep(match: Match) -> None:
            _write_match(folder.match_path(match.first, match.second, pool=pool), match)

        with folder.locked():
            if pool and any(missing(*pair) for pair in self.pairs):
                for match in self.play_pool(showing("pool")):
                    keep(match)
                show("pool", 1.0)
            for first, second in self.pairs:
                if missing(first, second):
                    name = f"{first} and {second}"
                    keep(self.play(first, second, showing(name)))
                    show(name, 1.0)
            return [_read_match(folder.match_path(*pair, pool=pool)) for pair in self.pairs]

    def missing(self, folder: TournamentFolder, *, pool: bool) -> int:
        """Number of matches missing from the folder; a pool counts as one."""
        there = [folder.match_path(*pair, pool=pool).exists() for pair in self.pairs]
        return int(not all(there)) if pool else there.count(False)


class CrossPlay(NamedTuple):
    """Each entrant's return against every entrant.

    >>> matches = [
    ...     Match(a, b, np.full((2, 3), -1.0), np.ones(3)) for a in ("x", "y") for b in ("x", "y")
    ... ]
    >>> cross_play(matches).labels, cross_play(matches).returns.estimate.tolist()
    (['x', 'y'], [[-1.0, -1.0], [-1.0, -1.0]])
    """

    labels: list[str]
    returns: Interval
    """Return of the row's entrant against the column's, mean of both seats: [row, column], interquartile mean
    over seeds."""
    mean: Interval
    """Mean return over all opponents, itself included: [row]."""
    cooperation: np.ndarray
    """Interquartile mean of cooperation, [row, column]; NaN where the game does not define it."""


def cross_play(matches: Sequence[Match]) -> CrossPlay:
    """Summarize the matches of a tournament.

    Args:
        matches: every pair of entrants in both orders.

    >>> matches = [Match(a, b, np.full((2, 3), -1.0), np.ones(3)) for a in "xy" for b in "xy"]
    >>> cross_play(matches).mean.estimate.tolist()
    [-1.0, -1.0]
    """
    labels = list(dict.fromkeys(match.first for match in matches))
    by_pair = {(match.first, match.second): match for match in matches}
    returns = np.stack(
        [
            np.stack([(by_pair[a, b].returns[0] + by_pair[b, a].returns[1]) / 2 for b in labels])
            for a in labels
        ]
    )
    cooperation = np.stack(
        [
            np.stack([(by_pair[a, b].cooperation + by_pair[b, a].cooperation) / 2 for b in labels])
            for a in labels
        ]
    )
    return CrossPlay(
        labels,
        interquartile_interval(returns),
        interquartile_interval(returns.mean(1)),
        cooperation.mean(-1),
    )


class _Seat:
    """An entrant in one seat: its policy, and all else that its method keeps."""

    def __init__(self, tournament: Tournament, label: str, place: int) -> None:
        self.label, self.place, self.policy = label, place, tournament.policy
        self.learner = tournament._learners.get(label)
        if self.learner is None:
            self.parameters = _strategy_parameters(tournament.strategies[label], tournament.base.seeds)
            return
        self.state: State = self.learner.init(tournament.base.seed)
        self.parameters = self._own()

    def learn(self, joint: Tensor) -> None:
        """Take an outer step from joint policies, [seed, 2, parameter], and keep this seat's policy of it."""
        if self.learner is None:
            return
        if isinstance(self.learner, PolicyLearner):
            theta = _with_policies(self.policy, self.state["theta"], joint)
            self.state, _ = self.learner.update({**self.state, "theta": theta})
        else:
            self.state, _ = self.learner.update_against(self.state, self.place, self.policy, joint)
        self.parameters = self._own()

    def final_parameters(self) -> Tensor:
        """This seat's policy after learning, without exploration, [seed, parameter], float64."""
        return self.parameters if self.learner is None else self._own(exploring=False)

    def _own(self, *, exploring: bool = True) -> Tensor:
        """This seat's policy, [seed, parameter], float64."""
        if isinstance(self.learner, PolicyLearner):
            own: Tensor = self.state["theta"][:, self.place, : self.policy.num_parameters].double()
            return own
        assert isinstance(self.learner, HasActionTable)
        return _table_parameters(self.learner.action_table(self.state, exploring=exploring)[:, self.place])


def _joint(seats: Sequence[_Seat]) -> Tensor:
    """Joint policies of two seats, [seed, 2, parameter]."""
    return torch.stack([seat.parameters for seat in seats], 1)


def _policy_of(learner: Any) -> Policy:
    policy: Policy = learner.play.policy
    return policy.policy if isinstance(policy, PolicyWithCritic) else policy


def _with_policies(policy: Policy, theta: Tensor, policies: Tensor) -> Tensor:
    """Theta with its policies replaced, and its critics kept."""
    return torch.cat((policies.to(theta), theta[..., policy.num_parameters :]), -1)


def _strategy_parameters(strategy: MemoryOneStrategy, seeds: int) -> Tensor:
    odds = torch.tensor(strategy, dtype=torch.float64).logit().clamp(-CERTAIN, CERTAIN)
    return odds.expand(seeds, len(strategy))


def _table_parameters(probabilities: Tensor) -> Tensor:
    """Parameters of a tabular policy, [..., parameter]: logits relative to the last action's."""
    logs = probabilities.double().log().clamp(min=-CERTAIN)
    return (logs[..., :-1] - logs[..., -1:]).flatten(-2)


def _write_match(path: Path, match: Match) -> None:
    path.parent.mkdir(exist_ok=True)
    content = match._asdict() | {"returns": match.returns.tolist(), "cooperation": match.cooperation.tolist()}
    write_text(path, json.dumps(content) + "\n")


def _read_match(path: Path) -> Match:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Match(
            content["first"],
            content["second"],
            np.array(content["returns"]),
            np.array(content["cooperation"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: delete it, and the match is played again.") from error
