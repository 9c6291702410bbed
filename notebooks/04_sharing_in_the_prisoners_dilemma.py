# %% [markdown]
# # 4. Sharing in the prisoner's dilemma
#
# **How much of your reward must you give away before everybody cooperates, and does a learner find
# that?**
#
# Two flatmates share a kitchen. What each of them leaves behind costs the *other* 2. Who cleans up
# spends 1 on it, and saves the other 2. Each had better not, whatever the other does, and so both sit
# in the dirt: a prisoner's dilemma. Now let each of them give a share $w$ of all that it gets, good or
# bad, to the other. The group gains nothing by that. It is the same sum, handed round. And yet, from
# some $w$ on, both clean.
#
# Theory says which $w$. Then two learners, one inside the other, look for it: policies that learn to
# clean under a given sharing, and sharing that learns from what the policies do. They agree with
# theory, once one asks both the same question; and the way in which they first do not is the point of
# this lesson.
#
# The first cell holds all that is run below. Its symbols are explained in a moment, under *The key
# equations*; come back to it then.

# %%
import matplotlib.pyplot as plt
import torch
from checks.sharing_in_the_prisoners_dilemma import check_1, check_2, check_3
from lesson import BLACK, BLUE, GRAY, GREEN, PURPLE, RED, draw_band, explore, size, use_style

from bilevel.experiments import interquartile_interval

use_style()
torch.set_default_dtype(torch.float64)

COST, HELP = 1.0, 2.0  # cleaning costs me 1, and is worth 2 to the other
RATE, BONUS = 10.0, 0.1  # the policies' learning rate; their bonus for trying things, in reward per nat
SEEDS, OUTER = size(12, fast=3), size(150, fast=4)


def rewards(p):
    """Own rewards, [..., agent], where agent i cleans with probability p[..., i]."""
    return -2 - COST * p + HELP * p.flip(-1)


def kept(T):
    """What each agent keeps of its own reward: [..., agent] of T [..., giver, receiver]."""
    return T.diagonal(dim1=-2, dim2=-1)


def received(T):
    """Which share of the other's reward each agent gets."""
    return T.flip(-2).diagonal(dim1=-2, dim2=-1)


def learn_once(theta, T, bonus=BONUS):
    """One policy update of both agents: each one's own gradient of what it sees under T."""
    p = theta.sigmoid()
    return theta + RATE * p * (1 - p) * (HELP * received(T) - COST * kept(T) - bonus * theta)


def learn(theta, T, steps, bonus=BONUS):
    for _ in range(steps):
        theta = learn_once(theta, T, bonus)
    return theta


def sharing(w0, w1):
    """T, [giver, receiver]: agent 0 gives w0 and agent 1 gives w1 to the other."""
    return torch.tensor([[1 - w0, w0], [w1, 1 - w1]])


def over_seeds(values):
    """Interquartile mean and 95 % interval of values [seed], as words."""
    found = interquartile_interval(values.numpy())
    return f"{found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}]"


def start(*batch, seed=0):
    """Policies to start from: log-odds of cleaning, one for each agent."""
    return torch.randn(*batch, 2, generator=torch.Generator().manual_seed(seed))


def learn_to_share(costs, steps, own=0.5, rate=0.02, outer=OUTER, optimizer=torch.optim.Adam):
    """Both levels: after every few policy updates sharing moves, by the gradient through these updates.

    costs: what giving everything away is made to cost each agent; a run for each entry. own: the share that
    both keep at first. rate: of the sharing, which `optimizer` moves, for so many outer steps.
    Returns the share given and how often agents clean, [outer step, cost, seed].
    """
    theta = start(SEEDS).expand(len(costs), -1, -1).clone()
    phi = torch.zeros(len(costs), SEEDS, 2, 2)  # logits: a softmax makes rows that sum to 1
    phi += torch.eye(2) * torch.tensor(own / (1 - own)).log()
    phi.requires_grad_()
    mover = optimizer([phi], lr=rate)
    given, cleans = [], []
    for _ in range(outer):
        T = phi.softmax(-1)
        theta = learn(theta.detach(), T, steps)  # the graph of these updates is kept ...
        bill = torch.as_tensor(costs)[:, None, None] * (1 - kept(T))
        objective = (rewards(theta.sigmoid()) - bill).sum()
        phi.grad = torch.autograd.grad(-objective, phi)[0]  # ... and walked back
        mover.step()
        given.append((1 - kept(T)).mean(-1).detach())
        cleans.append(theta.sigmoid().mean(-1).detach())
    return torch.stack(given), torch.stack(cleans)


