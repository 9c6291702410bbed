# %% [markdown]
# # 5. Learning to share
#
# **What does "end to end" mean when agents learn to share *while* they learn their policies, and does the
# training schedule matter?**
#
# Five gardens lie in a ring. Each has a harvest of 1 to begin with, and every agent may dig a ditch. It
# costs the digger 1, and waters the garden of the neighbour on the *left*, to whom it is worth 3.
# Digging is good for the group, and never for the digger. No agent can force another to dig. But each may
# give shares of its harvest to its two neighbours, and each decides whether to dig by the harvest that it
# receives.
#
# The shares are not prescribed. In lesson 4 there was one share, and theory gave it. Here it
# is a sharing matrix on a graph, and it is learned, from an initial sharing under which digging does not pay.

# %%
import matplotlib.pyplot as plt
import torch
from checks.learning_to_share import check_1, check_2, check_3
from lesson import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED, draw_band, explore, size, use_style

from bilevel.experiments import interquartile_interval

use_style()
torch.set_default_dtype(torch.float64)

AGENTS, COST, HELP = 5, 1.0, 3.0  # digging costs me 1, and is worth 3 to the neighbour
BONUS = 0.1  # entropy bonus, as in lesson 4: it keeps policies stochastic
SEEDS = size(12, fast=3)
SELF = torch.eye(AGENTS, dtype=torch.bool)
NEAR = SELF | SELF.roll(1, 0) | SELF.roll(-1, 0)  # neighbours on the ring may give to each other


def rewards(p):
    """Own rewards [..., agent] where agent i digs with probability p[..., i]; agent i + 1 waters agent i."""
    return 1 - COST * p + HELP * p.roll(-1, -1)


def matrix(phi):
    """Sharing matrix [..., giver, receiver] from logits: masked to neighbours, every row sums to 1."""
    return phi.masked_fill(~NEAR, -torch.inf).softmax(-1)


def kept(T):
    """The share of its own reward that each agent keeps."""
    return T.diagonal(dim1=-2, dim2=-1)


def thanks(T):
    """The share that each agent receives from the neighbour that it waters: T[i - 1, i]."""
    return T.roll(1, -2).diagonal(dim1=-2, dim2=-1)


def learn(theta, T, updates, rate=1.0):
    """Policy updates: each agent follows the gradient of its own shared reward under T."""
    for _ in range(updates):
        p = theta.sigmoid()
        theta = theta + rate * p * (1 - p) * (HELP * thanks(T) - COST * kept(T) - BONUS * theta)
    return theta


def start(seed=0):
    return torch.randn(SEEDS, AGENTS, generator=torch.Generator().manual_seed(seed))


def train(
    outer, K=1, rounds=0, new_at=None, cost=lambda step: 0.0, rate=1.0, outer_rate=0.1, own=0.8, theta=None
):
    """Both loops, with one of several training schedules.

    Each outer step: `rounds` rounds of K policy updates without an outer gradient, then K updates that are
    differentiated to update the sharing. From `new_at` on the sharing is fixed, and new policies learn.
    Returns welfare and the share given, [outer step, seed], and the final sharing, [seed, giver, receiver].
    """
    theta = start() if theta is None else theta
    phi = torch.zeros(SEEDS, AGENTS, AGENTS) + SELF * torch.tensor(2 * own / (1 - own)).log()
    phi.requires_grad_()
    outer_optimizer = torch.optim.Adam([phi], lr=outer_rate)
    welfare, given = [], []
    for step in range(outer):
        theta = start(seed=1) if step == new_at else theta
        T = matrix(phi)
        theta = learn(theta, T.detach(), K * rounds, rate).detach()
        theta = learn(theta, T, K, rate)  # keep this graph ...
        if new_at is None or step < new_at:
            objective = (rewards(theta.sigmoid()) - cost(step) * (1 - kept(T))).sum()
            phi.grad = torch.autograd.grad(-objective, phi)[0]  # ... and backpropagate through it
            outer_optimizer.step()
        theta = theta.detach()
        welfare.append(rewards(theta.sigmoid()).sum(-1))
        given.append((1 - kept(T)).mean(-1).detach())
    return torch.stack(welfare), torch.stack(given), matrix(phi).detach()


