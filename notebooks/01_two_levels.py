# %% [markdown]
# # 1. Two levels
#
# **How should you turn a knob, if what you care about is the outcome of somebody else's learning?**
#
# A pupil has two skills, $x$ and $y$, and two teachers. The first wants the pupil at $A$ and insists on
# $x$; the second wants $B$ and insists on $y$. The head of the school has one knob, $\varphi$ (phi): the
# first teacher's share of the lessons. The head wants neither $A$ nor $B$ but the goal $C$, and cannot
# teach. All the head can do is turn the knob, let the pupil learn, look at the result, and turn again.
#
# That is *bilevel optimization*: an outer problem (choose $\varphi$) around an inner one (learn, given
# $\varphi$). With a neural network as the pupil and a million parameters as its skills, this is how rewards
# are shared, losses are weighted and learning rates are set in the rest of these lessons. Here the problem
# has a closed form, so that everything can be verified.

# %%
import matplotlib.pyplot as plt
import torch
from checks.two_levels import check_1, check_2, check_3
from lesson import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED, SKY, explore, size, use_style

use_style()
torch.set_default_dtype(torch.float64)  # double precision, for exact comparisons

A, B, C = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 2.0]), torch.tensor([1.2, 1.0])
FIRM_A, FIRM_B = torch.tensor([1.0, 0.05]), torch.tensor([0.1, 0.6])  # how firmly each teacher pulls x and y
START, RATE = torch.tensor([2.0, -1.0]), 0.5


def inner_loss(theta, phi):
    """The inner loss: both teachers' losses, weighted by phi."""
    return (phi * FIRM_A * (theta - A) ** 2 + (1 - phi) * FIRM_B * (theta - B) ** 2).sum() / 2


def outer_loss(theta):
    """The head's loss: the distance from C. It depends on theta, not on phi."""
    return ((theta - C) ** 2).sum() / 2


def step(theta, phi):
    """One lesson: gradient descent on the inner loss."""
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
# Left: the pupil's trajectory for one setting of the knob. Each dot is a lesson, that is, one gradient step;
# the gray lines are contours of the inner loss, and the pupil is pulled to their center. Right: the head's
# view, the outer loss at the end of learning as a function of the knob. This curve depends on *how long* the
# pupil learns, and so does the best setting. (After 3 lessons the best is the smallest knob that was tried.)

# %%
KNOBS = torch.linspace(0.02, 0.98, size(97, fast=13))
LESSONS = {3: (PURPLE, ":"), 10: (BLUE, "-"), 100: (GREEN, "--")}


def resting_point(phi):
    """The fixed point of learning: the minimum of the inner loss."""
    pull = phi * FIRM_A + (1 - phi) * FIRM_B
    return (phi * FIRM_A * A + (1 - phi) * FIRM_B * B) / pull


def draw_plane(axes, phi, steps):
    """The inner problem: contours of the inner loss, the trajectory, and all fixed points."""
    x, y = torch.meshgrid(torch.linspace(-1.6, 2.9, 60), torch.linspace(-1.4, 2.6, 60), indexing="xy")
    height = torch.func.vmap(lambda point: inner_loss(point, phi))(torch.stack((x, y), -1).reshape(-1, 2))
    axes.contour(x, y, height.reshape(x.shape), levels=14, colors="#BBBBBB", linewidths=0.8)
    ends = torch.stack([resting_point(knob) for knob in torch.linspace(0, 1, 101)])
    axes.plot(*ends.T, color=GREEN, linestyle="--", label="where learning ends,\nfor every knob")
    axes.plot(
        *learn(phi, steps).T, color=BLUE, marker="o", markersize=4, label=f"{steps} lessons at knob {phi:.2f}"
    )
    for point, name in ((A, "A"), (B, "B")):
        axes.annotate(name, point, (6, 6), textcoords="offset points", weight="bold")
        axes.plot(*point, "s", color=BLACK)
    axes.plot(*C, "*", color=RED, markersize=16, label="the goal C")
    axes.set(xlabel="skill x", ylabel="skill y", xlim=(-1.6, 2.9), ylim=(-1.4, 2.6))
    axes.legend(loc="lower left", fontsize=10)


