# %% [markdown]
# # 6. Incentives
#
# **What if agents pay each other for their actions?**
#
# In lesson 5 agents learn to share their rewards, and an agent's share is the same whatever it does. Here
# they *pay* each other, and a payment depends on an action. On *whose* action? With **gifts** it is the
# giver's: an agent acts, and decides whether to add a gift for the other agent. With **incentives** it is the
# receiver's: an agent announces what it pays for each action of the other agent. We compare the two here.
#
# **Goals.** After this lesson you can explain why agents learn not to make gifts, compute the smallest
# incentive that makes cooperation dominant, derive the hypergradient of an incentive, and say where the
# reward that is paid comes from.
#
# **Prerequisites.** Lesson 05. About 35 minutes.

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

import games
from bilevel import Placement, default_config
from bilevel.lessons import BLUE, GRAY, GREEN, RED
from bilevel.lessons import draw_band, explore, learning_curves, over_seeds, size
from bilevel.lessons import use_style
from bilevel.lessons.checks.incentives import check_1, check_2, check_3
from bilevel.report import looks

use_style()
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A picture of the answer
#
# A prisoner's dilemma with the payoffs $(R, S, T, P) = (4, 0, 5, 1)$: $R$ is the *reward* of each agent if
# both cooperate, $S$ the *sucker*'s payoff for cooperating alone, $T$ the *temptation* to defect alone, and
# $P$ the *punishment* if both defect. (Lesson 5 used $T$ for the sharing matrix; here it is always the
# temptation.) Selfish agents learn to defect. Two methods of the library add payments:
#
# * `gifting`: a gift of 1 to the other agent, which the giver pays. Whether to give is part of the action.
# * `lio` (*learning to incentivize others*): a payment from 0 to 2 for each action of the other agent. The
#   payments are learned in the outer loop, and nobody is charged for them.

# %% tags=["hide-input"]
DILEMMA, SEEDS, STEPS = "prisoners-dilemma-lase", size(16, fast=3), size(80, fast=2)
game, runs = games.make(DILEMMA), {}


def build(name, **changes):
    method = default_config(DILEMMA, name).method.with_settings(changes)
    return method.build(game, Placement(seeds=SEEDS))


for name in ("selfish", "gifting", "lio"):
    runs[name] = learning_curves(build(name), STEPS)

# %% tags=["hide-input"]
LABELS = {"selfish": "no payments", "gifting": "gifts", "lio": "incentives (LIO)"}
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
for height, words, side in ((8, "cooperation", 0.1), (2, "defection", -0.4)):
    left.axhline(height, color=GRAY, linewidth=1, linestyle="--")
    left.text(STEPS, height + side, f"mutual {words}", ha="right", color=GRAY)
styles = looks(list(LABELS))
styles["gifting"]["linestyle"] = "-"  # dots are for no payments
for name, look in styles.items():
    step, found = range(1, STEPS + 1), runs[name]
    draw_band(left, step, found["welfare"], label=LABELS[name], **look)
    if "given" in found:
        draw_band(right, step, found["given"], label=LABELS[name], **look)
left.set(xlabel="outer step", ylabel="welfare (sum of both rewards)", ylim=(1.3, 8.8))
right.set(xlabel="outer step", ylabel="payment per agent", ylim=(-0.05, 2.1))
figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
plt.show()
print(f"after {STEPS} outer steps: interquartile mean of {SEEDS} seeds [95 % interval]")
for name, found in runs.items():
    paid = over_seeds(found["given"][-1]) if "given" in found else "none"
    print(f"{LABELS[name]:17} welfare {over_seeds(found['welfare'][-1])}, paid {paid}")

# %% [markdown]
# Agents learn *not* to give, and defect as if there were no gifts. With incentives they learn to cooperate:
# the payments increase, and then the welfare does. (Do not compare speeds: LIO learns from sampled episodes
# and explores, the other two use exact expected values.)

