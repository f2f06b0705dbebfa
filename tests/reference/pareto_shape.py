"""The Pareto shape of importance weights, one number at a time, from the papers' formulas.

Zhang and Stephens (Technometrics 51, 2009), whose k is the negative of the one here; Vehtari et
al. (arXiv 1507.02646) for the tail's length and the prior.
"""

from math import ceil, exp, floor, log, sqrt


def k_hat(weights: list[float]) -> float:
    """The regularised shape of the largest weights, for weights without ties or zeros."""
    ordered = sorted(weights)
    m = len(ordered)
    n = ceil(min(0.2 * m, 3 * sqrt(m)))
    u = ordered[m - n - 1]
    k = zhang_stephens([w - u for w in ordered[m - n :]])
    return (n * k + 10 * 0.5) / (n + 10)


def zhang_stephens(x: list[float]) -> float:
    """The shape of a generalized Pareto distribution with these ascending exceedances."""
    n = len(x)
    points = 30 + floor(sqrt(n))
    quartile = x[floor(n / 4 + 0.5) - 1]
    thetas = [
        1 / x[-1] + (1 - sqrt(points / (j - 0.5))) / (3 * quartile) for j in range(1, points + 1)
    ]
    likelihoods = [profile_log_likelihood(theta, x) for theta in thetas]
    # 1 / sum of exp(l - l_j) is the posterior weight of theta_j under a uniform prior on the grid
    weights = [1 / sum(exp(min(other - own, 700)) for other in likelihoods) for own in likelihoods]
    theta_hat = sum(w * theta for w, theta in zip(weights, thetas, strict=True))
    return sum(log(1 - theta_hat * value) for value in x) / n


def profile_log_likelihood(theta: float, x: list[float]) -> float:
    """L(theta) = n (log(theta / k) + k - 1) with k = - mean of log(1 - theta x)."""
    k = -sum(log(1 - theta * value) for value in x) / len(x)
    return len(x) * (log(theta / k) + k - 1)
