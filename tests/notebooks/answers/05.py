# %% right 1
def digs(T):
    n = len(T)
    return [bool(3 * T[(i - 1) % n, i] > T[i, i]) for i in range(n)]


# %% right 1
def digs(T):
    return 3 * T.roll(1, 0).diagonal() > T.diagonal()
    return ...


# %% right 1
def digs(T):
    cost, benefit = T.diagonal(), 3 * torch.diagonal(torch.roll(T, 1, 0))
    return (benefit - cost).sign().clamp(min=0)


# %% right 1
def digs(T):
    i = torch.arange(len(T))
    return 3 * T[i - 1, i] - T[i, i] > 1e-8


# %% right 1
def digs(T):
    import numpy as np

    T = T.detach().numpy()
    return np.array([3 * T[i - 1][i] > T[i][i] for i in range(len(T))])


# %% wrong 1
def digs(T):
    return 3 * T.diagonal() > 1


# %% wrong 1
def digs(T):
    return bool((3 * T.roll(1, 0).diagonal() > T.diagonal()).all())


# %% wrong 1
def digs(T):
    return T.roll(1, 0).diagonal() > T.diagonal()


# %% wrong 1
def digs(T):
    return 3 * T.roll(-1, 0).diagonal() > T.diagonal()


# %% right 2
def repaired(phi, theta, K):
    def after(phi):
        return rewards(learn(theta, matrix(phi), K).sigmoid()).sum()

    return torch.func.grad(after)(phi)
    return ...


# %% right 2
def repaired(phi, theta, K):
    phi = phi.detach().requires_grad_()
    for _ in range(K):
        theta = learn(theta, matrix(phi), 1)
    welfare = rewards(theta.sigmoid()).sum() + 0 * phi.sum()
    return torch.autograd.grad(welfare, phi)[0]


# %% right 2
def repaired(phi, theta, K):
    phi = phi.clone().requires_grad_()
    rewards(learn(theta, matrix(phi), K).sigmoid()).sum().backward()
    return phi.grad


# %% right 2
def repaired(phi, theta, K):
    return torch.func.jacrev(lambda x: rewards(learn(theta, matrix(x), K).sigmoid()))(phi).sum(0).numpy()


# %% wrong 2
def repaired(phi, theta, K):
    return broken(phi, theta, K)


# %% wrong 2
def repaired(phi, theta, K):
    return torch.func.grad(lambda phi: rewards(learn(theta, matrix(phi), 1).sigmoid()).sum())(phi)


# %% wrong 2
def repaired(phi, theta, K):
    return torch.func.grad(lambda phi: -rewards(learn(theta, matrix(phi), K).sigmoid()).sum())(phi)


# %% wrong 2
def repaired(phi, theta, K):
    return torch.func.grad(lambda phi: rewards(learn(theta, matrix(phi), K).sigmoid()).sum())(phi).sum()


# %% right 3
def share_slopes(theta, T, rate):
    n = len(theta)
    found = torch.zeros(n, n)
    for i in range(n):
        p = theta[i].sigmoid()
        new = (theta[i] + rate * p * (1 - p) * (3 * T[i - 1, i] - T[i, i])).sigmoid()
        found[i, i] = -2 * new * (1 - new) * rate * p * (1 - p)
        found[i - 1, i] = -3 * found[i, i]
    return found
    return ...


# %% right 3
def share_slopes(theta, T, rate):
    import numpy as np

    theta, T = theta.numpy(), T.numpy()
    n, p = len(theta), 1 / (1 + np.exp(-theta))
    i = np.arange(n)
    after = theta + rate * p * (1 - p) * (3 * T[i - 1, i] - T[i, i])
    slope = 2 / (2 + np.exp(after) + np.exp(-after)) * rate * p * (1 - p)
    out = np.zeros((n, n))
    out[i, i], out[i - 1, i] = -slope, 3 * slope
    return out


# %% right 3
def share_slopes(theta, T, rate):
    p = theta.sigmoid()
    step = rate * p * (1 - p)
    q = (theta + step * (3 * T.roll(1, 0).diagonal() - T.diagonal())).sigmoid()
    return (2 * q * (1 - q) * step) * (3 * torch.eye(len(theta)).roll(-1, 0) - torch.eye(len(theta)))


