# %% [markdown]
# # 9. Learning loss weights
#
# **A model is trained on a weighted sum of several losses. How do you choose the weights?**
#
# Often the weights are tuned by hand. But often there is also a small validation set that represents the
# *actual* objective: verified measurements, labels checked by an expert, the return of a policy. Then the
# weights can be learned from it while the model trains, by the hypergradient of lessons 1 and 2.
#
# The example: two sensors measure a quantity. One is *noisy*, and the mean of its measurements is somewhat
# too low; the other is precise, but *shifted*: its measurements are too high. A few measurements were
# verified. Which weight should the loss of each sensor have?

# %% tags=["setup"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("bilevel") is None:  # not installed yet, as in Colab
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "bilevel[lessons]"], check=True)

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from bilevel.lessons import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED
from bilevel.lessons import draw_band, explore, size, use_style
from bilevel.lessons.checks.learning_loss_weights import check_1, check_2, check_3
from bilevel.loss_weights import LossWeights, LossWeightTuner

use_style()
torch.set_default_dtype(torch.float64)

NOISY, SHIFTED, VERIFIED = (
    -0.3,
    1.0,
    0.0,
)  # means of both sensors, and of the verified measurements


def training_losses(theta, noisy=NOISY, shifted=SHIFTED):
    """The training losses of both sensors, [2]: half the squared errors."""
    return torch.stack(((theta - noisy) ** 2, (theta - shifted) ** 2)) / 2


def validation_loss(theta):
    """The actual objective: the error on the verified measurements."""
    return (theta - VERIFIED) ** 2 / 2


def learn(steps, rate=0.3, outer_rate=2.0, noisy=NOISY, shifted=SHIFTED):
    """Train the model and its loss weights, initially equal: theta, [step], and
    weights, [step, 2].
    """
    theta, phi, trajectory = torch.tensor(1.5), torch.zeros(2), []

    def step(theta, phi):
        """One gradient step on the weighted loss."""
        return theta - rate * torch.func.grad(
            lambda theta: phi.softmax(0) @ training_losses(theta, noisy, shifted)
        )(theta)

    def look_ahead(phi):
        """The validation loss after one step with these weights."""
        return validation_loss(step(theta, phi))

    for _ in range(steps):
        trajectory.append((theta, phi.softmax(0)))
        phi = phi - outer_rate * torch.func.grad(look_ahead)(
            phi
        )  # first update the weights,
        theta = step(theta, phi)  # then the model, with the new weights
    thetas, weights = zip(*trajectory, strict=True)
    return torch.stack(thetas), torch.stack(weights)


# %% [markdown]
# ## A picture of the answer
#
# Left: the validation loss as a function of the weights, for models that are trained to convergence. In
# practice this curve is not available: one training run per point would be too expensive. Dots: the weights
# during a single training run; they approach the minimum. Right: the weights and the model during training.


# %%
def draw(noisy, shifted, outer_rate, steps=size(120, fast=10)):
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
    mix = torch.linspace(0, 1, 101)
    left.plot(
        mix,
        validation_loss(mix * noisy + (1 - mix) * shifted),
        color=GRAY,
        label="converged model",
    )
    thetas, weights = learn(steps, outer_rate=outer_rate, noisy=noisy, shifted=shifted)
    ends = weights @ torch.tensor([noisy, shifted])
    left.plot(
        weights[::2, 0],
        validation_loss(ends)[::2],
        "o",
        color=BLUE,
        label="weights during training",
        markersize=5,
    )
    left.set(
        xlabel="weight of the noisy sensor", ylabel="validation loss", ylim=(-0.02, 0.6)
    )
    left.legend()
    right.plot(weights[:, 0], color=BLUE, label="weight of the noisy sensor")
    right.plot(
        weights[:, 1], color=AMBER, linestyle="--", label="weight of the shifted sensor"
    )
    right.plot(thetas, color=BLACK, linestyle=":", label="model $\\theta$ (target: 0)")
    right.set(xlabel="training step", ylabel="weight, model", ylim=(-0.8, 1.6))
    right.legend(loc="upper right")
    plt.show()


draw(NOISY, SHIFTED, outer_rate=0.5)
_, weights = learn(size(400, fast=10))
print(f"weight of the noisy sensor: learned {weights[-1, 0]:.4f},", end=" ")
print(f"optimal {(SHIFTED - VERIFIED) / (SHIFTED - NOISY):.4f}")

