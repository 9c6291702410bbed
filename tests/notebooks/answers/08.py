# %% right 1
def factor(N, s):
    return s - (1 - s) / (N - 1)
    return ...


# %% right 1
def factor(N, s):
    T = torch.full((N, N), (1 - s) / (N - 1)).fill_diagonal_(s)
    return torch.linalg.eigvals(T).real.min() if N * s < 1 else T[0, 0] - T[0, 1]


# %% right 1
def factor(N, s):
    import numpy as np

    return np.divide(N * s - 1, N - 1)


# %% right 1
def factor(N, s):
    given = 1 - s
    return 1 - given * N / (N - 1)


# %% wrong 1
def factor(N, s):
    return s


# %% wrong 1
def factor(N, s):
    return s + (1 - s) / (N - 1)


# %% wrong 1
def factor(N, s):
    return 1 - N * (1 - s)


# %% wrong 1
def factor(N, s):
    return (N * s - 1) / N


# %% right 2
def smallest_share(payoffs):
    a = payoffs[0, 0] - payoffs[0, 1] - payoffs[1, 0] + payoffs[1, 1]
    common, opposed = (a[0] + a[1]) / 2, (a[0] - a[1]) / 2
    return torch.clamp((1 - (common / opposed).abs()) / 2, min=0)
    return ...


# %% right 2
def smallest_share(payoffs):
    def opposed(g):
        shared = share(payoffs, g)
        a = shared[0, 0] - shared[0, 1] - shared[1, 0] + shared[1, 1]
        return bool(a[0] * a[1] < 0)

    low, high = 0.0, 0.5
    if not opposed(0.0):
        return 0.0
    for _ in range(18):
        middle = (low + high) / 2
        low, high = (middle, high) if opposed(middle) else (low, middle)
    return high


# %% right 2
def smallest_share(payoffs):
    import numpy as np

    p = payoffs.numpy()
    a = p[0, 0] - p[0, 1] - p[1, 0] + p[1, 1]
    return float(np.clip(0.5 - 0.5 * abs(a[0] + a[1]) / (abs(a[0] - a[1]) + 1e-8), 0, 0.5))


# %% right 2
def smallest_share(payoffs):
    a1, a2 = (payoffs[0, 0] - payoffs[0, 1] - payoffs[1, 0] + payoffs[1, 1]).tolist()
    if a1 * a2 >= 0:
        return 0
    return min(abs(a1), abs(a2)) / (abs(a1) + abs(a2))


# %% wrong 2
def smallest_share(payoffs):
    return 0.5


# %% wrong 2
def smallest_share(payoffs):
    a = payoffs[0, 0] - payoffs[0, 1] - payoffs[1, 0] + payoffs[1, 1]
    return float((1 - (a.sum() / (a[0] - a[1])).abs()) / 2)


# %% wrong 2
def smallest_share(payoffs):
    a = payoffs[0, 0] - payoffs[0, 1] - payoffs[1, 0] + payoffs[1, 1]
    return max(0.0, float(1 - (a.sum() / (a[0] - a[1])).abs()))


# %% wrong 2
def smallest_share(payoffs):
    return max(0.0, float(1 - payoffs[0, 0].mean()) / 2)


# %% right 3
def predicted_values(now, before):
    return now + (now - before)
    return ...


# %% right 3
def predicted_values(now, before):
    now *= 2
    now -= before
    return now.numpy()


# %% right 3
def predicted_values(now, before):
    return torch.lerp(before, now, 2.0)


# %% right 3
def predicted_values(now, before):
    return torch.stack((now, before), -1) @ torch.tensor([2.0, -1.0], dtype=now.dtype)


# %% wrong 3
def predicted_values(now, before):
    return now


# %% wrong 3
def predicted_values(now, before):
    return now - before


# %% wrong 3
def predicted_values(now, before):
    return 3 * now - 2 * before


# %% wrong 3
def predicted_values(now, before):
    return 2 * before - now


# %% right 4
def minimal_shares(b):
    x = (1 - b) / (1 + b)
    return [x, 0]
    return ...


# %% right 4
def minimal_shares(b):
    return torch.tensor([(1 - b) / (1 + b), 0.0])


# %% right 4
def minimal_shares(b):
    from scipy.optimize import linprog

    found = linprog([1, 1], A_ub=[[-(1 + b), -(1 - b)]], b_ub=[-(1 - b)], bounds=[(0, 1), (0, 1)])
    return found.x


# %% right 4
def minimal_shares(b):
    import numpy as np

    return np.array([2 / (1 + b) - 1, 0])


# %% right 4
def minimal_shares(b):
    x = torch.linspace(0, 1, 200001, dtype=torch.float64)
    return x[x * (1 + b) >= (1 - b) - 1e-9].min(), 0


# %% wrong 4
def minimal_shares(b):
    return 0.0, (1 - b) / (1 + b)


# %% wrong 4
def minimal_shares(b):
    return 0.5, 0.0


# %% wrong 4
def minimal_shares(b):
    return (1 - b) / (1 + b)


# %% wrong 4
def minimal_shares(b):
    return (1 - b) / 2, 0.0
