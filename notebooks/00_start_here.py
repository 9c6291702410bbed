# %% [markdown]
# # 0. Start here
#
# **What are these lessons about, which one is for you, and how do you run it?**
#
# Ten notebooks, each of which answers one question. Everything is about one situation: somebody learns, and
# somebody else chooses *what for*. The first picture is the reason why that is worth two hours.

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
    """What two agents get together in a repeated prisoner's dilemma, as they learn: [outer step, seed]."""
    config = bilevel.default_config("repeated-prisoners-dilemma", method)
    config = dataclasses.replace(config, seeds=seeds, outer_steps=size(50, fast=2))
    with tempfile.TemporaryDirectory() as folder:
        return bilevel.train(bilevel.create_run(config, Path(folder) / "run")).curves["welfare"]


# %% [markdown]
# ## A picture of the answer
#
# Two agents play the prisoner's dilemma again and again. Each learns to do what is best for *itself*, and
# the two end where they are, together, worst off: at defection. Now let them also learn **how much of their
# reward to give to each other**. Nothing else changes, and they end at the best that the two can reach.
#
# In the picture time goes to the right. One *outer step* is a step of learning to play and, for those who
# learn what to share, too, a step of the sharing. A line is the mean of the middle half of 16 seeds (the
# *interquartile mean*), a seed being a start of its own; the band is its 95 % interval.

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
# There are two levels. The *inner* one learns: a policy, a network's weights. The *outer* one sets what the
# inner one learns from: how rewards are shared, how losses are weighted. To improve the outer setting one
# has to know how the inner learning *would have gone* with another one, and this can be computed: by taking
# a derivative through the learning itself. That derivative is the **meta-gradient**. Every lesson is about
# it: how it is taken, where it gets lost, and what it is good for.
#
# ## The key equation
#
# $\theta$ (theta) is what the inner level learns, $\varphi$ (phi) what the outer one sets, $S$ one step of
# learning, $f$ what the outer level wants to be small:
#
# $$\theta_{k+1} = S(\theta_k, \varphi)
# \qquad\text{and}\qquad \text{choose } \varphi \text{ so that } f(\theta_K) \text{ is small.}$$
#
# ## From scratch, and by the library
#
# The smallest example: $\theta$ takes $K = 5$ steps towards $\varphi$, and we want it to be at 1 *by then*.
# The derivative goes through all five.

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
# The slope is negative: to be at 1 in time, $\theta$ needs a target *beyond* 1. Lesson 1 begins here.
#
# ## The map

# %%
LESSONS = [  # name, question, minutes, comes after
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
# The same as a picture. An arrow says: this one before that one.

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
# * **Two hours, a class:** 01, 03, 04, and the pictures of 05; the notebook `teacher` has the plan, minute
#   by minute.
# * **You have a model with several losses:** 01, 02, 08.
# * **You study cooperation:** 03, 04, 05, 06; take 01 where you want to know how.
# * **You bring a game or an idea:** 01, 05, 09.
#
# The minutes are for reading, playing and the first exercises.
#
# ## What you need
#
# * Python as in a first course, and what a derivative is. The chain rule gets used a lot.
# * A little PyTorch: what a tensor is, and that `autograd` takes derivatives.
# * No game theory, and no reinforcement learning; what is needed is said where it is needed.
#
# ## How to run it
#
# In the project's folder, once:
#
# ```sh
# make lab         # sets up .venv with all that is needed, and opens this notebook in JupyterLab
# ```
#
# An editor that shows notebooks does as well, with `.venv` as the kernel. Every lesson runs from top to
# bottom in under three minutes on two processor cores, without a graphics card and without the network.
# What you see before you run anything was saved by `make notebooks`. If a cell with sliders shows only a
# figure, run it.
#
# ## An experiment, and how exercises work
#
# Change `seeds` in the call below, or put `"prosocial"` in the place of `"fixed"`, and run the cell again.
# (`fixed`: each keeps 80 % and gives 20 %. `prosocial`: each gets half of everything. `bilevel methods`
# lists all.)

# %%
for method in ("selfish", "fixed"):
    print(f"{method}: together they get {train(method, seeds=8)[-1].mean():.3f} per round in the end")

# %% [markdown]
# An exercise has a cell with dots. Put your answer in their place, run the cell, then the one below: it
# tells you whether you are right, and if not, what to think about. It never tells the answer. Solutions
# stand in `solutions/`, one file for each lesson, with common mistakes.
#
# **Exercise 1.** $N$ agents share all rewards evenly among them. Which part of its own reward does each
# keep?


# %% tags=["exercise-1"]
def kept(N):
    return ...


# %% tags=["check-1"]
check_1(kept)

# %% [markdown]
# ## What to read
#
# * The project's `README.md`: two commands, and the map of the code. `docs/choosing.md`: which
#   meta-gradient, when.
# * Franceschi and others, *Bilevel programming for hyperparameter optimization and meta-learning*, arXiv
#   1806.04910: the two levels, in one framework.
# * Dafoe and others, *Open problems in cooperative AI*, arXiv 2012.08630: why agents that cooperate are
#   worth a science.
# * Next: `01_two_levels`.
