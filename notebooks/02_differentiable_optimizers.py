# %% [markdown]
# # 2. Differentiable optimizers
#
# **An optimizer changes the weights. How do you differentiate *through* its updates, and where do gradients
# get lost?**
#
# Two sensors measure the same curve. One is noisy, the other has an offset of 1. A network learns from
# both; $\varphi$ (phi) is the loss weight of the noisy sensor, $1 - \varphi$ that of the shifted one. We know
# the true values at a few points, the validation set, and want to minimize the validation loss after
# training. Gradient descent in $\varphi$ needs its derivative with respect to $\varphi$, which acts only
# through the optimizer's updates.

# %% tags=["setup"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("bilevel") is None:  # not installed yet, as in Colab
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "bilevel[lessons]"], check=True)

# %%
import higher
import matplotlib.pyplot as plt
import torch
import torchopt
from torch import nn
from torch.func import functional_call, grad

from bilevel.lessons import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED
from bilevel.lessons import explore, size, use_style
from bilevel.lessons.checks.differentiable_optimizers import check_1, check_2, check_3

use_style()
torch.set_default_dtype(torch.float64)
draw = torch.Generator().manual_seed(0)

inputs = torch.linspace(-2, 2, 32)[:, None]
noisy = torch.sin(2 * inputs) + 0.3 * torch.randn(32, 1, generator=draw)
shifted = torch.sin(2 * inputs) + 1
checked = torch.linspace(-1.9, 1.9, 9)[:, None]

model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
for weight in model.parameters():
    weight.data = torch.randn(weight.shape, generator=draw) * 0.5
START = {name: weight.detach().clone() for name, weight in model.named_parameters()}


def training_loss(predicted, phi):
    """The inner loss: both sensors, weighted."""
    return (
        phi * ((predicted - noisy) ** 2).mean()
        + (1 - phi) * ((predicted - shifted) ** 2).mean()
    )


def validation_loss(predicted):
    """The outer loss: the error at the validation points. It does not contain phi."""
    return ((predicted - torch.sin(2 * checked)) ** 2).mean()


# %% [markdown]
# ## A picture of the answer
#
# The curve is the validation loss after ten steps of gradient descent, for each weight $\varphi$; the dot
# is at $\varphi = 0.5$. Differentiating *through* the ten steps gives the slope of the curve there. The
# usual training loop, with `torch.optim`, gives no gradient.

# %%
RATE, STEPS, HALF = 0.1, 10, torch.tensor(0.5)


def predict(theta, x):
    return functional_call(model, theta, (x,))


def sgd_step(theta, phi):
    """One step of gradient descent as a pure function: weights in, new weights out."""
    slopes = grad(lambda weights: training_loss(predict(weights, inputs), phi))(theta)
    return {name: theta[name] - RATE * slopes[name] for name in theta}


def after_sgd(phi, steps=STEPS):
    theta = START
    for _ in range(steps):
        theta = sgd_step(theta, phi)
    return validation_loss(predict(theta, checked))