# %% [markdown]
# ## The idea in words
#
# A training step follows the weighted sum of the gradients of the losses. Before each step, *look ahead*:
# take the step on a copy of the model, evaluate the validation loss, and differentiate it with respect to
# the weights. The weight of a loss increases if its gradient step decreases the validation loss, and
# decreases otherwise. Then the model takes the step with the new weights. This is the hypergradient through
# $K = 1$ step, computed at every step.
#
# ## The key equation
#
# $\theta$ (theta) is the model, $r$ its learning rate, $L_k$ the training losses, $w_k$ their weights,
# $V$ the validation loss. The look-ahead step is $\theta' = \theta - r \sum_k w_k \nabla L_k(\theta)$. The
# chain rule gives
#
# $$\boxed{\ \frac{\partial V(\theta')}{\partial w_k} = -\,r\;\nabla V(\theta') \cdot \nabla L_k(\theta)\ }$$
#
# A dot product of two gradients: *does a gradient step on this loss also decrease the validation loss?* If
# the weights are functions of unconstrained outer variables $\varphi$ (phi), so that they stay positive
# (softplus) or sum to 1 (softmax, as here), the chain rule continues:
# $\partial V / \partial \varphi_j = \sum_k (\partial V / \partial w_k) (\partial w_k / \partial \varphi_j)$.
#
# ## From scratch
#
# `learn` above is the whole algorithm. Here is its first hypergradient, computed by hand:

# %%
theta, rate = torch.tensor(1.5), 0.3
weights = torch.zeros(2).softmax(0)
gradients = torch.func.jacrev(training_losses)(theta)  # of each loss
ahead = theta - rate * weights @ gradients
by_hand = -rate * torch.func.grad(validation_loss)(ahead) * gradients
by_autograd = torch.func.grad(lambda w: validation_loss(theta - rate * w @ gradients))(
    weights
)
print("boxed equation:", [round(float(value), 12) for value in by_hand])
print("autograd:      ", [round(float(value), 12) for value in by_autograd])

# %% [markdown]
# Both are negative: at 1.5 the gradient steps on both losses move $\theta$ toward the verified value 0. The
# derivative with respect to the weight of the noisy sensor is larger.
#
# ## The library's version
#
# `LossWeightTuner` wraps an existing training loop: any `nn.Module`, any `torch.optim` optimizer. It takes
# the losses as functions, because it evaluates them twice.


