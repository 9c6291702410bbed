# %% [markdown]
# # 6. Incentives and empathy
#
# **What if agents pay for what others do, or feel for them?**
#
# Lesson 5's agents learn to give away a part of what they get, whatever the others do. There are other ways
# to make somebody else's business one's own. One can *reward* what the other does. One can be *grateful* for
# it. One can *suffer with* the other. Or one can hand over a present when one feels like it. Here are four
# methods that do these, on one dilemma, side by side: what each of them pays, to whom, out of whose pocket,
# and what it has to know.

# %%

import matplotlib.pyplot as plt
import torch
from checks.incentives_and_empathy import check_1, check_2, check_3, check_4
from IPython.display import Markdown, display
from lesson import AMBER, BLACK, BLUE, GREEN, PURPLE, RED, SKY, draw_band, explore, size, use_style

import bilevel
from bilevel.experiments import interquartile_interval
from bilevel.methods import Placement
from games.matrix import SymmetricTwoAgentGame

use_style()
torch.set_default_dtype(torch.float64)

R, S, T, P = 4.0, 0.0, 5.0, 1.0  # both cooperate, I alone do, I alone defect, both defect
SEEDS, ROUNDS = size(16, fast=3), size(80, fast=2)
EXACT = {"inner.exact": True, "inner.learning_rate": 1.0, "inner.entropy_coef": 0.0}
METHODS = {  # color, dashes, words, settings that are not the library's presets
    "selfish": (RED, (0, (1, 1)), "selfish", {}),
    "gifting": (PURPLE, (0, (5, 2)), "gifts as actions", {}),
    "d3c": (SKY, "-.", "D3C: suffer with the other", {}),
    "lase": (BLUE, (0, (8, 2)), "LASE: be grateful", EXACT),
    "lio": (AMBER, (0, (6, 2, 1, 2)), "LIO: reward the other", {}),
    "tos": (GREEN, "-", "lesson 5: share", {}),
}


def dilemma(shift=0.0):
    """The prisoner's dilemma of this lesson, with something added to all payoffs."""
    return SymmetricTwoAgentGame(
        reward=R + shift, sucker=S + shift, temptation=T + shift, punishment=P + shift
    )


def build(name, shift=0.0, **changes):
    method = bilevel.default_config("prisoners-dilemma-lase", name).method
    method = method.with_settings({**METHODS[name][3], **changes})
    return method.build(dilemma(shift), Placement(seeds=SEEDS))


def train(name, shift=0.0, **changes):
    """Metrics while learning: name -> [round, seed]."""
    learner = build(name, shift, **changes)
    state, rows = learner.init(seed=0), []
    for _ in range(ROUNDS):
        state, metrics = learner.update(state)
        rows.append(metrics)
    found = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
    if name == "d3c":
        weights = learner.transfer(state["phi"]).weights  # [seed, who feels, whose reward]
        found["felt_by_all"] = weights.sum(1)
    return found


def middle(samples):
    """The interquartile mean over seeds, and its 95 % interval."""
    found = interquartile_interval(samples.reshape(1, -1).numpy(), resamples=500)
    return float(found.estimate[0]), float(found.low[0]), float(found.high[0])


# %% [markdown]
# ## A picture of the answer
#
# A prisoner's dilemma with $(R, S, T, P) = (4, 0, 5, 1)$: what one gets if both cooperate, if one alone does,
# if one alone defects, and if both defect. Left: what both get together while they learn.
# Right: how much more the two *feel* that they get, in the end, than the game pays. Some methods only move
# rewards about; others create them.

# %%


def created(name, found):
    """What both feel together, beyond what the game pays them, in the end, [seed]."""
    if name == "lio":
        return found["incentive_0_1"][-1] + found["incentive_1_0"][-1]
    if name == "d3c":
        paid = torch.stack((found["return_0"][-1], found["return_1"][-1]), -1)
        return ((found["felt_by_all"] - 1) * paid).sum(-1)
    return torch.zeros_like(found["welfare"][-1])  # paid by who gives: the next section counts


runs = {name: train(name) for name in METHODS}
figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.6), width_ratios=(3, 2))
for row, (name, found) in enumerate(runs.items()):
    color, dashes, words, _ = METHODS[name]
    draw_band(left, range(1, ROUNDS + 1), found["welfare"], label=words, color=color, linestyle=dashes)
    estimate, low, high = middle(created(name, found))
    right.barh(row, estimate, color=color, height=0.6)
    right.errorbar(estimate, row, xerr=[[estimate - low], [high - estimate]], color=BLACK, capsize=4)
