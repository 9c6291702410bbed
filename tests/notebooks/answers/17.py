# %% right 1
def pairs_needed(d, s, rho):
    import math

    return math.ceil(2.8**2 * 2 * (1 - rho) * (s / d) ** 2)
    return ...


# %% right 1
def pairs_needed(d, s, rho):
    deviation = torch.tensor(2 * s**2 * (1 - rho)).sqrt()
    return torch.ceil(((1.96 + 0.84) * deviation / d) ** 2)


# %% right 1
def pairs_needed(d, s, rho):
    n = 1
    while n * d**2 < (1.96 + 0.84) ** 2 * 2 * s**2 * (1 - rho):
        n += 1
    return n


# %% right 1
def pairs_needed(d, s, rho):
    variance = s**2 + s**2 - 2 * rho * s * s
    return -int(-((1.96 + 0.84) ** 2) * variance // d**2)


# %% wrong 1
def pairs_needed(d, s, rho):
    return (1.96 + 0.84) ** 2 * 2 * s**2 * (1 - rho) / d**2


# %% wrong 1
def pairs_needed(d, s, rho):
    return int(np.ceil((1.96 + 0.84) ** 2 * 2 * s**2 / d**2))


# %% wrong 1
def pairs_needed(d, s, rho):
    return int(np.ceil((1.96 + 0.84) ** 2 * 2 * s * (1 - rho) / d))


# %% wrong 1
def pairs_needed(d, s, rho):
    return int((1.96 + 0.84) ** 2 * 2 * s**2 * (1 - rho) / d**2)


# %% right 2
def holm(p_values, alpha):
    m, largest, found = len(p_values), 0.0, {}
    for rank, p in enumerate(sorted(p_values)):
        largest = max(largest, (m - rank) * p)
        found.setdefault(p, largest <= alpha)
    return [found[p] for p in p_values]
    return ...


# %% right 2
def holm(p_values, alpha):
    p = torch.tensor(p_values)
    order = p.argsort()
    below = p[order] <= alpha / torch.arange(len(p), 0, -1)
    counted = below.cumprod(0).bool()
    return torch.zeros(len(p), dtype=torch.bool).scatter(0, order, counted)


# %% right 2
def holm(p_values, alpha):
    p = np.array(p_values)
    order = np.argsort(p)
    below = p[order] <= alpha / np.arange(len(p), 0, -1)
    result = np.empty(len(p), dtype=bool)
    result[order] = np.logical_and.accumulate(below)
    return result


# %% right 2
def holm(p_values, alpha):
    left, found = dict(enumerate(p_values)), [False] * len(p_values)
    while left:
        place = min(left, key=left.get)
        if left[place] > alpha / len(left):
            return found
        found[place] = True
        del left[place]
    return found


# %% wrong 2
def holm(p_values, alpha):
    return [p <= alpha / len(p_values) for p in p_values]


# %% wrong 2
def holm(p_values, alpha):
    return [p <= alpha for p in p_values]


# %% wrong 2
def holm(p_values, alpha):
    found = []
    for rank, p in enumerate(sorted(p_values)):
        found.append(p <= alpha / (len(p_values) - rank) and all(found))
    return found


# %% wrong 2
def holm(p_values, alpha):
    found = [False] * len(p_values)
    for rank, place in enumerate(np.argsort(p_values)):
        if p_values[place] >= alpha / (len(p_values) - rank):
            break
        found[place] = True
    return found


# %% right 3
def repaired(one, other, picks):
    return paired_interval(one, other, picks)
    return ...


# %% right 3
def repaired(one, other, picks):
    both = torch.stack((one, other))[:, picks]
    middle = iqm(both)
    return (middle[0] - middle[1]).quantile(torch.tensor([0.025, 0.975]))


# %% right 3
def repaired(one, other, picks):
    found = [float(iqm(one[pick]) - iqm(other[pick])) for pick in picks]
    return list(np.percentile(found, [2.5, 97.5]))


# %% right 3
def repaired(one, other, picks):
    a, b = one.numpy()[picks.numpy()], other.numpy()[picks.numpy()]
    difference = interquartile_mean(a) - interquartile_mean(b)
    return np.quantile(difference, 0.025), np.quantile(difference, 0.975)


# %% wrong 3
def repaired(one, other, picks):
    return broken(one, other, picks)


# %% wrong 3
def repaired(one, other, picks):
    return interval(one - other, picks)


# %% wrong 3
def repaired(one, other, picks):
    a, b = interval(one, picks), interval(other, picks)
    return a[0] - b[0], a[1] - b[1]


# %% wrong 3
def repaired(one, other, picks):
    difference = one[picks].mean(-1) - other[picks].mean(-1)
    return percentiles(difference)


# %% right 4
def sign_flip_p(differences):
    import itertools

    count = total = 0
    limit = abs(float(differences.sum())) - 1e-9
    for signs in itertools.product((1, -1), repeat=len(differences)):
        flipped = sum(s * float(d) for s, d in zip(signs, differences, strict=True))
        count += abs(flipped) >= limit
        total += 1
    return count / total
    return ...


# %% right 4
def sign_flip_p(differences):
    sums = torch.zeros(1)
    for difference in differences:
        sums = torch.cat((sums + difference, sums - difference))
    return (sums.abs() >= differences.sum().abs() - 1e-9).double().mean()


# %% right 4
def sign_flip_p(differences):
    signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0])] * len(differences))
    means = (signs * differences).mean(-1).numpy()
    return np.mean(np.abs(means) >= abs(differences.mean().item()) - 1e-9)


# %% right 4
def sign_flip_p(differences):
    n, observed = len(differences), float(differences.mean().abs())
    extreme = 0
    for code in range(2**n):
        signs = torch.tensor([1.0 if code >> i & 1 else -1.0 for i in range(n)])
        extreme += int(float((signs @ differences / n).abs()) >= observed - 1e-9)
    return extreme / 2**n


# %% wrong 4
def sign_flip_p(differences):
    return 2 * 0.5 ** len(differences)


# %% wrong 4
def sign_flip_p(differences):
    sums = torch.zeros(1)
    for difference in differences:
        sums = torch.cat((sums + difference, sums - difference))
    return (sums.abs() > differences.sum().abs() + 1e-9).double().mean()


# %% wrong 4
def sign_flip_p(differences):
    sums = torch.zeros(1)
    for difference in differences:
        sums = torch.cat((sums + difference, sums - difference))
    return (sums >= differences.sum() - 1e-9).double().mean()


# %% wrong 4
def sign_flip_p(differences):
    z = differences.mean() / (differences.std() / len(differences) ** 0.5)
    return float(2 * torch.special.ndtr(-z.abs()))
