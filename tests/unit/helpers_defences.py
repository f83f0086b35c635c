"""Runs to compare, on numbers small enough to check by hand."""

import pandas as pd

from jacobian_ensembles.comparing.defences import ComparedRun


def made(name, seeds, clean=None, eps=(0.1, 0.2), objective="jacobian", **told):
    """A run of single networks; ``seeds`` has the accuracies under every attack seed by (strength, repetition)."""
    cells = {
        k: {"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": k[0], "repetition": k[1]} for k in seeds
    }
    metrics, accuracies = [], []
    for key, values in seeds.items():
        for radius in eps:
            shown = [round(v - (radius - eps[0]), 6) for v in values]  # a tenth of eps costs ten points
            value = (clean or {}).get(key, 0.9)
            metrics.append(
                {**cells[key], "eps": radius, "seeds": len(values), "images": 100, "worst_accuracy": min(shown),
                 "worst_low": 0.0, "worst_high": 1.0, "clean_accuracy": value, "clean_low": value - 0.01,
                 "clean_high": value + 0.01}
            )  # fmt: skip
            accuracies += [
                {**cells[key], "eps": radius, "attack_seed": i, "accuracy": accuracy}
                for i, accuracy in enumerate(shown)
            ]
    return ComparedRun(name, objective, pd.DataFrame(metrics), pd.DataFrame(accuracies), **told)
