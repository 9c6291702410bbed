# %% [markdown]
# # 1. Two levels
#
# **How do you optimize a variable that affects your objective only through a learner?**
#
# A learner has two parameters, $\theta = (x, y)$, and minimizes a weighted sum of two losses. The first loss
# is smallest at the point $A$ and depends mostly on $x$; the second is smallest at $B$ and depends mostly on
# $y$. You choose the weight $\varphi$ (phi) of the first loss; the second has the weight $1 - \varphi$. You
# want the learner to end at neither $A$ nor $B$ but at the target $C$. You cannot change $\theta$ directly:
# you choose $\varphi$, let the learner train, measure the distance from $C$, and choose $\varphi$ again.
#
# That is *bilevel optimization*: an outer problem (choose $\varphi$) around an inner problem (learn $\theta$,
# given $\varphi$). In later lessons the learner is a neural network or several agents, and $\varphi$ contains
# loss weights or sharing weights. Here the problem has a closed form, so that we can verify everything.

# %% tags=["setup"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("bilevel") is None:  # not installed yet, as in Colab
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "bilevel[lessons]"], check=True)

# %%
import matplotlib.pyplot as plt
import torch

from bilevel.lessons import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED
from bilevel.lessons import explore, size, use_style
from bilevel.lessons.checks.two_levels import check_1, check_2, check_3

use_style()
torch.set_default_dtype(torch.float64)  # double precision, for exact comparisons

A, B, C = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 2.0]), torch.tensor([1.2, 1.0])
CURVATURE_A, CURVATURE_B = (
    torch.tensor([1.0, 0.05]),
    torch.tensor([0.1, 0.6]),
)  # of each loss, in x and y
START, RATE = torch.tensor([2.0, -1.0]), 0.5


def inner_loss(theta, phi):
    """The inner loss: two quadratic losses, weighted by phi."""
    return (
        phi * CURVATURE_A * (theta - A) ** 2
        + (1 - phi) * CURVATURE_B * (theta - B) ** 2
    ).sum() / 2


def outer_loss(theta):
    """The outer loss: half the squared distance from C. It depends on theta, not on
    phi.
    """
    return ((theta - C) ** 2).sum() / 2


def step(theta, phi):
    """One step of gradient descent on the inner loss."""
    return theta - RATE * torch.func.grad(inner_loss)(theta, phi)


def learn(phi, steps, theta=START):
    """The trajectory theta_0, ..., theta_K, [K + 1, 2]."""
    path = [theta]
    for _ in range(steps):
        path.append(step(path[-1], phi))
    return torch.stack(path)


# %% [markdown]
# ## A picture of the answer
#
# Left, the inner problem: the learner's trajectory for one value of $\varphi$. Each dot is one gradient step;
# the gray lines are contours of the inner loss. Right, the outer problem: the outer loss after learning as a
# function of $\varphi$. This curve depends on the *number of inner steps* $K$, and so does the optimal
# $\varphi$ (the dots). With $K = 3$ the optimum is the smallest $\varphi$ that was tried.

# %%
PHIS = torch.linspace(0.02, 0.98, size(97, fast=13))
HORIZONS = {3: (PURPLE, ":", "s"), 10: (BLUE, "-", "o"), 100: (GREEN, "--", "^")}
"""Numbers of inner steps, with color, dashes and marker."""


def fixed_point(phi):
    """The fixed point of the step: the minimum of the inner loss."""
    curvature = phi * CURVATURE_A + (1 - phi) * CURVATURE_B
    return (phi * CURVATURE_A * A + (1 - phi) * CURVATURE_B * B) / curvature


