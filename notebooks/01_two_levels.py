# %% [markdown]
# # 1. Two levels
#
# **How should you turn a knob, if what you care about is what somebody else learns from it?**
#
# A pupil has two skills, $x$ and $y$, and two teachers. The first wants the pupil at $A$ and insists on
# $x$; the second wants $B$ and insists on $y$. The head of the school has one knob, $\varphi$ (phi): the
# first teacher's share of the lessons. The head wants neither $A$ nor $B$ but the goal $C$, and cannot
# teach. All the head can do is turn the knob, let the pupil learn, look at the result, and turn again.
#
# That is *bilevel optimization*: an outer problem (choose $\varphi$) around an inner one (learn, given
# $\varphi$). With a million skills and a network as the pupil it is how rewards are shared, losses are
# weighted and learning rates are set in the rest of these lessons. Here it has a closed form, so that
# nothing has to be believed.

# %%
import matplotlib.pyplot as plt
import torch
from checks.two_levels import check_1, check_2, check_3
from lesson import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED, SKY, explore, size, use_style

use_style()
torch.set_default_dtype(torch.float64)  # 16 digits: exact enough to compare with

A, B, C = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 2.0]), torch.tensor([1.2, 1.0])
FIRM_A, FIRM_B = torch.tensor([1.0, 0.05]), torch.tensor([0.1, 0.6])  # how firmly each teacher pulls x and y
START, RATE = torch.tensor([2.0, -1.0]), 0.5


def inner_loss(theta, phi):
    """What the lessons pull down: both teachers' wishes, weighted by phi."""
    return (phi * FIRM_A * (theta - A) ** 2 + (1 - phi) * FIRM_B * (theta - B) ** 2).sum() / 2


def outer_loss(theta):
    """What the head wants: near C. Only theta is in it, not phi."""
    return ((theta - C) ** 2).sum() / 2


def step(theta, phi):
    """One lesson: gradient descent on the inner loss."""
    return theta - RATE * torch.func.grad(inner_loss)(theta, phi)


def learn(phi, steps, theta=START):
    """All of theta_0 to theta_K, [K + 1, 2]."""
    path = [theta]
    for _ in range(steps):
        path.append(step(path[-1], phi))
    return torch.stack(path)


# %% [markdown]
# ## A picture of the answer
#
# Left: what the pupil does, for one setting of the knob. Each dot is a lesson; along a gray line the inner
# loss is the same, and the middle of those lines is where the lessons pull. Right: what the head sees, how
# far the pupil ends from the goal, by the knob. The head's curve depends on *how long* the pupil learns, and
# so does the best setting. (After 3 lessons the best is the smallest knob that was tried.)

# %%
KNOBS = torch.linspace(0.02, 0.98, size(97, fast=13))
LESSONS = {3: (PURPLE, ":"), 10: (BLUE, "-"), 100: (GREEN, "--")}


def resting_point(phi):
    """Where learning ends: the minimum of the inner loss."""
    pull = phi * FIRM_A + (1 - phi) * FIRM_B
    return (phi * FIRM_A * A + (1 - phi) * FIRM_B * B) / pull


def draw_plane(axes, phi, steps):
    """The inner problem: hills of the inner loss, the pupil's path, and all points where it could end."""
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
    """The outer loss after so many lessons, for many knobs in one go."""
    return torch.func.vmap(lambda knob: outer_loss(learn(knob, steps)[-1]))(knobs)


def draw_outer(axes):
    """The outer problem: how far from the goal the pupil ends, for every knob."""
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
# The head could try every knob, as the picture did. With one knob that works; with a thousand it does not.
# To go downhill one needs the *slope* of the outer curve, $dF/d\varphi$, the **meta-gradient** (or
# hypergradient). The goal does not mention the knob at all. The knob acts *through the lessons*: it bends
# each lesson a little, and every bend is carried on by the lessons that follow. There are four ways to
# count that:
#
# * **Unrolled**: remember the whole path; walk back through all the lessons, and collect what each one's
#   bend does to the end. Exact; memory grows with the number of lessons.
# * **Truncated**: walk back through the last few lessons only. Cheaper; the early bends are left out.
# * **Forward**: carry along, beside the skills, how much the knob has moved them so far. Exact; memory does
#   not grow with the lessons, but with the number of knobs.
# * **Implicit**: forget the path. Where learning has *come to rest*, ask how the resting point moves with
#   the knob. One linear equation; right only at rest.