left.set(xlabel="rounds of learning", ylabel="welfare (reward of both)", ylim=(1.5, 8.3))
left.legend(loc="upper left", bbox_to_anchor=(0, 1.28), ncols=2)
right.set(
    xlabel="felt by both beyond what is paid (reward; no bar: 0)",
    yticks=range(len(runs)),
    yticklabels=list(runs),
)
right.invert_yaxis()
plt.show()
print(f"gifting: given in the end {middle(runs['gifting']['given'][-1])[0]:.2f} per agent")
for name in ("d3c", "lase", "lio"):
    both = torch.stack((runs[name]["return_0"][-1], runs[name]["return_1"][-1]))
    more, less = ("{:.2f} [{:.2f}, {:.2f}]".format(*middle(side)) for side in (both.amax(0), both.amin(0)))
    print(f"{name:5} in the end one agent gets {more}, the other {less}")

# %% [markdown]
# (Interquartile means over 16 seeds, and 95 % intervals. The most that two can get is 8; if both defect they
# get 2. Do not compare speeds: LIO learns from episodes and explores, the others know expected values.)
#
# Gifts do nothing here: a gift rewards the other whatever it did, and who gives soon learns not to. Gratitude
# and fellow suffering bring about half of what cooperation could add: one of the two cooperates, and the
# other lives on it.
# Prices for what the other does, and shares, bring nearly all of it to both.
#
# ## The idea in words
#
# * **Gifts as actions** (*gifting*). Every action comes twice: as it is, and with a gift $g$ to the other. To
#   give is to do; agents learn when, as they learn all else. Nobody is told to look ahead.
# * **LIO**, *learning to incentivise others*. Each agent has a price list: so much for you if you do this, so
#   much if you do that. It learns the list by asking what the *other will learn* from it, and what that
#   brings to itself: a meta-gradient through the other's learning step.
# * **LASE**, *empathy*. A rule, not learned: whoever just did more for me than I expected gets a part of my
#   reward. What I expect of you is what I would do in your place.
# * **D3C**, *suffering with*. Each agent mixes losses: its own, and a weight on the other's. While the
#   other's learning harms it, it shifts its weights; while all goes well, it leaves them ("win, stay; lose,
#   shift").
#
# Beside them stands `tos`, lesson 5's learner of shares that depend on nothing.

# %% [markdown]
# ## The key equation
#
# $r_i$ is what the game pays agent $i$, $a$ what all did, and $\tilde r_j$ what $j$ learns from. All four are
#
# $$\boxed{\ \tilde r_j = \sum_i W_{ij}(a)\, r_i + \sum_{i \ne j} G_{ij}(a) - \text{what } j \text{ gave, if
# givers pay}\ }$$
#
# with a *share* $W_{ij}$ of $i$'s reward that $j$ feels (lesson 5's $T_{ij}$; here $T$ is the temptation) and
# a *payment* $G_{ij}$ from $i$ to $j$. The total is conserved where rows of $W$ sum to 1 and payments are
# paid for.
#
# | | $W_{ij}$ | $G_{ij}$ | chosen by |
# |---|---|---|---|
# | gifting | own reward only | $g$ if $i$ gives | $i$'s policy |
# | LIO | own reward only | $\eta_i(a_j)$, from 0 to 2 | the slope of $i$'s own return *after* $j$ learned |
# | LASE | $\max(w_{ij}, 0)$; the rest is kept | 0 | a rule (below) |
# | D3C | $A_{ji}$: the *receiver's* weight | 0 | each receiver, by the slope of a bound of its own harm |
#
# LIO's $\eta_i(a_j)$ (eta) is $i$'s price for $a_j$. Its slope is lesson 1's chain rule with one step: $V_i$
# is $i$'s expected reward (not counting payments), $\theta_j'$ is $j$'s policy after a step, and
#
# $$\frac{dV_i}{d\eta_i} = \frac{\partial V_i}{\partial \theta_j'} \cdot \frac{\partial \theta_j'}{\partial
# \eta_i}: \quad \text{what your change is worth to me} \times \text{how my list changes you}.$$
#
# LASE's $w_{ij} = (Q_i(a) - b_{ij})\, /\, (\max Q_i - \min Q_i)$, with $Q_i$ what $i$ expects to get,
# $b_{ij}$ the mean of $Q_i$ over what $i$ takes $j$'s policy to be, and max and min over $j$'s actions.
#
# D3C counts in losses $f_j = \text{bound} - V_j$, above 0 as no value comes up to the bound, and mixes them:
# $f_i^A = \sum_j A_{ij} f_j$ (rows of $A$ sum to 1). The row $A_i$ descends $\rho_i$ (rho), a bound of what
# selfishness costs here:
#
# $$\rho_i = 1 + \max\Big(0,\ \frac{\text{how fast the others' learning makes } f_i^A \text{ grow}}{f_i^A}
# \Big).$$