def over_seeds(values):
    """Interquartile mean and 95 % interval of values [seed], as words."""
    found = interquartile_interval(values.numpy())
    return f"{found.estimate:.2f} [{found.low:.2f}, {found.high:.2f}]"


# %% [markdown]
# ## A picture of the answer
#
# Arrows are shares given: the wider, the larger. At first everybody keeps 0.8 and gives the same to both
# neighbours, which is not enough to make anybody dig. The learned sharing has a direction: *give to the
# neighbour that waters you*.

# %%
OUTER = size(150, fast=8)
welfare, given, learned = train(OUTER)
keep = matrix(SELF * torch.tensor(8.0).log())  # keep 0.8, give 0.1 to each neighbour


def draw_ring(axes, T, title):
    """Discs are agents; the arrow from i to j is the share of i's reward that j receives."""
    angle = torch.arange(AGENTS) * 2 * torch.pi / AGENTS
    place = torch.stack((angle.sin(), angle.cos()), -1)
    for i in range(AGENTS):
        for j in range(AGENTS):
            if i != j and NEAR[i, j] and T[i, j] > 0.02:
                axes.annotate(
                    "",
                    place[j] * 0.97,
                    place[i] * 0.97,
                    arrowprops={
                        "arrowstyle": "-|>",
                        "linewidth": 7 * float(T[i, j]),
                        "color": GREEN if j == (i + 1) % AGENTS else RED,
                        "shrinkA": 18,
                        "shrinkB": 18,
                        "connectionstyle": "arc3,rad=0.25",
                        "linestyle": "-" if j == (i + 1) % AGENTS else "--",
                    },
                )
        axes.plot(*place[i], "o", color=GRAY, markersize=24)
        axes.text(*place[i], str(i), ha="center", va="center", color="white", weight="bold")
    axes.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), title=title, aspect="equal")
    axes.axis("off")


figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4.2), width_ratios=(1, 1, 1.3))
draw_ring(left, keep, "at first\n(red, dashed: to the other side)")
draw_ring(middle, learned.mean(0), "learned\n(green, solid: to the one who waters me)")
theta, plain = start(), []
for _ in range(OUTER):
    theta = learn(theta, keep, 1)
    plain.append(rewards(theta.sigmoid()).sum(-1))
draw_band(right, range(OUTER), welfare, label="sharing learns, too", color=GREEN)
draw_band(right, range(OUTER), torch.stack(plain), label="0.8 kept for ever", color=AMBER, linestyle="-.")
right.axhline(AGENTS * HELP, color=BLACK, linewidth=1, label="all dig")
right.set(xlabel="policy updates", ylabel="welfare of all", title=f"{SEEDS} seeds")
right.legend(loc="center right", fontsize=10)
plt.show()

right_way = thanks(learned).mean(-1)
other_way = given[-1] - right_way
print(f"Welfare at the end: {over_seeds(welfare[-1])}, without learning to share {over_seeds(plain[-1])}.")
print(f"To the one who waters me {over_seeds(right_way)}, to the other side {over_seeds(other_way)}.")

# %% [markdown]
# ## The idea in words
#
# Two loops learn. In the *inner loop* every agent updates its policy to increase its own shared reward. In
# the *outer loop* the sharing is updated to increase welfare. "End to end" is used for this in two senses,
# which are easily confused:
#
# 1. **The gradient goes through the updates.** The outer loop asks how the policies' *updates* would change
#    if the sharing were a little different, and differentiates through them.
# 2. **Both are trained together.** The sharing is updated after every few policy updates, while the
#    policies are still learning: *joint* training. Other schedules let the policies learn for longer
#    between two updates of the sharing (*alternating*), or learn the sharing first and then train newly
#    initialized policies under it (*staged*). A *curriculum* changes during training what is learned, and
#    which objective counts.
#
# The first is necessary here (or a learned substitute for it); below we cut the gradient, and no learning
# signal is left. The second is a choice. Its effect is an experiment.