def how_far(knobs, steps):
    """The outer loss after `steps` lessons, for a batch of knobs."""
    return torch.func.vmap(lambda knob: outer_loss(learn(knob, steps)[-1]))(knobs)


def draw_outer(axes):
    """The outer problem: the outer loss after learning, for every knob."""
    for steps, (color, dashes) in LESSONS.items():
        far = how_far(KNOBS, steps)
        axes.plot(KNOBS, far, color=color, linestyle=dashes, label=f"after {steps} lessons")
        axes.plot(KNOBS[far.argmin()], far.min(), "o", color=color)
    axes.set(xlabel="knob $\\varphi$ (share of the first teacher)", ylabel="outer loss F", ylim=(-0.1, 2.2))
    axes.legend()


figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
draw_plane(left, 0.45, 10)
draw_outer(right)
left.set_title("inner: the pupil learns")
right.set_title("outer: the head turns the knob (dots: best)")
plt.show()

# %% [markdown]
# ## The idea in words
#
# The head could try every knob setting, as the figure did. That works with one knob, and not with a thousand.
# Gradient descent needs the *slope* of the outer curve, $dF/d\varphi$, the **hypergradient**. The outer loss
# does not contain the knob at all. The knob acts *through the lessons*: it perturbs each lesson a little, and
# the later lessons propagate every perturbation to the end. There are four ways to add up these
# contributions:
#
# * **Unrolled**: store the whole trajectory, backpropagate through all the steps, and sum the contribution of
#   each. Exact; memory grows with the number of steps.
# * **Truncated**: backpropagate through the last few steps only. Cheaper; the contributions of the earlier
#   steps are left out.
# * **Forward**: propagate the derivative of the skills in the knob along with the skills themselves. Exact;
#   memory grows with the number of knobs, not with the number of steps.
# * **Implicit**: ignore the trajectory. Where learning has *converged* (the pupil is *at rest*, at a fixed
#   point of the step), differentiate the fixed point in the knob. One linear system; correct only at the
#   fixed point.

# %% [markdown]
# ## The key equation
#
# $\theta_k$ (theta) is the pupil after $k$ lessons, a vector; $\varphi$ the knob; $g$ the inner loss, $f$
# the outer loss; $r$ the learning rate; $K$ the number of lessons. (In the code: `inner_loss`, `outer_loss`,
# `RATE`, `steps`.) One lesson is a function, the **step** $S$:
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
    return grad(lambda knob: outer_loss(learn(knob, steps)[-1]))(phi)


def truncated(phi, steps, last):
    before = learn(phi, steps - last)[-1]  # a constant: no gradient through these steps
    return grad(lambda knob: outer_loss(learn(knob, last, before)[-1]))(phi)


def forward(phi, steps):
    theta, moved = START, torch.zeros_like(START)  # moved: d theta / d phi so far
    for _ in range(steps):
        theta, moved = jvp(step, (theta, phi), (moved, torch.ones_like(phi)))
    return grad(outer_loss)(theta) @ moved


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
# Two agree in all digits; the other two have the opposite sign: they would turn the knob the other way. Which
# are right? This problem has a closed form. Each skill converges to its fixed point $\theta^*$ by a factor
# $q = 1 - r m$ of its own, the same in every lesson, where $m$ is the total firmness with which both teachers
# pull it: $\theta_K = \theta^* + q^K (\theta_0 - \theta^*)$. Differentiate that by hand:

# %%