# %% [markdown]
# ## From scratch
#
# All four, with exact expected values, on two agents. A table `felt` [action of agent 0, action of agent 1,
# agent] says what they learn from; action 0 is to cooperate.

# %%


def learn_step(logits, felt, rate=1.0):
    """Both climb what they feel; of two logits the second stays 0, of more all move. [agent, action]"""
    chance = logits.softmax(-1)
    value = torch.stack((felt[..., 0] @ chance[1], chance[0] @ felt[..., 1]))
    slope = chance * (value - (chance * value).sum(-1, keepdim=True))
    moving = torch.ones(logits.shape[-1])
    moving[-1] = logits.shape[-1] > 2
    return logits + rate * slope * moving


def expected(logits, pay):
    """What both get, [agent]."""
    chance = logits.softmax(-1)
    return torch.einsum("a,abi,b->i", chance[0], pay, chance[1])


def with_gifts(pay, gift):
    """Gifting: actions C, D, C and give, D and give."""
    gives = torch.tensor([0.0, 0.0, gift, gift])
    net = gives[None, :] - gives[:, None]  # what agent 0 receives, less what it gives
    return pay.repeat(2, 2, 1) + torch.stack((net, -net), -1)


def with_incentives(pay, lists):
    """LIO: lists [giver, what the other did]."""
    to_0 = lists[1][:, None].expand(2, 2)
    to_1 = lists[0][None, :].expand(2, 2)
    return pay + torch.stack((to_0, to_1), -1)


def with_thanks(pay, chance, perspective="own"):
    """LASE: w from the payoffs and from what each takes the other's policy to be; a constant for learners."""
    assumed = chance if perspective == "own" else chance.flip(0)

    def part(mine, policy):  # mine [my action, yours]
        spread = mine.amax(1, keepdim=True) - mine.amin(1, keepdim=True)
        return ((mine - (mine @ policy)[:, None]) / spread).clamp(0, 1)

    part_0, part_1 = part(pay[..., 0], assumed[0]), part(pay[..., 1].T, assumed[1]).T
    moved = part_1 * pay[..., 1] - part_0 * pay[..., 0]
    return pay + torch.stack((moved, -moved), -1)


def with_weights(pay, weights):
    """D3C: agent i feels sum_j A_ij r_j."""
    return pay @ weights.T


def d3c_slope(pay, logits, weights, bound=10.0):
    """Slope of rho_i = 1 + relu(how fast the other's learning makes i's mixed loss grow), [agent, agent]."""
    loss = bound - expected(logits, pay)  # above 0
    slopes = -torch.func.jacrev(expected)(logits, pay)[..., 0]  # [whose loss, whose logit]
    own_step = (weights[:, :, None] * slopes).sum(1).diagonal()  # each descends its mixed loss by this
    harm = -(slopes * own_step).flip(1).T  # [i, j]: what the step of the agent other than i does to loss j
    mixed = weights @ loss
    growth = (weights * harm).sum(1) / mixed
    return (growth > 0)[:, None] * (harm - growth[:, None] * loss) / mixed[:, None]


def lio_slope(lists, logits, pay):
    """Each giver's slope of its own reward after the others' next step, [giver, action of the other]."""

    def after(lists):
        return expected(learn_step(logits, with_incentives(pay, lists)), pay)

    return torch.func.jacrev(after)(lists)[[0, 1], [0, 1]]


