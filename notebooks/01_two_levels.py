# %% [markdown]
# # 1. Two levels
#
# **How do you optimize a variable that acts only through a learner?**
#
# A learner with parameters $\theta = (x, y)$ minimizes two losses, with the weights $\varphi$ (phi) and
# $1 - \varphi$. The first loss is smallest at the point $A$, the second at $B$. You want the learner to end
# at a target $C$, but you can choose only $\varphi$. That is *bilevel optimization*: an outer problem (choose
# $\varphi$) around an inner problem (learn $\theta$, given $\varphi$).
#
# **Goals.** After this lesson you can identify the inner and the outer problem in an application of your own,
# write a hypergradient with the chain rule, choose among unrolled, truncated, forward and implicit
# differentiation, and explain the error of each.
#
# **Prerequisites.** None. About 35 minutes.

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

from bilevel.lessons import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED
from bilevel.lessons import explore, size, use_style
from bilevel.lessons.checks.two_levels import check_1, check_2, check_3

use_style()
torch.set_default_dtype(torch.float64)  # double precision, for exact comparisons

# %% [markdown]
# ## A picture of the answer
#
# Left, the inner problem: each dot is one gradient step, the gray lines are contours of the inner loss.
# Right, the outer problem: half the squared distance from $C$ after $K$ inner steps, for each $\varphi$.

# %% tags=["hide-input"]
A, B, C = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 2.0]), torch.tensor([1.2, 1.0])
CURVATURE_A, CURVATURE_B = torch.tensor([1.0, 0.05]), torch.tensor([0.1, 0.6])
START, RATE = torch.tensor([2.0, -1.0]), 0.5
PHIS = torch.linspace(0.02, 0.98, size(97, fast=13))
HORIZONS = {3: (PURPLE, ":", "s"), 10: (BLUE, "-", "o"), 100: (GREEN, "--", "^")}
"""Numbers of inner steps, with color, dashes and marker."""


def solution(phi):
    """Curvature and minimum of the inner loss, for phi of shape [..., 1]."""
    m = phi * CURVATURE_A + (1 - phi) * CURVATURE_B
    return m, (phi * CURVATURE_A * A + (1 - phi) * CURVATURE_B * B) / m


def after(phi, steps):
    """The parameters after some inner steps, in closed form (derived below)."""
    m, fixed = solution(phi)
    return fixed + (1 - RATE * m) ** steps * (START - fixed)


def draw_plane(axes, phi, steps):
    """Draw the inner problem: contours, the trajectory, and all fixed points."""
    x, y = torch.linspace(-1.6, 2.9, 60), torch.linspace(-1.4, 2.6, 60)
    m, fixed = solution(phi)
    height = (m * (torch.cartesian_prod(y, x).flip(-1) - fixed) ** 2).sum(-1) / 2
    look = {"levels": 14, "colors": "#BBBBBB", "linewidths": 0.8}
    axes.contour(x, y, height.reshape(60, 60), **look)
    ends = solution(torch.linspace(0, 1, 101)[:, None])[1]
    axes.plot(*ends.T, color=GREEN, linestyle="--", label="minima for all $\\varphi$")
    path = after(phi, torch.arange(steps + 1)[:, None])
    label = f"{steps} steps with $\\varphi$ = {phi:.2f}"
    axes.plot(*path.T, color=BLUE, marker="o", markersize=4, label=label)
    for point, name in ((A, "A"), (B, "B")):
        axes.annotate(name, point, (6, 6), textcoords="offset points", weight="bold")
        axes.plot(*point, "s", color=BLACK)
    axes.plot(*C, "*", color=RED, markersize=16, linestyle="", label="target C")
    axes.set(xlabel="parameter x", ylabel="parameter y")
    axes.set(xlim=(-1.6, 2.9), ylim=(-1.4, 2.6))
    axes.legend(loc="lower left", fontsize=10, frameon=True, framealpha=1)


def outer_losses(phis, steps):
    """The outer loss after some inner steps, for a batch of values of phi."""
    return ((after(phis[:, None], steps) - C) ** 2).sum(-1) / 2