def closed_form(phi, steps):
    pull = phi * FIRM_A + (1 - phi) * FIRM_B
    rest, kept = resting_point(phi), 1 - RATE * pull
    rest_moves = FIRM_A * FIRM_B * (A - B) / pull**2
    end = rest + kept**steps * (START - rest)
    kept_moves = -RATE * (FIRM_A - FIRM_B)
    end_moves = rest_moves * (1 - kept**steps) + steps * kept ** (steps - 1) * kept_moves * (START - rest)
    return (end - C) @ end_moves


nudge = 1e-5
differences = (outer_loss(learn(phi + nudge, steps)[-1]) - outer_loss(learn(phi - nudge, steps)[-1])) / (
    2 * nudge
)
print(f"closed form {closed_form(phi, steps):.12f}")
print(f"unrolled    {unrolled(phi, steps):.12f}")
print(f"forward     {forward(phi, steps):.12f}")
print(f"differences {differences:.12f}   (turn the knob by 0.00001 and look)")

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
    print(f"{name:16}{gradient:12.8f}   from scratch {scratch:12.8f}   the same: {same}")

# %% [markdown]
# `implicit` was told to accept any distance from the fixed point. By default it measures this distance, and
# raises an error if the pupil is too far away:

# %%
try:
    Implicit()(problem, START, inner.init(START), phi, steps=10)
except ValueError as refusal:
    print(refusal)

# %% [markdown]
# ## Why they differ
#
# Left, the estimates after $K$ lessons; right, their error against the closed form. `implicit` improves with
# longer learning. `truncated` is exact as long as it backpropagates through *all* lessons; beyond that it has
# an error, however long the pupil learns:

# %%
lengths = torch.unique(torch.logspace(0.5, 2.2, size(40, fast=5)).long())
truth = torch.stack([closed_form(phi, int(n)) for n in lengths])
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
for label, color, dashes, estimate in (
    ("unrolled, forward", BLUE, "-", unrolled),
    ("implicit", GREEN, "--", implicit),
    ("truncated to 3", AMBER, "-.", lambda knob, n: truncated(knob, n, 3)),
    ("truncated to 10", RED, ":", lambda knob, n: truncated(knob, n, min(n, 10))),
):
    found = torch.stack([estimate(phi, int(n)) for n in lengths])
    left.plot(lengths, found, color=color, linestyle=dashes, label=label)
    right.plot(lengths, (found - truth).abs().clamp(min=1e-17), color=color, linestyle=dashes, label=label)
left.set(xscale="log", xlabel="lessons K", ylabel="estimate of dF/d$\\varphi$", title="what each one says")
right.set(
    xscale="log", yscale="log", xlabel="lessons K", ylabel="distance from the closed form", title="its error"
)
left.legend()
plt.show()

pull = phi * FIRM_A + (1 - phi) * FIRM_B
kept = 1 - RATE * pull
print(f"At knob {phi:.2f} a lesson keeps {kept[0]:.3f} of the distance in x, and {kept[1]:.3f} of that in y.")
print(
    f"So after 10 lessons {kept[0] ** 10:.3f} and {kept[1] ** 10:.3f} of it are left, and after 100 lessons"
)
print(f"{kept[0] ** 100:.1e} and {kept[1] ** 100:.1e}: by then the pupil is at rest, and implicit is right.")
ends, moves = learn(phi, 10)[-1], jacrev(lambda knob: learn(knob, 10)[-1])(phi)
by_x, by_y = (ends - C) * moves
print(f"Of the slope {by_x + by_y:.3f} after 10 lessons x brings {by_x:+.3f} and y {by_y:+.3f}.")
rest = resting_point(phi)
all_of_it = jacrev(resting_point)(phi)
for last in (3, 10, 30):
    x, y = 100 * jacrev(lambda knob: learn(knob, last, rest)[-1])(phi) / all_of_it
    print(f"At rest, the last {last:2} lessons hold {x:.0f} % of how the knob moves x, and {y:.0f} % for y.")
