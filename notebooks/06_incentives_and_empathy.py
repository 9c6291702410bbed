# %% [markdown]
# # 6. Incentives and empathy
#
# **What if agents pay other agents for their actions, or have empathy?**
#
# In lesson 5 agents learn to share their rewards, whatever the other agents do. There are other ways to give
# agents an interest in each other's rewards. An agent can *pay* for the other's actions. It can be *grateful*
# for them. It can *care* about the other's losses. Or it can make *gifts*. This lesson compares four methods,
# one of each kind, on one dilemma: what is paid, to whom, at whose cost, and which information the method
# needs.

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
from IPython.display import Markdown, display

import bilevel
from bilevel.experiments import interquartile_interval
from bilevel.lessons import BLACK, BLUE, GRAY, PURPLE
from bilevel.lessons import draw_band, explore, size, use_style
from bilevel.lessons.checks.incentives_and_empathy import check_1, check_2, check_3
from bilevel.lessons.checks.incentives_and_empathy import check_4
from bilevel.methods import Placement
from bilevel.report import looks
from games.matrix import SymmetricTwoAgentGame

use_style()
torch.set_default_dtype(torch.float64)

R, S, T, P = (
    4.0,
    0.0,
    5.0,
    1.0,
)  # payoffs: mutual cooperation, sucker's, temptation, mutual defection
SEEDS, STEPS = size(16, fast=3), size(80, fast=2)
EXACT = {"inner.exact": True, "inner.learning_rate": 1.0, "inner.entropy_coef": 0.0}
METHODS = {  # label, settings that differ from the library's presets
    "selfish": ("selfish", {}),
    "gifting": ("gifting: gifts as actions", {}),
    "d3c": ("D3C: mixed losses", {}),
    "lase": ("LASE: gratitude", EXACT),
    "lio": ("LIO: incentives", {}),
    "tos": ("ToS: sharing (lesson 5)", {}),
}
LOOKS = looks(list(METHODS))
"""Color, dashes and marker of each method, as in all figures of this project."""


def dilemma(shift=0.0):
    """The prisoner's dilemma of this lesson, with a constant added to all payoffs."""
    return SymmetricTwoAgentGame(
        reward=R + shift, sucker=S + shift, temptation=T + shift, punishment=P + shift
    )


def build(name, shift=0.0, **changes):
    method = bilevel.default_config("prisoners-dilemma-lase", name).method
    method = method.with_settings({**METHODS[name][1], **changes})
    return method.build(dilemma(shift), Placement(seeds=SEEDS))


def train(name, shift=0.0, **changes):
    """Metrics during learning: name -> [outer step, seed]."""
    learner = build(name, shift, **changes)
    state, rows = learner.init(seed=0), []
    for _ in range(STEPS):
        state, metrics = learner.update(state)
        rows.append(metrics)
    found = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
    if name == "d3c":
        weights = learner.transfer(
            state["phi"]
        ).weights  # [seed, receiver, whose reward]
        found["total_weight"] = weights.sum(1)
    return found


def middle(samples):
    """The interquartile mean over seeds, and its 95 % interval."""
    found = interquartile_interval(samples.reshape(1, -1).numpy(), resamples=500)
    return float(found.estimate[0]), float(found.low[0]), float(found.high[0])


# %% [markdown]
# ## A picture of the answer
#
# A prisoner's dilemma with $(R, S, T, P) = (4, 0, 5, 1)$: the payoffs of mutual cooperation, of cooperating
# alone, of defecting alone, and of mutual defection. Left: the welfare during learning. Right: the total
# *effective reward*, which the agents maximize, minus the total reward of the game, after learning. Some
# methods only redistribute reward; others create it.


# %%
def created(name, found):
    """Total effective reward minus total reward of the game, after learning, [seed]."""
    if name == "lio":
        return found["incentive_0_1"][-1] + found["incentive_1_0"][-1]
    if name == "d3c":
        returns = torch.stack((found["return_0"][-1], found["return_1"][-1]), -1)
        return ((found["total_weight"] - 1) * returns).sum(-1)
    return torch.zeros_like(found["welfare"][-1])  # the giver pays; verified below