def draw_plane(axes, phi, steps):
    """The inner problem: contours of the inner loss, the trajectory, and all fixed
    points.
    """
    x, y = torch.meshgrid(
        torch.linspace(-1.6, 2.9, 60), torch.linspace(-1.4, 2.6, 60), indexing="xy"
    )
    height = torch.func.vmap(lambda point: inner_loss(point, phi))(
        torch.stack((x, y), -1).reshape(-1, 2)
    )
    axes.contour(
        x, y, height.reshape(x.shape), levels=14, colors="#BBBBBB", linewidths=0.8
    )
    ends = torch.stack([fixed_point(value) for value in torch.linspace(0, 1, 101)])
    axes.plot(
        *ends.T, color=GREEN, linestyle="--", label="fixed points for all $\\varphi$"
    )
    label = f"{steps} steps with $\\varphi$ = {phi:.2f}"
    axes.plot(*learn(phi, steps).T, color=BLUE, marker="o", markersize=4, label=label)
    for point, name in ((A, "A"), (B, "B")):
        axes.annotate(name, point, (6, 6), textcoords="offset points", weight="bold")
        axes.plot(*point, "s", color=BLACK)
    axes.plot(*C, "*", color=RED, markersize=16, linestyle="", label="target C")
    axes.set(
        xlabel="parameter x", ylabel="parameter y", xlim=(-1.6, 2.9), ylim=(-1.4, 2.6)
    )
    axes.legend(loc="lower left", fontsize=10)


def outer_losses(phis, steps):
    """The outer loss after `steps` inner steps, for a batch of values of phi."""
    return torch.func.vmap(lambda phi: outer_loss(learn(phi, steps)[-1]))(phis)


def draw_outer(axes):
    """The outer problem: the outer loss after learning, as a function of phi."""
    for steps, (color, dashes, marker) in HORIZONS.items():
        losses = outer_losses(PHIS, steps)
        axes.plot(
            PHIS, losses, color=color, linestyle=dashes, label=f"K = {steps} steps"
        )
        axes.plot(PHIS[losses.argmin()], losses.min(), marker, color=color)
    axes.set(
        xlabel="$\\varphi$ (weight of the first loss)",
        ylabel="outer loss F",
        ylim=(-0.1, 2.2),
    )
    axes.legend()


# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
draw_plane(left, 0.45, 10)
draw_outer(right)
left.set_title("inner problem: learn x and y")
right.set_title("outer problem: choose $\\varphi$ (markers: optima)")
plt.show()

# %% [markdown]
# ## The idea in words
#
# We could try many values of $\varphi$, as the figure did. That works for one outer variable, but not for a
# thousand. Gradient descent needs the *slope* of the outer curve, $dF/d\varphi$, the **hypergradient**. The
# outer loss does not contain $\varphi$. It depends on $\varphi$ *through the inner steps*: a change of
# $\varphi$ changes every step a little, and the steps after it propagate that change to the end. There are
# four ways to add up these contributions:
#
# * **Unrolled**: store the whole trajectory, backpropagate through all the steps, and sum the contribution of
#   each. Exact; memory grows with the number of steps.
# * **Truncated**: backpropagate through the last few steps only. Cheaper; the contributions of the earlier
#   steps are left out.
# * **Forward**: propagate the derivative $d\theta/d\varphi$ along with $\theta$ itself. Exact; memory grows
#   with the number of outer variables, not with the number of steps.
# * **Implicit**: ignore the trajectory. Where learning has *converged*, to a fixed point of the step,
#   differentiate the fixed point with respect to $\varphi$. This takes one linear system, and is correct only
#   at the fixed point.

# %% [markdown]
# ## The key equation
#
# $\theta_k$ (theta) are the parameters after $k$ steps, a vector; $\varphi$ is the outer variable; $g$ the
# inner loss, $f$ the outer loss; $r$ the learning rate; $K$ the number of inner steps. (In the code:
# `inner_loss`, `outer_loss`, `RATE`, `steps`.) The **step** is a function $S$:
#
# $$\theta_{k+1} = S(\theta_k, \varphi) = \theta_k - r\,\frac{\partial g}{\partial \theta}(\theta_k, \varphi),
# \qquad F(\varphi) = f(\theta_K).$$
#
# The chain rule from the last step to the first (*reverse mode*), with the *adjoint* $a_k$, the derivative of
# the outer loss in $\theta_k$:
#
# $$a_K = \frac{\partial f}{\partial \theta}(\theta_K), \qquad
# a_k = \Big(\frac{\partial S}{\partial \theta}(\theta_k, \varphi)\Big)^{\!\top} a_{k+1}, \qquad
# \boxed{\ \frac{dF}{d\varphi} = \sum_{k=0}^{K-1}
# \Big(\frac{\partial S}{\partial \varphi}(\theta_k, \varphi)\Big)^{\!\top} a_{k+1}\ }$$
#
# *Unrolled* is this sum; *truncated* is its last terms; *forward* computes the same sum from the first step
# on, $z_{k+1} = \frac{\partial S}{\partial \theta} z_k + \frac{\partial S}{\partial \varphi}$ with
# $z_k = d\theta_k / d\varphi$ and $z_0 = 0$. *Implicit* sets $\theta_{k+1} = \theta_k$: then
# $z = \frac{\partial S}{\partial \theta} z + \frac{\partial S}{\partial \varphi}$, a linear system for $z$.

