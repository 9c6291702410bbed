"""`bilevel cache`: list, clear, or prebuild the compiled packages on disk."""

from __future__ import annotations

import dataclasses
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from bilevel.cli._settings import read_settings
from bilevel.compile import _cache as cache
from bilevel.core import counted
from bilevel.report import Column, ResultsTable
from games.core import require

if TYPE_CHECKING:
    from bilevel.experiments import RunConfig


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """List the packages of compiled steps: content, size, date, and build time in seconds.

    They are rebuilt when they are needed. BILEVEL_CACHE in the environment names another folder.
    """

    clear: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Delete all of them, and no other file."""
    build: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="[GAME ...]")] = None
    """Prebuild the packages of these games' default runs; without names, of all that compile to C."""
    method: str = "tos"
    """Method of the runs whose packages are prebuilt."""


def cache_command(arguments: list[str]) -> None:
    options = read_settings(CacheSettings, arguments, prog="bilevel cache")
    require(not options.clear or options.build is None, "Give --clear or --build, not both.")
    if options.build is not None:
        _build_ahead(options.build, options.method)
        return
    found = cache.clear() if options.clear else cache.packages()
    if not found:
        print(f"There are no packages in {cache.folder()}.")
    elif options.clear:
        print(f"Deleted {_total(found)}.")
    else:
        Console(highlight=False).print(_table(found).to_rich())
        print(f"{_total(found)}.")


def _build_ahead(games: tuple[str, ...], method: str) -> None:
    """Take one compiled outer step of each game's default run, and print the packages built."""
    from bilevel.experiments import default_config  # noqa: PLC0415  # torch, methods and games
    from bilevel.methods import OuterMethod  # noqa: PLC0415
    from games import ExactGame, names  # noqa: PLC0415

    configs = [default_config(game, method) for game in games or names()]
    if not games:
        configs = [config for config in configs if isinstance(config.game, ExactGame)]
    require(
        all(isinstance(config.method, OuterMethod) for config in configs),
        f"The method {method} differentiates through no inner steps, so there is nothing to compile: name "
        "one that does, such as tos.",
    )
    for place, config in enumerate(configs, 1):
        print(f"{place}/{len(configs)} {config.game_name}: {_build(config, named=bool(games))}", flush=True)


def _build(config: RunConfig, *, named: bool) -> str:
    """Take the first outer step, and describe the packages built; a named game may take minutes."""
    from bilevel.compile import build_solve  # noqa: PLC0415  # torch, and the compiler
    from bilevel.core import Purpose  # noqa: PLC0415
    from bilevel.methods import OuterLearner  # noqa: PLC0415

    before, began = {package.path for package in cache.packages()}, time.perf_counter()
    placement = dataclasses.replace(config.placement, compile=True)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        learner = config.method.build(config.game, placement)
        state = learner.init(config.seed)
        assert isinstance(learner, OuterLearner)
        problem = learner.problem_at(state, learner.streams(state, Purpose.TRAINING))
        if not named and not build_solve(problem, state["theta"], state["opt_state"], state["phi"]):
            return "not built, as it is too large for C: name the game to have PyTorch's compiler build it."
        learner.update(state)
    built = [package for package in cache.packages() if package.path not in before]
    what = f"{counted(len(built), 'package')} built" if built else "nothing to build"
    reasons = [str(each.message) for each in said]
    return " ".join([f"{what}, {time.perf_counter() - began:.1f} s.", *reasons])


def _total(found: list[cache.CachedPackage]) -> str:
    size = _size(sum(package.size for package in found))
    return f"{counted(len(found), 'package')}, {size}, in {cache.folder()}"


def _table(found: list[cache.CachedPackage]) -> ResultsTable:
    rows = []
    for package in found:
        about = package.about
        built = str(about.get("built", "?"))[:16].replace("T", " ")
        what, seconds = str(about.get("about", package.path.name)), str(about.get("seconds", "?"))
        environment = about.get("environment")
        words = map(str, environment if isinstance(environment, list) else [])
        torch = next((word.removeprefix("torch ") for word in words if word.startswith("torch ")), "?")
        rows.append((what, _size(package.size), built, seconds, torch))
    numbers = [Column(heading=name, form=str, wrap=False) for name in ("size", "built", "seconds", "torch")]
    return ResultsTable(columns=[Column(heading="package"), *numbers], rows=rows)


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