def usual_loop():
    """The gradient of phi by the usual training loop, or None."""
    learner = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
    learner.load_state_dict(START)
    phi = HALF.clone().requires_grad_()
    optimizer = torch.optim.SGD(learner.parameters(), lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        training_loss(learner(inputs), phi).backward()
        optimizer.step()
    return torch.autograd.grad(
        validation_loss(learner(checked)), phi, allow_unused=True
    )[0]


phis = torch.linspace(0, 1, 21)


# %% tags=["hide-input"]
figure, axes = plt.subplots()
axes.plot(
    phis,
    torch.func.vmap(after_sgd)(phis),
    color=GRAY,
    label="validation loss after 10 steps",
)
here, slope = after_sgd(HALF), grad(after_sgd)(HALF)
axes.plot(0.5, here, "o", color=BLACK)
reach = torch.tensor([-0.25, 0.25])
axes.plot(
    0.5 + reach,
    here + slope * reach,
    color=BLUE,
    linestyle="--",
    label=f"gradient through the steps: {slope:.4f}",
)
axes.plot(
    0.5 + reach,
    here + 0 * reach,
    color=RED,
    linestyle=":",
    label=f"gradient of the usual loop: {usual_loop()} (drawn as 0)",
)
axes.set(xlabel="weight of the noisy sensor, $\\varphi$", ylabel="validation loss")
axes.legend()
plt.show()

# %% [markdown]
# ## The idea in words
#
# `optimizer.step()` updates the weights *in place*, outside the autograd graph. The new weights are leaf
# tensors without a history. Nothing connects them to $\varphi$, and the gradient in $\varphi$ is `None`.
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
# * **This toolkit** uses TorchOpt's functional form, and keeps the graph of all steps while it is small:
#   beyond 1 GiB it stores the weights between steps, and recomputes one step at a time in the reverse
#   sweep.

# %% [markdown]
# ## The key equation
#
# Let $g_k$ be the gradient of the training loss in the weights $\theta_k$, $r$ the learning rate. Gradient
# descent is $\theta_{k+1} = \theta_k - r g_k$. Adam keeps a moving average $m$ of the gradients and a
# moving average $v$ of their squares, for every weight separately, and the step count $t$;
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
# Look at the boxed derivative. Where $|g|$ is much larger than $\varepsilon$ it is nearly 0: the update is
# $\pm 1$ whatever the size of the gradient. Where $|g|$ is as small as $\varepsilon$ it is about
# $1/\varepsilon$: a hundred million, if $\varepsilon$ is the usual $10^{-8}$. A hypergradient contains
# products of such derivatives, so it depends strongly on $\varepsilon$, which is rarely tuned.

# %% [markdown]
# ## From scratch
#
# Both optimizers as pure functions, and the derivative through all their steps.

# %%
ADAM_RATE, BETAS = 0.02, (0.9, 0.999)


def mapped(function, *trees):
    """Apply a function to each of the model's weights."""
    return {name: function(*(tree[name] for tree in trees)) for name in trees[0]}


def adam_step(theta, state, phi, epsilon):
    (m, v, t), (beta_1, beta_2) = state, BETAS
    g = grad(lambda weights: training_loss(predict(weights, inputs), phi))(theta)
    t = t + 1
    m = mapped(lambda m, g: beta_1 * m + (1 - beta_1) * g, m, g)
    v = mapped(lambda v, g: beta_2 * v + (1 - beta_2) * g * g, v, g)

    def update(theta, m, v):
        return theta - ADAM_RATE * (m / (1 - beta_1**t)) / (
            (v / (1 - beta_2**t)).sqrt() + epsilon
        )

    return mapped(update, theta, m, v), (m, v, t)


def after_adam(phi, epsilon=1e-8, steps=STEPS):
    theta, state = (
        START,
        (mapped(torch.zeros_like, START), mapped(torch.zeros_like, START), 0),
    )
    for _ in range(steps):
        theta, state = adam_step(theta, state, phi, epsilon)
    return validation_loss(predict(theta, checked))


print(f"through gradient descent {grad(after_sgd)(HALF):.8f}")
print(f"through Adam             {grad(after_adam)(HALF):.8f}")
h = 1e-6
for name, after in (("gradient descent", after_sgd), ("Adam", after_adam)):
    print(
        f"finite differences, {name}: "
        f"{(after(HALF + h) - after(HALF - h)) / (2 * h):.8f}"
    )

# %% [markdown]
# ## Three libraries, side by side
#
# The same problem, the same initial weights, ten steps. Compare what each library needs. (`make` builds an
# optimizer for weights or for a module.)

# %%
from bilevel import BilevelProblem, Unrolled, inner_step
from bilevel.hypergradient import Forward
from bilevel.optimizers import adam, sgd


def with_higher(make, steps=STEPS):
    """higher: takes your module and your optimizer, and makes copies without in-place
    updates.
    """
    phi = HALF.clone().requires_grad_()
    with higher.innerloop_ctx(model, make(model.parameters())) as (learner, optimizer):
        for _ in range(steps):
            optimizer.step(training_loss(learner(inputs), phi))
        return torch.autograd.grad(validation_loss(learner(checked)), phi)[0]


def with_torchopt(make, steps=STEPS):
    """TorchOpt: its optimizer replaces the weights of your module, which must be
    restored.
    """
    phi = HALF.clone().requires_grad_()
    optimizer = make(model)
    for _ in range(steps):
        optimizer.step(training_loss(model(inputs), phi))
    slope = torch.autograd.grad(validation_loss(model(checked)), phi)[0]
    torchopt.stop_gradient(model)
    model.load_state_dict(START)
    return slope


def problem_of(optimizer):
    """This toolkit: a loss and an optimizer make a step; a step and an outer loss make
    a problem.
    """
    return BilevelProblem(
        step=inner_step(
            lambda theta, phi, data: training_loss(predict(theta, inputs), phi),
            optimizer,
        ),
        outer_loss=lambda theta, phi, data: validation_loss(predict(theta, checked)),
    )


def with_ours(optimizer, estimator=Unrolled(), steps=STEPS):
    return estimator(
        problem_of(optimizer), START, optimizer.init(START), HALF, steps=steps
    ).gradient


print(f"{'gradient descent':18}from scratch {grad(after_sgd)(HALF):.10f}")
print(
    f"{'':18}higher       "
    f"{with_higher(lambda weights: torch.optim.SGD(weights, lr=RATE)):.10f}"
)
print(
    f"{'':18}TorchOpt     "
    f"{with_torchopt(lambda module: torchopt.MetaSGD(module, lr=RATE)):.10f}"
)
print(f"{'':18}this toolkit {with_ours(sgd(RATE)):.10f}")
print(f"{'Adam':18}from scratch {grad(after_adam)(HALF):.10f}")
print(
    f"{'':18}higher       "
    f"{with_higher(lambda weights: torch.optim.Adam(weights, lr=ADAM_RATE)):.10f}"
)
print(
    f"{'':18}TorchOpt     "
    f"{with_torchopt(lambda module: torchopt.MetaAdam(module, lr=ADAM_RATE)):.10f}"
)
print(f"{'':18}this toolkit {with_ours(adam(ADAM_RATE)):.10f}")

# %% [markdown]
# With gradient descent all printed digits agree. With Adam `higher` differs from the others in the seventh
# digit. That is not a bug: it adds $\varepsilon$ to $\sqrt{v'}$ *before* the bias correction by
# $1 - \beta_2^t$, the others add it afterwards. In the first step that makes its $\varepsilon$ larger by a
# factor of $1/\sqrt{1 - \beta_2} \approx 32$. Is that as harmless as it looks?
#
# ## Adam's epsilon
#
# Left, the boxed derivative against the size of the gradient. Right, the validation loss after a single
# step of Adam, for every weight $\varphi$. Three values of $\varepsilon$ each:

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
sizes = torch.logspace(-10, 1, 200)
for epsilon, color, dashes in (
    (1e-8, RED, ":"),
    (1e-2, AMBER, "-."),
    (1e-1, BLUE, "-"),
):
    left.plot(
        sizes,
        epsilon / (sizes + epsilon) ** 2,
        color=color,
        linestyle=dashes,
        label=f"$\\varepsilon$ = {epsilon:g}",
    )
    ends = torch.func.vmap(lambda phi: after_adam(phi, epsilon, steps=1))(
        torch.linspace(0, 1, size(401, fast=11))
    )
    right.plot(
        torch.linspace(0, 1, len(ends)),
        ends,
        color=color,
        linestyle=dashes,
        label=f"$\\varepsilon$ = {epsilon:g}",
    )
left.set(
    xscale="log",
    yscale="log",
    xlabel="size of the gradient |g|",
    ylabel="slope du/dg of Adam's first update",
)
left.legend()
right.set(
    xlabel="weight of the noisy sensor, $\\varphi$",
    ylabel="validation loss after one step of Adam",
)
right.legend()
plt.show()

# %% [markdown]
# With a tiny $\varepsilon$ the right curve is a staircase: constant while no weight's gradient changes its
# sign, then a jump. Its derivative is 0 nearly everywhere: correct, and useless. A larger $\varepsilon$
# turns the jumps into ramps. So both the size of $\varepsilon$ and its place, before or after the bias
# correction, can change a hypergradient by more than its own size. Here is the hypergradient at
# $\varphi = 0.5$, for every $\varepsilon$, with both places, after one step and after ten:

# %%
epsilons = torch.logspace(-8, 0, size(17, fast=3))


# %% tags=["hide-input"]
figure, all_axes = plt.subplots(1, 2, figsize=(11, 4.2))
for axes, steps in zip(all_axes, (1, 10), strict=True):
    after_correction = [
        with_ours(adam(ADAM_RATE, epsilon=float(e)), steps=steps) for e in epsilons
    ]
    before_correction = [
        with_higher(lambda w: torch.optim.Adam(w, lr=ADAM_RATE, eps=float(e)), steps)
        for e in epsilons
    ]
    axes.plot(
        epsilons,
        after_correction,
        color=BLUE,
        label="after bias correction (PyTorch, TorchOpt, bilevel)",
    )
    axes.plot(
        epsilons, before_correction, color=RED, linestyle="--", label="before (higher)"
    )
    axes.set(
        xscale="log",
        xlabel="$\\varepsilon$",
        ylabel="hypergradient",
        title=f"{steps} step{'s' * (steps > 1)} of Adam",
    )
figure.legend(
    *all_axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2
)
plt.show()

here = with_ours(adam(ADAM_RATE, epsilon=1e-2), steps=1)
by_higher = with_higher(
    lambda weights: torch.optim.Adam(weights, lr=ADAM_RATE, eps=1e-2), 1
)
print(
    f"one step, epsilon = 0.01: {here:.4f} by this toolkit, {by_higher:.4f} by higher",
    end="",
)
print(f" ({by_higher / here:.0f} times as large)")

# %% [markdown]
# Recommendation: state which convention you use. In an inner loop that you differentiate, take an
# $\varepsilon$ that is not small compared with the gradients, or use plain gradient descent.
#
# ## Memory
#
# `higher` and TorchOpt build one graph over all steps and keep all intermediate values; so does `Unrolled`
# while that takes less than 1 GiB, since it is faster. With `recompute=True` it stores only the weights
# between steps, and recomputes each step in the reverse sweep. Storing only some of these weights
# (checkpointing), or propagating the derivative forward (forward mode), takes even less memory when there
# are many steps. The figure shows the peak memory in tensors against the number of steps; the lines of
# TorchOpt and `higher` nearly coincide:

# %%
from bilevel.hypergradient import measure_peak

cpu = torch.device("cpu")
lengths = size(128, fast=4)
counts = [2**power for power in range(1, lengths.bit_length())]
curves = {
    "TorchOpt": (
        RED,
        ":",
        lambda n: with_torchopt(lambda module: torchopt.MetaSGD(module, lr=RATE), n),
    ),
    "higher": (
        BLACK,
        "-.",
        lambda n: with_higher(lambda w: torch.optim.SGD(w, lr=RATE), n),
    ),
    "recompute each step": (
        BLUE,
        "-",
        lambda n: with_ours(sgd(RATE), Unrolled(recompute=True), n),
    ),
    "sqrt(K) checkpoints": (
        GREEN,
        "--",
        lambda n: with_ours(sgd(RATE), Unrolled(segments="sqrt"), n),
    ),
    "forward mode (one phi)": (
        PURPLE,
        (0, (6, 2, 1, 2)),
        lambda n: with_ours(sgd(RATE), Forward(), n),
    ),
}


# %% tags=["hide-input"]
figure, axes = plt.subplots()
peaks = {}
for name, (color, dashes, run) in curves.items():
    peaks[name] = [measure_peak(lambda: run(n), cpu)[1] / 1024 for n in counts]
    axes.plot(
        counts,
        peaks[name],
        color=color,
        linestyle=dashes,
        marker="o",
        markersize=4,
        label=name,
    )
axes.set(xscale="log", yscale="log", xlabel="steps K", ylabel="peak memory (KiB)")
axes.legend()
plt.show()
for name, peak in peaks.items():
    print(f"K = {counts[-1]}: {name:23}{peak[-1]:6.0f} KiB")

# %% [markdown]
# ## Where a gradient gets lost
#
# The same ten steps of gradient descent, in several variants. The first is correct. Two mistakes are easy to
# notice (`None`). The dangerous ones return a wrong number.

# %%


def hypergradient(
    gradients_of, *, between=lambda weight: weight, weigh=lambda phi: phi
):
    """The hypergradient of ten steps, one part of which can be replaced, or None if
    there is none.
    """
    phi = HALF.clone().requires_grad_()
    theta = {name: weight.clone().requires_grad_() for name, weight in START.items()}
    for _ in range(STEPS):
        theta = {name: between(weight) for name, weight in theta.items()}
        loss = training_loss(predict(theta, inputs), weigh(phi))
        slopes = gradients_of(loss, list(theta.values()))
        theta = {
            name: weight - RATE * g
            for (name, weight), g in zip(theta.items(), slopes, strict=True)
        }
    loss = validation_loss(predict(theta, checked))
    return torch.autograd.grad(loss, phi, allow_unused=True)[0]


def with_graph(loss, weights):
    return torch.autograd.grad(loss, weights, create_graph=True)


def without_graph(loss, weights):
    return torch.autograd.grad(loss, weights)


def clipped(detach):
    def gradients_of(loss, weights):
        slopes = with_graph(loss, weights)
        norm = torch.stack([(g**2).sum() for g in slopes]).sum().sqrt()
        scale = (0.2 / (norm.detach() if detach else norm)).clamp(max=1)
        return [scale * g for g in slopes]

    return gradients_of


truth = hypergradient(with_graph)
clipped_truth = hypergradient(clipped(detach=False))
rows = [
    ("no mistake", truth, truth),
    ("create_graph forgotten", hypergradient(without_graph), truth),
    (
        "phi.item() in the loss",
        hypergradient(with_graph, weigh=lambda phi: phi.item()),
        truth,
    ),
    (
        "weights detached between steps",
        hypergradient(with_graph, between=lambda w: w.detach().requires_grad_()),
        truth,
    ),
    (
        "weights rounded to float32",
        hypergradient(with_graph, between=lambda w: w.float().double()),
        truth,
    ),
    ("clipped, norm differentiated", clipped_truth, clipped_truth),
    ("clipped, norm detached", hypergradient(clipped(detach=True)), clipped_truth),
]
print(f"{'':32}{'gradient':>12}{'correct':>12}")
for name, found, true in rows:
    print(f"{name:32}{'None' if found is None else f'{found:.6f}':>12}{true:12.6f}")

# %% [markdown]
# Rounding does no harm here. *Detached between steps* leaves only the contribution of the last step: lesson
# 1's `truncated` to 1, by accident. *Norm detached* is how TorchOpt's `clip_grad_norm` is implemented. With
# several agents there is one more variant, the worst: an agent's own weights are detached in the losses of
# the other agents. The steps are bit-for-bit correct and the hypergradient is not. (A single learner cannot
# show this.)
#
# How do you detect a wrong number? **Compare with finite differences.** They change $\varphi$ a little and
# train again; they use no autograd graph, so they cannot lose a gradient. The library's check, first of its
# own clipping, then of TorchOpt's. (Its *cosine* is that of the angle between the two gradients. With a
# single outer variable it only says that the signs agree.)

# %%
from torchopt.clip import clip_grad_norm

from bilevel import check_hypergradient
from bilevel.optimizers import chain, clip_by_norm

for name, clip in (
    ("this toolkit's", clip_by_norm(0.2)),
    ("TorchOpt's", clip_grad_norm(0.2)),
):
    clipped_sgd = chain(clip, sgd(RATE))
    result = check_hypergradient(
        problem_of(clipped_sgd), START, clipped_sgd.init(START), HALF, steps=STEPS
    )
    print(f"{name} clipping: {'correct' if result.passed else 'WRONG'}\n{result}\n")

# %% [markdown]
# ## Play
#
# The validation loss after some steps of Adam, and its derivative at $\varphi$. Make $\varepsilon$ small
# with one step; then take more steps. When does the derivative begin to point downhill?


# %% tags=["hide-input"]
def play(phi, steps, log10_epsilon):
    here = torch.tensor(phi)

    def after(value):
        return after_adam(value, 10.0**log10_epsilon, steps)

    figure, axes = plt.subplots()
    phis = torch.linspace(0, 1, size(121, fast=5))
    axes.plot(
        phis,
        torch.func.vmap(after)(phis),
        color=GRAY,
        label=f"after {steps} steps of Adam",
    )
    slope = grad(after)(here)
    axes.plot(here, after(here), "o", color=BLACK)
    axes.plot(
        here + reach / 2,
        after(here) + slope * reach / 2,
        color=BLUE,
        linestyle="--",
        label=f"slope {slope:.3f}",
    )
    axes.set(
        xlabel="weight of the noisy sensor, $\\varphi$",
        ylabel="validation loss",
        xlim=(0, 1),
    )
    axes.set_title(f"$\\varepsilon = 10^{{{log10_epsilon:g}}}$")
    axes.legend()
    plt.show()


# %%
explore(
    play,
    phi=(0.05, 0.95, 0.05, 0.5),
    steps=(1, 30, 1, 3),
    log10_epsilon=(-8.0, 0.0, 0.5, -3.0),
)

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/02_differentiable_optimizers.py`.
#
# **Exercise 1 (warm up).** RMSProp's first update is $u(g) = g / (\sqrt{(1 - \beta)\, g^2} + \varepsilon)$,
# since it has no bias correction. Differentiate it by hand, for any $g$, also negative.


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
# ## What to read
#
# * Grefenstette and others, *Generalized inner loop meta-learning* (`higher`), arXiv 1910.01727; Ren and
#   others, *TorchOpt: an efficient library for differentiable optimization*, arXiv 2211.06934.
# * Kingma and Ba, *Adam*, arXiv 1412.6980: the place of $\varepsilon$ in the formulas.
# * Chen and others, *Training deep nets with sublinear memory cost*, arXiv 1604.06174: checkpointing.
# * In this toolkit: `docs/how-to/loss-weights.md` adds this lesson's task to your own training loop, in five
#   new lines; `tests/benchmarks/RESULTS.md` compares time and memory of all three.
# * Next: `09_learning_loss_weights` with this lesson's tools, or `03_social_dilemmas`, which needs none.