runs = {name: train(name) for name in METHODS}


# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), width_ratios=(3, 2))
left.axhline(2 * R, color=GRAY, linewidth=1, label="social optimum")
for row, (name, found) in enumerate(runs.items()):
    draw_band(
        left,
        range(1, STEPS + 1),
        found["welfare"],
        label=METHODS[name][0],
        **LOOKS[name],
    )
    estimate, low, high = middle(created(name, found))
    right.barh(row, estimate, color=LOOKS[name]["color"], height=0.6)
    right.errorbar(
        estimate,
        row,
        xerr=[[estimate - low], [high - estimate]],
        color=BLACK,
        capsize=4,
    )
left.set(xlabel="outer step", ylabel="welfare (sum of both rewards)", ylim=(1.5, 8.3))
figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=4)
right.set(
    xlabel="created reward (effective - game; no bar: 0)",
    yticks=range(len(runs)),
    yticklabels=list(runs),
)
right.invert_yaxis()
plt.show()
print(
    f"gifting: gifts per agent after learning "
    f"{middle(runs['gifting']['given'][-1])[0]:.2f}"
)
for name in ("d3c", "lase", "lio"):
    both = torch.stack((runs[name]["return_0"][-1], runs[name]["return_1"][-1]))
    larger, smaller = (
        "{:.2f} [{:.2f}, {:.2f}]".format(*middle(x))
        for x in (both.amax(0), both.amin(0))
    )
    print(f"{name:5} rewards after learning: larger {larger}, smaller {smaller}")

# %% [markdown]
# (Interquartile means over 16 seeds, and 95 % intervals. The welfare of mutual cooperation is 8, that of
# mutual defection is 2. Do not compare speeds: LIO learns from sampled episodes and explores, the others
# use exact expected values.)
#
# Gifts do not help here: a gift does not depend on the other's action, so agents soon learn not to give.
# Gratitude (LASE) and mixed losses (D3C) achieve about half of the possible gain: one agent cooperates, and
# the other exploits it. Incentives for the other's actions (LIO) and sharing (ToS) achieve nearly all of the
# gain, for both agents.
#
# ## The idea in words
#
# * **Gifts as actions** (*gifting*). Every action exists twice: without a gift, and with a gift $g$ to the
#   other agent. Giving is part of the action, and is learned like any other behavior. There is no outer loop.
# * **LIO**, *learning to incentivize others*. Each agent has a table of incentives: its payment to the other
#   agent for each action. It learns the table by the hypergradient of its own reward through the other's
#   learning step.
# * **LASE**, *empathy*. A fixed rule, not learned: if your action was better for me than I expected, I give
#   you a share of my reward. I predict your action by my own policy in your place.
# * **D3C**, *mixed losses*. Each agent minimizes a weighted sum of its own loss and the other's. It changes
#   the weights while the other's learning increases its loss, and keeps them otherwise ("win, stay; lose,
#   shift").
#
# For comparison there is `tos`, the method of lesson 5, whose shares do not depend on actions.

