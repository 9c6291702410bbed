# %% [markdown]
# # 0. Start here
#
# **What are these lessons about, which one is for you, and how do you run it?**
#
# Ten notebooks, each of which answers one question. All of them are about *bilevel* learning: an inner loop
# learns, and an outer loop chooses the objective that it learns from. The first picture shows why that is
# worth two hours.

# %%
import dataclasses
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from checks.start_here import check_1
from IPython.display import Markdown, display
from lesson import BLACK, GRAY, draw_band, size, use_style

import bilevel
from bilevel.report import looks

use_style()


def train(method, seeds=16):
    """Welfare of two agents in a repeated prisoner's dilemma while they learn, [outer step, seed]."""
    config = bilevel.default_config("repeated-prisoners-dilemma", method)
    config = dataclasses.replace(config, seeds=seeds, outer_steps=size(50, fast=2))
    with tempfile.TemporaryDirectory() as folder:
        return bilevel.train(bilevel.create_run(config, Path(folder) / "run")).curves["welfare"]


# %% [markdown]
# ## A picture of the answer
#
# Two agents play the prisoner's dilemma repeatedly. Each learns a policy that maximizes its *own* reward, and
# they end at mutual defection, the worst joint outcome. Now let them also learn **how much of their reward to
# give to each other**. Nothing else changes, and they reach the best joint outcome.
#
# One *outer step* is one update of the policies and, where sharing is learned, one update of the sharing. A
# line is the *interquartile mean* over 16 seeds (the mean of the middle half), each seed with its own initial
# policies and random numbers; the band is its 95 % confidence interval.

# %%
WORDS = {"selfish": "learn what is best for oneself", "tos": "learn what to share, too"}
figure, axes = plt.subplots()
for method, look in looks(list(WORDS)).items():
    welfare = train(method)
    steps = range(1, len(welfare) + 1)
    draw_band(axes, steps, welfare, label=WORDS[method], color=look["color"], linestyle=look["linestyle"])
for height, words, side in ((-2, "both always cooperate", "bottom"), (-4, "both always defect", "top")):
    axes.axhline(height, color=GRAY, linestyle="--", linewidth=1)
    beside = height + (0.04 if side == "bottom" else -0.04)
    axes.text(0.98, beside, words, transform=axes.get_yaxis_transform(), ha="right", va=side)
axes.set(
    xlabel="outer step (log scale)",
    ylabel="reward of both together (per round)",
    ylim=(-4.3, -1.5),
    xscale="log",
)
axes.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
axes.minorticks_off()
axes.legend(loc="center right")
plt.show()

# %% [markdown]
# ## The idea in words
#
# There are two loops. The *inner loop* learns the parameters: a policy, a network's weights. The *outer loop*
# learns the **outer variables**, which define what the inner loop learns from: how rewards are shared, how
# losses are weighted. To improve the outer variables one has to know how the inner loop *would have turned
# out* with other values. This can be computed, by differentiating through the learning itself. That
# derivative is the **hypergradient** (also called *meta-gradient*). Every lesson is about it: how it is
# computed, where it gets lost, and what it is good for.
#
# ## The key equation
#
# $\theta$ (theta) are the parameters of the inner loop, $\varphi$ (phi) the outer variables, $S$ one learning
# step, $K$ the number of steps, $f$ the outer loss:
#
# $$\theta_{k+1} = S(\theta_k, \varphi)
# \qquad\text{and}\qquad \min_\varphi\ f(\theta_K).$$
#
# ## From scratch, and with the library
#
# The smallest example: $\theta$ takes $K = 5$ gradient steps towards $\varphi$, and after them it should be
# at
# 1. The derivative goes through all five steps.

# %%


def end(phi, steps=5, rate=0.2):
    theta = torch.zeros(())
    for _ in range(steps):
        theta = theta - rate * (theta - phi)  # the gradient of (theta - phi)^2 / 2
    return theta


phi = torch.tensor(1.0, requires_grad=True)
(from_scratch,) = torch.autograd.grad((end(phi) - 1) ** 2, phi)

from bilevel.optimizers import sgd

inner = sgd(0.2)
problem = bilevel.BilevelProblem(
    step=bilevel.inner_step(lambda theta, phi, data: (theta - phi) ** 2 / 2, inner),
    outer_loss=lambda theta, phi, data: (theta - 1) ** 2,
)
start = torch.zeros(())
by_library = bilevel.Unrolled()(problem, start, inner.init(start), phi, steps=5).gradient
print(f"with phi = 1 theta gets to {end(phi):.4f} in time; d f / d phi is {from_scratch:.6f}")
print(f"the library says           {by_library:.6f}")

# %% [markdown]
# The hypergradient is negative: to reach 1 in five steps, $\theta$ needs a target *beyond* 1. Lesson 1 starts
# from here.
#
# ## The map