# %%
class Number(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.theta = torch.nn.Parameter(torch.tensor(1.5))


model = Number()
weights = LossWeights(["noisy", "shifted"], 0.5, "simplex")
tuner = LossWeightTuner(
    model,
    torch.optim.SGD(model.parameters(), lr=0.3),
    weights,
    torch.optim.SGD(weights.parameters(), lr=2.0),
)
found = []
for _ in range(50):
    found.append((model.theta.item(), weights.as_dict()["noisy"]))
    tuner.step(
        lambda: dict(
            zip(["noisy", "shifted"], training_losses(model.theta), strict=True)
        ),
        lambda: validation_loss(model.theta),
    )
thetas, weights = learn(50)
scratch = torch.stack((thetas, weights[:, 0]), -1)
print(f"after 49 steps, library: model {found[-1][0]:.10f}, weight {found[-1][1]:.10f}")
print(
    f"from scratch:            model {scratch[-1, 0]:.10f}, weight "
    f"{scratch[-1, 1]:.10f}"
)
print("equal in all steps:", torch.allclose(torch.tensor(found), scratch, atol=1e-9))

# %% [markdown]
# ## Play
#
# Change the means of the sensors and the learning rate of the weights. What happens if the measurements of
# *both* sensors are too high? If both are exact? Can the learning rate of the weights be too large?

# %%
explore(
    draw,
    noisy=(-1.0, 1.0, 0.1, 0.2),
    shifted=(0.0, 1.5, 0.1, 1.0),
    outer_rate=(0.0, 20.0, 0.5, 0.5),
)

# %% [markdown]
# If the true value does not lie between the sensors, no weights reach it; then one weight converges to 1,
# more and more slowly. Note that the verified measurements determine the weights, so that a *third* data
# set is needed to evaluate the model.
#
# ## Other weightings
#
# Now a network with 97 parameters and 4 inputs is trained on batches from both sensors. There are 50 verified
# measurements, and a separate test set. The baselines are fixed weights, a hand-tuned schedule (linear, from
# the shifted sensor to the noisy one), and *uncertainty weighting*, a well-known method that uses only the
# training losses.

# %%
from torch.nn.functional import mse_loss

from bilevel.experiments import interquartile_interval
from bilevel.loss_weights import FixedWeights, LinearWeights, ScheduledLossWeights
from bilevel.loss_weights import Trainer, Uncertainty

NAMES, STEPS, SEEDS = ["noisy", "shifted"], size(300, fast=4), size(5, fast=3)
WEIGHTINGS = {
    "equal": lambda: FixedWeights({"noisy": 0.5, "shifted": 0.5}),
    "noisy only": lambda: FixedWeights({"noisy": 1.0, "shifted": 0.0}),
    "hand-tuned schedule": lambda: LinearWeights(
        {"noisy": (0.0, 1.0, STEPS), "shifted": (1.0, 0.0, STEPS)}
    ),
    "uncertainty": lambda: Uncertainty(NAMES),
    "learned": lambda: LossWeights(NAMES, 0.5, "simplex"),
    "learned schedule": lambda: ScheduledLossWeights(
        NAMES, (0, STEPS // 2, STEPS), 0.5, "simplex"
    ),
}


def sensors(seed, noise=1.0, shift=1.0):
    """A function that samples training batches, the verified measurements, and test
    data.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    first, second = normal(4, 8), normal(8, 1)

    def truth(x):
        return (x @ first / 2).tanh() @ second / 2

    def batch():
        x = normal(64, 4)
        return x, {
            "noisy": truth(x) + noise * normal(64, 1),
            "shifted": truth(x) + shift,
        }

    verified, test = normal(50, 4), normal(500, 4)
    return batch, (verified, truth(verified)), (test, truth(test))


def train(weighting, seed):
    """The final test error, and the normalized weight of the noisy sensor during
    training.
    """
    batch, verified, test = sensors(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # torch's layers take no generator
        model = torch.nn.Sequential(
            torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)
        )
    optimizer, weights = (
        torch.optim.Adam(model.parameters(), lr=0.02),
        WEIGHTINGS[weighting](),
    )
    outer_variables = list(weights.parameters())
    outer = torch.optim.Adam(outer_variables, lr=0.05) if outer_variables else None
    if "learned" in weighting:
        # "directional": the boxed gradient by forward mode, exact
        trainer = LossWeightTuner(
            model, optimizer, weights, outer, estimator="directional"
        )
    else:
        trainer = Trainer(optimizer, weights, outer)
    trajectory = []
    for _ in range(STEPS):
        x, measured = batch()
        values = weights.as_dict()
        trajectory.append(values["noisy"] / sum(values.values()))
        trainer.step(
            lambda: {name: mse_loss(model(x), measured[name]) for name in NAMES},
            lambda: mse_loss(model(verified[0]), verified[1]),
        )
    return mse_loss(model(test[0]), test[1]).item(), trajectory


runs = {name: [train(name, seed) for seed in range(SEEDS)] for name in WEIGHTINGS}


# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
COLORS = (GRAY, BLACK, AMBER, RED, BLUE, GREEN)
DASHES = (":", "-.", (0, (6, 2)), (0, (3, 1, 1, 1)), "-", "--")
for row, (name, color, dashes) in enumerate(
    zip(WEIGHTINGS, COLORS, DASHES, strict=True)
):
    errors = np.array([error for error, _ in runs[name]])
    left.plot(errors, [row] * SEEDS, "|", color=color, markersize=14, markeredgewidth=2)
    weight = np.array([trajectory for _, trajectory in runs[name]]).T
    draw_band(right, range(STEPS), weight, label=name, color=color, linestyle=dashes)
left.set(yticks=range(len(WEIGHTINGS)), yticklabels=list(WEIGHTINGS), xscale="log")
left.set(xlabel="test error (mean squared error, one mark per seed)")
left.invert_yaxis()
right.set(
    xlabel="training step", ylabel="normalized weight, noisy sensor", ylim=(-0.05, 1.05)
)
figure.legend(*right.get_legend_handles_labels(), ncols=3, loc="outside upper center")
plt.show()
for name in WEIGHTINGS:
    interval = interquartile_interval(np.array([error for error, _ in runs[name]]))
    print(
        f"{name:20} test error {interval.estimate:.3f} [{interval.low:.3f}, "
        f"{interval.high:.3f}]"
    )

# %% [markdown]
# (Interquartile means over 5 seeds with 95 % intervals.)
#
# * A weighting that uses only the training losses cannot detect that a sensor is *biased*. Uncertainty
#   weighting prefers the loss that is easy to fit, that of the shifted sensor, and its test error is about
#   1, the squared shift.
# * Learned weights increase the weight of the noisy sensor, which is unbiased, and have about the same test
#   error as `noisy only`.
# * They are not better than the hand-tuned schedule, which uses knowledge of the problem: first the sensor
#   without noise (a good initialization), then the unbiased one. A learned schedule could do the same, but
#   does not: within the one step of the look-ahead, the shifted sensor has no advantage. So its weights are
#   about the same as the learned weights.
#
# ## Noisy labels: a weight for each sample
#
# So far there were two weights. Now *each sample* has a weight: in scikit-learn's digits data set, 400 of the
# 1000 training labels are replaced by wrong ones. The labels of 100 more images are verified. A small network
# maps the loss of a sample to its weight (Meta-Weight-Net), and is trained by the same look-ahead gradient.

# %%
from bilevel.tasks import NoisyDigits, NoisyDigitsSettings

torch.set_default_dtype(torch.float32)
digits, settings = NoisyDigits(), NoisyDigitsSettings(steps=size(500, fast=60))
METHODS = ("uniform", "early-stopping", "clean-set-alone", "learned", "clean")
trials = {
    method: [
        digits.run(settings, method, seed, lambda part: None)
        for seed in range(size(4, fast=3))
    ]
    for method in METHODS
}


# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
arrays = [trial.arrays for trial in trials["learned"]]
wrong = np.concatenate([trial["wrong"] for trial in arrays])
weight = np.concatenate([trial["weights"] for trial in arrays])
for mask, color, hatch, label in (
    (~wrong, GREEN, "", "correct label"),
    (wrong, RED, "///", "wrong label"),
):
    some = weight[mask & ~np.isnan(weight)]
    bins = np.linspace(0, 3, 31)
    percent = np.full(len(some), 100 / len(some))
    left.hist(
        some.clip(max=3),
        bins,
        weights=percent,
        color=color,
        alpha=0.6,
        hatch=hatch,
        label=label,
    )
left.set(
    xlabel="learned weight (batch mean: 1)",
    ylabel="fraction of the samples (%)",
    yscale="log",
)
left.legend()
ACCURACY = "test accuracy (%)"
for method, color, dashes in (
    ("uniform", RED, ":"),
    ("clean-set-alone", AMBER, "--"),
    ("learned", BLUE, "-"),
):
    at = trials[method][0].curves[f"{ACCURACY} at"]
    curve = np.array([trial.curves[ACCURACY] for trial in trials[method]]).T
    draw_band(right, at, curve, label=method, color=color, linestyle=dashes)
right.set(xlabel="training step", ylabel=ACCURACY, ylim=(60, 100))
right.legend(loc="lower right")
plt.show()
for method in METHODS:
    interval = interquartile_interval(
        np.array([trial.measures[ACCURACY] for trial in trials[method]])
    )
    print(
        f"{method:16} test accuracy {interval.estimate:.1f} % [{interval.low:.1f}, "
        f"{interval.high:.1f}]"
    )

# %% [markdown]
# `uniform` memorizes the wrong labels: its test accuracy rises, then falls. `learned` uses 100 images more
# than `uniform`, so this comparison is unfair. The fair baselines use these 100 images, too:
# `clean-set-alone` trains on them only, and `early-stopping` uses them as a validation set. `clean` is an
# upper bound: the wrong labels are known and removed. The table with 20 seeds, 600 steps and two more
# baselines is in `docs/studies/tasks.md`; its command is `bilevel tune noisy-digits --seeds 20`.
#
# ## A world model, end to end
#
# In the last example the losses are of different kinds. An agent observes images of a pole on a cart. An
# autoencoder encodes them as *latents* (a reconstruction loss), a recurrent network predicts the next
# latents (a dynamics loss), and an actor-critic controller acts on both (a policy loss and a value loss). The
# policy loss solves the problem of *credit assignment*: which actions caused the later rewards? It weights
# the log-probability of each action by an estimate of its advantage, here *generalized advantage estimation*
# (GAE), which sums temporal-difference errors with weights that decay over time. All losses act on shared
# parameters. Which weight should each have? The actual objective is the *return*, so the validation loss is
# the policy loss on rollouts that were not used for the step.
#
# This run is tiny, so that it fits into a lesson: only the weights are meaningful, not the returns.

# %%
from bilevel.tasks.world_model import WorldModelSettings, WorldModelTask

tiny = WorldModelSettings(
    environment_steps=size(1024, fast=64),
    num_envs=size(4, fast=2),
    rollout_steps=size(32, fast=8),
    evaluations=4,
    evaluation_episodes=size(4, fast=1),
)
world = WorldModelTask()
runs = [world.run(tiny, "learned", seed, lambda part: None) for seed in range(3)]


# %% tags=["hide-input"]
figure, axes = plt.subplots()
LINES = zip(
    tiny.losses, (GREEN, PURPLE, BLUE, AMBER), ("-", "--", "-.", ":"), strict=True
)
for name, color, dashes in LINES:
    at = runs[0].curves[f"weight of {name} at"]
    weight = np.array([run.curves[f"weight of {name}"] for run in runs]).T
    draw_band(axes, at, weight, label=name, color=color, linestyle=dashes)
axes.set(xlabel="environment steps", ylabel="learned weight")
axes.legend(title="loss", loc="upper left", bbox_to_anchor=(1.0, 1.0))
plt.show()

# %% [markdown]
# `bilevel tune world-model --seed 1 --seeds 10` trains for 12 times as long, and compares with weights set
# by hand, a published schedule and staged training; the table is in `docs/studies/world-model.md`. In
# short: learned weights were clearly better than equal weights (a return of 90 against 56). Ten seeds could
# not tell whether they are better than the best of five hand-tuned settings (a difference of 8, from -23 to
# 86). A power calculation asked for 97 seeds: with 100 new ones the difference is 19, from 6 to 34. The two
# hand-tuned settings that were better than equal weights have a low weight of the dynamics loss, and so had
# the learned weights at the end. The schedule, which reduces the weight of the reconstruction loss, was not
# better than equal weights.
#
# ## Exercises
#
# **Exercise 1 (the boxed equation).** `validation_gradient` is $\nabla V(\theta')$, [parameter];
# `loss_gradients` are the $\nabla L_k(\theta)$, [loss, parameter]; `rate` is $r$. Return the derivative of
# $V(\theta')$ in each weight, [loss].


# %% tags=["exercise-1"]
def slopes(validation_gradient, loss_gradients, rate):
    return ...


# %% tags=["check-1"]
check_1(slopes)

# %% [markdown]
# **Exercise 2 (learning to reweight).** This method has no outer state: it computes the weights from the
# derivatives `slopes` of exercise 1 in each step. Start from weights 0, take one gradient step with learning
# rate 1 on $V$, clamp negative weights to 0, and divide by the sum, so that the weights sum to 1. If no loss
# decreases $V$, all weights are 0.


# %% tags=["exercise-2"]
def reweight(slopes):
    return ...


# %% tags=["check-2"]
check_2(reweight)

# %% [markdown]
# **Exercise 3 (sample weights).** Linear regression: $\theta$ has shape [input]; sample $i$ has
# the loss $\frac12 (x_i \cdot \theta - y_i)^2$, and the step minimizes the *sum* of $w_i$ times that. $V$
# is the mean of the same loss over verified samples. Return the derivative of $V(\theta')$ in each $w_i$ at
# $w = 0$, [sample]. Then think: which sign does a sample with a wrong label tend to have?


# %% tags=["exercise-3"]
def sample_slopes(theta, x, y, x_verified, y_verified, rate):
    return ...


# %% tags=["check-3"]
check_3(sample_slopes)

# %% [markdown]
# **For discussion.** (a) An auxiliary loss trains features that are useful only a thousand steps later.
# Which weight will it get, and which estimator of lesson 1 would be better? (b) Adam divides each gradient
# by its size. What is the effect of a factor that multiplies *all* losses? (c) You have 100 verified
# images. How many would you use to learn the weights, how many for training, and how many for testing?
#
# ## What to read
#
# * `docs/how-to/loss-weights.md`: five lines around your own loop, all options, and the limitations.
#   `docs/studies/tasks.md`: noisy digits, and a task of your own.
# * Ren and others, *Learning to reweight examples for robust deep learning*, arXiv 1803.09050. Shu and
#   others, *Meta-Weight-Net*, arXiv 1902.07379. Liu and others, *DARTS*, arXiv 1806.09055: the same
#   look-ahead gradient.
# * Kendall and others, *Multi-task learning using uncertainty*, arXiv 1705.07115: the baseline above.
# * Wu and others, *Understanding short-horizon bias*, arXiv 1803.02021: what a one-step look-ahead misses.
# * Ha and Schmidhuber, *World models*, arXiv 1803.10122.
# * Next: `10_your_own_game_and_method`.
