# %% [markdown]
# # 7. Empathy and mixing
#
# **What if agents care about each other's rewards?**
#
# In lesson 6 agents pay each other for actions. Here an agent's objective contains a share of the *other
# agent's reward* itself. **LASE** is a fixed rule of *gratitude*: an agent gives a share of its reward to an
# agent whose action was better for it than expected. **D3C** *mixes losses*: each agent minimizes a weighted
# sum of all losses, and learns the weights. In the dilemma of lesson 6, both methods end with one agent that
# cooperates and one that defects. This lesson shows why, and ends with a comparison of all methods so far.
#
# **Goals.** After this lesson you can compute what gratitude shares, find its fixed point and say whether it
# is stable, differentiate D3C's bound, and predict which methods depend on the zero of the payoffs.
#
# **Prerequisites.** Lessons 05 and 06. About 40 minutes.

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

from bilevel import Placement, default_config
from bilevel.lessons import BLACK, BLUE, GRAY, PURPLE
from bilevel.lessons import draw_band, explore, learning_curves, over_seeds, size
from bilevel.lessons import use_style
from bilevel.lessons.checks.empathy_and_mixing import check_1, check_2, check_3
from bilevel.report import looks
from games.matrix import SymmetricTwoAgentGame

use_style()
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A picture of the answer
#
# The dilemma of lesson 6, with the payoffs $(R, S, T, P) = (4, 0, 5, 1)$ for mutual cooperation, cooperating
# alone, defecting alone and mutual defection. Left: the welfare during learning. Right: the rewards of the
# agent with the larger and of the agent with the smaller one, after learning.

# %% tags=["hide-input"]
R, S, T, P = 4.0, 0.0, 5.0, 1.0
SEEDS, STEPS = size(16, fast=3), size(80, fast=2)
EXACT = {"inner.exact": True, "inner.learning_rate": 1.0, "inner.entropy_coef": 0.0}


def build(name, shift=0.0, **changes):
    """A learner of the library, with a constant added to all payoffs."""
    r, s, t, p = (payoff + shift for payoff in (R, S, T, P))
    game = SymmetricTwoAgentGame(reward=r, sucker=s, temptation=t, punishment=p)
    method = default_config("prisoners-dilemma-lase", name).method
    method = method.with_settings({**(EXACT if name == "lase" else {}), **changes})
    return method.build(game, Placement(seeds=SEEDS))


runs = {}
for name in ("selfish", "lase", "d3c"):
    runs[name] = learning_curves(build(name), STEPS)

# %% tags=["hide-input"]
LABELS = {"selfish": "selfish", "lase": "LASE: gratitude", "d3c": "D3C: mixed losses"}


def both_rewards(found):
    """The larger and the smaller of both rewards after learning, [seed] each."""
    both = torch.stack((found["return_0"][-1], found["return_1"][-1]))
    return both.amax(0), both.amin(0)


def mark(axes, values, row, look, marker):
    """Interquartile mean and interval over seeds, as a marker with a bar."""
    text = over_seeds(values, digits=6).replace("[", "").replace("]", "")
    middle, low, high = (float(x) for x in text.replace(",", "").split())
    error = [[max(middle - low, 0)], [max(high - middle, 0)]]
    style = {"color": look["color"], "marker": marker, "capsize": 4, "markersize": 9}
    axes.errorbar(middle, row, xerr=error, **style)


figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
for height, words, side in ((8, "cooperation", 0.1), (2, "defection", -0.4)):
    left.axhline(height, color=GRAY, linewidth=1, linestyle="--")
    left.text(STEPS, height + side, f"mutual {words}", ha="right", color=GRAY)
styles = looks(list(LABELS))
styles["d3c"]["linestyle"] = "-"  # dots are for selfish agents
for row, (name, look) in enumerate(styles.items()):
    found = runs[name]
    draw_band(left, range(1, STEPS + 1), found["welfare"], label=LABELS[name], **look)
    for values, marker in zip(both_rewards(found), "^v", strict=True):
        mark(right, values, row, look, marker)
for marker, words in (("^", "larger reward"), ("v", "smaller reward")):
    right.plot([], [], marker, color=BLACK, label=words)
