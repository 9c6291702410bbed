# %% [markdown]
# # 8. Zero-sum
#
# **What do agents learn, and what is the effect of sharing, if one agent's gain is the other's loss?**
#
# Each evening two agents choose one of two cafés. The *seeker* gains 1 if they meet and loses 1 if they do
# not; the *hider* loses 1 if they meet and gains 1 if they do not. The sum of the rewards is always 0: a
# **zero-sum** game, known as matching pennies. Now add a common interest: *both* gain a bonus $b$ if they
# meet, and lose it if they do not. With $b = 0.5$ the hider still prefers to be alone. But now the two have a
# common interest, and that changes the effect of sharing.

# %% tags=["setup"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("bilevel") is None:  # not installed yet, as in Colab
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "bilevel[lessons]"], check=True)

# %%
import matplotlib.pyplot as plt
import torch

from bilevel.lessons import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED
from bilevel.lessons import draw_band, explore, size, use_style
from bilevel.lessons.checks.zero_sum import check_1, check_2, check_3, check_4

use_style()
torch.set_default_dtype(torch.float64)


def cafes(bonus):
    """Payoffs, [seeker's cafe, hider's cafe, agent]."""
    meeting = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    return torch.stack(((bonus + 1) * meeting, (bonus - 1) * meeting), -1)


def share(payoffs, g):
    """Shared payoffs: each agent gives away the share g of its reward, and receives the
    other's.
    """
    g = torch.as_tensor(g)
    return (1 - g) * payoffs + g * payoffs.flip(-1)


def action_values(payoffs, policies):
    """The value of each action against the other's policy, [..., agent, action]."""
    first = torch.einsum("...ij,...j->...i", payoffs[..., 0], policies[..., 1, :])
    second = torch.einsum("...ij,...i->...j", payoffs[..., 1], policies[..., 0, :])
    return torch.stack((first, second), -2)


def learn(payoffs, logits, steps, rate=0.1):
    """Multiplicative weights: the initial policies and those of all steps, [step, ...,
    agent, action].
    """
    policies = [logits.softmax(-1)]
    for _ in range(steps):
        logits = logits + rate * action_values(payoffs, policies[-1])
        policies.append(logits.softmax(-1))
    return torch.stack(policies)


# %% [markdown]
# ## A picture of the answer
#
# The trajectories show the two policies during learning, as the probabilities of choosing the first café,
# from the dot to the squares. Left, zero-sum: the policies cycle, and drift outwards. Sharing changes only
# the speed and the direction of the cycle; with a share of a half (black) there is no learning. Right, with a
# bonus: a small share has the same effect, but with a larger one the policies converge to a corner, where the
# agents meet and their total reward is larger.

# %%
START = torch.tensor([[0.75, -0.75], [0.4, -0.4]])  # logits [agent, cafe]


def draw_trajectories(axes, bonus, steps, shares):
    for g, (color, dashes) in shares.items():
        path = learn(share(cafes(bonus), g), START, steps)[..., 0]
        label = f"g = {g:g}"
        axes.plot(*path.T, color=color, linestyle=dashes, label=label)
        axes.plot(*path[-1], marker="s", color=color, markersize=8, clip_on=False)
    axes.plot(*START.softmax(-1)[:, 0], "o", color=BLACK, zorder=5)
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
        xlabel="seeker: probability of the first café",
    )
    axes.set_ylabel("hider: probability of the first café")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title="share given away")


# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.6))
draw_trajectories(
    left,
    0.0,
    30,
    {0.0: (RED, "-"), 0.35: (AMBER, "--"), 0.5: (BLACK, "-."), 1.0: (PURPLE, ":")},
)
draw_trajectories(
    right, 0.5, 80, {0.0: (RED, "-"), 0.1: (AMBER, "--"), 0.4: (GREEN, "-.")}
)
left.set_title("zero-sum (b = 0), 30 steps")
right.set_title("bonus b = 0.5, 80 steps")
plt.show()

