"""What is measured: every experiment with its cases, in full and in short."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks import variants
from tests.benchmarks.case import Case
from tests.benchmarks.variants import Variant

MILLION = 960
"""Units of a hidden layer that give the network of problem 3 a million parameters."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One problem in many sizes, solved by all of its variants."""

    name: str
    title: str
    problem: str
    variants: Sequence[Variant]
    count: str
    """What `size` counts."""
    sizes: Sequence[int]
    steps: Sequence[int]
    short_sizes: Sequence[int]
    short_steps: Sequence[int]
    agents: int = 2
    """How many agents each copy of a game has."""
    two_cores_from: int = 8192
    """Cases of this size or more may use two cores, smaller ones one."""
    dtype: str = "float64"
    """Precision of the timing; gradients are compared in float64."""
    most_compared_steps: int | None = None
    """Gradients of longer cases are compared at this K, and those of shorter ones at their own."""
    memory: bool = False
    """Whether peak memory is measured for every case, each in a process of its own."""
    alone_from: int = 300
    """From this K on, one process at a time: it is started for its visit and ended."""
    optional: bool = False
    """Measured only when it is named."""

    def cases(self, *, short: bool) -> list[Case]:
        """List the cases, smallest first."""
        sizes, steps = (self.short_sizes, self.short_steps) if short else (self.sizes, self.steps)
        return [
            Case(
                problem=self.problem,
                size=size,
                steps=count,
                dtype=self.dtype,
                threads=2 if size >= self.two_cores_from else 1,
            )
            for count, size in itertools.product(steps, sizes)
        ]

    def compared(self, case: Case) -> Case:
        """Give the case in which the gradients are compared before this one is timed."""
        most = self.most_compared_steps or case.steps
        return dataclasses.replace(case, dtype="float64", steps=min(case.steps, most))

    def runnable(self, case: Case) -> list[Variant]:
        """List the variants that take cases of this size and this many steps."""
        return [v for v in self.variants if case.size <= v.most_size and case.steps <= v.most_steps]


def _on_dilemma(
    name: str, chosen: Sequence[Variant], *, problem: str = "dilemma", least: int = 1
) -> Experiment:
    return Experiment(
        name=name,
        title=f"Repeated prisoner's dilemma, {name}",
        problem=problem,
        variants=chosen,
        count="seeds",
        sizes=(1, 64, 1024, 8192),
        steps=[steps for steps in (1, 10, 100) if steps >= least],
        short_sizes=(1, 64),
        short_steps=(10,),
    )


def _one_graph(name: str, title: str, chosen: Sequence[Variant], *, steps: Sequence[int]) -> Experiment:
    problem = name.partition(",")[0]
    sizes = {"dilemma": (32, 1024), "policies": (2, 32), "network": (MILLION,)}[problem]
    return Experiment(
        name=f"one graph: {name}",
        title=f"{title}: estimators by default, eager, and one graph by hand",
        problem=problem,
        variants=chosen,
        count={"dilemma": "seeds", "policies": "agents", "network": "units"}[problem],
        sizes=sizes,
        steps=steps,
        short_sizes=sizes[:1] if problem != "network" else (96,),
        short_steps=steps[:1],
        dtype="float64" if problem == "dilemma" else "float32",
    )


def _network(
    name: str, *, optional: bool, steps: Sequence[int], chosen: Sequence[Variant] = variants.NETWORK
) -> Experiment:
    return Experiment(
        name=name,
        title=f"Network of a million parameters, three loss weights ({name.removeprefix('network, ')})",
        problem="network" if chosen is variants.FAR else name,
        variants=chosen,
        count="units",
        sizes=(MILLION,),
        steps=steps,
        short_sizes=(96,),
        short_steps=(10, 30, 100)[-len(steps) :],
        two_cores_from=1,
        dtype="float32",
        most_compared_steps=10,
        memory=True,
        optional=optional,
    )


def _played(name: str, title: str, chosen: Sequence[Variant]) -> Experiment:
    return Experiment(
        name=name,
        title=title,
        problem=name,
        variants=chosen,
        count="copies",
        sizes=(4096,),
        steps=(100,),
        short_sizes=(64,),
        short_steps=(10,),
        two_cores_from=1,
        dtype="float32",
    )


def _tuner(name: str, *, sizes: Sequence[int], memory: bool) -> Experiment:
    return Experiment(
        name=name,
        title=f"A training step with learned weights of samples ({name})",
        problem="noisy digits",
        variants=variants.TUNER,
        count="units",
        sizes=sizes,
        steps=(1,),
        short_sizes=(32,) if not memory else (128,),
        short_steps=(1,),
        dtype="float32",
        memory=memory,
    )


UNROLLED = dataclasses.replace(
    _on_dilemma("unrolled", variants.DILEMMA),
    short_steps=(1, 10),
    title="Repeated prisoner's dilemma, unrolled",
)
POLICIES = Experiment(
    name="policies",
    title="Policies of N agents (8-32-32-4), Adam, K = 5",
    problem="policies",
    variants=variants.POLICIES,
    count="agents",
    sizes=(2, 8, 32, 128),
    steps=(5,),
    short_sizes=(2, 8),
    short_steps=(5,),
    two_cores_from=32,
    dtype="float32",
)

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        UNROLLED,
        POLICIES,
        _one_graph("dilemma", "The repeated dilemma", variants.ONE_GRAPH, steps=(1, 10)),
        _one_graph(
            "dilemma, truncated",
            "The repeated dilemma, truncated",
            variants.ONE_GRAPH_TRUNCATED,
            steps=(10,),
        ),
        _one_graph("policies", "Policies of N agents", variants.ONE_GRAPH_STACKED, steps=(1, 5)),
        _one_graph("network", "A network of a million parameters", variants.ONE_GRAPH_STACKED, steps=(1, 10)),
        _on_dilemma("truncated", variants.TRUNCATED),
        _on_dilemma("forward", variants.FORWARD),
        _on_dilemma("implicit", variants.IMPLICIT, problem="damped dilemma", least=10),
        dataclasses.replace(_on_dilemma("evolution", variants.EVOLUTION), sizes=(1, 64, 1024)),
        _played("coin game", "The coin game, actions given", variants.COIN_GAME),
        _played(
            "coin game, policies",
            "The coin game, played by policies of the usual size (36-32-4)",
            variants.COIN_GAME_POLICIES,
        ),
        _played(
            "coin game, deeper policies",
            "The coin game, played by policies with two hidden layers (36-32-32-4)",
            variants.COIN_GAME_DEEPER,
        ),
        _played("cleanup 7x7", "LIO's cleanup 7x7, played at random", variants.CLEANUP),
        _tuner("tuner", sizes=(32, 256, 1024), memory=False),
        _tuner("tuner, memory", sizes=(1024,), memory=True),
        _network("network", optional=False, steps=(10, 30, 100, 300, 1000)),
        _network("network, far", optional=False, steps=(1000,), chosen=variants.FAR),
        _network("network, momentum", optional=True, steps=(10, 30, 100)),
    )
}
"""By name, in the order of measuring: what needs most memory comes last."""