# %% [markdown]
# ## The idea in words
#
# * **Gifts as actions.** Every action exists twice: without a gift, and with a gift to the other agent.
#   Giving is learned like any other behavior, and there is no outer loop. But the gift does not depend on
#   what the *other* agent does. So it does not reward the other agent for anything, and it has a cost. The
#   best response to a generous agent is to keep its gifts and defect.
# * **Incentives.** Each agent has a table with its payment to the other agent for each action. The payment
#   changes which action is best for the *other* agent. An agent learns its table in the outer loop: it asks
#   how its own reward changes if the other agent *learns* under another table. That is lesson 1's
#   hypergradient. The inner loop is the other agent's learning step, and the outer objective is one's own
#   reward. There is one outer objective for each agent, not one for the group.

# %% [markdown]
# ## The key equation
#
# $r_j$ is agent $j$'s payoff in the game, $a$ the joint action, $G_{ij}$ the payment from $i$ to $j$, and
# $\tilde r_j$ the **effective reward**, which $j$ maximizes:
#
# $$\boxed{\ \tilde r_j(a) = r_j(a) + \sum_{i \ne j} G_{ij}(a)
# \underbrace{{}- \sum_{i \ne j} G_{ji}(a)}_{\text{only if givers are charged}}\ }$$
#
# If givers are charged, the total is conserved: $\sum_j \tilde r_j = \sum_j r_j$. If not, payments *create*
# reward. The methods differ in what $G_{ij}$ depends on:
#
# | method | payment $G_{ij}(a)$ | depends on the action of | learned by | givers charged |
# |---|---|---|---|---|
# | gifting | $g$ if $i$ gives, else 0 | the giver, $i$ | $i$'s policy | yes |
# | LIO | $\eta_i(a_j)$, from 0 to a limit | the receiver, $j$ | $i$'s outer loop | no, but see below |
#
# **Gifts.** Let $i$ give with probability $x$. Its expected effective reward contains $-g\,x$, and nothing
# else in it depends on $x$. So its derivative is $-g$, whatever the other agent does.
#
# **Incentives.** $\theta_j$ are the parameters of $j$'s policy, $\eta_i$ (eta) is $i$'s table, and $V_i$ is
# $i$'s expected *game* reward, without payments. Agent $j$ takes a step with learning rate $\alpha$ on its
# effective reward $\tilde V_j$, and the chain rule gives $i$'s hypergradient:
#
# $$\theta_j' = \theta_j + \alpha\,\frac{\partial \tilde V_j}{\partial \theta_j}(\theta, \eta), \qquad
# \frac{dV_i}{d\eta_i} = \underbrace{\frac{\partial V_i}{\partial \theta_j'}}_{\text{effect of } j
# \text{'s policy on } i} \cdot \underbrace{\frac{\partial \theta_j'}{\partial \eta_i}}_{\text{effect of the
# incentives on } j\text{'s policy}}.$$

# %% [markdown]
# ## From scratch
#
# Two agents, and exact expected values. A table of rewards has the axes [action of agent 0, action of agent
# 1, agent]; action 0 is to cooperate, action 1 to defect. First the game, and a learning step that works for
# any table of effective rewards:

# %%
R, S, T, P = 4.0, 0.0, 5.0, 1.0


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
    if logits.shape[-1] == 2:  # one logit is enough: the second stays 0
        slope = slope * torch.tensor([1.0, 0.0])
    return logits + rate * slope


pay = dilemma(R, S, T, P)

# %% [markdown]
# **Gifts.** There are now four actions: cooperate (C), defect (D), cooperate and give, defect and give. What
# is each of them worth against some policy of the other agent?


# %%
def with_gifts(pay, gift):
    """Effective rewards of the actions C, D, C and give, D and give."""
    gives = torch.tensor([0.0, 0.0, gift, gift])
    net = gives[None, :] - gives[:, None]  # what agent 0 receives minus what it gives
    return pay.repeat(2, 2, 1) + torch.stack((net, -net), -1)