pay = dilemma().payoffs()
chance = torch.tensor([[0.3, 0.7], [0.6, 0.4]])
weights = torch.tensor([[0.8, 0.2], [0.3, 0.7]])
felt = {
    "gifting": with_gifts(pay, 1.0),
    "LIO": with_incentives(pay, torch.tensor([[1.2, 0.1], [0.7, 0.3]])),
    "LASE": with_thanks(pay, chance),
    "D3C": with_weights(pay, weights),
}
for name, table in felt.items():
    paid = pay.sum(-1).repeat(2, 2) if name == "gifting" else pay.sum(-1)
    extra = table.sum(-1) - paid
    print(f"{name:8} the total felt, less the total paid: from {extra.min():+.2f} to {extra.max():+.2f}")

# %% [markdown]
# The first and the third conserve every outcome's total; the other two do not. (LIO can be told to charge the
# givers, `--cost charged`; then it does, too. D3C would if the columns of $A$ summed to 1, as its rows
# do; nothing makes them.)
#
# ## The library's version
#
# First the single steps, then whole runs from the same start: seed 0 of the library's learners, and the
# functions above, 40 rounds each.

# %%
from bilevel import BilevelProblem, Unrolled, inner_step_per_agent
from bilevel.methods import anarchy_bound, gift_weights, loss_bound, relationships
from bilevel.optimizers import sgd
from games import gift_actions

game = dilemma()
print(
    "gifting, the table:      ", torch.equal(gift_actions(game, amount=1.0).payoffs(), with_gifts(pay, 1.0))
)

values = torch.stack((pay[0, :, 0].expand(2, 2), pay[:, 1, 1].expand(2, 2)))  # after agent 0 did C, agent 1 D
shares = gift_weights(
    relationships(values, chance[:, None].expand(2, 2, 2), torch.tensor([0, 1])),
    torch.ones(2, 2, dtype=torch.bool),
)
print("LASE, felt after C, D:   ", torch.allclose(pay[0, 1] @ shares, with_thanks(pay, chance)[0, 1]))

logits = torch.stack((chance[:, 0].logit(), torch.zeros(2)), -1)
jacobian = -torch.func.jacrev(expected)(logits, pay)[None, ..., :1]
bound = loss_bound(game, None)
print(f"D3C, the library's bound:  {bound:g}")
theirs = anarchy_bound(weights[None], bound - expected(logits, pay)[None], jacobian).slope[0]
print("D3C, the slope of weights:", torch.allclose(theirs, d3c_slope(pay, logits, weights)))


def inner_loss(own, others, lists, data):
    mine, yours = (torch.stack((part, torch.zeros(2)), -1) for part in (own, others))
    felt = with_incentives(pay, lists)
    first, second = (expected(torch.stack(pair), felt) for pair in ((mine[0], yours[1]), (yours[0], mine[1])))
    return -torch.stack((first[0], second[1]))


def outer_loss(theta, lists, data):
    return -expected(torch.stack((theta, torch.zeros(2)), -1), pay)[0]  # agent 0's own reward


inner, lists = sgd(1.0), torch.tensor([[1.2, 0.1], [0.7, 0.3]])
problem = BilevelProblem(step=inner_step_per_agent(inner_loss, inner), outer_loss=outer_loss)
theirs = -Unrolled()(problem, logits[:, 0], inner.init(logits[:, 0]), lists, steps=1).gradient[0]
print("LIO, the meta-gradient:  ", torch.allclose(theirs, lio_slope(lists, logits, pay)[0]))


def run(name, state, rounds):
    """Welfare in each round, by the functions above, from the start of a library's run."""
    theta = state["theta"][0]
    logits = theta if name == "gifting" else torch.cat((theta, torch.zeros(2, 1)), -1)
    log_weights, welfare = torch.tensor([[0.99, 0.01], [0.01, 0.99]]).log(), []
    for _ in range(rounds):
        weights = log_weights.softmax(-1)
        felt = {
            "gifting": lambda: with_gifts(pay, 1.0),
            "lase": lambda: with_thanks(pay, logits.softmax(-1)),
            "d3c": lambda: with_weights(pay, weights),
        }[name]()
        logits = learn_step(logits, felt)
        if name == "d3c":  # down the slope, a little pulled back to caring for oneself; a floor of e^-8
            slope = d3c_slope(pay, logits, weights) - 1e-6 * torch.diag(1 / weights.diagonal())
            log_weights = (weights.log() - 30 * slope).log_softmax(-1).clamp(min=-8)
        played = with_gifts(pay, 1.0) if name == "gifting" else pay
        welfare.append(expected(logits, played).sum())
    return torch.stack(welfare)


