# %% [markdown]
# # 8. Zero-sum
#
# **What do agents learn, and what is the effect of sharing, if one agent's gain is the other's loss?**
#
# Each evening two agents choose one of two cafés. The *seeker* gains 1 if they meet and loses 1 if they do
# not; the *hider* loses 1 if they meet and gains 1 if they do not. The rewards always sum to 0: this is a
# **zero-sum** game, known as matching pennies. Then we add a bonus: *both* gain $b$ if they meet, and lose
# $b$ if they do not. With $b = 0.5$ the hider still prefers to be alone, but now the two agents have
# something in common, and that changes the effect of sharing.
#
# **Goals.** After this lesson you can compute exploitability, explain why policies cycle and why their
# average converges, and decompose a game into a common and an opposed part.
#
# **Prerequisites.** Lessons 01 and 03. About 35 minutes.

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
from IPython.display import Markdown, display

from bilevel import zero_sum
from bilevel.lessons import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED
from bilevel.lessons import draw_band, explore, learning_curves, over_seeds, size
from bilevel.lessons import use_style
from bilevel.lessons.checks.zero_sum import check_1, check_2, check_3, check_4

use_style()
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A picture of the answer
#
# Two agents learn by *multiplicative weights*, a rule of the library. Each gives the share $g$ of its reward
# to the other. The lines show both **mixed strategies** (probability distributions over actions, here simply
# called policies) during learning, from the dot to the squares. Left, zero-sum: the policies cycle, and drift
# outward. Sharing changes only the speed and the direction of the cycle; with a share of one half (black)
# nothing is learned. Right, with a bonus: with a small share the policies still cycle; with a larger one
# they converge to a corner, where the agents meet and their total reward is larger.

# %% tags=["hide-input"]
START = torch.tensor([[0.75, -0.75], [0.4, -0.4]])  # logits, [agent, café]
RULE = zero_sum.MultiplicativeWeights(learning_rate=0.1)


def cafes(bonus):
    """Payoffs, [seeker's café, hider's café, agent]."""
    meeting = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    return torch.stack(((bonus + 1) * meeting, (bonus - 1) * meeting), -1)


def trajectory(bonus, g, steps):
    """Policies during learning, if each agent gives away the share g."""
    payoffs = cafes(bonus) @ torch.tensor([[1 - g, g], [g, 1 - g]])
    first, record = START.softmax(-1), range(steps + 1)
    history = zero_sum.learn(payoffs, RULE, steps, start=first, record=record)
    return torch.stack(history.last, 1)  # [step, agent, café]


# %% tags=["hide-input"]
def label_cafes(axes):
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel("seeker: probability of the first café")
    axes.set_ylabel("hider: probability of the first café")


def draw_trajectories(axes, bonus, steps, looks):
    for g, color, dashes in looks:
        path = trajectory(bonus, g, steps)[..., 0]
        axes.plot(*path.T, color=color, linestyle=dashes, label=f"g = {g:g}")
        axes.plot(*path[-1], marker="s", color=color, markersize=8, clip_on=False)
    axes.plot(*path[0], "o", color=BLACK, zorder=5)
    label_cafes(axes)
    name = "with a bonus" if bonus else "zero-sum"
    axes.set_title(f"{name} (b = {bonus:g}), {steps} steps")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title="share given away")


figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.6))
opposed = (0.0, RED, "-"), (0.35, AMBER, "--"), (0.5, BLACK, "-."), (1.0, PURPLE, ":")
draw_trajectories(left, 0.0, 30, opposed)
mixed = (0.0, RED, "-"), (0.1, AMBER, "--"), (0.4, GREEN, "-.")
draw_trajectories(right, 0.5, 80, mixed)
plt.show()