# %% [markdown]
# ## A picture of the answer
#
# Left: policies learn under a sharing that stands still, with and without a bonus for trying things (20
# starts each; with the bonus nobody becomes quite sure). Right: sharing learns, too. Told to make the
# group better off and no more, it goes far beyond what is needed, and how far is a matter of its step
# size. Told that giving is dear, it settles near the least share, and at the same place for both step
# sizes. (Every line is a mean over seeds; nearly all of their 95 % intervals are narrower than the line.)

# %%
THEORY = COST / (COST + HELP)
TRIED = torch.linspace(0.2, 0.5, size(61, fast=4))
OBJECTIVES = (("welfare alone", RED), ("giving costs 4", GREEN))

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
for bonus, color, dashes in ((0.0, PURPLE, "--"), (BONUS, BLUE, "-")):
    ends = [learn(start(20), sharing(w, w), size(1000, fast=20), bonus).sigmoid().mean(-1) for w in TRIED]
    draw_band(left, TRIED, torch.stack(ends), label=f"bonus {bonus:g}", color=color, linestyle=dashes)
left.axvline(THEORY, color=BLACK, linewidth=1, label=f"theory: {THEORY:.3f}")
left.set(xlabel="share w that both give away", ylabel="chance of cleaning", title="sharing stands still")
left.legend(loc="center right")
print(f"After {OUTER} outer steps, {SEEDS} seeds (interquartile mean and 95 % interval):")
for rate, dashes in ((0.1, "-"), (0.02, ":")):
    given, cleans = learn_to_share([0.0, 4.0], steps=25, rate=rate)
    for row, (label, color) in enumerate(OBJECTIVES):
        draw_band(
            right, range(OUTER), given[:, row], label=f"{label}, step {rate}", color=color, linestyle=dashes
        )
        print(f"{label:15} step {rate:.2f}  gives {over_seeds(given[-1, row])}, ", end="")
        print(f"cleans with chance {over_seeds(cleans[-1, row])}")
right.axhline(THEORY, color=BLACK, linestyle="--", label="least share, by theory")
right.set(xlabel="outer steps", ylabel="share given away", title="both learn", ylim=(0, 1))
right.legend(loc="lower right", fontsize=10)
plt.show()

# %% [markdown]
# ## The idea in words
#
# * **A sharing matrix** says which part of whose reward goes to whom. One row for each giver, one
#   column for each receiver. Every row sums to 1: what you do not keep somebody else gets. So the sum
#   of all rewards is what it was. *Conservation* is what tells sharing from paying people out of thin
#   air, and from taxing them.
# * Sharing leaves the group's *total* as it is, and changes everybody's *reasons*. Cleaning costs me 1,
#   of which I now bear only the part I keep; and it saves you 2, of which I now get the part that you
#   give. If the second is more than the first I clean, for my own good.
# * **The minimal transfer** is the least that all must give so that doing their part in the group's
#   optimum is best for each, *whatever the others do*. A linear program finds it for any table of
#   payoffs, or shows that there is none.
# * A **learner of sharing** knows nothing of that. It asks: if I shift the sharing a little, how much
#   better off is the group after the policies' next updates? That is the meta-gradient of lesson 1,
#   with the sharing as the knob.

