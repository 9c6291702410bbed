# %% right 1
def minimal_payment(R, S, T, P):
    greed, fear = T - R, P - S
    return greed if greed > fear else fear
    return ...


# %% right 1
def minimal_payment(R, S, T, P):
    return torch.tensor([float(T - R), float(P - S)]).max()


# %% right 1
def minimal_payment(R, S, T, P):
    import numpy as np

    return np.max([T - R, P - S])


# %% right 1
def minimal_payment(R, S, T, P):
    return sorted((T - R, P - S, 0))[-1]


# %% wrong 1
def minimal_payment(R, S, T, P):
    return min(T - R, P - S)


# %% wrong 1
def minimal_payment(R, S, T, P):
    return T - R + P - S


# %% wrong 1
def minimal_payment(R, S, T, P):
    return P - S


# %% wrong 1
def minimal_payment(R, S, T, P):
    print(max(T - R, P - S))


# %% right 2
def share_given(values, assumed, action):
    spread = values.max() - values.min()
    return ((values[action] - values @ assumed) / (spread + 1e-8)).clamp(min=0)


# %% right 2
def share_given(values, assumed, action):
    expected = (values * assumed).sum()
    spread = max(values) - min(values)
    if spread <= 0:
        return 0
    return max(0, (values[action] - expected) / spread)
    return ...


# %% right 2
def share_given(values, assumed, action):
    v, a = values.detach().tolist(), assumed.tolist()
    expected = sum(x * y for x, y in zip(v, a, strict=True))
    spread = max(v) - min(v)
    return max((v[action] - expected) / spread, 0) if spread else 0.0


# %% right 2
def share_given(values, assumed, action):
    import numpy as np

    v = values.numpy()
    share = (v[action] - np.dot(v, assumed.numpy())) / max(np.ptp(v), 1e-8)
    return np.clip(share, 0, 1)


# %% right 2
def share_given(values, assumed, action):
    w = (values[action] - torch.dot(values, assumed)) / (values.max() - values.min())
    return torch.nan_to_num(w, nan=0.0).relu()


# %% wrong 2
def share_given(values, assumed, action):
    return ((values[action] - values @ assumed) / values.max()).clamp(min=0)


# %% wrong 2
def share_given(values, assumed, action):
    return ((values[action] - values.mean()) / (values.max() - values.min() + 1e-8)).clamp(min=0)


# %% wrong 2
def share_given(values, assumed, action):
    return ((values[action] - values @ assumed) / (values.max() - values.min())).abs()


# %% wrong 2
def share_given(values, assumed, action):
    return (values - values @ assumed).clamp(min=0)[action]


# %% right 3
def hypergradient(R, S, T, P, p, rate):
    worth = p * (R - S) + (1 - p) * (T - P)
    return [rate * worth, -rate * worth]
    return ...


# %% right 3
def hypergradient(R, S, T, P, p, rate):
    worth = p * (R - S) + (1 - p) * (T - P)
    return rate * worth * torch.tensor([1.0, -1.0])


# %% right 3
def hypergradient(R, S, T, P, p, rate):
    def reward(eta):
        q = 0.5 + rate * (p * (R - T) + (1 - p) * (S - P) + eta[0] - eta[1])
        return p * (q * R + (1 - q) * S) + (1 - p) * (q * T + (1 - q) * P)

    return torch.func.grad(reward)(torch.zeros(2))


# %% right 3
def hypergradient(R, S, T, P, p, rate):
    import numpy as np

    pay = np.array([[R, S], [T, P]])
    worth = np.array([p, 1 - p]) @ (pay[:, 0] - pay[:, 1])
    return rate * worth, -rate * worth


# %% wrong 3
def hypergradient(R, S, T, P, p, rate):
    worth = p * (R - S) + (1 - p) * (T - P)
    return rate * worth, rate * worth


# %% wrong 3
def hypergradient(R, S, T, P, p, rate):
    worth = p * (R - T) + (1 - p) * (S - P)
    return rate * worth, -rate * worth


# %% wrong 3
def hypergradient(R, S, T, P, p, rate):
    return rate * 2, -rate * 2


# %% wrong 3
def hypergradient(R, S, T, P, p, rate):
    return rate * (p * (R - S) + (1 - p) * (T - P))


# %% right 4
def fixed_point(R, S, T, P):
    return torch.tensor(T + S - P) / (2 * T + S - P - R)


# %% right 4
def fixed_point(R, S, T, P):
    low, high = 1e-6, 1 - 1e-6
    while high - low > 5e-6:
        p = (low + high) / 2
        cooperate = p * (p * R + (1 - p) * R) + (1 - p) * (S + (1 - p) * T)
        defect = p * p * T + (1 - p) * P
        low, high = (p, high) if cooperate > defect else (low, p)
    return (low + high) / 2


# %% right 4
def fixed_point(R, S, T, P):
    from scipy.optimize import brentq

    def gain(p):
        return p * R + (1 - p) * (S + (1 - p) * T) - p * p * T - (1 - p) * P

    return brentq(gain, 1e-3, 1 - 1e-3)
    return ...


# %% right 4
def fixed_point(R, S, T, P):
    import numpy as np

    # R p + S (1 - p) + T (1 - p)^2 - T p^2 - P (1 - p) = 0: the squares cancel
    p = np.roots([R - S - 2 * T + P, S + T - P])
    return p[0]


# %% wrong 4
def fixed_point(R, S, T, P):
    return (T + S - P) / (2 * T + S - P - R) + 1e-3


# %% wrong 4
def fixed_point(R, S, T, P):
    return 0.5


# %% wrong 4
def fixed_point(R, S, T, P):
    return (T + S - P) / (T + S - P - R)


# %% wrong 4
def fixed_point(R, S, T, P):
    return 0.8
