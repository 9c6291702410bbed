# %% [markdown]
# # 14. A world model, built
#
# **How are encoder, dynamics and controller trained end to end, and who decides how much each loss
# counts?**
#
# An agent sees images. An *encoder* compresses each image to a few numbers, the *latent*. A *dynamics*
# network predicts the next latent and the reward from latent and action. A *controller* chooses actions
# from the latent. The three together are a *world model*, and each part has a loss of its own.
#
# All losses train the same encoder. So they compete for what the latent represents: all of the image,
# what is predictable, or what matters for the return? The loss weights decide. This lesson builds such a
# model with torch alone, on images that contain a distractor, and then learns the weights from the
# return.
#
# **Goals.** After this lesson you can write the losses of a world model, say which loss trains which
# network, use stop-gradients on purpose, train a controller by real and by imagined rollouts, and learn
# loss weights from held-out rollouts.
#
# **Prerequisites.** Lessons 02 and 09. About 50 minutes.

# %% tags=["setup", "hide-input"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("bilevel") is None:  # not installed yet, as in Colab
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "bilevel[lessons,tasks]"], check=True)

# %% tags=["hide-input"]
from itertools import pairwise

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from torch.nn.functional import logsigmoid

from bilevel.lessons import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED, SKY
from bilevel.lessons import draw_band, explore, over_seeds, size, use_style
from bilevel.lessons.checks.world_model import check_1, check_2, check_3, check_4
from bilevel.tasks.world_model import WorldModelSettings, WorldModelTask

use_style()

# %% [markdown]
# ## A picture of the answer
#
# The library's task `world-model` acts in CartPole from images. Here it is tiny: 1024 environment steps,
# three seeds. It has a fourth loss, that of a *value head*: a network that predicts the return. All
# weights begin at 1 (the first point of the figure is after 128 steps), and are learned from the policy
# loss on held-out rollouts. Only the weights are meaningful in such a short run, not the returns.

# %% tags=["hide-input"]
tiny = WorldModelSettings(
    environment_steps=size(1024, fast=64), num_envs=size(4, fast=2),
    rollout_steps=size(32, fast=8), evaluations=4, evaluation_episodes=1,
)  # fmt: skip
world = WorldModelTask()
trials = [world.run(tiny, "learned", seed, lambda part: None) for seed in range(3)]

# %% tags=["hide-input"]
LOOKS = {
    "reconstruction": (GREEN, "-"),
    "dynamics": (PURPLE, "--"),
    "policy": (BLUE, "-."),
    "value": (AMBER, ":"),
}
figure, axes = plt.subplots(figsize=(8, 4))
for name, (color, dashes) in LOOKS.items():
    at = trials[0].curves[f"weight of {name} at"]
    weight = torch.tensor([trial.curves[f"weight of {name}"] for trial in trials]).T
    draw_band(axes, at, weight, label=name, color=color, linestyle=dashes)
axes.set(xlabel="environment steps", ylabel="learned weight")
axes.legend(title="loss", loc="upper left", bbox_to_anchor=(1.0, 1.0))
plt.show()

# %% [markdown]
# ## The idea in words
#
# *Staged* training has three steps: first the autoencoder, then the dynamics, then the controller, each
# on the frozen results of the one before. The encoder then never learns what the controller needs. *End
# to end* means that the gradients of all losses reach the encoder, and all networks learn together.
#
# Three decisions remain, and this lesson measures the effect of each:
#
# * **Where does the gradient stop?** The dynamics predict the next latent. If the gradient goes into this
#   *target*, too, the encoder can make latents predictable by making them constant. A *stop-gradient*
#   (`detach`) treats the target as data.
# * **Where does the policy gradient come from?** From *real* rollouts, with the log-probability of each
#   action weighted by an estimate of its advantage (which actions caused the later rewards?). Or from
#   *imagined* rollouts: the dynamics are differentiable, so the gradient of predicted rewards can go
#   through them.
# * **How much does each loss count?** Set the weights by hand, or learn them: a weight increases if a
#   step on its loss decreases a validation loss. Here the validation loss is the policy loss on the
#   *next* rollout, which the step has not used.