# %% [markdown]
# ## From scratch
#
# Four estimators, a few lines each. `torch.func` differentiates functions; `jvp` is a Jacobian-vector
# product.

# %%
from torch.func import grad, jacrev, jvp


def unrolled(phi, steps):
    return grad(lambda phi: outer_loss(learn(phi, steps)[-1]))(phi)


def truncated(phi, steps, last):
    before = learn(phi, steps - last)[-1]  # a constant: no gradient through these steps
    return grad(lambda phi: outer_loss(learn(phi, last, before)[-1]))(phi)


def forward(phi, steps):
    theta, tangent = START, torch.zeros_like(START)  # tangent: d theta / d phi
    for _ in range(steps):
        theta, tangent = jvp(step, (theta, phi), (tangent, torch.ones_like(phi)))
    return grad(outer_loss)(theta) @ tangent


def implicit(phi, steps):
    theta = learn(phi, steps)[-1]  # assumed to be the fixed point
    by_theta, by_phi = jacrev(step, 0)(theta, phi), jacrev(step, 1)(theta, phi)
    return grad(outer_loss)(theta) @ torch.linalg.solve(torch.eye(2) - by_theta, by_phi)


phi, steps, last = torch.tensor(0.45), 10, 3
for name, found in {
    "unrolled": unrolled(phi, steps),
    f"truncated to {last}": truncated(phi, steps, last),
    "forward": forward(phi, steps),
    "implicit": implicit(phi, steps),
}.items():
    print(f"{name:16}{found:10.6f}")

# %% [markdown]
# Two estimates agree in all digits. The other two have the opposite sign: gradient descent with them would
# change $\varphi$ in the wrong direction, if the first two are right. Are they? This problem has a closed
# form. Every step multiplies the distance of $x$ from its fixed point by a constant $q = 1 - r m$, where
# $m$ is the curvature of the inner loss in $x$. The same holds for $y$, with its own $m$ and $q$. So
# $\theta_K = \theta^* + q^K (\theta_0 - \theta^*)$ with the fixed point $\theta^*$. Differentiate that by
# hand:

# %%


def closed_form(phi, steps):
    m = phi * CURVATURE_A + (1 - phi) * CURVATURE_B
    q, fixed = 1 - RATE * m, fixed_point(phi)
    end = fixed + q**steps * (START - fixed)
    d_fixed = (
        CURVATURE_A * CURVATURE_B * (A - B) / m**2
    )  # derivatives with respect to phi
    d_q = -RATE * (CURVATURE_A - CURVATURE_B)
    d_end = d_fixed * (1 - q**steps) + steps * q ** (steps - 1) * d_q * (START - fixed)
    return (end - C) @ d_end


h = 1e-5
differences = (
    outer_loss(learn(phi + h, steps)[-1]) - outer_loss(learn(phi - h, steps)[-1])
) / (2 * h)
print(f"closed form        {closed_form(phi, steps):.12f}")
print(f"unrolled           {unrolled(phi, steps):.12f}")
print(f"forward            {forward(phi, steps):.12f}")
print(f"finite differences {differences:.12f}   (phi changed by 0.00001)")

# %% [markdown]
# ## The library's version
#
# The same problem in this toolkit: a step, an outer loss, and an exchangeable estimator. `data` is the batch
# or episode that a step uses; here there is none. `sgd` is plain gradient descent.

# %%
from bilevel import BilevelProblem, Unrolled, inner_step
from bilevel.hypergradient import Forward, Implicit, Truncated
from bilevel.optimizers import sgd

inner = sgd(RATE)
problem = BilevelProblem(
    step=inner_step(lambda theta, phi, data: inner_loss(theta, phi), inner),
    outer_loss=lambda theta, phi, data: outer_loss(theta),
)
ours = {
    "unrolled": (Unrolled(), unrolled(phi, steps)),
    "truncated to 3": (Truncated(steps=3), truncated(phi, steps, 3)),
    "forward": (Forward(), forward(phi, steps)),
    "implicit": (Implicit(max_distance=float("inf")), implicit(phi, steps)),
}
for name, (estimator, scratch) in ours.items():
    gradient = estimator(problem, START, inner.init(START), phi, steps=steps).gradient
    same = bool((gradient - scratch).abs() < 1e-10)
    print(
        f"{name:16}{gradient:12.8f}   from scratch {scratch:12.8f}   the same: {same}"
    )

