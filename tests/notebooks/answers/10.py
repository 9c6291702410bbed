# %% right 1
def share_given_away(tax, N):
    return tax - tax / N
    return ...


# %% right 1
def share_given_away(tax, N):
    return sum(tax / N for other in range(N) if other != 0)


# %% right 1
def share_given_away(tax, N):
    T = (1 - tax) * torch.eye(N) + tax / N
    return 1 - T[0, 0]


# %% right 1
def share_given_away(tax, N):
    import numpy as np

    return np.multiply(tax, (N - 1) / N)


# %% wrong 1
def share_given_away(tax, N):
    return tax / N


# %% wrong 1
def share_given_away(tax, N):
    return 1 - tax + tax / N


# %% wrong 1
def share_given_away(tax, N):
    return tax * (N - 1)


# %% wrong 1
def share_given_away(tax, N):
    return tax / 2


# %% right 2
def breed(left, probability, capacity, generator):
    young = torch.binomial(left.float(), torch.full_like(left.float(), probability), generator=generator)
    return torch.minimum(left + young.long(), torch.tensor(capacity))
    return ...


# %% right 2
def breed(left, probability, capacity, generator):
    most = int(left.max())
    draws = torch.rand(*left.shape, most, generator=generator) < probability
    fish = torch.arange(most) < left[..., None]
    return (left + (draws & fish).sum(-1)).clamp(max=capacity)


# %% right 2
def breed(left, probability, capacity, generator):
    new = left.clone()
    for fish in range(int(left.max())):
        new += (fish < left) & (torch.rand(left.shape, generator=generator) < probability)
    new[new > capacity] = capacity
    return new


# %% right 2
def breed(left, probability, capacity, generator):
    odds = torch.full((*left.shape, int(left.max())), probability)
    born = torch.bernoulli(odds, generator=generator)
    born = born * (torch.arange(born.shape[-1]) < left[..., None])
    return (left + born.sum(-1)).round().int().clamp(max=capacity)


# %% wrong 2
def breed(left, probability, capacity, generator):
    return (left + (probability * left).round().long()).clamp(max=capacity)


# %% wrong 2
def breed(left, probability, capacity, generator):
    young = torch.binomial(left.double(), torch.full(left.shape, probability).double(), generator=generator)
    return left + young.long()


# %% wrong 2
def breed(left, probability, capacity, generator):
    young = torch.binomial(left.double(), torch.full(left.shape, probability).double())
    return (left + young.long()).clamp(max=capacity)


# %% wrong 2
def breed(left, probability, capacity, generator):
    generator.manual_seed(0)
    young = torch.binomial(left.double(), torch.full(left.shape, probability).double(), generator=generator)
    return (left + young.long()).clamp(max=capacity)


# %% wrong 2
def breed(left, probability, capacity, generator):
    young = torch.poisson(probability * left.double(), generator=generator)
    return (left + young.long()).clamp(max=capacity)


# %% right 3
def own_rates(phi):
    rate = torch.sigmoid(phi).unsqueeze(-1)
    N = phi.shape[-1]
    return torch.diag_embed(1 - rate[..., 0]) + (rate / N).expand(-1, -1, N)
    return ...


# %% right 3
def own_rates(phi):
    seeds, N = phi.shape
    rate = torch.sigmoid(phi)
    rows = [
        torch.stack([(1 - rate[k, i]) * (torch.arange(N) == i) + rate[k, i] / N for i in range(N)])
        for k in range(seeds)
    ]
    return torch.stack(rows)


# %% right 3
def own_rates(phi):
    rate = (1 / (1 + torch.exp(-phi)))[..., None]
    eye = torch.eye(phi.shape[1], dtype=phi.dtype)
    return eye + rate * (1 / phi.shape[1] - eye)


# %% right 3
def own_rates(phi):
    N = phi.size(1)
    kept = torch.einsum("si,ij->sij", 1 - phi.sigmoid(), torch.eye(N, dtype=phi.dtype))
    return kept + torch.einsum("si,j->sij", phi.sigmoid(), torch.full((N,), 1 / N, dtype=phi.dtype))


# %% wrong 3
def own_rates(phi):
    rate = phi.sigmoid()[..., None]
    return (1 - rate) * torch.eye(phi.shape[-1]).to(phi) + rate / (phi.shape[-1] - 1)


# %% wrong 3
def own_rates(phi):
    rate = phi.sigmoid().mean(-1)[:, None, None]
    return (1 - rate) * torch.eye(phi.shape[-1]).to(phi) + rate / phi.shape[-1]


# %% wrong 3
def own_rates(phi):
    rate = phi[..., None]
    return (1 - rate) * torch.eye(phi.shape[-1]).to(phi) + rate / phi.shape[-1]


# %% wrong 3
def own_rates(phi):
    rate = phi.sigmoid()[..., None].detach()
    return (1 - rate) * torch.eye(phi.shape[-1]).to(phi) + rate / phi.shape[-1]


# %% wrong 3
def own_rates(phi):
    rate = phi.sigmoid()[..., None]
    return (1 - rate) * torch.eye(3).to(phi) + rate / 3


# %% right 4
class Volunteer(Pond):
    trouble = 0.4
    action_names = property(lambda self: ("volunteer", "wait"))
    best_welfare = property(lambda self: self.horizon * (self.agents - self.trouble))

    def step(self, state, actions, generator):
        helped = (actions == 0).any(-1, keepdim=True)
        rewards = helped.float() - self.trouble * (actions == 0)
        return PondState(state.fish, state.day + 1), rewards, state.day + 1 >= self.horizon


my_game = Volunteer(horizon=1)


# %% right 4
class Meadow(Pond):
    @property
    def best_welfare(self):
        return 100.0


my_game = Meadow()
# %% right 4
import dataclasses


@dataclasses.dataclass(frozen=True)
class Chores(Pond):
    effort: float = 0.5
    action_names = property(lambda self: ("work", "rest"))
    best_welfare = property(lambda self: self.horizon * self.agents * (self.agents - 1) * self.effort)

    def step(self, state, actions, generator):
        work = (actions == 0).float()
        rewards = self.effort * (work.sum(-1, keepdim=True) - work) - 0.0 * work
        return PondState(state.fish, state.day + 1), rewards, state.day + 1 >= self.horizon


my_game = Chores(horizon=2)


# %% right 4
class Bonus(Pond):
    best_welfare = property(lambda self: super(Bonus, self).best_welfare + self.horizon)

    def step(self, state, actions, generator):
        state, rewards, done = super().step(state, actions, generator)
        return state, rewards + 1 / self.agents, done


my_game = Bonus()
# %% wrong 4
my_game = Pond()


# %% wrong 4
class Volunteer(Pond):
    best_welfare = property(lambda self: 0.1)


my_game = Volunteer()


# %% wrong 4
class Endless(Pond):
    def step(self, state, actions, generator):
        state, rewards, done = super().step(state, actions, generator)
        return state, rewards, torch.zeros_like(done)


my_game = Endless()


# %% wrong 4
class Dice(Pond):
    best_welfare = property(lambda self: 1000.0)

    def step(self, state, actions, generator):
        state, rewards, done = super().step(state, actions, generator)
        return state, rewards + torch.rand(rewards.shape), done


my_game = Dice()


# %% wrong 4
class Blurred(Pond):
    def observe(self, state):
        return super().observe(state) + torch.randint(2, (1, self.agents))


my_game = Blurred(horizon=2)