# %% [markdown]
# ## The key equation
#
# Images $x_t$, actions $a_t$, rewards $r_t$; latents $z_t = e(x_t)$ by the encoder, decoded images
# $d(z_t)$, predictions $(\hat z_{t+1}, \hat r_t) = f(z_t, a_t)$ by the dynamics, and the policy
# $\pi(a \mid z)$ of the controller. $\operatorname{sg}$ is the stop-gradient: the identity, with the
# derivative 0. $A_t$ is an estimated advantage. Means are over time and copies of the environment:
#
# $$L_1 = \operatorname{mean} \|d(z_t) - x_t\|^2, \qquad
# L_2 = \operatorname{mean} \big(\|\hat z_{t+1} - \operatorname{sg}(z_{t+1})\|^2 + (\hat r_t - r_t)^2\big),$$
#
# $$L_3 = -\operatorname{mean}\, A_t \log \pi(a_t \mid z_t) .$$
#
# The step on the weighted sum, with all parameters $\theta$, and the derivative of the validation loss
# $V$ (the policy loss on the next rollout) in the weights, as in lesson 9:
#
# $$\theta' = \theta - P \sum_k w_k \nabla L_k(\theta), \qquad
# \boxed{\ \frac{\partial V(\theta')}{\partial w_k} = -\nabla V(\theta') \cdot P\, \nabla L_k(\theta)\ }$$
#
# $P$ is the learning rate of each parameter: one number for gradient descent; for Adam the learning rate
# divided by the root of the mean squared gradient, which we take as a constant. The common scale of all
# weights has almost no effect with Adam, so we fix it: $w = 3 \operatorname{softmax}(\varphi)$, of sum 3.

# %% [markdown]
# ## From scratch: a world of two dots
#
# A dot moves on a line, and a force pushes it away from the middle, more strongly the farther it is. The
# agent pushes left or right in each step. The reward is $1 - (\text{position}/1.2)^2$. The image has two
# strips of 12 pixels: the dot, faint, and a bright *distractor* dot at a random position. An observation
# is the current image and the one before it, so that velocities are visible. All seeds and copies are one
# batch.

# %%
torch.set_default_dtype(torch.float64)  # for exact comparisons
SEEDS, COPIES, TIME, PIXELS = size(8, fast=3), 32, 20, 12
GRID = torch.linspace(-1.2, 1.2, PIXELS)


def strip(position):
    """A dot on a strip of pixels, [..., pixel]."""
    return torch.exp(-(((GRID - position[..., None]) / 0.25) ** 2))


class World:
    """A dot that has to be kept in the middle, and a distractor, as images."""

    def __init__(self, generator, copies=COPIES, seeds=SEEDS):
        self.generator, self.shape = generator, (seeds, copies)

    def uniform(self, size):
        return size * (2 * torch.rand(self.shape, generator=self.generator) - 1)

    def frame(self):
        return torch.cat((0.5 * strip(self.x), strip(self.uniform(1.2))), -1)

    def reset(self):
        self.x, self.v = self.uniform(0.4), self.uniform(0.4)
        self.last = self.frame()
        return torch.cat((self.last, self.last), -1)

    def step(self, action):
        self.v = self.v + 0.2 * (1.5 * self.x + 2 * (2 * action - 1))
        self.x = self.x + 0.2 * self.v
        self.v = torch.where(self.x.abs() > 1.2, 0.0, self.v)
        self.x = self.x.clamp(-1.2, 1.2)
        before, self.last = self.last, self.frame()
        return torch.cat((self.last, before), -1), 1 - (self.x / 1.2) ** 2


# %% tags=["hide-input"]
figure, panels = plt.subplots(1, 2, figsize=(11, 3))
for axes, title in zip(
    panels, ("always push right", "push toward the middle"), strict=True
):
    shown, frames, rewards = World(torch.Generator().manual_seed(3)), [], []
    shown.reset()
    for _ in range(TIME):
        good = (shown.x + shown.v < 0).double()
        _, r = shown.step(torch.ones_like(good) if title[0] == "a" else good)
        frames.append(shown.last[0, 0])
        rewards.append(r)
    axes.imshow(torch.stack(frames).T.numpy(), cmap="gray_r", aspect="auto", vmin=0)
    axes.axhline(PIXELS - 0.5, color=RED, linewidth=1)
    axes.set(
        xlabel="step", title=f"{title}: return {torch.stack(rewards).sum(0).mean():.1f}"
    )
    axes.set_xticks(range(0, TIME, 5))
    axes.set_yticks([5.5, 17.5], ["dot", "distractor"])
    axes.grid(visible=False)