# %% [markdown]
# ## The idea in words
#
# **Why do the policies cycle?** The seeker learns to go where the hider often is; then the hider learns to go
# to the other café; then the seeker follows. Each agent increases its own objective, but there is no common
# objective. The only **Nash equilibrium** is mixed: both choose each café with probability 1/2, and neither
# gains by deviating alone. This is also each agent's **minimax** strategy: it maximizes the worst case, and
# guarantees an expected reward of 0 (the *value* of the game), whatever the other agent does. Learning does
# not converge to it. With infinitely small steps the policies would move around it on a closed orbit
# forever. A step of finite length leaves this orbit along a straight line and ends a little farther out, so
# the policies spiral outward: the cell below measures it. (An *optimistic* learner cures this: exercise 3.)
#
# **Then what do agents learn?** A policy is good here if it cannot be exploited. A **best response** to the
# other agent's policy maximizes one's own reward against it. **Exploitability** is the gain of a best
# response over the current policy, averaged over agents. It is 0 exactly in a Nash equilibrium. The
# exploitability of a cycling policy stays large. But over a cycle, the policies on opposite sides of the
# equilibrium cancel, so the exploitability of the *time-averaged* policy approaches 0.
#
# **What is the effect of sharing?** Any two-player game is the sum of a common part and an opposed (zero-sum)
# part. Equal sharing preserves the common part and scales down the opposed part, so the share interpolates
# between opponents and a team. A zero-sum game has no common part to preserve.

# %%
path = trajectory(0.0, 0.0, 300)[..., 0] - 0.5  # from the equilibrium, [step, agent]
moves, radius = path.diff(dim=0), path.norm(dim=-1)
cosine = -(moves * path[:-1]).sum(-1) / (moves.norm(dim=-1) * radius[:-1])
angles = cosine.arccos().rad2deg()
low, high = angles.min(), angles.max()
print(f"angle between a step and the direction of the equilibrium: {low:.0f}", end=" ")
print(f"to {high:.0f} degrees")
print(f"distance from the equilibrium: {radius[0]:.2f} at the start,", end=" ")
print(f"{radius[-1]:.2f} after 300 steps")

# %% [markdown]
# On a circle around the equilibrium every angle would be 90 degrees. Here the angles vary around that: the
# steps go around the equilibrium, not toward it. And the distance grows.
#
# ## The key equation
#
# $r_1, r_2$ are the rewards in the game, $T_{ij}$ is the share of $i$'s reward that $j$ receives (rows sum
# to 1), and $\tilde r_j = T_{1j} r_1 + T_{2j} r_2$ is the shared reward that $j$ maximizes. Let
#
# $$c = \frac{r_1 + r_2}{2} \ \text{(common)}, \qquad d = \frac{r_1 - r_2}{2} \ \text{(opposed)}, \qquad
# \kappa = T_{11} - T_{21} = T_{22} - T_{12},$$
#
# so that $r_1 = c + d$ and $r_2 = c - d$. Substitute:
#
# $$\boxed{\ \tilde r_1 = (T_{11} + T_{21})\, c + \kappa\, d, \qquad \tilde r_2 = (T_{12} + T_{22})\, c -
# \kappa\, d\ }$$
#
# If each gives away the share $g$, then $\kappa$ (kappa) is $1 - 2g$ and both factors of $c$ are 1:
#
# | $g$ | $\kappa$ | resulting game |
# |---|---|---|
# | 0 | 1 | the original game |
# | between 0 and 1/2 | $0 < \kappa < 1$ | the same common part, a smaller opposed part |
# | 1/2 | 0 | a **team game**: both maximize $c$ |
# | between 1/2 and 1 | $-1 < \kappa < 0$ | the same common part, a reversed and smaller opposed part |
# | 1 | $-1$ | rewards exchanged: opposed again |
#
# In a zero-sum game $c = 0$, so $\tilde r = \kappa\, r$ for both, whatever $T$ is: the original game,
# scaled ($\kappa > 0$), zero ($\kappa = 0$) or with reversed sign ($\kappa < 0$). The welfare
# $r_1 + r_2 = 2c$ is always 0.

