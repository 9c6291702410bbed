"""Metrics of a run as trackers group them: charts/, losses/, sharing/ and seeds/."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from bilevel.experiments import interquartile_mean
from bilevel.methods import Metrics

MOST_SEEDS = 32
"""Maximum number of seeds whose own welfare is tracked."""
RETURN = re.compile(r"return_(\d+)")
SHARING = re.compile(r"(share|incentive|given|given_away|transfer|paid|moved|contract_payment)(_\d+)*")


def tracked_metrics(metrics: Metrics, first_seed: int = 0) -> dict[str, float]:
    """Reduce the metrics of an outer step to numbers, with the names that trackers group by.

    Each is an interquartile mean over seeds. `charts/episodic_return` is the mean over agents, and
    `charts/episodic_return_0` that of one agent; `seeds/welfare_7` is the welfare of one random seed, for up
    to 32 seeds. Metrics that are arrays, such as the shares of many agents, are left out.

    Args:
        metrics: name -> values, float [seed, ...].
        first_seed: random seed of the first.

    Returns:
        Name -> number.

    >>> tracked_metrics({"welfare": torch.ones(2), "return_0": torch.ones(2), "meta_loss": torch.zeros(2)})
    {'charts/welfare': 1.0, 'charts/episodic_return_0': 1.0, 'losses/meta_loss': 0.0,
     'charts/episodic_return': 1.0, 'seeds/welfare_0': 1.0, 'seeds/welfare_1': 1.0}
    """
    scalars = {name: values for name, values in metrics.items() if values.dim() == 1}
    table = torch.stack([values.double() for values in scalars.values()]).cpu().numpy()  # one transfer
    means = dict(zip(scalars, interquartile_mean(table).tolist(), strict=True))
    found = {_named(name): value for name, value in means.items()}
    returns = [value for name, value in means.items() if RETURN.fullmatch(name)]
    if returns:
        found["charts/episodic_return"] = sum(returns) / len(returns)
    if "welfare" in scalars:
        seeds = table[list(scalars).index("welfare")].tolist()[:MOST_SEEDS]
        found |= {f"seeds/welfare_{first_seed + index}": value for index, value in enumerate(seeds)}
    return found


def final_metrics(final: Mapping[str, float]) -> dict[str, float]:
    """Name the measurements of the final policies.

    >>> final_metrics({"welfare": 1.0})
    {'final/welfare': 1.0}
    """
    return {f"final/{name}": value for name, value in final.items()}


def _named(name: str) -> str:
    matched = RETURN.fullmatch(name)
    if matched is not None:
        return f"charts/episodic_return_{matched[1]}"
    if "loss" in name:
        return f"losses/{name}"
    return f"sharing/{name}" if SHARING.fullmatch(name) else f"charts/{name}"