for name in ("gifting", "lase", "d3c"):
    start, rounds = build(name).init(seed=0), min(40, ROUNDS)
    same = torch.allclose(run(name, start, rounds), runs[name]["welfare"][:rounds, 0])
    print(f"{name}, {rounds} rounds of seed 0: the same: {same}")

# %% [markdown]
# (LIO's runs above play episodes and have networks for price lists; from scratch we have its meta-gradient.)
#
# ## Where gifts help
#
# In the stag hunt there is only fear: hunting the stag is best beside a hunter, and who does not hunt
# *forages*, for the same 1 whatever the other does. Here it is $(R, S, T, P) = (2, -2, 1, 1)$, and a gift is
# worth 10, paid by who gives, or out of a purse that costs nobody anything.

# %%
HUNTERS, hunt = size(400, fast=4), SymmetricTwoAgentGame(reward=2, sucker=-2, temptation=1, punishment=1)
for words, name, settings in (
    ("no gifts", "selfish", {}),
    ("gifts of 10, paid by the giver", "gifting", {"amount": 10.0}),
    ("gifts of 10, out of a purse", "gifting", {"amount": 10.0, "budget": "fixed"}),
):
    method = bilevel.default_config("stag-hunt-gifting", name).method.with_settings(settings)
    learner = method.build(hunt, Placement(seeds=HUNTERS))
    state = learner.init(seed=0)
    for _ in range(ROUNDS):
        state, metrics = learner.update(state)
    share, z = float((metrics["welfare"] > 3.5).double().mean()), 1.96**2 / HUNTERS
    center, half = (share + z / 2) / (1 + z), (z * share * (1 - share) + z**2 / 4) ** 0.5 / (1 + z)
    given = f"given in the end {metrics['given'].mean():.2f}" if "given" in metrics else ""
    low, high = 100 * (center - half), 100 * (center + half)
    print(f"{words:32} both hunt in {100 * share:.1f} % of seeds [{low:.1f}, {high:.1f}]", given)

# %% [markdown]
# Agents who can give end up giving nothing, and yet, where givers pay, more of them hunt. One way to see it:
# the slope of an action's logit is its chance times its *advantage* over the average. Giving is so dear that
# beside it both hunting and foraging without a gift have a great advantage; both grow, the likelier one
# faster, before the difference between the two is felt. So the end depends more on where one starts, and
# less on fear.
# (The brackets are Wilson's 95 % intervals. Agents with gifts have four numbers to start from, not two, so
# the fair comparison is of the last two lines.)
#
# ## Where is zero?
#
# Take 6 from all payoffs: $(-2, -6, -1, -5)$. Nobody's best choice changes, and it is the same dilemma. But a
# part of a reward is now a part of a *loss*. Who notices?

# %%
LOWER = -6.0
lower = {name: train(name, LOWER) for name in METHODS}
figure, axes = plt.subplots()
for row, (name, (color, *_)) in enumerate(METHODS.items()):
    for found, shift, marker, offset in ((runs, 0.0, "o", -0.12), (lower, LOWER, "s", 0.12)):
        estimate, low, high = middle((found[name]["welfare"][-1] - 2 * shift - 2 * P) / (2 * R - 2 * P))
        error = [[estimate - low], [high - estimate]]
        axes.errorbar(estimate, row + offset, xerr=error, color=color, marker=marker, capsize=4, markersize=8)
for marker, words in (("o", "payoffs as they were"), ("s", "6 less each")):
    axes.plot([], [], marker, color=BLACK, label=words)
axes.set(
    yticks=range(len(METHODS)), yticklabels=[words for _, _, words, _ in METHODS.values()], xlim=(-0.1, 1.05)
)
axes.set_xlabel("welfare: 0 is both defect, 1 is both cooperate")
axes.invert_yaxis()
axes.legend(loc="upper right")
plt.show()

# %% [markdown]
# * LIO, gifts and `tos` look at *differences* between payoffs (what would change if I did something else), in
#   which the 6 drops out.
# * LASE hands over a part of what there is. Where that is a loss, gratitude hurts: who was helped hands its
#   helper a part of the damage.
# * D3C counts losses from a bound that values stay below. The library takes 0 where all payoffs are below 0,
#   and else a number above them, so that it hardly notices either.

