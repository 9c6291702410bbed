# %% [markdown]
# # Solutions of `06_incentives_and_empathy`
#
# **Exercise 1.** Defecting gains $T - R$ beside a cooperator (greed) and $P - S$ beside a defector (fear);
# the payment must make up for the greater. The common mistake looks at greed alone.


# %% tags=["wrong-1"]
def least_payment(R, S, T, P):
    return T - R


# %% tags=["solution-1"]
def least_payment(R, S, T, P):
    return max(T - R, P - S)


# %% [markdown]
# **Exercise 2.** What came, less what was expected, over the most that the other can change; nothing if that
# is below 0. The mistake lets the part be negative: a fine, which LASE does not have.


# %% tags=["wrong-2"]
def part_given(values, assumed, done):
    expected = sum(value * chance for value, chance in zip(values, assumed, strict=True))
    return (values[done] - expected) / (max(values) - min(values))


# %% tags=["solution-2"]
def part_given(values, assumed, done):
    spread = max(values) - min(values)
    if spread == 0:
        return 0.0
    expected = sum(value * chance for value, chance in zip(values, assumed, strict=True))
    return max((values[done] - expected) / spread, 0.0)


# %% [markdown]
# **Exercise 3.** What is felt has $\eta_C\, q + \eta_D\, (1 - q)$ in it, so that the step moves $q$ by `rate`
# times $\eta_C - \eta_D$. A greater $q$ is worth $R - S$ to a giver who cooperates, and $T - P$ to one who
# defects. In $(-1, -3, 0, -2)$ both are 2, whatever $p$ is. The mistake forgets the step.


# %% tags=["wrong-3"]
def meta_gradient(R, S, T, P, p, rate):
    worth = p * (R - S) + (1 - p) * (T - P)
    return worth, -worth


# %% tags=["solution-3"]
def meta_gradient(R, S, T, P, p, rate):
    worth = p * (R - S) + (1 - p) * (T - P)
    return rate * worth, -rate * worth


# %% [markdown]
# **Exercise 4.** The other's cooperating is better for me whatever I do. If it cooperates, that is better
# than I expected by $1 - p$ of what it can change, so I give it $1 - p$ of my reward; if it defects, nothing.
# And I receive $1 - p$ of its reward if I cooperate. So cooperating feels like
# $p\,(p R + (1 - p) R) + (1 - p)(S + (1 - p)\, T)$ and defecting like $p \cdot p\, T + (1 - p) P$. They are
# the same at $p = (T + S - P) / (2T + S - P - R)$. The mistake looks for the mixture of a game without
# thanks.


# %% tags=["wrong-4"]
def resting_chance(R, S, T, P):
    return (T - R) / (T - R + P - S)


# %% tags=["solution-4"]
def resting_chance(R, S, T, P):
    return (T + S - P) / (2 * T + S - P - R)


# %% [markdown]
# **For discussion.** (a) They live on what they pay each other and forget the game: on the coin game `lio`
# ends below selfish agents. (b) Where the other has other needs, or knows something else: it is taken for
# kind, or for unkind, for what it would do anyway. (c) Gifts: the others need only notice that something
# arrived. LASE must see what the others do, LIO know how they learn, and D3C know their rewards.
