# %% [markdown]
# # Solutions of `06_incentives_and_empathy`
#
# **Exercise 1.** Defecting gains $T - R$ against a cooperator (greed) and $P - S$ against a defector (fear);
# the payment must compensate for the larger. The common mistake considers greed only.


# %% tags=["wrong-1"]
def minimal_payment(R, S, T, P):
    return T - R


# %% tags=["solution-1"]
def minimal_payment(R, S, T, P):
    return max(T - R, P - S)


# %% [markdown]
# **Exercise 2.** The reward minus the expected reward, divided by the range over the other's actions; 0 if
# that is negative. The mistake allows negative shares, that is, fines, which LASE does not have.


# %% tags=["wrong-2"]
def share_given(values, assumed, action):
    expected = sum(
        value * chance for value, chance in zip(values, assumed, strict=True)
    )
    return (values[action] - expected) / (max(values) - min(values))


# %% tags=["solution-2"]
def share_given(values, assumed, action):
    spread = max(values) - min(values)
    if spread == 0:
        return 0.0
    expected = sum(
        value * chance for value, chance in zip(values, assumed, strict=True)
    )
    return max((values[action] - expected) / spread, 0.0)


# %% [markdown]
# **Exercise 3.** The effective reward contains $\eta_C\, q + \eta_D\, (1 - q)$, so the payments change $q$
# in the step by `rate` times $\eta_C - \eta_D$. Increasing $q$ is worth $R - S$ to a giver that cooperates,
# and $T - P$ to one that defects. In $(-1, -3, 0, -2)$ both are 2, whatever $p$ is. The mistake leaves out
# the learning rate.


# %% tags=["wrong-3"]
def hypergradient(R, S, T, P, p, rate):
    worth = p * (R - S) + (1 - p) * (T - P)
    return worth, -worth


# %% tags=["solution-3"]
def hypergradient(R, S, T, P, p, rate):
    worth = p * (R - S) + (1 - p) * (T - P)
    return rate * worth, -rate * worth


# %% [markdown]
# **Exercise 4.** The other's cooperation is better for me whatever I do. If it cooperates, my reward
# exceeds the expected one by $1 - p$ of the range, so I give it $1 - p$ of my reward; if it defects,
# nothing. And I receive $1 - p$ of its reward if I cooperate. So the effective reward of cooperating is
# $p\,(p R + (1 - p) R) + (1 - p)(S + (1 - p)\, T)$ and that of defecting $p \cdot p\, T + (1 - p) P$. They
# are equal at $p = (T + S - P) / (2T + S - P - R)$. The mistake computes the mixed equilibrium of the game
# without gratitude.


# %% tags=["wrong-4"]
def fixed_point(R, S, T, P):
    return (T - R) / (T - R + P - S)


# %% tags=["solution-4"]
def fixed_point(R, S, T, P):
    return (T + S - P) / (2 * T + S - P - R)


# %% [markdown]
# **For discussion.** (a) They optimize the payments between each other and neglect the game: on the coin
# game `lio` has a lower welfare than selfish agents. (b) If the other agent has other preferences or other
# information, its action earns gratitude, or none, although it would have taken it anyway. (c) Gifting: the
# other agents only need to observe what they receive. LASE must observe the other agents' actions, LIO must
# know how they learn, and D3C must know their rewards.