# %% [markdown]
# Here `max_distance` is infinite, so `Implicit` accepts any distance from the fixed point. By default it
# measures this distance, and raises an error if it is too large:

# %%
try:
    Implicit()(problem, START, inner.init(START), phi, steps=10)
except ValueError as error:
    print(error)

# %% [markdown]
# ## Why they differ
#
# Left, the estimates after $K$ steps; right, their error against the closed form. `implicit` improves with
# longer learning. `truncated` is exact as long as it backpropagates through *all* steps; if it leaves steps
# out, it has an error, however long the learner trains:

# %%
lengths = torch.unique(torch.logspace(0.5, 2.2, size(40, fast=5)).long())
truth = torch.stack([closed_form(phi, int(n)) for n in lengths])


# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
for label, color, dashes, estimate in (
    ("unrolled, forward", BLUE, "-", unrolled),
    ("implicit", GREEN, "--", implicit),
    ("truncated to 3", AMBER, "-.", lambda phi, n: truncated(phi, n, 3)),
    ("truncated to 10", RED, ":", lambda phi, n: truncated(phi, n, min(n, 10))),
):
    found = torch.stack([estimate(phi, int(n)) for n in lengths])
    left.plot(lengths, found, color=color, linestyle=dashes, label=label)
    right.plot(
        lengths,
        (found - truth).abs().clamp(min=1e-17),
        color=color,
        linestyle=dashes,
        label=label,
    )
left.set(
    xscale="log",
    xlabel="inner steps K",
    ylabel="estimate of dF/d$\\varphi$",
    title="estimates",
)
right.set(
    xscale="log",
    yscale="log",
    xlabel="inner steps K",
    ylabel="absolute error",
    title="errors (against the closed form)",
)
left.legend()
plt.show()

q = 1 - RATE * (phi * CURVATURE_A + (1 - phi) * CURVATURE_B)
print(f"phi = {phi:.2f}: q = {q[0]:.3f} for x and {q[1]:.3f} for y")
for K in (10, 100):
    print(
        f"after K = {K:3} steps q^K = {q[0] ** K:.1e} for x and {q[1] ** K:.1e} for y"
    )
end, d_end = learn(phi, 10)[-1], jacrev(lambda phi: learn(phi, 10)[-1])(phi)
by_x, by_y = (end - C) * d_end
print(
    f"hypergradient after 10 steps: {by_x:+.4f} (x) {by_y:+.4f} (y) = {by_x + by_y:.4f}"
)
fixed, d_fixed = fixed_point(phi), jacrev(fixed_point)(phi)
by_x, by_y = (fixed - C) * d_fixed
print(
    f"hypergradient at the fixed point: {by_x:+.4f} (x) {by_y:+.4f} (y) = "
    f"{by_x + by_y:.4f}"
)
for last in (3, 10, 30):
    d_last = jacrev(lambda phi: learn(phi, last, fixed)[-1])(phi)
    x, y = 100 * d_last / d_fixed
    print(
        f"truncated to {last:2} contains {x:3.0f} % of dx/dphi and {y:3.0f} % of "
        f"dy/dphi",
        end="; ",
    )
    x, y = (fixed - C) * (d_last - d_fixed)
    print(f"its error: {x:+.4f} (x) {y:+.4f} (y) = {x + y:+.4f}")
errors = [float(implicit(phi, n) - closed_form(phi, n)) for n in (120, 121)]
print(
    f"from K = 120 to K = 121 the error of implicit shrinks by a factor of "
    f"{errors[1] / errors[0]:.3f}"
)

