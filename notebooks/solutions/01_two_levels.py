# %% [markdown]
# # Solutions of `01_two_levels`
#
# **Exercise 1.** One lesson is $\theta' = (1 - rm)\,\theta + rm\,\varphi$. A move of the knob by 1 moves
# the last lesson's result by $rm$; the lesson before did the same, and the last one kept $1 - rm$ of it;
# and so on. The sum $rm\,(1 + q + \dots + q^{k-1})$ with $q = 1 - rm$ is $1 - q^k$. A common mistake is to
# think that each lesson does an equal part, so that $k$ lessons do $k\,rm$.

# %% tags=["wrong-1"]
def share_left(m, r, k):
    return k * r * m


# %% tags=["solution-1"]
def share_left(m, r, k):
    return 1 - (1 - r * m) ** k


# %% [markdown]
# **Exercise 2.** Collect what this lesson's bend does to the end, then move `a` back over the lesson. The
# common mistake is to forget the sum: what is left is the first lesson's bend alone.


# %% tags=["wrong-2"]
def walk_back(phi, steps):
    path = learn(phi, steps)
    a = grad(outer_loss)(path[-1])
    total = torch.zeros_like(phi)
    for theta in path[:-1].flip(0):
        _, pull = torch.func.vjp(step, theta, phi)
        a, total = pull(a)
    return total


# %% tags=["solution-2"]
def walk_back(phi, steps):
    path = learn(phi, steps)
    a = grad(outer_loss)(path[-1])
    total = torch.zeros_like(phi)
    for theta in path[:-1].flip(0):
        _, pull = torch.func.vjp(step, theta, phi)
        total = total + pull(a)[1]
        a = pull(a)[0]
    return total


# %% [markdown]
# **Exercise 3.** `v` sums the terms, and each term is $J^\top$ times the one before. At rest all
# $\partial S / \partial \theta$ along the path are the same $J$: the boxed sum over the last $n$ lessons
# *is* the series' first $n$ terms. So truncated and implicit are one thing, stopped early or summed up. The
# mistake here moves the term on before it is added.


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
# the path fits, else `truncated`. (c) $K = 1$: the head sees what the knob does to the *next* lesson and
# overlooks all that follows; that is called short-horizon bias (Wu and others, arXiv 1803.02021).