# %% [markdown]
# ## The key equations
#
# $r_i$ is agent $i$'s own reward, $T_{ij}$ the share of $i$'s reward that $j$ gets, $\tilde r_j$ the
# reward that $j$ sees and learns from:
#
# $$\tilde r_j = \sum_i T_{ij}\, r_i, \qquad \sum_j T_{ij} = 1
# \quad\Longrightarrow\quad \sum_j \tilde r_j = \sum_i r_i .$$
#
# With $T_{ii} = 1 - w$ and the rest for the other, cleaning changes what I see by
#
# $$\underbrace{2\,w}_{\text{my part of the help}} - \underbrace{1\,(1 - w)}_{\text{my part of the cost}} =
# 3w - 1, \qquad\text{so I clean if}\qquad \boxed{\ w > \tfrac13\ }$$
#
# and *that does not depend on what you do*: cleaning is then dominant. The literature counts what is
# kept: $s^* = 1 - w = \frac23$ is the *greatest* share that all can keep.
#
# For the learner, let $\theta_i$ be the log-odds with which $i$ cleans, $p_i = 1/(1 + e^{-\theta_i})$
# the probability, $\alpha$ the learning rate and $\tau$ (tau) the bonus for randomness. The bonus is paid
# for each nat of the policy's entropy: nothing where $p_i$ is 0 or 1, and $\tau \ln 2$ at most, where
# $p_i$ is a half. (In $\theta_i$ the entropy has the derivative $-p_i(1-p_i)\,\theta_i$.) One update
# follows agent $i$'s own gradient of its own $\tilde r_i$, and of the bonus:
#
# $$\theta_i \leftarrow \theta_i + \alpha\, p_i (1 - p_i) \big( 2\,T_{ji} - T_{ii} - \tau \theta_i \big),
# \qquad j \text{ the other one}. $$
#
# The sharing moves uphill on $F(T) = \sum_i r_i(\theta^{(K)}) - c \sum_i (1 - T_{ii})$: the group's
# *own* rewards under the policies after $K$ updates, less the cost $c$ of giving.

# %% [markdown]
# ## From scratch
#
# First theory, for any game of two agents and two actions: a table `[action of 0, action of 1, agent]`.
# Sharing turns the table into another one; look up what leaving the optimum gains, whatever the other
# does; take the least $w$ at which nothing is gained.

# %%
KITCHEN = torch.tensor([[[-1.0, -1.0], [-3.0, 0.0]], [[0.0, -3.0], [-2.0, -2.0]]])  # action 0 cleans
T = sharing(0.4, 0.4)
print("own rewards     seen, if both give 0.4")
for a in (0, 1):
    for b in (0, 1):
        own, seen = KITCHEN[a, b], KITCHEN[a, b] @ T
        print(
            f"{own.tolist()}    [{seen[0]:.1f}, {seen[1]:.1f}]    sums {own.sum():.1f} and {seen.sum():.1f}"
        )


def gain_from_leaving(table, w):
    """The most that agent 0 or 1 gains by action 1 instead of 0, whatever the other does."""
    seen = table @ sharing(w, w)
    return torch.maximum((seen[1, :, 0] - seen[0, :, 0]).max(), (seen[:, 1, 1] - seen[:, 0, 1]).max())


def least_share(table):
    """The least w at which nobody gains, to 12 digits, by halving; it must be less than 1 in this game."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if gain_from_leaving(table, middle) <= 0 else (middle, high)
    return high


print(f"\nThe least share: {least_share(KITCHEN):.9f}")

# %% [markdown]
# Then the learner. It stands in the first cell: `learn_once` is the update above, `learn_to_share` the
# rest. Is the update right? Let autograd take each agent's own gradient. Mind the trap: agent $i$'s
# gradient is that of $\tilde r_i$, and *not* of the sum of all $\tilde r$, which by conservation is the
# group's, whatever $T$ is. So each agent gets its own policy to differentiate, and takes the other's as
# given:

# %%


def seen_by_each(own, others, T):
    """What each agent sees, as a function of its own policy and of the other's."""
    mine = -2 - COST * own + HELP * others.flip(-1)
    theirs = -2 - COST * others.flip(-1) + HELP * own
    return kept(T) * mine + received(T) * theirs


def surprise(theta):
    """The entropy of a policy, in nats."""
    p = theta.sigmoid()
    return -p * p.log() - (1 - p) * (1 - p).log()


def total(own, others):
    return (seen_by_each(own.sigmoid(), others.sigmoid(), T) + BONUS * surprise(own)).sum()


