"""Settings of the task `world-model`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bilevel.core import Range
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
    """Observed part of a rendered image: first row, end of rows, first column, end of columns."""
    downsample: int = 15
    """Side of the squares of pixels that are averaged into one; it divides both sides of the crop."""
    contrast: float = 3.0
    """Factor on the darkness of pixels, which is from 0 to 1."""
    environment_steps: int = 12_288
    """Environment steps of a training run, over all environments."""
    num_envs: int = 8
    """Number of parallel environments, even: one half trains while the other validates."""
    rollout_steps: int = 32
    """Steps of each environment per rollout, 2 or more; the window of backpropagation through time."""
    update_epochs: int = 4
    """Passes over each rollout."""

    latents: Literal["gaussian", "categorical"] = "gaussian"
    """Reparameterized Gaussians, or one-hot categories with straight-through gradients."""
    latent_size: int = 16
    """Dimensions of a Gaussian latent, or variables of a categorical one."""
    num_classes: int = 8
    """Classes of each categorical variable."""
    hidden_size: int = 64
    """Units of the hidden layers of encoder and decoder."""
    recurrent_size: int = 32
    """Units of the recurrent network."""
    num_mixtures: int = 3
    """Gaussians in the mixture that predicts the next latent."""
    controller_hidden_size: int = 32
    """Units of the controller's hidden layer; 0: a linear controller."""
    bptt_steps: int | None = None
    """Steps after which backpropagation through time is truncated; None: the whole rollout."""
    policy_gradient: Literal["real", "imagined", "both"] = "real"
    """REINFORCE on rollouts in the environment, the gradient through imagined rollouts, or their sum."""
    imagined_steps: int = 8
    """Steps of an imagined rollout."""
    value_head: bool = True
    """Learn a value head, used as a baseline and to bootstrap at the end of a rollout."""
    contrastive: bool = False
    """Add an InfoNCE loss between the latents of consecutive images."""
    temperature: float = 0.1
    """Temperature of InfoNCE."""

    learning_rate: float = 5e-3
    """Learning rate of Adam, for the whole model."""
    max_norm: float | None = 1.0
    """Maximum norm of the gradient; None: no limit."""
    max_value: float | None = None
    """Maximum absolute value of a gradient's entries; None: no limit."""
    discount: float = 0.98
    """Discount of rewards, per step."""
    gae_lambda: float = 0.95
    """Lambda of generalized advantage estimation, with a value head."""
    clip_coef: float = 0.2
    """PPO's clipping coefficient of the policy's ratio."""
    ent_coef: float = 0.01
    """Coefficient of the policy's entropy bonus; advantages are normalized."""
    kl_coef: float = 0.01
    """Coefficient of the KL divergence of latents from their prior, in the reconstruction loss."""
    outer_learning_rate: float = 0.05
    """Learning rate of Adam on the learned weights."""
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
            "downsample", "environment_steps", "num_envs", "update_epochs", "latent_size", "num_classes",
            "hidden_size", "recurrent_size", "num_mixtures", "imagined_steps", "evaluations",
            "evaluation_episodes",
        )  # fmt: skip
        for name in whole:
            value = getattr(self, name)
            require(value >= 1, f"{name} must be 1 or more, not {value}.")
        require(
            self.rollout_steps >= 2,
            f"rollout_steps must be 2 or more, not {self.rollout_steps}: the step that restarts an episode "
            "trains nothing.",
        )
        require(self.controller_hidden_size >= 0, "controller_hidden_size must be 0 (linear) or more.")
        require(
            self.bptt_steps is None or self.bptt_steps >= 1,
            f"bptt_steps must be 1 step or more, or None for none, not {self.bptt_steps}.",
        )
        require(
            self.num_envs % 2 == 0, f"num_envs must be an even number, not {self.num_envs}: half validate."
        )
        require(self.evaluations % 4 == 0, f"evaluations must be a multiple of 4, not {self.evaluations}.")
        minimum = self.num_envs * self.rollout_steps * self.evaluations
        require(
            self.environment_steps >= minimum,
            f"environment_steps must be num_envs x rollout_steps x evaluations = {minimum} or more, not "
            f"{self.environment_steps}: there is at least one rollout between two evaluations.",
        )
        for name in ("temperature", "contrast", "learning_rate"):
            Range(above=0).require(name, getattr(self, name))
        for name in ("ent_coef", "kl_coef", "outer_learning_rate", "clip_coef"):
            Range(min=0).require(name, getattr(self, name))
        for name in ("discount", "gae_lambda"):
            Range(min=0, max=1).require(name, getattr(self, name))
        top, bottom, left, right = self.crop
        require(
            0 <= top < bottom
            and 0 <= left < right
            and (bottom - top) % self.downsample == 0
            and (right - left) % self.downsample == 0,
            f"crop is (first row, end of rows, first column, end of columns), its sides multiples of "
            f"downsample, {self.downsample}; not {self.crop}.",
        )
        for name in ("max_norm", "max_value"):
            limit = getattr(self, name)
            require(limit is None or limit > 0, f"{name} must be above 0, or None, not {limit}.")

    @property
    def picture(self) -> tuple[int, int]:
        """Rows and columns of a down-scaled picture."""
        top, bottom, left, right = self.crop
        return (bottom - top) // self.downsample, (right - left) // self.downsample

    @property
    def steps(self) -> int:
        """Training steps: rollouts of all copies within the environment's steps."""
        return self.environment_steps // (self.num_envs * self.rollout_steps)

    @property
    def return_scale(self) -> float:
        """Discounted return of a reward of 1 in every step of a window."""
        return 1 / max(1 - self.discount, 1 / self.rollout_steps)

    @property
    def losses(self) -> tuple[str, ...]:
        """The names of the weighted losses."""
        optional = (("value", self.value_head), ("contrastive", self.contrastive))
        return ("reconstruction", "dynamics", "policy", *(name for name, there in optional if there))