# %%
LESSONS = [  # name, question, minutes, prerequisites
    ("01_two_levels", "How do you turn a knob through somebody else's learning?", 35, []),
    (
        "02_differentiable_optimizers",
        "How do you differentiate an optimizer, and where do gradients get lost?",
        40,
        ["01"],
    ),
    ("03_social_dilemmas", "When is what is best for each bad for all?", 35, []),
    ("04_sharing_in_the_prisoners_dilemma", "How much must be shared to leave a dilemma?", 35, ["01", "03"]),
    ("05_learning_to_share", "How do agents learn what to share?", 45, ["04"]),
    ("06_incentives_and_empathy", "What if agents pay for what others do, or feel for them?", 40, ["05"]),
    ("07_zero_sum", "What is there to learn if your gain is my loss?", 35, ["01", "03"]),
    ("08_learning_loss_weights", "How are a model's losses weighted by what you really want?", 40, ["02"]),
    ("09_your_own_game_and_method", "How do you add a game and a method of your own?", 30, ["05"]),
]
rows = ["| lesson | the question | minutes, about | after |", "|---|---|---|---|"]
for name, question, minutes, after in LESSONS:
    rows.append(f"| [{name}]({name}.ipynb) | {question} | {minutes} | {', '.join(after) or 'nothing'} |")
rows.append(
    "| [teacher](teacher.ipynb) | for whoever gives the lessons: plans, stumbling blocks, questions | 20 | |"
)
display(Markdown("\n".join(rows)))

# %% [markdown]
# The same as a graph. An arrow leads from a prerequisite to the lesson that needs it.

# %%
PLACES = {
    "01": (0, 2), "02": (1, 3), "08": (2, 3), "03": (0, 0.5), "04": (1, 1.2), "05": (2, 1.2),
    "06": (3, 1.8), "09": (3, 0.6), "07": (1, 0),
}  # fmt: skip
figure, axes = plt.subplots(figsize=(11, 4.5))
boxes = {}
for name, _, _, _ in LESSONS:
    number, words = name[:2], name[3:].replace("_", " ")
    x, y = PLACES[number]
    box = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": BLACK}
    lines = words.replace("differentiable ", "differentiable\n").replace(
        "sharing in the ", "sharing in the\n"
    )
    lines = lines.replace("own game ", "own game\n").replace("learning loss ", "learning\nloss ")
    lines = lines.replace("incentives ", "incentives\n").replace("prisoners", "prisoner's")
    boxes[number] = axes.text(x, y, f"{number}\n{lines}", ha="center", va="center", bbox=box, fontsize=11)
for name, _, _, after in LESSONS:
    for before in after:
        axes.annotate(
            "", PLACES[name[:2]], PLACES[before],
            arrowprops={
                "arrowstyle": "->", "color": GRAY, "linewidth": 1.5, "shrinkA": 2, "shrinkB": 2,
                "patchA": boxes[before].get_bbox_patch(), "patchB": boxes[name[:2]].get_bbox_patch(),
            },
        )  # fmt: skip
axes.set(xlim=(-0.5, 3.6), ylim=(-0.5, 3.6))
axes.axis("off")
plt.show()

# %% [markdown]
# * **Two hours, a class:** 01, 03, 04, and the figures of 05; the notebook `teacher` has the plan, minute
#   by minute.
# * **You have a model with several losses:** 01, 02, 08.
# * **You study cooperation:** 03, 04, 05, 06; add 01 if you want to know how the gradients are computed.
# * **You bring a game or an idea:** 01, 05, 09.
#
# The minutes cover reading, the experiments and the first exercises.
#
# ## What you need
#
# * Python at the level of a first course, and derivatives. The chain rule is used a lot.
# * A little PyTorch: tensors, and that `autograd` computes derivatives.
# * No game theory and no reinforcement learning: both are explained where they are needed.
#
# ## How to run it
#
# In the project's folder, once:
#
# ```sh
# make lab         # sets up .venv with all dependencies, and opens this notebook in JupyterLab
# ```
#
# An editor with notebook support works too, with `.venv` as the kernel. Every lesson runs from top to
# bottom in under three minutes on two CPU cores, without a GPU and without network access. The outputs that
# you see before you run anything were saved by `make notebooks`. Where a cell with sliders shows only a
# figure, run the cell to get the sliders.
#
# ## An experiment, and how exercises work
#
# Change `seeds` in the call below, or replace `"fixed"` by `"prosocial"`, and run the cell again. (`fixed`:
# each agent keeps 80 % of its reward and gives away 20 %. `prosocial`: each gets half of the total.
# `bilevel methods` lists all methods.)

# %%
for method in ("selfish", "fixed"):
    print(f"{method}: together they get {train(method, seeds=8)[-1].mean():.3f} per round in the end")

# %% [markdown]
# An exercise has a cell with dots. Replace the dots by your answer, run the cell, then run the one below: it
# tells you whether your answer is right, and gives a hint if it is not. It never reveals the answer. The
# solutions are in `solutions/`, one file per lesson, with common mistakes.
#
# **Exercise 1.** $N$ agents share all rewards evenly. What share of its own reward does each agent keep?


# %% tags=["exercise-1"]
def kept(N):
    return ...


# %% tags=["check-1"]
check_1(kept)

# %% [markdown]
# ## What to read
#
# * The project's `README.md`: two commands, and the map of the code. `docs/how-to/choose-estimator.md`: which
#   hypergradient estimator, when.
# * Franceschi and others, *Bilevel programming for hyperparameter optimization and meta-learning*, arXiv
#   1806.04910: both problems in one framework.
# * Dafoe and others, *Open problems in cooperative AI*, arXiv 2012.08630: why cooperation of agents
#   is a research field of its own.
# * Next: `01_two_levels`.