def draw_outer(axes):
    """Draw the outer problem: the outer loss after learning, for each phi."""
    for steps, (color, dashes, marker) in HORIZONS.items():
        losses = outer_losses(PHIS, steps)
        label = f"K = {steps} steps"
        axes.plot(PHIS, losses, color=color, linestyle=dashes, label=label)
        axes.plot(PHIS[losses.argmin()], losses.min(), marker, color=color)
    axes.set(xlabel="$\\varphi$ (weight of the first loss)", ylabel="outer loss F")
    axes.set(ylim=(-0.1, 2.2))
    axes.legend()


figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
draw_plane(left, torch.tensor(0.45), 10)
draw_outer(right)
left.set_title("inner problem: learn x and y")
right.set_title("outer problem: choose $\\varphi$ (markers: optima)")
plt.show()

# %% [markdown]
# The first loss depends mostly on $x$, the second mostly on $y$. After enough steps the learner ends at the
# minimum of the weighted loss (the green line shows it for each $\varphi$), which is never $C$. The outer
# curve depends on the *number of inner steps* $K$, and so does the optimal $\varphi$. With $K = 3$ the
# optimum is the smallest $\varphi$ that was tried.
#
# In later lessons the learner is a neural network or several agents, and $\varphi$ contains loss weights or
# sharing weights. Here the problem has a closed form, so that we can verify everything.

# %% [markdown]
# ## The idea in words
#
# We could try many values of $\varphi$, as the figure did. That works for one outer variable, but not for a
# thousand. Gradient descent needs the *slope* of the outer curve, $dF/d\varphi$, the **hypergradient**. The
# outer loss does not contain $\varphi$. It depends on $\varphi$ *through the inner steps*: a change in
# $\varphi$ changes every step a little, and the later steps carry that change to the end. There are four ways
# to add up these contributions:
#
# * **Unrolled**: store the whole trajectory, and use *backpropagation* through all the steps to sum their
#   contributions. Exact; memory grows with the number of steps.
# * **Truncated**: backpropagate through the last few steps only. Cheaper, but *truncation* leaves out the
#   contributions of the earlier steps.
# * **Forward**: propagate the derivative $d\theta/d\varphi$ along with $\theta$ itself. Exact; memory grows
#   with the number of outer variables, not with the number of steps.
# * **Implicit**: ignore the trajectory. Where learning has *converged*, to a fixed point of the step,
#   differentiate the fixed point with respect to $\varphi$. This takes one linear system, and is correct only
#   at the fixed point.

# %% [markdown]
# ## The key equation
#
# $\theta_k$ (theta) is the vector of parameters after $k$ steps, $\varphi$ the outer variable, $g$ the
# inner loss, $f$ the outer loss, $r$ the learning rate, and $K$ the number of inner steps. (In the code:
# `inner_loss`, `outer_loss`, `RATE`, `steps`.) The **step** is a function $S$:
#
# $$\theta_{k+1} = S(\theta_k, \varphi) = \theta_k - r\,\frac{\partial g}{\partial \theta}(\theta_k, \varphi),
# \qquad F(\varphi) = f(\theta_K).$$
#
# Apply the **chain rule** from the last step to the first (*reverse mode*). The *adjoint* $a_k$ is the
# derivative of the outer loss with respect to $\theta_k$:
#
# $$a_K = \frac{\partial f}{\partial \theta}(\theta_K), \qquad
# a_k = \Big(\frac{\partial S}{\partial \theta}(\theta_k, \varphi)\Big)^{\!\top} a_{k+1}, \qquad
# \boxed{\ \frac{dF}{d\varphi} = \sum_{k=0}^{K-1}
# \Big(\frac{\partial S}{\partial \varphi}(\theta_k, \varphi)\Big)^{\!\top} a_{k+1}\ }$$
#
# *Unrolled* is this sum, and *truncated* its last terms. *Forward* computes the same sum from the first step
# on: $z_{k+1} = \frac{\partial S}{\partial \theta} z_k + \frac{\partial S}{\partial \varphi}$ with
# $z_k = d\theta_k / d\varphi$ and $z_0 = 0$. *Implicit* sets $\theta_{k+1} = \theta_k$: then
# $z = \frac{\partial S}{\partial \theta} z + \frac{\partial S}{\partial \varphi}$, a linear system for $z$.
# Both end with $dF/d\varphi = z^\top a_K$, where *forward* takes $z = z_K$.

