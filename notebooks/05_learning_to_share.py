# %% [markdown]
# # 5. Learning to share
#
# **What does "end to end" mean if agents learn their sharing *while* they learn their policies, and does the
# training schedule matter?**
#
# Five agents have gardens in a ring, each with a harvest of 1. Every agent may dig a ditch. Digging costs the
# digger 1 and waters the garden of its *left* neighbor, whose harvest grows by 3. So digging is good for the
# group, but for the digger not digging is a dominant strategy. Each agent may give shares of its harvest to
# its two neighbors, and maximizes the harvest that it has after sharing.
#
# In lesson 4 there was one share, and we computed it from theory. Here the outer variable is a sharing
# matrix on a graph. Initially agents keep so much that digging does not pay.
#
# **Goals.** After this lesson you can distinguish the two senses of "end to end", compare joint, alternating
# and staged training fairly, and test a curriculum with newly initialized policies.
#
# **Prerequisites.** Lesson 04. About 45 minutes.

# %% tags=["setup", "hide-input"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("bilevel") is None:  # not installed yet, as in Colab
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "bilevel[lessons]"], check=True)

# %% tags=["hide-input"]
import dataclasses

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display

import games
from bilevel import Placement, default_config
from bilevel.lessons import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED
from bilevel.lessons import draw_band, explore, learning_curves, over_seeds, size
from bilevel.lessons import use_style
from bilevel.lessons.checks.learning_to_share import check_1, check_2, check_3, check_4
from bilevel.methods import Fixed, ToS

use_style()
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A picture of the answer
#
# The width of an arrow is the share given. Initially all agents keep 0.8 and give 0.1 to each neighbor, and
# digging does not pay. The learned sharing has a direction: *agents give to the neighbor that waters them*.
# In the middle is the mean over 12 seeds.

# %% tags=["hide-input"]
AGENTS, SEEDS, OUTER_STEPS = 5, size(12, fast=3), size(150, fast=8)
ring = dataclasses.replace(games.make("cyclical-prisoners-dilemma"), agents=AGENTS)
INNER = {"inner.learning_rate": 1.0, "inner.entropy_coef": 0.1}
learning = ToS(own_share=0.8).with_settings({**INNER, "outer.learning_rate": 0.1})
keeping = Fixed(self_interest=0.8).with_settings(INNER)
runs = {}
for name, method in (("tos", learning), ("fixed", keeping)):
    learner = method.build(ring, Placement(seeds=SEEDS))
    runs[name] = learning_curves(learner, OUTER_STEPS)


# %% tags=["hide-input"]
def shares(curves, step):
    """The share of i's reward that j receives at an outer step, [seed, i, j]."""
    pairs = [(i, j) for i in range(AGENTS) for j in range(AGENTS)]
    found = [curves[f"share_{i}_{j}"][step] for i, j in pairs]
    return torch.stack(found, -1).reshape(-1, AGENTS, AGENTS)


def draw_ring(axes, T, title):
    """Draw agents as disks, and the share of i's reward that j receives as an arrow."""
    angle = torch.arange(AGENTS) * 2 * torch.pi / AGENTS
    place = torch.stack((angle.sin(), angle.cos()), -1)
    look = {"arrowstyle": "-|>", "connectionstyle": "arc3,rad=0.25"}
    look |= {"shrinkA": 18, "shrinkB": 18}
    for i in range(AGENTS):
        for j, color, dashes in ((i + 1, GREEN, "-"), (i - 1, RED, "--")):
            share = float(T[i, j % AGENTS])
            arrow = {"linewidth": 7 * share, "color": color, "linestyle": dashes}
            if share > 0.02:
                ends = place[j % AGENTS] * 0.97, place[i] * 0.97
                axes.annotate("", *ends, arrowprops={**look, **arrow})
        axes.plot(*place[i], "o", color=GRAY, markersize=24)
        inside = {"ha": "center", "va": "center", "color": "white", "weight": "bold"}
        axes.text(*place[i], str(i), **inside)
    axes.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), title=title, aspect="equal")
    axes.axis("off")