rows = ["| other agent | C | D | C and give | D and give |", "|---|---|---|---|---|"]
for name, other in {
    "defects": [0.0, 1.0, 0.0, 0.0],
    "cooperates, gives half of the time": [0.5, 0.0, 0.5, 0.0],
    "always gives, cooperates half of the time": [0.0, 0.0, 0.5, 0.5],
}.items():
    worth = with_gifts(pay, 1.0)[..., 0] @ torch.tensor(other)
    rows.append(f"| {name} | " + " | ".join(f"{x:.2f}" for x in worth) + " |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# In every row giving costs 1, and defecting gains 1. The other agent's gifts raise all four values by the
# same amount, so they change no decision.
#
# **Incentives.** A table `incentives` [giver, action of the other agent], and the hypergradient. The outer
# variables are logits `phi`, and `limit * phi.sigmoid()` keeps incentives between 0 and the limit. `cost` is
# the weight of a giver's payments in its outer objective. For now it is 0.


# %%
def with_incentives(pay, incentives):
    """Effective rewards if givers pay for the other agent's action."""
    to_0 = incentives[1][:, None].expand(2, 2)  # depends on the action of agent 0
    to_1 = incentives[0][None, :].expand(2, 2)  # depends on the action of agent 1
    return pay + torch.stack((to_0, to_1), -1)


def after_step(phi, logits, pay, limit=2.0, cost=0.0):
    """The givers' objectives after the next learning step, [giver]."""
    incentives = limit * phi.sigmoid()
    new = learn_step(logits, with_incentives(pay, incentives))
    paid = (incentives * new.softmax(-1).flip(0)).sum(-1)
    return expected(new, pay) - cost * paid


def hypergradients(phi, logits, pay, limit=2.0, cost=0.0):
    """Of each giver's objective in its own phi, [giver, action of the other]."""
    every = torch.func.jacrev(after_step)(phi, logits, pay, limit, cost)
    return every[[0, 1], [0, 1]]  # [objective, giver, action]: giver i, objective i


# %% [markdown]
# Now both loops: in each outer step the policies take one step, and then each giver updates its incentives by
# its hypergradient through that step.


# %%
def lio(pay, logits, steps, limit=2.0, cost=0.0):
    """Incentives [step, giver, action], and probabilities of cooperating."""
    phi = torch.zeros(2, 2, requires_grad=True)
    outer = torch.optim.Adam([phi], lr=0.1, maximize=True)
    tables, cooperation = [], []
    for _ in range(steps):
        now = phi.detach()
        incentives = limit * now.sigmoid()
        phi.grad = hypergradients(now, logits, pay, limit, cost)
        logits = learn_step(logits, with_incentives(pay, incentives))
        outer.step()
        tables.append(incentives)
        cooperation.append(logits.softmax(-1)[:, 0])
    return torch.stack(tables), torch.stack(cooperation)


START = torch.tensor([[0.0, 0.0], [-1.0, 0.0]])  # agent 1 cooperates less at first
tables, cooperation = lio(pay, START, size(150, fast=5))

# %% tags=["hide-input"]
ACTIONS = (("cooperating", GREEN, "-"), ("defecting", RED, "--"))


def draw_lio(tables, cooperation):
    """Incentives of both givers, and probabilities of cooperating, by outer step."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
    for action, (words, color, dashes) in enumerate(ACTIONS):
        for giver, width in ((0, 3.5), (1, 1.2)):
            label = f"agent {giver} pays for {words}"
            look = {"color": color, "linestyle": dashes, "linewidth": width}
            left.plot(tables[:, giver, action], label=label, **look)
    for agent, width in ((0, 3.5), (1, 1.2)):
        look = {"color": BLUE, "linestyle": "-.", "linewidth": width}
        right.plot(cooperation[:, agent], label=f"agent {agent} cooperates", **look)
    left.set(xlabel="outer step", ylabel="incentive")
    right.set(xlabel="outer step", ylabel="probability of cooperating")
    right.set(ylim=(-0.03, 1.03))
    figure.legend(loc="outside upper center", ncols=3, fontsize=11)
    plt.show()


draw_lio(tables, cooperation)
more = tables[:, :, 0] - tables[:, :, 1]  # what cooperating earns more than defecting
for agent in (0, 1):
    least = int(cooperation[:, agent].argmin())
    print(f"agent {agent} cooperates least at outer step {least}. There the other")
    print(f"agent pays {more[least, 1 - agent]:.2f} more for C than for D.")

# %% [markdown]
# At first the difference between the two incentives is too small, and both agents still learn to defect. Each
# giver pays more for cooperating and less for defecting, since the other's cooperation is worth something to
# it. When the difference exceeds 1, cooperating becomes dominant (exercise 1), and the policies turn around.

# %% [markdown]
# ## The library's version
#
# `gift_actions` builds the game with gifts. A `BilevelProblem` with one objective for each agent computes
# both hypergradients. We compare 40 outer steps of each with the functions above.

# %%
from bilevel import BilevelProblem, Unrolled, inner_step_per_agent
from bilevel.optimizers import sgd
from games import gift_actions


def two(theta):
    """Two logits for each agent, of which the second is 0."""
    return torch.stack((theta, torch.zeros(2)), -1)


# Row i of the loss uses `own` for agent i; `others` are constants in its gradient.
def inner_loss(own, others, phi, data):
    table = with_incentives(pay, 2.0 * phi.sigmoid())
    agent_0 = expected(two(torch.stack((own[0], others[1]))), table)[0]
    agent_1 = expected(two(torch.stack((others[0], own[1]))), table)[1]
    return -torch.stack((agent_0, agent_1))


inner = sgd(1.0)
problem = BilevelProblem(
    step=inner_step_per_agent(inner_loss, inner),
    outer_loss=lambda theta, phi, data: -expected(two(theta), pay),
    per_agent_objective=True,
)
theta, same = START[:, 0], True
for incentives in tables[:40]:
    phi = (incentives / 2.0).logit()
    found = Unrolled()(problem, theta, inner.init(theta), phi, steps=1)
    ours = hypergradients(phi, two(theta), pay)
    same = same and torch.allclose(-found.gradient[[0, 1], [0, 1]], ours)
    theta = found.theta
print(f"LIO, hypergradients of {len(tables[:40])} outer steps equal: {same}")

# %%
gifts = gift_actions(game, amount=1.0).payoffs()
print("payoffs with gifts equal:", torch.equal(gifts, with_gifts(pay, 1.0)))
learner = build("gifting")
logits, welfare = learner.init(seed=0)["theta"][0], []  # the policies of one seed
steps = min(40, STEPS)
for _ in range(steps):
    logits = learn_step(logits, with_gifts(pay, 1.0))
    welfare.append(expected(logits, with_gifts(pay, 1.0)).sum())
by_library = runs["gifting"]["welfare"][:steps, 0]
same = torch.allclose(torch.stack(welfare), by_library)
print(f"gifting, welfare of {steps} outer steps equal: {same}")

# %% [markdown]
# The library's `lio` itself, which drew the first figure, estimates the same hypergradient from sampled
# episodes, and its incentives are small networks that also see the giver's observation.

# %% [markdown]
# ## Who pays?
#
# LIO's payments come from nowhere: the effective rewards are larger than the rewards of the game. Does it
# need that? With `cost="charged"` each payment is subtracted from the effective reward of the giver, so the
# total is conserved. *Created reward* is the total effective reward minus the total reward of the game.

# %%
runs["charged"] = learning_curves(build("lio", cost="charged"), STEPS)
rows = ["| method | welfare | payment per agent | created |", "|---|---|---|---|"]
for name, words in (*LABELS.items(), ("charged", "incentives, givers charged")):
    found = runs[name]
    paid = found["given"][-1] if "given" in found else torch.zeros(SEEDS)
    created = 2 * paid if name == "lio" else 0 * paid
    columns = (found["welfare"][-1], paid, created)
    rows.append(f"| {words} | " + " | ".join(map(over_seeds, columns)) + " |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# The welfare is about the same. A giver's payment depends on the *other's* action, so being charged for it
# lowers all of the giver's own actions by the same amount, and does not change which one is best. After
# learning, each agent pays about as much as it receives. Nothing is created, and yet both have an interest in
# cooperating. (The outer objective still ignores the payments. What if it does not? See the sliders.)

# %% [markdown]
# ## Where gifts help
#
# In the stag hunt there is fear ($P > S$), and no greed ($T < R$): hunting the stag is the best response
# to a hunter. The alternative is to *forage*, which gives 1 whatever the other does. Here
# $(R, S, T, P) = (2, -2, 1, 1)$, and a gift is worth 10. It is paid by the giver, or by an external budget.
# The brackets are Wilson's 95 % interval of a fraction.


# %%
def wilson(share, count):
    """Wilson's 95 % interval of a fraction, in percent."""
    z = 1.96**2 / count
    center = (share + z / 2) / (1 + z)
    half = (z * share * (1 - share) + z**2 / 4) ** 0.5 / (1 + z)
    low, high = 100 * (center - half), 100 * (center + half)
    return f"{100 * share:.0f} % [{low:.0f}, {high:.0f}]"


HUNT, HUNTERS = "stag-hunt-gifting", size(400, fast=4)
rows = ["| gifts | both hunt | if both first prefer it | given |", "|---|---|---|---|"]
for words, name, settings in (
    ("none", "selfish", {}),
    ("paid by the giver", "gifting", {"amount": 10.0}),
    ("external budget", "gifting", {"amount": 10.0, "budget": "fixed"}),
):
    method = default_config(HUNT, name).method.with_settings(settings)
    learner = method.build(games.make(HUNT), Placement(seeds=HUNTERS))
    theta = learner.init(seed=0)["theta"].flatten(2)  # [seed, agent, logit]
    found = learning_curves(learner, STEPS)
    hunt = (found["welfare"][-1] > 3.5).double()
    forage = theta[..., 1] if name == "gifting" else 0.0
    prefer = (theta[..., 0] > forage).all(-1)  # both, comparing actions without gifts
    given = f"{found['given'][-1].mean():.2f}" if "given" in found else "0"
    shares = wilson(float(hunt.mean()), HUNTERS), f"{100 * hunt[prefer].mean():.0f} %"
    rows.append(f"| {words} | {' | '.join(shares)} | {given} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# With the external budget nobody is charged, agents give often, and hunting is hardly more frequent than
# without gifts. If givers pay, agents learn to give nothing, and yet far more of them hunt. One explanation:
# the gradient of an action's logit is its probability times its *advantage*, its value minus the mean value
# under the policy. Giving is so costly that at first both hunting and foraging without a gift have a large
# advantage. Both become more likely, the more likely one faster, before the difference between the two
# matters. So the outcome depends more on the initial policies, and less on fear. The third column agrees: it
# has the seeds in which both agents initially prefer hunting to foraging. (Agents with gifts start
# from four random logits, agents without gifts from one. So the fair comparison is between the last two
# lines.)
#
# So gifts may help, in a coordination game with fear, without rewarding anybody for anything.

# %% [markdown]
# ## Play
#
# LIO from scratch, in any dilemma with $R = 4$, $S = 0$ and $P = 1$. Choose the maximum incentive, the
# temptation, and the weight of payments in the givers' outer objective (`cost`). Two questions: (1) At a cost
# of 0, below which maximum incentive does cooperation fail, and how does it depend on the temptation?
# (Exercise 1 has the formula.) (2) At a small cost, what happens after agents have learned to cooperate?


# %% tags=["hide-input"]
def play(limit, temptation, cost):
    table = dilemma(R, S, temptation, P)
    tables, cooperation = lio(table, START, size(250, fast=5), limit, cost)
    draw_lio(tables, cooperation)


# %%
limits, temptations = (0.5, 4.0, 0.1, 2.0), (4.5, 8.0, 0.25, 5.0)
explore(play, limit=limits, temptation=temptations, cost=(0.0, 1.0, 0.05, 0.2))

# %% [markdown]
# With a cost of 0.2 agents first learn to pay and to cooperate. Then the incentives fall, and cooperation
# collapses. Once the other agent cooperates almost surely, its policy hardly changes within one learning
# step. So the hypergradient contains the cost of paying, and hardly any of its benefit, and the giver stops
# paying. The short horizon of lesson 5 has the same effect on sharing. Exercise 3 computes when paying is
# worth it. At a smaller cost the collapse comes later, so the table is for 600 outer steps, not 250:

# %%
rows = ["| cost | most cooperation | at outer step | at the end |", "|---|---|---|---|"]
for cost in (0.0, 0.05, 0.2, 1.0):
    tables, cooperation = lio(pay, START, size(600, fast=5), cost=cost)
    both = cooperation.mean(1)  # over agents
    top = int(both.argmax())
    rows.append(f"| {cost} | {both[top]:.2f} | {top} | {both[-1]:.2f} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/06_incentives.py`.
#
# **Exercise 1 (warm up).** What is the smallest payment for cooperating that makes cooperating at least as
# good as defecting, whatever the other does?


# %% tags=["exercise-1"]
def minimal_payment(R, S, T, P):
    return ...


# %% tags=["check-1"]
check_1(minimal_payment)

# %% [markdown]
# **Exercise 2 (the hypergradient of LIO).** Let the receiver's only parameter be $q$, its probability of
# cooperating. In a step it adds to $q$ `rate` times the derivative of its expected effective reward with
# respect to $q$. The effective reward includes a payment $\eta_C$ when it cooperates, $\eta_D$ when it
# defects. After the step the giver cooperates with probability $p$. What are the derivatives of the *giver's*
# expected game reward after the step with respect to $\eta_C$ and $\eta_D$? Return the pair.


# %% tags=["exercise-2"]
def hypergradient(R, S, T, P, p, rate):
    return ...  # by eta_C, by eta_D


# %% tags=["check-2"]
check_2(hypergradient)

# %% [markdown]
# **Exercise 3 (when paying is worth it).** Now the giver counts its payments, and pays for cooperating only:
# $\eta_D = 0$, $\eta_C = \eta \ge 0$. Without an incentive the receiver would cooperate with probability $q$
# after its step; with the incentive it is $q' = q + \text{rate} \cdot \eta$, which you may assume stays
# between 0 and 1. The receiver's cooperation is worth `worth` to the giver; `rate` and `cost` are positive.
# So the giver's objective is
# $\text{worth} \cdot q' - \text{cost} \cdot \eta\, q'$. Which $\eta$ maximizes it?


# %% tags=["exercise-3"]
def best_incentive(worth, q, rate, cost):
    return ...


# %% tags=["check-3"]
check_3(best_incentive)

# %% [markdown]
# **For discussion.** (a) Two agents with LIO both pay up to 2 in each step, at no cost. What may happen in a
# game with small and rare rewards? (`docs/studies/grid-dilemmas.md` has the answer.) (b) Ten agents, and one
# of them cleans the river for all. Who pays it, if each giver counts its payments? (c) Which of the two
# methods could run on robots of two manufacturers that share no code, only a payment protocol?

# %% [markdown]
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. Why do agents learn not to give?</summary>
#
# A gift depends on the giver's action only. It costs the giver $g$, whatever the other agent does, and the
# other agent gets it whatever *it* does. So it changes nobody's best response, and the giver saves $g$ by not
# giving.
#
# </details>
#
# <details><summary>2. Payments are not in a giver's game reward. Why do they have a hypergradient?</summary>
#
# The incentive is part of the other agent's effective reward, so it changes the other agent's learning step,
# and the giver's game reward depends on the other agent's new policy:
# $\partial V_i / \partial \theta_j' \cdot \partial \theta_j' / \partial \eta_i$.
#
# </details>
#
# <details><summary>3. Why does charging the givers hardly change what LIO learns here?</summary>
#
# The payment depends on the receiver's action. For the giver it is the same for all of its own actions, so it
# changes no advantage; and the outer objective is the giver's reward in the game, without payments.
#
# </details>

# %% [markdown]
# ## What to read
#
# * Yang and others, *Learning to incentivize other learning agents*, arXiv 2006.06051: LIO.
# * Lupu and Precup, *Gifting in multi-agent reinforcement learning*, AAMAS 2020; Wang and others, *Emergent
#   prosociality in multi-agent games through gifting*, arXiv 2105.06593: gifts, and the stag hunt.
# * In this toolkit: `docs/how-to/compare-methods.md`, methods on one game, and
#   `docs/studies/grid-dilemmas.md`, where payments of LIO distract agents from the game.
# * Next: `07_empathy_and_mixing`, where agents care about each other's rewards.
