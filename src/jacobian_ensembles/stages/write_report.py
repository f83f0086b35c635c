"""Stage write_report: the run as one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.paper.catalogue import COLUMNS
from jacobian_ensembles.report.contents import Key, RunRecord, model_key
from jacobian_ensembles.report.page import render
from jacobian_ensembles.runs.run import Run
from jacobian_ensembles.stages.test_sets import load_test_set
from jacobian_ensembles.storage.checksums import read_provenance
from jacobian_ensembles.storage.files import write_text

Paths = Sequence[str | Path]


def _written(run: Run, name: str) -> pd.DataFrame | None:
    return run.written(name, COLUMNS[name]) if run.has_written(name) else None


def load_run(run: Run, figures: Paths | None = None, provenance: Paths | None = None) -> RunRecord:
    """Read what the page of a live run shows; each model by its first training.

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
    eps, datasets = run.settings["eps"], dict.fromkeys(cell.dataset for cell in run.cells)
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
        clean={key: run.predictions(cell) for key, cell in first.items()},
        uaps={key: run.worst_uap(cell, eps) for key, cell in first.items()},
        examples={model_key(model): (model["clean"], model["perturbed"]) for model in run.examples},
        test_sets={name: load_test_set(run.dataset(name)) for name in datasets},
        provenance=run.jobs if provenance is None else [read_provenance(path) for path in provenance],
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
        ArtifactError: If the folder holds no live run.
    """
    write_text(path, render(load_run(Run.open(folder), figures, provenance)))