widths = {"figsize": (12, 4.2), "width_ratios": (1, 1, 1.3)}
figure, (left, middle, right) = plt.subplots(1, 3, **widths)
initial, learned = shares(runs["tos"], 0).mean(0), shares(runs["tos"], -1)
draw_ring(left, initial, "initial sharing")
draw_ring(middle, learned.mean(0), "learned sharing")
middle.plot([], [], color=GREEN, label="to the neighbor that waters me")
middle.plot([], [], color=RED, linestyle="--", label="to the other neighbor")
figure.legend(*middle.get_legend_handles_labels(), loc="outside lower left", ncols=2)
for name, label, color, dashes in (
    ("tos", "learned sharing", GREEN, "-"),
    ("fixed", "fixed initial sharing", AMBER, "-."),
):
    look = {"label": label, "color": color, "linestyle": dashes}
    draw_band(right, range(OUTER_STEPS), runs[name]["welfare"], **look)
    print(f"final welfare, {label}: {over_seeds(runs[name]['welfare'][-1])}")
look = {"color": BLACK, "linewidth": 1, "linestyle": ":"}
right.axhline(15, label="social optimum: all dig", **look)
right.set(xlabel="policy update", ylabel="welfare", title=f"welfare, {SEEDS} seeds")
right.legend(loc="center right", fontsize=10)
plt.show()
to_waterer = learned.roll(1, -2).diagonal(dim1=-2, dim2=-1).mean(-1)
to_other = learned.roll(-1, -2).diagonal(dim1=-2, dim2=-1).mean(-1)
print("share given to the neighbor that waters me:", over_seeds(to_waterer))
print("share given to the other neighbor:         ", over_seeds(to_other))
print(f"(interquartile means over {SEEDS} seeds and their 95 % bootstrap intervals)")

# %% [markdown]
# ## The idea in words
#
# In the *inner loop* every agent updates its policy to increase its own shared reward. In the *outer loop*
# the sharing is updated to increase the welfare. The term "end to end" is used in two senses, which are
# easily confused:
#
# 1. **The gradient goes through the updates.** The outer loop differentiates through the policy updates with
#    respect to the sharing.
# 2. **Both are trained together.** The sharing is updated after every few policy updates, while the
#    policies are still learning: *joint* training. Other schedules let the policies learn for longer
#    between two updates of the sharing (*alternating*), or learn the sharing first and then train newly
#    initialized policies under it (*staged*). A *curriculum* changes the objective during training, for
#    instance from an easier to a harder one.
#
# The first, or a learned substitute for it, is necessary here: below we cut the gradient, and no learning
# signal is left. The second is a choice, and we measure its effect.

# %% [markdown]
# ## The key equation
#
# $\varphi_{ij}$ are the outer variables (logits), $\mathcal N_i$ contains $i$ and its neighbors, and
# $T_{ij}$ is the share of $i$'s reward that $j$ receives. The *mask* in the code sets the logits of all
# other agents to $-\infty$, so that their shares are 0. $\theta$ are the policies (log-odds of digging),
# $S$ is one policy update, in which all agents follow their own gradients (`learn`), $K$ the number of
# updates that the outer loop differentiates through, and $F$ the welfare, the sum of all *individual*
# rewards, under the resulting policies $\theta_K$. The derivative is the *hypergradient* of lesson 1:
#
# $$T_{ij} = \frac{e^{\varphi_{ij}}}{\sum_{k \in \mathcal N_i} e^{\varphi_{ik}}}, \qquad
# \theta_{k+1} = S(\theta_k, T), \qquad
# \frac{dF}{d\varphi} = \underbrace{\frac{\partial F}{\partial \varphi}}_{=\,0} +
# \Big(\frac{\partial \theta_K}{\partial \varphi}\Big)^{\!\top} \frac{\partial F}{\partial \theta_K}.$$
#
# The first term is 0 because sharing conserves the sum of the rewards. Sharing acts only through the policies
# that the agents learn.

