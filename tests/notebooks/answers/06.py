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
def hypergradient(R, S, T, P, p, rate):
    worth = p * (R - S) + (1 - p) * (T - P)
    return [rate * worth, -rate * worth]
    return ...


# %% right 2
def hypergradient(R, S, T, P, p, rate):
    worth = p * (R - S) + (1 - p) * (T - P)
    return rate * worth * torch.tensor([1.0, -1.0])


# %% right 2
def hypergradient(R, S, T, P, p, rate):
    def reward(eta):
        q = 0.5 + rate * (p * (R - T) + (1 - p) * (S - P) + eta[0] - eta[1])
        return p * (q * R + (1 - q) * S) + (1 - p) * (q * T + (1 - q) * P)

    return torch.func.grad(reward)(torch.zeros(2))


# %% right 2
def hypergradient(R, S, T, P, p, rate):
    import numpy as np

    pay = np.array([[R, S], [T, P]])
    worth = np.array([p, 1 - p]) @ (pay[:, 0] - pay[:, 1])
    return rate * worth, -rate * worth


# %% wrong 2
def hypergradient(R, S, T, P, p, rate):
    worth = p * (R - S) + (1 - p) * (T - P)
    return rate * worth, rate * worth


# %% wrong 2
def hypergradient(R, S, T, P, p, rate):
    worth = p * (R - T) + (1 - p) * (S - P)
    return rate * worth, -rate * worth


# %% wrong 2
def hypergradient(R, S, T, P, p, rate):
    return rate * 2, -rate * 2


# %% wrong 2
def hypergradient(R, S, T, P, p, rate):
    return rate * (p * (R - S) + (1 - p) * (T - P))


# %% right 3
def best_incentive(worth, q, rate, cost):
    return torch.relu(torch.tensor((worth / cost - q / rate) / 2))
    return ...


# %% right 3
def best_incentive(worth, q, rate, cost):
    etas = torch.linspace(0, 10, 200_001)
    after = q + rate * etas
    return etas[(worth * after - cost * etas * after).argmax()]


# %% right 3
def best_incentive(worth, q, rate, cost):
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda eta: (cost * eta - worth) * (q + rate * eta),
        bounds=(0, 50),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return found.x


# %% right 3
def best_incentive(worth, q, rate, cost):
    eta = 0.0
    for _ in range(2000):
        slope = rate * worth - cost * (q + 2 * rate * eta)
        eta = max(eta + slope / (4 * rate * cost), 0.0)
    return eta


# %% right 3
def best_incentive(worth, q, rate, cost):
    import numpy as np

    slope = np.poly1d([-cost * rate, worth * rate - cost * q, worth * q]).deriv()
    return np.clip(slope.roots[0].real, 0, None)


# %% wrong 3
def best_incentive(worth, q, rate, cost):
    return worth / cost


# %% wrong 3
def best_incentive(worth, q, rate, cost):
    return max(worth / (2 * cost), 0.0)


# %% wrong 3
def best_incentive(worth, q, rate, cost):
    return max((worth - q / rate) / 2, 0.0)


# %% wrong 3
def best_incentive(worth, q, rate, cost):
    return max(worth / cost - q / rate, 0.0)


# %% wrong 3
def best_incentive(worth, q, rate, cost):
    return 100.0 if rate * worth > cost * q else 0.0