# %% [markdown]
# ## The key equation
#
# $\varphi_{ij}$ are the outer variables (logits), $\mathcal N_i$ the neighbours of $i$ and $i$ itself,
# $T_{ij}$ the share of $i$'s reward that $j$ receives. $\theta$ are the policies (log-odds of digging), $S$
# is one policy update, in which all agents follow their own gradients (`learn`), $K$ the number of updates
# that the outer loop differentiates through, $F$ the sum of all *own* rewards under the resulting policies
# $\theta_K$:
#
# $$T_{ij} = \frac{e^{\varphi_{ij}}}{\sum_{k \in \mathcal N_i} e^{\varphi_{ik}}}, \qquad
# \theta_{k+1} = S(\theta_k, T), \qquad
# \frac{dF}{d\varphi} = \underbrace{\frac{\partial F}{\partial \varphi}}_{=\,0} +
# \Big(\frac{\partial \theta_K}{\partial \varphi}\Big)^{\!\top} \frac{\partial F}{\partial \theta_K}.$$
#
# The first term is 0 because sharing conserves the sum: *it does not depend on who receives what*. Sharing
# acts only through what the agents learn.

# %% [markdown]
# ## From scratch
#
# It is all in the first cell: `learn` is the inner loop, `train` the outer loop around it. The first sense of
# "end to end" is one line there, `theta = learn(theta, T, K, rate)`. Cut the graph there, and look at the
# gradient:

# %%
phi = (SELF * torch.tensor(8.0).log()).requires_grad_()
welfare_after = rewards(learn(start(), matrix(phi), 1).sigmoid()).sum(-1)
through = torch.autograd.grad(welfare_after.mean(), phi)[0]  # the mean over seeds
policies = learn(start(), matrix(phi).detach(), 1)  # the same policies, but detached
shared = (rewards(policies.sigmoid()).unsqueeze(-2) @ matrix(phi)).sum((-2, -1))  # over givers and receivers
cut = torch.autograd.grad(shared.mean(), phi)[0]
print("Derivative of welfare in the logits of agent 0's shares, for 0, 1, 2, 3, 4")
print("through the update: ", [round(number, 4) for number in through[0].tolist()])
print("cut:                ", [round(number, 4) + 0.0 for number in cut[0].tolist()])

# %% [markdown]
# Through the update, the gradient favours giving to agent 1: agent 1 waters agent 0, and would do so more
# often. Giving to agent 4 is slightly better than keeping, too: an agent that keeps less bears less of the
# cost of digging.

# %% [markdown]
# ## The library's version
#
# The ring is a game of the catalogue (a prisoner's dilemma between each agent and the next), `ToS` learns
# policies and sharing. Every learner has `init` and `update`.

# %%
import dataclasses

import games
from bilevel import Placement, default_config
from bilevel.methods import ToS

ring = dataclasses.replace(games.make("cyclical-prisoners-dilemma"), agents=AGENTS)
learner = (
    ToS(own_share=0.8)
    .with_settings({"inner.learning_rate": 1.0, "outer.learning_rate": 0.1, "inner.entropy_coef": BONUS})
    .build(ring, Placement(seeds=SEEDS))
)
state = learner.init(seed=0)

steps = size(40, fast=3)
scratch, _, T = train(steps, theta=state["theta"].squeeze(-1))  # from the same policies
for _ in range(steps):
    state, metrics = learner.update(state)
exactly = {"rtol": 0, "atol": 1e-10}
same = (
    torch.allclose(metrics["welfare"], scratch[-1], **exactly),
    torch.allclose(learner.transfer(state["phi"]).matrix, T, **exactly),
)
print(f"After {steps} outer steps:")
print(f"library      {over_seeds(metrics['welfare'])}")
print(f"from scratch {over_seeds(scratch[-1])}   the same welfare: {same[0]}, the same shares: {same[1]}")

# %% [markdown]
# And theory (lesson 4's linear program, restricted to the graph): what is the minimal transfer?

# %%
theory = games.minimal_transfer(ring, along_graph=True)
print(f"s* = {theory.s:.3f}: the most that all can keep if each divides the rest evenly.")
print(f"g* = {theory.g:.3f}: the most that all can keep if each may choose to whom it gives. Agent 0's row:")
print(theory.general.matrix[0].round(3))

# %% [markdown]
# So the direction matters: with it a quarter is enough. That a *learner* gives far more than a quarter is
# lesson 4's overshoot: its objective does not contain a cost of giving.

