# %% [markdown]
# # Solutions of `06_incentives`
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
# **Exercise 2.** The effective reward contains $\eta_C\, q + \eta_D\, (1 - q)$, so the payments change $q$
# in the step by `rate` times $\eta_C - \eta_D$. Increasing $q$ is worth $R - S$ to a giver that cooperates,
# and $T - P$ to one that defects. In $(-1, -3, 0, -2)$ both are 2, whatever $p$ is. The mistake leaves out
# the learning rate.


# %% tags=["wrong-2"]
def hypergradient(R, S, T, P, p, rate):
    worth = p * (R - S) + (1 - p) * (T - P)
    return worth, -worth


# %% tags=["solution-2"]
def hypergradient(R, S, T, P, p, rate):
    worth = p * (R - S) + (1 - p) * (T - P)
    return rate * worth, -rate * worth


# %% [markdown]
# **Exercise 3.** The derivative of $\text{worth}\,(q + r \eta) - c\,\eta\,(q + r \eta)$ with respect to
# $\eta$ is $r \cdot \text{worth} - c\,(q + 2 r \eta)$, which is 0 at $\eta = (\text{worth}/c - q/r)/2$. If
# that is negative, the giver pays nothing. So it pays at most half of what cooperation is worth per unit of
# cost. It pays nothing if $q \ge r \cdot \text{worth} / c$: the other agent cooperates anyway, or learns too
# slowly. For policies with logits, $r$ is the learning rate times $q^2 (1 - q)^2$ (one factor $q (1 - q)$
# from the gradient of the logit, one from the step of the probability), which vanishes as $q$ approaches 1.
# The mistake allows negative incentives.


# %% tags=["wrong-3"]
def best_incentive(worth, q, rate, cost):
    return (worth / cost - q / rate) / 2


# %% tags=["solution-3"]
def best_incentive(worth, q, rate, cost):
    return max((worth / cost - q / rate) / 2, 0.0)


# %% [markdown]
# **For discussion.** (a) They optimize the payments between each other and neglect the game: on the coin game
# `lio` has a lower welfare than selfish agents. (b) Each hopes that another agent pays: incentives are a
# public good, so the payments are a dilemma of their own (a second-order social dilemma). (c) Gifting: the
# other agents only need to observe what they receive. LIO must know how the other agents learn.
