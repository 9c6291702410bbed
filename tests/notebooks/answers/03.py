# %% right 1
def greed_and_fear(R, S, T, P):
    return (T > R, P > S)
    return ...


# %% right 1
def greed_and_fear(R, S, T, P):
    greed = T - R > 0
    fear = P - S > 0
    return [greed, fear]


# %% right 1
def greed_and_fear(R, S, T, P):
    return torch.tensor([T > R, P > S])


# %% right 1
def greed_and_fear(R, S, T, P):
    import numpy as np

    return np.array([T, P]) > np.array([R, S])


# %% wrong 1
def greed_and_fear(R, S, T, P):
    return P > S, T > R


# %% wrong 1
def greed_and_fear(R, S, T, P):
    return T >= R, P >= S


# %% wrong 1
def greed_and_fear(R, S, T, P):
    return T > R and P > S


# %% wrong 1
def greed_and_fear(R, S, T, P):
    print(T > R, P > S)


# %% right 2
def dilemma_between(N):
    return 1.0, float(N)


# %% right 2
def dilemma_between(N):
    return [1, N]


# %% right 2
def dilemma_between(N):
    return torch.tensor([1.0, N])


# %% right 2
def dilemma_between(N):
    low, high = N / N, N
    return low, high
    # return ...


# %% wrong 2
def dilemma_between(N):
    return 0, N


# %% wrong 2
def dilemma_between(N):
    return 1, N - 1


# %% wrong 2
def dilemma_between(N):
    return N, 1


# %% wrong 2
def dilemma_between(N):
    return 1, 4


# %% right 3
def after_sharing(R, S, T, P, s):
    return [R, S + s * (T - S), T - s * (T - S), P]


# %% right 3
def after_sharing(R, S, T, P, s):
    share = torch.tensor([[1 - s, s], [s, 1 - s]])
    low, high = share @ torch.tensor([float(S), float(T)])
    return R, low, high, P


# %% right 3
def after_sharing(R, S, T, P, s):
    import numpy as np

    own, other = np.array([R, S, T, P]), np.array([R, T, S, P])
    return (1 - s) * own + s * other


# %% right 3
def after_sharing(R, S, T, P, s):
    keep = 1 - s
    return keep * R + s * R, keep * S + s * T, keep * T + s * S, keep * P + s * P
    return ...


# %% wrong 3
def after_sharing(R, S, T, P, s):
    return R, s * S + (1 - s) * T, s * T + (1 - s) * S, P


# %% wrong 3
def after_sharing(R, S, T, P, s):
    return R, S + s * T, T + s * S, P


# %% wrong 3
def after_sharing(R, S, T, P, s):
    return R, (S + T) / 2, (S + T) / 2, P


# %% wrong 3
def after_sharing(R, S, T, P, s):
    return -1, (1 - s) * -3, (1 - s) * 0 - 3 * s, -2


# %% right 4
def my_strategy(own, others):
    if len(others) == 0:
        return "C"
    return others[-1]


# %% right 4
def my_strategy(own, others):
    return "D" if others.endswith("D") else "C"


# %% right 4
def my_strategy(own, others):
    return "D" if others[-1:] == "D" else "C"
    return ...


# %% right 4
def my_strategy(own, others):
    recent = others[-2:]
    return "D" if "D" in recent and recent[-1] == "D" else "C"


# %% wrong 4
def my_strategy(own, others):
    return "C"


# %% wrong 4
def my_strategy(own, others):
    return "D"


# %% wrong 4
def my_strategy(own, others):
    return "D" if others.endswith("DD") else "C"


# %% wrong 4
def my_strategy(own, others):
    return others[-1]