# %% [markdown]
# ## From scratch
#
# The learning rule: each agent adds the values of its actions, times a learning rate, to its logits. This
# multiplies the probability of each action by the exponential of its value, hence the name *multiplicative
# weights* (also *Hedge*).


# %%
def share(payoffs, g):
    """Shared payoffs, if each agent gives the share g of its reward to the other."""
    g = torch.as_tensor(g)
    return (1 - g) * payoffs + g * payoffs.flip(-1)


def action_values(payoffs, policies):
    """The value of each action against the other's policy, [..., agent, action]."""
    first = torch.einsum("...ij,...j->...i", payoffs[..., 0], policies[..., 1, :])
    second = torch.einsum("...ij,...i->...j", payoffs[..., 1], policies[..., 0, :])
    return torch.stack((first, second), -2)


def learn(payoffs, logits, steps, rate=0.1):
    """The initial policies and those of all steps, [step, ..., agent, action]."""
    policies = [logits.softmax(-1)]
    for _ in range(steps):
        logits = logits + rate * action_values(payoffs, policies[-1])
        policies.append(logits.softmax(-1))
    return torch.stack(policies)


# %% [markdown]
# Exploitability, of the current and of the time-averaged policy in the zero-sum game:


# %%
def exploitability(payoffs, policies):
    """The gain of a best response, averaged over both agents, [...]."""
    values = action_values(payoffs, policies)
    return (values.amax(-1) - (values * policies).sum(-1)).mean(-1)


pennies = cafes(0.0)
path = learn(pennies, START, 1000)
rows = ("initial policy", path[0]), ("final policy", path[-1])
for name, policies in (*rows, ("time-averaged policy", path.mean(0))):
    print(f"{name:21} {exploitability(pennies, policies):.4f}")

# %% [markdown]
# The decomposition, and a test of the key equation with unequal shares:


# %%
def split(payoffs):
    """The common part and the opposed part of a game, [action, action] each."""
    return payoffs.mean(-1), (payoffs[..., 0] - payoffs[..., 1]) / 2


common, opposed = split(cafes(0.5))
print("common:", common.tolist(), " opposed:", opposed.tolist())
T = torch.tensor([[0.9, 0.1], [0.4, 0.6]])
kappa = T[0, 0] - T[1, 0]
first = T[:, 0].sum() * common + kappa * opposed
second = T[:, 1].sum() * common - kappa * opposed
by_equation = torch.stack((first, second), -1)
equal = torch.allclose(cafes(0.5) @ T, by_equation)
print("shared rewards agree with the key equation:", equal)
ratio = ((pennies @ T) / pennies).unique().tolist()
print(f"zero-sum game: shared / original payoffs: {ratio}, kappa: {kappa:.1f}")

# %% [markdown]
# ## The library's version
#
# `zero_sum.learn` is the rule of the first figure. `shared` wraps any game, `exploitability` evaluates any
# policies of a one-shot game, `zero_sum_equilibrium` solves a linear program for a Nash equilibrium in
# minimax strategies, and `games.zero_sum` keeps only the opposed part of a game.

# %%
import games
from games.matrix import NormalForm
from games.wrappers import shared

scratch = learn(share(cafes(0.5), 0.1), START, 80)
same = torch.allclose(trajectory(0.5, 0.1, 80), scratch)
print("equal to the library's: learning       ", same)

bonus_game = NormalForm(table=tuple(cafes(0.5).tolist()))
by_library = shared(bonus_game, T).values(path[-1].unsqueeze(1))
scratch = torch.einsum("i,ijk,j->k", path[-1][0], by_equation, path[-1][1])
print("equal to the library's: shared values  ", torch.allclose(by_library, scratch))

pennies_game = games.make("matching-pennies")
by_library = games.exploitability(pennies_game, path.unsqueeze(-2))
scratch = exploitability(pennies, path)
print("equal to the library's: exploitability ", torch.allclose(by_library, scratch))