left.set(xlabel="outer step", ylabel="welfare (sum of both rewards)", ylim=(1.3, 8.8))
right.set(yticks=range(3), yticklabels=["selfish", "LASE", "D3C"], ylim=(2.5, -0.5))
right.set(xlabel="reward of an agent", xlim=(-0.2, 5.3))
lines, words = left.get_legend_handles_labels()
more, others = right.get_legend_handles_labels()
figure.legend(lines + more, words + others, loc="outside upper center", ncols=5)
plt.show()
rows = ["| method | welfare | larger reward | smaller reward |", "|---|---|---|---|"]
for name, found in runs.items():
    columns = map(over_seeds, (found["welfare"][-1], *both_rewards(found)))
    rows.append(f"| {LABELS[name]} | {' | '.join(columns)} |")
note = (
    f"After {STEPS} outer steps: interquartile means, {SEEDS} seeds [95 % intervals]."
)
display(Markdown("\n".join(rows) + f"\n\n{note}"))

# %% [markdown]
# Both methods achieve about half of the possible gain. In the game it goes to one agent: one cooperates, and
# the other defects. But these are the rewards *of the game*. With LASE the defector gives most of its reward
# to the cooperator; a table below has the *effective* rewards, after sharing.

# %% [markdown]
# ## The idea in words
#
# * **LASE** (*learning to balance altruism and self-interest based on empathy*). Nothing is learned about the
#   sharing; it follows a rule. After each joint action an agent asks: was your action better for me than what
#   I expected of you? If so, I give you a share of my reward, the larger the better your action was. What I
#   expect depends on the policy that I assume for you. By *perspective taking* I put myself in your place
#   and assume my *own* policy.
# * **D3C**. Each agent descends a weighted sum of its own loss and the other agent's. While the other agent's
#   learning increases my weighted loss, I change the weights; otherwise I keep them: *win, stay; lose,
#   shift*. The weights are the outer variables. Their objective is not the welfare, but an upper bound of the
#   local *price of anarchy*, which says how much is lost if each agent descends for itself.

# %% [markdown]
# ## The key equation
#
# $r_i$ is agent $i$'s payoff in the game, $a$ the joint action, $W_{ij}$ the share of $i$'s reward that $j$
# receives (lesson 5 calls it $T_{ij}$; here $T$ is the temptation, and shares may depend on $a$), and
# $\tilde r_j$ the **effective reward**, which $j$ maximizes:
#
# $$\boxed{\ \tilde r_j(a) = \sum_i W_{ij}(a)\, r_i(a)\ }$$
#
# The total is conserved if the rows of $W$ sum to 1.
#
# **LASE.** With two agents, $Q_i(a)$ is $i$'s expected reward for the joint action $a$ (here its payoff), and
# $b_{ij}$ is the mean of $Q_i$ over $j$'s actions, under the policy that $i$ assumes for $j$. The maximum and
# minimum are over $j$'s actions, too:
#
# $$W_{ij}(a) = \max\Big(0,\ \frac{Q_i(a) - b_{ij}}{\max Q_i - \min Q_i}\Big), \qquad W_{ii} = 1 - W_{ij}.$$
#
# If $j$'s action makes no difference to $i$, the share is 0. The rows sum to 1.
#
# **D3C.** $V_j$ is agent $j$'s expected reward, and $f_j = \text{bound} - V_j$ its loss, where no value
# reaches the bound, so losses are positive. Agent $i$ descends $f_i^A = \sum_j A_{ij} f_j$. The row $A_i$
# sums to 1 and belongs to the *receiver*: $W_{ij} = A_{ji}$. So the columns of $W$ sum to 1; its rows need
# not. Then the outer loop: $i$ updates its row by gradient descent on
#
# $$\rho_i = 1 + \max\Big(0,\ \frac{\dot f_i^A}{f_i^A}\Big), \qquad \dot f_i^A = \sum_j A_{ij}\, \dot f_j,$$
#
# where $\dot f_j$ is the rate at which $f_j$ changes by the learning step of the agent *other than* $i$. The
# ratio is the growth rate of $i$'s mixed loss.

# %% [markdown]
# ## From scratch
#
# As in lesson 6: exact expected values, tables with the axes [action of agent 0, action of agent 1, agent],
# and the actions 0, cooperate, and 1, defect.


# %%
def dilemma(R, S, T, P):
    """Payoffs, [action of agent 0, action of agent 1, agent]."""
    own = torch.tensor([[R, S], [T, P]])
    return torch.stack((own, own.T), -1)


def expected(logits, table):
    """Expected rewards, [agent], under the policies softmax(logits)."""
    policy = logits.softmax(-1)
    return torch.einsum("a,abi,b->i", policy[0], table, policy[1])