plt.show()

# %% [markdown]
# Images over time, of one copy each. The return of a rollout of 20 steps is at most 20.
#
# ## From scratch: four networks and three losses
#
# Encoder, decoder, dynamics and controller have one hidden layer each. A latent has 4 numbers, too few
# for all that is in two frames with two dots each.

# %%
LATENT, HIDDEN = 4, 24
SHAPES = {  # inputs and outputs of each network
    "encoder": (4 * PIXELS, LATENT),
    "decoder": (LATENT, 4 * PIXELS),
    "dynamics": (LATENT + 1, LATENT + 1),
    "controller": (LATENT, 1),
}


def initial(generator, seeds=SEEDS):
    """Parameters of all networks, name -> [seed, input, output]."""
    theta = {}
    for name, (inputs, outputs) in SHAPES.items():
        for layer, shape in ((1, (inputs, HIDDEN)), (2, (HIDDEN, outputs))):
            weight = torch.randn(seeds, *shape, generator=generator)
            theta[f"{name}_{layer}"] = weight / shape[0] ** 0.5
            theta[f"{name}_bias_{layer}"] = torch.zeros(seeds, 1, shape[1])
    return {name: value.requires_grad_() for name, value in theta.items()}


def network(theta, name, x):
    """One hidden layer, [seed, sample, input] -> [seed, sample, output]."""
    hidden = (x @ theta[f"{name}_1"] + theta[f"{name}_bias_1"]).tanh()
    return hidden @ theta[f"{name}_2"] + theta[f"{name}_bias_2"]


# %% [markdown]
# A rollout: the controller acts on the latent of each image.


# %%
@torch.no_grad()
def rollout(theta, world, sample=True):
    """Observations, actions and rewards, [seed, time, copy, ...]."""
    images, actions, rewards = [world.reset()], [], []
    for _ in range(TIME):
        p = network(theta, "controller", network(theta, "encoder", images[-1]))
        p = p[..., 0].sigmoid()  # the probability of pushing right
        u = torch.rand(p.shape, generator=world.generator) if sample else 0.5
        actions.append((p > u).double())
        image, reward = world.step(actions[-1])
        images.append(image)
        rewards.append(reward)
    return [torch.stack(values, 1) for values in (images, actions, rewards)]


# %% [markdown]
# The losses. `stop` is the stop-gradient at the target of the dynamics; `cut` also stops the policy
# gradient at the latent, so that it does not train the encoder. `real` is the policy loss of real
# rollouts: the advantage is the sum of the later rewards minus its mean over the copies, scaled to
# variance 1, and a small *entropy bonus* keeps the policy random enough to explore.


# %%
def policy_loss(theta, z, actions, rewards, bonus=0.01):
    """Policy gradient of real rollouts, [seed]: advantages are constants."""
    later = rewards.flip(1).cumsum(1).flip(1)
    advantage = later - later.mean(2, keepdim=True)
    advantage = advantage / (advantage.std((1, 2), keepdim=True) + 1e-6)
    logit = network(theta, "controller", z)[..., 0].unflatten(1, (TIME, -1))
    log_right, log_left = logsigmoid(logit), logsigmoid(-logit)
    taken = torch.where(actions > 0, log_right, log_left)
    entropy = -log_right.exp() * log_right - log_left.exp() * log_left
    return -(taken * advantage + bonus * entropy).mean((1, 2))


def losses(theta, batch, stop=True, cut=False, source="real"):
    """The three losses of each seed, name -> [seed]."""
    images, actions, rewards = batch
    z = network(theta, "encoder", images.flatten(1, 2))
    error = network(theta, "decoder", z) - images.flatten(1, 2)
    # samples are in order of time: all steps but the last, all but the first
    now, after = z[:, :-COPIES], z[:, COPIES:]
    pair = torch.cat((now, actions.flatten(1, 2)[..., None]), -1)
    guess = network(theta, "dynamics", pair)  # change of the latent, and reward
    target = after.detach() if stop else after
    missed = (now + guess[..., :LATENT] - target).square().sum(-1)
    missed = missed + (guess[..., LATENT] - rewards.flatten(1, 2)).square()
    seen = now.detach() if cut else now
    policy = 0.0
    if source != "imagined":
        policy = policy_loss(theta, seen, actions, rewards)
    if source != "real":
        policy = policy + imagined_loss(theta, now)
    squared = error.square().sum(-1)
    return {
        "reconstruction": squared.mean(1), "dynamics": missed.mean(1), "policy": policy
    }  # fmt: skip


