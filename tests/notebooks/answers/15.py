# %% right 1
def smallest_lead(alpha):
    return torch.tensor(1.0) / (alpha - 1)
    return ...


# %% right 1
def smallest_lead(alpha):
    power = 1 / (alpha - 1)
    return power


# %% right 1
def smallest_lead(alpha):
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (alpha - 1) * middle < 1 else (low, middle)
    return high


# %% right 1
def smallest_lead(alpha):
    import numpy as np

    return np.reciprocal(alpha - 1.0)


# %% wrong 1
def smallest_lead(alpha):
    return alpha - 1


# %% wrong 1
def smallest_lead(alpha):
    return 2 / alpha


# %% wrong 1
def smallest_lead(alpha):
    return 1 / (alpha - 1) ** 2


# %% wrong 1
def smallest_lead(alpha):
    return 3 - alpha


# %% right 2
def partial_collapse(N, used):
    ratio = N / used
    return [used, ratio - 1, ratio, ratio - 1]


# %% right 2
def partial_collapse(N, used):
    return torch.tensor([used, N / used - 1, N / used, N / used - 1])


# %% right 2
def partial_collapse(N, used):
    import numpy as np

    shares = np.full(used, 1 / used)
    total = np.concatenate((shares, np.zeros(N - used)))
    entropy = -(shares * np.log(shares)).sum()
    return np.array(
        [np.exp(entropy), total.max() * N - 1, N * (total**2).sum(), total.var() / total.mean() ** 2]
    )


# %% right 2
def partial_collapse(N, used):
    gates = torch.eye(N)[torch.arange(N * used) % used]
    return effective(gates), max_violation(gates), switch(gates, gates), importance(gates)


# %% wrong 2
def partial_collapse(N, used):
    return used / N, N / used - 1, N / used, N / used - 1


# %% wrong 2
def partial_collapse(N, used):
    return used, N / used, N / used, N / used - 1


# %% wrong 2
def partial_collapse(N, used):
    return used, N / used - 1, 1.0, N / used - 1


# %% wrong 2
def partial_collapse(N, used):
    return used, N / used - 1, N / used


# %% right 3
def router_slopes(p, outputs, t, alpha):
    s = p ** (2 - alpha) * (p > 0)
    jacobian = torch.diag(s) - torch.outer(s, s) / s.sum()
    return jacobian @ outputs * (p @ outputs - t)


# %% right 3
def router_slopes(p, outputs, t, alpha):
    s = [float(value) ** (2 - alpha) if value > 0 else 0.0 for value in p]
    mean = sum(a * float(b) for a, b in zip(s, outputs)) / sum(s)
    error = float(p @ outputs) - t
    return [error * a * (float(b) - mean) for a, b in zip(s, outputs)]


# %% right 3
def router_slopes(p, outputs, t, alpha):
    import numpy as np

    p, outputs = p.detach().numpy(), outputs.numpy()
    s = np.where(p > 0, np.where(p > 0, p, 1.0) ** (2 - alpha), 0.0)
    return (p @ outputs - t) * s * (outputs - np.average(outputs, weights=s))


# %% right 3
def router_slopes(p, outputs, t, alpha):
    slopes, active = torch.zeros_like(p), p > 0
    s, y = p[active] ** (2 - alpha), outputs[active]
    slopes[active] = (p @ outputs - t) * s * (y - s @ y / s.sum())
    return slopes
    return ...


# %% wrong 3
def router_slopes(p, outputs, t, alpha):
    return (p @ outputs - t) * p * (outputs - p @ outputs)


# %% wrong 3
def router_slopes(p, outputs, t, alpha):
    s = p ** (2 - alpha) * (p > 0)
    return (t - p @ outputs) * s * (outputs - s @ outputs / s.sum())


# %% wrong 3
def router_slopes(p, outputs, t, alpha):
    s = p ** (2 - alpha)
    return (p @ outputs - t) * s * (outputs - s @ outputs / s.sum())


# %% wrong 3
def router_slopes(p, outputs, t, alpha):
    s = p ** (2 - alpha) * (p > 0)
    return s * (outputs - s @ outputs / s.sum())


# %% right 4
def fair_difference(first, second, tuning):
    chosen = []
    for runs in (first, second):
        means = [float(row[:tuning].mean()) for row in runs]
        chosen.append(runs[means.index(max(means))][tuning:])
    return float((chosen[0] - chosen[1]).mean())


# %% right 4
def fair_difference(first, second, tuning):
    a = first[first[:, :tuning].sum(1).argmax(), tuning:].mean()
    return a - second[second[:, :tuning].sum(1).argmax(), tuning:].mean()
    return ...


# %% right 4
def fair_difference(first, second, tuning):
    import numpy as np

    first, second = np.asarray(first), np.asarray(second)
    i, j = (runs[:, :tuning].mean(1).argmax() for runs in (first, second))
    return np.mean(first[i, tuning:] - second[j, tuning:])


# %% right 4
def fair_difference(first, second, tuning):
    tuned, rest = zip(*(runs.tensor_split([tuning], dim=1) for runs in (first, second)))
    best = [int(runs.mean(1).max(0).indices) for runs in tuned]
    return rest[0][best[0]].mean() - rest[1][best[1]].mean()


# %% wrong 4
def fair_difference(first, second, tuning):
    best = first[:, :tuning].mean(1).argmax()
    return (first[best, tuning:] - second[best, tuning:]).mean()


# %% wrong 4
def fair_difference(first, second, tuning):
    return first[:, :tuning].mean(1).max() - second[:, :tuning].mean(1).max()


# %% wrong 4
def fair_difference(first, second, tuning):
    return first[:, tuning:].mean(1).max() - second[:, tuning:].mean(1).max()


# %% wrong 4
def fair_difference(first, second, tuning):
    i, j = (runs[:, :tuning].mean(1).argmax() for runs in (first, second))
    return (second[j, tuning:] - first[i, tuning:]).mean()