def learn_step(logits, effective, rate=1.0):
    """A gradient step of each agent on its own effective reward: new logits."""
    policy = logits.softmax(-1)
    values = effective[..., 0] @ policy[1], policy[0] @ effective[..., 1]
    value = torch.stack(values)  # of each action, [agent, action]
    slope = policy * (value - (policy * value).sum(-1, keepdim=True))
    slope = slope * torch.tensor([1.0, 0.0])  # the second logit is fixed at 0
    return logits + rate * slope


pay = dilemma(R, S, T, P)

# %% [markdown]
# **Gratitude.** `with_gratitude` returns the effective rewards, from the policies [agent, action] of both
# agents. With the perspective `"own"`, each agent assumes its own policy for the other agent; with `"true"`,
# it knows the other agent's policy. The policy gradient treats the shares as constants.


# %%
def with_gratitude(pay, policy, perspective="own"):
    """Effective rewards of LASE, [action of agent 0, action of agent 1, agent]."""
    assumed = policy if perspective == "own" else policy.flip(0)

    def share(own, assumed):
        """Of rewards [own action, the other's action] with a positive range."""
        spread = own.amax(1, keepdim=True) - own.amin(1, keepdim=True)
        surprise = own - (own @ assumed)[:, None]
        return (surprise / spread).clamp(0, 1)

    share_0 = share(pay[..., 0], assumed[0])  # of agent 0's reward, for agent 1
    share_1 = share(pay[..., 1].T, assumed[1]).T
    to_0 = share_1 * pay[..., 1] - share_0 * pay[..., 0]
    return pay + torch.stack((to_0, -to_0), -1)


policy = torch.tensor([[0.3, 0.7], [0.6, 0.4]])
table = with_gratitude(pay, policy)
rows = ["| actions | payoffs | effective rewards |", "|---|---|---|"]
for a, first in enumerate("CD"):
    for b, second in enumerate("CD"):
        numbers = f"{pay[a, b, 0]:.2f}, {pay[a, b, 1]:.2f} | "
        numbers += f"{table[a, b, 0]:.2f}, {table[a, b, 1]:.2f}"
        rows.append(f"| {first}, {second} | {numbers} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# The sums are the same in both columns. Only cooperation is rewarded, and it is worth most when the reward
# that is shared is large: agent 0 defects and agent 1 cooperates (D, C), or the reverse. Agent 0 cooperates
# less often, so it expects less of the other agent and is more grateful.

# %% [markdown]
# **Mixed losses.** `anarchy` is the bound $\rho$. Each agent's step is the negative slope of its mixed loss
# in its own logit. `row_slopes` differentiates each agent's bound with respect to its own row, by autograd;
# you do it by hand in exercise 2.


# %%
def anarchy(weights, logits, pay, bound=10.0):
    """The bound rho of each agent, [agent], for weights A [agent, whose loss]."""
    loss = bound - expected(logits, pay)
    # Slopes of the losses in the free logits, [whose loss, whose logit]:
    slopes = -torch.func.jacrev(expected)(logits, pay)[..., 0]
    step = -(weights * slopes.T).sum(1)  # each agent descends its mixed loss
    change = (slopes * step).flip(1).T  # of each loss, by the agent other than i
    growth = (weights * change).sum(1) / (weights @ loss)
    return 1 + growth.relu()


def row_slopes(weights, logits, pay, bound=10.0):
    """Gradient of each agent's bound in its own row, [agent, whose loss]."""
    every = torch.func.jacrev(anarchy)(weights, logits, pay, bound)
    return every[[0, 1], [0, 1]]  # [bound, row, whose loss]: agent i, row i


# %% [markdown]
# Both loops: in each outer step the policies take a step on the mixed rewards $\sum_j A_{ij} r_j$. Then each
# row takes a *mirror descent* step, a gradient step on the logarithms of the weights followed by normalizing,
# so that weights stay positive and sum to 1. A floor of $e^{-8}$ keeps them from vanishing.


# %%
def d3c(pay, logits, steps, rate=30.0):
    """Weights [step, agent, whose loss], and logits, [step, agent, action]."""
    weights, every, path = torch.tensor([[0.99, 0.01], [0.01, 0.99]]), [], []
    for _ in range(steps):
        every.append(weights)
        logits = learn_step(logits, pay @ weights.T)
        slope = row_slopes(weights, logits, pay)
        new = (weights.log() - rate * slope).log_softmax(-1)
        weights = new.clamp(min=-8.0).softmax(-1)
        path.append(logits)
    return torch.stack(every), torch.stack(path)


START = torch.tensor([[0.0, 0.0], [-1.0, 0.0]])  # agent 1 cooperates less at first
weights, path = d3c(pay, START, size(80, fast=5))

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
for agent, color, dashes in ((0, BLUE, "-"), (1, PURPLE, "--")):
    look = {"color": color, "linestyle": dashes, "label": f"agent {agent}"}
    left.plot(path.softmax(-1)[:, agent, 0], **look)
    right.plot(weights[:, agent, 1 - agent], **look)
left.set(xlabel="outer step", ylabel="probability of cooperating", ylim=(-0.03, 1.03))
right.set(xlabel="outer step", ylabel="weight of the other agent's loss")
right.set_ylim(-0.03, 1.03)
figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=2)
plt.show()
for agent in (0, 1):
    ends = float(weights[-1, agent, 1 - agent]), float(path.softmax(-1)[-1, agent, 0])
    print(f"agent {agent}: weight of the other's loss {ends[0]:.2f}, ", end="")
    print(f"probability of cooperating {ends[1]:.2f}")
