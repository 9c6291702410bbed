"""Outer steps per second against the number of seeds on a GPU, beside the same run in JAX.

    python -m tests.benchmarks.gpu --seeds 1 32 1024

JAX needs its packages for the GPU: `pip install "jax[cuda12]"`. Each number is from a run of the whole
command, which writes its metrics to a file, as a user would start it; `--device cpu` prints the same table
without a GPU.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
import tyro

from tests.benchmarks.measure.machine import describe
from tests.benchmarks.measure.whole_runs import Job, RunError, Where, run
from tests.benchmarks.whole_runs import COMPILED, EAGER, Command, WholeRuns

Game = Literal["repeated-prisoners-dilemma", "escape-room", "coin-game"]
SCRIPTS: dict[Game, str] = {
    "repeated-prisoners-dilemma": "jax_dilemma",
    "escape-room": "jax_escape_room",
    "coin-game": "jax_coin_game",
}
"""Game -> the module of `peers.scripts` that trains it in JAX."""
LONGEST = 1_000_000
"""Outer steps that no run reaches: runs are stopped by their time."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """Print a table: outer steps per second of ours and of JAX, for each game and number of seeds."""

    games: tuple[Game, ...] = get_args(Game)
    """Which games."""
    seeds: tuple[int, ...] = (1, 32, 1024, 16_384)
    """Numbers of seeds in one batch."""
    seconds: float = 60.0
    """How long each run lasts, with its start."""
    device: Literal["cuda", "cpu"] = "cuda"
    """Where both compute; of several GPUs the first one that CUDA_VISIBLE_DEVICES names."""
    compile: bool = False
    """A column with `--compile always` as well; packages of the sampled games take minutes to build."""


def main(gpu: Gpu) -> int:
    """Measure, and print the table row by row; gives the exit code."""
    if gpu.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "torch finds no CUDA device here; `--device cpu` prints the same table for the processor."
        )
    about = describe(f"python -m tests.benchmarks.gpu {' '.join(sys.argv[1:])}".strip())
    name = torch.cuda.get_device_name() if gpu.device == "cuda" else about["processor"]
    print(f"{name}, torch {torch.__version__}, JAX {about['versions']['jax']}, commit {about['commit']}\n")
    # Or JAX would take the processor without a word where it has no package for the GPU.
    os.environ["JAX_PLATFORMS"] = gpu.device
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    ways = [("eager", EAGER), *([("compiled", COMPILED)] if gpu.compile else [])]
    columns = [*(f"ours, {way}" for way, _ in ways), "JAX by hand"]
    print(f"| game | seeds | {' | '.join(columns)} |\n|---|{'---:|' * (1 + len(columns))}", flush=True)
    notes: list[str] = []
    for game in gpu.games:
        for seeds in gpu.seeds:
            size = ("--seeds", str(seeds))
            commands = [
                *(
                    Command(
                        name=f"ours, {way}", library="ours", options=(*size, "--device", gpu.device, *options)
                    )
                    for way, options in ways
                ),
                Command(name="JAX by hand", library="JAX", script=SCRIPTS[game], options=size),
            ]
            found = [steps_per_second(game, command, gpu.seconds, notes) for command in commands]
            print(f"| {game} | {seeds} | {' | '.join(found)} |", flush=True)
    print(*dict.fromkeys(notes), sep="\n")
    return 0


def steps_per_second(game: Game, command: Command, seconds: float, notes: list[str]) -> str:
    """Make one run, and give its outer steps per second, or "-", with a note that says why."""
    reason = command.missing()
    if reason is None:
        runs = WholeRuns(
            name="GPU", title="", game=game, commands=[command], short=0, limit=seconds, long_limit=seconds
        )
        try:
            row = run(runs, Job(command, LONGEST, 0), Where(caches=Path()), short=False)
        except RunError as error:
            reason = str(error)
        else:
            if row["step"] is not None:
                return f"{1 / row['step']:.3g}"
            reason = f"fewer than two outer steps in {seconds:g} s"
    notes.append(f"{command.name} on {game}: {reason}.")
    return "-"


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Gpu, description=__doc__)))