# %% [markdown]
# ## From scratch
#
# The inner loop: the game, the sharing matrix and the policy updates.

# %%
COST, BENEFIT = 1.0, 3.0  # of digging; the benefit is the left neighbor's
ENTROPY = 0.1  # coefficient of the entropy bonus, as in lesson 4
SELF = torch.eye(AGENTS, dtype=torch.bool)
# Allowed receivers: the agent itself and both neighbors.
MASK = SELF | SELF.roll(1, 0) | SELF.roll(-1, 0)


def rewards(p):
    """Individual rewards, [..., agent]; agent i digs with probability p[..., i]."""
    return 1 - COST * p + BENEFIT * p.roll(-1, -1)


def matrix(phi):
    """Sharing matrix, [..., giver, receiver], from the logits that the mask allows."""
    return phi.masked_fill(~MASK, -torch.inf).softmax(-1)


def kept(T):
    """The share of its reward that each agent keeps, [..., agent]."""
    return T.diagonal(dim1=-2, dim2=-1)


def received(T):
    """The share that agent i receives from the neighbor that it waters."""
    return T.roll(1, -2).diagonal(dim1=-2, dim2=-1)


def learn(theta, T, updates, rate=1.0):
    """Policy updates: each agent follows the gradient of its own shared reward."""
    gain = BENEFIT * received(T) - COST * kept(T)  # of digging, in shared reward
    for _ in range(updates):
        p = theta.sigmoid()
        theta = theta + rate * p * (1 - p) * (gain - ENTROPY * theta)
    return theta


# %% [markdown]
# Around it, the outer loop. The arguments are for the training schedules below: each outer step has `rounds`
# rounds of $K$ policy updates without a hypergradient, then $K$ updates that are differentiated (the first
# sense of "end to end"). From outer step `new_at` on the sharing is fixed, and newly initialized policies
# learn under it.

# %%
INITIAL = SELF * torch.tensor(8.0).log()  # logits: keep 0.8, give 0.1 to each neighbor


def start(seed=0):
    """Initial policies, [seed, agent]: log-odds of digging."""
    return torch.randn(SEEDS, AGENTS, generator=torch.Generator().manual_seed(seed))


def free(step):
    """The cost of giving in an outer step: none."""
    return 0.0


def train(
    outer, K=1, rate=1.0, outer_rate=0.1, rounds=0, new_at=None, cost=free, theta=None
):
    """Train both loops: welfare, share given away, [outer step, seed], and sharing."""
    theta = start() if theta is None else theta
    phi = INITIAL.repeat(SEEDS, 1, 1).requires_grad_()
    outer_optimizer = torch.optim.Adam([phi], lr=outer_rate)
    welfare, given_away = [], []
    for step in range(outer):
        theta = start(seed=1) if step == new_at else theta
        T = matrix(phi)
        theta = learn(theta, T.detach(), K * rounds, rate).detach()
        # End to end: the gradient goes through these updates.
        theta = learn(theta, T, K, rate)
        if new_at is None or step < new_at:
            objective = (rewards(theta.sigmoid()) - cost(step) * (1 - kept(T))).sum()
            (phi.grad,) = torch.autograd.grad(-objective, phi)
            outer_optimizer.step()
        theta = theta.detach()
        welfare.append(rewards(theta.sigmoid()).sum(-1))
        given_away.append((1 - kept(T)).mean(-1).detach())
    return torch.stack(welfare), torch.stack(given_away), matrix(phi).detach()


# %% [markdown]
# What happens to the gradient if we cut the graph at these updates? The table shows it for the shares that
# agent 0 gives (and, first, keeps): $dF/d\varphi_{0j}$, on average over the seeds.