# %% [markdown]
# ## From scratch
#
# First the problem: each loss is quadratic, with a curvature in $x$ and one in $y$. `torch.func.grad`
# differentiates a function.

# %%
from torch.func import grad, jacrev, jvp

A, B, C = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 2.0]), torch.tensor([1.2, 1.0])
CURVATURE_A, CURVATURE_B = torch.tensor([1.0, 0.05]), torch.tensor([0.1, 0.6])
START, RATE = torch.tensor([2.0, -1.0]), 0.5


def inner_loss(theta, phi):
    """Two quadratic losses, weighted by phi."""
    first = CURVATURE_A * (theta - A) ** 2
    second = CURVATURE_B * (theta - B) ** 2
    return (phi * first + (1 - phi) * second).sum() / 2


def outer_loss(theta):
    """Half the squared distance from C. It does not contain phi."""
    return ((theta - C) ** 2).sum() / 2


def step(theta, phi):
    """One step of gradient descent on the inner loss."""
    return theta - RATE * grad(inner_loss)(theta, phi)


def learn(phi, steps, theta=START):
    """The trajectory theta_0, ..., theta_K, [K + 1, 2]."""
    path = [theta]
    for _ in range(steps):
        path.append(step(path[-1], phi))
    return torch.stack(path)


# %% [markdown]
# Then the four estimators, a few lines each. `jvp` is a Jacobian-vector product: the value of a function, and
# its derivative along a tangent.


# %%
def unrolled(phi, steps):
    return grad(lambda phi: outer_loss(learn(phi, steps)[-1]))(phi)


def truncated(phi, steps, last):
    # a constant: no gradient through these steps
    before = learn(phi, steps - last)[-1]
    return grad(lambda phi: outer_loss(learn(phi, last, before)[-1]))(phi)


def forward(phi, steps):
    # the tangent is d theta / d phi
    theta, tangent = START, torch.zeros_like(START)
    for _ in range(steps):
        theta, tangent = jvp(step, (theta, phi), (tangent, torch.ones_like(phi)))
    return grad(outer_loss)(theta) @ tangent


def implicit(phi, steps):
    # assumed to be the fixed point
    theta = learn(phi, steps)[-1]
    by_theta, by_phi = jacrev(step, 0)(theta, phi), jacrev(step, 1)(theta, phi)
    return grad(outer_loss)(theta) @ torch.linalg.solve(torch.eye(2) - by_theta, by_phi)


phi, steps = torch.tensor(0.45), 10
print(f"unrolled       {unrolled(phi, steps):10.6f}")
print(f"truncated to 3 {truncated(phi, steps, 3):10.6f}")
print(f"forward        {forward(phi, steps):10.6f}")
print(f"implicit       {implicit(phi, steps):10.6f}")

# %% [markdown]
# Two estimates agree in all digits. The other two have the opposite sign: if the first two are right,
# gradient descent with the others would change $\varphi$ in the wrong direction. Are they right? This problem
# has a closed form. Every step multiplies the distance of $x$ from its fixed point by a constant
# $q = 1 - r m$, where $m$ is the curvature of the inner loss in $x$. The same holds for $y$, with its own $m$
# and $q$. So $\theta_K = \theta^* + q^K (\theta_0 - \theta^*)$, where the fixed point $\theta^*$ is the
# minimum of the inner loss. We differentiate that by hand:


# %%
def fixed_point(phi):
    """The fixed point of the step: the minimum of the inner loss."""
    m = phi * CURVATURE_A + (1 - phi) * CURVATURE_B
    return (phi * CURVATURE_A * A + (1 - phi) * CURVATURE_B * B) / m


