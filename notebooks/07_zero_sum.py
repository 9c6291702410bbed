# %% [markdown]
# # 7. Zero-sum
#
# **What is there to learn, and to share, if your gain is my loss?**
#
# Each evening two agents choose one of two cafés. The *seeker* gains 1 if they meet and loses 1 if they do
# not; for the *hider* it is the other way round. Whatever one gains the other loses: a **zero-sum** game,
# known as matching pennies. Now add a common interest: *both* gain a bonus $b$ if they meet, and lose it if
# they do not. With $b = 0.5$ the hider still prefers to be alone. But the two now have something in common,
# and that changes the effect of sharing.

# %%
import matplotlib.pyplot as plt
import torch
from checks.zero_sum import check_1, check_2, check_3, check_4
from lesson import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED, draw_band, explore, size, use_style

use_style()
torch.set_default_dtype(torch.float64)


def cafes(bonus):
    """Payoffs [seeker's cafe, hider's cafe, agent]."""
    met = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    return torch.stack(((bonus + 1) * met, (bonus - 1) * met), -1)


def share(payoffs, part):
    """Each agent gives away the share `part` of its reward and receives the same share of the other's."""
    part = torch.as_tensor(part)
    return (1 - part) * payoffs + part * payoffs.flip(-1)


def action_values(payoffs, policies):
    """The value of each action against the other's policy, [..., agent, action]."""
    first = torch.einsum("...ij,...j->...i", payoffs[..., 0], policies[..., 1, :])
    second = torch.einsum("...ij,...i->...j", payoffs[..., 1], policies[..., 0, :])
    return torch.stack((first, second), -2)


def learn(payoffs, logits, steps, rate=0.1):
    """Multiplicative weights: the policies, [step, ..., agent, action], including the initial ones."""
    policies = [logits.softmax(-1)]
    for _ in range(steps):
        logits = logits + rate * action_values(payoffs, policies[-1])
        policies.append(logits.softmax(-1))
    return torch.stack(policies)


# %% [markdown]
# ## A picture of the answer
#
# Each trajectory goes from the dot to its square and shows the two policies during learning, as the
# probabilities of choosing the first café. Left, zero-sum: the policies cycle. Sharing changes only the
# speed and the direction of the cycle; at a half (black) there is no learning. Right, with a bonus: a
# little sharing has the same effect, but enough of it makes the policies converge to a corner, where the
# two meet and their total reward is larger.

# %%
START = torch.tensor([[0.75, -0.75], [0.4, -0.4]])  # logits [agent, cafe]


def draw_paths(axes, bonus, steps, parts):
    for part, (color, dashes) in parts.items():
        path = learn(share(cafes(bonus), part), START, steps)[..., 0]
        label = f"each gives {100 * part:.0f} %"
        axes.plot(*path.T, color=color, linestyle=dashes, label=label, alpha=0.9)
        axes.plot(*path[-1], marker="s", color=color, markersize=8, clip_on=False)
    axes.plot(*START.softmax(-1)[:, 0], "o", color=BLACK, zorder=5)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="seeker: probability of the first café")
    axes.set_ylabel("hider: probability of the first café")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.6))
draw_paths(left, 0.0, 30, {0.0: (RED, "-"), 0.35: (AMBER, "--"), 0.5: (BLACK, "-"), 1.0: (PURPLE, ":")})
draw_paths(right, 0.5, 80, {0.0: (RED, "-"), 0.1: (AMBER, "--"), 0.4: (GREEN, "-.")})
left.set_title("zero-sum (b = 0), 30 steps")
right.set_title("with a bonus (b = 0.5), 80 steps")
plt.show()

