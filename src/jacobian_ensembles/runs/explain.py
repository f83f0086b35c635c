"""How numbers of a run were made: seeds, files, commit, and the command that makes them again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.paper.labels import DATASET_TITLES, model_name, short_number
from jacobian_ensembles.runs.layout import Layout, cell_wildcards, number_token
from jacobian_ensembles.runs.run import Run, row_of


def chosen(run: Run, words: Sequence[str]) -> list[Cell]:
    """The trainings of a run that words name, as names of shipped models spell them.

    Args:
        run: The run.
        words: Any of a dataset, an ensemble method, ``M3``, ``lambda0.50`` and ``rep0``, in any order.

    Raises:
        ValueError: If no training fits; the message lists the run's models.
    """
    spelled = {cell: _words(cell) for cell in run.cells}
    found = [cell for cell, known in spelled.items() if set(words) <= known]
    if found:
        return found
    models = sorted({f"{c.dataset} {c.ensemble} M{c.members} lambda{number_token(c.lambda_jr)}" for c in spelled})
    raise ValueError(f"{' '.join(words)}: no such model in {run.name}. There are: {', '.join(models)}.")


def _words(cell: Cell) -> set[str]:
    at = cell_wildcards(cell)
    short = {f"lambda{cell.lambda_jr:g}", f"lambda{at['lambda_jr']}"}
    return {cell.dataset, cell.ensemble, f"M{cell.members}", f"rep{cell.repetition}", *short}


def explain(run: Run, cell: Cell) -> list[str]:
    """How a training's numbers were made, as lines.

    Args:
        run: The run.
        cell: One of its trainings.
    """
    metrics = run.table("metrics")
    keys = {"dataset": cell.dataset, "ensemble": cell.ensemble, "members": cell.members, "lambda": cell.lambda_jr}
    for name, value in {**keys, "repetition": cell.repetition}.items():
        metrics = metrics[metrics[name] == value]
    rows = metrics.sort_values("eps").to_dict("records")
    under = ", ".join(
        f"{100 * row['worst_accuracy']:.1f} % at eps {short_number(row['eps'])} (attack seed {row['worst_seed']:.0f})"
        for row in rows
    )
    seeds = int(rows[0]["seeds"])
    return [
        f"{DATASET_TITLES[cell.dataset]} {model_name(keys)}, training {cell.repetition} of run {run.name}",
        f"  clean: {100 * rows[0]['clean_accuracy']:.1f} % of {int(rows[0]['images']):,} test images",
        f"  under attack: {under}",
        f"  seeds: base seed {run.config['seed']}, training {cell.repetition}, attack seeds 0 to {seeds - 1}",
        *(f"  file: {path}" for path in _files(run, cell)),
        f"  made at: commit {', '.join(run.made.get('commit') or ['unknown'])}, finished {run.made['last_finished']}",
        f"  made again by: {_command(run, cell, [row['eps'] for row in rows])}",
    ]


def _files(run: Run, cell: Cell) -> list[str]:
    """The files of the run that hold the numbers and what they were measured on."""
    tables = [f"{run.path('metrics')} (a row per eps)", f"{run.path('summary')} (a row per model)"]
    layout = Layout(str(run.folder.parent), run.folder.name)
    model = layout.model.format(**cell_wildcards(cell))
    live = layout.ensemble.format(**cell_wildcards(cell))
    kept = [path for path in (live, model) if Path(path).is_file()]
    for what in ("perturbations", "bits"):
        path = layout.arrays.format(what=what, dataset=cell.dataset)
        if Path(path).is_file():
            models = run.arrays(what, cell)[1]["models"]
            kept.append(f"{path} (row {models.index(row_of(cell))} of each array)")
    return [*tables, *kept]


def _command(run: Run, cell: Cell, all_eps: Sequence[float]) -> str:
    """Snakemake on the run's own settings, for the records of its perturbations."""
    layout = Layout("results", str(run.config["run"]["name"]))
    at = cell_wildcards(cell)
    targets = [layout.worst.format(**at, eps=number_token(eps)) for eps in all_eps]
    return f"snakemake {' '.join(targets)} --cores all --configfile {run.folder / 'config.yaml'}"
