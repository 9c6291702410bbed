# %% [markdown]
# # Solutions of `04_sharing_in_the_prisoners_dilemma`
#
# **Exercise 1.** Let the other cooperate. Switching from cooperating to defecting gains me temptation -
# reward, of which I keep $1 - w$, and costs the other reward - sucker, of which I bear $w$. Cooperating is
# best if $(1 - w)(\text{temptation} - \text{reward}) \le w\,(\text{reward} - \text{sucker})$, that is
# $w \ge (\text{temptation} - \text{reward}) / (\text{temptation} - \text{sucker})$. If the other defects,
# in the same way $w \ge (\text{punishment} - \text{sucker}) / (\text{temptation} - \text{sucker})$. Both
# must hold. The common mistake is to look at the first case only.

# %% tags=["wrong-1"]
def minimal_w(reward, sucker, temptation, punishment):
    return (temptation - reward) / (temptation - sucker)


# %% tags=["solution-1"]
def minimal_w(reward, sucker, temptation, punishment):
    return max(temptation - reward, punishment - sucker) / (temptation - sucker)


# %% [markdown]
# **Exercise 2.** Cleaning costs me 1, of which I keep $s$. It gives 2 to each of $n - 1$ others, and
# each of them passes $(1 - s)/(n - 1)$ of that on to me: $2(1 - s)$ in total. So I clean if
# $s \le 2 (1 - s)$, that is $s \le 2/3$, for any $n$. The common mistake is to count the share from only one
# of them. (Where a *fixed* benefit is divided among the others, cooperation does get harder: see the table in
# `docs/explanation/theory.md`.)


# %% tags=["wrong-2"]
def matrix(n, s):
    return torch.full((n, n), (1 - s) / (n - 1)) + (s - (1 - s) / (n - 1)) * torch.eye(
        n
    )


def largest_s(n):
    return 2 / (2 + (n - 1))


# %% tags=["solution-2"]
def matrix(n, s):
    return torch.full((n, n), (1 - s) / (n - 1)) + (s - (1 - s) / (n - 1)) * torch.eye(
        n
    )


def largest_s(n):
    return 2 / 3


# %% [markdown]
# **Exercise 3.** $F = -4 + p_0' + p_1'$. The derivative of $\theta_0'$ in $w_0$ is $\alpha p_0 (1 - p_0)$
# (agent 0 bears less of its own cost), and that of $\theta_1'$ is $2 \alpha p_1 (1 - p_1)$ (agent 1
# receives a larger share of the benefit). The derivative of each new probability in its log-odds is
# $p_i'(1 - p_i')$. All factors are positive. The mistake here leaves out this last factor.


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
# **For discussion.** (a) It would. With $p_i$ itself as the parameter, $r_0 = -2 - p_0 + 2 p_1$, so
# $\partial r_0 / \partial w_0 = \alpha K (-1 + 2 \cdot 2) = 3 \alpha K$ and
# $\partial r_1 / \partial w_0 = \alpha K (-2 + 2) = 0$: the whole benefit of giving returns to the giver,
# since the other then cleans. (b) Which cost, which entropy bonus, how many updates, which initial sharing?
# 0.388 holds for *those* settings; the theoretical curve depends on $\tau$ and $c$. And how do *newly
# initialized* policies learn under it? (c) Conservation is lost: somebody must provide the money, and
# learners can exploit the payments instead of the game. But a payment can depend on the action: to reward
# one action, one need not share all rewards.
#
# **Play.** Only 0 cleans, for instance, if 0 gives 0.2 and 1 gives 0.5: the agent that *receives* has an
# incentive to clean. If 0 gives nothing, 1 bears the cost $1 - w_1$ of cleaning and receives no benefit, so
# it does not clean. If it keeps nothing at all, it is indifferent.
