# %% right 1
def rmsprop_slope(g, beta, epsilon):
    root = torch.sqrt((1 - beta) * g**2)
    return epsilon / (root + epsilon) ** 2


# %% right 1
def rmsprop_slope(g, beta, epsilon):
    import math

    a = math.sqrt(1 - beta)
    bottom = a * abs(g) + epsilon
    return 1 / bottom - a * abs(g) / bottom**2


# %% right 1
def rmsprop_slope(g, beta, epsilon):
    return epsilon / ((1 - beta) ** 0.5 * g.abs() + epsilon).pow(2)


# %% right 1
def rmsprop_slope(g, beta, epsilon):
    import numpy as np

    return epsilon / np.square(np.sqrt((1 - beta) * g * g) + epsilon)
    return ...


# %% right 1
def rmsprop_slope(g, beta, epsilon):
    def u(x):
        return x / (((1 - beta) * x**2) ** 0.5 + epsilon)

    return (u(g + 1e-7) - u(g - 1e-7)) / 2e-7


# %% wrong 1
def rmsprop_slope(g, beta, epsilon):
    return epsilon / ((1 - beta) ** 0.5 * g + epsilon) ** 2


# %% wrong 1
def rmsprop_slope(g, beta, epsilon):
    return epsilon / ((1 - beta) * abs(g) + epsilon) ** 2


# %% wrong 1
def rmsprop_slope(g, beta, epsilon):
    return epsilon / ((1 - beta) ** 0.5 * abs(g) + epsilon)


# %% wrong 1
def rmsprop_slope(g, beta, epsilon):
    return g / ((1 - beta) ** 0.5 * abs(g) + epsilon)


# %% right 2
def momentum_step(theta, trace, phi, rate, mu):
    g = grad(lambda weights: training_loss(predict(weights, inputs), phi))(theta)
    new_trace = {name: mu * trace[name] + g[name] for name in theta}
    new_theta = {name: theta[name] - rate * new_trace[name] for name in theta}
    return new_theta, new_trace


# %% right 2
def momentum_step(theta, trace, phi, rate, mu):
    g = grad(lambda weights: training_loss(predict(weights, inputs), phi))(theta)
    new_theta, new_trace = {}, {}
    for name, weight in theta.items():
        new_trace[name] = g[name].add(trace[name], alpha=mu)
        new_theta[name] = weight.sub(new_trace[name], alpha=rate)
    return [new_theta, new_trace]


# %% right 2
def momentum_step(theta, trace, phi, rate, mu):
    _, pull = torch.func.vjp(lambda weights: training_loss(predict(weights, inputs), phi), theta)
    (g,) = pull(torch.tensor(1.0))
    new_trace = mapped(lambda b, g: g + b * mu, trace, g)
    new_theta = mapped(lambda weight, b: weight + (-rate) * b, theta, new_trace)
    return new_theta, new_trace


# %% right 2
def momentum_step(theta, trace, phi, rate, mu):
    g = grad(lambda weights: training_loss(predict(weights, inputs), phi))(theta)
    new_trace = dict(zip(g, (mu * trace[name] + slope for name, slope in g.items())))
    new_theta = {name: theta[name] - rate * (mu * trace[name] + g[name]) for name in g}
    return new_theta, new_trace


# %% wrong 2
def momentum_step(theta, trace, phi, rate, mu):
    g = grad(lambda weights: training_loss(predict(weights, inputs), phi))(theta)
    new_trace = mapped(lambda b, g: mu * b + (1 - mu) * g, trace, g)
    new_theta = mapped(lambda weight, b: weight - rate * b, theta, new_trace)
    return new_theta, new_trace


# %% wrong 2
def momentum_step(theta, trace, phi, rate, mu):
    g = grad(lambda weights: training_loss(predict(weights, inputs), phi))(theta)
    new_trace = mapped(lambda b, g: mu * b + g, trace, g)
    new_theta = mapped(lambda weight, b: weight - rate * b, theta, trace)
    return new_theta, new_trace


