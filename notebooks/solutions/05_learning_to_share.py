# %% [markdown]
# # Solutions of `05_learning_to_share`
#
# **Exercise 1.** Digging costs agent $i$ 1, of which it keeps $T_{ii}$. It is worth 3 to agent $i - 1$,
# which gives $T_{i-1,i}$ of that to $i$. What $i$ itself gives away matters only through $T_{ii}$. The common
# mistake is to use the share that $i$ gives.

# %% tags=["wrong-1"]
def digs(T):
    n = len(T)
    return torch.stack([3 * T[i, (i + 1) % n] - T[i, i] > 0 for i in range(n)])


# %% tags=["solution-1"]
def digs(T):
    return torch.stack([3 * T[i - 1, i] - T[i, i] > 0 for i in range(len(T))])


# %% [markdown]
# **Exercise 2.** Both consist of rounds; the outer loop differentiates through some of them. The common
# mistake is to forget the new policies: then the second stage only continues the first, and does not test the
# learned sharing.


# %% tags=["wrong-2"]
def alternating(theta, phi, outer, rounds, learn, outer_step):
    for _ in range(outer):
        for _ in range(rounds):
            theta = learn(theta, phi)
        theta, phi = outer_step(theta, phi)
    return theta, phi


def staged(theta, phi, outer, stage, learn, outer_step, new):
    for _ in range(stage):
        theta, phi = outer_step(theta, phi)
    for _ in range(outer - stage):
        theta = learn(theta, phi)
    return theta, phi


# %% tags=["solution-2"]
def alternating(theta, phi, outer, rounds, learn, outer_step):
    for _ in range(outer):
        for _ in range(rounds):
            theta = learn(theta, phi)
        theta, phi = outer_step(theta, phi)
    return theta, phi


def staged(theta, phi, outer, stage, learn, outer_step, new):
    for _ in range(stage):
        theta, phi = outer_step(theta, phi)
    theta = new()
    for _ in range(outer - stage):
        theta = learn(theta, phi)
    return theta, phi


# %% [markdown]
# **Exercise 3.** Agent $i$ digs if $3\,T_{i-1,i} \ge T_{ii}$. If all keep $z$ and give the rest,
# $1 - z$, to the neighbor that waters them, that is $3 (1 - z) \ge z$, so $z = 3/4$. More is not possible:
# keeping more than $3/4$ leaves less than $1/4$ for the neighbor that waters you, which would then have to
# keep less than $3/4$ itself to dig. The common mistake gives to both sides alike: $3 (1 - z)/2 \ge z$, and
# $z = 3/5$.


# %% tags=["wrong-3"]
def minimal_transfer(n):
    own = torch.eye(n)
    return 0.6 * own + 0.2 * own.roll(1, 1) + 0.2 * own.roll(-1, 1)


# %% tags=["solution-3"]
def minimal_transfer(n):
    own = torch.eye(n)
    return 0.75 * own + 0.25 * own.roll(1, 1)


# %% [markdown]
# **For discussion.** (a) Joint, alternating, and curricula without new policies. What cannot be tested is
# whether newly initialized agents would learn to cooperate under the sharing: cooperation may be left over
# from earlier training. (b) The derivative of the cost itself, so agents would only learn to give less. (c)
# The gradient does not go through updates, so not in the first sense. Both policies are trained in
# alternation, with a critic in between, so hardly in the second. It is trained from rewards as a whole,
# which is what most people mean by "end to end"; so define the term when you use it.