print("rho at the end:", [f"{x:.6f}" for x in anarchy(weights[-1], path[-1], pay)])
stop = int((weights.diff(dim=0).abs().amax((1, 2)) > 1e-9).sum())
mine = [float(expected(path[step], pay)[1]) for step in (stop, -1)]
print(f"The weights stop at step {stop}. Reward of agent 1: ", end="")
print(f"{mine[0]:.2f} there, {mine[1]:.2f} at the end.")

# %% [markdown]
# At first each agent learns to defect, which harms the other agent, so both change their weights ("lose,
# shift"). Then agent 1 cares enough about the other agent's loss to learn to cooperate. Agent 0 still learns
# to defect: this gains it $T - R = P - S = 1$, and costs agent 1 $R - S = T - P = 4$. Once
# $1 \cdot A_{10} > 4 \cdot A_{11}$, the *mixed* loss of agent 1 no longer increases, although its reward
# still falls. So $\rho = 1$ for both, and the weights stop ("win, stay"). The rule stops there although the
# outcome is unequal, and the welfare is below its maximum.

# %% [markdown]
# ## The library's version
#
# First the single steps, then the welfare of whole runs from the same initial policies.

# %%
from bilevel.methods import anarchy_bound, gift_weights, loss_bound, relationships

# LASE after the actions C, D: values [agent i, agent j, action of j] of i's reward;
# only the entries with j other than i are used.
values = torch.stack((pay[0, :, 0].expand(2, 2), pay[:, 1, 1].expand(2, 2)))
taken, neighbors = torch.tensor([0, 1]), torch.ones(2, 2, dtype=torch.bool)
model = policy[:, None].expand(2, 2, 2)
W = gift_weights(relationships(values, model, taken), neighbors)
print("LASE, rewards of C, D equal:", torch.allclose(pay[0, 1] @ W, table[0, 1]))

logits = torch.stack((policy[:, 0].logit(), torch.zeros(2)), -1)
A = torch.tensor([[0.8, 0.2], [0.3, 0.7]])
jacobian = -torch.func.jacrev(expected)(logits, pay)[None, ..., :1]
loss = loss_bound(build("d3c").game, None) - expected(logits, pay)
found = anarchy_bound(A[None], loss[None], jacobian).slope[0]
print("D3C, slopes of rho equal:", torch.allclose(found, row_slopes(A, logits, pay)))

# %%
count = min(40, STEPS)
for name, settings in (("lase", {}), ("d3c", {"identity_weight": 0.0})):
    learner = build(name, **settings)
    theta = learner.init(seed=0)["theta"][0]  # the policies of one seed
    logits = torch.cat((theta, torch.zeros(2, 1)), -1)
    by_library = learning_curves(learner, count)["welfare"][:, 0]
    if name == "d3c":
        path = d3c(pay, logits, count)[1]
    else:
        path = []
        for _ in range(count):
            logits = learn_step(logits, with_gratitude(pay, logits.softmax(-1)))
            path.append(logits)
    ours = torch.stack([expected(each, pay).sum() for each in path])
    same = torch.allclose(ours, by_library)
    print(f"{name}, welfare of {count} outer steps equal: {same}")

