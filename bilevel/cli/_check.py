"""`bilevel check`: a comparison of hypergradient estimators on a game and a method."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from rich.console import Console

from bilevel import report
from bilevel.cli._method_settings import read_with_method
from bilevel.cli._output import tell
from bilevel.cli._settings import split_leading
from bilevel.core import Tree, counted
from bilevel.experiments import DtypeName, RunConfig, preset
from bilevel.hypergradient import (
    HypergradientComparison,
    Unrolled,
    compare_hypergradients,
    in_float64,
    make_hypergradient,
)
from bilevel.methods import METHODS, Method, OuterLearner, OuterMethod, State, fit_hypergradient
from games.core import ExactGame, Game, require

DEFAULT_GAME, DEFAULT_METHOD = "repeated-prisoners-dilemma", "tos"


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """A comparison of hypergradient estimators."""

    game_name: str
    method_name: str
    game: Game
    """The game's settings."""
    method: Method
    """The method's settings."""
    estimators: tuple[str, ...] = ()
    """Names or text forms of the estimators, such as truncated(steps=5); none: all."""
    inner_steps: int | None = None
    """K, the number of differentiated inner steps, 1 or more; None: the method's own."""
    outer_steps_before: int = 0
    """Outer steps of training before the comparison, 0 or more: which estimator is best may change during
    training."""
    seeds: int = 4
    """Independent repetitions in one batch, 1 or more."""
    seed: int = 0
    """Random seed, a nonnegative integer."""
    resamples: int = 8
    """Independent draws of everything random, 2 or more; the time is the median of as many runs."""
    dtype: DtypeName = "auto"
    """Floating type, of time, memory and variance (errors are always measured in float64); auto: float64 for
    exact values, float32 for sampled episodes."""
    device: str = "cpu"
    """Torch device with random generators, for instance cpu or cuda:0."""
    threads: int = 1
    """CPU threads, from 1 to 1024."""

    def __post_init__(self) -> None:
        for name, least in (("inner_steps", 1), ("outer_steps_before", 0), ("resamples", 2)):
            value = getattr(self, name)
            require(value is None or value >= least, f"{name} must be {least} or more, not {value}.")
        for text in self.estimators:
            make_hypergradient(text)
        require(
            isinstance(self.method, OuterMethod),
            f"{self.method_name} takes no gradient through its inner steps, so there is none to check: "
            "choose a method that does "
            f"({', '.join(name for name, kind in METHODS.items() if issubclass(kind, OuterMethod))}).",
        )
        _ = self.run  # validates the settings of a run

    @property
    def run(self) -> RunConfig:
        """Configuration of a run with these settings."""
        shared = ("game_name", "method_name", "game", "method", "seeds", "seed", "dtype", "device", "threads")
        return RunConfig(**{name: getattr(self, name) for name in shared})

    @property
    def steps(self) -> int:
        """K, the number of inner steps."""
        return self.inner_steps or self.method.schedule.inner_steps


def check_command(arguments: list[str]) -> None:
    chosen, rest = split_leading("bilevel check", arguments)
    settings = parse_check(chosen.game or DEFAULT_GAME, chosen.method or DEFAULT_METHOD, rest)
    if chosen.out is not None:
        chosen.out.mkdir(parents=True, exist_ok=True)  # fails before the work, not after it
    comparison = _compare_estimators(settings)
    before = settings.outer_steps_before
    trained = f", after {counted(before, 'outer step')}" if before else ""
    title = f"{settings.method_name} on {settings.game_name}{trained}, {counted(settings.seeds, 'seed')}"
    steps = f"K = {counted(comparison.steps, 'inner step')}"
    Console(highlight=False).print(report.estimators_table(comparison, f"{title}, {steps}"))
    if chosen.out is not None:
        written = report.write_comparison(comparison, chosen.out, title)
        print(f"\nWritten: {', '.join(map(str, written))}")


def _compare_estimators(settings: CheckSettings) -> HypergradientComparison:
    """Take the outer steps before the comparison, then compare estimators on the next K inner steps."""
    config = settings.run
    torch.set_num_threads(config.threads)
    learner = config.build_learner()
    if not isinstance(learner, OuterLearner):
        raise ValueError(
            f"{config.method_name} does not say which bilevel problem it solves, so its estimators cannot be "
            "compared."
        )
    state = learner.init(config.seed)
    for done in range(settings.outer_steps_before):
        state, _ = learner.update(state)
        if (done + 1) % max(settings.outer_steps_before // 10, 1) == 0:
            tell(f"outer step {done + 1} of {settings.outer_steps_before}")
    generator = torch.Generator(config.placement.device).manual_seed(config.seed)
    return compare_hypergradients(
        learner.problem_at(state, generator),
        state["theta"],
        state["opt_state"],
        state["phi"],
        steps=settings.steps,
        estimators=settings.estimators or None,
        resamples=settings.resamples,
        build=lambda estimator: fit_hypergradient(estimator, learner.play),
        generator=generator,
        reference=_exact_gradient(settings, state),
        listener=lambda text: tell(f"measuring {text}"),
    )


def parse_check(game_name: str, method_name: str, arguments: list[str]) -> CheckSettings:
    game, method = preset(game_name, method_name)
    defaults = {field.name: field.default for field in dataclasses.fields(CheckSettings)} | {"game": game}
    for name in ("game_name", "method_name", "method"):
        del defaults[name]
    method, others = read_with_method(
        "bilevel check",
        arguments,
        method,
        defaults,
        kind=CheckSettings,
        description=(
            f"Compare estimators of the hypergradient for {method_name} on {game_name}: error, variance, "
            "time and memory of each.\n\n--game NAME and --method NAME choose another game and method "
            "(bilevel games, bilevel methods), with other options than those below. --out FOLDER is a "
            "folder for a figure and a file of the numbers. --load FILE.py runs your own file, which "
            "registers a game, a method or an estimator. docs/how-to/choose-estimator.md explains the table."
        ),
    )
    return CheckSettings(game_name=game_name, method_name=method_name, method=method, **others)


def _exact_gradient(settings: CheckSettings, state: State) -> Tree | None:
    """Gradient by exact values of a game that has them but is sampled; None if unavailable."""
    if settings.method.exact or not isinstance(settings.game, ExactGame):
        return None
    if settings.method.schedule.value("inner.entropy_coef", int(state["outer_step"])):
        tell("not compared with exact values: they take the entropy bonus in another unit")
        return None
    try:
        method = settings.method.with_settings({"inner.exact": True})
        learner = method.build(settings.game, settings.run.placement)
    except ValueError as error:
        tell(f"not compared with exact values: {error}")
        return None
    assert isinstance(learner, OuterLearner)
    problem = learner.problem_at(state, torch.Generator(settings.device))
    start = in_float64(state["theta"], state["opt_state"], state["phi"])
    return Unrolled()(problem, *start, steps=settings.steps).gradient