def closed_form(phi, steps):
    m = phi * CURVATURE_A + (1 - phi) * CURVATURE_B
    q, fixed = 1 - RATE * m, fixed_point(phi)
    end = fixed + q**steps * (START - fixed)
    # derivatives with respect to phi
    d_fixed = CURVATURE_A * CURVATURE_B * (A - B) / m**2
    d_q = -RATE * (CURVATURE_A - CURVATURE_B)
    d_end = d_fixed * (1 - q**steps) + steps * q ** (steps - 1) * d_q * (START - fixed)
    return (end - C) @ d_end


def end_loss(phi):
    return outer_loss(learn(phi, steps)[-1])


h = 1e-5
differences = (end_loss(phi + h) - end_loss(phi - h)) / (2 * h)
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
both = {
    "unrolled": (Unrolled(), unrolled(phi, steps)),
    "truncated to 3": (Truncated(steps=3), truncated(phi, steps, 3)),
    "forward": (Forward(), forward(phi, steps)),
    "implicit": (Implicit(max_distance=float("inf")), implicit(phi, steps)),
}
for name, (estimator, scratch) in both.items():
    found = estimator(problem, START, inner.init(START), phi, steps=steps).gradient
    same = bool((found - scratch).abs() < 1e-10)
    print(f"{name:15}{found:12.8f}   from scratch {scratch:12.8f}   the same: {same}")

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
# Left, the estimates after $K$ steps; right, their error against the closed form. The error of `implicit`
# goes to 0 as learning converges. `truncated` is exact as long as it backpropagates through *all* steps; if
# it leaves steps out, it has an error, however long the learner trains:

# %% tags=["hide-input"]
lengths = torch.unique(torch.logspace(0.5, 2.2, size(40, fast=5)).long())
truth = torch.stack([closed_form(phi, int(n)) for n in lengths])
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
for label, color, dashes, estimate in (
    ("unrolled, forward", BLUE, "-", unrolled),
    ("implicit", GREEN, "--", implicit),
    ("truncated to 3", AMBER, "-.", lambda phi, n: truncated(phi, n, 3)),
    ("truncated to 10", RED, ":", lambda phi, n: truncated(phi, n, min(n, 10))),
):
    found = torch.stack([estimate(phi, int(n)) for n in lengths])
    look = {"color": color, "linestyle": dashes, "label": label}
    left.plot(lengths, found, **look)
    right.plot(lengths, (found - truth).abs().clamp(min=1e-17), **look)
left.set(xscale="log", xlabel="inner steps K", title="estimates")
left.set_ylabel("estimate of dF/d$\\varphi$")
right.set(xscale="log", yscale="log", xlabel="inner steps K", ylabel="absolute error")
right.set_title("errors (against the closed form)")
left.legend()
plt.show()

# %% [markdown]
# Where do these errors come from? The hypergradient is a sum of one term for $x$ and one for $y$. The table
# shows both terms. Its last rows are for `truncated` *at the fixed point*: the fraction of $dx/d\varphi$ and
# of $dy/d\varphi$ that it contains, and its error.

# %% tags=["hide-input"]
from IPython.display import Markdown, display

rows = ["| | $x$ | $y$ | sum |", "|---|---|---|---|"]


def add_row(name, values):
    x, y = values.tolist()
    rows.append(f"| {name} | {x:+.4f} | {y:+.4f} | {x + y:+.4f} |")


q = 1 - RATE * (phi * CURVATURE_A + (1 - phi) * CURVATURE_B)
rows.append(f"| factor $q$ of each step | {q[0]:.3f} | {q[1]:.3f} | |")
for K in (10, 100):
    x, y = q**K
    rows.append(f"| $q^K$ after $K = {K}$ steps | {x:.1e} | {y:.1e} | |")
d_end = jacrev(lambda phi: learn(phi, 10)[-1])(phi)
add_row("hypergradient after 10 steps", (learn(phi, 10)[-1] - C) * d_end)
fixed, d_fixed = fixed_point(phi), jacrev(fixed_point)(phi)
add_row("hypergradient at the fixed point", (fixed - C) * d_fixed)
for last in (3, 10, 30):
    d_last = jacrev(lambda phi: learn(phi, last, fixed)[-1])(phi)
    x, y = 100 * d_last / d_fixed
    rows.append(f"| truncated to {last}: fraction | {x:.1f} % | {y:.1f} % | |")
    add_row(f"truncated to {last}: error", (fixed - C) * (d_last - d_fixed))