# %% [markdown]
# (The library adds a tiny penalty for weights that leave the own loss, `identity_weight`, to $\rho$.)

# %% [markdown]
# ## Play: gratitude
#
# The learning dynamics of LASE. The arrows are the directions of both agents' learning steps. The colored
# lines are two trajectories, each from its dot to its square. Left, each agent assumes that the other agent
# has its *own* policy (the published method); right, it knows the other agent's policy. Shift the payoffs, or
# increase the temptation. Where do agents end, and for which shift does gratitude stop working?


# %%
def gratitude(table, log_odds, perspective, steps):
    """Probabilities of cooperating while agents learn by LASE, [step, agent]."""
    logits = torch.stack((log_odds, torch.zeros(2)), -1)
    path = [logits.softmax(-1)]
    for _ in range(steps):
        logits = learn_step(logits, with_gratitude(table, path[-1], perspective))
        path.append(logits.softmax(-1))
    return torch.stack(path)[..., 0]


# %% tags=["hide-input"]
GRID = torch.linspace(0.04, 0.96, size(16, fast=4))
STARTS = (((0.6, 0.5), BLUE, "-"), ((0.2, 0.3), PURPLE, "--"))


def directions(table, perspective):
    """Changes of both probabilities of cooperating, [agent, agent 1's, agent 0's]."""
    change = torch.zeros(2, len(GRID), len(GRID))
    for row, q in enumerate(GRID):
        for column, p in enumerate(GRID):
            policy = torch.stack((torch.stack((p, 1 - p)), torch.stack((q, 1 - q))))
            logits = policy.log()
            effective = with_gratitude(table, policy, perspective)
            new = learn_step(logits, effective, rate=0.01).softmax(-1)
            change[:, row, column] = new[:, 0] - policy[:, 0]
    return change.numpy()


def draw_gratitude(shift, temptation):
    table = dilemma(R + shift, S + shift, temptation + shift, P + shift)
    _, both = plt.subplots(1, 2, figsize=(11, 4.9), sharey=True)
    words = {"own": "assumed: its own policy", "true": "known: the other's policy"}
    for axes, perspective in zip(both, words, strict=True):
        look = {"color": GRAY, "density": 0.8, "linewidth": 1}
        points = GRID.numpy()
        axes.streamplot(points, points, *directions(table, perspective), **look)
        for start, color, dashes in STARTS:
            odds = torch.tensor(start).logit()
            path = gratitude(table, odds, perspective, size(300, fast=5))
            axes.plot(*path.T, color=color, linestyle=dashes)
            axes.plot(*path[0], "o", color=color)
            axes.plot(*path[-1], "s", color=color, markersize=9, clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title=words[perspective])
        axes.set_xlabel("probability that agent 0 cooperates")
    both[0].set_ylabel("probability that agent 1 cooperates")
    plt.show()


# %%
explore(draw_gratitude, shift=(-6.0, 2.0, 0.5, 0.0), temptation=(4.5, 8.0, 0.25, 5.0))

# %% [markdown]
# And from random initial policies: the agent that cooperates more often after learning, and the other one.


# %%
def outcome(p, perspective):
    """Probability, reward and effective reward, [3, agent], sorted by the first."""
    policy = torch.stack((p, 1 - p), -1)
    table = with_gratitude(pay, policy, perspective)
    rewards = expected(policy.log(), pay), expected(policy.log(), table)
    return torch.stack((p, *rewards))[:, p.argsort(descending=True)]


