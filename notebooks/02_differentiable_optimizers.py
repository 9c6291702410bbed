# %% [markdown]
# # 2. Differentiable optimizers
#
# **How do you differentiate an optimizer, and where do gradients get lost?**
#
# Two sensors measure the same curve: one is noisy, the other has an offset of 1. A network learns from both,
# with the loss weights $\varphi$ (phi) and $1 - \varphi$. What is the derivative of the validation loss after
# training with respect to $\varphi$, which acts only through the optimizer's updates?
#
# **Goals.** After this lesson you can write an optimizer as a pure function, find where a graph is cut, and
# test a hypergradient by finite differences.
#
# **Prerequisites.** Lesson 01. About 40 minutes.

# %% tags=["setup", "hide-input"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("bilevel") is None:  # not installed yet, as in Colab
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "bilevel[lessons]"], check=True)

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.func import functional_call, grad

from bilevel.lessons import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED
from bilevel.lessons import explore, size, use_style
from bilevel.lessons.checks.differentiable_optimizers import check_1, check_2, check_3

use_style()
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A picture of the answer
#
# Validation loss after ten steps of gradient descent, for each $\varphi$: differentiating *through* the steps
# gives its slope; detaching the weights between the steps gives a wrong one.

# %% tags=["hide-input"]
from bilevel import BilevelProblem, Unrolled, inner_step
from bilevel.hypergradient import Truncated
from bilevel.optimizers import sgd

draw = torch.Generator().manual_seed(0)
inputs = torch.linspace(-2, 2, 32)[:, None]
noisy = torch.sin(2 * inputs) + 0.3 * torch.randn(32, 1, generator=draw)
shifted = torch.sin(2 * inputs) + 1
checked = torch.linspace(-1.9, 1.9, 9)[:, None]

model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
for weight in model.parameters():
    weight.data = torch.randn(weight.shape, generator=draw) * 0.5
START = {name: weight.detach().clone() for name, weight in model.named_parameters()}


def inner_loss(theta, phi, data):
    predicted = functional_call(model, theta, (inputs,))
    first, second = ((predicted - target) ** 2 for target in (noisy, shifted))
    return phi * first.mean() + (1 - phi) * second.mean()


def outer_loss(theta, phi, data):
    predicted = functional_call(model, theta, (checked,))
    return ((predicted - torch.sin(2 * checked)) ** 2).mean()


inner = sgd(0.1)
problem = BilevelProblem(step=inner_step(inner_loss, inner), outer_loss=outer_loss)


def estimate(estimator, phi):
    return estimator(problem, START, inner.init(START), phi, steps=10)


phis, half = torch.linspace(0, 1, 21), torch.tensor(0.5)
ends = [estimate(Truncated(steps=1), phi).theta for phi in phis]
height = outer_loss(estimate(Truncated(steps=1), half).theta, half, None)
reach = torch.tensor([-0.25, 0.25])
figure, axes = plt.subplots(figsize=(8, 4))
losses = [outer_loss(end, None, None) for end in ends]
axes.plot(phis, losses, color=GRAY, label="validation loss after 10 steps")
axes.plot(0.5, height, "o", color=BLACK)
for label, estimator, color, dashes in (
    ("slope through all steps", Unrolled(), BLUE, "--"),
    ("slope if weights are detached", Truncated(steps=1), RED, ":"),
):
    slope = estimate(estimator, half).gradient
    look = {"color": color, "linestyle": dashes, "label": f"{label}: {slope:.4f}"}
    axes.plot(0.5 + reach, height + slope * reach, **look)
axes.set(xlabel="weight of the noisy sensor, $\\varphi$", ylabel="validation loss")
axes.legend()
plt.show()