by_x, by_y = (rest - C) * all_of_it
print(f"There the slope is {by_x + by_y:.4f}: {by_x:+.4f} by x and {by_y:+.4f} by y.")
for last in (3, 10):
    x, y = (rest - C) * (jacrev(lambda knob: learn(knob, last, rest)[-1])(phi) - all_of_it)
    print(f"Truncated to {last:2} it errs by {x:+.4f} in x and {y:+.4f} in y, together {x + y:+.4f}.")
late = [float(implicit(phi, n) - closed_form(phi, n)) for n in (120, 121)]
print(f"From lesson 120 to 121 implicit's error falls by a factor of {late[1] / late[0]:.3f}.")

# %% [markdown]
# * The error of `implicit` comes from learning that has not converged. In the long run it shrinks with every
#   lesson by about the larger $q$, that of the slow skill: it falls as $K q^K$ does.
# * The error of `truncated` is what it leaves out. At the fixed point that is a fraction $q^k$ of the
#   derivative of a skill in the knob, where $k$ is the number of lessons that it backpropagates through. A
#   *slow* skill ($q$ near 1) forgets slowly, and needs many. The fraction differs between skills. Here the
#   hypergradient is the difference of two larger terms, so that leaving out more of one than of the other
#   flips its sign.
# * In the figure `truncated` to 3 ends closer to the true value than `truncated` to 10. That is a
#   coincidence: it leaves out more of both terms, and these errors happen to cancel.
# * What looks like an error may be the answer to another question. At the fixed point the implicit gradient
#   is right for a pupil who learns forever. If your pupil takes an exam after 10 lessons, that is the wrong
#   question; and evaluated after 10 lessons, long before convergence, it does not answer that question
#   either.
#
# Does it matter? Let the head follow each of these gradients, with an exam after 10 lessons. The lines show
# the outer loss at that exam, by outer step:

# %%


def descend(estimate, rounds=size(200, fast=3), rate=0.05):
    """Gradient descent on the knob with that estimate: the last knob and the outer loss of every round."""
    knob, losses = torch.tensor(0.9), []
    for _ in range(rounds):
        losses.append(outer_loss(learn(knob, 10)[-1]))
        knob = (knob - rate * estimate(knob)).clamp(0.01, 0.99)
    return knob, torch.stack(losses)


figure, axes = plt.subplots()
for label, color, dashes, estimate in (
    ("unrolled, forward", BLUE, "-", lambda knob: unrolled(knob, 10)),
    ("implicit", GREEN, "--", lambda knob: implicit(knob, 10)),
    ("truncated to 3", AMBER, "-.", lambda knob: truncated(knob, 10, 3)),
    ("truncated to 1", RED, ":", lambda knob: truncated(knob, 10, 1)),
):
    knob, losses = descend(estimate)
    axes.plot(
        losses,
        color=color,
        linestyle=dashes,
        label=f"{label}: ends at knob {knob:.3f}, F = {losses[-1]:.4f}",
    )
axes.set(xlabel="rounds of turning the knob", ylabel="outer loss F after 10 lessons", ylim=(0.15, 0.85))
axes.legend()
plt.show()

fine = torch.linspace(0.02, 0.98, 961)
at_exam, at_rest = how_far(fine, 10), torch.func.vmap(lambda knob: outer_loss(resting_point(knob)))(fine)
best = fine[at_rest.argmin()]
print(f"The best knob after 10 lessons is {fine[at_exam.argmin()]:.3f}, and at rest {best:.3f}.")
early, late = implicit(best, 10), implicit(best, 1000)
print(f"At the latter implicit's slope is {early:.2f} after 10 lessons and {late:.2f} at rest.")

# %% [markdown]
# The truncated estimators pass the best knob and leave it again: they converge to a knob where their own
# estimate is zero, and the true gradient is not. `implicit`, evaluated after 10 lessons, stops at a knob that
# is optimal in neither case: not for the pupil with the exam, and not for one who learns forever. Only at the
# fixed point is its estimate 0 at the best knob of the latter.
#
# ## Play
#
# Move the knob, the number of lessons, and the number of lessons that `truncated` backpropagates through.
# The lines on the right are the slopes by each estimator at the current knob. (Run the cell to get sliders.
# Without them the figure shows their initial values.) Find a setting where `implicit` has the wrong sign,
# so that gradient descent with it goes *uphill*.