# %% [markdown]
# ## Play: gratitude
#
# How does LASE learn, from everywhere? Arrows: where a learning step takes both agents; colored: two paths,
# each from its dot to its square. Left, what each
# expects of the other is its *own* policy (perspective taking, the method as it is); right, it knows the
# other's (`--perspective true-policy`). Shift the payoffs, or make the temptation greater.

# %%


def draw_gratitude(shift, temptation):
    own = torch.tensor([[R, S], [temptation, P]]) + shift
    table = torch.stack((own, own.T), -1)
    grid = torch.linspace(0.04, 0.96, size(20, fast=4))
    _, both = plt.subplots(1, 2, figsize=(11, 4.9), sharey=True)
    for axes, perspective, words in zip(
        both, ("own", "true"), ("expecting what I would do", "expecting what the other does"), strict=True
    ):
        moves = torch.zeros(len(grid), len(grid), 2)
        for row, q in enumerate(grid):
            for column, p in enumerate(grid):
                chance = torch.stack((torch.stack((p, 1 - p)), torch.stack((q, 1 - q))))
                after = learn_step(chance.log(), with_thanks(table, chance, perspective), rate=0.01)
                moves[row, column] = after.softmax(-1)[:, 0] - chance[:, 0]
        points = grid.numpy()
        axes.streamplot(
            points, points, *moves.movedim(-1, 0).numpy(), color="#999999", density=0.8, linewidth=1
        )
        for start, color, dashes in (((0.6, 0.5), BLUE, "-"), ((0.2, 0.3), PURPLE, "--")):
            path = gratitude(table, torch.tensor(start).logit(), perspective, size(300, fast=5))
            axes.plot(*path.T, color=color, linestyle=dashes)
            axes.plot(*path[0], "o", color=color)
            axes.plot(*path[-1], "s", color=color, markersize=9, clip_on=False)
        axes.set(
            xlim=(0, 1), ylim=(0, 1), aspect="equal", title=words, xlabel="agent 0 cooperates with chance"
        )
    both[0].set_ylabel("agent 1 cooperates with chance")
    plt.show()


def gratitude(table, log_odds, perspective, steps):
    """Both agents' chances to cooperate while they learn by LASE, [step, agent]."""
    logits = torch.stack((log_odds, torch.zeros(2)), -1)
    path = [logits.softmax(-1)]
    for _ in range(steps):
        logits = learn_step(logits, with_thanks(table, path[-1], perspective))
        path.append(logits.softmax(-1))
    return torch.stack(path)[..., 0]


explore(draw_gratitude, shift=(-6.0, 2.0, 0.5, 0.0), temptation=(4.5, 8.0, 0.25, 5.0))

# %% [markdown]
# And from random starts, in numbers:

# %%
first = torch.randn(SEEDS, 2, generator=torch.Generator().manual_seed(0))
for perspective in ("own", "true"):
    ends = torch.stack([gratitude(pay, start, perspective, size(400, fast=5))[-1] for start in first])
    kinder, other = ("{:.2f} [{:.2f}, {:.2f}]".format(*middle(side)) for side in (ends.amax(1), ends.amin(1)))
    print(
        f"{perspective:5}policy expected: the kinder one cooperates with chance {kinder}, the other {other}"
    )

# %% [markdown]
# With the other's policy known, both end at the same mixture (exercise 4 asks which): to be *always* kind
# earns no thanks, since it is what was expected. With one's own policy in the other's place the mixture is a
# saddle. Whoever cooperates less expects less, and is the more grateful. So the two drift apart, to one who
# cooperates and one who defects and pays for it.
#
# ## Side by side

# %%
NEEDS = {  # who chooses, what it depends on, whether the total is conserved, what must be known
    "selfish": ("-", "-", "yes", "nothing"),
    "gifting": ("the policy", "what the giver does", "yes; no from a purse", "that gifts arrive"),
    "d3c": ("each receiver", "nothing", "no", "others' rewards; here all gradients, too"),
    "lase": ("a rule", "what all just did", "yes", "others' actions, what each is worth to oneself"),
    "lio": ("each giver", "what the receiver did", "no; yes if givers pay", "others' actions and policies"),
    "tos": ("all, for the welfare", "nothing", "yes", "others' rewards and policies"),
}
rows = [
    "| method | who chooses | depends on | total conserved | must know | created | welfare | 6 less, + 12 |",
    "|---|---|---|---|---|---|---|---|",
]
for name, words in NEEDS.items():
    numbers = (created(name, runs[name]), runs[name]["welfare"][-1], lower[name]["welfare"][-1] - 2 * LOWER)
    shown = ("{:.2f} [{:.2f}, {:.2f}]".format(*middle(number)) for number in numbers)
    rows.append(f"| {name} | {' | '.join(words)} | {' | '.join(shown)} |")
