"""Settings of the task `world-model`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bilevel.core import Range, require_number
from games.core import require, require_name

LATENTS = ("gaussian", "categorical")
GRADIENTS = ("real", "imagined", "both")
EstimatorName = Literal["unrolled", "directional", "finite-difference"]


@dataclass(frozen=True, kw_only=True)
class WorldModelSettings:
    """Settings of the task `world-model`.

    Raises:
        ValueError: a setting is out of range.

    >>> settings = WorldModelSettings(value_head=False)
    >>> settings.losses, settings.picture  # rows, columns
    (('reconstruction', 'dynamics', 'policy'), (8, 40))
    """

    environment: str = "CartPole-v1"
    """A Gymnasium environment with discrete actions that renders as `rgb_array`."""
    crop: tuple[int, int, int, int] = (170, 290, 0, 600)
    """The observed part of a rendered picture: first row, end of rows, first column, end of columns."""
    shrink: int = 15
    """Side of the squares of pixels averaged into one; both sides of the crop are multiples of it."""
    contrast: float = 3.0
    """Factor of darkness, which is from 0 to 1."""
    environment_steps: int = 12_288
    """Environment steps of a training, over all copies."""
    copies: int = 8
    """Copies of the environment in a batch; an even number."""
    window: int = 32
    """Steps of each copy between two trainings, 2 or more; the reach of back-propagation through time."""
    epochs: int = 4
    """Passes over each roll-out."""

    latents: Literal["gaussian", "categorical"] = "gaussian"
    """Reparameterized Gaussians, or one-hot categories with straight-through gradients."""
    latent_size: int = 16
    """Gaussian numbers, or categorical variables, of a latent."""
    classes: int = 8
    """Classes of each categorical variable."""
    hidden: int = 64
    """Units of the hidden layers of encoder and decoder."""
    recurrent_size: int = 32
    """Units of the recurrent network."""
    mixtures: int = 3
    """Gaussians in the mixture that predicts the next latent."""
    controller_hidden: int = 32
    """Units of the controller's hidden layer; 0: a linear controller."""
    truncate: int | None = None
    """Steps after which back-propagation through time is truncated; None: the whole window."""
    policy_gradient: Literal["real", "imagined", "both"] = "real"
    """REINFORCE on roll-outs in the environment, the gradient through imagined ones, or their sum."""
    imagined_steps: int = 8
    """Steps of an imagined roll-out."""
    value_head: bool = True
    """Learn a value from latent and hidden state: a baseline, and the value after a roll-out."""
    contrastive: bool = False
    """Add InfoNCE between the latents of neighbouring frames to the losses."""
    temperature: float = 0.1
    """Temperature of InfoNCE."""

    learning_rate: float = 5e-3
    """Learning rate of Adam, for the whole model."""
    max_norm: float | None = 1.0
    """Maximal norm of the gradient; None: no limit."""
    max_value: float | None = None
    """Maximal absolute value of a gradient's entries; None: no limit."""
    discount: float = 0.98
    """Discount of rewards, per step."""
    gae_lambda: float = 0.95
    """Lambda of generalized advantage estimation, with a value head."""
    clip_coef: float = 0.2
    """PPO's clipping coefficient of the policy's ratio."""
    ent_coef: float = 0.01
    """Coefficient of the policy's entropy, beside normalized advantages."""
    kl_coef: float = 0.01
    """Coefficient of the latents' divergence from their prior, beside squared errors of pixels."""
    outer_learning_rate: float = 0.05
    """Learning rate of Adam, for learned weights."""
    estimator: EstimatorName = "directional"
    """Estimator of the hypergradient."""
    evaluations: int = 16
    """Evaluations of the policy on fresh episodes, evenly spread; a multiple of 4."""
    evaluation_episodes: int = 8
    """Fresh episodes of each evaluation."""

    def __post_init__(self) -> None:
        require_name(self.latents, LATENTS, "kind of latents")
        require_name(self.policy_gradient, GRADIENTS, "policy gradient")
        whole = (
            "shrink", "environment_steps", "copies", "epochs", "latent_size", "classes", "hidden",
            "recurrent_size", "mixtures", "imagined_steps", "evaluations", "evaluation_episodes",
        )  # fmt: skip
        for name in whole:
            value = getattr(self, name)
            require(value >= 1, f"{name} must be 1 or more, not {value}.")
        require(
            self.window >= 2,
            f"window must be 2 or more, not {self.window}: the step that restarts an episode trains nothing.",
        )
        require(self.controller_hidden >= 0, "controller_hidden must be 0 (linear) or more.")
        require(
            self.truncate is None or self.truncate >= 1,
            f"truncate must be 1 step or more, or None for none, not {self.truncate}.",
        )
        require(self.copies % 2 == 0, f"copies must be an even number, not {self.copies}: half validate.")
        require(self.evaluations % 4 == 0, f"evaluations must be a multiple of 4, not {self.evaluations}.")
        minimum = self.copies * self.window * self.evaluations
        require(
            self.environment_steps >= minimum,
            f"environment_steps must be copies x window x evaluations = {minimum} or more, not "
            f"{self.environment_steps}: there is at least one roll-out between two evaluations.",
        )
        for name in ("temperature", "contrast", "learning_rate"):
            require_number(name, getattr(self, name), above=0)
        for name in ("ent_coef", "kl_coef", "outer_learning_rate", "clip_coef"):
            require_number(name, getattr(self, name), least=0)
        for name in ("discount", "gae_lambda"):
            Range(least=0, most=1).require(name, getattr(self, name))
        top, bottom, left, right = self.crop
        require(
            0 <= top < bottom
            and 0 <= left < right
            and (bottom - top) % self.shrink == 0
            and (right - left) % self.shrink == 0,
            f"crop is (first row, end of rows, first column, end of columns), its sides multiples of shrink, "
            f"{self.shrink}; not {self.crop}.",
        )
        for name in ("max_norm", "max_value"):
            limit = getattr(self, name)
            require(limit is None or limit > 0, f"{name} must be above 0, or None, not {limit}.")

    @property
    def picture(self) -> tuple[int, int]:
        """Rows and columns of a down-scaled picture."""
        top, bottom, left, right = self.crop
        return (bottom - top) // self.shrink, (right - left) // self.shrink

    @property
    def batches(self) -> int:
        """Roll-outs of all copies within the environment's steps."""
        return self.environment_steps // (self.copies * self.window)

    @property
    def return_scale(self) -> float:
        """Discounted return of a reward of 1 in every step of a window."""
        return 1 / max(1 - self.discount, 1 / self.window)

    @property
    def losses(self) -> tuple[str, ...]:
        """The names of the weighted losses."""
        optional = (("value", self.value_head), ("contrastive", self.contrastive))
        return ("reconstruction", "dynamics", "policy", *(name for name, there in optional if there))