# %%


def play(phi, steps, last):
    knob, last = torch.tensor(phi), min(last, steps)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
    draw_plane(left, knob, steps)
    here = outer_loss(learn(knob, steps)[-1])
    right.plot(KNOBS, how_far(KNOBS, steps), color=GRAY, label=f"F after {steps} lessons")
    right.plot(knob, here, "o", color=BLACK)
    reach = torch.tensor([-0.12, 0.12])
    for label, look, slope in (
        ("unrolled, forward", {"color": SKY, "linewidth": 5}, unrolled(knob, steps)),
        ("implicit", {"color": GREEN, "linestyle": "--"}, implicit(knob, steps)),
        (
            f"truncated to {last}",
            {"color": RED, "linestyle": ":"},
            truncated(knob, steps, last),
        ),
    ):
        right.plot(knob + reach, here + slope * reach, label=f"{label}: {slope:+.3f}", **look)
    right.set(xlabel="knob $\\varphi$", ylabel="outer loss F", xlim=(0, 1), ylim=(-0.1, 2.2))
    right.legend()
    plt.show()


explore(play, phi=(0.05, 0.95, 0.01, 0.7), steps=(1, 100, 1, 10), last=(1, 100, 1, 3))

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/01_two_levels.py`.
#
# **Exercise 1 (warm up).** One skill, pulled with firmness $m$ by a teacher whose target is the knob
# itself: the inner loss is $\frac{m}{2}(\theta - \varphi)^2$. Learning has converged. What *fraction* of the
# true $d\theta/d\varphi$ (which is 1) comes from the last $k$ lessons, at learning rate $r$?


# %% tags=["exercise-1"]
def share_left(m, r, k):
    return ...


# %% tags=["check-1"]
check_1(share_left)

# %% [markdown]
# **Exercise 2 (the reverse sweep).** Write the boxed equation as a loop. `torch.func.vjp(step, theta, phi)`
# returns the step's value and a function `pull` (a *vector-Jacobian product*); `pull(a)` is the pair
# $\big(\frac{\partial S}{\partial\theta}^{\!\top} a,\ \frac{\partial S}{\partial\varphi}^{\!\top} a\big)$.
# This is what the library does when the graph of all steps would take more than 1 GiB.


# %% tags=["exercise-2"]
def reverse_sweep(phi, steps):
    trajectory = learn(phi, steps)
    a = grad(outer_loss)(trajectory[-1])
    total = torch.zeros_like(phi)
    for theta in trajectory[:-1].flip(0):  # theta_K-1, ..., theta_0
        _, pull = torch.func.vjp(step, theta, phi)
        total = ...
        a = ...
    return total


# %% tags=["check-2"]
check_2(reverse_sweep, unrolled)

# %% [markdown]
# **Exercise 3 (a bridge).** `implicit` solves $(I - J)^\top v = \partial f/\partial\theta$ with
# $J = \partial S/\partial\theta$. If steps contract,
# $v = \sum_{j=0}^{\infty} (J^\top)^j\, \partial f/\partial\theta$ (a *Neumann series*). Stop after `terms`
# terms, and compute the hypergradient at `theta` from them. Then compare it with `truncated`, at the fixed
# point: what do you notice?


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
# **For discussion.** (a) You have one pupil and a million knobs. Which estimator is ruled out? (b) The
# pupil's lessons are noisy, so that learning never converges. Which one now? (c) The head may change the knob
# *during* learning, after every lesson. What is $K$ then, and what does the head overlook?

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
# * Next: `02_differentiable_optimizers`, where the pupil learns with Adam, and gradients get lost.