# %% [markdown]
# The policy loss of *imagined* rollouts: the dynamics predict 5 steps, and the controller follows the
# gradient of the sum of the predicted rewards. An action is 0 or 1, and passes the gradient of its
# probability *straight through*. Encoder and dynamics are constants here: otherwise they would learn to
# predict high rewards instead of true ones.


# %%
def imagined_loss(theta, z, steps=5, bonus=0.01):
    """Minus the mean reward that the dynamics predict, [seed]."""
    fixed = {
        name: value.detach() if name.startswith("dynamics") else value
        for name, value in theta.items()
    }
    z, total, generator = z.detach(), 0.0, torch.Generator().manual_seed(0)
    for _ in range(steps):
        logit = network(fixed, "controller", z)
        p = logit.sigmoid()
        action = (torch.rand(p.shape, generator=generator) < p).double()
        # the value is 0 or 1, the derivative that of p
        action = action + p - p.detach()
        guess = network(fixed, "dynamics", torch.cat((z, action), -1))
        z, reward = z + guess[..., :LATENT], guess[..., LATENT]
        entropy = -p * logsigmoid(logit) - (1 - p) * logsigmoid(-logit)
        total = total + reward + bonus * entropy[..., 0]
    return -total.mean(1) / steps


# %% [markdown]
# Which loss trains which network? The norm of each loss's gradient, by network:

# %%
PARTS, NAMES = tuple(SHAPES), ("reconstruction", "dynamics", "policy")


def gradient_norms(loss, theta):
    """Norm of a loss's gradient at each network; 0 where none arrives."""
    grads = torch.autograd.grad(
        loss.sum(), list(theta.values()), allow_unused=True, retain_graph=True
    )
    found = dict.fromkeys(PARTS, 0.0)
    for name, grad in zip(theta, grads, strict=True):
        found[name.split("_")[0]] += 0.0 if grad is None else grad.square().sum().item()
    return [found[part] ** 0.5 for part in PARTS]