# %%
phi = INITIAL.clone().requires_grad_()
welfare_after = rewards(learn(start(), matrix(phi), 1).sigmoid()).sum(-1)
(through,) = torch.autograd.grad(welfare_after.mean(), phi)  # the mean over seeds
# The same policies, but detached from the sharing:
policies = learn(start(), matrix(phi).detach(), 1)
shared = rewards(policies.sigmoid()).unsqueeze(-2) @ matrix(phi)
(cut,) = torch.autograd.grad(shared.sum((-2, -1)).mean(), phi)
rows = ["| share given to agent | 0 | 1 | 2 | 3 | 4 |", "|---|---|---|---|---|---|"]
for name, gradient in (("through the update", through), ("graph cut", cut)):
    numbers = " | ".join(
        f"{round(slope, 4) + 0.0:.4f}" for slope in gradient[0].tolist()
    )
    rows += [f"| {name} | {numbers} |"]
display(Markdown("\n".join(rows)))

# %% [markdown]
# Through the update, the gradient increases the share for agent 1, which waters agent 0, and then learns to
# dig more often. Giving to agent 4 is slightly better than keeping, too: an agent that keeps less bears
# less of the cost of digging.

# %% [markdown]
# ## The library's version
#
# The first figure was drawn with the library's `ToS`, on a game of its catalog (a prisoner's dilemma between
# each agent and the next). Every learner has `init` and `update`. Do the two versions give the same numbers?

# %%
learner = learning.build(ring, Placement(seeds=SEEDS))
state, steps = learner.init(seed=0), size(40, fast=3)
scratch, _, T = train(steps, theta=state["theta"].squeeze(-1))
for _ in range(steps):
    state, metrics = learner.update(state)
T_library = learner.transfer(state["phi"]).matrix
equal = {"rtol": 0, "atol": 1e-10}
print(f"after {steps} outer steps")
print("welfare, library     ", over_seeds(metrics["welfare"]))
print("welfare, from scratch", over_seeds(scratch[-1]))
print("welfare equal:", torch.allclose(metrics["welfare"], scratch[-1], **equal))
print("sharing equal:", torch.allclose(T_library, T, **equal))

# %% [markdown]
# And what is the minimal transfer by theory, that is, by the linear program of lesson 4, restricted to the
# graph?

# %%
theory = games.minimal_transfer(ring, along_graph=True)
print("The largest share that agents can keep")
print(f"if they divide the rest evenly:    s* = {theory.s:.3f}")
print(f"if they may choose the receivers:  g* = {theory.g:.3f}")
print("shares of agent 0 in the second case:", theory.general.matrix[0].round(3))

# %% [markdown]
# So the direction matters: if agents give to the neighbor that waters them, a quarter is enough. The
# *learned* share is far larger than a quarter, as in lesson 4, because the objective does not contain a
# cost of giving.

# %% [markdown]
# ## Joint, alternating, staged
#
# All three schedules use the same number of policy updates. *Joint*: the sharing is updated after every
# policy update. *Alternating*: after every fifth. *Staged*: sharing and policies learn in the first half;
# then the sharing is fixed, and newly initialized policies learn under it.
#
# The second game has *sampled* episodes. In the **escape room** two agents have a lever and a door. Pulling
# the lever costs 1, and lets the other agent leave through the door for a reward of 10. Policies are small
# networks trained by policy gradients on batches of 64 episodes, with an entropy bonus that is annealed to 0
# over the first two thirds of training (in *staged*: of each half). Agents initially keep 0.95, which is too
# much: the agent at the lever then bears 0.95 of its cost of 1, and receives only 0.05 of the reward of 10,
# that is, 0.5. With `fixed` they keep 0.95 throughout.

# %%
UPDATES = size(120, fast=10)
HALF = UPDATES // 2
# The settings of each schedule in the library, and in `train`.
ALTERNATING = {"training": "alternating", "training.rounds": 4}, {"rounds": 4}
STAGED = {"training": "staged", "training.outer_steps": HALF}, {"new_at": HALF}