# %% [markdown]
# ## The key equation
#
# $r_i$ is agent $i$'s payoff in the game, $a$ the joint action, and $\tilde r_j$ the effective reward that
# $j$ maximizes. All four methods have the form
#
# $$\boxed{\ \tilde r_j = \sum_i W_{ij}(a)\, r_i + \sum_{i \ne j} G_{ij}(a) - \text{payments by } j \text{, if
# givers pay}\ }$$
#
# with a *share* $W_{ij}$ of $i$'s reward that $j$ receives (lesson 5's $T_{ij}$; here $T$ is the
# temptation) and a *payment* $G_{ij}$ from $i$ to $j$. The total is conserved if the rows of $W$ sum to 1
# and the givers pay.
#
# | method | $W_{ij}$ | $G_{ij}$ | chosen by |
# |---|---|---|---|
# | gifting | own reward only | $g$ if $i$ gives | $i$'s policy |
# | LIO | own reward only | $\eta_i(a_j)$, from 0 to 2 | gradient of $i$'s return *after* $j$'s update |
# | LASE | $\max(w_{ij}, 0)$; the rest is kept | 0 | a fixed rule (below) |
# | D3C | $A_{ji}$: the *receiver's* weight | 0 | each receiver, by the gradient of an upper bound (below) |
#
# LIO's $\eta_i(a_j)$ (eta) is the incentive that $i$ pays for $a_j$. Its gradient is lesson 1's chain rule
# with one step: $V_i$ is $i$'s expected reward (without payments), $\theta_j'$ is $j$'s policy after a
# step, and
#
# $$\frac{dV_i}{d\eta_i} = \underbrace{\frac{\partial V_i}{\partial \theta_j'}}_{\text{effect of } j
# \text{'s policy on } i} \cdot \underbrace{\frac{\partial \theta_j'}{\partial
# \eta_i}}_{\text{effect of the incentives on } j\text{'s policy}}.$$
#
# LASE's $w_{ij} = (Q_i(a) - b_{ij})\, /\, (\max Q_i - \min Q_i)$, with $Q_i$ the expected reward of $i$,
# $b_{ij}$ the mean of $Q_i$ under the policy that $i$ assumes for $j$, and the maximum and minimum over
# $j$'s actions.
#
# D3C uses losses $f_j = \text{bound} - V_j$, which are positive as no value reaches the bound, and mixes
# them: $f_i^A = \sum_j A_{ij} f_j$ (rows of $A$ sum to 1). Gradient descent on the row $A_i$ minimizes
# $\rho_i$ (rho), a local upper bound of the price of anarchy:
#
# $$\rho_i = 1 + \max\Big(0,\ \frac{\text{growth rate of } f_i^A \text{ by the other agents' learning}}{f_i^A}
# \Big).$$

# %% [markdown]
# ## From scratch
#
# All four, with exact expected values, for two agents. The table `effective` [action of agent 0, action of
# agent 1, agent] contains the effective rewards; action 0 is to cooperate.

# %%


def learn_step(logits, effective, rate=1.0):
    """One gradient step of both agents on their effective rewards: new logits, [agent,
    action].

    Of two logits the second is fixed at 0.
    """
    chance = logits.softmax(-1)
    value = torch.stack((effective[..., 0] @ chance[1], chance[0] @ effective[..., 1]))
    slope = chance * (value - (chance * value).sum(-1, keepdim=True))
    free = torch.ones(logits.shape[-1])
    free[-1] = logits.shape[-1] > 2
    return logits + rate * slope * free


def expected(logits, pay):
    """Expected payoffs, [agent]."""
    chance = logits.softmax(-1)
    return torch.einsum("a,abi,b->i", chance[0], pay, chance[1])


def with_gifts(pay, gift):
    """Gifting: effective rewards of the actions C, D, C and give, D and give."""
    gives = torch.tensor([0.0, 0.0, gift, gift])
    net = gives[None, :] - gives[:, None]  # received by agent 0 minus given by agent 0
    return pay.repeat(2, 2, 1) + torch.stack((net, -net), -1)


def with_incentives(pay, incentives):
    """LIO: effective rewards under the incentives [giver, the other's action]."""
    to_0 = incentives[1][:, None].expand(2, 2)
    to_1 = incentives[0][None, :].expand(2, 2)
    return pay + torch.stack((to_0, to_1), -1)


def with_gratitude(pay, chance, perspective="own"):
    """LASE: effective rewards, by the policy that each agent assumes for the other; no
    gradient through w.
    """
    assumed = chance if perspective == "own" else chance.flip(0)

    def share(own, policy):  # own rewards [own action, the other's action]
        spread = own.amax(1, keepdim=True) - own.amin(1, keepdim=True)
        return ((own - (own @ policy)[:, None]) / spread).clamp(0, 1)

    share_0, share_1 = (
        share(pay[..., 0], assumed[0]),
        share(pay[..., 1].T, assumed[1]).T,
    )
    to_0 = share_1 * pay[..., 1] - share_0 * pay[..., 0]
    return pay + torch.stack((to_0, -to_0), -1)


