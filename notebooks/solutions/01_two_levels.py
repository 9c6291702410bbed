# %% [markdown]
# # Solutions of `01_two_levels`
#
# **Exercise 1.** One step is $\theta' = (1 - rm)\,\theta + rm\,\varphi$. Increasing $\varphi$ by 1 changes
# the result of the last step by $rm$. The step before it contributes the same, of which the last step keeps
# $q = 1 - rm$, and so on. The sum $rm\,(1 + q + \dots + q^{k-1})$ is $1 - q^k$. A common mistake is to
# assume that every step contributes equally, so that $k$ steps contribute $k\,rm$.

# %% tags=["wrong-1"]
def fraction_of_last(m, r, k):
    return k * r * m


# %% tags=["solution-1"]
def fraction_of_last(m, r, k):
    return 1 - (1 - r * m) ** k


# %% [markdown]
# **Exercise 2.** Add the contribution of this step, then propagate the adjoint `a` back through it. The
# common mistake is to forget the sum: then only the contribution of the first step is left.


# %% tags=["wrong-2"]
def reverse_sweep(phi, steps):
    trajectory = learn(phi, steps)
    a = grad(outer_loss)(trajectory[-1])
    total = torch.zeros_like(phi)
    for theta in trajectory[:-1].flip(0):
        _, vjp = torch.func.vjp(step, theta, phi)
        a, total = vjp(a)
    return total


# %% tags=["solution-2"]
def reverse_sweep(phi, steps):
    trajectory = learn(phi, steps)
    a = grad(outer_loss)(trajectory[-1])
    total = torch.zeros_like(phi)
    for theta in trajectory[:-1].flip(0):
        _, vjp = torch.func.vjp(step, theta, phi)
        total = total + vjp(a)[1]
        a = vjp(a)[0]
    return total


# %% [markdown]
# **Exercise 3.** `v` sums the terms, and each term is $J^\top$ times the one before. At the fixed point
# $\partial S / \partial \theta$ is the same $J$ in every step, so the boxed sum over the last $n$ steps *is*
# the sum of the first $n$ terms of the series. So `truncated` is the partial sum and `implicit` the limit.
# The mistake here multiplies the term by $J^\top$ before adding it.


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
# **For discussion.** (a) `forward`: it carries one tangent for each entry of $\varphi$. (b) Not `implicit`;
# `unrolled` if the trajectory fits into memory, else `truncated`. (c) $K = 1$: the hypergradient contains the
# effect of $\varphi$ on the *next* step and ignores all later ones. This is called short-horizon bias (Wu and
# others, arXiv 1803.02021).