generator = torch.Generator().manual_seed(0)
theta = initial(generator)
batch = rollout(theta, World(generator))
rows = [f"| loss | {' | '.join(PARTS)} |", "|---" * 5 + "|"]
for title, options, shown in (
    ("", {}, NAMES),
    (" without the stop-gradient", {"stop": False}, ["dynamics"]),
    (" of imagined rollouts", {"source": "imagined"}, ["policy"]),
    (", cut at the latent", {"cut": True}, ["policy"]),
):
    found = losses(theta, batch, **options)
    for name in shown:
        norms = " | ".join(
            f"{value:.3f}" for value in gradient_norms(found[name], theta)
        )
        rows.append(f"| {name}{title} | {norms} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# The encoder gets a gradient from all three losses: this is where the weights matter. Decoder, dynamics and
# controller each learn from a single loss, and with Adam its weight makes almost no difference to them.
#
# ## From scratch: training, and learned weights
#
# One step of Adam on each rollout. With `outer_rate` above 0 the weights are learned: the rollout of this
# step serves as the validation set of the step before, and then as training data. So learned weights use
# no additional rollouts.


# %%
def gradients(loss, theta):
    """Gradient of the sum over seeds in each parameter; zeros where none arrives."""
    values = list(theta.values())
    options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
    return torch.autograd.grad(loss.sum(), values, **options)


def validation_loss(theta, batch):
    """Policy loss without the entropy bonus, [seed]."""
    images, actions, rewards = batch
    z = network(theta, "encoder", images[:, :-1].flatten(1, 2))
    return policy_loss(theta, z, actions, rewards, bonus=0.0)


def weight_slopes(validation, by_loss, scale):
    """The boxed equation: derivatives of V in each weight, [seed, loss]."""
    slopes = [
        -sum(
            (v * p * g).sum((1, 2))
            for v, p, g in zip(validation, scale, loss, strict=True)
        )
        for loss in by_loss
    ]
    return torch.stack(slopes, -1)


# %%
def train(weights=(1.0, 1.0, 1.0), outer_rate=0.0, steps=size(160, fast=3), **options):
    """Mean returns and weights, [step, seed, ...], and the final parameters."""
    generator, rate = torch.Generator().manual_seed(1), 0.01
    theta, world = initial(generator), World(generator)
    inner = torch.optim.Adam(theta.values(), lr=rate, betas=(0.9, 0.99))
    phi = torch.tensor(weights).log().repeat(SEEDS, 1).requires_grad_()
    outer = torch.optim.Adam([phi], lr=outer_rate)
    returns, history, by_loss, scale = [], [], [], []
    for _ in range(steps):
        batch = rollout(theta, world)
        if returns and outer_rate:  # was the last step good for this rollout?
            validation = gradients(validation_loss(theta, batch), theta)
            slopes = weight_slopes(validation, by_loss, scale)
            phi.grad = torch.autograd.grad(3 * phi.softmax(-1), phi, slopes)[0]
            outer.step()
        w = (3 * phi.softmax(-1) if outer_rate else phi.exp()).detach()
        returns.append(batch[2].sum(1).mean(-1))
        history.append(w)
        parts = losses(theta, batch, **options)
        by_loss = [gradients(loss, theta) for loss in parts.values()]
        for i, value in enumerate(theta.values()):
            value.grad = sum(w[:, k, None, None] * by_loss[k][i] for k in range(3))
        inner.step()
        moments = [inner.state[value] for value in theta.values()]
        bias = 1 - 0.99 ** (len(returns))
        scale = [rate / ((m["exp_avg_sq"] / bias).sqrt() + 1e-8) for m in moments]
    return torch.stack(returns), torch.stack(history), theta


def fresh_return(theta):
    """Mean return of fresh rollouts by the likeliest actions, [seed]."""
    world = World(torch.Generator().manual_seed(99), copies=100)
    return rollout(theta, world, sample=False)[2].sum(1).mean(-1)


# %% [markdown]
# ## The library's version
#
# `LossWeightTuner` around a module with the same parameters and losses. With `first="model"` the model
# takes its step, and then the weights are updated from the validation loss, as above. Both use plain
# gradient descent here, and weights without a constraint, for an exact comparison: one seed, six
# rollouts.

# %%
from bilevel.loss_weights import LossWeights, LossWeightTuner

rate, generator = 0.02, torch.Generator().manual_seed(2)
theta = initial(generator, seeds=1)
small = World(generator, seeds=1)
batches = [rollout(theta, small) for _ in range(7)]
model = torch.nn.ParameterDict({name: value.detach() for name, value in theta.items()})
weights = LossWeights(NAMES, 1.0, "free")
inner, outer = (torch.optim.SGD(m.parameters(), lr=rate) for m in (model, weights))
tuner = LossWeightTuner(model, inner, weights, outer, first="model")
w, scale = torch.ones(1, 3), [rate] * len(theta)
for train_on, check_on in pairwise(batches):
    by_loss = [gradients(loss, theta) for loss in losses(theta, train_on).values()]
    theta = {
        name: (value - rate * sum(w[0, k] * by_loss[k][i] for k in range(3))).detach()
        for i, (name, value) in enumerate(theta.items())
    }
    theta = {name: value.requires_grad_() for name, value in theta.items()}
    validation = gradients(validation_loss(theta, check_on), theta)
    w = w - rate * weight_slopes(validation, by_loss, scale)
    tuner.step(
        lambda batch=train_on: {n: v.sum() for n, v in losses(model, batch).items()},
        lambda batch=check_on: validation_loss(model, batch).sum(),
    )
same = all(torch.allclose(model[name], value) for name, value in theta.items())
learned = weights.as_dict()
for k, name in enumerate(NAMES):
    print(f"{name:15} library {learned[name]:.10f}   from scratch {w[0, k]:.10f}")
print("parameters the same:", same)

# %% [markdown]
# ## Who decides how much each loss counts?
#
# Five settings by hand, one in which the policy gradient is cut at the latent (as in staged training, but all
# networks learn at the same time), and learned weights, each from the same initial models. The table has
# the mean return in each third of training, and that of the final policy on fresh rollouts, by its likeliest
# actions: interquartile means over the seeds with their 95 % intervals.

# %%
SETTINGS = {
    "equal": {},
    "reconstruction 0.1": {"weights": (0.1, 1.0, 1.0)},
    "dynamics 0.1": {"weights": (1.0, 0.1, 1.0)},
    "both 0.1": {"weights": (0.1, 0.1, 1.0)},
    "both 0.01": {"weights": (0.01, 0.01, 1.0)},
    "policy gradient cut": {"cut": True},
    "learned": {"outer_rate": 0.05},
}
RUNS = {name: train(**settings) for name, settings in SETTINGS.items()}

# %% tags=["hide-input"]
STYLES = ((GRAY, ":"), (AMBER, "--"), (RED, (0, (1, 1))), (BLACK, "-."))
STYLES += ((SKY, (0, (3, 1, 1, 1, 1, 1))), (PURPLE, (0, (5, 2))), (GREEN, "-"))
STYLES = dict(zip(SETTINGS, STYLES, strict=True))
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8))
for name, (color, dashes) in STYLES.items():
    returns = RUNS[name][0]
    x = torch.arange(len(returns)) * COPIES * TIME / 1000
    draw_band(left, x, returns, label=name, color=color, linestyle=dashes)