# %% [markdown]
# ## The idea in words
#
# `optimizer.step()` updates the weights *in place*, outside the autograd graph. The new weights are leaf
# tensors without a history. Nothing connects them to $\varphi$, and the gradient with respect to $\varphi$ is
# `None`.
#
# The remedy: write the step as a **pure function**. Weights, the optimizer state (momentum, Adam's moments)
# and $\varphi$ go in; new weights and a new state come out; nothing is changed in place. Then the chain
# rule of lesson 1 applies, with the pair of weights and optimizer state as $\theta$. TorchOpt, higher and
# this toolkit achieve this in different ways:
#
# * **higher** takes your `nn.Module` and your `torch.optim` optimizer, and gives you copies of both without
#   in-place updates.
# * **TorchOpt** has its own optimizers: as functions (`init`, `update`) or as `MetaSGD`, `MetaAdam` for
#   modules.
# * **This toolkit** uses TorchOpt's functional form, and keeps the graph of all steps while it is small.
#   Beyond 1 GiB it stores only the weights between steps, and recomputes one step at a time during
#   backpropagation (the *reverse sweep*).

# %% [markdown]
# ## The key equation
#
# Let $g_k$ be the gradient of the training loss with respect to the weights $\theta_k$, and $r$ the learning
# rate. Gradient descent is $\theta_{k+1} = \theta_k - r g_k$. Adam keeps a moving average $m$ of the
# gradients and a moving average $v$ of their squares, for every weight separately, and the step count $t$;
# $\beta_1, \beta_2$ are the decay rates, and $\varepsilon$ (epsilon) keeps the quotient finite. Primes
# denote new values:
#
# $$m' = \beta_1 m + (1 - \beta_1)\, g, \qquad v' = \beta_2 v + (1 - \beta_2)\, g^2, \qquad
# \theta' = \theta - r\, \frac{m' / (1 - \beta_1^t)}{\sqrt{v' / (1 - \beta_2^t)} + \varepsilon}.$$
#
# In the first step the bias-corrected averages are $g$ and $g^2$ themselves. So Adam's first update $u$
# (which is multiplied by $-r$) and its derivative are
#
# $$u(g) = \frac{g}{|g| + \varepsilon}, \qquad
# \boxed{\ \frac{du}{dg} = \frac{\varepsilon}{(|g| + \varepsilon)^2}\ }$$
#
# Look at the boxed derivative. Where $|g|$ is much larger than $\sqrt{\varepsilon}$ it is nearly 0: the
# update is $\pm 1$ whatever the size of the gradient. Where $|g|$ is much smaller than $\varepsilon$ it is
# about $1/\varepsilon$: a hundred million, if $\varepsilon$ is the usual $10^{-8}$. A hypergradient contains
# products of such derivatives, so it can depend strongly on $\varepsilon$, which is rarely tuned.

# %% [markdown]
# ## From scratch
#
# The cell of the first figure defines the data: `inputs`, the measurements `noisy` and `shifted`, and the
# validation set, a few points `checked` where we know the true values; and a small network `model` with its
# initial weights `START`. What we need: the prediction as a function of the weights, and the two losses.

# %%
RATE, STEPS, HALF = 0.1, 10, torch.tensor(0.5)


def predict(theta, x):
    return functional_call(model, theta, (x,))


def training_loss(predicted, phi):
    """The inner loss: the weighted losses of both sensors."""
    first, second = ((predicted - target) ** 2 for target in (noisy, shifted))
    return phi * first.mean() + (1 - phi) * second.mean()


def validation_loss(predicted):
    """The outer loss: the error at the validation points. It does not contain phi."""
    return ((predicted - torch.sin(2 * checked)) ** 2).mean()


# %% [markdown]
# The usual training loop, with `torch.optim`, has no gradient with respect to $\varphi$:

# %%
learner = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
learner.load_state_dict(START)
phi = HALF.clone().requires_grad_()
optimizer = torch.optim.SGD(learner.parameters(), lr=RATE)
for _ in range(STEPS):
    optimizer.zero_grad()
    training_loss(learner(inputs), phi).backward()
    optimizer.step()
loss = validation_loss(learner(checked))
(found,) = torch.autograd.grad(loss, phi, allow_unused=True)
print("gradient of the usual loop:", found)

# %% [markdown]
# Now gradient descent as a pure function, and the validation loss as a function of $\varphi$:


# %%
def mapped(function, *trees):
    """Apply a function to each of the model's weights."""
    return {name: function(*(tree[name] for tree in trees)) for name in trees[0]}


def training_gradient(theta, phi):
    return grad(lambda weights: training_loss(predict(weights, inputs), phi))(theta)


