"""Settings of `two-color-grid`."""

from __future__ import annotations

from dataclasses import dataclass

from bilevel.core import Range
from games.core import require


@dataclass(frozen=True, kw_only=True)
class TwoColorSettings:
    """Environment, actor-critic and self-tuning of `two-color-grid`.

    Raises:
        ValueError: a setting is out of range, or there are too few environment steps.

    >>> TwoColorSettings(environment_steps=200_000, swap_steps=50_000).steps
    1562
    >>> TwoColorSettings(target_steps=0)
    Traceback (most recent call last):
    ValueError: target_steps must be 1 or more, not 0.
    """

    environment_steps: int = 6_400_000
    """Environment steps of a seed, those of all its copies together."""
    swap_steps: int = 100_000
    """Environment steps of a seed after which the objects' rewards swap."""
    num_envs: int = 32
    """Copies of the environment for each seed, 1 or more."""
    rollout_steps: int = 4
    """Steps of each copy in an update, 1 or more."""
    hidden_size: int = 64
    """Units of the hidden layer of the policy and of the critic, 1 or more."""
    learning_rate: float = 2.0
    """Learning rate of gradient descent on the policy's loss, above 0."""
    value_learning_rate: float = 0.3
    """Learning rate of gradient descent on the critic's loss, above 0."""
    discount: float = 0.99
    """Discount of rewards, per step."""
    gae_lambda: float = 1.0
    """Lambda of the returns within a rollout, from 0 (one step, then the critic) to 1 (all steps)."""
    ent_coef: float = 0.07
    """Weight of the entropy where it is fixed, from 0 to 1."""
    initial_ent_coef: float = 0.07
    """Weight of the entropy with which tuning begins, above 0 and below 1."""
    memory: int = 10
    """Last rollouts whose mean rewards the meta-network sees, 1 or more."""
    weight_hidden_size: int = 32
    """Units of the hidden layer of the meta-network, 1 or more."""
    outer_learning_rate: float = 0.0003
    """Learning rate of Adam on the meta-network, above 0."""
    mgrl_steps: int = 15
    """Updates of an outer step of `mgrl`, all of them differentiated, 1 or more."""
    outer_ent_coef: float = 0.12
    """Weight of the entropy in the outer loss of `mgrl`, 0 or more."""
    inner_steps: int = 7
    """K: updates of an outer step of `bootstrapped` that are differentiated, 1 or more."""
    target_steps: int = 9
    """L: further updates to its target, of which the last has no entropy term, 1 or more."""

    def __post_init__(self) -> None:
        for name in (
            "swap_steps", "num_envs", "rollout_steps", "hidden_size", "memory", "weight_hidden_size",
            "mgrl_steps", "inner_steps", "target_steps",
        ):  # fmt: skip
            value = getattr(self, name)
            require(value >= 1, f"{name} must be 1 or more, not {value}.")
        for name in ("learning_rate", "value_learning_rate", "outer_learning_rate"):
            Range(above=0).require(name, getattr(self, name))
        for name in ("discount", "gae_lambda", "ent_coef"):
            Range(min=0, max=1).require(name, getattr(self, name))
        require(
            0 < self.initial_ent_coef < 1,
            f"initial_ent_coef must be above 0 and below 1, not {self.initial_ent_coef}.",
        )
        Range(min=0).require("outer_ent_coef", self.outer_ent_coef)
        longest = max(self.mgrl_steps, self.inner_steps + self.target_steps - 1)
        minimum = longest * self.update_steps
        require(
            self.environment_steps >= minimum,
            f"environment_steps must be {minimum} or more, not {self.environment_steps}: an outer step takes "
            f"{longest} updates of num_envs x rollout_steps = {self.update_steps} environment steps.",
        )

    @property
    def update_steps(self) -> int:
        """Environment steps of an update."""
        return self.num_envs * self.rollout_steps

    @property
    def steps(self) -> int:
        """Updates of a trial."""
        return self.environment_steps // self.update_steps