left.set(xlabel="environment steps (thousands)", ylabel="return of a rollout")
left.set(ylim=(4, 20.5))
handles = left.get_legend_handles_labels()
figure.legend(*handles, ncols=4, loc="outside upper center", fontsize=10)
for k, name in enumerate(NAMES):
    color, dashes = LOOKS[name]
    weight = RUNS["learned"][1][:, :, k]
    draw_band(right, x, weight, label=name, color=color, linestyle=dashes)
right.set(xlabel="environment steps (thousands)", ylabel="learned weight")
right.legend(title="loss")
plt.show()


def table(runs):
    """Returns in three parts of training, and of the final policy."""
    heads = ["training", "first third", "second", "last", "final policy"]
    rows = [f"| {' | '.join(heads)} |", "|---" * 5 + "|"]
    for name, (returns, _, theta) in runs.items():
        cells = [over_seeds(part.mean(0), 1) for part in returns.tensor_split(3)]
        cells.append(over_seeds(fresh_return(theta), 1))
        rows.append(f"| {name} | {' | '.join(cells)} |")
    display(Markdown("\n".join(rows)))


table(RUNS)
final = RUNS["learned"][1][-1]
cells = [f"{name} {over_seeds(final[:, k])}" for k, name in enumerate(NAMES)]
print(f"learned weights at the end: {', '.join(cells)}")

# %% [markdown]
# * **End to end is necessary here.** With the policy gradient cut at the latent, the controller has to
#   use what reconstruction and dynamics represent, and it hardly learns.
# * **Equal weights learn slowly.** Reconstruction needs the distractor most, because its bright pixels
#   cause most of the squared error. With a tenth of its weight the model learns much faster, and faster
#   still with a tenth or a hundredth of both weights. A tenth of the dynamics alone is *worse* than equal
#   weights: then reconstruction dominates.
# * **Learned weights are much faster than equal ones**, from which they start. They are behind the best
#   settings by hand in the first third, and slightly in the second, since they have to move first. Nobody
#   told the method which losses to reduce.
# * **Learned weights end at almost 0 for both model losses.** One step ahead, they hardly help the policy
#   loss in this task, so nothing keeps them. What is left acts well, and is *not a world model any more*:
#   do not imagine with its dynamics. If the model itself is wanted, say so in the validation loss, or fix
#   the weight of its losses.
# * Most settings reach the maximum in the end. So the weights decide *how fast* the model learns here.
#   Learned weights need a backward pass for each loss and one for the validation loss, where fixed ones
#   need a single one. (The code here always takes the three.)

# %% [markdown]
# ## What do stop-gradients do?
#
# The dynamics loss alone (the other weights are 0), with and without the stop-gradient at its target, and
# without it but with the reconstruction loss. Left the dynamics loss, right the standard deviation of the
# latents, mean over their 4 numbers:

# %%
CASES = {
    "stop-gradient": ((0.0, 1.0, 0.0), True, GREEN, "-"),
    "no stop-gradient": ((0.0, 1.0, 0.0), False, RED, ":"),
    "no stop-gradient, with reconstruction": ((1.0, 1.0, 0.0), False, BLUE, "--"),
}


def spread(weights, stop, steps=size(120, fast=3)):
    """Dynamics loss and standard deviation of the latents, [step, seed]."""
    generator = torch.Generator().manual_seed(3)
    theta, world, found = initial(generator), World(generator), []
    optimizer = torch.optim.Adam(theta.values(), lr=0.01)
    for _ in range(steps):
        batch = rollout(theta, world)
        parts = losses(theta, batch, stop=stop)
        z = network(theta, "encoder", batch[0].flatten(1, 2))
        found.append((parts["dynamics"].detach(), z.std(1).mean(-1).detach()))
        total = sum(w * part for w, part in zip(weights, parts.values(), strict=True))
        optimizer.zero_grad()
        total.sum().backward()
        optimizer.step()
    return [torch.stack(values) for values in zip(*found, strict=True)]