theta, T = start(), sharing(0.4, 0.1)
by_hand = (learn_once(theta, T) - theta) / RATE
own_gradients = torch.func.grad(total)(theta, theta)  # of the first argument alone
group_gradient = torch.func.grad(lambda both: total(both, both))(theta)
print("by hand               ", by_hand)
print("each agent's own      ", own_gradients)
print("of the sum (the trap) ", group_gradient)

# %% [markdown]
# And the meta-gradient? Without the softmax and without the bonus it has a closed form. If $p_i$ itself
# is learned, at rate $\alpha$, then $p_i^{(K)} = p_i + \alpha K (2 w_j - (1 - w_i))$, and welfare is
# $-4 + p_0 + p_1$. So agent 0's share counts once for what it does to agent 0 and twice for what it
# does to agent 1: $\partial F/\partial w_0 = 3 \alpha K$.

# %%
alpha, updates = 0.01, 5


def welfare_after(w):
    p = torch.tensor([0.2, 0.5])
    for _ in range(updates):
        p = p + alpha * (HELP * w.flip(-1) - COST * (1 - w))
    return rewards(p).sum()


meta_gradient = torch.func.grad(welfare_after)(torch.tensor([0.3, 0.1]))
print(f"through the updates {meta_gradient.tolist()}, closed form {3 * alpha * updates:.4f}")

# %% [markdown]
# It is positive, *and there is no $w$ in it*: giving more is always better. Remember that.

# %% [markdown]
# ## The library's version
#
# `share` hands out rewards, `minimal_transfer` is the linear program, and `ToS` learns both levels.

# %%
import bilevel
import games
from bilevel import Placement
from bilevel.methods import ToS

print("share       ", bilevel.share(KITCHEN[1, 0], sharing(0.4, 0.1)))
print("from scratch", KITCHEN[1, 0] @ sharing(0.4, 0.1))
for name in ("prisoners-dilemma", "prisoners-dilemma-axelrod", "chicken", "stag-hunt"):
    game = games.make(name)
    program, halving = 1 - games.minimal_transfer(game).s, least_share(game.payoffs())
    print(f"{name:26} least share {program:.6f} by linear program, {halving:.6f} by halving")

# %%
method = ToS(own_share=0.5, cost_weight=4.0).with_settings(
    {"inner.steps": 5, "inner.learning_rate": RATE, "outer.learning_rate": 0.02, "inner.entropy_coef": BONUS}
)
learner = method.build(games.make("prisoners-dilemma"), Placement(seeds=3))
state = learner.init(seed=0)

theta = state["theta"].squeeze(-1).clone()  # from scratch, from the same policies
phi = torch.zeros(3, 2, 2, requires_grad=True)
mover = torch.optim.Adam([phi], lr=0.02)
furthest = 0.0
for _ in range(size(20, fast=3)):
    state, metrics = learner.update(state)
    T = phi.softmax(-1)
    theta = learn(theta.detach(), T, 5)
    phi.grad = torch.autograd.grad(-(rewards(theta.sigmoid()) - 4.0 * (1 - kept(T))).sum(), phi)[0]
    mover.step()
    ours = (1 - kept(T.detach())).mean(-1)
    furthest = max(furthest, float((metrics["given_away"] - ours).abs().max()))
print("given away, library     ", metrics["given_away"])
print("given away, from scratch", ours)
print(f"Over all steps the two runs are the same to 12 digits: {furthest < 1e-12}")

# %% [markdown]
# ## Why pure welfare overshoots
#
# Beyond a third everybody cleans. What is there to gain from giving more? *Time.* The outer objective
# looks at the policies after $K$ updates, and those that see more of the help learn faster. Below, left:
# welfare after $K$ updates from policies that clean half of the time, without bonus or cost, for every
# share. Right: the slope of that. (The learning rate is 1 here, not 10, so that one sees the learning.)

# %%
shares = torch.linspace(0.02, 0.98, size(97, fast=7))


def welfare_and_slope(w, steps, bonus=0.0):
    def welfare(w):
        theta = torch.zeros(())
        for _ in range(steps):
            p = theta.sigmoid()
            theta = theta + p * (1 - p) * (HELP * w - COST * (1 - w) - bonus * theta)
        return 2 * (HELP - COST) * theta.sigmoid() - 4

    return torch.func.vmap(welfare)(w), torch.func.vmap(torch.func.grad(welfare))(w)


figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
for steps, color, dashes in ((2, PURPLE, ":"), (10, BLUE, "-."), (50, GREEN, "--"), (250, RED, "-")):
    welfare, slope = welfare_and_slope(shares, size(steps, fast=2))
    left.plot(shares, welfare, color=color, linestyle=dashes, label=f"K = {steps}")
    right.plot(shares, slope, color=color, linestyle=dashes, label=f"K = {steps}")
    beyond = slope[shares >= 0.6][0]
    print(f"K = {steps:3}: the least slope anywhere is {slope.min():.1e}; at w = 0.6 it is {beyond:.1e}")
for axes in (left, right):
    axes.axvline(THEORY, color=BLACK, linestyle="--", linewidth=1, label="least share")
left.legend(loc="lower right")
right.legend(fontsize=10)
left.set(xlabel="share w that both give", ylabel="welfare after K updates", title="the outer objective")
right.set(xlabel="share w that both give", ylabel="its slope (log scale)", yscale="log", title="never 0")
plt.show()

# %% [markdown]
# * Every curve rises everywhere. None has its top at a third, however large $K$. The longer the
#   learning, the flatter the ground beyond a third, but flat is not down. Nothing ever calls the
#   sharing back, because conservation means that giving costs the group nothing.
# * So where does the learner stop? Where the slope has become so small that its steps are small: by
#   exhaustion. That place is a matter of the step size, of the way of stepping and of the start, and
#   not of the game:

# %%
print(f"share given after {OUTER} outer steps, {SEEDS} seeds (interquartile mean and 95 % interval)")
for name, settings in {
    "Adam, step 0.02, K = 25": {"steps": 25},
    "Adam, step 0.1, K = 25": {"steps": 25, "rate": 0.1},
    "Adam, step 0.1, K = 1": {"steps": 1, "rate": 0.1},
    "the same, but 0.8 kept at first": {"steps": 1, "rate": 0.1, "own": 0.8},
    "plain gradient, step 0.1, K = 25": {"steps": 25, "rate": 0.1, "optimizer": torch.optim.SGD},
}.items():
    given, cleans = learn_to_share([0.0], **settings)
    print(f"{name:33} {over_seeds(given[-1, 0])}   cleans with chance {cleans[-1].min():.3f} or more")

# %% [markdown]
# ## Asking both the same question
#
# Theory asked for the *least* share. Let the learner be asked that, too: make giving cost $c$. Then
# theory can say more. With the bonus, policies come to rest at log-odds $\theta^* = (3w - 1)/\tau$: the more
# is given the more they clean, but never always. So at rest the outer objective is
#
# $$F(w) = -4 + 2\,\sigma\!\Big(\frac{3w - 1}{\tau}\Big) - 2\,c\,w, \qquad \sigma(x) = \frac{1}{1 + e^{-x}},$$
#
# and a learner that sees the *whole* effect of its sharing stops where $\frac{dF}{dw} = 0$, on the far
# side of the steepest place: $\sigma\,(1 - \sigma) = c\,\tau/3$. The left side is never above a quarter, so
# that there is no such place for $c > 3/(4\tau)$. In the pictures, left: $F(w)$ for four costs. Right: where
# theory stops, and where learners with $K$ updates do, for many.

# %%
costs = torch.linspace(0.5, 9.0, 18)[:: size(1, fast=9)]


def at_rest(w, cost):
    return -4 + 2 * ((HELP * w - COST * (1 - w)) / BONUS).sigmoid() - 2 * cost * w


def stops_at(cost):
    """Where theory says that it stops, or nan where nothing stops it."""
    inside = torch.sqrt(0.25 - cost * BONUS / (COST + HELP))
    return (COST + BONUS * (0.5 + inside).logit()) / (COST + HELP)