def with_weights(pay, weights):
    """D3C: effective rewards, sum_j A_ij r_j for agent i."""
    return pay @ weights.T


def d3c_slope(pay, logits, weights, bound=10.0):
    """Gradient of rho_i = 1 + relu(growth rate of i's mixed loss by the other's step),
    [agent, agent].
    """
    loss = bound - expected(logits, pay)  # above 0
    slopes = -torch.func.jacrev(expected)(logits, pay)[
        ..., 0
    ]  # [whose loss, whose logit]
    own_step = (
        (weights[:, :, None] * slopes).sum(1).diagonal()
    )  # each agent descends its mixed loss
    harm = (
        -(slopes * own_step).flip(1).T
    )  # [i, j]: change of loss j by the step of the agent other than i
    mixed = weights @ loss
    growth = (weights * harm).sum(1) / mixed
    return (growth > 0)[:, None] * (harm - growth[:, None] * loss) / mixed[:, None]


def lio_slope(incentives, logits, pay):
    """Hypergradient of each giver's own reward after the other's next step, [giver,
    action of the other].
    """

    def after(incentives):
        return expected(learn_step(logits, with_incentives(pay, incentives)), pay)

    return torch.func.jacrev(after)(incentives)[[0, 1], [0, 1]]


pay = dilemma().payoffs()
chance = torch.tensor([[0.3, 0.7], [0.6, 0.4]])
weights = torch.tensor([[0.8, 0.2], [0.3, 0.7]])
effective = {
    "gifting": with_gifts(pay, 1.0),
    "LIO": with_incentives(pay, torch.tensor([[1.2, 0.1], [0.7, 0.3]])),
    "LASE": with_gratitude(pay, chance),
    "D3C": with_weights(pay, weights),
}
for name, table in effective.items():
    total = pay.sum(-1).repeat(2, 2) if name == "gifting" else pay.sum(-1)
    extra = table.sum(-1) - total
    print(
        f"{name:8} effective minus game reward, total: {extra.min():+.2f} to "
        f"{extra.max():+.2f}"
    )

# %% [markdown]
# Gifting and LASE conserve the total reward of every joint action; LIO and D3C do not. (LIO conserves it with
# `--cost charged`, which charges the givers. D3C would conserve it if the columns of $A$ summed to 1 like its
# rows, but nothing enforces that.)
#
# ## The library's version
#
# First single steps, then whole runs of 40 outer steps from the same initial policies: seed 0 of the
# library's learners, and the functions above.

# %%
from bilevel import BilevelProblem, Unrolled, inner_step_per_agent
from bilevel.methods import anarchy_bound, gift_weights, loss_bound, relationships
from bilevel.optimizers import sgd
from games import gift_actions

game = dilemma()
print("equal to the library's:")
print(
    "gifting, payoff table",
    torch.equal(gift_actions(game, amount=1.0).payoffs(), with_gifts(pay, 1.0)),
)

values = torch.stack(
    (pay[0, :, 0].expand(2, 2), pay[:, 1, 1].expand(2, 2))
)  # for the actions C, D
shares = gift_weights(
    relationships(values, chance[:, None].expand(2, 2, 2), torch.tensor([0, 1])),
    torch.ones(2, 2, dtype=torch.bool),
)
print(
    "LASE, rewards of C, D",
    torch.allclose(pay[0, 1] @ shares, with_gratitude(pay, chance)[0, 1]),
)

logits = torch.stack((chance[:, 0].logit(), torch.zeros(2)), -1)
jacobian = -torch.func.jacrev(expected)(logits, pay)[None, ..., :1]
bound = loss_bound(game, None)
print("D3C, bound           ", bound == 10)
by_library = anarchy_bound(
    weights[None], bound - expected(logits, pay)[None], jacobian
).slope[0]
print(
    "D3C, gradient of rho ", torch.allclose(by_library, d3c_slope(pay, logits, weights))
)