SPREAD = {name: spread(weights, stop) for name, (weights, stop, *_) in CASES.items()}

# %% tags=["hide-input"]
figure, panels = plt.subplots(1, 2, figsize=(11, 4.4))
for name, (_, _, color, dashes) in CASES.items():
    for axes, values in zip(panels, SPREAD[name], strict=True):
        x = range(len(values))
        draw_band(axes, x, values, label=name, color=color, linestyle=dashes)
panels[0].set(xlabel="training step", ylabel="dynamics loss (log scale)", yscale="log")
panels[1].set(xlabel="training step", ylabel="standard deviation of the latents")
panels[1].set_ylim(bottom=0)
handles = panels[0].get_legend_handles_labels()
figure.legend(*handles, ncols=3, loc="outside upper center")
plt.show()
for name, (loss, deviation) in SPREAD.items():
    print(f"{name}: dynamics loss {over_seeds(loss[-1])},", end=" ")
    print(
        f"standard deviation {over_seeds(deviation[0])}, then",
        over_seeds(deviation[-1]),
    )

# %% [markdown]
# * **Without the stop-gradient the dynamics loss is smallest, and the latents shrink.** A small loss
#   proves nothing: it is easy to predict latents that hardly vary. They do not vanish completely, because
#   they have to predict the reward.
# * **With the stop-gradient they grow**, after a dip. The target is data, and the encoder learns what helps
#   to predict it.
# * Adding the reconstruction loss does not prevent the shrinking: it keeps the latents different, but the
#   decoder can amplify small ones.

# %% [markdown]
# ## Real or imagined rollouts?
#
# The same training with weights of 0.1 for reconstruction and dynamics, and three sources of the policy
# gradient:

# %%
IMAGINED = {
    source: train(weights=(0.1, 0.1, 1.0), source=source)
    for source in ("real", "imagined", "both")
}
table(IMAGINED)

# %% [markdown]
# * **Real rollouts are enough here**, and imagined ones alone do not learn: the encoder gets no gradient
#   from the policy, and the dynamics are accurate only where the policy has been. Which of the two
#   matters was not tested.
# * **Both** are as good as real rollouts alone. In the library's study imagined rollouts alone do not learn
#   either, with or without an entropy bonus, and both together are worse than real ones (a return of 45
#   instead of 63; paired difference -19 [-40, -1]). In larger systems, imagination is what makes world
#   models efficient (Dreamer, below): it needs accurate dynamics, and many imagined steps for each real one.

# %% [markdown]
# ## And at a larger size?
#
# The library's task `world-model` is CartPole from images, with a recurrent network, a value head and
# 12,288 environment steps. Ten seeds could not tell whether learned weights are better than the best of
# four hand-set variants (a difference of 8, from -23 to 86). A power calculation asked for 97 seeds. With
# 100 new pairs, by a plan that was written before, learned weights have a return of 105 [94, 118], and
# the best hand-set variant one of 85 [78, 95]. The difference, paired by seed, is **+19 [6, 34]**. A trial
# takes **2.4 times as long**. The interval excludes 0, and contains 25, which the plan called the smallest
# difference worth detecting. Whether that is worth the time depends on what it costs to find good weights
# by hand.
#
# There, the hand-set variants that help have a low weight of the dynamics relative to the policy (here,
# a tenth of the dynamics alone is worse), and the method finds this without being told. The figures are
# in `docs/studies/world-model.md`.

# %% [markdown]
# ## Play
#
# Choose the weights of reconstruction and dynamics (that of the policy is 1). With an outer learning rate
# above 0 they are scaled to the sum 3 and learned from there. Where does the model still learn to act?
# Does learning find its way back from a bad beginning?


