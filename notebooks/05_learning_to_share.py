# %% [markdown]
# # 5. Learning to share
#
# **What does "end to end" mean when agents learn to share *while* they learn what to do, and does it
# matter who learns when?**
#
# Five gardens lie in a ring. Each has a harvest of 1 to begin with, and everybody may dig a ditch. It
# costs the digger 1, and waters the garden of the neighbour on the *left*, to whom it is worth 3.
# Digging is good for the group, and never for the digger. Nobody can order anybody about. But everybody
# may pass on shares of its harvest to its two neighbours, and harvests are all that anybody looks at
# when deciding whether to dig.
#
# Nobody tells them who should give how much to whom. In lesson 4 that was one number, and theory knew
# it. Here it is a matrix with a graph, and it is learned, from a start under which digging does not
# pay.

# %%
import matplotlib.pyplot as plt
import torch
from checks.learning_to_share import check_1, check_2, check_3
from lesson import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED, draw_band, explore, size, use_style

from bilevel.experiments import interquartile_interval

use_style()
torch.set_default_dtype(torch.float64)

AGENTS, COST, HELP = 5, 1.0, 3.0  # digging costs me 1, and is worth 3 to the neighbour
BONUS = 0.1  # for trying things, as in lesson 4: it keeps policies from becoming quite sure
SEEDS = size(12, fast=3)
SELF = torch.eye(AGENTS, dtype=torch.bool)
NEAR = SELF | SELF.roll(1, 0) | SELF.roll(-1, 0)  # who may give to whom: a ring


def rewards(p):
    """Own rewards [..., agent] where agent i digs with chance p[..., i]; it is watered by agent i + 1."""
    return 1 - COST * p + HELP * p.roll(-1, -1)


def matrix(phi):
    """Shares [..., giver, receiver] of logits: nothing for strangers, and every row sums to 1."""
    return phi.masked_fill(~NEAR, -torch.inf).softmax(-1)


def kept(T):
    """What each agent keeps of its own reward."""
    return T.diagonal(dim1=-2, dim2=-1)


def thanks(T):
    """The share that each agent gets from the one it waters: T[i - 1, i]."""
    return T.roll(1, -2).diagonal(dim1=-2, dim2=-1)


def learn(theta, T, updates, rate=1.0):
    """Policy updates: everybody follows its own gradient of what it sees under T."""
    for _ in range(updates):
        p = theta.sigmoid()
        theta = theta + rate * p * (1 - p) * (HELP * thanks(T) - COST * kept(T) - BONUS * theta)
    return theta


def start(seed=0):
    return torch.randn(SEEDS, AGENTS, generator=torch.Generator().manual_seed(seed))


def train(
    outer, K=1, rounds=0, new_at=None, cost=lambda step: 0.0, rate=1.0, outer_rate=0.1, own=0.8, theta=None
):
    """Both levels, in one of several orders.

    Each outer step: `rounds` rounds of K policy updates that the sharing does not look at, then K updates
    that it does look at, and moves by. From `new_at` on the sharing stands still, and new policies learn.
    Returns welfare and the share given, [outer step, seed], and the last sharing, [seed, giver, receiver].
    """
    theta = start() if theta is None else theta
    phi = torch.zeros(SEEDS, AGENTS, AGENTS) + SELF * torch.tensor(2 * own / (1 - own)).log()
    phi.requires_grad_()
    mover = torch.optim.Adam([phi], lr=outer_rate)
    welfare, given = [], []
    for step in range(outer):
        theta = start(seed=1) if step == new_at else theta
        T = matrix(phi)
        theta = learn(theta, T.detach(), K * rounds, rate).detach()
        theta = learn(theta, T, K, rate)  # this graph is kept ...
        if new_at is None or step < new_at:
            objective = (rewards(theta.sigmoid()) - cost(step) * (1 - kept(T))).sum()
            phi.grad = torch.autograd.grad(-objective, phi)[0]  # ... and walked back
            mover.step()
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
# Arrows are shares: the wider, the more. At first everybody keeps 0.8 and gives the same to both sides,
# and that is not enough to make anybody dig. What is learned has a direction: *give to the one who
# waters you*.

# %%
OUTER = size(150, fast=8)
welfare, given, learned = train(OUTER)
keep = matrix(SELF * torch.tensor(8.0).log())  # 0.8 for oneself, 0.1 to each side