runs = {steps: learn_to_share(costs, steps, outer=2 * OUTER) for steps in (5, size(25, fast=6))}
most = (COST + HELP) / (4 * BONUS)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
w = torch.linspace(0, 0.7, 300)
for cost, color, dashes in ((0.0, RED, "-"), (2.0, PURPLE, ":"), (5.0, GREEN, "-."), (9.0, GRAY, "--")):
    left.plot(w, at_rest(w, cost), color=color, linestyle=dashes, label=f"giving costs {cost:g}")
    if 0 < cost < most:
        there = stops_at(torch.tensor(cost))
        left.plot(there, at_rest(there, cost), "o", color=color)
left.axvline(THEORY, color=BLACK, linestyle="--", linewidth=1, label="least share")
left.set(
    xlabel="share w that both give", ylabel="outer objective at rest", title="theory (dots: where it stops)"
)
left.legend(loc="lower left", fontsize=10)
fine = torch.linspace(0.05, most, 200)
right.plot(fine, stops_at(fine), color=BLACK, label="theory, policies at rest")
for (steps, (given, _)), color, marker in zip(runs.items(), (BLUE, GREEN), "so", strict=True):
    draw_band(
        right, costs, given[-1], label=f"learner, K = {steps}", color=color, marker=marker, markersize=5
    )
right.axhline(THEORY, color=BLACK, linestyle="--", linewidth=1, label="least share")
right.set(xlabel="cost c of giving everything", ylabel="share given at the end", title="theory and learner")
right.legend(fontsize=10)
plt.show()

