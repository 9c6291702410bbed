# %% [markdown]
# # Solutions of `09_your_own_game_and_method`
#
# **Exercise 1.** The part $\tau$ goes into the pot, and an $N$-th of it comes back: $\tau - \tau / N$. The
# common mistake forgets what comes back.


# %% tags=["wrong-1"]
def goes_to_others(tax, N):
    return tax


# %% tags=["solution-1"]
def goes_to_others(tax, N):
    return tax * (1 - 1 / N)


# %% [markdown]
# **Exercise 2.** The number of young is binomial. Rounding the mean, or one draw for all fish of a pond, has
# the right mean and the wrong spread; so has the mistake here, in which a pond's fish all breed, or none.


# %% tags=["wrong-2"]
def breed(left, chance, capacity, generator):
    lucky = torch.rand(left.shape, generator=generator) < chance
    return (left + left * lucky).clamp(max=capacity)


# %% tags=["solution-2"]
def breed(left, chance, capacity, generator):
    young = torch.binomial(left.double(), torch.full(left.shape, chance).double(), generator=generator)
    return (left + young.long()).clamp(max=capacity)


# %% [markdown]
# **Exercise 3.** The rates need an axis for the receiver, the last one. With the axis in front of the agents'
# the rate is the *receiver's*: rows no longer sum to 1, and reward is created or lost.


# %% tags=["wrong-3"]
def own_rates(phi):
    rate = phi.sigmoid()[:, None, :]
    return (1 - rate) * torch.eye(phi.shape[-1]).to(phi) + rate / phi.shape[-1]


# %% tags=["solution-3"]
def own_rates(phi):
    rate = phi.sigmoid()[:, :, None]
    return (1 - rate) * torch.eye(phi.shape[-1]).to(phi) + rate / phi.shape[-1]


# %% [markdown]
# **Exercise 4.** For instance the volunteer's dilemma (Diekmann 1985): one who calls the fire brigade is
# enough, and it takes trouble. It differs from the pond in a few lines. The mistake: a `best_welfare` that
# holds for the catch, and not for the trouble.


# %% tags=["wrong-4"]
class Volunteer(Pond):
    trouble = 0.4
    action_names = property(lambda self: ("volunteer", "wait"))
    best_welfare = property(lambda self: 1.0)

    def step(self, state, actions, generator):
        helped = (actions == 0).any(-1, keepdim=True)
        rewards = helped.float() - self.trouble * (actions == 0)
        return PondState(state.fish, state.day + 1), rewards, state.day + 1 >= self.horizon


my_game = Volunteer(horizon=1)


# %% tags=["solution-4"]
class Volunteer(Pond):
    trouble = 0.4
    action_names = property(lambda self: ("volunteer", "wait"))
    best_welfare = property(lambda self: self.horizon * (self.agents - self.trouble))

    def step(self, state, actions, generator):
        helped = (actions == 0).any(-1, keepdim=True)
        rewards = helped.float() - self.trouble * (actions == 0)
        return PondState(state.fish, state.day + 1), rewards, state.day + 1 >= self.horizon


my_game = Volunteer(horizon=1)

# %% [markdown]
# **For discussion.** (a) Give every method the same number of tries at its settings, on other seeds than
# those that are reported. (b) The sum of all catches is a planner's wish, or everybody's before they know who
# they are. With votes by own reward, `tos` with the objective `own-return` is the model: compare. (c) It says
# nothing of other ponds, learning rates or numbers of agents, nor of what was tried before and not reported.