doubled = games.zero_sum(bonus_game).payoffs()[..., 0]
print("zero_sum(game) has the rewards 2d, -2d:", torch.equal(doubled, 2 * opposed))
solved = games.zero_sum_equilibrium(pennies[..., 0])
print(f"Nash equilibrium: seeker {solved.row.tolist()},", end=" ")
print(f"hider {solved.column.tolist()}, value {abs(solved.value):.4f}")

# %% [markdown]
# ## Exploitability in random games
#
# Does this hold in other games? We draw random zero-sum games with three actions, and random initial policies
# for each. Left: exploitability during learning. Right: each agent gives away the share $g$ during learning;
# afterward its time-averaged policy is evaluated in the *original* game, without sharing.

# %%
from games.matrix import random_zero_sum

GAMES, STEPS = size(40, fast=4), size(1000, fast=10)
drawn = torch.stack([random_zero_sum(3, seed).payoffs() for seed in range(GAMES)])
initial = torch.randn(GAMES, 2, 3, generator=torch.Generator().manual_seed(0))
maximin = drawn[..., 0].amin(2).amax(1)  # of agent 0, in pure strategies
minimax = drawn[..., 0].amax(1).amin(1)
pure = maximin == minimax  # then there is a pure Nash equilibrium

path = learn(drawn, initial, STEPS, rate=0.3)
counts = torch.arange(1, STEPS + 2)
average = path.cumsum(0) / counts[:, None, None, None]
last, averaged = (exploitability(drawn, policies) for policies in (path, average))

SHARES = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.8, 1.0])
payoffs = torch.stack([share(drawn, g) for g in SHARES])
logits = initial.expand(len(SHARES), -1, -1, -1)
by_share = exploitability(drawn, learn(payoffs, logits, STEPS, rate=0.3).mean(0))

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
at = torch.unique(torch.logspace(0, torch.tensor(STEPS).log10(), 30).long())
draw_band(left, at, last[at], label="current policy", color=RED, linestyle=":")
draw_band(left, at, averaged[at], label="time-averaged policy", color=BLUE)
left.set(xscale="log", xlabel="learning step", ylabel="exploitability", ylim=(0, None))
left.legend()
draw_band(right, SHARES, by_share, label="time-averaged policy", color=BLUE, marker="o")
right.axvline(0.5, color=GRAY, linestyle="--", linewidth=1, label="g = 1/2")
right.legend(loc="center left", fontsize=10)
right.set(xlabel="share given away g", ylim=(0, None))
right.set_ylabel("exploitability in the original game")
plt.show()

# %%
rows = [("final policy", 0.0, last[-1]), ("time-averaged policy", 0.0, averaged[-1])]
for g in (0.4, 0.5, 1.0):
    row = (SHARES - g).abs().argmin()
    rows.append(("time-averaged policy", g, by_share[row]))
table = f"| after {STEPS} steps | share $g$ | exploitability |\n|---|---|---|\n"
for name, g, values in rows:
    table += f"| {name} | {g:g} | {over_seeds(values, 3)} |\n"
display(Markdown(table))
print(f"(interquartile mean over {GAMES} games and its 95 % interval)")
cycling = last[-1] > 0.05
for name, some in (("with a", pure), ("without a", ~pure)):
    print(f"final policy exploitable by more than 0.05, {name} pure Nash", end=" ")
    print(f"equilibrium: {int((cycling & some).sum())} of {int(some.sum())} games")

# %% [markdown]
# * If there is a pure Nash equilibrium, learning finds it. In the other games the current policies mostly
#   keep cycling, but the exploitability of the time-averaged policies decreases. (This is a theorem: with a
#   small learning rate multiplicative weights has small *regret*, the difference between the reward of the
#   best fixed action in hindsight and the agent's own; and in zero-sum games the regret bounds the
#   exploitability of the average.)
# * A share below one half only slows learning down: $\kappa$ scales the learning rate.
# * With a share of one half agents learn nothing. Above one half they learn to *lose*: the opponent's reward
#   has a larger weight than their own.
#
# ## From opponents to a team
#
# Now for games in between: random payoffs that are *correlated* between the two agents. The correlation
# $\rho$ (rho) is 1 for a team and $-1$ for a zero-sum game; here it is $-0.5$. By the key equation the shared
# rewards have another correlation (the rewards have variance 1, so $c$ and $d$ have the variances
# $(1 + \rho) / 2$ and $(1 - \rho) / 2$):
#
# $$\tilde\rho = \frac{(1 + \rho) - \kappa^2 (1 - \rho)}{(1 + \rho) + \kappa^2 (1 - \rho)}.$$