def inner_loss(own, others, incentives, data):
    own, others = (torch.stack((logit, torch.zeros(2)), -1) for logit in (own, others))
    effective = with_incentives(pay, incentives)
    agent_0 = expected(torch.stack((own[0], others[1])), effective)[0]
    agent_1 = expected(torch.stack((others[0], own[1])), effective)[1]
    return -torch.stack((agent_0, agent_1))


def outer_loss(theta, incentives, data):
    return -expected(torch.stack((theta, torch.zeros(2)), -1), pay)[
        0
    ]  # agent 0's own reward


inner, incentives = sgd(1.0), torch.tensor([[1.2, 0.1], [0.7, 0.3]])
problem = BilevelProblem(
    step=inner_step_per_agent(inner_loss, inner), outer_loss=outer_loss
)
by_library = -Unrolled()(
    problem, logits[:, 0], inner.init(logits[:, 0]), incentives, steps=1
).gradient[0]
print(
    "LIO, hypergradient   ",
    torch.allclose(by_library, lio_slope(incentives, logits, pay)[0]),
)


def run(name, state, steps):
    """Welfare by outer step with the functions above, from the initial state of a
    library run.
    """
    theta = state["theta"][0]
    logits = theta if name == "gifting" else torch.cat((theta, torch.zeros(2, 1)), -1)
    log_weights, welfare = torch.tensor([[0.99, 0.01], [0.01, 0.99]]).log(), []
    for _ in range(steps):
        weights = log_weights.softmax(-1)
        effective = {
            "gifting": lambda: with_gifts(pay, 1.0),
            "lase": lambda: with_gratitude(pay, logits.softmax(-1)),
            "d3c": lambda: with_weights(pay, weights),
        }[name]()
        logits = learn_step(logits, effective)
        if (
            name == "d3c"
        ):  # gradient descent, slightly regularized toward the own loss; floor e^-8
            slope = d3c_slope(pay, logits, weights) - 1e-6 * torch.diag(
                1 / weights.diagonal()
            )
            log_weights = (weights.log() - 30 * slope).log_softmax(-1).clamp(min=-8)
        table = with_gifts(pay, 1.0) if name == "gifting" else pay
        welfare.append(expected(logits, table).sum())
    return torch.stack(welfare)


for name in ("gifting", "lase", "d3c"):
    start, steps = build(name).init(seed=0), min(40, STEPS)
    same = torch.allclose(run(name, start, steps), runs[name]["welfare"][:steps, 0])
    print(f"{name}, welfare in {steps} outer steps of seed 0: {same}")

# %% [markdown]
# (The LIO runs above sample episodes and use incentive networks; from scratch we only have the
# hypergradient.)
#
# ## Where gifts help
#
# In the stag hunt there is only fear: hunting the stag is the best response to a hunter, and the
# alternative is to *forage*, which gives 1 whatever the other does. Here $(R, S, T, P) = (2, -2, 1, 1)$,
# and a gift is worth 10, paid by the giver or from an external budget.

# %%
HUNT_SEEDS, hunt = (
    size(400, fast=4),
    SymmetricTwoAgentGame(reward=2, sucker=-2, temptation=1, punishment=1),
)
for words, name, settings in (
    ("no gifts", "selfish", {}),
    ("gifts of 10, paid by the giver", "gifting", {"amount": 10.0}),
    ("gifts of 10, external budget", "gifting", {"amount": 10.0, "budget": "fixed"}),
):
    method = bilevel.default_config("stag-hunt-gifting", name).method.with_settings(
        settings
    )
    learner = method.build(hunt, Placement(seeds=HUNT_SEEDS))
    state = learner.init(seed=0)
    for _ in range(STEPS):
        state, metrics = learner.update(state)
    share, z = float((metrics["welfare"] > 3.5).double().mean()), 1.96**2 / HUNT_SEEDS
    center, half = (
        (share + z / 2) / (1 + z),
        (z * share * (1 - share) + z**2 / 4) ** 0.5 / (1 + z),
    )
    gifts = f"; final gifts {metrics['given'].mean():.2f}" if "given" in metrics else ""
    low, high = 100 * (center - half), 100 * (center + half)
    print(
        f"{words:32}both hunt in {100 * share:.1f} % of seeds [{low:.1f}, "
        f"{high:.1f}]{gifts}"
    )