# %% [markdown]
# ## The idea in words
#
# **Why cycles?** The seeker goes where the hider often is; so the hider moves; so the seeker follows. Each
# agent ascends its own objective, and no common objective increases. The only **Nash equilibrium** is
# mixed: both choose at random with probability 1/2, and neither gains by deviating alone. Learning does not
# reach it: every gradient step is orthogonal to the direction of the equilibrium.
#
# **Then what is learned?** A policy is good here if it cannot be exploited. **Exploitability** measures
# this: the gain of a best response to the other's policy, averaged over agents. It is 0 exactly in a Nash
# equilibrium. The exploitability of a cycling policy stays large. But a cycle visits all sides of the
# equilibrium equally often, so the *time-averaged* policy becomes unexploitable.
#
# **What can sharing do?** Any two-player game is the sum of a common part and an opposed (zero-sum) part.
# Sharing preserves the first and scales the second down. One parameter interpolates between opponents and a
# team. A zero-sum game has no common part that sharing could preserve.

# %% [markdown]
# ## The key equation
#
# $r_1, r_2$ are the rewards in the game, $T_{ij}$ is the share of $i$'s reward that $j$ receives (rows sum
# to 1), and $\tilde r_j = T_{1j} r_1 + T_{2j} r_2$ is the shared reward that $j$ learns from. Let
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
# | between | $0 < \kappa < 1$ | the same, with a smaller opposed part |
# | 1/2 | 0 | a **team game**: both maximize $c$ |
# | 1 | $-1$ | rewards exchanged: opposed again |
#
# In a zero-sum game $c = 0$, and so $\tilde r = \kappa\, r$ for both, whatever $T$ is: the original game,
# scaled ($\kappa > 0$), zero ($\kappa = 0$) or with reversed sign ($\kappa < 0$). The welfare
# $r_1 + r_2 = 2c$ is always 0.

# %% [markdown]
# ## From scratch
#
# Exploitability, and the decomposition. (The learner is in the first cell: each agent adds the action values,
# times a learning rate, to its logits. It is called *multiplicative weights*, or Hedge.)

# %%


def exploitability(payoffs, policies):
    """The gain of a best response, averaged over both agents, [...]."""
    values = action_values(payoffs, policies)
    return (values.amax(-1) - (values * policies).sum(-1)).mean(-1)


def split(payoffs):
    """The common part and the opposed part, [action, action] each."""
    return payoffs.mean(-1), (payoffs[..., 0] - payoffs[..., 1]) / 2


common, opposed = split(cafes(0.5))
print("common:", common.tolist(), " opposed:", opposed.tolist())
T = torch.tensor([[0.9, 0.1], [0.4, 0.6]])
kappa = T[0, 0] - T[1, 0]
by_equation = torch.stack(
    (T[:, 0].sum() * common + kappa * opposed, T[:, 1].sum() * common - kappa * opposed), -1
)
print("r T equals the key equation:", torch.allclose(cafes(0.5) @ T, by_equation))
print(
    "zero-sum game: shared payoffs over original payoffs:", ((cafes(0.0) @ T) / cafes(0.0)).unique().tolist()
)

path = learn(cafes(0.0), START, 1000)
for name, policies in (
    ("at the start", path[0]),
    ("after 1000 steps", path[-1]),
    ("of the average", path.mean(0)),
):
    print(f"exploitability {name:17}{exploitability(cafes(0.0), policies):.4f}")

# %% [markdown]
# ## The library's version
#
# `shared` wraps any game, `exploitability` evaluates any policies of a one-shot game,
# `zero_sum_equilibrium` solves a linear program for a Nash equilibrium, and `inner_step_per_agent` makes a
# step in which each agent descends its own loss. (With the loss $-\text{logits} \cdot \text{values}$, plain
# gradient descent is the learner above.)

# %%
from bilevel import BilevelProblem, Unrolled, inner_step_per_agent
from bilevel.optimizers import sgd
from games import zero_sum
from games.matrix import NormalForm
from games.theory import _equilibria as equilibrium
from games.wrappers import shared

pennies, bonus_game = (NormalForm(table=tuple(cafes(bonus).tolist())) for bonus in (0.0, 0.5))
ours = shared(bonus_game, T).values(path[-1].unsqueeze(1))
scratch = torch.einsum("i,ijk,j->k", path[-1][0], by_equation, path[-1][1])
print("values after sharing are the same:     ", torch.allclose(ours, scratch))
ours = equilibrium.exploitability(pennies, path.unsqueeze(-2))
print("exploitability along the path, the same:", torch.allclose(ours, exploitability(cafes(0.0), path)))
solved = equilibrium.zero_sum_equilibrium(cafes(0.0)[..., 0])
print(
    f"the equilibrium: seeker {solved.row.tolist()}, hider {solved.column.tolist()}, value {solved.value:.4f}"
)
print(
    "zero_sum(game) keeps only 2d:          ",
    torch.equal(zero_sum(bonus_game).payoffs()[..., 0], 2 * opposed),
)


