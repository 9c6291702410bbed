"""RESULTS.md: written from the numbers on disk, so that it can be rebuilt without measuring again."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.experiments import EXPERIMENTS
from tests.benchmarks.report.figures import write_figures
from tests.benchmarks.report.results import Results, measured_experiments
from tests.benchmarks.report.tables import (
    compile_table,
    memory_table,
    rate_table,
    reseed_table,
    target_table,
    time_tables,
    update_rule_table,
)
from tests.benchmarks.report.targets import targets
from tests.benchmarks.report.whole_runs import (
    ABOUT_GROWTH,
    ABOUT_MANY_AGENTS,
    ABOUT_RUNS,
    growth_table,
    many_agents_table,
    run_table,
)
from tests.benchmarks.whole_runs import FEW, WHOLE_RUNS

HOW = """\
How: each variant runs in its own process, bound to one core, or to two where the column says so, which also
limits the thread pools of JAX and PyTorch. The variants take turns in three rounds: in order, in reverse,
in order. A turn is one warm-up call and then 0.3 s of timed calls, at least three (one if calls take
seconds), with the garbage collector off; numbers are medians over all rounds. A call computes one whole
hypergradient; outer optimizers are not part of it. In brackets: ratio to the first row.

Before a case is timed, every variant computes its gradient in float64. A variant is not timed if its
gradient differs by more than 1e-8 (finite differences: 5e-2), relative to the largest entry, from that of
plain autograd (or of ours, eager, where autograd has no such estimator); *error* is the largest such
difference over all cases.

Libraries are used as their documentation shows, with all seeds in one batch. Each gets the form of the game
that is fastest for it: eager libraries one LAPACK solve, ours, compiled, the solve written out, JAX both.
`higher` gets the epsilon that makes its Adam equal to PyTorch's. On two cores JAX's pool has four threads:
with two, version 0.10 hangs in a batched solve of 8192 systems."""

ABOUT_MEMORY = """\
Memory: peak resident memory during one hypergradient, minus that of the process after loading the model and
all libraries; each variant in a fresh process."""

ABOUT_GAMES = """\
A call plays K steps of every copy of the environment, and observes in every step. In the coin game, actions
and random draws are inputs, so that all libraries play the same games; their total rewards and a digest of
all observations are compared. The other games draw their own random numbers, within the measured time. "One
copy at a time" is plain Python and NumPy on one core."""

ABOUT_WEIGHING = """\
A call is one whole training step on noisy digits with sample weights (`SampleWeights`, 100 hidden units):
look ahead by one step, update the weights, take the model's step. If the model steps first, the look-ahead
is its step, and the weights are updated afterwards. With up to 64 units the model has one hidden layer and
batches have 64 samples; with more units it has two hidden layers and as many samples as units. The plain
loop learns no weights, and AuxiLearn's implicit differentiation by a Neumann series is a different
gradient: both are timed but not compared."""

ABOUT_UPDATE_RULES = """\
One update of naive learners and of learners that shape each other, in the repeated prisoner's dilemma with
exact values (discount 0.96, float64, eager): of all seeds in one batch, as `bilevel train` takes it, with the
metrics of the outer step; and of one seed after the other in plain autograd, without metrics
(`docs/studies/cooperating_seeds.py`, which a test compares with the batch, seed by seed). Both take turns in
one process on one core; numbers are medians, and the ratio is that of all seeds by hand to the batch. The
loop is the usual form of released code; a batched loop by hand would be faster.
`python -m tests.benchmarks --only "update rules"` measures this table."""

ABOUT_COMPILING = """\
First calls of ours, compiled, with one thread and packages built one after the other: with an empty cache
(tracing, exporting, the C++ compiler and the first hypergradient together), and in a second process with
the same cache; importing torch and the toolkit is not counted. The first row of the second process also
includes what is loaded once per process. The time of finding and loading a package is that of a call after
the process has dropped its packages, minus that of a warm call, so it excludes what torch loads on first
use."""

WHY = """\
Why targets are missed, as far as it is known:

* Whole runs of the dilemma, compiled: inner steps and hypergradient are one call of C, and the outer update
  with the metrics is another; together they take a fifth of the outer step. A quarter of it writes the
  metrics of 32 seeds as text, and the rest is Python and PyTorch overhead around these calls. In a run of
  30 000 outer steps, reading 960 000 rows back for the figures takes another 4 s, and start-up and figures
  take 5 s.
* Escape Room, compiling: PyTorch's compiler takes 22 s in Python alone for its three functions, and its C++
  takes the rest. A compiled outer step takes as long as an eager one, so `--compile auto` never compiles
  it.
* Targets that say "not measured" wait for the runs that the notes at the end name.
* Time at K = 1000 in bounded memory: each step is computed three times (in the rollout, again from a stored
  state, and inside its vector-Jacobian product), whereas a plain unroll computes it once and writes 8 to 10
  GB of fresh memory instead. Which one is slower depends on the current speed of the machine's memory: two
  runs gave 1.31 and 1.37.
* Games: although tanh is computed by the sigmoid, it takes a quarter of the policies' time, and matrix
  products take a fifth; in cleanup, half of the time goes into extracting windows and unpacking their
  planes. Both depend on the load of the machine: within one minute the same commands ran at 5.1 and at 8.3
  million with policies, and at 1.1 and at 2.5 million for cleanup. Before tanh was computed by the sigmoid
  and planes were stored as bytes, five runs gave 2.8 to 6.2 with policies, 2.7 to 4.1 with deeper ones,
  1.06 to 2.00 for cleanup, and 23.9 to 27.0 for the coin game (JAX 23.5 to 37.7).
* The tuner: a plain step costs three passes through the model, one forward and two backward. A look-ahead
  and the step after it cost ten passes (forward, backward, three for the validation batch, which is as
  large, two for the hypergradient, two for the step), and eight if the model steps first: 3.3 and 2.7 times
  a plain step, as large networks show. In small networks call overhead exceeds the passes, in hand-written
  autograd as well. Three ways to save passes are implemented: losses shared by the look-ahead and the step,
  pure update rules instead of lifted state, and in-place exchange of parameters. Peaks of memory differ
  from run to run: another run, before steps stopped allocating zeros, gave 1.17 times higher's.

Compile time varies with the load of the machine: other runs gave 64.6, 70.9 and 77.0 s for the slowest
case, cold."""