# %% right 3
def share_slopes(theta, T, rate):
    p = theta.sigmoid()
    q = (theta + rate * p * (1 - p) * (3 * T.roll(1, 0).diagonal() - T.diagonal())).sigmoid()
    f = (2 * q * (1 - q) * rate * p * (1 - p)).tolist()
    n = len(f)
    return [[{0: -f[j], 1: 3 * f[j]}.get((j - i) % n, 0.0) for j in range(n)] for i in range(n)]


# %% wrong 3
def share_slopes(theta, T, rate):
    p = theta.sigmoid()
    q = (theta + rate * p * (1 - p) * (3 * T.roll(1, 0).diagonal() - T.diagonal())).sigmoid()
    factor = 2 * q * (1 - q) * rate * p * (1 - p)
    return (-torch.diag(factor) + 3 * torch.diag(factor).roll(-1, 0)).T


# %% wrong 3
def share_slopes(theta, T, rate):
    p = theta.sigmoid()
    q = (theta + rate * p * (1 - p) * (3 * T.roll(1, 0).diagonal() - T.diagonal())).sigmoid()
    return -torch.diag(2 * q * (1 - q) * rate * p * (1 - p))


# %% wrong 3
def share_slopes(theta, T, rate):
    p = theta.sigmoid()
    q = (theta + rate * p * (1 - p) * (3 * T.roll(1, 0).diagonal() - T.diagonal())).sigmoid()
    factor = 2 * q * (1 - q) * p * (1 - p)
    return -torch.diag(factor) + 3 * torch.diag(factor).roll(-1, 0)


# %% wrong 3
def share_slopes(theta, T, rate):
    return torch.zeros_like(theta)


# %% right 4
def success_rate(T, new, learn, welfare, rounds, seeds, threshold):
    ends = []
    for seed in range(seeds):
        theta = new(seed)
        for _ in range(rounds):
            theta = learn(theta, T)
        ends.append(float(welfare(theta) > threshold))
    return torch.tensor(ends).mean()
    return ...


# %% right 4
def success_rate(T, new, learn, welfare, rounds, seeds, threshold):
    def end(seed):
        theta = new(seed)
        for _ in range(rounds):
            theta = learn(theta, T)
        return welfare(theta)

    return sum(end(seed) > threshold for seed in range(seeds)) / seeds


# %% right 4
def success_rate(T, new, learn, welfare, rounds, seeds, threshold):
    from functools import reduce

    ends = [welfare(reduce(lambda theta, _: learn(theta, T), range(rounds), new(s))) for s in range(seeds)]
    return len([end for end in ends if end > threshold]) / len(ends)


# %% right 4
def success_rate(T, new, learn, welfare, rounds, seeds, threshold):
    import numpy as np

    policies = [new(seed) for seed in range(1, seeds + 1)]
    for _ in range(rounds):
        policies = [learn(theta, T.clone()) for theta in policies]
    return np.mean([welfare(theta) > threshold for theta in policies])


# %% wrong 4
def success_rate(T, new, learn, welfare, rounds, seeds, threshold):
    successes = 0
    for seed in range(seeds):
        theta = new(seed)
        for _ in range(rounds):
            theta = learn(theta, T)
        successes += welfare(theta) > threshold
    return successes


# %% wrong 4
def success_rate(T, new, learn, welfare, rounds, seeds, threshold):
    successes = 0
    for seed in range(seeds):
        theta, best = new(seed), 0.0
        for _ in range(rounds):
            theta = learn(theta, T)
            best = max(best, welfare(theta))
        successes += best > threshold
    return successes / seeds


# %% wrong 4
def success_rate(T, new, learn, welfare, rounds, seeds, threshold):
    theta = new(0)
    for _ in range(rounds):
        theta = learn(theta, T)
    return float(welfare(theta) > threshold)


# %% wrong 4
def success_rate(T, new, learn, welfare, rounds, seeds, threshold):
    return sum(welfare(new(seed)) > threshold for seed in range(seeds)) / seeds
