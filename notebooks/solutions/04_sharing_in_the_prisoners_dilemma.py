# %% [markdown]
# # Solutions of `04_sharing_in_the_prisoners_dilemma`
#
# **Exercise 1.** Assume that the other agent cooperates. If I defect instead of cooperating, my reward is
# higher by temptation - reward, of which I keep $1 - w$, and the other agent's reward is lower by
# reward - sucker, of which I bear $w$. Cooperating is a best response if
# $(1 - w)(\text{temptation} - \text{reward}) \le w\,(\text{reward} - \text{sucker})$, that is
# $w \ge (\text{temptation} - \text{reward}) / (\text{temptation} - \text{sucker})$. If the other agent
# defects, in the same way $w \ge (\text{punishment} - \text{sucker}) / (\text{temptation} - \text{sucker})$.
# Both must hold. The common mistake is to look at the first case only.

# %% tags=["wrong-1"]
def minimal_w(reward, sucker, temptation, punishment):
    return (temptation - reward) / (temptation - sucker)


# %% tags=["solution-1"]
def minimal_w(reward, sucker, temptation, punishment):
    return max(temptation - reward, punishment - sucker) / (temptation - sucker)


# %% [markdown]
# **Exercise 2.** Cleaning costs me 1, of which I bear $s$. It saves each of $n - 1$ others 2, and each of
# them passes $(1 - s)/(n - 1)$ of that on to me: $2(1 - s)$ in total. So cleaning is dominant if
# $s \le 2 (1 - s)$, that is $s \le 2/3$, for any $n$. The common mistake is to count the share from only one
# of them. (Where a *fixed* benefit is divided among the others, cooperation does get harder: see the table in
# `docs/explanation/theory.md`.)


# %% tags=["wrong-2"]
def matrix(n, s):
    return torch.full((n, n), (1 - s) / (n - 1)).fill_diagonal_(s)


def largest_s(n):
    return 2 / (2 + (n - 1))


# %% tags=["solution-2"]
def matrix(n, s):
    return torch.full((n, n), (1 - s) / (n - 1)).fill_diagonal_(s)


def largest_s(n):
    return 2 / 3


# %% [markdown]
# **Exercise 3.** $F = -4 + p_0' + p_1'$. The derivative of $\theta_0'$ with respect to $w_0$ is
# $\alpha p_0 (1 - p_0)$ (agent 0 bears less of its own cost), and that of $\theta_1'$ is
# $2 \alpha p_1 (1 - p_1)$ (agent 1 receives a larger share of the benefit). The derivative of each new
# probability with respect to its log-odds is $p_i'(1 - p_i')$. All factors are positive. The mistake below
# omits this last factor.


# %% tags=["wrong-3"]
def slope(theta, w, alpha):
    variance = theta.sigmoid() * (1 - theta.sigmoid())
    return alpha * (variance[0] + 2 * variance[1])


# %% tags=["solution-3"]
def slope(theta, w, alpha):
    variance = theta.sigmoid() * (1 - theta.sigmoid())
    after = (theta + alpha * variance * (2 * w.flip(0) - (1 - w))).sigmoid()
    return alpha * (after * (1 - after) * variance * torch.tensor([1.0, 2.0])).sum()


# %% [markdown]
# **For discussion.** (a) Yes. With $p_i$ itself as the parameter, $r_0 = -2 - p_0 + 2 p_1$, so
# $\partial r_0 / \partial w_0 = \alpha K (-1 + 2 \cdot 2) = 3 \alpha K$ and
# $\partial r_1 / \partial w_0 = \alpha K (-2 + 2) = 0$: the whole benefit of giving returns to the giver,
# because the other agent then cleans more often. (b) Which cost, which entropy bonus, how many updates, which
# initial sharing? 0.388 holds for *those* settings; the theoretical curve depends on $\tau$ and $c$. And do
# *newly initialized* policies learn to cooperate under it? (c) Conservation is lost: somebody must provide
# the money, and learners can exploit the payments. But a payment can depend on the action: to reward one
# action, it is not necessary to share all rewards.
#
# **Play.** Only agent 1 cleans, for instance, if it gives 0.2 and agent 0 gives 0.5: the agent that
# *receives* the larger share has an incentive to clean. If agent 0 gives nothing, agent 1 bears the cost
# $1 - w_1$ of cleaning and receives no benefit, so it does not clean. If it keeps nothing at all, it is
# indifferent.
