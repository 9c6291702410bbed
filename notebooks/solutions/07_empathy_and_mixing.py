# %% [markdown]
# # Solutions of `07_empathy_and_mixing`
#
# **Exercise 1.** The reward minus the expected reward, divided by the range over the other's actions; 0 if
# that is negative. The mistake allows negative shares, that is, fines, which LASE does not have.


# %% tags=["wrong-1"]
def share_given(values, assumed, action):
    expected = sum(v * p for v, p in zip(values, assumed, strict=True))
    return (values[action] - expected) / (max(values) - min(values))


# %% tags=["solution-1"]
def share_given(values, assumed, action):
    spread = max(values) - min(values)
    if spread == 0:
        return 0.0
    expected = sum(v * p for v, p in zip(values, assumed, strict=True))
    return max((values[action] - expected) / spread, 0.0)


# %% [markdown]
# **Exercise 2.** Let $g = \dot f_i^A / f_i^A$ be the growth rate, with $\dot f_i^A = \sum_j A_{ij} \dot f_j$.
# If $g \le 0$, then $\rho_i = 1$, and all derivatives are 0. Otherwise the quotient rule gives
# $(\dot f_j - g f_j) / f_i^A$ for the weight of loss $j$. Gradient descent increases the weight of every loss
# that grows more slowly than the mixed loss. The sum of all weights times their derivatives is 0, since
# $\rho_i$ does not change if the whole row is multiplied by a constant. The mistake forgets that weights do
# not change while the mixed loss does not grow.


# %% tags=["wrong-2"]
def row_slope(row, loss, change):
    mixed = row @ loss
    return (change - (row @ change) / mixed * loss) / mixed


# %% tags=["solution-2"]
def row_slope(row, loss, change):
    mixed = row @ loss
    growth = (row @ change) / mixed
    if growth <= 0:
        return torch.zeros_like(row)
    return (change - growth * loss) / mixed


# %% [markdown]
# **Exercise 3.** The other agent's cooperation is better for me whatever I do. If it cooperates, my reward
# exceeds the expected one by $1 - p$ of the range, so I give it $1 - p$ of my reward; if it defects,
# nothing. And I receive $1 - p$ of its reward if I cooperate. So the effective reward of cooperating is
# $p\,(p R + (1 - p) R) + (1 - p)(S + (1 - p)\, T)$ and that of defecting $p \cdot p\, T + (1 - p) P$. They
# are equal at $p = (T + S - P) / (2T + S - P - R)$. The mistake computes the mixed equilibrium of the game
# without gratitude.


# %% tags=["wrong-3"]
def fixed_point(R, S, T, P):
    return (T - R) / (T - R + P - S)


# %% tags=["solution-3"]
def fixed_point(R, S, T, P):
    return (T + S - P) / (2 * T + S - P - R)


# %% [markdown]
# **For discussion.** (a) If the other agent has other preferences or other information, its action earns
# gratitude, or none, although it would have taken it anyway. (b) For instance, add the variance of the losses
# to $\rho_i$. Then weights also change while no mixed loss grows, and $\rho_i$ is no longer a bound of the
# price of anarchy. (c) Gifting: the other agents only need to observe what they receive. LASE must observe
# the other agents' actions, LIO must know how they learn, and D3C and `tos` must know their rewards.
