# %% [markdown]
# # 9. Learning loss weights
#
# **A model is trained on a weighted sum of several losses. How do you choose the weights?**
#
# Often the weights are tuned by hand. But often there is also a small validation set that represents the
# *actual* objective: verified measurements, labels checked by an expert, the return of a policy. Then the
# weights can be learned from it while the model trains, by the hypergradient of lessons 1 and 2.
#
# The example: two sensors measure the same quantity. One is *noisy*, and the mean of its measurements is
# somewhat too low; the other is precise, but *shifted*: its measurements are too high. A few measurements
# were verified. Which weight should the loss of each sensor have?
#
# **Goals.** After this lesson you can add learned weights to your own training loop, explain by a dot product
# which weight increases, and name the fair baselines: a schedule, early stopping, training on the verified
# data.
#
# **Prerequisites.** Lesson 02. About 40 minutes.

# %% tags=["setup", "hide-input"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("bilevel") is None:  # not installed yet, as in Colab
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "bilevel[lessons]"], check=True)

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display

from bilevel.lessons import AMBER, BLACK, BLUE, GRAY, GREEN, RED
from bilevel.lessons import draw_band, explore, over_seeds, size, use_style
from bilevel.lessons.checks.learning_loss_weights import check_1, check_2, check_3
from bilevel.loss_weights import LossWeights, LossWeightTuner

use_style()
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A picture of the answer
#
# The model is a single number $\theta$ (theta), and each loss is half its squared distance from the mean of a
# sensor's measurements. The validation loss is the same for the verified measurements.

# %% tags=["hide-input"]
NOISY, SHIFTED, VERIFIED = -0.3, 1.0, 0.0  # means of the measurements