# %% [markdown]
# ## The idea in words
#
# **Why does learning cycle?** The seeker learns to go where the hider often is; then the hider learns to go
# to the other café; then the seeker follows. Each agent increases its own objective, but there is no common
# objective. The only **Nash equilibrium** is mixed: both choose each café with probability 1/2, and neither
# gains by deviating alone. Learning does not converge to it. With infinitely small steps the policies would
# circle around it for ever. Each step of finite length leaves the circle on a straight line and ends a
# little farther out, so that the policies spiral outwards: the cell below measures it. (An *optimistic*
# learner cures that: exercise 3.)
#
# **Then what do agents learn?** A policy is good here if it cannot be exploited. **Exploitability** measures
# this: the gain of a best response to the other agent's policy, averaged over agents. It is 0 exactly in a
# Nash equilibrium. The exploitability of a cycling policy stays large. But a cycle visits all sides of the
# equilibrium equally often, so the exploitability of the *time-averaged* policy approaches 0.
#
# **What is the effect of sharing?** Any two-player game is the sum of a common part and an opposed (zero-sum)
# part. Equal sharing preserves the common part and scales the opposed part down. So the share interpolates
# between opponents and a team. A zero-sum game has no common part to preserve.

# %%
path = (
    learn(cafes(0.0), START, 300)[..., 0] - 0.5
)  # from the equilibrium, [step, agent]
moves, radius = path.diff(dim=0), path.norm(dim=-1)
cosine = -(moves * path[:-1]).sum(-1) / (moves.norm(dim=-1) * radius[:-1])
angles = cosine.arccos().rad2deg()
low, high = angles.min(), angles.max()
print(
    f"Angle between a step and the direction of the equilibrium: {low:.0f} to "
    f"{high:.0f} degrees."
)
print(
    f"Distance from the equilibrium: {radius[0]:.2f} at the start, {radius[-1]:.2f} "
    f"after 300 steps."
)

# %% [markdown]
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
# | between 0 and 1/2 | $0 < \kappa < 1$ | the same, with a smaller opposed part |
# | 1/2 | 0 | a **team game**: both maximize $c$ |
# | 1 | $-1$ | rewards exchanged: opposed again |
#
# In a zero-sum game $c = 0$, and so $\tilde r = \kappa\, r$ for both, whatever $T$ is: the original game,
# scaled ($\kappa > 0$), zero ($\kappa = 0$) or with reversed sign ($\kappa < 0$). The welfare
# $r_1 + r_2 = 2c$ is always 0.

# %% [markdown]
# ## From scratch
#
# Exploitability, and the decomposition. (The learning rule is in the first cell: each agent adds the action
# values, times a learning rate, to its logits. It is called *multiplicative weights*, or Hedge.)

# %%


def exploitability(payoffs, policies):
    """The gain of a best response, averaged over both agents, [...]."""
    values = action_values(payoffs, policies)
    return (values.amax(-1) - (values * policies).sum(-1)).mean(-1)


def split(payoffs):
    """The common part and the opposed part of a game, [action, action] each."""
    return payoffs.mean(-1), (payoffs[..., 0] - payoffs[..., 1]) / 2


common, opposed = split(cafes(0.5))
print("common:", common.tolist(), " opposed:", opposed.tolist())
T = torch.tensor([[0.9, 0.1], [0.4, 0.6]])
kappa = T[0, 0] - T[1, 0]
by_equation = torch.stack(
    (
        T[:, 0].sum() * common + kappa * opposed,
        T[:, 1].sum() * common - kappa * opposed,
    ),
    -1,
)
print(
    "shared rewards agree with the key equation:",
    torch.allclose(cafes(0.5) @ T, by_equation),
)
print(
    "zero-sum game, shared payoffs / original payoffs:",
    ((cafes(0.0) @ T) / cafes(0.0)).unique().tolist(),
)

path = learn(cafes(0.0), START, 1000)
for name, policies in (
    ("initial policy", path[0]),
    ("final policy", path[-1]),
    ("time-averaged policy", path.mean(0)),
):
    print(f"exploitability, {name:21}{exploitability(cafes(0.0), policies):.4f}")

# %% [markdown]
# ## The library's version
#
# `shared` wraps any game, `exploitability` evaluates any policies of a one-shot game,
# `zero_sum_equilibrium` solves a linear program for a Nash equilibrium, and `inner_step_per_agent` makes a
# step in which each agent minimizes its own loss. (With the loss $-\text{logits} \cdot \text{values}$,
# gradient descent is the learning rule above.)