# %% [markdown]
# ## Joint, alternating, staged
#
# All three use the same number of policy updates, so that no schedule gets more experience. *Joint*: the
# sharing is updated after every policy update. *Alternating*: after every fifth. *Staged*: sharing and
# policies learn in the first half; then the sharing is fixed, and new policies learn from scratch under it.
#
# In addition to the ring we use a game with *sampled* episodes. In the **escape room** two agents have a
# lever and a door. Pulling the lever costs 1, and lets the other leave through the door for a reward of 10.
# Policies are small networks trained by policy gradients on batches of 64 episodes, with an entropy bonus
# that is annealed to 0 over the first two thirds of training (in *staged*: of each half). Everybody starts
# by keeping 0.95, which is too much: the agent at the lever then bears 0.95 of its cost, and receives 0.5
# of the other's
# 10. `fixed` keeps 0.95 throughout.

# %%
UPDATES = size(120, fast=10)
SCHEDULES = {  # policy updates per outer step, settings of the library, settings of `train`
    "joint": (1, {}, {}),
    "alternating": (5, {"training": "alternating", "training.rounds": 4}, {"rounds": 4}),
    "staged": (1, {"training": "staged", "training.outer_steps": UPDATES // 2}, {"new_at": UPDATES // 2}),
}
LOOKS = {"joint": (GREEN, "-"), "alternating": (BLUE, "--"), "staged": (PURPLE, ":"), "fixed": (AMBER, "-.")}


def escape(name, updates=1, anneal=UPDATES * 2 // 3, **settings):
    """Train a method of the library: welfare and share given, [outer step, seed], and final welfare."""
    method = default_config("escape-room", name).method
    method = method.with_settings({"inner.entropy_coef": f"0:0.3, {anneal // updates}:0", **settings})
    learner = method.build(games.make("escape-room"), Placement(seeds=SEEDS))
    state, welfare, given = learner.init(seed=0), [], []
    for _ in range(UPDATES // updates):
        state, metrics = learner.update(state)
        welfare.append(metrics["welfare"])
        given.append(metrics["given_away"])
    final = learner.evaluate(state, episodes=200)["welfare"]
    return torch.stack(welfare), torch.stack(given), final


escape_runs = {"fixed": (1, *escape("fixed", self_interest=0.95))}
ring_runs = {}
for schedule, (updates, settings, scratch) in SCHEDULES.items():
    lasts = UPDATES // 2 if schedule == "staged" else UPDATES  # updates of one set of policies
    anneal = lasts * 2 // 3
    escape_runs[schedule] = updates, *escape("tos", updates, anneal, own_share=0.95, **settings)
    found = train(UPDATES // updates, **scratch)
    ring_runs[schedule] = updates, found[0], found[1], found[0][-1]

figure, panels = plt.subplots(2, 2, figsize=(11, 7), sharex=True)
for column, (game, runs) in zip(panels.T, (("escape room", escape_runs), ("ring", ring_runs)), strict=True):
    for schedule, (updates, welfare, given, _) in runs.items():
        color, dashes = LOOKS[schedule]
        x = torch.arange(1, len(welfare) + 1) * updates
        for axes, values in zip(column, (welfare, given), strict=True):
            draw_band(axes, x, values, label=schedule, color=color, linestyle=dashes)
    column[0].set(title=game, ylabel="welfare of all")
    column[1].set(xlabel="policy updates", ylabel="share given away", ylim=(0, 1.02))
panels[1, 0].legend(loc="upper left", fontsize=10)
plt.show()

print(f"In the end, {SEEDS} seeds: welfare (interquartile mean and 95 % interval), share given")
for game, runs, best in (("escape room", escape_runs, 9.0), ("ring", ring_runs, AGENTS * HELP)):
    for schedule, (_, _, given, final) in runs.items():
        near = int((final > 0.9 * best).sum())
        words = f"{over_seeds(final):20} {over_seeds(given[-1]):18}"
        print(f"{game:12}{schedule:12} {words} {near} of {SEEDS} seeds near {best:g}")

# %% [markdown]
# * **Here the schedule hardly affects the final welfare.** All three come close to the optimum in both
#   games, in all seeds. Fixed sharing does not: `fixed` solves the escape room in 1 of 12 seeds, and in the
#   ring agents that keep 0.8 stop digging (first figure). So training both *together* is not what makes it
#   work. The gradient *through* the updates is.
# * **The staged curve tests what was learned.** Halfway the new policies know nothing, and welfare
#   falls; then it recovers. So the learned sharing is a *rule* that also works for policies which were not
#   part of its training, and not only along one trajectory of one set of policies.
# * **The share given differs.** Welfare does not determine it (many sharing matrices reach the optimum), so
#   it depends on the trajectory: the alternating schedule updates the sharing a fifth as often. Do not
#   overinterpret these numbers.
# * Joint training needs no restart and no stage length. Alternating training updates the sharing on
#   policies that have learned for longer, but less often for the same experience: in the ring welfare falls
#   at first, as agents stop digging before they have an incentive to dig.

# %% [markdown]
# ## What a curriculum changes, and what it does not
#
# Giving now has a cost, as in lesson 4: $F$ is the sum of all rewards minus $c$ times the shares given.
# Should the cost apply from the start, or only *later*, after sharing and policies have been learned? And,
# as a test, *later, and new policies*: halfway the sharing is fixed, and newly initialized policies learn
# under it.
#
# Two outer loops: a *short-sighted* one, which differentiates through one small update ($K = 1$), with a
# small cost; and a *far-sighted* one, which differentiates through ten large updates, with a large cost.


# %%
def from_step(cost, first):
    return lambda step: cost if step >= first else 0.0


SIGHTS = {
    "short-sighted, cost 0.3": (0.3, size(400, fast=12), {"K": 1}),
    "far-sighted, cost 4": (4.0, size(240, fast=12), {"K": 10, "rate": 10.0, "outer_rate": 0.02}),
}
ENDS = {}
figure, panels = plt.subplots(2, 2, figsize=(11, 7))
for column, (sight, (cost, outer, settings)) in zip(panels.T, SIGHTS.items(), strict=True):
    begins = min(60, outer // 4)
    plans = {
        "from the start": (RED, "-.", {"cost": from_step(cost, 0)}),
        "later": (GREEN, "-", {"cost": from_step(cost, begins)}),
        "later, and new policies": (PURPLE, ":", {"cost": from_step(cost, begins), "new_at": outer // 2}),
    }
    for plan, (color, dashes, changes) in plans.items():
        welfare, given, T = train(outer, **settings, **changes)
        ENDS[sight, plan] = welfare, given, T
        draw_band(column[0], range(outer), welfare, label=plan, color=color, linestyle=dashes)
        draw_band(column[1], range(outer), given, label=plan, color=color, linestyle=dashes)
    for axes in column:
        axes.axvline(begins, color=BLACK, linewidth=1)
    column[0].set(title=sight, ylabel="welfare of all", ylim=(0, 16))
    column[1].set(
        xlabel="outer steps (line: the cost begins, if later)", ylabel="share given away", ylim=(0, 1.02)
    )
panels[0, 1].legend(loc="center right", fontsize=10)
plt.show()

print(f"Interquartile means of {SEEDS} seeds and 95 % intervals")
for (sight, plan), (welfare, given, _) in ENDS.items():
    print(f"{sight}, {plan}:")
    for when, at in (("halfway", len(welfare) // 2 - 1), ("at the end", -1)):
        print(f"    {when:10}  welfare {over_seeds(welfare[at]):20}  given {over_seeds(given[at])}")

# %% [markdown]
# * **A cost from the start ends sharing before agents have learned to dig**, in both cases. Giving has little
#   effect as long as hardly anybody digs, and it costs the same.
# * **Far-sighted: the curriculum finds a solution that a cost from the start misses, and it is stable.**
#   The objective has two local maxima (lesson 4): "give nothing", and one where just enough is given. With
#   a later cost, the sharing starts beyond the second maximum, decreases to it, and stays: above the
#   quarter of theory, since with the bonus policies dig more reliably the more is given. *New policies dig
#   under it, too.*
# * **Short-sighted: the curriculum only delays the collapse.** Halfway it looks like a miracle: almost
#   nothing is given, and all dig. But they dig out of inertia: nearly deterministic policies learn slowly.
#   An outer loop that differentiates through one small update sees the cost of giving, but not its benefit,
#   since within one update hardly anything changes; when the policies begin to change, sharing is long
#   gone. New policies stop digging at once, the old ones in the end.
# * So **a curriculum changes the trajectory, and thus the local maximum that you reach. It does not change
#   where the local maxima are.** Before you trust a curriculum: train for longer, and train new policies
#   under the sharing that it found.

# %% [markdown]
# ## Play
#
# Choose the cost, the outer step at which it begins, the number of updates $K$ that the outer loop
# differentiates through, and the policies' learning rate. Dashed: new policies under the sharing learned in
# the first half. Where is the boundary between a stable solution and mere inertia?

# %%


def play(cost, begins, K, rate):
    outer = size(200, fast=8)
    settings = {"K": K, "rate": rate, "outer_rate": 0.02, "cost": from_step(cost, begins)}
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
    for label, color, dashes, changes in (
        ("policies go on", GREEN, "-", {}),
        ("new policies, sharing of halfway", PURPLE, "--", {"new_at": outer // 2}),
    ):
        welfare, given, _ = train(outer, **settings, **changes)
        draw_band(left, range(outer), welfare, label=label, color=color, linestyle=dashes)
        draw_band(right, range(outer), given, label=label, color=color, linestyle=dashes)
    right.axhline(1 - theory.g, color=BLACK, linewidth=1, label="least, by theory (with a direction)")
    left.set(xlabel="outer steps", ylabel="welfare of all", ylim=(0, 16))
    right.set(xlabel="outer steps", ylabel="share given away", ylim=(0, 1.02))
    right.legend(fontsize=10)
    plt.show()


explore(
    play, cost=(0.0, 10.0, 0.5, 2.0), begins=(0, 150, 10, 60), K=(1, 20, 1, 5), rate=(1.0, 20.0, 1.0, 10.0)
)

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/05_learning_to_share.py`.
#
# **Exercise 1 (warm up).** You are given a sharing matrix for the ring, `T[giver, receiver]`, for any
# number of agents. Which agents dig? Agent $i$ waters agent $i - 1$ (agent 0 waters the last one). Return a
# boolean for each agent: does digging pay for it, whatever the others do?


# %% tags=["exercise-1"]
def digs(T):
    """[agent], True where digging increases the agent's shared reward."""
    return ...


# %% tags=["check-1"]
check_1(digs)

# %% [markdown]
# **Exercise 2 (training schedules).** Write two schedules as loops. You get three functions:
# `learn(theta, phi)` returns the policies after a round of updates; `outer_step(theta, phi)` does so, too,
# and also updates the sharing by the gradient through that round: it returns the pair (policies, sharing).
# `new()` draws new policies. *Alternating*: `outer` times, `rounds` rounds of `learn` and then one
# `outer_step`. *Staged*: `stage` outer steps; then new policies, and rounds of `learn` under the fixed
# sharing, so that there are `outer` rounds in total. Return the pair (policies, sharing).


# %% tags=["exercise-2"]
def alternating(theta, phi, outer, rounds, learn, outer_step):
    for _ in range(outer):
        ...
    return ...


def staged(theta, phi, outer, stage, learn, outer_step, new):
    theta, phi = ..., ...
    return theta, phi


# %% tags=["check-2"]
check_2(alternating, staged)

# %% [markdown]
# **Exercise 3 (minimal transfer).** Build a sharing matrix for a ring of `n` agents in which each gives to
# its two neighbours only, under which digging does not reduce any agent's shared reward (a tie is allowed),
# and in which the smallest kept share is as large as possible.


# %% tags=["exercise-3"]
def least_giving(n):
    """[giver, receiver]"""
    return ...


# %% tags=["check-3"]
check_3(least_giving)

# %% [markdown]
# **For discussion.** (a) The agents are people in a town: they cannot be reinitialized. Which of the
# schedules remain, and what can no longer be tested? (b) With a cost, the cut gradient is not 0 any more.
# What is left of it, and what would an outer loop learn from that alone? (c) The released implementation of
# LToS (below) alternates between two policies, and trains the upper one with a critic: it estimates the
# *value* of shares from experience, instead of differentiating through the updates. In which sense is that
# end to end?

# %% [markdown]
# ## What to read
#
# * Yi and others, *Learning to share in multi-agent reinforcement learning*, arXiv 2112.08702: LToS.
# * Yang and others, *Learning to incentivize other learning agents*, arXiv 2006.06051: the escape room.
# * Willis and others, *Resolving social dilemmas with minimal reward transfer*, arXiv 2310.12928: the
#   ring, $s^*$ and $g^*$.
# * In this toolkit: `docs/studies/training-modes.md` (seven training schedules on four games),
#   `docs/studies/initial-sharing.md` (the initial sharing), `docs/studies/ltos.md` (LToS as released).
# * Next: `06_incentives_and_empathy`.