# %% [markdown]
# ## The key equation
#
# $\theta_k$ (theta) is the pupil after $k$ lessons, a vector; $\varphi$ the knob; $g$ the inner loss, $f$
# the outer one; $r$ the learning rate; $K$ the number of lessons. (In the code: `inner_loss`, `outer_loss`,
# `RATE`, `steps`.) One lesson is a function, the **step** $S$:
#
# $$\theta_{k+1} = S(\theta_k, \varphi) = \theta_k - r\,\frac{\partial g}{\partial \theta}(\theta_k, \varphi),
# \qquad F(\varphi) = f(\theta_K).$$
#
# The chain rule, read from the end to the start, with a vector $a_k$ that says how much the end depends on
# $\theta_k$:
#
# $$a_K = \frac{\partial f}{\partial \theta}(\theta_K), \qquad
# a_k = \Big(\frac{\partial S}{\partial \theta}(\theta_k, \varphi)\Big)^{\!\top} a_{k+1}, \qquad
# \boxed{\ \frac{dF}{d\varphi} = \sum_{k=0}^{K-1}
# \Big(\frac{\partial S}{\partial \varphi}(\theta_k, \varphi)\Big)^{\!\top} a_{k+1}\ }$$
#
# *Unrolled* is this sum; *truncated* its last terms; *forward* the same sum started from the other end,
# $z_{k+1} = \frac{\partial S}{\partial \theta} z_k + \frac{\partial S}{\partial \varphi}$ with
# $z_k = d\theta_k / d\varphi$ and $z_0 = 0$. *Implicit* sets $\theta_{k+1} = \theta_k$ in it: then
# $z = \frac{\partial S}{\partial \theta} z + \frac{\partial S}{\partial \varphi}$, which can be solved for
# $z$ at once.

# %% [markdown]
# ## From scratch
#
# Four estimators, a few lines each. `torch.func` differentiates functions; `jvp` is a Jacobian times a
# vector.

# %%
from torch.func import grad, jacrev, jvp


def unrolled(phi, steps):
    return grad(lambda knob: outer_loss(learn(knob, steps)[-1]))(phi)


def truncated(phi, steps, last):
    before = learn(phi, steps - last)[-1]  # a constant from here on: these lessons are not walked back
    return grad(lambda knob: outer_loss(learn(knob, last, before)[-1]))(phi)


def forward(phi, steps):
    theta, moved = START, torch.zeros_like(START)  # moved: d theta / d phi so far
    for _ in range(steps):
        theta, moved = jvp(step, (theta, phi), (moved, torch.ones_like(phi)))
    return grad(outer_loss)(theta) @ moved


def implicit(phi, steps):
    theta = learn(phi, steps)[-1]  # hopefully at rest
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
# Two agree to the last digit; the other two have another sign: they would turn the knob the other way. Who
# is right? This problem has a closed form. Each skill decays towards its resting point $\theta^*$ by a
# factor $q = 1 - r m$ of its own, the same in every lesson, where $m$ is how firmly both teachers together
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
# The same problem in this toolkit: a step, an outer loss, and an estimator to choose. `data` is what a step
# would see of a batch or an episode; here there is none. `sgd` is plain gradient descent.

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
    "implicit": (Implicit(accept_distance=float("inf")), implicit(phi, steps)),
}
for name, (estimator, scratch) in ours.items():
    gradient = estimator(problem, START, inner.init(START), phi, steps=steps).gradient
    same = bool((gradient - scratch).abs() < 1e-10)
    print(f"{name:16}{gradient:12.8f}   from scratch {scratch:12.8f}   the same: {same}")

# %% [markdown]
# `implicit` had to be told to accept any distance from rest. Left to itself it measures how far the pupil
# still is from the resting point, and says no:

# %%
try:
    Implicit()(problem, START, inner.init(START), phi, steps=10)
except ValueError as refusal:
    print(refusal)

# %% [markdown]
# ## Why they differ
#
# Left, what each one says after $K$ lessons; right, how far that is from the closed form. Longer learning
# mends `implicit`. `truncated` is exact as long as it walks back through *all* lessons, and is off from
# there on, however long the pupil learns:

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
# * `implicit` errs by how far learning is from its end. In the long run its error shrinks in every lesson
#   by about the larger $q$, the slow skill's: it falls as $K q^K$ does.
# * `truncated` errs by what it leaves out. At rest that is a share of $q^k$ of what the knob does to a
#   skill, $k$ the lessons walked back: a *slow* skill (with $q$ near 1) forgets slowly, and needs many. The
#   share is not the same for all skills. Here the head's slope is the difference of two larger
#   effects, so that leaving out more of the one than of the other turns its sign.
# * In the figure `truncated` to 3 ends nearer to the truth than `truncated` to 10. That is luck: it leaves
#   out more of both effects, and what it leaves out happens to cancel.
# * What looks like an error may answer another question. At rest, the implicit slope is the one for a pupil
#   who goes on for ever. If your pupil sits an exam after 10 lessons, that is the wrong question; and asked
#   10 lessons in, long before rest, it does not answer that one either.
#
# Does it matter? Let the head go downhill by each of them, with an exam after 10 lessons. The lines show the
# outer loss at that exam, round by round:

