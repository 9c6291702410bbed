# %% [markdown]
# # Solutions of `05_learning_to_share`
#
# **Exercise 1.** Digging costs agent $i$ 1, of which it bears $T_{ii}$. It is worth 3 to agent $i - 1$,
# which gives the share $T_{i-1,i}$ of that to $i$. What $i$ itself gives away matters only through $T_{ii}$.
# The common mistake is to use the share that $i$ gives.

# %% tags=["wrong-1"]
def digs(T):
    n = len(T)
    return torch.stack([3 * T[i, (i + 1) % n] - T[i, i] > 0 for i in range(n)])


# %% tags=["solution-1"]
def digs(T):
    return torch.stack([3 * T[i - 1, i] - T[i, i] > 0 for i in range(len(T))])


# %% [markdown]
# **Exercise 2.** `detach()` after each update cuts the graph of all updates: the welfare is computed from a
# detached tensor. The common mistake is to keep the graph of the last update only. That is truncation to one
# update.


# %% tags=["wrong-2"]
def repaired(phi, theta, K):
    phi = phi.detach().requires_grad_()
    for _ in range(K):
        theta = learn(theta.detach(), matrix(phi), 1)
    return torch.autograd.grad(rewards(theta.sigmoid()).sum(), phi)[0]


# %% tags=["solution-2"]
def repaired(phi, theta, K):
    phi = phi.detach().requires_grad_()
    theta = learn(theta, matrix(phi), K)
    return torch.autograd.grad(rewards(theta.sigmoid()).sum(), phi)[0]


# %% [markdown]
# **Exercise 3.** Two shares affect agent $i$: the one that it keeps and the one that agent $i - 1$ gives to
# it. Each changes $\theta_i'$, and the derivative of the welfare with respect to $\theta_i'$ is
# $2 p_i' (1 - p_i')$. The common mistake is to evaluate this last derivative at the old policies.


# %% tags=["wrong-3"]
def share_slopes(theta, T, rate):
    p = theta.sigmoid()
    factor = 2 * p * (1 - p) * rate * p * (1 - p)
    return -torch.diag(factor) + 3 * torch.diag(factor).roll(-1, 0)


# %% tags=["solution-3"]
def share_slopes(theta, T, rate):
    p = theta.sigmoid()
    gain = 3 * T.roll(1, 0).diagonal() - T.diagonal()
    after = (theta + rate * p * (1 - p) * gain).sigmoid()
    factor = 2 * after * (1 - after) * rate * p * (1 - p)
    # The second term is in row i - 1, column i.
    return -torch.diag(factor) + 3 * torch.diag(factor).roll(-1, 0)


# %% [markdown]
# **Exercise 4.** Each seed needs policies of its own. The common mistake is to initialize them only once, so
# that every later seed continues with the policies of the seed before it.


# %% tags=["wrong-4"]
def success_rate(T, new, learn, welfare, rounds, seeds, threshold):
    theta, successes = new(0), 0
    for _ in range(seeds):
        for _ in range(rounds):
            theta = learn(theta, T)
        successes += welfare(theta) > threshold
    return successes / seeds


# %% tags=["solution-4"]
def success_rate(T, new, learn, welfare, rounds, seeds, threshold):
    successes = 0
    for seed in range(seeds):
        theta = new(seed)
        for _ in range(rounds):
            theta = learn(theta, T)
        successes += welfare(theta) > threshold
    return successes / seeds


# %% [markdown]
# **For discussion.** (a) Joint, alternating, and curricula without new policies. What cannot be tested is
# whether newly initialized agents would learn to cooperate under the sharing: cooperation may be left over
# from earlier training. (b) The derivative of the cost itself, so agents would only learn to give less. (c)
# The gradient does not go through updates, so it is not end to end in the first sense. The two policies are
# trained in alternation, connected by a critic, so it hardly is in the second. The whole system is trained
# from rewards, which is what many people mean by "end to end"; so define the term when you use it.
