# %% [markdown]
# # 8. Learning loss weights
#
# **A model is trained on a weighted sum of several losses. How should the weights be chosen?**
#
# Usually somebody tries three values by hand. But often there is a small data set that represents the
# *actual* objective: measurements checked by hand, labels verified by an expert, the return of a policy.
# Then the weights can be learned from it, while the model trains, by the hypergradient of lessons 1 and 2.
#
# The example: two sensors measure a quantity. One is *noisy*, and the mean of its readings so far is
# somewhat too low; the other is precise, but *shifted*: it reads too high. A few measurements were checked
# by hand. What weight should each sensor get?

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from checks.learning_loss_weights import check_1, check_2, check_3
from lesson import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED, draw_band, explore, size, use_style

from bilevel.loss_weights import LossWeights, LossWeightTuner

use_style()
torch.set_default_dtype(torch.float64)

NOISY, SHIFTED, CHECKED = -0.3, 1.0, 0.0  # means of both sensors, and of the checked measurements


def losses_of(theta, noisy=NOISY, shifted=SHIFTED):
    """Two training losses of one number: the distance from each sensor."""
    return torch.stack(((theta - noisy) ** 2, (theta - shifted) ** 2)) / 2


def validation_of(theta):
    """The actual objective: the validation loss."""
    return (theta - CHECKED) ** 2 / 2


def learn(steps, rate=0.3, outer_rate=2.0, noisy=NOISY, shifted=SHIFTED):
    """Train the model and its loss weights, initially equal: theta, [steps], and weights, [steps, 2]."""
    theta, phi, path = torch.tensor(1.5), torch.zeros(2), []

    def ahead(phi):
        """The validation loss after one step with these weights."""
        weights = phi.softmax(0)
        pull = torch.func.grad(lambda at: weights @ losses_of(at, noisy, shifted))(theta)
        return validation_of(theta - rate * pull)

    for _ in range(steps):
        path.append((theta, phi.softmax(0)))
        phi = phi - outer_rate * torch.func.grad(ahead)(phi)  # first the weights, by the look-ahead gradient,
        weights = phi.softmax(0)
        pull = torch.func.grad(lambda at: weights @ losses_of(at, noisy, shifted))(theta)
        theta = theta - rate * pull  # then the model, with the new weights
    thetas, weights = zip(*path, strict=True)
    return torch.stack(thetas), torch.stack(weights)


# %% [markdown]
# ## A picture of the answer
#
# Left: the validation loss for every pair of weights, if the model is trained to convergence with it. In
# practice this curve is not available; one training run per point would be too expensive. Dots: a single
# training run, whose learned weights descend that curve. Right: the weights during training.


# %%
def draw(noisy, shifted, outer_rate, steps=size(120, fast=10)):
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
    mix = torch.linspace(0, 1, 101)
    left.plot(mix, validation_of(mix * noisy + (1 - mix) * shifted), color=GRAY, label="trained to the end")
    thetas, weights = learn(steps, outer_rate=outer_rate, noisy=noisy, shifted=shifted)
    ends = weights @ torch.tensor([noisy, shifted])
    left.plot(
        weights[::2, 0], validation_of(ends)[::2], "o", color=BLUE, label="weights on the way", markersize=5
    )
    left.set(xlabel="weight of the noisy sensor", ylabel="validation loss", ylim=(-0.02, 0.6))
    left.legend()
    right.plot(weights[:, 0], color=BLUE, label="weight: noisy sensor")
    right.plot(weights[:, 1], color=AMBER, linestyle="--", label="weight: shifted sensor")
    right.plot(thetas, color=BLACK, linestyle=":", label="the model's number (wanted: 0)")
    right.set(xlabel="training step", ylabel="weight, or the model's number", ylim=(-0.8, 1.6))
    right.legend(loc="upper right")
    plt.show()


draw(NOISY, SHIFTED, outer_rate=0.5)
_, weights = learn(size(400, fast=10))
print(f"learned: {weights[-1, 0]:.4f}; the best mix is (shifted - checked) / (shifted - noisy) =", end=" ")
print(f"{(SHIFTED - CHECKED) / (SHIFTED - NOISY):.4f}")

# %% [markdown]
# ## The idea in words
#
# The training step is a weighted sum of the gradients of the losses. Before a step is taken, *look ahead*:
# take it on a copy of the model, and evaluate the validation loss. A loss whose gradient step decreased the
# validation loss gets more weight, one that increased it gets less. Then the model takes the step with the
# new weights. This is the hypergradient through $K = 1$ step, computed at every step.
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
# `learn` above is the whole algorithm: ten lines. Here is its first hypergradient, computed by hand:

