# %% [markdown]
# # Solutions of `03_social_dilemmas`
#
# **Exercise 1.** Greed compares the payoff of defecting against a cooperator ($T$) with that of cooperating
# ($R$); fear compares the payoff of defecting against a defector ($P$) with being exploited ($S$). The common
# mistake compares $T$ with $P$.

# %% tags=["wrong-1"]
def greed_and_fear(R, S, T, P):
    return T > P, P > S


# %% tags=["solution-1"]
def greed_and_fear(R, S, T, P):
    return T > R, P > S


# %% [markdown]
# **Exercise 2.** $R = R_c(N - 1) = k$ and $P = R_d(0) = 1$, so that $R > P$ means $k > 1$; $R > S = k / N$
# holds for any $k > 0$. Greed: $T - R = 1 + k (N - 1) / N - k = 1 - k / N > 0$ means $k < N$; fear,
# $P - S = 1 - k / N$, is the same. So $1 < k < N$.


# %% tags=["wrong-2"]
def dilemma_between(N):
    return 1 / N, 1


# %% tags=["solution-2"]
def dilemma_between(N):
    return 1, N


# %% [markdown]
# **Exercise 3.** Sharing changes only outcomes in which the two payoffs differ. With $s = 1/3$ the prisoner's
# dilemma in years becomes $(-1, -2, -1, -2)$: neither greed nor fear. The mistake leaves out the share that
# is received.


# %% tags=["wrong-3"]
def after_sharing(R, S, T, P, s):
    return (1 - s) * R, (1 - s) * S, (1 - s) * T, (1 - s) * P


# %% tags=["solution-3"]
def after_sharing(R, S, T, P, s):
    return R, (1 - s) * S + s * T, (1 - s) * T + s * S, P


# %% [markdown]
# **Exercise 4.** Cooperate first, then copy the other's last move: *tit for tat*, the winner of Axelrod's
# tournaments. (A strategy that never forgives passes (a) and (b), and fails (c).)


# %% tags=["wrong-4"]
def my_strategy(own, others):
    return "D" if "D" in others else "C"


# %% tags=["solution-4"]
def my_strategy(own, others):
    return others[-1] if others else "C"


# %% [markdown]
# **For discussion.** (a) With $T + S = 2R$ taking turns at driving on is as good as swerving together: the
# group loses nothing, only the agent that swerves does. (b) For instance, switching to a new messenger or
# standard: everybody profits if all switch, and nobody gains by staying behind then, but switching alone is
# costly. (c) The social optimum becomes $18$ and the Nash equilibrium $16$: a price of $18 / 16$ instead of
# $4 / 2$. A ratio depends on the zero point of the payoffs; `games.price_of_selfishness` gives none where
# total payoffs have both signs.