# %% wrong 2
def momentum_step(theta, trace, phi, rate, mu):
    g = grad(lambda weights: training_loss(predict(weights, inputs), phi))(theta)
    for name in trace:
        trace[name].mul_(mu).add_(g[name])
    return mapped(lambda weight, b: weight - rate * b, theta, trace), trace


# %% wrong 2
def momentum_step(theta, trace, phi, rate, mu):
    g = grad(lambda weights: training_loss(predict(weights, inputs), phi))(theta)
    new_trace = mapped(lambda b, g: (mu * b + g).detach(), trace, g)
    return mapped(lambda weight, b: weight - rate * b, theta, new_trace), new_trace


# %% right 3
def segmented(phi, steps, every):
    theta, checkpoints = START, {}
    for k in range(steps):
        if k % every == 0:
            checkpoints[k] = theta
        theta = sgd_step(theta, phi)
    a = grad(lambda weights: validation_loss(predict(weights, checked)))(theta)
    total = torch.zeros_like(phi)
    end = steps
    for first in sorted(checkpoints, reverse=True):
        segment = [checkpoints[first]]
        while len(segment) < end - first:
            segment.append(sgd_step(segment[-1], phi))
        end = first
        for theta in reversed(segment):
            _, vjp = torch.func.vjp(sgd_step, theta, phi)
            a, contribution = vjp(a)
            total = total + contribution
    return total


# %% right 3
def segmented(phi, steps, every):
    return grad(lambda value: after_sgd(value, steps))(phi)


# %% right 3
def segmented(phi, steps, every):
    starts, theta = [], START
    for k in range(steps):
        if k % every == 0:
            starts.append(theta)
        theta = sgd_step(theta, phi)
    a = grad(lambda weights: validation_loss(predict(weights, checked)))(theta)
    total = 0
    for i, start in reversed(list(enumerate(starts))):
        count = min(every, steps - i * every)

        def run(theta, phi):
            for _ in range(count):
                theta = sgd_step(theta, phi)
            return theta

        _, vjp = torch.func.vjp(run, start, phi)
        a, part = vjp(a)
        total = total + part
    return total


# %% right 3
def segmented(phi, steps, every):
    states = [START]
    for _ in range(steps):
        states += [sgd_step(states[-1], phi)]
    a = grad(lambda weights: validation_loss(predict(weights, checked)))(states.pop())
    total = 0.0
    while states:
        _, vjp = torch.func.vjp(sgd_step, states.pop(), phi)
        a, part = vjp(a)
        total += float(part)
    return total


# %% wrong 3
def segmented(phi, steps, every):
    theta, checkpoints = START, {}
    for k in range(steps):
        if k % every == 0:
            checkpoints[k] = theta
        theta = sgd_step(theta, phi)
    a = grad(lambda weights: validation_loss(predict(weights, checked)))(theta)
    total = torch.zeros_like(phi)
    for first in sorted(checkpoints, reverse=True):
        segment = [checkpoints[first]] * min(every, steps - first)
        for theta in reversed(segment):
            _, vjp = torch.func.vjp(sgd_step, theta, phi)
            a, contribution = vjp(a)
            total = total + contribution
    return total


# %% wrong 3
def segmented(phi, steps, every):
    return grad(lambda value: after_sgd(value, min(steps, every)))(phi)


# %% wrong 3
def segmented(phi, steps, every):
    return 2 * grad(lambda value: after_sgd(value, steps))(phi)


# %% wrong 3
def segmented(phi, steps, every):
    theta = START
    for _ in range(steps - 1):
        theta = sgd_step(theta, phi)
    last = mapped(lambda weight: weight.detach(), theta)
    return grad(lambda phi: validation_loss(predict(sgd_step(last, phi), checked)))(phi)
