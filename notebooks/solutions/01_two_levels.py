# %% [markdown]
# # Solutions of `01_two_levels`
#
# **Exercise 1.** One lesson is $\theta' = (1 - rm)\,\theta + rm\,\varphi$. Increasing the knob by 1 changes
# the result of the last lesson by $rm$. The lesson before adds the same, and the last one keeps $1 - rm$ of
# it; and so on. The sum $rm\,(1 + q + \dots + q^{k-1})$ with $q = 1 - rm$ is $1 - q^k$. A common mistake is
# to assume that every lesson contributes equally, so that $k$ lessons contribute $k\,rm$.

# %% tags=["wrong-1"]
def share_left(m, r, k):
    return k * r * m


# %% tags=["solution-1"]
def share_left(m, r, k):
    return 1 - (1 - r * m) ** k


# %% [markdown]
# **Exercise 2.** Add the contribution of this step, then propagate the adjoint `a` back through the step. The
# common mistake is to forget the sum: only the contribution of the first step is left.


# %% tags=["wrong-2"]
def reverse_sweep(phi, steps):
    path = learn(phi, steps)
    a = grad(outer_loss)(path[-1])
    total = torch.zeros_like(phi)
    for theta in path[:-1].flip(0):
        _, pull = torch.func.vjp(step, theta, phi)
        a, total = pull(a)
    return total


# %% tags=["solution-2"]
def reverse_sweep(phi, steps):
    path = learn(phi, steps)
    a = grad(outer_loss)(path[-1])
    total = torch.zeros_like(phi)
    for theta in path[:-1].flip(0):
        _, pull = torch.func.vjp(step, theta, phi)
        total = total + pull(a)[1]
        a = pull(a)[0]
    return total


# %% [markdown]
# **Exercise 3.** `v` sums the terms, and each term is $J^\top$ times the one before. At the fixed point
# $\partial S / \partial \theta$ is the same $J$ in every step: the boxed sum over the last $n$ lessons *is*
# the sum of the first $n$ terms of the series. So `truncated` is the partial sum and `implicit` the limit.
# The mistake here multiplies the term by $J^\top$ before it is added.


# %% tags=["wrong-3"]
def neumann(theta, phi, terms):
    J, by_phi = jacrev(step, 0)(theta, phi), jacrev(step, 1)(theta, phi)
    term = grad(outer_loss)(theta)
    v = torch.zeros_like(term)
    for _ in range(terms):
        term = J.T @ term
        v = v + term
    return v @ by_phi


# %% tags=["solution-3"]
def neumann(theta, phi, terms):
    J, by_phi = jacrev(step, 0)(theta, phi), jacrev(step, 1)(theta, phi)
    term = grad(outer_loss)(theta)
    v = torch.zeros_like(term)
    for _ in range(terms):
        v = v + term
        term = J.T @ term
    return v @ by_phi


# %% [markdown]
# **For discussion.** (a) `forward`: it carries one tangent for each knob. (b) Not `implicit`; `unrolled` if
# the trajectory fits into memory, else `truncated`. (c) $K = 1$: the head sees the effect of the knob on the
# *next* lesson and overlooks all later ones; this is called short-horizon bias (Wu and others, arXiv
# 1803.02021).
