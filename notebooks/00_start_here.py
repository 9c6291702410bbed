# %% [markdown]
# # 0. Start here
#
# **What do these lessons teach, which one is for you, and how do you run it?**
#
# Ten notebooks answer one question each. All of them are about *bilevel optimization*: an inner loop
# learns, and an outer loop chooses the objective of the inner loop. The first figure shows why that is
# worth two hours.

# %% tags=["setup"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("bilevel") is None:  # not installed yet, as in Colab
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "bilevel[lessons]"], check=True)

# %%
import dataclasses
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display

import bilevel
from bilevel.lessons import BLACK, GRAY, draw_band, size, use_style
from bilevel.lessons.checks.start_here import check_1
from bilevel.report import looks

use_style()


def train(method, seeds=16):
    """Welfare of two agents in a repeated prisoner's dilemma while they learn, [outer
    step, seed].
    """
    config = bilevel.default_config("repeated-prisoners-dilemma", method)
    config = dataclasses.replace(config, seeds=seeds, outer_steps=size(50, fast=2))
    with tempfile.TemporaryDirectory() as folder:
        return bilevel.train(bilevel.create_run(config, Path(folder) / "run")).curves[
            "welfare"
        ]


# %% [markdown]
# ## A picture of the answer
#
# Two agents play a repeated prisoner's dilemma. If each learns a policy that maximizes its *own* reward, both
# learn to defect, and their total reward is the smallest possible. Now let them also learn **how much of
# their reward to give to each other**. Nothing else changes, and they learn to cooperate: their total reward
# is the largest possible.
#
# One *outer step* is one update of the policies and, where sharing is learned, one update of the sharing
# weights. Each line is the *interquartile mean* over 16 seeds (the mean of the middle half); every seed has
# its own initial policies and random numbers. The band is the 95 % confidence interval.

# %%
LABELS = {
    "selfish": "each maximizes its own reward",
    "tos": "sharing weights are learned, too",
}


# %% tags=["hide-input"]
figure, axes = plt.subplots()
for method, look in looks(list(LABELS)).items():
    welfare = train(method)
    steps = range(1, len(welfare) + 1)
    draw_band(
        axes,
        steps,
        welfare,
        label=LABELS[method],
        color=look["color"],
        linestyle=look["linestyle"],
    )
for height, words, side in (
    (-2, "mutual cooperation", "bottom"),
    (-4, "mutual defection", "top"),
):
    axes.axhline(height, color=GRAY, linestyle="--", linewidth=1)
    beside = height + (0.04 if side == "bottom" else -0.04)
    axes.text(
        0.98, beside, words, transform=axes.get_yaxis_transform(), ha="right", va=side
    )
