# %% right 1
def verdict(low, high, published, margin):
    inside = published - margin <= low and high <= published + margin
    apart = high < published - margin or low > published + margin
    return "reproduced" if inside else "not reproduced" if apart else "undecided"
    return ...


# %% right 1
def verdict(low, high, published, margin):
    if max(abs(low - published), abs(high - published)) <= margin:
        return "reproduced"
    nearest = min(max(published, low), high)
    return "not reproduced" if abs(nearest - published) > margin else "undecided"


# %% right 1
def verdict(low, high, published, margin):
    inside, apart = regions(torch.tensor(low), torch.tensor(high), published, margin)
    return WORDS[0 if inside else 1 if apart else 2]


# %% right 1
def verdict(low, high, published, margin):
    ends = np.array([low, high]) - published
    if np.all(np.abs(ends) <= margin):
        return "reproduced"
    if np.all(ends > margin) or np.all(ends < -margin):
        return "not reproduced"
    return "undecided"


# %% wrong 1
def verdict(low, high, published, margin):
    return "reproduced" if low <= published <= high else "not reproduced"


# %% wrong 1
def verdict(low, high, published, margin):
    if low >= published - margin and high <= published + margin:
        return "reproduced"
    return "undecided" if low <= published <= high else "not reproduced"


# %% wrong 1
def verdict(low, high, published, margin):
    if low > published - margin and high < published + margin:
        return "reproduced"
    if high < published - margin or low > published + margin:
        return "not reproduced"
    return "undecided"


# %% wrong 1
def verdict(low, high, published, margin):
    if abs((low + high) / 2 - published) <= margin:
        return "reproduced"
    if high < published - margin or low > published + margin:
        return "not reproduced"
    return "undecided"


# %% right 2
def seeds_needed(s, d):
    import math

    return math.ceil(2.8**2 * (s / d) ** 2)
    return ...


# %% right 2
def seeds_needed(s, d):
    return torch.ceil(torch.tensor(7.84 * s**2 / d**2))


# %% right 2
def seeds_needed(s, d):
    n = 1
    while (1.96 + 0.84) * s / n**0.5 > d:
        n += 1
    return n


# %% right 2
def seeds_needed(s, d):
    from statistics import NormalDist

    quantiles = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
    return int(np.ceil((quantiles * s / d) ** 2))


# %% wrong 2
def seeds_needed(s, d):
    return int(np.ceil(2 * (1.96 + 0.84) ** 2 * s**2 / d**2))


# %% wrong 2
def seeds_needed(s, d):
    return int(np.ceil((1.96 + 1.28) ** 2 * s**2 / d**2))


# %% wrong 2
def seeds_needed(s, d):
    return int((1.96 + 0.84) ** 2 * s**2 / d**2)


# %% wrong 2
def seeds_needed(s, d):
    return int(np.ceil((1.96 + 0.84) ** 2 * s / d))