first = torch.randn(SEEDS, 2, generator=torch.Generator().manual_seed(0))
rows = ["| assumed policy | agent | cooperates | reward | effective reward |"]
rows.append("|---|---|---|---|---|")
for perspective, words in (("own", "its own"), ("true", "the other's, known")):
    steps = size(400, fast=5)
    ends = [gratitude(pay, start, perspective, steps)[-1] for start in first]
    found = torch.stack([outcome(p, perspective) for p in ends])
    for agent, which in enumerate(("cooperates more", "cooperates less")):
        columns = " | ".join(over_seeds(found[:, k, agent]) for k in range(3))
        rows.append(f"| {words} | {which} | {columns} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# If agents know each other's policies, both converge to the same mixed strategy (exercise 3 asks which): an
# agent that *always* cooperates earns no gratitude, since the other agent expects it. If each assumes its own
# policy for the other agent, that point is a saddle. The agent that cooperates less also expects less, and is
# more grateful. So the policies diverge: one agent cooperates; the other defects and pays for it. The
# defector hardly expects the cooperation that it always gets, so after sharing the cooperator has far more.

# %% [markdown]
# ## Shifted payoffs
#
# Subtract 6 from all payoffs: $(-2, -6, -1, -5)$. Best responses do not change, so it is the same dilemma.
# But all rewards are now negative, and a share of a reward is a share of a *loss*. Which methods are
# affected? We add the methods of lessons 5 and 6: `tos` (learned sharing), `gifting` and `lio`.

# %%
LOWER, lower = -6.0, {}
METHODS = ("selfish", "gifting", "d3c", "lase", "lio", "tos")
for name in METHODS:
    if name not in runs:
        runs[name] = learning_curves(build(name), STEPS)
    lower[name] = learning_curves(build(name, LOWER), STEPS)


def normalized(found, shift):
    """Welfare after learning: 0 at mutual defection, 1 at mutual cooperation."""
    return (found["welfare"][-1] - 2 * shift - 2 * P) / (2 * R - 2 * P)


# %% tags=["hide-input"]
KINDS = (("o", "original payoffs"), ("s", "all payoffs minus 6"))
figure, axes = plt.subplots()
for row, (name, look) in enumerate(looks(list(METHODS)).items()):
    mark(axes, normalized(runs[name], 0.0), row - 0.13, look, "o")
    mark(axes, normalized(lower[name], LOWER), row + 0.13, look, "s")
for marker, words in KINDS:
    axes.plot([], [], marker, color=BLACK, label=words)
axes.set(yticks=range(len(METHODS)), yticklabels=METHODS, xlim=(-0.1, 1.05))
axes.set_xlabel("normalized welfare (0: mutual defection, 1: mutual cooperation)")
axes.invert_yaxis()
figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2)
plt.show()

# %% [markdown]
# * `lio`, `gifting` and `tos` depend on *differences* between payoffs, in which the constant cancels.
# * `lase` gives away a share of the reward. If the reward is negative, gratitude hurts: an agent passes a
#   share of its loss to the agent that helped it.
# * `d3c` measures losses from an upper bound of all values. The library takes 0 if all payoffs are negative,
#   and otherwise a number above them, so it is hardly affected. But the distance of the bound from the
#   payoffs is a setting, and so is the learning rate of the weights:

