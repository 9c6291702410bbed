# %% [markdown]
# # Solutions of `12_shaping_others_learning`
#
# **Exercise 1.** Agent 1 descends $-xy$, so its step is $y + \alpha x$. Agent 0 differentiates
# $x (y + \alpha x)$. Agent 0's step is $x - \alpha y$, and agent 1 differentiates $-(x - \alpha y)\, y$.
# The common mistake differentiates with the other agent's step as a constant: that is look-ahead, without
# the shaping term.

# %% tags=["wrong-1"]
def lola_by_hand(x, y, rate):
    return y + rate * x, -x + rate * y


# %% tags=["solution-1"]
def lola_by_hand(x, y, rate):
    return y + 2 * rate * x, -x + 2 * rate * y


# %% [markdown]
# **Exercise 2.** $\nabla_i \nabla_j L_j = 2$ and $\nabla_j L_i = 2 s$, so $\chi_i = 4 s$. LOLA stops where
# $(1 - 2\alpha)(2s - 2) = 4 \alpha s$. The common mistake takes the gradient of the other agent's own loss,
# $2 s - 2$, for $\nabla_j L_i$: then $\chi$ vanishes on the line, and LOLA would stop there.


# %% tags=["wrong-2"]
def where_lola_stops(rate):
    return 1.0


# %% tags=["solution-2"]
def where_lola_stops(rate):
    return (1 - 2 * rate) / (1 - 4 * rate)


# %% [markdown]
# **Exercise 3.** The common mistake leaves out the case in which shaping agrees with look-ahead: then $m$
# is negative, and so would $p_1$ be.


# %% tags=["wrong-3"]
def shaping_part(xi, xi_0, chi, rate, a=0.5, b=0.1):
    against = rate * (chi @ xi_0)
    p1 = (a * (xi_0 @ xi_0) / against).clamp(max=1.0)
    p2 = xi @ xi if xi.norm() < b else torch.tensor(1.0)
    return torch.minimum(p1, p2)


# %% tags=["solution-3"]
def shaping_part(xi, xi_0, chi, rate, a=0.5, b=0.1):
    against = rate * float(chi @ xi_0)
    p1 = 1.0 if against <= 0 else min(1.0, a * float(xi_0 @ xi_0) / against)
    p2 = float(xi @ xi) if xi.norm() < b else 1.0
    return min(p1, p2)


# %% [markdown]
# **Exercise 4.** The sum over the past is multiplied by $\gamma$ in each step, after the present advantage
# has been added. The common mistake adds the present advantage before the product: it then counts among the
# earlier ones.


# %% tags=["wrong-4"]
def align(mine, yours, discount, beta):
    past, aligned = 0.0, []
    for own, other in zip(mine, yours, strict=True):
        past = discount * past + own
        aligned.append(own + beta * discount * past * other)
    return torch.stack(aligned)


# %% tags=["solution-4"]
def align(mine, yours, discount, beta):
    past, aligned = 0.0, []
    for own, other in zip(mine, yours, strict=True):
        aligned.append(own + beta * discount * past * other)
        past = discount * (past + own)
    return torch.stack(aligned)


# %% [markdown]
# **For discussion.** (a) 0: with these payoffs defecting gains 1 whatever the other agent does, so the
# other agent's gradient does not contain my policy. Shaping needs a future in which the other agent can
# respond; sharing (lesson 5) does not. (b) No: each assumes that the other one takes a naive step, which it
# does not. Higher orders and COLA ask for steps that are consistent with each other. (c) Compare its return
# with what it gets when both learn naively, or with what it could secure for itself. In the pairing above
# the naive agent gains from LOLA's shaping; in a zero-sum game it can only lose.