# %% [markdown]
# If givers pay, agents learn to give nothing, and yet more of them hunt. One explanation: the gradient of an
# action's logit is its probability times its *advantage*, its value minus the mean value under the policy.
# Giving is so costly that both hunting and foraging without a gift have a large advantage. Both become more
# likely, the more likely one faster, before the difference between the two matters. So the result depends
# more on the initial policies, and less on fear. (The brackets are Wilson's 95 % intervals. Agents with gifts
# have four initial logits, not two, so the fair comparison is between the last two lines.)
#
# ## Shifted payoffs
#
# Subtract 6 from all payoffs: $(-2, -6, -1, -5)$. Best responses do not change, so it is the same dilemma.
# But all rewards are now negative, and a share of a reward is a share of a *loss*. Which methods are
# affected?

# %%
LOWER = -6.0
lower = {name: train(name, LOWER) for name in METHODS}


# %% tags=["hide-input"]
figure, axes = plt.subplots()
for row, name in enumerate(METHODS):
    for found, shift, marker, offset in (
        (runs, 0.0, "o", -0.12),
        (lower, LOWER, "s", 0.12),
    ):
        estimate, low, high = middle(
            (found[name]["welfare"][-1] - 2 * shift - 2 * P) / (2 * R - 2 * P)
        )
        error = [[estimate - low], [high - estimate]]
        axes.errorbar(
            estimate,
            row + offset,
            xerr=error,
            color=LOOKS[name]["color"],
            marker=marker,
            capsize=4,
            markersize=8,
        )
for marker, words in (("o", "original payoffs"), ("s", "all payoffs minus 6")):
    axes.plot([], [], marker, color=BLACK, label=words)
axes.set(
    yticks=range(len(METHODS)),
    yticklabels=[words for words, _ in METHODS.values()],
    xlim=(-0.1, 1.05),
)
axes.set_xlabel("normalized welfare (0: mutual defection, 1: mutual cooperation)")
axes.invert_yaxis()
axes.legend(loc="upper right")
plt.show()

# %% [markdown]
# * LIO, gifting and `tos` depend on *differences* between payoffs, in which the constant cancels.
# * LASE gives away a share of the reward. If the reward is negative, gratitude hurts: an agent passes a share
#   of its loss to the agent that helped it.
# * D3C measures losses from an upper bound of all values. The library uses 0 if all payoffs are negative, and
#   otherwise a number above them, so D3C is hardly affected either.

# %% [markdown]
# ## Play: gratitude
#
# The learning dynamics of LASE. The arrows are the directions of the agents' learning steps. The colored
# lines are two trajectories, each from its dot to its square. Left, each agent assumes that the other has
# its *own* policy (perspective taking, the published method); right, it knows the other's policy
# (`--perspective true-policy`). Shift the payoffs, or increase the temptation.