# %%
theta, rate = torch.tensor(1.5), 0.3
weights = torch.zeros(2).softmax(0)
pulls = torch.func.jacrev(losses_of)(theta)  # the gradient of each loss
ahead = theta - rate * weights @ pulls
by_hand = -rate * torch.func.grad(validation_of)(ahead) * pulls
by_autograd = torch.func.grad(lambda w: validation_of(theta - rate * w @ pulls))(weights)
print("by the box: ", [round(float(value), 12) for value in by_hand])
print("by autograd:", [round(float(value), 12) for value in by_autograd])

# %% [markdown]
# Both are negative: at 1.5 the gradient steps on both sensors' losses decrease theta, towards the checked
# measurements. The effect of the noisy sensor is larger.
#
# ## The library's version
#
# `LossWeightTuner` wraps an existing training loop: any `nn.Module`, any `torch.optim` optimizer. Losses
# are passed as functions, because they are evaluated twice.


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
        lambda: dict(zip(["noisy", "shifted"], losses_of(model.theta), strict=True)),
        lambda: validation_of(model.theta),
    )
thetas, ours = learn(50)
scratch = torch.stack((thetas, ours[:, 0]), -1)
print(f"after 49 steps: model {found[-1][0]:.10f}, weight {found[-1][1]:.10f}")
print(f"from scratch:   model {scratch[-1, 0]:.10f}, weight {scratch[-1, 1]:.10f}")
print("the same all the way:", torch.allclose(torch.tensor(found), scratch, atol=1e-9))

# %% [markdown]
# ## Play
#
# Move the sensors, and the learning rate of the weights. What happens when *both* sensors read too high?
# When both are exact? Can the learning rate of the weights be too large?

# %%
explore(draw, noisy=(-1.0, 1.0, 0.1, 0.2), shifted=(0.0, 1.5, 0.1, 1.0), outer_rate=(0.0, 20.0, 0.5, 0.5))

# %% [markdown]
# No weighting reaches the true value if it does not lie between the sensors; then one sensor's weight
# converges to 1, more and more slowly. And note that the checked measurements have been used: they
# determined the weights, so a *third* data set is needed to evaluate the model.
#
# ## Other ways to set the weights
#
# Now a network of 97 parameters on 4 inputs, fresh batches from both sensors, 50 checked measurements; the
# error is measured on a separate test set. The baselines: weights set by hand, a schedule set by hand (a
# linear schedule from the shifted sensor to the noisy one), and *uncertainty weighting*, a well-known rule
# that uses only the training losses.

# %%
from torch.nn.functional import mse_loss

from bilevel.experiments import interquartile_interval
from bilevel.loss_weights import FixedWeights, LinearWeights, ScheduledLossWeights, Trainer, Uncertainty

