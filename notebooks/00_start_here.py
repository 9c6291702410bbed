# %% [markdown]
# # 0. Start here
#
# **What do these lessons teach, which one is for you, and how do you run it?**
#
# Each lesson is a notebook that answers one question about *bilevel optimization*: an inner loop learns, and
# an outer loop learns the objective of the inner loop. The first figure shows why that is useful.
#
# **Goals.** After this lesson you can say what the inner and the outer loop learn, choose the lessons that
# you need, run them, and check your answer to an exercise.
#
# **Prerequisites.** None. About 10 minutes.

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

import bilevel
from bilevel.lessons import BLACK, GRAY, draw_band, learning_curves, size, use_style
from bilevel.lessons.checks.start_here import check_1
from bilevel.report import looks

use_style()

# %% [markdown]
# ## A picture of the answer
#
# Two agents play a repeated prisoner's dilemma. If each learns a policy that maximizes its *own* reward, both
# learn to defect. If they also learn **how much of their reward to share**, they learn to cooperate.

# %% tags=["hide-input"]
LABELS = {
    "selfish": "each maximizes its own reward",
    "tos": "sharing weights are learned, too",
}
LEVELS = ((-2, "mutual cooperation", "bottom"), (-4, "mutual defection", "top"))


def train(method, seeds=16):
    """Train two agents; their total reward per round, [outer step, seed]."""
    config = bilevel.default_config("repeated-prisoners-dilemma", method)
    learner = config.method.build(config.game, bilevel.Placement(seeds=seeds))
    return learning_curves(learner, size(50, fast=2))["welfare"]


figure, axes = plt.subplots(figsize=(8, 4))
for method, look in looks(list(LABELS)).items():
    line = {"color": look["color"], "linestyle": look["linestyle"]}
    reward = train(method)
    draw_band(axes, range(1, len(reward) + 1), reward, label=LABELS[method], **line)
for height, words, side in LEVELS:
    axes.axhline(height, color=GRAY, linestyle="--", linewidth=1)
    place = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": side}
    axes.text(0.98, height + (0.04 if height == -2 else -0.04), words, **place)
axes.set(xlabel="outer step (log scale)", ylabel="total reward per round")
axes.set(ylim=(-4.3, -1.5), xscale="log")
axes.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
axes.minorticks_off()
axes.legend(loc="center right")
plt.show()

# %% [markdown]
# In a *prisoner's dilemma* each agent gets more if it *defects*, whatever the other does; but if both defect,
# both get less than if both *cooperate*. Without sharing, the total reward approaches the smallest possible;
# with learned sharing, the largest.
# Nothing else differs. One *outer step* is one update of the policies and, where sharing is learned, one
# update of the sharing weights. Each line is the *interquartile mean* over 16 seeds (the mean of the middle
# half); every seed has its own initial policies and random numbers. The band is the 95 % confidence interval.
# This is all the code for training:
#
# ```python
# config = bilevel.default_config("repeated-prisoners-dilemma", method)
# learner = config.method.build(config.game, bilevel.Placement(seeds=16))
# reward = learning_curves(learner, 50)["welfare"]
# ```

# %% [markdown]
# ## The idea in words
#
# There are two loops. The *inner loop* learns parameters, such as a policy or a network's weights. The
# *outer loop* learns the **outer variables**, which define the objective of the inner loop: how rewards are
# shared, or how losses are weighted. To improve an outer variable, we need to know how the result of the
# inner loop changes with it. We get this derivative, the **hypergradient**, by differentiating through the
# learning steps. The lessons show how to compute it, where it vanishes, and what it is good for.
#
# ## The key equation
#
# $\theta$ (theta) denotes the parameters of the inner loop, $\varphi$ (phi) the outer variables, $S$ one
# learning step, $K$ the number of steps, and $f$ the outer loss:
#
# $$\theta_{k+1} = S(\theta_k, \varphi)
# \qquad\text{and}\qquad \min_\varphi\ f(\theta_K).$$
#
# ## From scratch, and with the library
#
# The smallest example: $\theta$ takes $K = 5$ gradient steps toward $\varphi$, and the outer loss is its
# squared distance from the target 1 after these steps. We differentiate through all five steps with
# `autograd` (*backpropagation*), and then compare the library's hypergradient.

# %%


def end(phi, steps=5, rate=0.2):
    """The parameter after some steps, from 0."""
    theta = torch.zeros(())
    for _ in range(steps):
        # the gradient of (theta - phi)^2 / 2
        theta = theta - rate * (theta - phi)
    return theta


phi = torch.tensor(1.0, requires_grad=True)
(from_scratch,) = torch.autograd.grad((end(phi) - 1) ** 2, phi)
print(f"phi = 1: after 5 steps theta = {end(phi):.4f}")
print(f"hypergradient from scratch    {from_scratch:.6f}")

# %%
from bilevel.optimizers import sgd


def inner_loss(theta, phi, data):
    return (theta - phi) ** 2 / 2