# %%
import games
from bilevel import BilevelProblem, Unrolled, inner_step_per_agent
from bilevel.optimizers import sgd
from games.matrix import NormalForm
from games.wrappers import shared

pennies, bonus_game = (
    NormalForm(table=tuple(cafes(bonus).tolist())) for bonus in (0.0, 0.5)
)
by_library = shared(bonus_game, T).values(path[-1].unsqueeze(1))
scratch = torch.einsum("i,ijk,j->k", path[-1][0], by_equation, path[-1][1])
print("equal to the library's: shared values  ", torch.allclose(by_library, scratch))
by_library = games.exploitability(pennies, path.unsqueeze(-2))
print(
    "equal to the library's: exploitability ",
    torch.allclose(by_library, exploitability(cafes(0.0), path)),
)
solved = games.zero_sum_equilibrium(cafes(0.0)[..., 0])
print(
    f"Nash equilibrium: seeker {solved.row.tolist()}, hider {solved.column.tolist()}",
    end=", ",
)
print(f"value {solved.value:.4f}")
print(
    "zero_sum(game) has the rewards 2d, -2d:",
    torch.equal(games.zero_sum(bonus_game).payoffs()[..., 0], 2 * opposed),
)


def hedge_loss(own, others, g, data):
    values = action_values(share(cafes(0.5), g), others.softmax(-1))
    return -(own * values).sum(-1)  # an action's value depends on the other agent alone


def welfare_after(g, steps, bonus):
    """The welfare after learning, if each agent gives away the share g."""
    policies = learn(share(cafes(bonus), g), START, steps)[-1]
    return 2 * policies[0] @ cafes(bonus).mean(-1) @ policies[1]


inner, g = sgd(0.1), torch.tensor(0.4)
problem = BilevelProblem(
    step=inner_step_per_agent(hedge_loss, inner),
    outer_loss=lambda theta, g, data: (
        -2 * theta.softmax(-1)[0] @ common @ theta.softmax(-1)[1]
    ),
)
by_library = -Unrolled()(problem, START, inner.init(START), g, steps=30).gradient
scratch = torch.func.grad(lambda value: welfare_after(value, 30, 0.5))(g)
print(
    f"hypergradient dF/dg for 30 steps: library {by_library:.8f}, from scratch "
    f"{scratch:.8f}"
)

# %% [markdown]
# ## Exploitability in random games
#
# Does this hold in other games? We draw random zero-sum games with three actions, and random initial policies
# for each. Left: exploitability during learning. Right: each agent gives away the share $g$ during learning;
# afterwards its time-averaged policy is evaluated in the *original* game, without sharing.

# %%
from bilevel.experiments import interquartile_interval
from games.matrix import random_general_sum, random_zero_sum


def between(samples):
    """Interquartile mean over games or seeds, and its 95 % interval, as text."""
    found = interquartile_interval(samples.reshape(1, -1).numpy(), resamples=500)
    return f"{found.estimate[0]:.3f} [{found.low[0]:.3f}, {found.high[0]:.3f}]"


GAMES, LONG = size(40, fast=4), size(1000, fast=10)
zero_sum_games = torch.stack(
    [random_zero_sum(3, seed).payoffs() for seed in range(GAMES)]
)
initial = torch.randn(GAMES, 2, 3, generator=torch.Generator().manual_seed(0))
pure = zero_sum_games[..., 0].amin(2).amax(1) == zero_sum_games[..., 0].amax(1).amin(
    1
)  # has a pure equilibrium
path = learn(zero_sum_games, initial, LONG, rate=0.3)
average = path.cumsum(0) / torch.arange(1, LONG + 2)[:, None, None, None]
shown = torch.unique(torch.logspace(0, torch.tensor(LONG).log10(), 30).long())

SHARES = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.8, 1.0])
shared_zero_sum = torch.stack([share(zero_sum_games, g) for g in SHARES])
averages = learn(
    shared_zero_sum, initial.expand(len(SHARES), -1, -1, -1), LONG, rate=0.3
).mean(0)
tested = exploitability(zero_sum_games, averages)


# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
draw_band(
    left,
    shown,
    exploitability(zero_sum_games, path[shown]),
    label="current policy",
    color=RED,
    linestyle=":",
)
draw_band(
    left,
    shown,
    exploitability(zero_sum_games, average[shown]),
    label="time-averaged policy",
    color=BLUE,
)
left.set(xscale="log", xlabel="learning step", ylabel="exploitability", ylim=(0, None))
left.legend()
draw_band(right, SHARES, tested, label="time-averaged policy", color=BLUE, marker="o")
right.axvline(0.5, color=GRAY, linestyle="--", linewidth=1, label="g = 1/2")
right.legend(loc="center left", fontsize=10)
right.set(
    xlabel="share given away g",
    ylabel="exploitability in the original game",
    ylim=(0, None),
)
plt.show()

print(
    f"exploitability in {GAMES} games after {LONG} steps (interquartile mean, 95 % "
    f"interval)"
)
print("final policy         ", between(exploitability(zero_sum_games, path[-1])))
print("time-averaged policy ", between(exploitability(zero_sum_games, average[-1])))
for g in (0.4, 0.5, 1.0):
    print(
        f"time-averaged, g = {g}".ljust(21),
        between(tested[(SHARES - g).abs().argmin()]),
    )
cycling = exploitability(zero_sum_games, path[-1]) > 0.05
print("final exploitability above 0.05:", end=" ")
print(
    f"{int((cycling & pure).sum())} of {int(pure.sum())} games with a pure Nash "
    f"equilibrium,",
    end=" ",
)
print(f"{int((cycling & ~pure).sum())} of {int((~pure).sum())} games without")

# %% [markdown]
# * If there is a pure Nash equilibrium, learning finds it. In the other games the current policies mostly
#   keep cycling; the exploitability of the time-averaged policies decreases. (This is a theorem: with a
#   small learning rate multiplicative weights has small *regret*, and in zero-sum games the regret bounds
#   the exploitability of the average.)
# * A share below a half only slows learning down: $\kappa$ scales the learning rate.
# * With a share of a half agents learn nothing. Above a half they learn to *lose*: the opponent's reward
#   has a larger weight than their own.
#
# ## From opponents to a team
#
# Now games in between: random payoffs that are *correlated* between the two agents. The correlation $\rho$
# (rho) is 1 for a team and $-1$ for a zero-sum game; here it is $-0.5$. By the key equation the shared
# rewards have another correlation (the variances of $c$ and $d$ are $(1 + \rho) / 2$ and $(1 - \rho) / 2$):
#
# $$\tilde\rho = \frac{(1 + \rho) - \kappa^2 (1 - \rho)}{(1 + \rho) + \kappa^2 (1 - \rho)}.$$

# %%
RHO = -0.5
mixed = torch.stack(
    [random_general_sum(3, seed, correlation=RHO).payoffs() for seed in range(GAMES)]
)
SHARES = torch.linspace(0, 1, size(11, fast=3))
shared_games = torch.stack([share(mixed, g) for g in SHARES])
path = learn(shared_games, initial.expand(len(SHARES), -1, -1, -1), LONG, rate=0.3)
late = path[-LONG // 4 :: 5]  # the last quarter of learning
welfare = torch.einsum(
    "tpgi,gijk,tpgj->tpg", late[..., 0, :], mixed, late[..., 1, :]
).mean(0)
not_converged = exploitability(shared_games, late).amax(0) > 0.01
best = mixed.sum(-1).flatten(1).amax(1)
squares = (1 - 2 * SHARES) ** 2
predicted = ((1 + RHO) - squares * (1 - RHO)) / ((1 + RHO) + squares * (1 - RHO))
many = random_general_sum(
    300, 0, correlation=RHO
).payoffs()  # 90 000 outcomes, to measure the correlation
measured = torch.stack(
    [torch.corrcoef(share(many, g).reshape(-1, 2).T)[0, 1] for g in SHARES]
)


# %% tags=["hide-input"]
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.4))
left.plot(SHARES, predicted, color=GRAY, label="formula")
left.plot(SHARES, measured, "o", color=BLUE, label="measured")
left.set(ylabel="correlation of the shared rewards", ylim=(-1.1, 1.1))
left.legend(loc="lower center")
fraction = not_converged.double().mean(1)
z = 1.96**2 / GAMES  # Wilson's 95 % interval of a proportion
center, half = (
    (fraction + z / 2) / (1 + z),
    (z * fraction * (1 - fraction) + z**2 / 4).sqrt() / (1 + z),
)
middle.fill_between(
    SHARES, center - half, center + half, color=RED, alpha=0.2, linewidth=0
)
middle.plot(SHARES, fraction, color=RED, marker="o", linestyle="--")
middle.set(ylabel="fraction of games not converged", ylim=(-0.02, 1))
draw_band(right, SHARES, welfare, label="learned", color=GREEN, marker="o")
draw_band(
    right,
    SHARES,
    best.expand(len(SHARES), -1),
    label="social optimum",
    color=BLACK,
    linestyle=":",
)
right.set(ylabel="welfare (sum of both rewards)")
right.legend(loc="lower center")
for axes in (left, middle, right):
    axes.set_xlabel("share given away g")