FIGURES = {
    "time_against_seeds": "Time against seeds",
    "time_against_steps": "Time against K",
    "memory_against_steps": "Memory against K",
    "run_against_outer_steps": "Whole runs against outer steps",
}


def write_report(results: Results, folder: Path) -> Path:
    """Write RESULTS.md and its figures into a folder.

    Raises:
        ValueError: there are no numbers at all.
    """
    if not results.parts:
        raise ValueError(f"There is nothing to report in {folder}: measure first (make bench).")
    written = {path.stem for path in write_figures(results, folder)}
    sections = [
        "# Benchmarks",
        _about(results),
        "## Targets\n\n" + target_table(results),
        *([WHY] if any("missed" in target.verdict for target in targets(results)) else []),
        HOW,
        *(f"![{title}]({name}.png)" for name, title in FIGURES.items() if name in written),
        *_whole_runs(results),
        *_growth(results),
        *_many_agents(results),
        *_update_rules(results),
        *(_experiment(results, name) for name in measured_experiments(results)),
        *_compiling(results),
        *_notes(results),
    ]
    path = folder / "RESULTS.md"
    path.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    return path


def _about(results: Results) -> str:
    """Where and when; parts that were measured at another time or place say so one by one."""
    places: dict[str, list[str]] = {}
    for name, part in results.parts.items():
        about = part["about"]
        versions = ", ".join(f"{package} {version}" for package, version in about["versions"].items())
        text = (
            f"`{about['command']}`, {about['date']}, commit {about['commit']}, on {about['cores']} cores of "
            f"{about['processor']} ({about['instructions']}), {about['memory_gb']:g} GB, {about['system']}; "
            f"{versions}."
        )
        places.setdefault(text, []).append(name)
    if len(places) == 1:
        return next(iter(places))
    return "\n".join(f"* {', '.join(names)}: {text}" for text, names in places.items())


def _experiment(results: Results, name: str) -> str:
    blocks = [f"## {EXPERIMENTS[name].title}", time_tables(results, name)]
    if EXPERIMENTS[name].count == "copies":
        blocks += [ABOUT_GAMES, rate_table(results, name)]
    if EXPERIMENTS[name].problem == "noisy digits":
        blocks.append(ABOUT_WEIGHING)
    if results.rows(name, "memory"):
        blocks += [ABOUT_MEMORY, memory_table(results, name)]
    return "\n\n".join(blocks)


def _whole_runs(results: Results) -> list[str]:
    names = [name for name in WHOLE_RUNS if results.rows(name, "runs")]
    if not names:
        return []
    before = {results.parts[name].get("before") for name in names} - {None}
    limits = sorted(
        {limit for name in names for limit in (WHOLE_RUNS[name].limit, WHOLE_RUNS[name].long_limit)}
    )
    about = ABOUT_RUNS.format(
        short=" or ".join(str(short) for short in sorted({WHOLE_RUNS[name].short or FEW for name in names})),
        limit=" or ".join(f"{limit:g}" for limit in limits),
        before=" or ".join(sorted(before)) or "of another time",
    )
    tables = [f"### {WHOLE_RUNS[name].title}\n\n{run_table(results, name)}" for name in names]
    return ["## Whole runs, from the start of the process", about, *tables]


def _growth(results: Results) -> list[str]:
    if not results.rows("growth", "growth"):
        return []
    return ["## How an outer step grows", ABOUT_GROWTH, growth_table(results)]


def _many_agents(results: Results) -> list[str]:
    if not results.rows("many agents", "growth"):
        return []
    return ["## Many agents", ABOUT_MANY_AGENTS, many_agents_table(results)]


def _update_rules(results: Results) -> list[str]:
    if not results.rows("update rules", "update rules"):
        return []
    return ["## Update rules", ABOUT_UPDATE_RULES, update_rule_table(results)]


def _compiling(results: Results) -> list[str]:
    if not results.rows("compiling", "compiling"):
        return []
    sections = ["## Compiling", ABOUT_COMPILING, compile_table(results)]
    if results.rows("compiling", "reseeding"):
        sections += ["Other numbers of seeds after those, same process:", reseed_table(results)]
    return sections


def _notes(results: Results) -> list[str]:
    notes = [note for name in results.parts for note in results.rows(name, "notes")]
    return ["## What was left out\n\n" + "\n".join(f"* {note}" for note in notes)] if notes else []
