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
)
from tests.benchmarks.report.targets import targets
from tests.benchmarks.report.whole_runs import ABOUT_GROWTH, ABOUT_RUNS, growth_table, run_table
from tests.benchmarks.whole_runs import FEW, WHOLE_RUNS

HOW = """\
How: each variant runs in a process of its own, bound to one core, or to two where the column says so, which
also bounds JAX's and PyTorch's thread pools. All take turns in three rounds, A to Z, Z to A, A to Z. A visit
is one call that is not counted and then 0.3 s of calls, three at least (one, if they take seconds), with the
garbage collector off; numbers are medians over all rounds. A call is one whole hypergradient, from phi to its
gradient; outer optimizers are not part of it. In brackets: times the first row.

Before a case is timed every variant computes its gradient in float64. Who is further than 1e-8 (differences:
5e-2), relative to the greatest entry, from plain autograd (from ours, eager, where autograd has no such
estimator) is not timed; *error* is the greatest such distance over all cases.

Libraries are used as their documents show, all seeds in one batch. Each gets the form of the game that is
fastest for it: the eager ones one LAPACK solve, ours, compiled, the solve written out, JAX both. `higher` is
given the epsilon that makes its Adam PyTorch's. On two cores JAX's pool is given four threads: with two, as
many as cores, version 0.10 waits for ever in a batched solve of 8192 systems."""

ABOUT_MEMORY = """\
Memory: the peak of resident memory while one hypergradient runs, above that of the process with the model and
everything loaded, each in a fresh process."""

ABOUT_GAMES = """\
A call plays K steps of every copy, and observes in every step. The coin game is given its actions and its
draws, so that all libraries play the same games, and their total rewards and a digest of all observations
are compared; the other games draw for themselves, in the time that is counted. A copy at a time means plain
Python and NumPy, on one core."""

ABOUT_WEIGHING = """\
A call is one whole training step on noisy digits with weights of samples (`SampleWeights`, 100 hidden units):
look ahead by one step, move the weights, take the model's step; where the model is first, it takes the step
that was looked at, and the weights move after it. Units up to 64 mean one hidden layer and batches of 64,
more two layers and batches of as many samples. The plain loop learns no weights; AuxiLearn's way, implicit
differentiation by a Neumann series, is another gradient: both are timed and not compared."""

ABOUT_COMPILING = """\
First calls of ours, compiled, with one thread, where packages are built one after the other: with an
empty folder of packages (tracing, exporting, the C++ compiler and the first hypergradient together), and in a
second process with the same folder; importing torch and the toolkit is not counted. The first row of the
second process also loads what every package needs, once per process. What finding and loading a package takes
is a call after the process has forgotten its packages, less a warm one: so nothing that torch loads at its
first use is counted."""

WHY = """\
Why targets are missed, as far as it is known:

* Whole runs of the dilemma, compiled: inner steps and hypergradient are one call of C, the outer update and
  the metrics another, together a fifth of the outer step; a quarter is 32 seeds' metrics as text, and the
  rest calls of Python and PyTorch around them. Reading 960 000 rows back for the figures takes another 4 s of
  a run of 30 000 outer steps, start-up and figures 5 s.
* Escape Room, compiling: PyTorch's compiler takes 22 s in Python alone for its three functions, and its C++
  takes the rest. Compiled, an outer step takes as long as it does eagerly, so that no run compiles it by
  itself.
* Targets that say "not measured" wait for the runs that the notes at the end name.
* Time at K = 1000 in bounded memory: each step is taken forward three times (on the way, again from a kept
  state, and inside its pull-back), where a plain unroll takes it once and writes 8 to 10 GB of fresh memory
  instead. Which is dearer depends on how fast the machine's memory is at the time: two runs gave 1.31
  and 1.37.
* Games: even through the sigmoid, tanh is a quarter of the policies' time, and matrix products a fifth; of
  cleanup, cutting out windows and taking their planes apart is half. Both depend on what else the machine
  does: within one minute the same commands ran at 5.1 and at 8.3 million with policies, at 1.1 and at 2.5
  for cleanup. Before tanh went through the sigmoid and planes were bytes, five runs gave 2.8 to 6.2 with
  policies, 2.7 to 4.1 with deeper ones, 1.06 to 2.00 for cleanup, 23.9 to 27.0 for the coin game (JAX 23.5
  to 37.7).
* The tuner: a plain step is three passes through the model, one forward and two back. A look ahead and the
  step after it are ten of them (forward, back, three for the validation batch, which is as large, two for the
  hypergradient, two for the step), and eight where the model is first: 3.3 and 2.7 times, as large networks
  show. In small ones calls cost more than passes, for autograd written out by hand as well. Three ways to
  save passes that were tried are in: losses shared by the look ahead and the step, pure rules in the place of
  lifted state, and parameters exchanged where they are held. Peaks of memory differ from run to run: another
  run gave 1.17 times higher's, before steps did without room for zeros.

Compiling varies with what else the machine does: other runs gave 64.6, 70.9 and 77.0 s for the slowest case,
cold."""

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