# %%
rows = ["| D3C | welfare |", "|---|---|"]
for words, settings in (
    ("as above: bound 10, rate 30", {}),
    ("bound 20", {"loss_bound": 20.0}),
    ("bound 100", {"loss_bound": 100.0}),
    ("rate 3", {"mixing_learning_rate": 3.0}),
):
    found = learning_curves(build("d3c", **settings), STEPS)
    rows.append(f"| {words} | {over_seeds(found['welfare'][-1])} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# If the bound is far above the payoffs, losses hardly differ *relative* to their size, and growth rates are
# small. So the weights change more slowly than the policies, and agents learn to defect before they care. A
# small learning rate of the weights has the same effect.

# %% [markdown]
# ## Comparison
#
# *Created reward* is the total effective reward minus the total reward of the game, after learning. The
# column "shifted" is the welfare with all payoffs lowered by 6, plus 12 for comparison.

# %%
NEEDS = {  # chosen by, depends on, conserves the total, requires
    "selfish": "- | - | yes | nothing",
    "gifting": "giver's policy | giver's action | yes | gifts received",
    "d3c": "each receiver | nothing | no | all rewards; here all gradients",
    "lase": "a fixed rule | joint action | yes | others' actions, own values",
    "lio": "each giver | receiver's action | no | others' actions and policies",
    "tos": "gradient of the welfare | nothing | yes | all rewards and policies",
}


def created(name, found):
    """Total effective reward minus total reward of the game, after learning, [seed]."""
    if name == "lio":
        return 2 * found["given"][-1]  # the mean over agents, of payments to one other
    if name == "d3c":
        extra = [found[f"share_{i}_0"] + found[f"share_{i}_1"] - 1 for i in (0, 1)]
        return sum(extra[i][-1] * found[f"return_{i}"][-1] for i in (0, 1))
    return torch.zeros(SEEDS)


head = "method | chosen by | depends on | conserves | requires | created | welfare"
rows = [f"| {head} | shifted |", "|" + "---|" * 8]
for name, words in NEEDS.items():
    shifted = lower[name]["welfare"][-1] - 2 * LOWER
    numbers = created(name, runs[name]), runs[name]["welfare"][-1], shifted
    rows.append(f"| {name} | {words} | {' | '.join(map(over_seeds, numbers))} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# Only LIO and sharing achieve nearly all of the gain, for both agents. LIO creates reward unless givers are
# charged (lesson 6), and sharing needs a common objective, the welfare. LASE conserves the total and needs
# the least information of the four that help, but depends on the zero of the payoffs. The numbers hold for
# this game, these settings and this length of training. (`docs/how-to/compare-methods.md` and
# `docs/studies/grid-dilemmas.md` have other games, on some of which the ranking differs. Do not compare
# speeds: LIO learns from sampled episodes.)

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/07_empathy_and_mixing.py`.
#
# **Exercise 1 (warm up).** Which share of its reward does an agent give to one other agent by LASE? `values`:
# its reward for each action of the other agent, given its own action; `assumed`: the policy that it assumes
# for the other agent (both are tensors, [action of the other agent]); `action`: the index of the other
# agent's action. Consider the case in which the other agent's action makes no difference.


# %% tags=["exercise-1"]
def share_given(values, assumed, action):
    return ...


# %% tags=["check-1"]
check_1(share_given)

# %% [markdown]
# **Exercise 2 (win, stay; lose, shift).** Differentiate D3C's bound $\rho_i$ with respect to agent $i$'s row
# by hand. `row` contains the weights $A_{ij}$, `loss` the losses $f_j$, and `change` the rates $\dot f_j$
# by the learning of the other agents. All are tensors, [agent $j$]; `change` does not depend on $i$'s row.
# Return the derivatives with respect to the weights, without autograd, for any number of agents.


# %% tags=["exercise-2"]
def row_slope(row, loss, change):
    return ...


# %% tags=["check-2"]
check_2(row_slope)

# %% [markdown]
# **Exercise 3 (the mixed fixed point).** LASE with the other agent's policy known, in a dilemma with $R > S$
# and $T > P$. Both cooperate with the same probability $p$. At which $p$ between 0 and 1 does learning
# converge? (Which share does an agent give if the other agent cooperates, and which if not? What is then the
# effective reward of cooperating, and of defecting?)


# %% tags=["exercise-3"]
def fixed_point(R, S, T, P):
    return ...


# %% tags=["check-3"]
check_3(fixed_point, with_gratitude, learn_step)

# %% [markdown]
# **For discussion.** (a) LASE expects the other agent to act like oneself. When is this assumption wrong for
# people? (b) D3C's weights stop when no agent's learning increases the other's mixed loss. Would you add
# fairness to the bound, and how? (c) Which of the methods in the table could run on robots of two
# manufacturers that share no code?

# %% [markdown]
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. Why does certain cooperation earn no gratitude if it is known?</summary>
#
# The share is the reward minus the *expected* reward, divided by the range. If cooperation is certain, the
# expected reward is the reward itself, and the share is 0.
#
# </details>
#
# <details><summary>2. Why does D3C stop at an unequal outcome?</summary>
#
# The weights change only while the other agent's learning increases an agent's mixed loss. The cooperator
# has a large weight on the defector's loss, so the defector's learning does not increase the cooperator's
# mixed loss, although it costs the cooperator reward. And the cooperator's learning helps the defector. So
# $\rho = 1$ for both, and its gradient is 0.
#
# </details>
#
# <details><summary>3. Which methods does a constant added to all payoffs affect, and why?</summary>
#
# LASE, because it shares the reward itself: a share of a negative reward is a punishment. The others depend
# on differences between payoffs, or, as D3C, choose the zero by an upper bound of the values.
#
# </details>

# %% [markdown]
# ## What to read
#
# * Kong and others, *Learning to balance altruism and self-interest based on empathy in mixed-motive games*,
#   arXiv 2410.07863: LASE. In this toolkit: `docs/explanation/empathy.md`.
# * Gemp and others, *D3C: Reducing the price of anarchy in multi-agent learning*, arXiv 2010.00575; the
#   docstring of `bilevel.methods.D3C` says which parts of the rule were checked against it.
# * In this toolkit: `docs/how-to/compare-methods.md`, eight methods on one game; `bilevel methods`, all of
#   them.
# * Next: `08_zero_sum`, where the interests of two agents are opposed.