def hedge_loss(own, others, part, data):
    values = action_values(share(cafes(0.5), part), others.softmax(-1))
    return -(own * values).sum(-1)  # an action's value depends on the other agent alone


def welfare_after(part, steps, bonus):
    """Welfare after that many learning steps, if each agent gives away the share `part`."""
    policies = learn(share(cafes(bonus), part), START, steps)[-1]
    return 2 * policies[0] @ cafes(bonus).mean(-1) @ policies[1]


inner, part = sgd(0.1), torch.tensor(0.4)
problem = BilevelProblem(
    step=inner_step_per_agent(hedge_loss, inner),
    outer_loss=lambda theta, part, data: -2 * theta.softmax(-1)[0] @ common @ theta.softmax(-1)[1],
)
ours = -Unrolled()(problem, START, inner.init(START), part, steps=30).gradient
scratch = torch.func.grad(lambda value: welfare_after(value, 30, 0.5))(part)
print(f"d welfare / d g, 30 steps:               {ours:.8f}, from scratch {scratch:.8f}")

# %% [markdown]
# ## Do learners become unexploitable?
#
# One game may be special. So here are random zero-sum games with three actions each, and random initial
# policies in each of them. Left: exploitability during learning. Right: each agent gives away a share of
# its reward during learning; afterwards its time-averaged policy is evaluated in the *original* game,
# without sharing.

# %%
from bilevel.experiments import interquartile_interval
from games.matrix import random_general_sum, random_zero_sum


def between(samples):
    """The interquartile mean over games or seeds, and its 95 % interval."""
    found = interquartile_interval(samples.reshape(1, -1).numpy(), resamples=500)
    return f"{found.estimate[0]:.3f} [{found.low[0]:.3f}, {found.high[0]:.3f}]"


GAMES, LONG = size(40, fast=4), size(1000, fast=10)
rivals = torch.stack([random_zero_sum(3, seed).payoffs() for seed in range(GAMES)])
starts = torch.randn(GAMES, 2, 3, generator=torch.Generator().manual_seed(0))
pure = rivals[..., 0].amin(2).amax(1) == rivals[..., 0].amax(1).amin(1)  # has a pure equilibrium
path = learn(rivals, starts, LONG, rate=0.3)
average = path.cumsum(0) / torch.arange(1, LONG + 2)[:, None, None, None]
shown = torch.unique(torch.logspace(0, torch.tensor(LONG).log10(), 30).long())

PARTS = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.8, 1.0])
shared_rivals = torch.stack([share(rivals, part) for part in PARTS])
averages = learn(shared_rivals, starts.expand(len(PARTS), -1, -1, -1), LONG, rate=0.3).mean(0)
tested = exploitability(rivals, averages)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
draw_band(left, shown, exploitability(rivals, path[shown]), label="current policy", color=RED, linestyle=":")
draw_band(left, shown, exploitability(rivals, average[shown]), label="time-averaged policy", color=BLUE)
left.set(xscale="log", xlabel="steps", ylabel="exploitability (reward)", ylim=(0, None))
left.legend()
draw_band(right, PARTS, tested, label="time-averaged policy", color=BLUE, marker="o")
right.axvline(0.5, color=GRAY, linestyle="--", linewidth=1)
right.set(
    xlabel="share that each gives away, g", ylabel="exploitability in the original game", ylim=(0, None)
)
plt.show()

print(f"{GAMES} games, {LONG} steps; exploitability, interquartile mean and 95 % interval:")
print("final policy:         ", between(exploitability(rivals, path[-1])))
print("time-averaged policy: ", between(exploitability(rivals, average[-1])))
for part in (0.4, 0.5, 1.0):
    print(f"if each gives {100 * part:.0f} %:".ljust(22), between(tested[(PARTS - part).abs().argmin()]))