def draw_ring(axes, T, title):
    """Discs are agents; an arrow from i to j is the share that j gets of i's reward."""
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
# Two levels learn. *Inside*, every agent changes its policy so that it sees more reward. *Outside*, the
# sharing changes so that the group gets more. "End to end" is said of this in two senses, and they are
# easily mixed up:
#
# 1. **The gradient goes through.** The outer level asks how the policies' *updates* would turn out
#    otherwise if the sharing were a little different, and differentiates through them.
# 2. **Both move together.** After every few policy updates the sharing moves, while policies are still
#    learning: *joint* training. One could also let policies go on for a while between two moves of the
#    sharing (*alternating*), learn the sharing first and then start policies anew under it (*staged*),
#    or let a *curriculum* say what moves, and what counts, when.
#
# The first is necessary here (or something learned that stands in for it); we shall cut it, and nothing
# is left. The second is a choice. What it changes is an experiment.

# %% [markdown]
# ## The key equation
#
# $\varphi_{ij}$ are free numbers (logits), $\mathcal N_i$ the neighbours of $i$ with $i$ itself,
# $T_{ij}$ the share of $i$'s reward that $j$ gets. $\theta$ are the policies (log-odds of digging), $S$ is
# one policy update, in which all follow their own gradients (`learn`), $K$ the number of updates that the
# sharing looks through, $F$ the sum of all *own* rewards under the policies $\theta_K$ that come out:
#
# $$T_{ij} = \frac{e^{\varphi_{ij}}}{\sum_{k \in \mathcal N_i} e^{\varphi_{ik}}}, \qquad
# \theta_{k+1} = S(\theta_k, T), \qquad
# \frac{dF}{d\varphi} = \underbrace{\frac{\partial F}{\partial \varphi}}_{=\,0} +
# \Big(\frac{\partial \theta_K}{\partial \varphi}\Big)^{\!\top} \frac{\partial F}{\partial \theta_K}.$$
#
# The first term is 0 because sharing conserves the sum: *whoever gets it, it is the same sum*. All that
# sharing does, it does by what agents learn.

# %% [markdown]
# ## From scratch
#
# It all stands in the first cell: `learn` is the inner level, `train` the outer one around it. The
# first sense of "end to end" is one line there, `theta = learn(theta, T, K, rate)`. Cut it, and look at
# the gradient:

# %%
phi = (SELF * torch.tensor(8.0).log()).requires_grad_()
welfare_after = rewards(learn(start(), matrix(phi), 1).sigmoid()).sum(-1)
through = torch.autograd.grad(welfare_after.mean(), phi)[0]  # the mean over seeds
policies = learn(start(), matrix(phi).detach(), 1)  # the same policies, but nobody knows why
shared = (rewards(policies.sigmoid()).unsqueeze(-2) @ matrix(phi)).sum((-2, -1))  # over all who get it
cut = torch.autograd.grad(shared.mean(), phi)[0]
print("Derivative of welfare in the logits of agent 0's shares, for 0, 1, 2, 3, 4")
print("through the update: ", [round(number, 4) for number in through[0].tolist()])
print("cut:                ", [round(number, 4) + 0.0 for number in cut[0].tolist()])

# %% [markdown]
# Through the update, agent 0 learns that giving to agent 1 is good: 1 waters 0, and would do so more.
# That giving to 4 is a little better than keeping is true, too: who keeps less minds the cost of
# digging less.

# %% [markdown]
# ## The library's version
#
# The ring is a game of the catalogue (a prisoner's dilemma of each agent against the next), `ToS` the
# learner of both levels. Every learner has `init` and `update`.

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
# And theory (lesson 4's linear program, along the graph): what is the least that must be given?

# %%
theory = games.minimal_transfer(ring, along_graph=True)
print(f"s* = {theory.s:.3f}: the most that all can keep if each divides the rest evenly.")
print(f"g* = {theory.g:.3f}: the most that all can keep if each may choose to whom it gives. Agent 0's row:")
print(theory.general.matrix[0].round(3))

# %% [markdown]
# So a direction is worth having: with it a quarter is enough. That a *learner* gives far more than a
# quarter is lesson 4's overshoot: nobody told it that giving is dear.