class Number(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.theta = torch.nn.Parameter(torch.tensor(1.5))


def losses():
    noisy, shifted = model.theta - NOISY, model.theta - SHIFTED
    return {"noisy": noisy**2 / 2, "shifted": shifted**2 / 2}


def validation():
    return (model.theta - VERIFIED) ** 2 / 2


# %% tags=["hide-input"]
model, weights = Number(), LossWeights(["noisy", "shifted"], 0.5, "simplex")
optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
outer_optimizer = torch.optim.SGD(weights.parameters(), lr=0.5)
tuner = LossWeightTuner(model, optimizer, weights, outer_optimizer)
found = []
for _ in range(size(200, fast=10)):
    found.append((model.theta.item(), *weights.as_dict().values()))
    tuner.step(losses, validation)


# %% tags=["hide-input"]
def draw_learning(thetas, weights, noisy, shifted):
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
    mix = torch.linspace(0, 1, 101)
    ends = (mix * noisy + (1 - mix) * shifted - VERIFIED) ** 2 / 2
    left.plot(mix, ends, color=GRAY, label="converged model")
    some = weights[::4]
    ends = (some @ torch.tensor([noisy, shifted]) - VERIFIED) ** 2 / 2
    look = {"linestyle": "", "marker": "o", "markersize": 5}
    left.plot(some[:, 0], ends, color=BLUE, label="weights during training", **look)
    left.set(xlabel="weight of the noisy sensor", ylabel="validation loss")
    left.set(ylim=(-0.02, 0.6))
    left.legend()
    right.plot(weights[:, 0], color=BLUE, label="weight of the noisy sensor")
    label = "weight of the shifted sensor"
    right.plot(weights[:, 1], color=AMBER, linestyle="--", label=label)
    label = "model $\\theta$ (target: 0)"
    right.plot(thetas, color=BLACK, linestyle=":", label=label)
    right.set(xlabel="training step", ylabel="weight, model", ylim=(-0.8, 1.6))
    right.legend(loc="upper right")
    plt.show()


path = torch.tensor(found)
draw_learning(path[:, 0], path[:, 1:], NOISY, SHIFTED)
optimal = (SHIFTED - VERIFIED) / (SHIFTED - NOISY)
print(f"weight of the noisy sensor: learned {path[-1, 1]:.3f}, optimal {optimal:.3f}")

# %% [markdown]
# `LossWeightTuner` wraps an existing training loop: any `nn.Module`, any `torch.optim` optimizer. It takes
# the losses as functions, because it evaluates them twice. Both weights start at 0.5, and `"simplex"` keeps
# their sum at 1.
#
# Left: the validation loss as a function of the weights, for models that are trained to convergence. In
# practice this curve is not available: one training run per point would be too expensive. Dots: the weights
# during this single training run; they approach the minimum. Right: the weights and the model during
# training.

# %% [markdown]
# ## The idea in words
#
# A training step follows the weighted sum of the gradients of the losses. Before each step, *look ahead*:
# take the step on a copy of the model, evaluate the validation loss, and differentiate it with respect to
# the weights. The weight of a loss increases if its gradient step decreases the validation loss, and
# decreases otherwise. (If two weights sum to 1, as here, a weight increases if the gradient step on its loss
# decreases the validation loss *more* than the step on the other loss.) Then the model takes the step with
# the new weights. This is the hypergradient through $K = 1$ step, computed at every step.
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
# For the softmax this is
# $w_j \left(\partial V / \partial w_j - \sum_k w_k\, \partial V / \partial w_k\right)$:
# the logit $\varphi_j$ increases if the dot product of its loss is larger than the weighted average.
#
# ## From scratch
#
# The losses and the step, as functions of the model and the weights:

# %%
MEANS = torch.tensor([NOISY, SHIFTED])


def training_losses(theta, means=MEANS):
    """The training losses of both sensors, [2]."""
    return (theta - means) ** 2 / 2


def validation_loss(theta):
    return (theta - VERIFIED) ** 2 / 2


def step(theta, weights, means=MEANS, rate=0.3):
    """One gradient step on the weighted loss."""
    return theta - rate * weights @ torch.func.jacrev(training_losses)(theta, means)


# %% [markdown]
# First one hypergradient, by the equation and by automatic differentiation:

# %%
theta, weights, rate = torch.tensor(1.5), torch.tensor([0.5, 0.5]), 0.3
gradients = torch.func.jacrev(training_losses)(theta)  # one per loss
ahead = theta - rate * weights @ gradients
by_hand = -rate * torch.func.grad(validation_loss)(ahead) * gradients
by_autograd = torch.func.grad(lambda w: validation_loss(step(theta, w)))(weights)
print("boxed equation:", [round(float(value), 12) for value in by_hand])
print("autograd:      ", [round(float(value), 12) for value in by_autograd])

# %% [markdown]
# Both derivatives are negative: at 1.5 the gradient steps on both losses move $\theta$ toward the verified
# value 0. The derivative with respect to the weight of the noisy sensor is larger in size, so this weight
# increases. The whole algorithm repeats this in every step:


# %%
def look_ahead(phi, theta, means):
    """The validation loss after one step with the weights softmax(phi)."""
    return validation_loss(step(theta, phi.softmax(0), means))


def learn(steps, outer_rate=0.5, means=MEANS):
    """The model, [step], and its weights, [step, 2]."""
    theta, phi, path = torch.tensor(1.5), torch.zeros(2), []
    for _ in range(steps):
        path.append((theta, phi.softmax(0)))
        phi = phi - outer_rate * torch.func.grad(look_ahead)(phi, theta, means)
        theta = step(theta, phi.softmax(0), means)  # with the new weights
    thetas, weights = zip(*path, strict=True)
    return torch.stack(thetas), torch.stack(weights)


# %% [markdown]
# ## The library's version
#
# The first figure was drawn with `LossWeightTuner`. Does it compute the same?

# %%
thetas, weights = learn(len(path))
scratch = torch.cat((thetas[:, None], weights), 1)
for name, row in (("library", path[-1]), ("from scratch", scratch[-1])):
    print(f"{name:13} model {row[0]:.10f}, weight of the noisy sensor {row[1]:.10f}")
print("equal in all steps:", torch.allclose(path, scratch, atol=1e-9))

# %% [markdown]
# ## Play
#
# Change the means of the sensors and the learning rate of the weights. What happens if the measurements of
# *both* sensors are too high? If both are exact? Can the learning rate of the weights be too large?


# %% tags=["hide-input"]
def play(noisy, shifted, outer_rate):
    means = torch.tensor([noisy, shifted])
    draw_learning(*learn(size(200, fast=10), outer_rate, means), noisy, shifted)


# %%
sensors = {"noisy": (-1.0, 1.0, 0.1, 0.2), "shifted": (0.0, 1.5, 0.1, 1.0)}
explore(play, **sensors, outer_rate=(0.0, 20.0, 0.5, 0.5))

# %% [markdown]
# If the true value does not lie between the sensors, no weights reach it; then one weight converges to 1,
# more and more slowly. If the learning rate of the weights is too large, they overshoot; where a weight is
# almost 1, the softmax is flat, so it recovers slowly (try means of -1 and 1.5 with learning rate 20). Note
# that the verified measurements determine the weights, so a *third* data set is needed to evaluate the model.
#
# ## Other weightings
#
# Now a small network with 4 inputs is trained on batches from both sensors. There are 50 verified
# measurements, and a separate test set.


# %%
def normal(generator, *shape):
    return torch.randn(*shape, generator=generator)


def make_data(seed):
    """A function that samples batches, the verified measurements, and test data."""
    generator = torch.Generator().manual_seed(seed)
    first, second = normal(generator, 4, 8), normal(generator, 8, 1)

    def truth(x):
        return (x @ first / 2).tanh() @ second / 2

    def batch():
        x = normal(generator, 64, 4)
        noisy = truth(x) + normal(generator, 64, 1)
        return x, {"noisy": noisy, "shifted": truth(x) + 1.0}

    verified, test = normal(generator, 50, 4), normal(generator, 500, 4)
    return batch, (verified, truth(verified)), (test, truth(test))


# %% [markdown]
# The baselines are fixed weights, a hand-tuned schedule (linear, from the shifted sensor to the noisy one),
# and *uncertainty weighting*, a well-known method that uses only the training losses.

# %%
from bilevel.loss_weights import FixedWeights, LinearWeights, ScheduledLossWeights
from bilevel.loss_weights import Trainer, Uncertainty

STEPS, SEEDS, NAMES = size(300, fast=4), size(5, fast=3), ["noisy", "shifted"]
RAMP = {"noisy": (0.0, 1.0, STEPS), "shifted": (1.0, 0.0, STEPS)}
KNOTS = (0, STEPS // 2, STEPS)
WEIGHTINGS = {
    "equal": lambda: FixedWeights({"noisy": 0.5, "shifted": 0.5}),
    "noisy only": lambda: FixedWeights({"noisy": 1.0, "shifted": 0.0}),
    "hand-tuned schedule": lambda: LinearWeights(RAMP),
    "uncertainty": lambda: Uncertainty(NAMES),
    "learned": lambda: LossWeights(NAMES, 0.5, "simplex"),
    "learned schedule": lambda: ScheduledLossWeights(NAMES, KNOTS, 0.5, "simplex"),
}


def make_trainer(name, model, weights):
    """The training step: the library's tuner, or its trainer for other weightings."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    variables = list(weights.parameters())
    outer = torch.optim.Adam(variables, lr=0.05) if variables else None
    if "learned" not in name:
        return Trainer(optimizer, weights, outer)
    exact = {"estimator": "directional"}  # the boxed gradient by forward mode
    return LossWeightTuner(model, optimizer, weights, outer, **exact)


# %% [markdown]
# One training run for each weighting and each seed:

# %%
from torch.nn.functional import mse_loss


def make_model(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # torch's layers take no generator
        layers = torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)
        return torch.nn.Sequential(*layers)


def train(name, seed):
    """The test error, and the normalized weight of the noisy sensor, [step]."""
    batch, verified, test = make_data(seed)
    model, weights, trajectory = make_model(seed), WEIGHTINGS[name](), []
    trainer = make_trainer(name, model, weights)
    for _ in range(STEPS):
        x, measured = batch()
        values = weights.as_dict()
        trajectory.append(values["noisy"] / sum(values.values()))
        trainer.step(
            lambda: {name: mse_loss(model(x), measured[name]) for name in NAMES},
            lambda: mse_loss(model(verified[0]), verified[1]),
        )
    return mse_loss(model(test[0]), test[1]).item(), trajectory


errors, noisy_weight = {}, {}
for name in WEIGHTINGS:
    runs = [train(name, seed) for seed in range(SEEDS)]
    errors[name] = [error for error, _ in runs]
    noisy_weight[name] = np.array([trajectory for _, trajectory in runs]).T

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
COLORS = (GRAY, BLACK, AMBER, RED, BLUE, GREEN)
DASHES = (":", "-.", (0, (6, 2)), (0, (3, 1, 1, 1)), "-", "--")
marks = {"linestyle": "", "marker": "|", "markersize": 14, "markeredgewidth": 2}
looks = zip(WEIGHTINGS, COLORS, DASHES, strict=True)
for row, (name, color, dashes) in enumerate(looks):
    left.plot(errors[name], [row] * SEEDS, color=color, **marks)
    look = {"label": name, "color": color, "linestyle": dashes}
    draw_band(right, range(STEPS), noisy_weight[name], **look)
left.set(yticks=range(len(WEIGHTINGS)), yticklabels=list(WEIGHTINGS), xscale="log")
left.set(xlabel="test error (mean squared error, one mark per seed)")
left.invert_yaxis()
right.set(xlabel="training step", ylabel="normalized weight, noisy sensor")
right.set(ylim=(-0.05, 1.05))
figure.legend(*right.get_legend_handles_labels(), ncols=3, loc="outside upper center")
plt.show()

# %%
table = f"| weighting | test error, {SEEDS} seeds |\n|---|---|\n"
for name, values in errors.items():
    table += f"| {name} | {over_seeds(values, 3)} |\n"
display(Markdown(table))

# %% [markdown]
# (Interquartile means over seeds with 95 % intervals.)
#
# * A weighting that uses only the training losses cannot detect that a sensor is *biased*. Uncertainty
#   weighting prefers the loss that is easy to fit, that of the shifted sensor, and its test error is about
#   1, the squared shift.
# * Learned weights increase the weight of the noisy sensor, which is unbiased here, and have about the same
#   test error as `noisy only`.
# * They are no better than the hand-tuned schedule, which uses knowledge of the problem: first the sensor
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


def trial(method, seed):
    return digits.run(settings, method, seed, lambda progress: None)


seeds = range(size(4, fast=3))
trials = {method: [trial(method, seed) for seed in seeds] for method in METHODS}

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
arrays = [each.arrays for each in trials["learned"]]
wrong = np.concatenate([each["wrong"] for each in arrays])
weight = np.concatenate([each["weights"] for each in arrays])
groups = (~wrong, GREEN, "", "correct label"), (wrong, RED, "///", "wrong label")
for mask, color, hatch, label in groups:
    some = weight[mask & ~np.isnan(weight)]
    bins, percent = np.linspace(0, 3, 31), np.full(len(some), 100 / len(some))
    look = {"color": color, "alpha": 0.6, "hatch": hatch, "label": label}
    left.hist(some.clip(max=3), bins, weights=percent, **look)
left.set(xlabel="learned weight (batch mean: 1)", yscale="log")
left.set(ylabel="fraction of the samples (%)")
left.legend()
ACCURACY = "test accuracy (%)"
looks = ("uniform", RED, ":"), ("clean-set-alone", AMBER, "--"), ("learned", BLUE, "-")
for method, color, dashes in looks:
    at = trials[method][0].curves[f"{ACCURACY} at"]
    curve = np.array([each.curves[ACCURACY] for each in trials[method]]).T
    draw_band(right, at, curve, label=method, color=color, linestyle=dashes)
right.set(xlabel="training step", ylabel=ACCURACY, ylim=(60, 100))
right.legend(loc="lower right")
plt.show()

# %%
table = f"| training | {ACCURACY}, {len(seeds)} seeds |\n|---|---|\n"
for method in METHODS:
    accuracies = [each.measures[ACCURACY] for each in trials[method]]
    table += f"| {method} | {over_seeds(accuracies, 1)} |\n"
display(Markdown(table))

# %% [markdown]
# `uniform` memorizes the wrong labels: its test accuracy rises, then falls. `learned` uses 100 images more
# than `uniform`, so this comparison is unfair. The fair baselines use these 100 images, too:
# `clean-set-alone` trains on them only, and `early-stopping` uses them as a validation set. `clean` is an
# upper bound: the wrong labels are known and removed. The table with 20 seeds, 600 steps and two more
# baselines is in `docs/studies/tasks.md`; its command is `bilevel tune noisy-digits --seeds 20`.
#
# What if the losses are of different kinds, and the objective is the return of a policy? Lesson 14 builds a
# world model and learns its loss weights (`14_world_model`); in a planned comparison of 100 pairs of runs,
# learned weights ended with a return higher by 19 [6, 34] than the best hand-set variant
# (`docs/studies/world-model.md`).

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/09_learning_loss_weights.py`.
#
# **Exercise 1 (the boxed equation).** `validation_gradient` is $\nabla V(\theta')$, [parameter];
# `loss_gradients` are the $\nabla L_k(\theta)$, [loss, parameter]; `rate` is $r$. Return the derivative of
# $V(\theta')$ with respect to each weight, [loss].


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
# the loss $\frac12 (x_i \cdot \theta - y_i)^2$, and $\theta'$ follows by one gradient step, with the learning
# rate `rate`, on the *sum* of $w_i$ times that. $V$ is the mean of the same loss over verified samples.
# Return the derivative of $V(\theta')$ with respect to each $w_i$ at $w = 0$, [sample]. Then think: which
# sign does the derivative tend to have for a sample with a wrong label?


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

# %% [markdown]
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. When does the weight of a loss increase?</summary>
#
# When a gradient step on this loss decreases the validation loss: when the dot product of its gradient and
# the gradient of the validation loss, after the look-ahead step, is positive. If the weights are a softmax,
# the logit of the loss increases when its dot product is larger than the weighted average over all losses.
#
# </details>
#
# <details><summary>2. Why can the training losses alone not reveal a biased sensor?</summary>
#
# A biased sensor can be easy to fit, and then its loss is small. Only data that represent the actual
# objective show that the model is wrong.
#
# </details>
#
# <details><summary>3. Which baselines are fair for weights learned from 100 verified images?</summary>
#
# Those that use the same 100 images: training on them, or early stopping on them. And a hand-tuned schedule
# of the weights. All of them need a separate test set.
#
# </details>

# %% [markdown]
# ## What to read
#
# * `docs/how-to/loss-weights.md`: five lines around your own loop, all options, and the limitations.
#   `docs/studies/tasks.md`: noisy digits, and a task of your own.
# * Ren and others, *Learning to reweight examples for robust deep learning*, arXiv 1803.09050. Shu and
#   others, *Meta-Weight-Net*, arXiv 1902.07379. Liu and others, *DARTS*, arXiv 1806.09055: the same
#   look-ahead gradient.
# * Kendall and others, *Multi-task learning using uncertainty*, arXiv 1705.07115: the baseline above.
# * Wu and others, *Understanding short-horizon bias*, arXiv 1803.02021: what a one-step look-ahead misses.
# * Next: `10_your_own_game_and_method`.