for steps, (given, cleans) in runs.items():
    stays = given[-1].mean(-1) > 0.2
    far = (given[-1] - stops_at(costs)[:, None])[stays].abs().mean(-1)
    last = f"{given[-1][stays][-1].mean():.3f} is given and {cleans[-1][stays][-1].mean():.2f} clean"
    print(f"K = {steps:2}: sharing stays up to a cost of {costs[stays].max():.1f}, where {last}.")
    print(f"        There it is {far[-1]:.4f} from theory; at smaller costs up to {far.max():.4f}.")
    late = (given[-1] - given[-len(given) // 3])[stays].abs().mean(-1)
    print(f"        In the last third it moved by {late[-1]:.4f}; at smaller costs up to {late.max():.4f}.")
print(f"By theory nothing stops it from a cost of {most:.1f} on.")

# %% [markdown]
# * The dearer giving is, the nearer the share comes to a third, from above. It never settles between 0
#   and a third: where the cost is too high the hill is gone, the share slides to 0, and cooperation ends
#   on the way. Nor does a share near a third make everybody clean: with the bonus, 0.36 makes them
#   clean about two times in three.
# * With 25 updates the learner lies on theory's curve where giving is dear. With 5 it lies below and
#   lets go too early. It sees the sharing's effect on the *next five* updates and takes that for all of
#   it: the short-sightedness of `truncated` in lesson 1. To such a learner giving looks less useful
#   than it is, and at small costs even 25 are too few: policies that clean nearly always move slowly
#   ($p(1-p)$ is small). (With 5, and giving cheap, sharing has not quite come to rest either.)
# * Left, as long as giving is not too dear, a curve has *two* hills: one at "give nothing", and one
#   past a third. A gradient finds the one it starts on. All runs with a cost start at equal shares, the
#   good side. Put `own=0.8` into the call of `learn_to_share` above, and see.
# * So "pure welfare overshoots" and "a cost finds the least share" are both right, and neither is a
#   fault of the gradient. The first objective has no least share in it; the second has.

# %% [markdown]
# ## Play
#
# Now the two may give different shares. Left: where policies move to, for all chances of cleaning, and
# where 5 starts end. Right: the four regions of theory, without the bonus. Find a sharing under which
# only one of them cleans. Can one of them give nothing at all, and still both clean?

# %%


def play(given_by_0, given_by_1):
    T = sharing(given_by_0, given_by_1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8))
    axis = torch.linspace(0.01, 0.99, 15)
    p1, p0 = torch.meshgrid(axis, axis, indexing="ij")
    p = torch.stack((p0, p1), -1)
    moved = p * (1 - p) * (learn_once(p.logit(), T) - p.logit())
    left.streamplot(axis.numpy(), axis.numpy(), *moved.movedim(-1, 0).numpy(), color="#BBBBBB", linewidth=0.8)
    end = learn(start(5), T, 500).sigmoid()
    left.plot(*end.T, "o", color=RED, markersize=10)
    left.set(xlabel="chance that 0 cleans", ylabel="chance that 1 cleans", title="dot: where learning ends")
    w = torch.linspace(0, 1, 50)
    right.plot(w, (1 - w) * COST / HELP, color=BLUE, label="above it, 0 cleans")
    right.plot((1 - w) * COST / HELP, w, color=GREEN, linestyle="--", label="right of it, 1 cleans")
    for x, y, words in (
        (0.1, 0.1, "nobody"),
        (0.6, 0.6, "both"),
        (0.02, 0.65, "only 0"),
        (0.6, 0.05, "only 1"),
    ):
        right.text(x, y, words, color=GRAY)
    right.plot(given_by_0, given_by_1, "o", color=RED, markersize=10, label="here")
    right.set(xlabel="share that 0 gives", ylabel="share that 1 gives", title="theory: who cleans")
    right.legend(loc="upper right")
    for axes in (left, right):
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    plt.show()


explore(play, given_by_0=(0.0, 1.0, 0.05, 0.2), given_by_1=(0.0, 1.0, 0.05, 0.5))

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/04_sharing_in_the_prisoners_dilemma.py`.
#
# **Exercise 1 (warm up).** Any prisoner's dilemma of two has four payoffs: the *reward* if both
# cooperate, the *sucker*'s payoff for who cooperates alone, the *temptation* for who defects alone and the
# *punishment* if both defect, with temptation > reward > punishment > sucker. Both give the share
# $w$. Write the least $w$ at which cooperating is best *whatever the other does* as a formula.


# %% tags=["exercise-1"]
def least(reward, sucker, temptation, punishment):
    return ...


# %% tags=["check-1"]
check_1(least)

# %% [markdown]
# **Exercise 2 (more flatmates).** There are $n$ of them. Cleaning costs 1, and saves *each* of the
# others 2. Everybody keeps the share $s$ and divides the rest evenly among the other $n - 1$. Build the
# matrix $T$, and find the greatest $s$ at which cleaning is dominant. Does it get harder with more
# flatmates?


# %% tags=["exercise-2"]
def matrix(n, s):
    """[giver, receiver]"""
    return ...


def greatest(n):
    return ...


# %% tags=["check-2"]
check_2(matrix, greatest)

# %% [markdown]
# **Exercise 3 (why it never stops).** Policies are log-odds $\theta_0, \theta_1$ and make *one* update,
# without the bonus: $\theta_i' = \theta_i + \alpha\, p_i(1 - p_i)\,(2 w_j - (1 - w_i))$. Derive
# $\partial F/\partial w_0$ for $F = \sum_i r_i(\theta')$ by hand, and write it down without autograd.
# Then you can see why it is above 0 for every $w$ and every policy.


# %% tags=["exercise-3"]
def slope(theta, w, alpha):
    """dF / dw[0]; theta and w are tensors of two numbers."""
    return ...


# %% tags=["check-3"]
check_3(slope)

# %% [markdown]
# **For discussion.** (a) Let each giver move its own share by its *own* reward, not by the group's.
# Would it give at all? (Use the closed form: what does $w_0$ do to $r_0$, and what to $r_1$?
# `ToS(objective="own-return")` shows it.) (b) You find that learners under a cost of 4 give 0.388 and
# cooperate. A colleague concludes that 0.388 is the least share. What do you ask? (c) Somebody proposes
# to *pay* the flatmates for cleaning instead. What is lost, and what is easier?

# %% [markdown]
# ## What to read
#
# * Willis and others, *Resolving social dilemmas with minimal reward transfer*, arXiv 2310.12928: the
#   linear program, and its answer for many games.
# * Yi and others, *Learning to share in multi-agent reinforcement learning*, arXiv
#   2112.08702: the learner of sharing.
# * Yang and others, *Learning to incentivize other learning agents*, arXiv 2006.06051: paying instead
#   of sharing.
# * In this toolkit: `docs/theory.md`, `bilevel theory --game prisoners-dilemma`, and `docs/starts.md`
#   on where sharing starts.
# * Next: `05_learning_to_share`, with more agents, sampled games, and the order in which the levels
#   learn.