# %%
from games.matrix import random_general_sum

RHO, SHARES = -0.5, torch.linspace(0, 1, size(11, fast=3))
pairs = [random_general_sum(3, seed, correlation=RHO) for seed in range(GAMES)]
drawn = torch.stack([pair.payoffs() for pair in pairs])
payoffs = torch.stack([share(drawn, g) for g in SHARES])
logits = initial.expand(len(SHARES), -1, -1, -1)
late = learn(payoffs, logits, STEPS, rate=0.3)[-STEPS // 4 :: 5]  # the last quarter
first, second = late.unbind(-2)
each = torch.einsum("tpgi,gijk,tpgj->tpg", first, drawn, second)  # sum of both rewards
welfare, optimum = each.mean(0), drawn.sum(-1).flatten(1).amax(1)
not_converged = exploitability(payoffs, late).amax(0) > 0.01

fine = torch.linspace(0, 1, 101)
common_part, opposed_part = 1 + RHO, (1 - 2 * fine) ** 2 * (1 - RHO)
predicted = (common_part - opposed_part) / (common_part + opposed_part)
many = random_general_sum(300, 0, correlation=RHO).payoffs()  # 90,000 outcomes
samples = [share(many, g).reshape(-1, 2).T for g in SHARES]
measured = torch.stack([torch.corrcoef(sample)[0, 1] for sample in samples])

# %% tags=["hide-input"]
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.4))
left.plot(fine, predicted, color=GRAY, label="formula")
left.plot(SHARES, measured, "o", color=BLUE, label="measured")
left.set(ylabel="correlation of the shared rewards", ylim=(-1.1, 1.1))
left.legend(loc="lower center")
fraction = not_converged.double().mean(1)
z = 1.96**2 / GAMES  # Wilson's 95 % interval of a proportion
center = (fraction + z / 2) / (1 + z)
half = (z * fraction * (1 - fraction) + z**2 / 4).sqrt() / (1 + z)
band = {"color": RED, "alpha": 0.2, "linewidth": 0}
middle.fill_between(SHARES, center - half, center + half, **band)
middle.plot(SHARES, fraction, color=RED, marker="o", linestyle="--")
middle.set(ylabel="fraction of games not converged", ylim=(-0.02, 1))
draw_band(right, SHARES, welfare, label="learned", color=GREEN, marker="o")
optima = optimum.expand(len(SHARES), -1)
draw_band(right, SHARES, optima, label="social optimum", color=BLACK, linestyle=":")
right.set(ylabel="welfare (sum of both rewards)")
right.legend(loc="lower center")
for axes in (left, middle, right):
    axes.set_xlabel("share given away g")
plt.show()

# %%
table = "| share $g$ | welfare | games not converged |\n|---|---|---|\n"
for g in (0.0, 0.5, 1.0):
    row = (SHARES - g).abs().argmin()
    count = f"{int(not_converged[row].sum())} of {GAMES}"
    table += f"| {g:g} | {over_seeds(welfare[row])} | {count} |\n"
display(Markdown(table))
team = len(SHARES) // 2  # g = 0.5
gain, reached = welfare[team] - welfare[0], optimum - welfare[team] < 0.02
print(f"welfare with g = 0.5 minus g = 0, paired by game: {over_seeds(gain)}")
print(f"g = 0.5 reaches the social optimum in {int(reached.sum())} of {GAMES} games")

