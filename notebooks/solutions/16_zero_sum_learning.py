# %% [markdown]
# # Solutions of `16_zero_sum_learning`
#
# **Exercise 1.** The best *fixed* action has the largest mean payoff over all rounds; subtract what the
# agent earned on average. The mistake takes the best action of each round.

# %% tags=["wrong-1"]
def regret_per_round(played, worth):
    return (worth.amax(-1) - (played * worth).sum(-1)).mean()


# %% tags=["solution-1"]
def regret_per_round(played, worth):
    return worth.mean(0).max() - (played * worth).sum(-1).mean()


# %% [markdown]
# **Exercise 2.** Let agent 0 bet with a jack with probability $j$, and with a king with probability $k$.
# Both cards were equally probable. Calling wins $1 + b$ against the jack, and loses $1 + b$ against the
# king; folding loses 1. So $(1 + b)(j - k) = -(j + k)$, that is $j\,(2 + b) = k\, b$, and
# $j / k = b / (b + 2)$. The mistake forgets that folding costs the ante, and demands that calling be worth
# 0.


# %% tags=["wrong-2"]
def bluffs_per_strong_bet(bet):
    return 1.0


# %% tags=["solution-2"]
def bluffs_per_strong_bet(bet):
    return bet / (bet + 2)


# %% [markdown]
# **Exercise 3.** Add the regrets of this round, cut off at 0, and normalize. The mistake plays in proportion
# to the positive regrets but keeps the negative ones in memory: that is regret matching without the plus.


# %% tags=["wrong-3"]
def regret_matching_plus(regret, x, values):
    regret = regret + values - (x * values).sum()
    positive = regret.clamp(min=0)
    return regret, positive / positive.sum().clamp(min=1e-12)


# %% tags=["solution-3"]
def regret_matching_plus(regret, x, values):
    regret = (regret + values - (x * values).sum()).clamp(min=0)
    if regret.sum() == 0:
        return regret, torch.full_like(regret, 1 / len(regret))
    return regret, regret / regret.sum()


# %% [markdown]
# **Exercise 4.** The derivative of $x_a \log (x_a / \rho_a)$ is $\log (x_a / \rho_a) + 1$; the 1 is a
# constant. The mistake has the wrong sign: it pushes the strategy away from the magnet.


# %% tags=["wrong-4"]
def regularized_payoffs(values, x, magnet, temperature):
    return values + temperature * (x / magnet).log()


# %% tags=["solution-4"]
def regularized_payoffs(values, x, magnet, temperature):
    return values - temperature * (x / magnet).log()


# %% [markdown]
# **For discussion.** (a) It cannot be exploited: it never loses on average, whatever the opponent does, and
# an opponent who adapts has nothing to find. Learning the habits of an opponent makes one's own play
# predictable. (b) The payoffs of the other two do not cancel pairwise, and the product of averages is not
# the average of products: no regret leads to coarse correlated equilibria only. (c) Rules whose last
# iterate converges (a magnet, optimism); a network trained on samples of all earlier policies, which
# represents the average. (d) No. Against a king, half of the cases, it loses $1 + b$, and against a queen
# it wins 1: on average $-b / 2$, which is below the -1 of checking and folding if $b > 2$. Then the
# equilibrium has no bluffs, and the ratio of exercise 2 is not played.