# %% tags=["hide-input"]
def draw_gratitude(shift, temptation):
    own = torch.tensor([[R, S], [temptation, P]]) + shift
    table = torch.stack((own, own.T), -1)
    grid = torch.linspace(0.04, 0.96, size(20, fast=4))
    _, both = plt.subplots(1, 2, figsize=(11, 4.9), sharey=True)
    for axes, perspective, words in zip(
        both,
        ("own", "true"),
        ("assumed: its own policy", "known: the other's policy"),
        strict=True,
    ):
        change = torch.zeros(len(grid), len(grid), 2)
        for row, q in enumerate(grid):
            for column, p in enumerate(grid):
                chance = torch.stack((torch.stack((p, 1 - p)), torch.stack((q, 1 - q))))
                after = learn_step(
                    chance.log(), with_gratitude(table, chance, perspective), rate=0.01
                )
                change[row, column] = after.softmax(-1)[:, 0] - chance[:, 0]
        points = grid.numpy()
        axes.streamplot(
            points,
            points,
            *change.movedim(-1, 0).numpy(),
            color=GRAY,
            density=0.8,
            linewidth=1,
        )
        for start, color, dashes in (
            ((0.6, 0.5), BLUE, "-"),
            ((0.2, 0.3), PURPLE, "--"),
        ):
            path = gratitude(
                table, torch.tensor(start).logit(), perspective, size(300, fast=5)
            )
            axes.plot(*path.T, color=color, linestyle=dashes)
            axes.plot(*path[0], "o", color=color)
            axes.plot(*path[-1], "s", color=color, markersize=9, clip_on=False)
        axes.set(
            xlim=(0, 1),
            ylim=(0, 1),
            aspect="equal",
            title=words,
            xlabel="probability that agent 0 cooperates",
        )
    both[0].set_ylabel("probability that agent 1 cooperates")
    plt.show()


def gratitude(table, log_odds, perspective, steps):
    """Both agents' probabilities of cooperating while they learn by LASE, [step,
    agent].
    """
    logits = torch.stack((log_odds, torch.zeros(2)), -1)
    path = [logits.softmax(-1)]
    for _ in range(steps):
        logits = learn_step(logits, with_gratitude(table, path[-1], perspective))
        path.append(logits.softmax(-1))
    return torch.stack(path)[..., 0]


# %%
explore(draw_gratitude, shift=(-6.0, 2.0, 0.5, 0.0), temptation=(4.5, 8.0, 0.25, 5.0))

# %% [markdown]
# And from random initial policies, for the agent that cooperates more often and for the other:

# %%
first = torch.randn(SEEDS, 2, generator=torch.Generator().manual_seed(0))
for perspective in ("own", "true"):
    ends = torch.stack(
        [gratitude(pay, start, perspective, size(400, fast=5))[-1] for start in first]
    )
    larger, smaller = (
        "{:.2f} [{:.2f}, {:.2f}]".format(*middle(x))
        for x in (ends.amax(1), ends.amin(1))
    )
    print(
        f"assumed policy: {perspective:4}  probability of cooperating: {larger} and "
        f"{smaller}"
    )

# %% [markdown]
# If the agents know each other's policies, both converge to the same mixed policy (exercise 4 asks which):
# an agent that *always* cooperates earns no gratitude, since the other expects it. If each assumes its own
# policy for the other, this point is a saddle. The agent that cooperates less also expects less, and is
# more grateful. So the policies diverge: one agent cooperates; the other defects and pays for it.
#
# ## Comparison

# %%
NEEDS = {  # chosen by, depends on, total conserved, required information
    "selfish": ("-", "-", "yes", "nothing"),
    "gifting": (
        "the giver's policy",
        "the giver's action",
        "yes; no with a budget",
        "gifts received",
    ),
    "d3c": ("each receiver", "nothing", "no", "all rewards; here all gradients, too"),
    "lase": (
        "a fixed rule",
        "the last joint action",
        "yes",
        "the other's actions and their value",
    ),
    "lio": (
        "each giver",
        "the receiver's action",
        "no; yes if givers pay",
        "the other's actions and policy",
    ),
    "tos": ("gradient of the welfare", "nothing", "yes", "all rewards and policies"),
}
rows = [
    "| method | chosen by | depends on | conserves the total | requires | created | "
    "welfare | shifted |",
    "|---|---|---|---|---|---|---|---|",
]
for name, words in NEEDS.items():
    numbers = (
        created(name, runs[name]),
        runs[name]["welfare"][-1],
        lower[name]["welfare"][-1] - 2 * LOWER,
    )
    shown = ("{:.2f} [{:.2f}, {:.2f}]".format(*middle(number)) for number in numbers)
    rows.append(f"| {name} | {' | '.join(words)} | {' | '.join(shown)} |")
display(Markdown("\n".join(rows)))
charged = middle(train("lio", cost="charged")["welfare"][-1])
print("lio with charged givers: welfare {:.2f} [{:.2f}, {:.2f}]".format(*charged))

