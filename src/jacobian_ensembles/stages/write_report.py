"""Stage write_report: the run as one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.evaluation.summary import CELL_KEYS
from jacobian_ensembles.paper.catalogue import COLUMNS
from jacobian_ensembles.report.contents import Key, RunRecord, TestSet, model_key
from jacobian_ensembles.report.page import render
from jacobian_ensembles.runs.run import NOT_RECOMPUTABLE, Run
from jacobian_ensembles.stages.test_sets import load_test_set
from jacobian_ensembles.storage.checksums import read_provenance
from jacobian_ensembles.storage.files import ArtifactError, write_text

Paths = Sequence[str | Path]


def _written(run: Run, name: str) -> pd.DataFrame | None:
    return run.written(name, COLUMNS[name]) if run.has_written(name) else None


def _live(run: Run, first: Mapping[Key, Cell], eps: float) -> dict[str, Any]:
    """What a live run has of its models: see :class:`.RunRecord`."""
    predictions = {key: run.predictions(cell) for key, cell in first.items()}
    return {
        "clean": {key: (predicted == labels, labels) for key, (predicted, labels) in predictions.items()},
        "uaps": {key: run.worst_uap(cell, eps) for key, cell in first.items()},
        "examples": {model_key(model): (model["clean"], model["perturbed"]) for model in run.examples},
        "test_sets": {name: load_test_set(run.dataset(name)) for name in _datasets(first)},
    }


def _kept(run: Run, first: Mapping[Key, Cell], eps: float) -> dict[str, Any]:
    """The same of a shipped run, as far as it keeps perturbations and bits, and datasets are here."""
    bits, deltas = ((run.folder / what).is_dir() for what in ("bits", "perturbations"))
    correct = {key: (run.correct(cell), run.correct(cell, eps)) for key, cell in first.items()} if bits else {}
    metrics = run.table("metrics")
    worst = metrics[metrics["eps"] == eps].set_index(CELL_KEYS)[["worst_accuracy", "worst_seed"]]
    uaps = {}
    for key, cell in first.items() if deltas else ():
        accuracy, seed = worst.loc[tuple(cell.record[name] for name in CELL_KEYS)]
        found = {"accuracy": float(accuracy), "seed": int(seed), "delta": run.perturbation(cell, eps)}
        uaps[key] = {**cell.record, "eps": eps, "correct": correct.get(key, (None, None))[1], **found}
    test_sets = _here(run, _datasets(first))
    labels = {name: found.labels for name, found in test_sets.items()}
    clean = {
        key: (right, labels[key[0]])
        for key, (right, _) in correct.items()
        if key in uaps and len(right) == len(labels.get(key[0], ()))  # else of some of the images: which, is not kept
    }
    return {"clean": clean, "uaps": uaps, "examples": {}, "test_sets": test_sets}


def _datasets(first: Mapping[Key, Cell]) -> list[str]:
    return list(dict.fromkeys(cell.dataset for cell in first.values()))


def _here(run: Run, datasets: Sequence[str]) -> dict[str, TestSet]:
    found = {}
    for name in datasets:
        try:
            path = run.dataset(name)
        except ArtifactError:
            continue
        found[name] = load_test_set(path)
    return found


def load_run(run: Run, figures: Paths | None = None, provenance: Paths | None = None) -> RunRecord:
    """Read what the page of a run shows; each model by its first training.

    A shipped run has no test images and no records of single jobs; accuracies per class need its datasets.

    Args:
        run: The run.
        figures: PNG, in the order of the page; None for all that its folder has.
        provenance: The provenance records of its jobs, in the order of the page; None for all that its folder has.

    Raises:
        ArtifactError: If a file is missing, damaged or of another kind.
    """
    stress = run.config.get("stress") or {}
    pictures = [Path(path) for path in figures or run.figures]
    texts = {path.stem: path.with_suffix(".txt") for path in pictures}
    first: dict[Key, Cell] = {}
    for cell in sorted(run.cells, key=lambda cell: cell.repetition):
        first.setdefault(model_key(cell.record), cell)
    eps = run.settings["eps"]
    return RunRecord(
        run=run.name,
        banner=run.banner,
        eps=eps,
        clean_weight=run.settings["clean_weight"],
        config=run.config,
        summary=run.table("summary"),
        comparison=run.written("comparison"),
        figures=[(path.stem, path.read_bytes()) for path in pictures],
        captions={name: text.read_text(encoding="utf-8").strip() for name, text in texts.items() if text.is_file()},
        claims=_written(run, "claims"),
        effects=_written(run, "effects"),
        stress=run.table("stress") if stress.get("transfer_eps") or stress.get("single_eps") else None,
        classes=run.classes,
        provenance=run.jobs if provenance is None else [read_provenance(path) for path in provenance],
        made={key: value for key, value in run.made.items() if key != NOT_RECOMPUTABLE},
        **(_kept if run.shipped else _live)(run, first, eps),
    )


def write_report(
    folder: str | Path, path: str | Path, figures: Paths | None = None, provenance: Paths | None = None
) -> None:
    """Write the page of a run: one HTML file that needs no network and no other file.

    Args:
        folder: The run's: see :meth:`~jacobian_ensembles.runs.run.Run.open`.
        path: The file to write.
        figures: See :func:`load_run`.
        provenance: See :func:`load_run`.

    Raises:
        ArtifactError: If the folder holds no run, or a file of a live run is missing.
    """
    write_text(path, render(load_run(Run.open(folder), figures, provenance)))