# %% [markdown]
# (Not converged: exploitability in the shared game above 0.01 at some time in the last quarter of learning.
# All bands are 95 % intervals over games.)
#
# At $g = 1/2$ the opponents are a team: learning converges in almost all games, and the welfare is largest.
# But it does not reach the social optimum in every game: a team can converge to an inferior Nash equilibrium,
# from which neither agent gains by deviating alone. Above one half the effect reverses: if each agent
# maximizes the other's reward, their interests are as opposed as if each maximizes its own.
#
# ## The hypergradient of the share
#
# Can the outer loop *learn* the share $g$? The hypergradient is $dF/dg$, where $F$ is the welfare after $K$
# steps of learning.

# %%
lengths = torch.arange(1, size(121, fast=5), 4)


def welfare_after(g, steps, bonus):
    """The welfare after learning, if each agent gives away the share g."""
    policies = learn(share(cafes(bonus), g), START, steps)[-1]
    return 2 * policies[0] @ cafes(bonus).mean(-1) @ policies[1]


def hypergradient(g, steps, bonus):
    return torch.func.grad(welfare_after)(torch.tensor(g), steps, bonus)


# %% tags=["hide-input"]
figure, axes = plt.subplots()
looks = (0.0, 0.1, GRAY, "-"), (0.5, 0.1, AMBER, "--"), (0.5, 0.4, GREEN, "-.")
for bonus, g, color, dashes in looks:
    slopes = torch.stack([hypergradient(g, int(steps), bonus) for steps in lengths])
    label = f"b = {bonus:g}, g = {g:g}"
    axes.plot(lengths, slopes, color=color, linestyle=dashes, label=label)
    print(f"{label}: hypergradient from {slopes.min():.3g} to {slopes.max():.3g}")
axes.set(xlabel="learning steps K", ylabel="hypergradient dF/dg")
axes.legend()
plt.show()

# %% [markdown]
# In the zero-sum game the hypergradient is 0: the welfare does not depend on the share, and the outer loop
# does not change it. If the policies cycle, the sign of the hypergradient changes with $K$: it depends on the
# phase of the cycle after $K$ steps. If they converge, the sign is correct.
#
# The library computes the same number. `inner_step_per_agent` makes a step in which each agent minimizes its
# own loss. With the loss $-\text{logits} \cdot \text{values}$, gradient descent is the learning rule above.

# %%
from bilevel import BilevelProblem, Unrolled, inner_step_per_agent
from bilevel.optimizers import sgd


def loss(own, others, g, data):
    """Per agent; an action's value depends on the other agent's policy alone."""
    values = action_values(share(cafes(0.5), g), others.softmax(-1))
    return -(own * values).sum(-1)


def minus_welfare(theta, g, data):
    policies = theta.softmax(-1)
    return -2 * policies[0] @ common @ policies[1]


inner, g = sgd(0.1), torch.tensor(0.4)
step = inner_step_per_agent(loss, inner)
problem = BilevelProblem(step=step, outer_loss=minus_welfare)
found = Unrolled()(problem, START, inner.init(START), g, steps=30)
print(f"hypergradient for 30 steps: library      {-found.gradient:.8f}")
print(f"                            from scratch {hypergradient(0.4, 30, 0.5):.8f}")

# %% [markdown]
# The library's method `tos`, that of lesson 5, learns the share by such a hypergradient, here in both games.
# The initial share given away is 0.1, with which the policies still cycle in the game with the bonus. Each
# outer step contains five policy steps.

# %%
from bilevel.methods import Placement, Selfish, ToS

