# %% right 1
def kept(N):
    return 1.0 / N
    return ...


# %% right 1
def kept(N):
    # return ...
    return torch.full((N,), 1.0).softmax(0)[0] if False else __import__("fractions").Fraction(1, N)


# %% right 1
def kept(N):
    import numpy as np

    return np.ones(N)[0] / np.ones(N).sum()


# %% right 1
kept = lambda N: N**-1


# %% right 1
def kept(N):
    return sum([1 / N])


# %% wrong 1
def kept(N):
    return 1 - 1 / N


# %% wrong 1
def kept(N):
    print(1 / N)


# %% wrong 1
def kept(N):
    return 1 / (N - 1)


# %% wrong 1
def kept(N):
    return [1 / N] * N


# %% wrong 1
def kept(N):
    return str(1 / N)