# %% [markdown]
# ("Requires": the required information. "Created": total effective reward minus total reward of the game,
# after learning. "Shifted": the welfare with all payoffs lowered by 6, plus 12 for comparison.
# Interquartile means over seeds with 95 % intervals. The numbers hold for this game, these settings and
# this length of training; `docs/how-to/compare-methods.md` and `docs/studies/grid-dilemmas.md` have other
# games, on some of which the ranking differs.)
#
# The last line shows that LIO does not need to create reward here: with charged givers the welfare is about
# the same. A giver's payment depends on the *other's* action, so it does not change the giver's own
# incentives.
#
# ## Exercises
#
# **Exercise 1 (warm up).** What is the smallest payment for cooperating that makes cooperating at least as
# good as defecting, whatever the other does?


# %% tags=["exercise-1"]
def minimal_payment(R, S, T, P):
    return ...


# %% tags=["check-1"]
check_1(minimal_payment)

# %% [markdown]
# **Exercise 2 (gratitude).** Which share of its reward does an agent give to one other agent by LASE?
# `values`: its reward for each action of the other, given its own action; `assumed`: the policy that it
# assumes for the other; `action`: the index of the other's action. Consider the case in which the other's
# action makes no difference.


# %% tags=["exercise-2"]
def share_given(values, assumed, action):
    return ...


# %% tags=["check-2"]
check_2(share_given)

# %% [markdown]
# **Exercise 3 (the hypergradient of LIO).** Let an agent's parameter be its probability of cooperating,
# $q$, itself: in a step it adds `rate` times the derivative of its effective reward in $q$. The effective
# reward includes a payment $\eta_C$ when it cooperates, $\eta_D$ when it defects. What are the derivatives
# of the *giver's* own expected reward after the step in $\eta_C$ and in $\eta_D$? After the step the giver
# cooperates with probability $p$. Return the pair.


# %% tags=["exercise-3"]
def hypergradient(R, S, T, P, p, rate):
    return ...  # by eta_C, by eta_D


# %% tags=["check-3"]
check_3(hypergradient)

# %% [markdown]
# **Exercise 4 (the mixed fixed point).** LASE with the other's policy known, in a dilemma with $R > S$ and
# $T > P$. Both cooperate with the same probability $p$. At which $p$ between 0 and 1 does learning
# converge? (Which share does an agent give if the other cooperates, and which if not? What is then the
# effective reward of cooperating, and of defecting?)


# %% tags=["exercise-4"]
def fixed_point(R, S, T, P):
    return ...


# %% tags=["check-4"]
check_4(fixed_point, with_gratitude, learn_step)

# %% [markdown]
# **For discussion.** (a) Two agents with LIO both pay up to 2 in each step, at no cost. What may happen in
# a game with small and rare rewards? (`docs/studies/grid-dilemmas.md` has the answer.) (b) LASE expects the
# other to act like oneself. When is this assumption wrong for people? (c) Which of the four could run on
# robots of two manufacturers that share no code, only a payment protocol?

# %% [markdown]
# ## What to read
#
# * Yang and others, *Learning to incentivize other learning agents*, arXiv 2006.06051: LIO.
# * Kong and others, *Learning to balance altruism and self-interest based on empathy in mixed-motive games*,
#   arXiv 2410.07863: LASE. In this toolkit: `docs/explanation/empathy.md`.
# * Gemp and others, *D3C: Reducing the price of anarchy in multi-agent learning*, arXiv 2010.00575; the
#   docstring of `bilevel.methods.D3C` says which parts of the rule were checked against it.
# * Lupu and Precup, *Gifting in multi-agent reinforcement learning*, AAMAS 2020; Wang and others, *Emergent
#   prosociality in multi-agent games through gifting*, arXiv 2105.06593.
# * In this toolkit: `docs/how-to/compare-methods.md`, eight methods on one game; `bilevel methods`, all of
#   them.
# * Next: `08_zero_sum`, where the interests of two agents are opposed.