# %% [markdown]
# ## Joint, alternating, staged
#
# The same number of policy updates in all three, so that nobody gets more experience. *Joint*: the
# sharing moves after every one. *Alternating*: after every fifth. *Staged*: the sharing learns (with
# policies) in the first half; then it stands still, and new policies start from scratch under it.
#
# Beside the ring we take a game that is *sampled*. In the **escape room** two agents have a lever and a
# door. Who pulls the lever pays 1, and the other can leave by the door and gets 10. Policies are small
# networks that learn by policy gradients from 64 episodes at a time, with a bonus for trying things
# that fades to nothing over the first two thirds of the time (in *staged*: of each half). Everybody
# starts by keeping 0.95, which is too much: who pulls the lever then bears 0.95 of its cost, and sees
# 0.5 of the other's 10. `fixed` keeps 0.95 for ever.

# %%
UPDATES = size(120, fast=10)
WAYS = {  # way -> policy updates in an outer step, settings of the library, settings from scratch
    "joint": (1, {}, {}),
    "alternating": (5, {"training": "alternating", "training.rounds": 4}, {"rounds": 4}),
    "staged": (1, {"training": "staged", "training.outer_steps": UPDATES // 2}, {"new_at": UPDATES // 2}),
}
LOOKS = {"joint": (GREEN, "-"), "alternating": (BLUE, "--"), "staged": (PURPLE, ":"), "fixed": (AMBER, "-.")}


def escape(name, updates=1, anneal=UPDATES * 2 // 3, **settings):
    """Train a method of the library; welfare and share given, [outer step, seed], and welfare in the end."""
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


rooms = {"fixed": (1, *escape("fixed", self_interest=0.95))}
rings = {}
for way, (updates, settings, scratch) in WAYS.items():
    lasts = UPDATES // 2 if way == "staged" else UPDATES  # as long as one set of policies learns
    anneal = lasts * 2 // 3
    rooms[way] = updates, *escape("tos", updates, anneal, own_share=0.95, **settings)
    found = train(UPDATES // updates, **scratch)
    rings[way] = updates, found[0], found[1], found[0][-1]

figure, panels = plt.subplots(2, 2, figsize=(11, 7), sharex=True)
for column, (game, runs) in zip(panels.T, (("escape room", rooms), ("ring", rings)), strict=True):
    for way, (updates, welfare, given, _) in runs.items():
        color, dashes = LOOKS[way]
        x = torch.arange(1, len(welfare) + 1) * updates
        for axes, values in zip(column, (welfare, given), strict=True):
            draw_band(axes, x, values, label=way, color=color, linestyle=dashes)
    column[0].set(title=game, ylabel="welfare of all")
    column[1].set(xlabel="policy updates", ylabel="share given away", ylim=(0, 1.02))
panels[1, 0].legend(loc="upper left", fontsize=10)
plt.show()

print(f"In the end, {SEEDS} seeds: welfare (interquartile mean and 95 % interval), share given")
for game, runs, best in (("escape room", rooms, 9.0), ("ring", rings, AGENTS * HELP)):
    for way, (_, _, given, final) in runs.items():
        near = int((final > 0.9 * best).sum())
        words = f"{over_seeds(final):20} {over_seeds(given[-1]):18}"
        print(f"{game:12}{way:12} {words} {near} of {SEEDS} seeds near {best:g}")

# %% [markdown]
# * **In which order the levels learn hardly matters for where welfare ends, here.** All three come near
#   the best in both games, in all seeds or all but one. Sharing that never moves does not: `fixed` gets
#   through the door in a quarter of the seeds, and in the ring 0.8 kept for ever ends digging (first
#   picture). So moving *together* is not what makes it work. The gradient *through* the updates is.
# * **The staged curve is the test of what was learned.** At the half new policies know nothing, and the
#   curve falls; then it comes back. So what was learned is a *rule* of sharing that also serves
#   policies which had no part in making it, and not only a path along which one set of policies went.
# * **How much is given differs.** It is not fixed by welfare (many sharings reach the best), and so the
#   path decides: the alternating one moves a fifth as often. Do not read a meaning into such
#   numbers.
# * Joint training needs no restart and no decision how long a stage should be. Alternating sees
#   policies that have come further at every move of the sharing, but moves less often for the same
#   experience: in the ring welfare falls at first, as agents stop digging before they are given a
#   reason to.

# %% [markdown]
# ## What a curriculum changes, and what it does not
#
# Giving gets a cost now, as in lesson 4: $F$ is the sum of all rewards less $c$ times the shares given.
# A cost from the beginning, or only *later*, after sharing and policies have been learned? And, as a
# test, *later, and new policies*: halfway the sharing stands still, and policies start anew under it.
#
# Two outer levels: a *short-sighted* one, which looks through one small update ($K = 1$), with a small
# cost; and a *far-sighted* one, which looks through ten large ones, with a large cost.


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
# * **A cost from the start ends sharing before anybody digs for good**, in both cases. Giving does
#   little as long as hardly anybody digs, and costs all the same.
# * **Far-sighted: the curriculum finds what the cost would have missed, and it is real.** The objective
#   has two hills (lesson 4): "give nothing", and one where just enough is given. Later, sharing starts
#   on the far side and comes down to the second one, and stays: above the quarter that theory asks
#   for, since with the bonus policies are the surer the more is given. *New policies dig under it, too.*
# * **Short-sighted: the curriculum only puts off the end.** Halfway through it looks like a miracle:
#   next to nothing is given, and all dig. But they dig from habit: policies that are nearly certain
#   learn slowly. An outer level that looks through one small update sees what giving costs, and not
#   what it is good for, since within one update hardly anything would change; when policies begin to
#   waver, sharing is long gone. New policies stop at once, the old ones in the end.
# * So **a curriculum changes the path, and so the hill on which you end. It does not change where the
#   hills are.** Before you believe a curriculum: run on for longer, and let new policies learn under
#   what it found.

# %% [markdown]
# ## Play
#
# Choose the cost, the outer step at which it begins, how far the outer level sees, and how fast
# policies learn. Dashed: new policies under the sharing of halfway. Where is the edge between a hill
# and a habit?

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
# **Exercise 1 (warm up).** You are handed a sharing matrix for the ring, `T[giver, receiver]` of any
# number of agents, and no learner. Who digs? Agent $i$ waters agent $i - 1$ (agent 0 waters the last).
# Return a boolean for each agent: does digging pay for it, whatever the others do?


# %% tags=["exercise-1"]
def digs(T):
    """[agent], True where digging changes what the agent sees by more than 0."""
    return ...


# %% tags=["check-1"]
check_1(digs)

# %% [markdown]
# **Exercise 2 (who learns when).** Write two ways of training as loops. You get three functions:
# `learn(theta, phi)` gives the policies after a round of updates; `look(theta, phi)` does so, too, and
# moves the sharing by the gradient through that round: it returns the pair (policies, sharing). `new()`
# draws new policies. *Alternating*: in every outer step first `rounds` rounds that nobody looks at,
# then one that is looked at. *Staged*: `stage` outer steps that are looked at; then new policies, and
# rounds under a sharing that stands still, so that there are `outer` rounds in all. Return the pair
# (policies, sharing).


# %% tags=["exercise-2"]
def alternating(theta, phi, outer, rounds, learn, look):
    for _ in range(outer):
        ...
    return ...


def staged(theta, phi, outer, stage, learn, look, new):
    theta, phi = ..., ...
    return theta, phi


# %% tags=["check-2"]
check_2(alternating, staged)

# %% [markdown]
# **Exercise 3 (give as little as you can).** Build a sharing matrix for a ring of `n` agents in which
# each may give to its two neighbours only, under which digging does not lose for anybody (a tie is
# allowed), and in which the one who keeps least keeps as much as possible.


# %% tags=["exercise-3"]
def least_giving(n):
    """[giver, receiver]"""
    return ...


# %% tags=["check-3"]
check_3(least_giving)

# %% [markdown]
# **For discussion.** (a) The agents are people in a town: nobody can be made to start anew. Which of
# the ways are left, and what can no longer be tested? (b) With a cost, the cut gradient is not 0 any
# more. What is left of it, and what would an outer level learn from that alone? (c) LToS (below) as
# it was released learns two levels in turns, and the upper one by a critic: it learns what shares are
# *worth* from what it saw, instead of looking through the updates. In which sense is that end to end?

# %% [markdown]
# ## What to read
#
# * Yi and others, *Learning to share in multi-agent reinforcement learning*, arXiv 2112.08702: LToS.
# * Yang and others, *Learning to incentivize other learning agents*, arXiv 2006.06051: the escape room.
# * Willis and others, *Resolving social dilemmas with minimal reward transfer*, arXiv 2310.12928: the
#   ring, $s^*$ and $g^*$.
# * In this toolkit: `docs/training.md` (seven ways to train, on four games),
#   `docs/starts.md` (where sharing starts), `docs/ltos.md` (LToS as released).
# * Next: `06_incentives_and_empathy`.
