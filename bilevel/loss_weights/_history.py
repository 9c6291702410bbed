"""What was learned, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from games.core import require


class ScalarWriter(Protocol):
    """What TensorBoard's SummaryWriter is, as far as it is needed."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> Any:
        """Write one number."""


class History:
    """The learned values after each outer step, and the validation loss that they were learned from, if any.

    >>> history = History()
    >>> history.add(1, {"label": 1.0}, 0.5)
    >>> history.values["label"], history.validation_loss
    ([1.0], [0.5])
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.values: dict[str, list[float]] = {}
        self.validation_loss: list[float | None] = []

    def add(self, step: int, values: Mapping[str, float], validation_loss: float | None) -> None:
        """Write down one outer step."""
        self.steps.append(step)
        self.validation_loss.append(validation_loss)
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)

    def write_to(self, writer: ScalarWriter, prefix: str = "learned") -> None:
        """Hand the last outer step to TensorBoard's SummaryWriter, or to anything with its `add_scalar`.

        Raises:
            ValueError: there was no outer step yet.
        """
        require(len(self.steps) > 0, "There is nothing to write yet: no outer step was taken.")
        for name, values in self.values.items():
            writer.add_scalar(f"{prefix}/{name}", values[-1], self.steps[-1])
        if (loss := self.validation_loss[-1]) is not None:
            writer.add_scalar(f"{prefix}/validation loss", loss, self.steps[-1])

    def state_dict(self) -> dict[str, Any]:
        """Copies of all that is written down."""
        values = {name: list(numbers) for name, numbers in self.values.items()}
        return {"steps": list(self.steps), "values": values, "validation_loss": list(self.validation_loss)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from such copies."""
        self.steps = list(state["steps"])
        self.values = {name: list(numbers) for name, numbers in state["values"].items()}
        self.validation_loss = list(state["validation_loss"])