display(Markdown("\n".join(rows)))
charged = middle(train("lio", cost="charged")["welfare"][-1])
print("lio, if givers pay for what they give: welfare {:.2f} [{:.2f}, {:.2f}]".format(*charged))

# %% [markdown]
# ("Created": felt by both beyond what the game pays, in the end. "6 less, + 12": the welfare with 6 less for
# each, counted from the same zero. Interquartile means over seeds with 95 % intervals. The numbers are this
# game's, with these settings and lengths; `docs/comparing.md` and `docs/dilemmas.md` have other games, on
# some of which the order is another.)
#
# The last line: what LIO creates is not what makes it work here. What a giver pays depends on what the
# *other* does, and so changes no reason of its own.
#
# ## Exercises
#
# **Exercise 1 (warm up).** What is the least that somebody must be paid for cooperating, so that cooperating
# is at least as good as defecting, whatever the other does?


# %% tags=["exercise-1"]
def least_payment(R, S, T, P):
    return ...


# %% tags=["check-1"]
check_1(least_payment)

# %% [markdown]
# **Exercise 2 (gratitude).** Which part of its reward does an agent give to one other by LASE? `values`:
# what it gets for each of the other's actions, its own being what it was; `assumed`: the chances with which
# it takes the other to do them; `done`: the number of what the other did. Mind the case in which nothing
# that the other does makes a difference.


# %% tags=["exercise-2"]
def part_given(values, assumed, done):
    return ...


# %% tags=["check-2"]
check_2(part_given)

# %% [markdown]
# **Exercise 3 (what a price is worth).** Let an agent learn its chance to cooperate, $q$, itself: in a step
# it adds `rate` times the derivative of what it feels by $q$. What it feels includes a payment $\eta_C$ when
# it cooperates, $\eta_D$ when it defects. By how much does the *giver's* own expected reward after the step
# change with $\eta_C$, and with $\eta_D$? After the step the giver cooperates with chance $p$. Give the pair.


# %% tags=["exercise-3"]
def meta_gradient(R, S, T, P, p, rate):
    return ...  # by eta_C, by eta_D


# %% tags=["check-3"]
check_3(meta_gradient)

# %% [markdown]
# **Exercise 4 (how kind is kind enough?).** LASE with the other's policy known, in a dilemma with $R > S$ and
# $T > P$. Both cooperate with the same chance $p$. At which $p$ does learning come to rest between 0 and 1?
# (Which part does one give if the other cooperates, and which if not? What does cooperating then feel like,
# and what defecting?)


# %% tags=["exercise-4"]
def resting_chance(R, S, T, P):
    return ...


# %% tags=["check-4"]
check_4(resting_chance, with_thanks, learn_step)

# %% [markdown]
# **For discussion.** (a) Two agents with LIO both pay up to 2 in each step, out of nothing. What may happen
# in a game where rewards are small and rare? (`docs/dilemmas.md` has the answer.) (b) "I expect of you what I
# would do": where does that go wrong with people? (c) Which of the four could run on robots of two makers
# that share no code, only a protocol for payments?

# %% [markdown]
# ## What to read
#
# * Yang and others, *Learning to incentivize other learning agents*, arXiv 2006.06051: LIO.
# * Kong and others, *Learning to balance altruism and self-interest based on empathy in mixed-motive games*,
#   arXiv 2410.07863: LASE. In this toolkit: `docs/empathy.md`.
# * Gemp and others, *D3C: Reducing the price of anarchy in multi-agent learning*, arXiv 2010.00575; the
#   docstring of `bilevel.methods.D3C` says what of the rule here was checked against it.
# * Lupu and Precup, *Gifting in multi-agent reinforcement learning*, AAMAS 2020; Wang and others, *Emergent
#   prosociality in multi-agent games through gifting*, arXiv 2105.06593.
# * In this toolkit: `docs/comparing.md`, eight methods on one game; `bilevel methods`, all of them.
# * Next: `07_zero_sum`, where there is nothing to be kind about.