axes.set(
    xlabel="outer step (log scale)",
    ylabel="total reward per round",
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
# There are two loops. The *inner loop* learns parameters, such as a policy or a network's weights. The
# *outer loop* learns the **outer variables**, which define the objective of the inner loop: how rewards are
# shared, or how losses are weighted. To improve an outer variable, we need to know how the result of the
# inner loop changes with it. We get this derivative by differentiating through the learning steps. It is
# called the **hypergradient**. The lessons show how to compute it, where it vanishes, and what it is good
# for.
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
# The smallest example: $\theta$ takes $K = 5$ gradient steps toward $\varphi$, and the outer loss is its
# squared distance from the target 1 after these steps. We differentiate through all five steps.

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
by_library = bilevel.Unrolled()(
    problem, start, inner.init(start), phi, steps=5
).gradient
print(f"phi = 1: after 5 steps theta = {end(phi):.4f}")
print(f"hypergradient from scratch    {from_scratch:.6f}")
print(f"hypergradient by the library  {by_library:.6f}")

# %% [markdown]
# The hypergradient is negative: to get closer to 1 in five steps, $\theta$ needs a $\varphi$ *larger* than 1.
# Lesson 1 starts from here.
#
# ## Overview of the lessons

# %%
LESSONS = [  # name, question, minutes, prerequisites
    (
        "01_two_levels",
        "How do you optimize a variable that acts only through a learner?",
        35,
        [],
    ),
    (
        "02_differentiable_optimizers",
        "How do you differentiate an optimizer, and where do gradients get lost?",
        40,
        ["01"],
    ),
    ("03_social_dilemmas", "When does selfish behavior hurt everybody?", 35, []),
    (
        "04_sharing_in_the_prisoners_dilemma",
        "How much sharing resolves a dilemma?",
        35,
        ["01", "03"],
    ),
    ("05_learning_to_share", "How do agents learn how much to share?", 45, ["04"]),
    (
        "06_incentives_and_empathy",
        "What if agents pay each other, or care about each other?",
        40,
        ["05"],
    ),
    (
        "08_zero_sum",
        "How do agents learn if one's gain is the other's loss?",
        35,
        ["01", "03"],
    ),
    (
        "09_learning_loss_weights",
        "How do you learn the weights of several losses?",
        40,
        ["02"],
    ),
    (
        "10_your_own_game_and_method",
        "How do you add a game and a method of your own?",
        30,
        ["05"],
    ),
]
rows = ["| lesson | question | minutes (about) | prerequisites |", "|---|---|---|---|"]
for name, question, minutes, after in LESSONS:
    rows.append(
        f"| [{name}]({name}.ipynb) | {question} | {minutes} | "
        f"{', '.join(after) or 'none'} |"
    )
rows.append(
    "| [teacher](teacher.ipynb) | for teachers: lesson plans, common difficulties, "
    "questions | 20 | |"
)
display(Markdown("\n".join(rows)))

# %% [markdown]
# The same as a graph. Each arrow leads from a prerequisite to the lesson that needs it.

# %%
PLACES = {
    "01": (0, 2), "02": (1, 3), "09": (2, 3), "03": (0, 0.5), "04": (1, 1.2),
    "05": (2, 1.2),
    "06": (3, 1.8), "10": (3, 0.6), "08": (1, 0),
}  # fmt: skip


# %% tags=["hide-input"]
figure, axes = plt.subplots(figsize=(11, 4.5))
boxes = {}
for name, _, _, _ in LESSONS:
    number, words = name[:2], name[3:].replace("_", " ")
    x, y = PLACES[number]
    box = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": BLACK}
    lines = words.replace("differentiable ", "differentiable\n").replace(
        "sharing in the ", "sharing in the\n"
    )
    lines = lines.replace("own game ", "own game\n").replace(
        "learning loss ", "learning\nloss "
    )
    lines = lines.replace("incentives ", "incentives\n").replace(
        "prisoners", "prisoner's"
    )
    boxes[number] = axes.text(
        x, y, f"{number}\n{lines}", ha="center", va="center", bbox=box, fontsize=11
    )
for name, _, _, after in LESSONS:
    for before in after:
        axes.annotate(
            "", PLACES[name[:2]], PLACES[before],
            arrowprops={
                "arrowstyle": "->", "color": GRAY, "linewidth": 1.5,
                "shrinkA": 2, "shrinkB": 2,
                "patchA": boxes[before].get_bbox_patch(),
                "patchB": boxes[name[:2]].get_bbox_patch(),
            },
        )  # fmt: skip
axes.set(xlim=(-0.5, 3.6), ylim=(-0.5, 3.6))
axes.axis("off")
plt.show()

# %% [markdown]
# * **You have a class for two hours:** 01, 03, 04, and the figures of 05; the notebook `teacher` has the
#   plan, minute by minute.
# * **You have a model with several losses:** 01, 02, 09.
# * **You study cooperation:** 03, 04, 05, 06; add 01 if you want to know how the gradients are computed.
# * **You have your own game or method:** 01, 05, 10.
#
# The minutes cover reading, the experiments and the first exercises.
#
# ## What you need
#
# * Python at the level of a first course, and calculus: derivatives and the chain rule.
# * A little PyTorch: tensors, and `autograd`, which computes derivatives.
# * No game theory and no reinforcement learning: the lessons explain both where they need them.
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
# bottom in under three minutes on two CPU cores, without a GPU and without network access. `make notebooks`
# saved the outputs that you see before you run a cell. Sliders appear when you run their cell.
#
# ## An experiment, and how exercises work
#
# Change `seeds` in the call below, or replace `"fixed"` by `"prosocial"`, and run the cell again. (`fixed`:
# each agent keeps 80 % of its reward and gives 20 % to the other agent. `prosocial`: each agent gets half of
# the total reward. The command `bilevel methods` lists all methods.)

# %%
for method in ("selfish", "fixed"):
    print(
        f"{method}: total reward per round after learning "
        f"{train(method, seeds=8)[-1].mean():.3f}"
    )

# %% [markdown]
# Each exercise has a cell with dots. Replace the dots by your answer, run the cell, then run the check below
# it: it tells you whether your answer is right, and gives a hint if it is not. It never reveals the answer.
# The solutions are in `solutions/`, one file per lesson, with common mistakes.
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
# * The project's `README.md`: a quick start, and the map of the code. `docs/how-to/choose-estimator.md`: how
#   to choose a hypergradient estimator.
# * Franceschi and others, *Bilevel programming for hyperparameter optimization and meta-learning*, arXiv
#   1806.04910: both problems in one framework.
# * Dafoe and others, *Open problems in cooperative AI*, arXiv 2012.08630: why cooperation of agents
#   is a research field of its own.
# * Next: `01_two_levels`.