def outer_loss(theta, phi, data):
    return (theta - 1) ** 2


inner, start = sgd(0.2), torch.zeros(())
step = bilevel.inner_step(inner_loss, inner)
problem = bilevel.BilevelProblem(step=step, outer_loss=outer_loss)
found = bilevel.Unrolled()(problem, start, inner.init(start), phi, steps=5)
print(f"hypergradient by the library  {found.gradient:.6f}")

# %% [markdown]
# The hypergradient is negative: for $\theta$ to get closer to 1 in five steps, $\varphi$ must be *larger*
# than 1. Lesson 1 starts from here.
#
# ## Overview of the lessons
#
# Lessons 01 to 10 build on each other. Lessons 11 to 17 each answer one further question, and 18 is a team
# project.
#
# | lesson | question | about | prerequisites |
# |---|---|---|---|
# | [01 Two levels](01_two_levels.ipynb) | How do you optimize a variable that acts only through a learner? | 35 minutes | none |
# | [02 Differentiable optimizers](02_differentiable_optimizers.ipynb) | How do you differentiate an optimizer, and where do gradients get lost? | 40 minutes | 01 |
# | [03 Social dilemmas](03_social_dilemmas.ipynb) | When does selfish behavior hurt everybody? | 35 minutes | none |
# | [04 Sharing in the prisoner's dilemma](04_sharing_in_the_prisoners_dilemma.ipynb) | What share of the rewards must agents give away so that all cooperate, and does a learner find that share? | 35 minutes | 01, 03 |
# | [05 Learning to share](05_learning_to_share.ipynb) | What does "end to end" mean if agents learn their sharing *while* they learn their policies, and does the training schedule matter? | 45 minutes | 04 |
# | [06 Incentives](06_incentives.ipynb) | What if agents pay each other for their actions? | 35 minutes | 05 |
# | [07 Empathy and mixing](07_empathy_and_mixing.ipynb) | What if agents care about each other's rewards? | 40 minutes | 05, 06 |
# | [08 Zero-sum](08_zero_sum.ipynb) | What do agents learn, and what is the effect of sharing, if one agent's gain is the other's loss? | 35 minutes | 01, 03 |
# | [09 Learning loss weights](09_learning_loss_weights.ipynb) | A model is trained on a weighted sum of several losses. How do you choose the weights? | 40 minutes | 02 |
# | [10 Your own game and method](10_your_own_game_and_method.ipynb) | You have a new dilemma, and an idea for a method that might solve it. How do you get a result that you can defend? | 30 minutes | 05 |
# | [11 Credit in networks](11_credit_in_networks.ipynb) | Why is it hard to know whose reward an action caused, if there are many agents? | 45 minutes | 05 |
# | [12 Shaping others' learning](12_shaping_others_learning.ipynb) | What if an agent knows that the others learn? | 45 minutes | 03, 05 |
# | [13 Hypergradients from samples](13_hypergradients_from_samples.ipynb) | How do you differentiate through learning if rewards are only sampled? | 45 minutes | 01, 05 |
# | [14 A world model, built](14_world_model.ipynb) | How are encoder, dynamics and controller trained end to end, and who decides how much each loss counts? | 50 minutes | 02, 09 |
# | [15 Experts, routers and curricula](15_experts_routers_and_curricula.ipynb) | When do experts collapse, and does a curriculum from softmax to sparsemax help? | 45 minutes | 02 |
# | [16 Zero-sum learning](16_zero_sum_learning.ipynb) | Which learning rule finds an equilibrium of a zero-sum game, and what converges: the average or the last iterate? | 45 minutes | 08 |
# | [17 How sure is that?](17_how_sure_is_that.ipynb) | How sure is a result over seeds? | 45 minutes | 00, 10 |
# | [18 Capstone: reproduce a paper's table](18_capstone.ipynb) | Can you reproduce a published table, and say how far? | 60 minutes | 05, 10, 17 |
# | [Teacher's guide](teacher.ipynb) | How do you teach these lessons? Plans, common misconceptions, exam questions | 20 minutes | none |
#
# The same as a graph. An arrow leads from a lesson to one that needs it. (If a lesson needs another one only
# because a lesson between them does, there is no arrow.)

