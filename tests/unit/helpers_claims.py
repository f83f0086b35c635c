"""Made-up grids whose effects are known: metrics.csv and jacobian.csv of trainings that share learners."""

import itertools

import numpy as np
import pandas as pd

LAMBDAS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
METHODS = ("bagging", "snapshot", "voting")
MNIST_UAP = dict(zip(LAMBDAS, (25, 40, 72, 78, 83, 87, 88, 89), strict=True))
FASHION_UAP = dict(zip(LAMBDAS, (15, 25, 40, 52, 58, 50, 45, 40), strict=True))


def paper_clean(dataset, method, members, lam):
    """Clean accuracy in % as the paper has it: best at a small lambda, better with M, the more so with lambda."""
    base, scale = (97.5, 1.0) if dataset == "mnist" else (89.0, 2.0)
    small = 0.6 if 0 < lam <= 0.1 else 0.0
    return base + scale * (small - 0.6 * lam**2 + (members > 1) * (0.4 + 0.5 * (lam > 0)))


def paper_uap(dataset, method, members, lam):
    """Accuracy under attack in %: growing with lambda on MNIST, best at 0.2 on Fashion-MNIST, better with M."""
    return (MNIST_UAP if dataset == "mnist" else FASHION_UAP)[lam] + (members > 1) * (3 + 4 * (lam > 0))


def grid(
    clean=paper_clean,
    uap=paper_uap,
    trainings=3,
    datasets=("mnist", "fashion_mnist"),
    methods=METHODS,
    members=(1, 3, 6, 9),
    lambdas=LAMBDAS,
    eps=(0.1, 0.15, 0.2, 0.25),
    noise=(0.05, 0.5),
    seed=0,
):
    """The tables of a grid whose trainings differ by noise that bagging and voting learners of one block share.

    Args:
        clean: From dataset, method, M and lambda to the true clean accuracy, in %.
        uap: The same under attack, mean over eps.
        trainings: Of each model.
        datasets: As in the configuration.
        methods: As in the configuration.
        members: As in the configuration.
        lambdas: As in the configuration.
        eps: As in the configuration; accuracy falls by 10 points from one to the next.
        noise: Standard deviations of a learner's clean accuracy and accuracy under attack, in points. An ensemble has
            the mean of its learners' deviations, which nest, and half as much of its own.
        seed: Of the noise.

    Returns:
        ``metrics`` and ``jacobian``.
    """
    rng = np.random.default_rng(seed)
    rows, norms = [], []
    most = max(members)
    for d, e, lam, r in itertools.product(datasets, methods, lambdas, range(trainings)):
        learners = rng.normal(0, noise, (most, 2))
        for m in members:
            own = rng.normal(0, noise, (most, 2)) if e == "snapshot" else learners
            deviation = own[:m].mean(axis=0) + 0.5 * rng.normal(0, noise)
            accuracy = np.array([clean(d, e, m, lam), uap(d, e, m, lam)]) + deviation
            cell = {"dataset": d, "ensemble": e, "members": m, "lambda": lam, "repetition": r}
            c, u = accuracy / 100
            for k, size in enumerate(eps):
                worst = u - 0.1 * (k - (len(eps) - 1) / 2)
                rows.append(
                    {**cell, "eps": size, "seeds": 5, "images": 10_000, "worst_accuracy": worst,
                     "worst_low": worst - 0.01, "worst_high": worst + 0.01, "clean_accuracy": c,
                     "clean_low": c - 0.002, "clean_high": c + 0.002, "std_accuracy": 0.02}
                )  # fmt: skip
            mean = 400 * (1 / m + 0.3 * (1 - 1 / m)) / (1 + 100 * lam) * np.exp(rng.normal(0, 0.05))
            single = 400 / (1 + 100 * lam)
            norms.append(
                {**cell, "images": 1000, "ensemble_mean": mean, "ensemble_variance": 2 * mean**2,
                 "learner_mean": single, "learner_variance": 2 * single**2, "lower_mean": single / m,
                 "lower_variance": 2 * single**2 / m**2 / 7840, "upper_mean": single,
                 "upper_variance": 2 * single**2 / 7840, "learner_variance_at_image": single**2 / 10,
                 "upper_variance_at_image": 2 * single**2 / 7840, "mu": 0.0, "sigma": (single / 7840) ** 0.5,
                 "cosine": 0.2 if m > 1 else np.nan, "cosine_by_norm": 0.35 if m > 1 else np.nan,
                 "excess_kurtosis": 9.0}
            )  # fmt: skip
    return pd.DataFrame(rows), pd.DataFrame(norms)
