"""The largest numbers that settings of runs take."""

from __future__ import annotations

MOST_SEEDS = 1_000_000
LARGEST_SEED = 2**63 - MOST_SEEDS
"""Random seeds are 64-bit numbers, the last one of a run, too."""
MOST_THREADS = 1024
"""OpenMP dies without a word of very many."""