OUTER_STEPS, SEEDS = size(60, fast=3), size(16, fast=3)
five = {"inner.steps": 5}
tos, selfish = ToS(own_share=0.9).with_settings(five), Selfish().with_settings(five)
learner = tos.build(pennies_game, Placement(seeds=SEEDS))
given = learning_curves(learner, size(10, fast=3))["given_away"]
print(f"zero-sum, tos: share given away from {given.min():.6f} to {given.max():.6f}")
runs = {}
for name, method in (("selfish", selfish), ("tos", tos)):
    learner = method.build(bonus_game, Placement(seeds=SEEDS))
    runs[name] = learning_curves(learner, OUTER_STEPS)
    late = runs[name]["welfare"][-OUTER_STEPS // 3 :].mean(0)
    print(f"b = 0.5, {name}: welfare in the last third {over_seeds(late)}", end=" ")
    print(f"(maximum: {bonus_game.payoffs().sum(-1).max():g})")

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
for name, color, dashes in (("selfish", RED, ":"), ("tos", GREEN, "-")):
    x, look = range(1, OUTER_STEPS + 1), {"color": color, "linestyle": dashes}
    draw_band(left, x, runs[name]["welfare"], label=name, **look)
    draw_band(right, x, runs[name]["given_away"], label=name, **look)
left.axhline(1, color=BLACK, linewidth=1, label="social optimum")
left.set(xlabel="outer step", ylabel="welfare (sum of both rewards)", ylim=(None, 1.1))
right.axhline(0.75, color=GRAY, linestyle="--", linewidth=1, label="g = 3/4")
right.set(xlabel="outer step", ylabel="share given away", ylim=(-0.02, 1))
handles = left.get_legend_handles_labels()[0] + right.lines[-1:]
figure.legend(handles=handles, loc="outside upper center", ncols=4)
plt.show()

# %% [markdown]
# Selfish agents keep cycling, and their mean welfare is about 0. With `tos` the agents learn to share, and
# learn to meet. The share exceeds three quarters, where $\kappa < -b$ and the interests are opposed again,
# and then decreases.

# %% [markdown]
# ## Play
#
# Choose a bonus and a share. At which share do the policies stop cycling? Gray arrows: the *vector field* of
# learning, the direction of a small step from each pair of policies.


# %% tags=["hide-input"]
def play(bonus, g):
    game, grid = share(cafes(bonus), g), torch.linspace(0.03, 0.97, 20)
    p, q = torch.meshgrid(grid, grid, indexing="xy")
    policies = torch.stack((p, 1 - p, q, 1 - q), -1).unflatten(-1, (2, 2))
    values = action_values(game, policies)
    advantage = values[..., 0] - values[..., 1]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
    if advantage.abs().max() > 1e-9:
        dp, dq = p * (1 - p) * advantage[..., 0], q * (1 - q) * advantage[..., 1]
        arrows, look = (grid, grid, dp, dq), {"color": GRAY, "linewidth": 1}
        left.streamplot(*(part.numpy() for part in arrows), density=0.7, **look)
    path = learn(game, START, 300)
    left.plot(*path[..., 0].T, color=BLUE)
    left.plot(*path[0, :, 0], "o", color=BLACK)
    label_cafes(left)
    left.set_title(f"$\\kappa$ = {1 - 2 * g:.2f}")
    gains = torch.einsum("ti,ijk,tj->tk", path[:, 0], cafes(bonus), path[:, 1])
    right.plot(gains[:, 0], color=RED, label="seeker")
    right.plot(gains[:, 1], color=BLUE, linestyle="--", label="hider")
    right.plot(gains.sum(-1), color=GREEN, linestyle="-.", label="total")
    right.set(xlabel="learning step", ylabel="reward before sharing")
    right.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    plt.show()


# %%
explore(play, bonus=(0.0, 1.0, 0.05, 0.5), g=(0.0, 1.0, 0.05, 0.2))

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/08_zero_sum.py`.
#
# **Exercise 1 (warm up).** $N$ agents play a zero-sum game: their rewards sum to 0. Each keeps the share $s$
# and divides the rest evenly among the other agents. By which factor is every agent's reward multiplied?


# %% tags=["exercise-1"]
def factor(N, s):
    return ...


# %% tags=["check-1"]
check_1(factor)

# %% [markdown]
# **Exercise 2 (the end of the cycles).** For two actions let
# $a_i = r_i(0,0) - r_i(0,1) - r_i(1,0) + r_i(1,1)$: positive if $i$ prefers to match the other's action,
# negative if it prefers not to. $\tilde a_i$ is the same for the shared rewards $\tilde r_i$. Learning cycles
# only if $\tilde a_1$ and $\tilde a_2$ have opposite signs. What is the smallest share that each must give
# away so that they do not? `payoffs` is [action, action, agent]. (If the signs agree without sharing: 0.)


# %% tags=["exercise-2"]
def smallest_share(payoffs):
    return ...


# %% tags=["check-2"]
check_2(smallest_share, cafes, share)

# %% [markdown]
# **Exercise 3 (optimism).** The cycles arise because each agent responds to the other's *previous* policy.
# An **optimistic** learner predicts that the action values will change in the next step as they did in the
# last one. Write the predicted values, given the action values `now` and one step `before`. The check adds
# them to the logits, times a learning rate, in games like the cafés, and evaluates the final policy, not
# the average.


# %% tags=["exercise-3"]
def predicted_values(now, before):
    return ...


# %% tags=["check-3"]
check_3(predicted_values, action_values, exploitability)

# %% [markdown]
# **Exercise 4 (unequal shares).** So far both agents gave away the same share. Let the seeker give the share
# $x$ and the hider the share $y$. Find the pair with the smallest $x + y$ under which no agent prefers not to
# meet ($\tilde a_1 \ge 0$ and $\tilde a_2 \ge 0$), for a bonus $0 < b < 1$.


# %% tags=["exercise-4"]
def minimal_shares(b):
    return ...  # x, y


# %% tags=["check-4"]
check_4(minimal_shares, cafes)

# %% [markdown]
# **For discussion.** (a) The agents learn with Adam, which divides by the size of the gradient. What
# influence of $\kappa$ remains in a zero-sum game? (b) Is soccer zero-sum, for the two teams? And the market
# for their tickets? (c) `tos` maximizes the welfare. What could an outer loop optimize in a zero-sum
# game?

# %% [markdown]
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. Why do the policies cycle, and why do they drift outward?</summary>
#
# Each step improves an agent's reward against the other's *current* policy, which then changes: there is no
# common objective that both increase. So the policies move around the mixed Nash equilibrium. A step of
# finite length leaves a closed orbit along a straight line, and ends farther out.
#
# </details>
#
# <details><summary>2. If the last policy is exploitable, which policy is close to an equilibrium?</summary>
#
# The time-averaged policy. Multiplicative weights has small regret, and the agents' regrets bound the
# exploitability of their average policies.
#
# </details>
#
# <details><summary>3. What is the effect of equal sharing on the two parts of a game?</summary>
#
# The common part does not change, and the opposed part is multiplied by $\kappa = 1 - 2g$. In a zero-sum game
# only the opposed part exists, so sharing rescales the rewards, and the welfare stays 0.
#
# </details>

# %% [markdown]
# ## What to read
#
# * von Neumann, *Zur Theorie der Gesellschaftsspiele*, Mathematische Annalen 100, 1928: the minimax theorem,
#   and the value of a zero-sum game. Freund and Schapire, *Adaptive game playing using multiplicative
#   weights*, Games and Economic Behavior 29, 1999: why the average converges to it.
# * Balduzzi and others, *The mechanics of n-player differentiable games*, arXiv 1802.05642: the
#   decomposition of learning dynamics into a gradient (potential) part and a rotational (Hamiltonian) part.
#   Mescheder and others, *The numerics of GANs*, arXiv 1705.10461.
# * Daskalakis and others, *Training GANs with optimism*, arXiv 1711.00141: exercise 3.
# * Lanctot and others, *A unified game-theoretic approach to multiagent reinforcement learning*, arXiv
#   1711.00832: exploitability as a measure of learners.
# * In this toolkit: lesson 16 builds more learning rules (`16_zero_sum_learning`);
#   `docs/how-to/zero-sum-games.md` compares eight of them. `games.Soccer` is a zero-sum game on a grid.
# * Next: `09_learning_loss_weights`.