# %% tags=["hide-input"]
def play(reconstruction, dynamics, outer_rate):
    start = (reconstruction, dynamics, 1.0)
    returns, weights, _ = train(start, outer_rate, steps=size(80, fast=3))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    x = range(len(returns))
    draw_band(left, x, returns, label="return", color=BLUE)
    left.set(xlabel="training step", ylabel="return of a rollout", ylim=(4, 20.5))
    for k, name in enumerate(NAMES):
        color, dashes = LOOKS[name]
        look = {"label": name, "color": color, "linestyle": dashes}
        draw_band(right, x, weights[:, :, k], **look)
    right.set(xlabel="training step", ylabel="weight")
    right.legend(title="loss")
    plt.show()


# %%
explore(
    play,
    reconstruction=(0.1, 3.0, 0.1, 1.0),
    dynamics=(0.1, 3.0, 0.1, 1.0),
    outer_rate=(0.0, 0.2, 0.05, 0.1),
)

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/14_world_model.py`.
#
# **Exercise 1 (warm up).** Which losses train which network, with the stop-gradient, real rollouts, and
# end to end? `part` is encoder, decoder, dynamics or controller; return a list of the names of its
# losses. (Then compare with the table above.)


# %% tags=["exercise-1"]
def trained_by(part):
    return ...


# %% tags=["check-1"]
check_1(trained_by)

# %% [markdown]
# **Exercise 2 (a stop-gradient by hand).** All is one number: the encoder is $z = e\,x$, and the dynamics
# predict $\hat z' = q\, e\, x$ for the next latent $z' = e\, x'$. The loss is $\frac12 (\hat z' - z')^2$.
# Return its derivative in $e$ with the stop-gradient at $z'$, and without it. For which $e$ is the loss 0
# whatever $x$, $x'$ and $q$ are?


# %% tags=["exercise-2"]
def encoder_slopes(e, q, x, x_next):
    with_stop = ...
    without = ...
    return with_stop, without


# %% tags=["check-2"]
check_2(encoder_slopes)

# %% [markdown]
# **Exercise 3 (advantages).** Rewards are [time, copy]. The advantage is the *discounted* sum of the
# rewards from this step on, $r_t + \gamma r_{t+1} + \gamma^2 r_{t+2} + \cdots$, minus its mean over the
# *other* copies (leave one out), so that the baseline does not depend on the copy's own actions.


# %% tags=["exercise-3"]
def advantages(rewards, discount):
    return ...


# %% tags=["check-3"]
check_3(advantages)

# %% [markdown]
# **Exercise 4 (weights of a fixed sum).** The weights are $w = N \operatorname{softmax}(\varphi)$ for $N$
# losses, and `slopes` are the boxed $\partial V / \partial w_k$, [loss]. Return the derivatives
# $\partial V / \partial \varphi_k$, [loss], without autograd. What is their sum, and why?


# %% tags=["exercise-4"]
def logit_slopes(phi, slopes):
    return ...


# %% tags=["check-4"]
check_4(logit_slopes)

# %% [markdown]
# **For discussion.** (a) Which weights would you expect to be learned if the validation loss were the
# dynamics loss? (b) The distractor now moves predictably, like a pendulum. Which of the losses will
# represent it? (c) The validation loss looks one step ahead. Which effect of a good reconstruction does
# it not see?

# %% [markdown]
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. Why do loss weights matter for the encoder, and hardly for the decoder?</summary>
#
# All losses train the encoder, so that the weights decide among their gradients. Decoder and controller
# learn from one loss each, and Adam is invariant to the scale of a gradient.
#
# </details>
#
# <details><summary>2. What does the stop-gradient at the target of the dynamics prevent?</summary>
#
# It prevents the encoder from making latents predictable by making targets small or constant: the target
# counts as data.
#
# </details>
#
# <details><summary>3. Why is the validation loss not the reconstruction error?</summary>
#
# It is the policy loss on a rollout that the step has not used. The return is the actual objective;
# images count only if they help to act.
#
# </details>

# %% [markdown]
# ## What to read
#
# * Ha and Schmidhuber, *World models*, arXiv 1803.10122: autoencoder, recurrent dynamics, controller,
#   staged.
# * Hafner and others, *Dream to control: learning behaviors by latent imagination*, arXiv 1912.01603:
#   gradients through imagined rollouts.
# * Schulman and others, *High-dimensional continuous control using generalized advantage estimation*, arXiv
#   1506.02438: a better estimate of advantages than the one above.
# * In this toolkit: `docs/studies/world-model.md`, `docs/how-to/loss-weights.md`, and
#   `bilevel tune world-model --help`.
# * Next: `15_experts_routers_and_curricula`.