# %%


def descend(estimate, rounds=size(200, fast=3), rate=0.05):
    """Turn the knob downhill, by that estimate; how far from the goal after every round."""
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
# The truncated ones come past the best knob and leave it again: they head for a place where their own slope
# is zero, and F's is not. `implicit`, taken after 10 lessons, stops at a knob that is best for nobody: not
# for the pupil with the exam, and not for one who learns for ever. Only at rest is its slope 0 at the best
# knob of the latter.
#
# ## Play
#
# Move the knob, the number of lessons, and how many of them are walked back. The lines on the right are the
# slopes that each estimator believes in, drawn where the knob stands. (Run the cell to get sliders. Without
# them it shows their start.) Find a setting where `implicit` points *uphill*: where its slope has the wrong
# sign, so that whoever goes down by it goes up.

# %%


def play(phi, steps, walked_back):
    knob, walked_back = torch.tensor(phi), min(walked_back, steps)
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
            f"truncated to {walked_back}",
            {"color": RED, "linestyle": ":"},
            truncated(knob, steps, walked_back),
        ),
    ):
        right.plot(knob + reach, here + slope * reach, label=f"{label}: {slope:+.3f}", **look)
    right.set(xlabel="knob $\\varphi$", ylabel="outer loss F", xlim=(0, 1), ylim=(-0.1, 2.2))
    right.legend()
    plt.show()


explore(play, phi=(0.05, 0.95, 0.01, 0.7), steps=(1, 100, 1, 10), walked_back=(1, 100, 1, 3))

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/01_two_levels.py`.
#
# **Exercise 1 (warm up).** One skill, pulled with firmness $m$ by a teacher whose target is the knob
# itself: the inner loss is $\frac{m}{2}(\theta - \varphi)^2$. Learning is at rest. Which *share* of the
# true $d\theta/d\varphi$ (which is 1) do the last $k$ lessons at rate $r$ account for?


# %% tags=["exercise-1"]
def share_left(m, r, k):
    return ...


# %% tags=["check-1"]
check_1(share_left)

# %% [markdown]
# **Exercise 2 (the walk back).** Write the boxed equation as a loop. `torch.func.vjp(step, theta, phi)`
# gives the step's value and a function `pull`; `pull(a)` is the pair
# $\big(\frac{\partial S}{\partial\theta}^{\!\top} a,\ \frac{\partial S}{\partial\varphi}^{\!\top} a\big)$.
# This is what the library does where one graph of all steps would take more than 1 GiB.


# %% tags=["exercise-2"]
def walk_back(phi, steps):
    path = learn(phi, steps)
    a = grad(outer_loss)(path[-1])
    total = torch.zeros_like(phi)
    for theta in path[:-1].flip(0):  # theta_K-1, ..., theta_0
        _, pull = torch.func.vjp(step, theta, phi)
        total = ...
        a = ...
    return total


# %% tags=["check-2"]
check_2(walk_back, unrolled)

# %% [markdown]
# **Exercise 3 (a bridge).** `implicit` solves $(I - J)^\top v = \partial f/\partial\theta$ with
# $J = \partial S/\partial\theta$. If steps contract,
# $v = \sum_{j=0}^{\infty} (J^\top)^j\, \partial f/\partial\theta$ (a *Neumann series*). Stop after `terms`
# terms, and compute the slope at `theta` from them. Then compare with `truncated`, at rest: what do you
# notice?


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
# **For discussion.** (a) You have one pupil and a million knobs. Which estimator is out of the question?
# (b) The pupil's lessons have noise, so that learning never comes to rest. Which one now? (c) The head may
# change the knob *during* learning, after every lesson. What is $K$ then, and what does the head overlook?

# %% [markdown]
# ## What to read
#
# * Franceschi and others, *Forward and reverse gradient-based hyperparameter optimization*, arXiv
#   1703.01785: the two exact ways, as one chain rule read from both ends.
# * Shaban and others, *Truncated back-propagation for bilevel optimization*, arXiv 1810.10667: what leaving
#   out costs.
# * Lorraine and others, *Optimizing millions of hyperparameters by implicit differentiation*, arXiv
#   1911.02590; Rajeswaran and others, *Meta-learning with implicit gradients*, arXiv 1909.04630.
# * In this toolkit: `docs/choosing.md`, a list to go down until a line fits your problem, and
#   `bilevel.check_hypergradient`, which compares all estimators on it.
# * Next: `02_differentiable_optimizers`, where the pupil learns with Adam and things get lost.