def sgd_step(theta, phi):
    """One step of gradient descent: weights in, new weights out."""
    g = training_gradient(theta, phi)
    return mapped(lambda weight, g: weight - RATE * g, theta, g)


def after_sgd(phi, steps=STEPS):
    theta = START
    for _ in range(steps):
        theta = sgd_step(theta, phi)
    return validation_loss(predict(theta, checked))


# %% [markdown]
# Adam has a state: both moving averages, and the step count.

# %%
ADAM_RATE, (BETA_1, BETA_2) = 0.02, (0.9, 0.999)


def adam_step(theta, state, phi, epsilon):
    m, v, t = state
    g, t = training_gradient(theta, phi), t + 1
    m = mapped(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, m, g)
    v = mapped(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, v, g)

    def update(weight, m, v):
        root = (v / (1 - BETA_2**t)).sqrt()
        return weight - ADAM_RATE * (m / (1 - BETA_1**t)) / (root + epsilon)

    return mapped(update, theta, m, v), (m, v, t)


def after_adam(phi, epsilon=1e-8, steps=STEPS):
    zeros = mapped(torch.zeros_like, START)
    theta, state = START, (zeros, zeros, 0)
    for _ in range(steps):
        theta, state = adam_step(theta, state, phi, epsilon)
    return validation_loss(predict(theta, checked))


h = 1e-6
for name, after in (("gradient descent", after_sgd), ("Adam", after_adam)):
    difference = (after(HALF + h) - after(HALF - h)) / (2 * h)
    print(f"through {name:17}{grad(after)(HALF):.8f}")
    print(f"    finite differences   {difference:.8f}")

# %% [markdown]
# ## The library's version, and two others
#
# The same problem, the same initial weights, ten steps. Compare what each library needs. (`make` builds an
# optimizer for weights or for a module.) **higher** copies your module and your optimizer, without in-place
# updates:

# %%
from functools import partial

import higher


def with_higher(make, steps=STEPS):
    phi = HALF.clone().requires_grad_()
    with higher.innerloop_ctx(model, make(model.parameters())) as (learner, optimizer):
        for _ in range(steps):
            optimizer.step(training_loss(learner(inputs), phi))
        return torch.autograd.grad(validation_loss(learner(checked)), phi)[0]


# %% [markdown]
# **TorchOpt**'s optimizer replaces the weights of your module, which must be restored afterwards:

# %%
import torchopt


def with_torchopt(make, steps=STEPS):
    phi = HALF.clone().requires_grad_()
    optimizer = make(model)
    for _ in range(steps):
        optimizer.step(training_loss(model(inputs), phi))
    slope = torch.autograd.grad(validation_loss(model(checked)), phi)[0]
    torchopt.stop_gradient(model)
    model.load_state_dict(START)
    return slope


# %% [markdown]
# In **this toolkit** a loss and an optimizer make a step; a step and an outer loss make a problem; an
# estimator differentiates it:

# %%
from bilevel.hypergradient import Forward
from bilevel.optimizers import adam


def problem_of(optimizer):
    def inner_loss(theta, phi, data):
        return training_loss(predict(theta, inputs), phi)

    def outer_loss(theta, phi, data):
        return validation_loss(predict(theta, checked))

    return BilevelProblem(step=inner_step(inner_loss, optimizer), outer_loss=outer_loss)


def with_ours(optimizer, estimator=Unrolled(), steps=STEPS):
    problem, state = problem_of(optimizer), optimizer.init(START)
    return estimator(problem, START, state, HALF, steps=steps).gradient


# %%
from IPython.display import Markdown, display

