# %% [markdown]
# # Solutions of `10_your_own_game_and_method`
#
# **Exercise 1.** An agent pays the share $\tau$ and gets $1/N$ of it back: $\tau - \tau / N$. The common
# mistake leaves out the second part.


# %% tags=["wrong-1"]
def share_given_away(tax, N):
    return tax


# %% tags=["solution-1"]
def share_given_away(tax, N):
    return tax * (1 - 1 / N)


# %% [markdown]
# **Exercise 2.** The number of young is binomially distributed. Rounding the mean, or one random number for
# all fish of a pond, gives the right mean and the wrong variance; so does the mistake here, in which either
# all fish of a pond reproduce, or none.


# %% tags=["wrong-2"]
def breed(left, probability, capacity, generator):
    lucky = torch.rand(left.shape, generator=generator) < probability
    return (left + left * lucky).clamp(max=capacity)


# %% tags=["solution-2"]
def breed(left, probability, capacity, generator):
    each = torch.full(left.shape, probability).double()
    young = torch.binomial(left.double(), each, generator=generator)
    return (left + young.long()).clamp(max=capacity)


# %% [markdown]
# **Exercise 3.** The rates need a new axis for the receiver, the last one. With the new axis in front of
# the agents' axis the rate is the *receiver's*: rows no longer sum to 1, and reward is created or lost.


# %% tags=["wrong-3"]
def own_rates(phi):
    rate = phi.sigmoid()[:, None, :]
    return (1 - rate) * torch.eye(phi.shape[-1]).to(phi) + rate / phi.shape[-1]


# %% tags=["solution-3"]
def own_rates(phi):
    rate = phi.sigmoid()[:, :, None]
    return (1 - rate) * torch.eye(phi.shape[-1]).to(phi) + rate / phi.shape[-1]


# %% [markdown]
# **Exercise 4.** For instance the volunteer's dilemma (Diekmann 1985): it is enough that one agent calls
# the fire department, but calling is costly. It differs from the pond in a few lines. The mistake: the
# `best_welfare` of the pond does not hold for the new rewards.


# %% tags=["wrong-4"]
class Volunteer(Pond):
    trouble = 0.4
    action_names = property(lambda self: ("volunteer", "wait"))
    best_welfare = property(lambda self: 1.0)

    def step(self, state, actions, generator):
        helped = (actions == 0).any(-1, keepdim=True)
        rewards = helped.float() - self.trouble * (actions == 0)
        state = PondState(state.fish, state.day + 1)
        return state, rewards, state.day >= self.horizon


my_game = Volunteer(horizon=1)


# %% tags=["solution-4"]
class Volunteer(Pond):
    trouble = 0.4
    action_names = property(lambda self: ("volunteer", "wait"))
    best_welfare = property(lambda self: self.horizon * (self.agents - self.trouble))

    def step(self, state, actions, generator):
        helped = (actions == 0).any(-1, keepdim=True)
        rewards = helped.float() - self.trouble * (actions == 0)
        state = PondState(state.fish, state.day + 1)
        return state, rewards, state.day >= self.horizon


my_game = Volunteer(horizon=1)

# %% [markdown]
# **For discussion.** (a) Give every method the same budget for tuning its settings, on other seeds than
# those that are reported. (b) The total catch is the objective of a social planner. For updates by each
# agent's own reward, compare `tos` with the objective `own-return`. (c) It says nothing about other ponds,
# learning rates or numbers of agents, nor about what was tried before and not reported.