stuck = exploitability(rivals, path[-1]) > 0.05
print(f"{int(pure.sum())} games have a pure Nash equilibrium. Final exploitability above 0.05:", end=" ")
print(f"{int((stuck & pure).sum())} of these games, {int((stuck & ~pure).sum())} of the others.")

# %% [markdown]
# * Where a pure Nash equilibrium exists, learning finds it. In the other games the current policy mostly
#   keeps cycling; the time average becomes harder and harder to exploit. (This is a theorem: with a small
#   learning rate such a learner has small *regret*, and in zero-sum games the regret bounds the
#   exploitability of the average.)
# * Giving away less than a half only slows learning down: $\kappa$ scales the learning rate.
# * At a half nothing is learned. Above a half everybody learns to *lose*: the opponent's reward weighs more
#   than one's own, so agents learn to be exploited.
#
# ## From opponents to a team
#
# Now games that are neither: random payoffs that are *correlated* between the two agents. The correlation
# $\rho$ (rho) is 1 for a team and $-1$ for a zero-sum game; here it is $-0.5$. The shared rewards have a
# different correlation, by the key equation (the variances of $c$ and $d$ are $(1 + \rho) / 2$ and
# $(1 - \rho) / 2$):
#
# $$\tilde\rho = \frac{(1 + \rho) - \kappa^2 (1 - \rho)}{(1 + \rho) + \kappa^2 (1 - \rho)}.$$

# %%
RHO = -0.5
mixed = torch.stack([random_general_sum(3, seed, correlation=RHO).payoffs() for seed in range(GAMES)])
PARTS = torch.linspace(0, 1, size(11, fast=3))
played = torch.stack([share(mixed, part) for part in PARTS])
path = learn(played, starts.expand(len(PARTS), -1, -1, -1), LONG, rate=0.3)
late = path[-LONG // 4 :: 5]  # the last quarter of learning
welfare = torch.einsum("tpgi,gijk,tpgj->tpg", late[..., 0, :], mixed, late[..., 1, :]).mean(0)
unsettled = exploitability(played, late).amax(0) > 0.01
best = mixed.sum(-1).flatten(1).amax(1)
squares = (1 - 2 * PARTS) ** 2
predicted = ((1 + RHO) - squares * (1 - RHO)) / ((1 + RHO) + squares * (1 - RHO))
many = random_general_sum(300, 0, correlation=RHO).payoffs()  # 90 000 outcomes, to measure the correlation
measured = torch.stack([torch.corrcoef(share(many, part).reshape(-1, 2).T)[0, 1] for part in PARTS])

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.4))
left.plot(PARTS, predicted, color=GRAY, label="the formula")
left.plot(PARTS, measured, "o", color=BLUE, label="measured")
left.set(ylabel="correlation of the shared rewards", ylim=(-1.1, 1.1))
left.legend(loc="lower center")
moving = unsettled.double().mean(1)
z = 1.96**2 / GAMES  # Wilson's 95 % interval of a proportion
center, half = (moving + z / 2) / (1 + z), (z * moving * (1 - moving) + z**2 / 4).sqrt() / (1 + z)
middle.fill_between(PARTS, center - half, center + half, color=RED, alpha=0.2, linewidth=0)
middle.plot(PARTS, moving, color=RED, marker="o", linestyle="--")
middle.set(ylabel="fraction of games not converged", ylim=(-0.02, 1))
draw_band(right, PARTS, welfare, label="learned", color=GREEN, marker="o")
draw_band(right, PARTS, best.expand(len(PARTS), -1), label="best outcome", color=BLACK, linestyle=":")
right.set(ylabel="welfare (sum of both rewards)")
right.legend(loc="lower center")
for axes in (left, middle, right):
    axes.set_xlabel("share that each gives away, g")
plt.show()
for part in (0.0, 0.5, 1.0):
    row = (PARTS - part).abs().argmin()
    print(f"each gives {100 * part:3.0f} %: welfare {between(welfare[row])};", end=" ")
    print(f"not converged: {int(unsettled[row].sum())} of {GAMES}")