NAMES, STEPS, SEEDS = ["noisy", "shifted"], size(300, fast=4), size(5, fast=3)
WAYS = {
    "equal": lambda: FixedWeights({"noisy": 0.5, "shifted": 0.5}),
    "noisy alone": lambda: FixedWeights({"noisy": 1.0, "shifted": 0.0}),
    "schedule by hand": lambda: LinearWeights({"noisy": (0.0, 1.0, STEPS), "shifted": (1.0, 0.0, STEPS)}),
    "uncertainty": lambda: Uncertainty(NAMES),
    "learned": lambda: LossWeights(NAMES, 0.5, "simplex"),
    "learned schedule": lambda: ScheduledLossWeights(NAMES, (0, STEPS // 2, STEPS), 0.5, "simplex"),
}


def sensors(seed, noise=1.0, shift=1.0):
    """A function that samples batches, the checked measurements, and test data."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    first, second = normal(4, 8), normal(8, 1)

    def truth(x):
        return (x @ first / 2).tanh() @ second / 2

    def batch():
        x = normal(64, 4)
        return x, {"noisy": truth(x) + noise * normal(64, 1), "shifted": truth(x) + shift}

    checked, fresh = normal(50, 4), normal(500, 4)
    return batch, (checked, truth(checked)), (fresh, truth(fresh))


def train(way, seed):
    """The final test error, and the relative weight of the noisy sensor during training."""
    batch, checked, fresh = sensors(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # torch's layers take no generator
        model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    optimizer, weights = torch.optim.Adam(model.parameters(), lr=0.02), WAYS[way]()
    own = list(weights.parameters())
    outer = torch.optim.Adam(own, lr=0.05) if own else None
    if "learned" in way:
        # "directional": the boxed gradient, exactly, by forward mode
        trainer = LossWeightTuner(model, optimizer, weights, outer, estimator="directional")
    else:
        trainer = Trainer(optimizer, weights, outer)
    parts = []
    for _ in range(STEPS):
        x, read = batch()
        values = weights.as_dict()
        parts.append(values["noisy"] / sum(values.values()))
        trainer.step(
            lambda: {name: mse_loss(model(x), read[name]) for name in NAMES},
            lambda: mse_loss(model(checked[0]), checked[1]),
        )
    return mse_loss(model(fresh[0]), fresh[1]).item(), parts


runs = {way: [train(way, seed) for seed in range(SEEDS)] for way in WAYS}
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
COLORS = dict(zip(WAYS, (GRAY, BLACK, AMBER, RED, BLUE, GREEN), strict=True))
DASHES = dict(zip(WAYS, (":", "-.", "--", "-.", "-", "--"), strict=True))
for place, way in enumerate(WAYS):
    errors = np.array([error for error, _ in runs[way]])
    left.plot(errors, [place] * SEEDS, "|", color=COLORS[way], markersize=14)
    parts = np.array([parts for _, parts in runs[way]]).T
    draw_band(right, range(STEPS), parts, label=way, color=COLORS[way], linestyle=DASHES[way])
left.set(yticks=range(len(WAYS)), yticklabels=list(WAYS), xscale="log")
left.set(xlabel="mean squared error on fresh data (lines: seeds)")
left.invert_yaxis()
right.set(xlabel="training step", ylabel="part of the noisy sensor", ylim=(-0.05, 1.65))
right.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
right.legend(ncols=2, fontsize=11, loc="upper center")
plt.show()
for way in WAYS:
    interval = interquartile_interval(np.array([error for error, _ in runs[way]]))
    print(f"{way:17} error {interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]")

# %% [markdown]
# (Interquartile means over 5 seeds with 95 % intervals.) Three things to read:
#
# * A rule that uses only the training losses cannot detect that a sensor is *biased*. Uncertainty weighting
#   prefers the loss that is easy to fit, that of the shifted sensor, and its error is that of the shift.
# * Learned weights find that the noisy sensor is the better one, and end near `noisy alone`, without being
#   told.
# * They do not beat a schedule by somebody who knows the problem: first the sensor without noise (a good
#   initialization), then the unbiased one. A learned schedule could do the same, but does not: it looks
#   only one step ahead, where nothing favours the shifted sensor, and follows the same course as the
#   learned weights.
#
# ## Noisy labels: a weight for each sample
#
# Two loss weights are few outer variables. Now a weight for *each sample*: scikit-learn's digits, where 400
# of the 1000 training labels are wrong. 100 images were checked by hand. A small network maps the loss of a
# sample to its weight (Meta-Weight-Net), and is trained by the same look-ahead gradient.

# %%
from bilevel.tasks import NoisyDigits, NoisyDigitsSettings

torch.set_default_dtype(torch.float32)
digits, settings = NoisyDigits(), NoisyDigitsSettings(steps=size(500, fast=60))
LABELS = ("uniform", "early-stopping", "clean-set-alone", "learned", "clean")
trials = {
    way: [digits.run(settings, way, seed, lambda part: None) for seed in range(size(4, fast=3))]
    for way in LABELS
}
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
kept = [trial.arrays for trial in trials["learned"]]
wrong = np.concatenate([arrays["wrong"] for arrays in kept])
weight = np.concatenate([arrays["weights"] for arrays in kept])
for mask, color, hatch, words in ((~wrong, GREEN, "", "right labels"), (wrong, RED, "///", "wrong labels")):
    some = weight[mask & ~np.isnan(weight)]
    bins = np.linspace(0, 3, 31)
    part = np.full(len(some), 100 / len(some))
    left.hist(some.clip(max=3), bins, weights=part, color=color, alpha=0.6, hatch=hatch, label=words)
left.set(xlabel="learned weight (1: the mean of its batch)", ylabel="samples of that kind (%)", yscale="log")
left.legend()
ACCURACY = "test accuracy (%)"
for way, color, dashes in (("uniform", RED, ":"), ("clean-set-alone", AMBER, "--"), ("learned", BLUE, "-")):
    at = trials[way][0].curves[f"{ACCURACY} at"]
    curve = np.array([trial.curves[ACCURACY] for trial in trials[way]]).T
    draw_band(right, at, curve, label=way, color=color, linestyle=dashes)
right.set(xlabel="training step", ylabel=ACCURACY, ylim=(60, 100))
right.legend(loc="lower right")
plt.show()
for way in LABELS:
    interval = interquartile_interval(np.array([trial.measures[ACCURACY] for trial in trials[way]]))
    print(
        f"{way:16} {interval.estimate:5.1f} % [{interval.low:.1f}, {interval.high:.1f}] right on test images"
    )

# %% [markdown]
# `uniform` memorizes the wrong labels: its accuracy rises, then falls. `learned` uses 100 images more than
# `uniform`, so that this comparison would be unfair; the fair baselines use these 100 images differently:
# train on them alone, or use them for early stopping. `clean` is the upper bound: the wrong labels are
# known and removed. The table with 20 seeds, 600 steps and two more baselines is in `docs/studies/tasks.md`;
# its command is `bilevel tune noisy-digits --seeds 20`.
#
# ## A world model, end to end
#
# In the last example the losses are of different kinds: an agent observes images of a pole on a cart. An
# autoencoder encodes them as *latents* (a reconstruction loss), a recurrent network predicts the next
# latents (a dynamics loss), a controller acts on both (a policy loss and a value loss). All losses act on
# shared parameters. How much weight should each get? The actual objective is the *return*. So the
# validation loss is the policy loss, on rollouts that were not used for the step.
#
# This run is tiny, so that it fits into a lesson: look at the weights, and do not trust the returns.

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
worlds = [world.run(tiny, "learned", seed, lambda part: None) for seed in range(3)]
figure, axes = plt.subplots()
LINES = zip(tiny.losses, (GREEN, PURPLE, BLUE, AMBER), ("-", "--", "-.", ":"), strict=True)
for name, color, dashes in LINES:
    at = worlds[0].curves[f"weight of {name} at"]
    course = np.array([trial.curves[f"weight of {name}"] for trial in worlds]).T
    draw_band(axes, at, course, label=name, color=color, linestyle=dashes)
axes.set(xlabel="steps in the environment", ylabel="learned weight")
axes.legend(title="loss", ncols=2)
plt.show()

# %% [markdown]
# `bilevel tune world-model --seed 1 --seeds 10` trains for 12 times as long, and compares with weights set
# by hand, a published schedule and staged training; the table is in `docs/studies/world-model.md`. In short:
# learned weights were clearly better than equal weights (a return of 177 against 53). Their estimate was
# also higher than that of the best of five settings by hand (115), but these seeds do not show a
# difference: its interval goes from -34 to 178, and in another run with the same seeds learned weights
# ended at 96. In both runs they found the property of that best setting: a low weight of the dynamics loss,
# without being told; and the schedule, which reduces the weight of the reconstruction, was no better than
# equal weights.
#
# ## Exercises
#
# **Exercise 1 (the box).** `validation_gradient` is $\nabla V(\theta')$, [parameter]; `loss_gradients` are
# the $\nabla L_k(\theta)$, [loss, parameter]; `rate` is $r$. Return the derivative of $V(\theta')$ in each
# weight, [loss].


# %% tags=["exercise-1"]
def slopes(validation_gradient, loss_gradients, rate):
    return ...


# %% tags=["check-1"]
check_1(slopes)

# %% [markdown]
# **Exercise 2 (Learning to Reweight).** No outer state, no network: weight each loss by how much it helps
# in the *current* step. Start from weights 0, take one gradient step with learning rate 1 along the
# negative `slopes`, clamp negative weights to 0, and divide by the sum, so that weights sum to 1. If no
# loss helps, all weights are 0.


# %% tags=["exercise-2"]
def reweight(slopes):
    return ...


# %% tags=["check-2"]
check_2(reweight)

# %% [markdown]
# **Exercise 3 (which sample is wrong?).** Linear regression: $\theta$ has shape [input]; sample $i$ has
# the loss $\frac12 (x_i \cdot \theta - y_i)^2$, and the step descends the *sum* of $w_i$ times that. $V$
# is the mean of the same loss over checked samples. Return the derivative of $V(\theta')$ in each $w_i$ at
# $w = 0$, [sample]. Then think: which sign does a sample with a wrong label tend to have?


# %% tags=["exercise-3"]
def sample_slopes(theta, x, y, x_checked, y_checked, rate):
    return ...


# %% tags=["check-3"]
check_3(sample_slopes)

# %% [markdown]
# **For discussion.** (a) An auxiliary loss teaches features that are useful only a thousand steps later.
# What weight will it get, and which estimator of lesson 1 would be better? (b) Adam divides each gradient
# by its size. What is the effect of a factor that multiplies *all* losses? (c) You have 100 checked images.
# How many would you use to learn weights, how many for training, and how many for testing?
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
# * Next: `09_your_own_game_and_method`.