plt.show()
for g in (0.0, 0.5, 1.0):
    row = (SHARES - g).abs().argmin()
    print(f"g = {g}: welfare {between(welfare[row])}, not converged in", end=" ")
    print(f"{int(not_converged[row].sum())} of {GAMES} games")
gain, optimal = (
    welfare[len(SHARES) // 2] - welfare[0],
    best - welfare[len(SHARES) // 2] < 0.02,
)
print(f"g = 0.5 instead of 0 increases the welfare by {between(gain)} (paired by game)")
print(f"g = 0.5 reaches the social optimum in {int(optimal.sum())} of {GAMES} games")

# %% [markdown]
# (Not converged: exploitability, in the shared game, above 0.01 at some time in the last quarter of
# learning.)
#
# At $g = 1/2$ the opponents are a team: learning converges in almost all games, and the welfare is largest.
# But it does not reach the social optimum in every game: a team can converge to an inferior Nash equilibrium,
# from which neither agent gains by deviating alone. Above a half the effect reverses: if each agent maximizes
# the other's reward, their interests are as opposed as if each maximizes its own.
#
# ## The hypergradient of the share
#
# Can the outer loop *learn* the share $g$, with the hypergradient of the welfare after $K$ steps of learning?

# %%
lengths = torch.arange(1, size(121, fast=5), 4)


def hypergradient(g, steps, bonus):
    return torch.func.grad(lambda value: welfare_after(value, steps, bonus))(
        torch.tensor(g)
    )


# %% tags=["hide-input"]
figure, axes = plt.subplots()
for bonus, g, color, dashes in (
    (0.0, 0.1, GRAY, "-"),
    (0.5, 0.1, AMBER, "--"),
    (0.5, 0.4, GREEN, "-."),
):
    slopes = torch.stack([hypergradient(g, int(steps), bonus) for steps in lengths])
    axes.plot(
        lengths, slopes, color=color, linestyle=dashes, label=f"b = {bonus}, g = {g}"
    )
    print(
        f"b = {bonus}, g = {g}: hypergradient from {slopes.min():.3g} to "
        f"{slopes.max():.3g}"
    )
axes.set(xlabel="learning steps K", ylabel="hypergradient dF/dg")
axes.legend()
plt.show()

# %% [markdown]
# In the zero-sum game the hypergradient is 0: the welfare does not depend on the share, and the outer loop
# does not change it. If the policies cycle, the sign of the hypergradient changes with $K$: it depends on the
# phase of the cycle after $K$ steps. If they converge, the sign is right.
#
# The library's method `tos` learns the share in both games. The initial share given away is 0.1, with which
# the policies still cycle in the game with the bonus. Each outer step contains five policy steps.

# %%
from bilevel.methods import Placement, Selfish, ToS


def train(method, game, outer_steps, seeds=size(16, fast=3)):
    """The welfare and the share given away, [outer step, seed] each."""
    learner = method.build(game, Placement(seeds=seeds))
    state, rows = learner.init(seed=0), []
    for _ in range(outer_steps):
        state, metrics = learner.update(state)
        rows.append((metrics["welfare"], metrics["given_away"]))
    return [torch.stack(column) for column in zip(*rows, strict=True)]


steps = size(60, fast=3)
_, given_away = train(
    ToS(own_share=0.9).with_settings({"inner.steps": 5}), pennies, size(10, fast=3)
)
print(
    f"zero-sum, tos: share given away from {given_away.min():.6f} to "
    f"{given_away.max():.6f}"
)


# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
for name, method, color, dashes in (
    ("selfish", Selfish().with_settings({"inner.steps": 5}), RED, ":"),
    ("tos", ToS(own_share=0.9).with_settings({"inner.steps": 5}), GREEN, "-"),
):
    welfare, given_away = train(method, bonus_game, steps)
    draw_band(
        left, range(1, steps + 1), welfare, label=name, color=color, linestyle=dashes
    )
    draw_band(
        right,
        range(1, steps + 1),
        given_away,
        label=name,
        color=color,
        linestyle=dashes,
    )
    late = welfare[-steps // 3 :].mean(0)
    print(f"b = 0.5, {name}: welfare in the last third {between(late)} (maximum: 1)")
left.axhline(1, color=BLACK, linewidth=1, label="social optimum")
left.set(xlabel="outer step", ylabel="welfare (sum of both rewards)", ylim=(None, 1.1))
right.set(xlabel="outer step", ylabel="share given away", ylim=(-0.02, 1))
figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
plt.show()

# %% [markdown]
# Selfish agents keep cycling, and their mean welfare is about 0. With `tos` the agents learn to share, and
# learn to meet. The share exceeds three quarters, where $\kappa < -b$ and the interests are opposed again,
# and then decreases.

# %% [markdown]
# ## Play
#
# Choose a bonus and a share. From which share on do the policies not cycle? Gray arrows: the learning
# dynamics.


# %% tags=["hide-input"]
def play(bonus, g):
    game = share(cafes(bonus), g)
    grid = torch.linspace(0.03, 0.97, 20)
    p, q = torch.meshgrid(grid, grid, indexing="xy")
    values = action_values(
        game,
        torch.stack((torch.stack((p, 1 - p), -1), torch.stack((q, 1 - q), -1)), -2),
    )
    advantage = values[..., 0] - values[..., 1]
    path = learn(game, START, 300)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
    dp, dq = p * (1 - p) * advantage[..., 0], q * (1 - q) * advantage[..., 1]
    if advantage.abs().max() > 1e-9:
        left.streamplot(
            grid.numpy(),
            grid.numpy(),
            dp.numpy(),
            dq.numpy(),
            color=GRAY,
            density=0.7,
            linewidth=1,
        )
    left.plot(*path[..., 0].T, color=BLUE)
    left.plot(*path[0, :, 0], "o", color=BLACK)
    left.set(
        xlim=(0, 1), ylim=(0, 1), aspect="equal", title=f"$\\kappa$ = {1 - 2 * g:.2f}"
    )
    left.set(
        xlabel="seeker: probability of the first café",
        ylabel="hider: probability of the first café",
    )
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
# negative if it prefers not to. Learning cycles only if $\tilde a_1$ and $\tilde a_2$ have opposite signs.
# What is the smallest share that each must give away so that they do not? `payoffs` is [action, action,
# agent]. (If the signs agree without sharing: 0.)


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
# **Exercise 4 (unequal shares).** So far both gave the same share. Let the seeker give the share $x$ and the
# hider the share $y$. Find the pair with the smallest $x + y$ under which no agent prefers not to meet
# ($\tilde a_1 \ge 0$ and $\tilde a_2 \ge 0$), for a bonus $0 < b < 1$.


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
# ## What to read
#
# * von Neumann, *Zur Theorie der Gesellschaftsspiele*, Mathematische Annalen 100, 1928: the value of a
#   zero-sum game. Freund and Schapire, *Adaptive game playing using multiplicative weights*, Games and
#   Economic Behavior 29, 1999: why the average converges to it.
# * Balduzzi and others, *The mechanics of n-player differentiable games*, arXiv 1802.05642: the
#   decomposition of learning dynamics into a gradient (potential) part and a rotational (Hamiltonian) part.
#   Mescheder and others, *The numerics of GANs*, arXiv 1705.10461.
# * Daskalakis and others, *Training GANs with optimism*, arXiv 1711.00141: exercise 3.
# * Lanctot and others, *A unified game-theoretic approach to multiagent reinforcement learning*, arXiv
#   1711.00832: exploitability as a measure of learners.
# * In this toolkit: `games.zero_sum` keeps only the opposed part of any game, `games.Soccer` is a zero-sum
#   game on a grid.
# * Next: `09_learning_loss_weights`.
