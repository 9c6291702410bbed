"""Write docs/reference/tuner-scenarios.md: `python -m tests.bilevel.loss_weights.scenario_page`."""

from __future__ import annotations

import re
from pathlib import Path

from tests.bilevel.loss_weights.reference import ESTIMATORS, SCENARIOS, STEPS, Cell, found

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "tuner-scenarios.md"
HEAD = """# Scenarios of the tuner: right, or refused

Each row is a training loop as users write them, each column an estimator of `LossWeightTuner`, for 1 virtual
step and for 3. **right**: the hypergradient is within 1e-6, relative to its largest entry, of five-point
central differences taken in float64 through torch's own optimizer on the user's own model, and with an outer
learning rate of 0 the model, its optimizer and the random streams are, bit for bit, those of the plain loop.
**refused**: one sentence, listed below the table, and nothing has changed. `implicit` is compared with
differences of its own formula at the model as it is, and `one-step` and `finite-difference()` with what the
last step alone contributes: that is what they promise. `evolution` is a random estimate, and is tested by its
statistics elsewhere.

The page is written from what is found by

```sh
python -m tests.bilevel.loss_weights.scenario_page
```

and a test finds the cells in which estimators differ anew, every time.

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
    return HEAD + "\n".join([*top, *rows, "", "## What refusals say", "", *refusals(outcomes)]) + "\n"


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