# %% tags=["hide-input"]
PLACES = {
    "01": (0, 3.6), "02": (1, 4.5), "03": (0, 1.2), "04": (1, 2.4), "05": (2, 2.4),
    "06": (3, 2.8), "07": (4, 2.8), "08": (1, 0.3), "09": (2, 4.1), "10": (3, 0.1),
    "11": (3, 1.0), "12": (3, 1.9), "13": (3, 3.7), "14": (3, 4.6), "15": (2, 5.0),
    "16": (2, 0.3), "17": (4, 0.1), "18": (4, 1.2),
}  # fmt: skip
WORDS = {
    "01": "two levels", "02": "differentiable\noptimizers", "03": "social\ndilemmas",
    "04": "sharing in the\nprisoner's dilemma", "05": "learning\nto share",
    "06": "incentives", "07": "empathy\nand mixing", "08": "zero-sum",
    "09": "learning\nloss weights", "10": "your own game\nand method",
    "11": "credit in\nnetworks", "12": "shaping others'\nlearning",
    "13": "hypergradients\nfrom samples", "14": "a world model,\nbuilt",
    "15": "experts, routers\nand curricula", "16": "zero-sum\nlearning",
    "17": "how sure\nis that?", "18": "capstone",
}  # fmt: skip
ARROWS = (
    "01-02 01-04 03-04 04-05 01-08 03-08 02-09 02-15 09-14 05-13 05-06 06-07 05-12 "
    "05-11 05-10 08-16 10-17 17-18"
)
figure, axes = plt.subplots(figsize=(12, 6.2))
boxes = {}
for number, place in PLACES.items():
    box = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": BLACK}
    text = {"ha": "center", "va": "center", "bbox": box, "fontsize": 11}
    boxes[number] = axes.text(*place, f"{number}  {WORDS[number]}", **text)
for before, after in (arrow.split("-") for arrow in ARROWS.split()):
    ends = {
        "patchA": boxes[before].get_bbox_patch(),
        "patchB": boxes[after].get_bbox_patch(),
    }
    look = {"arrowstyle": "->", "color": GRAY, "linewidth": 1.5}
    ends |= {**look, "shrinkA": 2, "shrinkB": 2}
    axes.annotate("", PLACES[after], PLACES[before], arrowprops=ends)
axes.set(xlim=(-0.5, 4.6), ylim=(-0.5, 5.5))
axes.axis("off")
plt.show()

# %% [markdown]
# * **You have a class for two hours:** 01, 03, 04, and the figures of 05; the notebook `teacher` has the
#   plan, minute by minute.
# * **You have a model with several losses:** 01, 02, 09; then 14 and 15.
# * **You study cooperation:** 03, 04, 05, 06, 07; add 01 if you want to know how the gradients are computed,
#   11 for many agents, 12 for agents that know that others learn.
# * **You study zero-sum games:** 01, 03, 08, 16.
# * **You have your own game or method:** 01, 05, 10, 17, and the project of 18.
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
# In the project's folder:
#
# ```sh
# make lab         # sets up .venv with all dependencies, and opens this notebook in JupyterLab
# ```
#
# An editor with notebook support works too, with `.venv` as the kernel. Every lesson runs from top to
# bottom in under three minutes on two CPU cores, without a GPU and without network access. The outputs that
# you see before you run a cell were saved by `make notebooks`. Sliders appear when you run their cell.
#
# ## An experiment, and how exercises work
#
# In the cell below, change `seeds` in the call of `train` (the function of the first figure's cell), or
# replace `"fixed"` by `"prosocial"`, and run the cell again. (`fixed`: each agent keeps 80 % of its reward and
# gives 20 % to the other agent. `prosocial`: each agent receives half of the total reward. The command
# `bilevel methods` lists all methods.)

# %%
for method in ("selfish", "fixed"):
    reward = train(method, seeds=8)[-1].mean()
    print(f"{method}: total reward per round after learning {reward:.3f}")

# %% [markdown]
# ## Exercises
#
# Each exercise has a cell with dots. Replace the dots by your answer, run the cell, then run the check below
# it. It tells you whether your answer is right, and gives a hint if it is not. It never reveals the answer.
# The solutions are in `solutions/`, one file per lesson, with common mistakes.
#
# **Exercise 1.** $N$ agents share all rewards evenly. What share of its own reward does each agent keep?


# %% tags=["exercise-1"]
def kept(N):
    return ...


# %% tags=["check-1"]
check_1(kept)

# %% [markdown]
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. What does the inner loop learn, and what does the outer loop learn?</summary>
#
# The inner loop learns parameters, such as a policy. The outer loop learns the outer variables, such as
# sharing weights or loss weights, which define the objective of the inner loop.
#
# </details>
#
# <details><summary>2. What is a hypergradient?</summary>
#
# The derivative of the outer loss with respect to the outer variables, through the learning steps.
#
# </details>
#
# <details><summary>3. In the smallest example, why is the best φ larger than the target 1?</summary>
#
# Five steps take $\theta$ only part of the way from 0 to $\varphi$. To reach 1, it must aim beyond 1.
#
# </details>

# %% [markdown]
# ## What to read
#
# * The project's `README.md`: a quick start, and the map of the code. `docs/how-to/choose-estimator.md`: how
#   to choose a hypergradient estimator.
# * Franceschi and others, *Bilevel programming for hyperparameter optimization and meta-learning*, arXiv
#   1806.04910: both problems in one framework.
# * Dafoe and others, *Open problems in cooperative AI*, arXiv 2012.08630: why cooperation among agents is a
#   research field of its own.
# * Next: `01_two_levels`.