torch_sgd, torch_adam = torch.optim.SGD, torch.optim.Adam
higher_sgd = with_higher(partial(torch_sgd, lr=RATE))
higher_adam = with_higher(partial(torch_adam, lr=ADAM_RATE))
torchopt_sgd = with_torchopt(partial(torchopt.MetaSGD, lr=RATE))
torchopt_adam = with_torchopt(partial(torchopt.MetaAdam, lr=ADAM_RATE))
rows = ["| hypergradient | gradient descent | Adam |", "|---|---|---|"]
for name, by_sgd, by_adam in (
    ("from scratch", grad(after_sgd)(HALF), grad(after_adam)(HALF)),
    ("higher", higher_sgd, higher_adam),
    ("TorchOpt", torchopt_sgd, torchopt_adam),
    ("this toolkit", with_ours(sgd(RATE)), with_ours(adam(ADAM_RATE))),
):
    rows.append(f"| {name} | {by_sgd:.10f} | {by_adam:.10f} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# With gradient descent all printed digits agree. With Adam `higher` differs from the others in the seventh
# digit. That is not a bug: it adds $\varepsilon$ to $\sqrt{v'}$ *before* the bias correction by
# $1 - \beta_2^t$, the others add it afterwards. In the first step that makes its $\varepsilon$ larger by a
# factor of $1/\sqrt{1 - \beta_2} \approx 32$. Is that as harmless as it looks?
#
# ## Adam's epsilon
#
# Left, the boxed derivative against the size of the gradient. Right, the validation loss after a single
# step of Adam, as a function of $\varphi$. Three values of $\varepsilon$ each:

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
sizes = torch.logspace(-10, 1, 200)
phis = torch.linspace(0, 1, size(401, fast=11))
LOOKS = {1e-8: (RED, ":"), 1e-2: (AMBER, "-."), 1e-1: (BLUE, "-")}
for epsilon, (color, dashes) in LOOKS.items():
    label = f"$\\varepsilon$ = {epsilon:g}"
    look = {"color": color, "linestyle": dashes, "label": label}
    left.plot(sizes, epsilon / (sizes + epsilon) ** 2, **look)
    losses = torch.func.vmap(lambda phi: after_adam(phi, epsilon, steps=1))(phis)
    right.plot(phis, losses, **look)
left.set(xscale="log", yscale="log", xlabel="size of the gradient |g|")
left.set_ylabel("slope du/dg of Adam's first update")
left.legend()
right.set_xlabel("weight of the noisy sensor, $\\varphi$")
right.set_ylabel("validation loss after one step of Adam")
right.legend()
plt.show()

# %% [markdown]
# With a tiny $\varepsilon$ the right curve is a staircase: constant while no weight's gradient changes its
# sign, then a jump. Its derivative is 0 nearly everywhere: correct, and useless. A larger $\varepsilon$
# turns the jumps into ramps. So both the size of $\varepsilon$ and its place, before or after the bias
# correction, can change a hypergradient by more than its own size. Here is the hypergradient at
# $\varphi = 0.5$, for every $\varepsilon$, with both places, after one step and after ten:


# %% tags=["hide-input"]
def both_places(epsilon, steps):
    """The hypergradient, with epsilon after and before the bias correction."""
    make = partial(torch.optim.Adam, lr=ADAM_RATE, eps=epsilon)
    ours = with_ours(adam(ADAM_RATE, epsilon=epsilon), steps=steps)
    return torch.stack((ours, with_higher(make, steps)))


epsilons = torch.logspace(-8, 0, size(17, fast=3))
figure, all_axes = plt.subplots(1, 2, figsize=(11, 4.2))
after_label = "after bias correction (PyTorch, TorchOpt, bilevel)"
for axes, steps in zip(all_axes, (1, 10), strict=True):
    after, before = torch.stack([both_places(float(e), steps) for e in epsilons]).T
    axes.plot(epsilons, after, color=BLUE, label=after_label)
    axes.plot(epsilons, before, color=RED, linestyle="--", label="before (higher)")
    axes.set(xscale="log", xlabel="$\\varepsilon$", ylabel="hypergradient")
    axes.set_title(f"{steps} step{'s' * (steps > 1)} of Adam")
handles = all_axes[0].get_legend_handles_labels()
figure.legend(*handles, loc="outside upper center", ncols=2)
plt.show()

after, before = both_places(1e-2, steps=1)
print(f"one step, epsilon = 0.01: {after:.4f} if added after the correction,", end=" ")
print(f"{before:.4f} if before ({before / after:.0f} times as large)")

# %% [markdown]
# After ten steps the hypergradient is not 0 even for a tiny $\varepsilon$. From the second step on, an update
# depends on the ratio of the new gradient to the earlier ones, and this ratio changes with $\varphi$.
#
# Recommendation: state which convention you use. In an inner loop that you differentiate, take an
# $\varepsilon$ that is not small compared with the gradients, or use plain gradient descent.
#
# ## Memory
#
# `higher` and TorchOpt build one graph over all steps and keep all intermediate values; so does `Unrolled`
# while that takes less than 1 GiB, since it is faster. With `recompute=True` it stores only the weights
# between steps, and recomputes each step in the reverse sweep. If there are many steps, storing only some of
# these weights (*checkpointing*), or propagating the derivative forward (*forward mode*), takes even less
# memory. The figure shows the peak memory in tensors against the number of steps; the lines of TorchOpt and
# `higher` nearly coincide:

# %%
from bilevel.hypergradient import measure_peak

meta_sgd, plain_sgd = partial(torchopt.MetaSGD, lr=RATE), partial(torch_sgd, lr=RATE)
RUNS = {
    "TorchOpt": lambda n: with_torchopt(meta_sgd, n),
    "higher": lambda n: with_higher(plain_sgd, n),
    "recompute each step": lambda n: with_ours(sgd(RATE), Unrolled(recompute=True), n),
    "sqrt(K) checkpoints": lambda n: with_ours(sgd(RATE), Unrolled(segments="sqrt"), n),
    "forward mode (one phi)": lambda n: with_ours(sgd(RATE), Forward(), n),
}
counts = [2**power for power in range(1, size(8, fast=3))]
cpu = torch.device("cpu")
peaks = {
    name: [measure_peak(lambda: run(n), cpu)[1] / 1024 for n in counts]
    for name, run in RUNS.items()
}

# %% tags=["hide-input"]
LONG = (0, (6, 2, 1, 2))
LOOKS = ((RED, ":"), (BLACK, "-."), (BLUE, "-"), (GREEN, "--"), (PURPLE, LONG))
figure, axes = plt.subplots()
rows = [f"| | peak memory for $K = {counts[-1]}$ |", "|---|---|"]
for (name, peak), (color, dashes) in zip(peaks.items(), LOOKS, strict=True):
    look = {"color": color, "linestyle": dashes, "marker": "o", "markersize": 4}
    axes.plot(counts, peak, label=name, **look)
    rows.append(f"| {name} | {peak[-1]:.0f} KiB |")
axes.set(xscale="log", yscale="log", xlabel="steps K", ylabel="peak memory (KiB)")
axes.legend()
plt.show()
display(Markdown("\n".join(rows)))

# %% [markdown]
# ## Where a gradient gets lost
#
# The same ten steps of gradient descent, in several variants. The function below is correct; each variant
# replaces one part of it: how gradients are computed, what happens to the weights between the steps, or how
# $\varphi$ enters the loss.


# %%
def same(value):
    return value


def hypergradient(gradients_of, *, between=same, weigh=same):
    """The hypergradient of ten steps, or None if there is none."""
    phi = HALF.clone().requires_grad_()
    theta = mapped(lambda weight: weight.clone().requires_grad_(), START)
    for _ in range(STEPS):
        theta = mapped(between, theta)
        loss = training_loss(predict(theta, inputs), weigh(phi))
        slopes = dict(zip(theta, gradients_of(loss, list(theta.values())), strict=True))
        theta = mapped(lambda weight, g: weight - RATE * g, theta, slopes)
    loss = validation_loss(predict(theta, checked))
    return torch.autograd.grad(loss, phi, allow_unused=True)[0]


# %% [markdown]
# The variants. Clipping, common in practice, scales down gradients whose norm is larger than 0.2.


# %%
def with_graph(loss, weights):
    return torch.autograd.grad(loss, weights, create_graph=True)


def without_graph(loss, weights):
    return torch.autograd.grad(loss, weights)


def clipped(loss, weights, read=same):
    slopes = with_graph(loss, weights)
    norm = torch.stack([(g**2).sum() for g in slopes]).sum().sqrt()
    scale = (0.2 / read(norm)).clamp(max=1)
    return [scale * g for g in slopes]


def clipped_detached(loss, weights):
    return clipped(loss, weights, torch.detach)


def detach(weight):
    return weight.detach().requires_grad_()


def rounded(weight):
    return weight.float().double()


# %% [markdown]
# Two mistakes are easy to notice (`None`). The dangerous ones return a wrong number.

# %%
true, true_clipped = hypergradient(with_graph), hypergradient(clipped)
by_item = hypergradient(with_graph, weigh=torch.Tensor.item)
by_detached = hypergradient(with_graph, between=detach)
by_rounded = hypergradient(with_graph, between=rounded)
rows = ["| variant | gradient | correct |", "|---|---|---|"]
for name, found, correct in (
    ("no mistake", true, true),
    ("`create_graph` forgotten", hypergradient(without_graph), true),
    ("`phi.item()` in the loss", by_item, true),
    ("weights detached between steps", by_detached, true),
    ("weights rounded to float32", by_rounded, true),
    ("clipped, norm differentiated", true_clipped, true_clipped),
    ("clipped, norm detached", hypergradient(clipped_detached), true_clipped),
):
    shown = "`None`" if found is None else f"{found:.6f}"
    rows.append(f"| {name} | {shown} | {correct:.6f} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# Rounding does no harm here. *Detached between steps* leaves only the contribution of the last step: lesson
# 1's `truncated` to 1, by accident. *Norm detached* is how TorchOpt's `clip_grad_norm` is implemented. With
# several agents there is one more variant, the worst: an agent's own weights are detached in the losses of
# the other agents. The steps are bit-for-bit correct and the hypergradient is not. (A single learner cannot
# show this.)
#
# How do you detect a wrong number? **Compare with finite differences.** They change $\varphi$ a little and
# train again; they use no autograd graph, so they cannot lose a gradient. Below is the library's check, first
# of its own clipping, then of TorchOpt's. (Its *cosine* is that of the angle between the two gradients. With
# a single outer variable it only says that the signs agree.)

# %%
from torchopt.clip import clip_grad_norm

from bilevel import check_hypergradient
from bilevel.optimizers import chain, clip_by_norm

own, other = clip_by_norm(0.2), clip_grad_norm(0.2)
for name, clip in (("this toolkit's", own), ("TorchOpt's", other)):
    inner = chain(clip, sgd(RATE))
    problem, state = problem_of(inner), inner.init(START)
    result = check_hypergradient(problem, START, state, HALF, steps=STEPS)
    print(f"{name} clipping: {'correct' if result.passed else 'WRONG'}\n{result}\n")

# %% [markdown]
# ## Play
#
# The validation loss after some steps of Adam, and its derivative at $\varphi$. Take one step, and make
# $\varepsilon$ small; then take more steps. How many does it take until the slope clearly differs from 0?


# %% tags=["hide-input"]
def play(phi, steps, log10_epsilon):
    def after(value):
        return after_adam(value, 10.0**log10_epsilon, steps)

    here, reach = torch.tensor(phi), torch.tensor([-0.125, 0.125])
    phis = torch.linspace(0, 1, size(121, fast=5))
    figure, axes = plt.subplots()
    label = f"after {steps} step{'s' * (steps > 1)} of Adam"
    axes.plot(phis, torch.func.vmap(after)(phis), color=GRAY, label=label)
    height, slope = after(here), grad(after)(here)
    axes.plot(here, height, "o", color=BLACK)
    look = {"color": BLUE, "linestyle": "--", "label": f"slope {slope:.3f}"}
    axes.plot(here + reach, height + slope * reach, **look)
    axes.set(xlabel="weight of the noisy sensor, $\\varphi$", ylabel="validation loss")
    axes.set(xlim=(0, 1), title=f"$\\varepsilon = 10^{{{log10_epsilon:g}}}$")
    axes.legend()
    plt.show()


# %%
epsilons = (-8.0, 0.0, 0.5, -3.0)
explore(play, phi=(0.05, 0.95, 0.05, 0.5), steps=(1, 30, 1, 3), log10_epsilon=epsilons)

# %% [markdown]
# ## Exercises
#
# Replace the dots by your answer, run its cell, then the check below it. The solutions are in
# `solutions/02_differentiable_optimizers.py`.
#
# **Exercise 1 (warm up).** RMSProp's first update is $u(g) = g / (\sqrt{(1 - \beta)\, g^2} + \varepsilon)$,
# since it has no bias correction. Differentiate it by hand, for any $g$: positive, negative, or 0.


# %% tags=["exercise-1"]
def rmsprop_slope(g, beta, epsilon):
    return ...


# %% tags=["check-1"]
check_1(rmsprop_slope)

# %% [markdown]
# **Exercise 2 (a differentiable step).** Momentum keeps a buffer $b$ (`trace`) with decay $\mu$ (mu):
# $b' = \mu\, b + g$, and $\theta' = \theta - r\, b'$. Write it as a pure function, without in-place updates.
# `theta` and `trace` are dictionaries as above; `mapped` helps. The check compares the weights *and* the
# derivative through ten steps.


# %% tags=["exercise-2"]
def momentum_step(theta, trace, phi, rate, mu):
    g = grad(lambda weights: training_loss(predict(weights, inputs), phi))(theta)
    new_trace = ...
    new_theta = ...
    return new_theta, new_trace


# %% tags=["check-2"]
check_2(momentum_step, START, problem_of)

# %% [markdown]
# **Exercise 3 (checkpointing).** In the forward pass store only the weights of every `every`-th step, and
# recompute those in between during the reverse sweep. What is missing is `segment`: the list of the weights
# before step `first`, before step `first + 1`, and so on, up to, but not including, the next checkpoint (or
# the end). Compute them from `checkpoints[first]`. (More than one line is fine.)


# %% tags=["exercise-3"]
def segmented(phi, steps, every):
    theta, checkpoints = START, {}
    for k in range(steps):
        if k % every == 0:
            checkpoints[k] = theta
        theta = sgd_step(theta, phi)
    a = grad(lambda weights: validation_loss(predict(weights, checked)))(theta)
    total = torch.zeros_like(phi)
    for first in sorted(checkpoints, reverse=True):
        segment = ...
        for theta in reversed(segment):
            _, vjp = torch.func.vjp(sgd_step, theta, phi)
            a, contribution = vjp(a)
            total = total + contribution
    return total


# %% tags=["check-3"]
check_3(segmented, lambda phi, steps: grad(lambda value: after_sgd(value, steps))(phi))

# %% [markdown]
# **For discussion.** (a) Dropout draws a new mask in every step. What must be stored for the reverse sweep?
# (b) Which `every` needs the least memory in exercise 3, if each stored and each recomputed state cost the
# same? (c) A colleague's loop trains well, but the loss weight never changes. What do you check first?

# %% [markdown]
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. Why is the gradient with respect to φ None after the usual training loop?</summary>
#
# `optimizer.step()` updates the weights in place, outside the graph: nothing connects them to $\varphi$.
#
# </details>
#
# <details><summary>2. Why is the hypergradient through one step of Adam nearly 0 if ε is tiny?</summary>
#
# The first update is $\pm 1$ (times the rate), whatever the size of the gradient. A small change of $\varphi$
# changes the size of the gradients, but rarely their signs.
#
# </details>
#
# <details><summary>3. Training works, but is the hypergradient right: how do you find out?</summary>
#
# Compare it with finite differences, which use no graph and cannot lose a gradient.
#
# </details>

# %% [markdown]
# ## What to read
#
# * Grefenstette and others, *Generalized inner loop meta-learning* (`higher`), arXiv 1910.01727; Ren and
#   others, *TorchOpt: an efficient library for differentiable optimization*, arXiv 2211.06934.
# * Kingma and Ba, *Adam*, arXiv 1412.6980: the place of $\varepsilon$ in the formulas.
# * Chen and others, *Training deep nets with sublinear memory cost*, arXiv 1604.06174: checkpointing.
# * In this toolkit: `docs/how-to/loss-weights.md` adds this lesson's task to your own training loop, in five
#   new lines; `tests/benchmarks/RESULTS.md` compares time and memory of all three.
# * Next: `09_learning_loss_weights` with this lesson's tools, or `03_social_dilemmas`, which needs none.
