"""Tables that every figure of the catalogue can be drawn from."""

import itertools

import numpy as np
import pandas as pd

from jacobian_ensembles.evaluation.summary import summarize
from jacobian_ensembles.paper.claims import claims, effects

DATASETS, ENSEMBLES, MEMBERS, LAMBDAS = ("mnist", "fashion_mnist"), ("bagging", "voting"), (1, 3), (0.0, 0.1, 2.0)
SETTINGS = {"eps": 0.15, "confidence": 0.95, "clean_weight": 0.5, "objective": "jacobian"}


def cells(datasets):
    axes = itertools.product(DATASETS[:datasets], ENSEMBLES, MEMBERS, LAMBDAS)
    return pd.DataFrame(axes, columns=["dataset", "ensemble", "members", "lambda"]).assign(repetition=0, images=10_000)


def tables(datasets):
    """By their names in the catalogue, of one dataset or of both."""
    models = cells(datasets)
    rank = np.arange(len(models)) / len(models)
    parts = [
        models.assign(eps=eps, seeds=3, clean_accuracy=0.99 - 0.02 * models["lambda"], worst_accuracy=0.9 * rank,
                      certified_accuracy=0.6 * rank, mean_accuracy=0.9 * rank + 0.05,
                      best_accuracy=0.9 * rank + 0.1, std_accuracy=0.01)
        for eps in (0.1, 0.15)
    ]  # fmt: skip
    metrics = pd.concat(parts, ignore_index=True)
    for stem in ("clean", "worst"):
        metrics[f"{stem}_low"] = (metrics[f"{stem}_accuracy"] - 0.02).clip(lower=0)
        metrics[f"{stem}_high"] = (metrics[f"{stem}_accuracy"] + 0.01).clip(upper=1)
    power = models["members"].astype(float)
    moments = {
        f"{source}_{moment}": power ** (-exponent * factor)
        for source, exponent in (("ensemble", 0.5), ("lower", 1), ("learner", 0), ("upper", 0))
        for moment, factor in (("mean", 1), ("variance", 2))
    }
    cosine = models["members"].map({1: np.nan, 3: 0.4})
    variants = [metrics.assign(variant="default")]
    variants += [metrics.assign(variant=f"variant-{k}", worst_accuracy=metrics["worst_accuracy"] / k) for k in (2, 3)]
    sources = [f"{row.ensemble} M={row.members} λ={row._4:.2f}" for row in models.head(6).itertuples()]
    transfers = [
        models.groupby("dataset").head(6).assign(source=source, eps=eps, accuracy=0.5 + 0.05 * i)
        for i, source in enumerate(sources)
        for eps in (0.1, 0.15)
    ]
    found = {
        "metrics": metrics,
        "summary": summarize(metrics, 0.5, 0.95),
        "jacobian": models.assign(**moments, mu=0.0, sigma=0.5, cosine=cosine),
        "worst_of_k": pd.concat([metrics.assign(count=k, expected_worst=0.5 - 0.01 * k) for k in (1, 2, 3)]),
        "ablation": pd.concat(variants),
        "transfer": pd.concat(transfers),
    }
    named = {"run": "mine", "banner": "", "clean_weight": 0.5, "confidence": 0.95}
    return found | {"claims": claims(found, **named).frame, "effects": effects(found, **named).frame}
