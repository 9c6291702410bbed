"""Write docs/reference/tuner-scenarios.md: `python -m tests.bilevel.loss_weights.scenario_page`."""

from __future__ import annotations

import re
from pathlib import Path

from tests.bilevel.loss_weights.reference import ESTIMATORS, SCENARIOS, STEPS, Cell, found

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "tuner-scenarios.md"
HEAD = """# Scenarios of the tuner: right, or refused

Each row is a training loop as users write them; each column is an estimator of `LossWeightTuner`, with 1 and
with 3 virtual steps. **right**: the hypergradient agrees within 1e-6, relative to its largest entry, with
five-point central differences in float64 through torch's own optimizer and the user's own model; with an
outer learning rate of 0, the model, its optimizer and the random streams equal those of the plain loop bit
for bit. **refused**: the tuner raises one sentence, listed below the table, and leaves everything unchanged.
`implicit` is compared with differences of its own formula at the current model, `one-step` and
`finite-difference()` with the contribution of the last step alone, as documented. `evolution` is a random
estimate; other tests check its statistics.

This command measures all cells and writes the page:

```sh
python -m tests.bilevel.loss_weights.scenario_page
```

A test repeats the cells in which estimators differ.

"""
NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.])")


def cells(name: str) -> dict[str, list[Cell]]:
    """Estimator -> the outcome for each number of steps."""
    return {estimator: [found(name, estimator, steps) for steps in STEPS] for estimator in ESTIMATORS}


def row(name: str, outcomes: dict[str, list[Cell]]) -> str:
    """The line of the table."""
    return (
        f"| {name} | " + " | ".join(", ".join(c.outcome for c in each) for each in outcomes.values()) + " |"
    )


def sentence_of(cell: Cell) -> str:
    """The line of the list for a refusal; two that differ in a number are one."""
    return f"- {NUMBER.sub('N', cell.detail)}"


def refusals(outcomes: dict[str, dict[str, list[Cell]]]) -> list[str]:
    """Each sentence once."""
    all_cells = [cell for of in outcomes.values() for each in of.values() for cell in each]
    return sorted({sentence_of(cell) for cell in all_cells if cell.outcome == "refused"})


def page(outcomes: dict[str, dict[str, list[Cell]]]) -> str:
    """The whole page."""
    top = ["| Scenario | " + " | ".join(f"`{e}`" if "," not in e else e for e in ESTIMATORS) + " |"]
    top.append("|---" * (len(ESTIMATORS) + 1) + "|")
    rows = [row(name, of) for name, of in outcomes.items()]
    return (
        HEAD
        + "\n".join([*top, *rows, "", "## Error messages of refused scenarios", "", *refusals(outcomes)])
        + "\n"
    )


def main() -> None:
    """Write the page, and print what is neither right nor refused."""
    outcomes = {name: cells(name) for name in sorted(SCENARIOS)}
    for name, of in outcomes.items():
        for estimator, each in of.items():
            for steps, cell in zip(STEPS, each, strict=True):
                if cell.outcome not in ("right", "refused"):
                    print(f"{name}, {estimator}, {steps} steps: {cell.outcome}: {cell.detail}")
    PAGE.write_text(page(outcomes), encoding="utf-8")


if __name__ == "__main__":
    main()