# %% [markdown]
# * The error of `implicit` comes from learning that has not converged. For large $K$ it is proportional to
#   $K q^K$, with the larger $q$, here that of $y$: every step multiplies it by about $q$.
# * The error of `truncated` is the contribution of the steps that it leaves out. At the fixed point, a
#   fraction $q^k$ of $d\theta/d\varphi$ is missing, where $k$ is the number of steps that it backpropagates
#   through. If $q$ is near 1, learning is slow, and many steps are needed. The fraction is different for $x$
#   and $y$. Here the hypergradient is a sum of two terms with opposite signs, so leaving out more of one than
#   of the other can flip its sign.
# * At the fixed point, `truncated` to 3 has a smaller error than `truncated` to 10. That is a coincidence: it
#   leaves out more of both terms, but these errors happen to cancel.
# * `implicit` solves another problem: it gives the hypergradient of infinitely long learning. If the outer
#   loss is measured after 10 steps, that is the wrong problem. And because it is *evaluated* after 10 steps,
#   long before convergence, it does not solve the other problem either.
#
# Does it matter? Let us minimize the outer loss after 10 steps, with each of these estimators. The lines show
# the outer loss by outer step, the gray line its minimum:


# %%
def descend(estimate, outer_steps=size(200, fast=3), rate=0.05):
    """Gradient descent on phi with an estimator: the last phi, and the outer loss of
    every outer step.
    """
    phi, losses = torch.tensor(0.9), []
    for _ in range(outer_steps):
        losses.append(outer_loss(learn(phi, 10)[-1]))
        phi = (phi - rate * estimate(phi)).clamp(0.01, 0.99)
    return phi, torch.stack(losses)


fine = torch.linspace(0.02, 0.98, 961)
after_10 = outer_losses(fine, 10)
at_fixed_point = torch.func.vmap(lambda phi: outer_loss(fixed_point(phi)))(fine)


# %% tags=["hide-input"]
figure, axes = plt.subplots()
axes.axhline(
    after_10.min(), color=GRAY, linewidth=1, label=f"minimum: F = {after_10.min():.4f}"
)
for label, color, dashes, estimate in (
    ("unrolled, forward", BLUE, "-", lambda phi: unrolled(phi, 10)),
    ("implicit", GREEN, "--", lambda phi: implicit(phi, 10)),
    ("truncated to 3", AMBER, "-.", lambda phi: truncated(phi, 10, 3)),
    ("truncated to 1", RED, ":", lambda phi: truncated(phi, 10, 1)),
):
    last_phi, losses = descend(estimate)
    label = f"{label}: $\\varphi$ = {last_phi:.3f}, F = {losses[-1]:.4f}"
    axes.plot(losses, color=color, linestyle=dashes, label=label)
axes.set(
    xlabel="outer step", ylabel="outer loss F after 10 inner steps", ylim=(0.15, 0.85)
)
axes.legend()
plt.show()

best = fine[at_fixed_point.argmin()]
print(
    f"optimal phi after 10 steps {fine[after_10.argmin()]:.3f}, at the fixed point "
    f"{best:.3f}"
)
early, late = implicit(best, 10), implicit(best, 1000)
print(
    f"implicit at phi = {best:.3f}: {early:.2f} after 10 steps, {late:.2f} at the "
    f"fixed point"
)

# %% [markdown]
# With the truncated estimators, $\varphi$ passes the optimum and moves away from it again: they converge to a
# $\varphi$ where their own estimate is zero, and the true gradient is not. `implicit`, evaluated after 10
# steps, converges to a $\varphi$ that is optimal neither after 10 steps nor at the fixed point. Evaluated at
# the fixed point, its estimate is 0 where it should be: at the $\varphi$ that is optimal there.
#
# ## Play
#
# Change $\varphi$, the number of steps, and the number of steps that `truncated` backpropagates through. The
# short lines on the right are the slopes that the estimators give at the current $\varphi$. (Run the cell to
# get sliders. Without them the figure shows their initial values.) Find a setting where `implicit` has the
# wrong sign, so that gradient descent with it goes *uphill*.