errors = [float(implicit(phi, n) - closed_form(phi, n)) for n in (120, 121)]
note = "From $K = 120$ to $K = 121$ the error of `implicit` shrinks by a factor of "
display(Markdown("\n".join(rows) + f"\n\n{note}{errors[1] / errors[0]:.3f}."))

# %% [markdown]
# * The error of `implicit` comes from learning that has not converged. For large $K$ it is proportional to
#   $K q^K$, with the larger $q$, here that of $y$: every step multiplies it by about $q$.
# * The error of `truncated` is the contribution of the steps that it leaves out. At the fixed point, a
#   fraction $q^k$ of $d\theta/d\varphi$ is missing, where $k$ is the number of steps that it backpropagates
#   through. If $q$ is near 1, learning is slow, and many steps are needed. The fraction differs between $x$
#   and $y$. Here the hypergradient is a sum of two terms with opposite signs, so leaving out more of one than
#   of the other can flip its sign.
# * At the fixed point, `truncated` to 3 has a smaller error than `truncated` to 10. That is a coincidence: it
#   leaves out more of both terms, but the two errors happen to cancel.
# * `implicit` solves another problem: it gives the hypergradient of infinitely long learning. If the outer
#   loss is measured after 10 steps, that is the wrong problem. And because it is *evaluated* after 10 steps,
#   long before convergence, it does not solve the other problem either.
#
# Does it matter? Let us minimize the outer loss after 10 steps, with each of these estimators. The lines show
# the outer loss by outer step, the gray line its minimum:


# %%
def descend(estimate, outer_steps=size(200, fast=3), rate=0.05):
    """Gradient descent on phi: the last phi, and the outer loss of every outer step."""
    phi, losses = torch.tensor(0.9), []
    for _ in range(outer_steps):
        losses.append(outer_loss(learn(phi, 10)[-1]))
        phi = (phi - rate * estimate(phi)).clamp(0.01, 0.99)
    return phi, torch.stack(losses)


# %% tags=["hide-input"]
fine = torch.linspace(0.02, 0.98, 961)
after_10 = outer_losses(fine, 10)
figure, axes = plt.subplots()
label = f"minimum: F = {after_10.min():.4f}"
axes.axhline(after_10.min(), color=GRAY, linewidth=1, label=label)
for label, color, dashes, estimate in (
    ("unrolled, forward", BLUE, "-", lambda phi: unrolled(phi, 10)),
    ("implicit", GREEN, "--", lambda phi: implicit(phi, 10)),
    ("truncated to 3", AMBER, "-.", lambda phi: truncated(phi, 10, 3)),
    ("truncated to 1", RED, ":", lambda phi: truncated(phi, 10, 1)),
):
    last_phi, losses = descend(estimate)
    label = f"{label}: $\\varphi$ = {last_phi:.3f}, F = {losses[-1]:.4f}"
    outer_steps = range(1, len(losses) + 1)
    axes.plot(outer_steps, losses, color=color, linestyle=dashes, label=label)
axes.set(xlabel="outer step (log scale)", ylabel="outer loss F after 10 inner steps")
axes.set(xscale="log", ylim=(0.15, 1.25))
axes.legend()
plt.show()

# %%
at_fixed_point = torch.func.vmap(lambda phi: outer_loss(fixed_point(phi)))(fine)
best_10, best = fine[after_10.argmin()], fine[at_fixed_point.argmin()]
print(f"optimal phi: {best_10:.3f} after 10 steps; at the fixed point {best:.3f}")
early, late = implicit(best, 10), implicit(best, 1000)
print(f"implicit there: {early:.2f} after 10 steps, {late:.2f} after 1000")