def escape(name, updates=1, anneal=UPDATES * 2 // 3, **settings):
    """Train in the escape room; the entropy bonus is 0 after `anneal` updates."""
    schedule = {"inner.entropy_coef": f"0:0.3, {anneal // updates}:0"}
    method = default_config("escape-room", name).method
    method = method.with_settings({**schedule, **settings})
    learner = method.build(games.make("escape-room"), Placement(seeds=SEEDS))
    curves = learning_curves(learner, UPDATES // updates)
    return updates, curves["welfare"], curves["given_away"]


def irrigate(updates=1, **settings):
    """Train in the ring, with one outer step after every `updates` policy updates."""
    return updates, *train(UPDATES // updates, **settings)[:2]


TOS = {"own_share": 0.95}
ESCAPE = {
    "fixed": escape("fixed", self_interest=0.95),
    "joint": escape("tos", **TOS),
    "alternating": escape("tos", updates=5, **TOS, **ALTERNATING[0]),
    "staged": escape("tos", anneal=HALF * 2 // 3, **TOS, **STAGED[0]),
}
RING = {
    "joint": irrigate(),
    "alternating": irrigate(updates=5, **ALTERNATING[1]),
    "staged": irrigate(**STAGED[1]),
}


# %% tags=["hide-input"]
LOOKS = {"joint": (GREEN, "-"), "alternating": (BLUE, "--")}
LOOKS |= {"staged": (PURPLE, ":"), "fixed": (AMBER, "-.")}
GAMES = {"escape room": (ESCAPE, 9.0), "ring": (RING, AGENTS * BENEFIT)}
figure, panels = plt.subplots(2, 2, figsize=(11, 7), sharex=True)
for column, (game, (schedules, optimum)) in zip(panels.T, GAMES.items(), strict=True):
    column[0].axhline(optimum, color=BLACK, linewidth=1, label="social optimum")
    for name, (updates, welfare, given_away) in schedules.items():
        color, dashes = LOOKS[name]
        look = {"label": name, "color": color, "linestyle": dashes}
        x = torch.arange(1, len(welfare) + 1) * updates
        draw_band(column[0], x, welfare, **look)
        draw_band(column[1], x, given_away, **look)
    column[0].set(title=game, ylabel="welfare")
    column[1].set(xlabel="policy update", ylabel="share given away", ylim=(0, 1.02))
handles, labels = panels[0, 0].get_legend_handles_labels()
figure.legend(handles, labels, loc="outside upper center", ncols=5)
plt.show()

rows = ["| game | schedule | final welfare | share given away | near the optimum |"]
rows += ["|---|---|---|---|---|"]
for game, (schedules, optimum) in GAMES.items():
    for name, (_, welfare, given_away) in schedules.items():
        near = f"{int((welfare[-1] > 0.9 * optimum).sum())} of {SEEDS} seeds"
        numbers = f"{over_seeds(welfare[-1])} | {over_seeds(given_away[-1])}"
        rows += [f"| {game} | {name} | {numbers} | {near} |"]
note = f"Interquartile means over {SEEDS} seeds and their 95 % bootstrap intervals. "
note += "The final welfare in the escape room is that of the last batch of episodes. "
note += "Near the optimum means above 90 % of its welfare."
display(Markdown("\n".join(rows) + f"\n\n{note}"))

# %% [markdown]
# * **Here the schedule hardly affects the final welfare.** All three come close to the optimum in both
#   games, in all seeds. Fixed sharing does not: `fixed` solves the escape room in 1 of 12 seeds, and in the
#   ring agents that keep 0.8 nearly stop digging (first figure). So joint training is not necessary. The
#   gradient *through* the updates is.
# * **The staged schedule tests the learned sharing.** Halfway through, the policies are reinitialized, and
#   the welfare falls; then it recovers. So the learned sharing also works for policies that were not part of
#   its training, not only along the trajectory of one set of policies.
# * **The share given away differs.** Many sharing matrices reach the optimum, so the share depends on the
#   trajectory: the alternating schedule updates the sharing a fifth as often. Do not overinterpret these
#   numbers.
# * Joint training needs no second initialization and no stage length. Alternating training updates the
#   sharing after more policy updates, but less often: in the ring the welfare falls at first, as agents stop
#   digging before they have an incentive to dig.

# %% [markdown]
# ## The effect of a curriculum
#
# Giving now has a cost, as in lesson 4: $F$ is the welfare minus $c$ times the sum of the shares given away.
# We compare three curricula: the cost applies *from the first outer step*; it applies *from step 60*, after
# sharing and policies have been learned; and, as a test, *from step 60, new policies*: halfway through, the
# sharing is fixed, and newly initialized policies learn under it.
#
# There are two outer loops: one with a *short horizon*, which differentiates through one small update
# ($K = 1$), with a small cost; and one with a *long horizon*, which differentiates through ten large updates
# ($K = 10$), with a large cost.


# %%
def from_step(cost, first):
    """A schedule of the cost of giving: 0 before the outer step `first`."""
    return lambda step: cost if step >= first else 0.0


LONG = {"K": 10, "rate": 10.0, "outer_rate": 0.02}
HORIZONS = {  # cost, number of outer steps, further settings of `train`
    "K = 1, c = 0.3": (0.3, size(400, fast=12), {}),
    "K = 10, c = 4": (4.0, size(240, fast=12), LONG),
}
CURVES = {}
for horizon, (cost, outer, settings) in HORIZONS.items():
    first = min(60, outer // 4)
    early, late = ({"cost": from_step(cost, step)} for step in (0, first))
    for name, curriculum in (
        ("cost from the first step", early),
        ("cost from step 60", late),
        ("cost from step 60, new policies", {**late, "new_at": outer // 2}),
    ):
        CURVES[horizon, name] = train(outer, **settings, **curriculum)[:2]


# %% tags=["hide-input"]
CURRICULA = {
    "cost from the first step": (RED, "-."),
    "cost from step 60": (GREEN, "-"),
    "cost from step 60, new policies": (PURPLE, ":"),
}
figure, panels = plt.subplots(2, 2, figsize=(11, 7))
for column, (horizon, (_, outer, _)) in zip(panels.T, HORIZONS.items(), strict=True):
    for name, (color, dashes) in CURRICULA.items():
        look = {"label": name, "color": color, "linestyle": dashes}
        for axes, values in zip(column, CURVES[horizon, name], strict=True):
            draw_band(axes, range(outer), values, **look)
    first = min(60, outer // 4)
    for axes in column:
        axes.axvline(first, color=BLACK, linewidth=1, label=f"step {first}")
    column[0].set(title=horizon, ylabel="welfare", ylim=(0, 16))
    column[1].set(xlabel="outer step", ylabel="share given away", ylim=(0, 1.02))
handles, labels = panels[0, 1].get_legend_handles_labels()
figure.legend(handles, labels, loc="outside upper center", ncols=2)
plt.show()

rows = ["| horizon | curriculum | when | welfare | share given away |"]
rows += ["|---|---|---|---|---|"]
for (horizon, name), (welfare, given_away) in CURVES.items():
    for when, at in (("halfway", len(welfare) // 2 - 1), ("end", -1)):
        numbers = f"{over_seeds(welfare[at])} | {over_seeds(given_away[at])}"
        rows += [f"| {horizon} | {name} | {when} | {numbers} |"]
note = f"Interquartile means over {SEEDS} seeds and their 95 % bootstrap intervals."
display(Markdown("\n".join(rows) + f"\n\n{note}"))

# %% [markdown]
# * **With the cost from the first step, agents stop sharing before they have learned to dig**, for both
#   horizons: the more rarely agents dig, the less giving changes their policies ($p(1-p)$ is small), while
#   its cost stays the same.
# * **Long horizon: the curriculum finds a good solution, and it is stable.** The objective has two local
#   maxima (lesson 4): one where agents give nothing, and one where they give just enough. When the cost
#   starts, the share is above the second maximum. It settles at that maximum after some oscillations. This is
#   above the theoretical quarter, since with the entropy bonus agents dig more often the more is given.
#   *Newly initialized policies learn to dig, too.*
# * **Short horizon: the curriculum only delays the collapse.** Halfway through, agents give almost nothing,
#   and yet all dig, because nearly deterministic policies learn slowly. The hypergradient through one small
#   update contains the cost of giving, but hardly any of its benefit, since the policies hardly change
#   within one update. By the time they have changed, the sharing is gone. Newly initialized policies stop
#   digging soon after they start, the old ones later.
# * So **a curriculum changes the trajectory, and thus the local maximum that it reaches. It does not change
#   the local maxima.** Before you trust a curriculum: train for longer, and train newly initialized policies
#   under the learned sharing.

# %% [markdown]
# ## Play
#
# Choose the cost, the first outer step with this cost, the number of updates $K$ that the outer loop
# differentiates through, and the learning rate of the policies. Dashed: newly initialized policies under the
# sharing learned in the first half. For which values is the solution stable, and when does it only decay
# slowly?


# %% tags=["hide-input"]
def play(cost, first, K, rate):
    outer = size(200, fast=8)
    settings = {"K": K, "rate": rate, "outer_rate": 0.02}
    settings["cost"] = from_step(cost, first)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
    for label, color, dashes, new_at in (
        ("joint training", GREEN, "-", None),
        ("new policies from step 100, fixed sharing", PURPLE, "--", outer // 2),
    ):
        welfare, given_away, _ = train(outer, new_at=new_at, **settings)
        look = {"label": label, "color": color, "linestyle": dashes}
        draw_band(left, range(outer), welfare, **look)
        draw_band(right, range(outer), given_away, **look)
    look = {"color": BLACK, "linewidth": 1, "label": "minimal share (theory)"}
    right.axhline(1 - theory.g, **look)
    left.set(xlabel="outer step", ylabel="welfare", ylim=(0, 16))
    right.set(xlabel="outer step", ylabel="share given away", ylim=(0, 1.02))
    right.legend(fontsize=10)
    plt.show()


# %%
sliders = {"cost": (0.0, 10.0, 0.5, 2.0), "first": (0, 150, 10, 60)}
explore(play, **sliders, K=(1, 20, 1, 5), rate=(1.0, 20.0, 1.0, 10.0))

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/05_learning_to_share.py`.
#
# **Exercise 1 (warm up).** For which agents is digging dominant under a sharing matrix `T[giver, receiver]`
# on the ring, for any number of agents? Agent $i$ waters agent $i - 1$ (agent 0 waters the last one).
# Return a boolean for each agent.


# %% tags=["exercise-1"]
def digs(T):
    """Whether digging increases the agent's shared reward, [agent]."""
    return ...


# %% tags=["check-1"]
check_1(digs)

# %% [markdown]
# **Exercise 2 (cut and repair).** A colleague's hypergradient of the welfare after $K$ updates is 0. One
# line cuts the graph. Write the function without that mistake. (`phi` are the logits, [giver, receiver],
# and `theta` the policies, [agent]; return the gradient with respect to `phi`.)


# %%
def broken(phi, theta, K):
    phi = phi.detach().requires_grad_()
    for _ in range(K):
        # The next update starts from here.
        theta = learn(theta, matrix(phi), 1).detach()
    welfare = rewards(theta.sigmoid()).sum() + 0 * phi.sum()
    return torch.autograd.grad(welfare, phi)[0]


print("largest entry:", float(broken(INITIAL, torch.zeros(AGENTS), 3).abs().max()))


# %% tags=["exercise-2"]
def repaired(phi, theta, K):
    return ...


# %% tags=["check-2"]
check_2(repaired, learn, matrix, rewards)

# %% [markdown]
# **Exercise 3 (a hypergradient by hand).** Write the derivative of the welfare after *one* update with
# respect to every share $T_{ij}$, without autograd. The shares themselves are the outer variables: there is
# no softmax, and no entropy bonus. With learning rate $r$ and $p_i = \sigma(\theta_i)$, agent $i$'s update is
# $\theta_i' = \theta_i + r\, p_i (1 - p_i) (3\, T_{i-1,i} - T_{ii})$. The welfare is $\sum_i (1 + 2 p_i')$.
# Most entries are 0.


# %% tags=["exercise-3"]
def share_slopes(theta, T, rate):
    """dF / dT, [giver, receiver], for policies theta of any number of agents."""
    return ...


# %% tags=["check-3"]
check_3(share_slopes)

# %% [markdown]
# **Exercise 4 (test a curriculum).** A curriculum ended with the sharing matrix `T`. Does the cooperation
# come from the sharing, or is it left over from training? Test it with newly initialized policies:
# `new(seed)` returns policies, `learn(theta, T)` the policies after a round of updates, `welfare(theta)` a
# number. The seeds are 0, 1, and so on; `seeds` is their number. Return the fraction of them whose policies
# end, after `rounds` rounds, with a welfare above `threshold`.


# %% tags=["exercise-4"]
def success_rate(T, new, learn, welfare, rounds, seeds, threshold):
    """The fraction of seeds whose final welfare is above the threshold."""
    return ...


# %% tags=["check-4"]
check_4(success_rate)

# %% [markdown]
# **For discussion.** (a) The agents are people in a town: they cannot be reinitialized. Which of the
# schedules remain, and what can no longer be tested? (b) With a cost of giving, the gradient of the cut graph
# is no longer 0. What is left of it, and what does an outer loop learn from it? (c) The released
# implementation of LToS (below) trains two policies in alternation. One acts; the other chooses the shares.
# A critic estimates the *value* of shares from a replay buffer of past transitions, instead of
# differentiation through the updates. In which sense is that end to end?

# %% [markdown]
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. Why is the hypergradient 0 if the graph is cut at the policy updates?</summary>
#
# Sharing conserves the sum of the rewards, so $\partial F / \partial \varphi = 0$: with fixed policies, the
# sharing has no effect on the welfare. It acts only through the policies that the agents learn, and this
# second term is the one that is cut.
#
# </details>
#
# <details><summary>2. What does staged training test that joint training does not?</summary>
#
# Newly initialized policies learn under the fixed sharing. If they reach the optimum, too, the cooperation
# comes from the sharing. In joint training it could be left over from the trajectory on which the sharing
# and the policies were learned together.
#
# </details>
#
# <details><summary>3. The welfare is high at the end of a curriculum. Why may it still collapse?</summary>
#
# Nearly deterministic policies learn slowly. The cost can already have reduced the sharing to 0, and agents
# still cooperate for some time. A curriculum changes the trajectory, not the local maxima: train for longer,
# and train newly initialized policies under the learned sharing.
#
# </details>

# %% [markdown]
# ## What to read
#
# * Yi and others, *Learning to share in multi-agent reinforcement learning*, arXiv 2112.08702: LToS.
# * Yang and others, *Learning to incentivize other learning agents*, arXiv 2006.06051: the escape room.
# * Willis and others, *Resolving social dilemmas with minimal reward transfer*, arXiv 2310.12928: the
#   ring, $s^*$ and $g^*$.
# * In this toolkit: `docs/studies/training-modes.md` (seven training schedules on four games),
#   `docs/studies/initial-sharing.md` (the initial sharing), `docs/studies/ltos.md` (LToS as released).
# * Next: `06_incentives`, where agents pay for actions instead of sharing rewards.
