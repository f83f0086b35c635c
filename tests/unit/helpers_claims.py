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


def tables(
    clean=paper_clean,
    uap=paper_uap,
    trainings=4,
    datasets=("mnist", "fashion_mnist"),
    methods=METHODS,
    members=(1, 3, 6, 9),
    lambdas=LAMBDAS,
    eps=(0.1, 0.15, 0.2, 0.25),
    noise=(0.05, 0.5),
    images=0.0,
    more_without=1.0,
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
            the mean of its learners' deviations, which nest, and half as much of its own. Snapshots do not nest.
        images: Standard deviation of a model's clean accuracy over test images, half of it shared by all models.
        more_without: The noise at lambda 0, relative to that above.
        seed: Of the noise.

    Returns:
        ``metrics``, ``jacobian``, ``members`` of bagging and voting, if there are any, and ``images``.
    """
    rng = np.random.default_rng(seed)
    rows, norms, single_rows, models = [], [], [], {}
    most = max(members)
    shared = {d: rng.normal(0, images * 0.5**0.5) for d in datasets}

    def of_cell(cell, c, u):
        for k, size in enumerate(eps):
            yield {**cell, "eps": size, "worst_accuracy": u / 100 - 0.1 * (k - (len(eps) - 1) / 2),
                   "clean_accuracy": c / 100}  # fmt: skip

    for d, e, lam in itertools.product(datasets, methods, lambdas):
        on_images = {m: shared[d] + rng.normal(0, images * 0.5**0.5) for m in members}
        models |= {(d, e, m, lam): None for m in members}
        spread = np.array(noise) * (more_without if lam == 0 else 1)
        for r in range(trainings):
            block = {"dataset": d, "ensemble": e, "lambda": lam, "repetition": r}
            learners = rng.normal(0, spread, (most, 2))
            for m in members:
                own = rng.normal(0, spread, (most, 2)) if e == "snapshot" else learners
                deviation = own[:m].mean(axis=0) + (m > 1) * 0.5 * rng.normal(0, spread)
                deviation[0] += on_images[m]
                cell = {**block, "members": m}
                for row in of_cell(cell, *(np.array([clean(d, e, m, lam), uap(d, e, m, lam)]) + deviation)):
                    c, u = row["clean_accuracy"], row["worst_accuracy"]
                    rows.append(
                        {**row, "seeds": 5, "images": 10_000, "worst_low": u - 0.01, "worst_high": u + 0.01,
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
            for i, one in enumerate(learners if e != "snapshot" else ()):
                truth = np.array([clean(d, e, 1, lam), uap(d, e, 1, lam)]) + one
                truth[0] += on_images.get(1, 0.0)
                single_rows += of_cell({**block, "member": i}, *truth)
    keys = ["dataset", "ensemble", "members", "lambda"]
    covariance = []
    for d in datasets:
        here = [model for model in models if model[0] == d]
        matrix = images**2 * 0.5 * (1 + np.eye(len(here)))
        numbers = pd.DataFrame(matrix, columns=[str(i) for i in range(len(here))])
        covariance.append(pd.DataFrame(here, columns=keys).join(numbers))
    found = {"metrics": pd.DataFrame(rows), "jacobian": pd.DataFrame(norms)}
    if single_rows:
        found["members"] = pd.DataFrame(single_rows)
    return found | {"images": pd.concat(covariance, ignore_index=True)}


def grid(*args, **kwargs):
    """``metrics`` and ``jacobian`` of :func:`tables`."""
    found = tables(*args, **kwargs)
    return found["metrics"], found["jacobian"]