# %% [markdown]
# With the truncated estimators, $\varphi$ passes the optimum and moves away from it again: they approach a
# $\varphi$ where their own estimate is zero, and the true gradient is not. `implicit`, evaluated after 10
# steps, converges to a $\varphi$ that is optimal neither after 10 steps nor at the fixed point. Evaluated at
# the fixed point (after 1000 steps), its estimate is 0 where it should be: at the $\varphi$ that is optimal
# there.
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
    curve = outer_losses(PHIS, steps)
    right.plot(PHIS, curve, color=GRAY, label=f"F after {steps} steps")
    right.plot(phi, loss, "o", color=BLACK)
    thick, thin = {"color": BLUE, "linewidth": 5}, {"color": GREEN, "linestyle": "--"}
    dotted = {"color": RED, "linestyle": ":"}
    ends = torch.tensor([-0.12, 0.12])
    for name, look, slope in (
        ("unrolled, forward", thick, unrolled(phi, steps)),
        ("implicit", thin, implicit(phi, steps)),
        (f"truncated to {last}", dotted, truncated(phi, steps, last)),
    ):
        label = f"{name}: {slope:+.3f}"
        right.plot(phi + ends, loss + slope * ends, label=label, **look)
    right.set(xlabel="$\\varphi$ (weight of the first loss)", ylabel="outer loss F")
    right.set(xlim=(0, 1), ylim=(-0.1, 2.2))
    right.legend()
    plt.show()


# %%
explore(play, phi=(0.05, 0.95, 0.01, 0.7), steps=(1, 100, 1, 10), last=(1, 100, 1, 3))

# %% [markdown]
# ## Exercises
#
# Replace the dots by your answer, run its cell, then the check below it. The solutions are in
# `solutions/01_two_levels.py`.
#
# **Exercise 1 (warm up).** One parameter $\theta$, and the inner loss $\frac{m}{2}(\theta - \varphi)^2$ with
# curvature $m$. Learning has converged, so that $d\theta/d\varphi = 1$. What *fraction* of it comes from the
# last $k$ steps, at learning rate $r$?


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
# **Exercise 3 (Neumann series).** `implicit` solves a linear system for $z$. Its transpose gives the same
# result: solve $(I - J)^\top v = \partial f/\partial\theta$ with the identity matrix $I$ and
# $J = \partial S/\partial\theta$; the hypergradient is $v^\top \partial S/\partial\varphi$. If each step
# shrinks distances, as here, $v = \sum_{j=0}^{\infty} (J^\top)^j\, \partial f/\partial\theta$ (the
# *Neumann series*). Stop after `terms` terms, and compute the hypergradient at `theta` from them. Then
# compare it with `truncated` at the fixed point: what do you notice?


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
# gradients are noisy, so that learning never converges. Which estimator is ruled out now? (c) $\varphi$ is
# updated *during* learning, after every inner step. What is $K$ then, and which effect of $\varphi$ is
# ignored?

# %% [markdown]
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. The outer loss does not contain φ. Why is the hypergradient not zero?</summary>
#
# Because $\theta_K$ depends on $\varphi$: the chain rule goes through the learning steps.
#
# </details>
#
# <details><summary>2. What does truncation leave out, and when does that matter little?</summary>
#
# The contributions of all but the last $k$ steps. At the fixed point, a fraction $q^k$ of $d\theta/d\varphi$
# is missing; it is small if learning is fast ($q$ far below 1) or $k$ is large.
#
# </details>
#
# <details><summary>3. Which estimators are exact if learning has not converged?</summary>
#
# Unrolled and forward: both add up all steps. Implicit assumes the fixed point, truncated leaves steps out.
#
# </details>

# %% [markdown]
# ## What to read
#
# * Franceschi and others, *Forward and reverse gradient-based hyperparameter optimization*, arXiv 1703.01785:
#   the two exact estimators, as forward and reverse mode of the same chain rule.
# * Shaban and others, *Truncated back-propagation for bilevel optimization*, arXiv 1810.10667: the error of
#   truncation.
# * Lorraine and others, *Optimizing millions of hyperparameters by implicit differentiation*, arXiv
#   1911.02590; Rajeswaran and others, *Meta-learning with implicit gradients*, arXiv 1909.04630.
# * In this toolkit: `docs/how-to/choose-estimator.md`, a checklist for choosing an estimator, and
#   `bilevel.check_hypergradient`, which compares all estimators on your problem.
# * Next: `02_differentiable_optimizers`, where the inner optimizer is Adam, and gradients get lost.
