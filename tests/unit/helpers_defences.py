"""Runs to compare, on numbers small enough to check by hand."""

from jacobian_ensembles.comparing.defences import ComparedRun
from jacobian_ensembles.evaluation.records import records_table


def made(name, seeds, clean=None, eps=(0.1, 0.2), objective="jacobian", **told):
    """A run of single networks; ``seeds`` has the accuracies under every attack seed by (strength, repetition)."""
    cells = {
        k: {"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": k[0], "repetition": k[1]} for k in seeds
    }
    attacks, trained = [], {}
    for key, values in seeds.items():
        trained[tuple(cells[key].values())] = (clean or {}).get(key, 0.9)
        for radius in eps:
            shown = [round(v - (radius - eps[0]), 6) for v in values]  # a tenth of eps costs ten points
            attacks.append({**cells[key], "eps": radius, "images": 100, "accuracies": shown})
    return ComparedRun(name, objective, records_table(attacks, trained), **told)