gained, found = welfare[len(PARTS) // 2] - welfare[0], best - welfare[len(PARTS) // 2] < 0.02
print(f"sharing a half instead of nothing raises welfare by {between(gained)} (paired by game);", end=" ")
print(f"the best outcome is found in {int(found.sum())} of {GAMES}")

# %% [markdown]
# (Not converged: exploitability, in the shared game, above 0.01 at some time in the last quarter of
# learning.)
#
# At $g = 1/2$ the opponents have become a team: almost all games converge, and welfare is largest. Not in
# every game at the best outcome, though: a team can be stuck in an inferior Nash equilibrium, where both
# would have to change together, and neither gains by deviating alone. Beyond a half the effect reverses:
# maximizing the other's reward is as opposed as maximizing one's own.
#
# ## What the outer loop sees
#
# Can the share $g$ be *learned*, as the outer variable of lesson 1, by the derivative of the welfare after
# $K$ steps of learning?

# %%
lengths = torch.arange(1, size(121, fast=5), 4)


def slope(part, steps, bonus):
    return torch.func.grad(lambda value: welfare_after(value, steps, bonus))(torch.tensor(part))


figure, axes = plt.subplots()
for bonus, part, color, dashes in ((0.0, 0.1, GRAY, "-"), (0.5, 0.1, AMBER, "--"), (0.5, 0.4, GREEN, "-.")):
    slopes = torch.stack([slope(part, int(steps), bonus) for steps in lengths])
    axes.plot(
        lengths, slopes, color=color, linestyle=dashes, label=f"b = {bonus}, each gives {100 * part:.0f} %"
    )
    signs = [sign for sign, seen in (("+", slopes > 1e-9), ("-", slopes < -1e-9)) if seen.any()]
    words = f"signs {' and '.join(signs) or 'none'}, magnitude at most {slopes.abs().max():.3g}"
    print(f"b = {bonus}, each gives {100 * part:.0f} %: {words}")
axes.set(xlabel="steps of learning, K", ylabel="d welfare / d g (reward)")
axes.legend()
plt.show()

# %% [markdown]
# In the zero-sum game the hypergradient is 0: no sharing is better than any other, and an outer loop that
# ascends the welfare does not move. Where the policies cycle, the hypergradient changes its sign with $K$:
# it depends on the phase of the cycle at which learning is cut off. Where they converge, it points in the
# right direction.
#
# `tos`, the library's learner of sharing, in both games; the initial share given is 10 %, where the
# policies still cycle with the bonus. It takes five policy steps per outer step.

# %%
from bilevel.methods import Placement, Selfish, ToS


def train(method, game, rounds, seeds=size(16, fast=3)):
    """Welfare and the share given away, [round, seed] each."""
    learner = method.build(game, Placement(seeds=seeds))
    state, rows = learner.init(seed=0), []
    for _ in range(rounds):
        state, metrics = learner.update(state)
        rows.append((metrics["welfare"], metrics["given_away"]))
    return [torch.stack(column) for column in zip(*rows, strict=True)]


rounds = size(60, fast=3)
_, given = train(ToS(own_share=0.9).with_settings({"inner.steps": 5}), pennies, rounds=size(10, fast=3))
print(f"zero-sum: tos gives away {given.min():.6f} to {given.max():.6f}, over all rounds and seeds")
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
for name, method, color, dashes in (
    ("selfish", Selfish().with_settings({"inner.steps": 5}), RED, ":"),
    ("tos", ToS(own_share=0.9).with_settings({"inner.steps": 5}), GREEN, "-"),
):
    welfare, given = train(method, bonus_game, rounds)
    draw_band(left, range(1, rounds + 1), welfare, label=name, color=color, linestyle=dashes)
    draw_band(right, range(1, rounds + 1), given, label=name, color=color, linestyle=dashes)
    late = welfare[-rounds // 3 :].mean(0)
    print(f"bonus 0.5: welfare of {name} in the last third {between(late)} (maximum: 1)")
left.set(xlabel="outer step", ylabel="welfare (sum of both rewards)")
right.set(xlabel="outer step", ylabel="share given away", ylim=(-0.02, 1))
left.legend()
plt.show()

# %% [markdown]
# Selfish learners keep cycling, and get nothing on average. `tos` learns to share, and the two meet. The
# share exceeds three quarters, where $\kappa < -b$ and the agents are opposed again, and then comes back.

# %% [markdown]
# ## Play
#
# Choose a bonus and a share. At which share exactly do the cycles end? Gray arrows: the learning dynamics.

# %%


def play(bonus, part):
    game = share(cafes(bonus), part)
    grid = torch.linspace(0.03, 0.97, 20)
    p, q = torch.meshgrid(grid, grid, indexing="xy")
    values = action_values(game, torch.stack((torch.stack((p, 1 - p), -1), torch.stack((q, 1 - q), -1)), -2))
    push = values[..., 0] - values[..., 1]
    path = learn(game, START, 300)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
    dp, dq = p * (1 - p) * push[..., 0], q * (1 - q) * push[..., 1]
    if push.abs().max() > 1e-9:
        left.streamplot(
            grid.numpy(), grid.numpy(), dp.numpy(), dq.numpy(), color="#BBBBBB", density=0.7, linewidth=1
        )
    left.plot(*path[..., 0].T, color=BLUE)
    left.plot(*path[0, :, 0], "o", color=BLACK)
    left.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title=f"$\\kappa$ = {1 - 2 * part:.2f}")
    left.set(xlabel="seeker: probability of the first café", ylabel="hider: probability of the first café")
    gets = torch.einsum("ti,ijk,tj->tk", path[:, 0], cafes(bonus), path[:, 1])
    right.plot(gets[:, 0], color=RED, label="seeker")
    right.plot(gets[:, 1], color=BLUE, linestyle="--", label="hider")
    right.plot(gets.sum(-1), color=GREEN, linestyle="-.", label="together")
    right.set(xlabel="steps", ylabel="reward before sharing")
    right.legend()
    plt.show()


explore(play, bonus=(0.0, 1.0, 0.05, 0.5), part=(0.0, 1.0, 0.05, 0.2))

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
# **Exercise 2 (where the cycles end).** For two actions let
# $a_i = r_i(0,0) - r_i(0,1) - r_i(1,0) + r_i(1,1)$: positive if $i$ prefers to match the other's action,
# negative if it prefers not to. Learning cycles only if $\tilde a_1$ and $\tilde a_2$ have opposite signs.
# What is the smallest share that each must give away so that they do not? `payoffs` is [action, action,
# agent]. (If the signs agree without sharing: 0.)


# %% tags=["exercise-2"]
def breaks_up_at(payoffs):
    return ...


# %% tags=["check-2"]
check_2(breaks_up_at, cafes, share)

# %% [markdown]
# **Exercise 3 (a learner that converges).** The cycles come from reacting to the other's *previous* policy.
# Be **optimistic**: predict that the action values will change in the next step just as they did in the
# last one. Write the predicted values, given the action values `now` and one step `before`. The check adds
# them to the logits, times a learning rate, in games like the cafés, and evaluates the final policy, not
# the average.


# %% tags=["exercise-3"]
def optimistic_push(now, before):
    return ...


# %% tags=["check-3"]
check_3(optimistic_push, action_values, exploitability)

# %% [markdown]
# **Exercise 4 (unequal shares).** So far both gave the same share. Let the seeker give the share $x$ and the
# hider the share $y$, and find the pair under which meeting is not worse for either ($\tilde a_1 \ge 0$ and
# $\tilde a_2 \ge 0$) with the smallest $x + y$, for a bonus $0 < b < 1$.


# %% tags=["exercise-4"]
def cheapest(b):
    return ...  # x, y


# %% tags=["check-4"]
check_4(cheapest, cafes)

# %% [markdown]
# **For discussion.** (a) The agents learn with Adam, which divides by the size of the gradient. What
# influence of $\kappa$ remains in a zero-sum game? (b) Is football zero-sum, for the two teams? And the
# market for their tickets? (c) `tos` ascends the welfare. What could an outer loop optimize in a zero-sum
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
# * Next: `08_learning_loss_weights`.