# %% tags=["hide-input"]
def play(phi, steps, last):
    phi, last = torch.tensor(phi), min(last, steps)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
    draw_plane(left, phi, steps)
    loss = outer_loss(learn(phi, steps)[-1])
    right.plot(
        PHIS, outer_losses(PHIS, steps), color=GRAY, label=f"F after {steps} steps"
    )
    right.plot(phi, loss, "o", color=BLACK)
    ends = torch.tensor([-0.12, 0.12])
    for label, look, slope in (
        ("unrolled, forward", {"color": BLUE, "linewidth": 5}, unrolled(phi, steps)),
        ("implicit", {"color": GREEN, "linestyle": "--"}, implicit(phi, steps)),
        (
            f"truncated to {last}",
            {"color": RED, "linestyle": ":"},
            truncated(phi, steps, last),
        ),
    ):
        right.plot(
            phi + ends, loss + slope * ends, label=f"{label}: {slope:+.3f}", **look
        )
    right.set(
        xlabel="$\\varphi$ (weight of the first loss)",
        ylabel="outer loss F",
        xlim=(0, 1),
        ylim=(-0.1, 2.2),
    )
    right.legend()
    plt.show()


# %%
explore(play, phi=(0.05, 0.95, 0.01, 0.7), steps=(1, 100, 1, 10), last=(1, 100, 1, 3))

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/01_two_levels.py`.
#
# **Exercise 1 (warm up).** One parameter $\theta$, and the inner loss $\frac{m}{2}(\theta - \varphi)^2$ with
# curvature $m$. Learning has converged. What *fraction* of the true $d\theta/d\varphi$ (which is 1) comes
# from the last $k$ steps, at learning rate $r$?


# %% tags=["exercise-1"]
def fraction_of_last(m, r, k):
    return ...


# %% tags=["check-1"]
check_1(fraction_of_last)

# %% [markdown]
# **Exercise 2 (the reverse sweep).** Write the boxed equation as a loop. `torch.func.vjp(step, theta, phi)`
# returns the step's value and a function `vjp` (*vector-Jacobian product*); `vjp(a)` is the pair
# $\big(\frac{\partial S}{\partial\theta}^{\!\top} a,\ \frac{\partial S}{\partial\varphi}^{\!\top} a\big)$.
# This is what the library does when the graph of all steps would take more than 1 GiB.


# %% tags=["exercise-2"]
def reverse_sweep(phi, steps):
    trajectory = learn(phi, steps)
    a = grad(outer_loss)(trajectory[-1])
    total = torch.zeros_like(phi)
    for theta in trajectory[:-1].flip(0):  # theta_K-1, ..., theta_0
        _, vjp = torch.func.vjp(step, theta, phi)
        total = ...
        a = ...
    return total


# %% tags=["check-2"]
check_2(reverse_sweep, unrolled)

# %% [markdown]
# **Exercise 3 (Neumann series).** `implicit` solves $(I - J)^\top v = \partial f/\partial\theta$ with
# $J = \partial S/\partial\theta$. If steps contract,
# $v = \sum_{j=0}^{\infty} (J^\top)^j\, \partial f/\partial\theta$ (the *Neumann series*). Stop after
# `terms` terms, and compute the hypergradient at `theta` from them. Then compare it with `truncated`, at
# the fixed point: what do you notice?


# %% tags=["exercise-3"]
def neumann(theta, phi, terms):
    J, by_phi = jacrev(step, 0)(theta, phi), jacrev(step, 1)(theta, phi)
    term = grad(outer_loss)(theta)
    v = torch.zeros_like(term)
    for _ in range(terms):
        v = ...
        term = ...
    return v @ by_phi


# %% tags=["check-3"]
check_3(neumann, implicit, truncated, learn)

# %% [markdown]
# **For discussion.** (a) $\varphi$ has a million entries. Which estimator is ruled out? (b) The inner
# gradients are noisy, so that learning never converges. Which one now? (c) $\varphi$ is updated *during*
# learning, after every inner step. What is $K$ then, and which effect of $\varphi$ is ignored?

# %% [markdown]
# ## What to read
#
# * Franceschi and others, *Forward and reverse gradient-based hyperparameter optimization*, arXiv
#   1703.01785: the two exact estimators, forward and reverse mode of one chain rule.
# * Shaban and others, *Truncated back-propagation for bilevel optimization*, arXiv 1810.10667: what
#   truncation costs.
# * Lorraine and others, *Optimizing millions of hyperparameters by implicit differentiation*, arXiv
#   1911.02590; Rajeswaran and others, *Meta-learning with implicit gradients*, arXiv 1909.04630.
# * In this toolkit: `docs/how-to/choose-estimator.md`, a checklist for choosing an estimator, and
#   `bilevel.check_hypergradient`, which compares all estimators on your problem.
# * Next: `02_differentiable_optimizers`, where the inner optimizer is Adam, and gradients get lost.
