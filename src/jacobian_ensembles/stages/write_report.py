"""Stage write_report: the run as one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from jacobian_ensembles.config.schema import Config
from jacobian_ensembles.paper.catalogue import COLUMNS, FIGURES
from jacobian_ensembles.report.contents import RunRecord, model_key
from jacobian_ensembles.report.page import render
from jacobian_ensembles.runs.layout import number_token
from jacobian_ensembles.stages.test_sets import load_test_set
from jacobian_ensembles.storage.checksums import read_record
from jacobian_ensembles.storage.files import ArtifactError, read_json, write_text
from jacobian_ensembles.storage.perturbations import load_clean, load_worst_uap
from jacobian_ensembles.storage.tables import read_table

Paths = Sequence[str | Path]


def _table_of_claims(inputs: Mapping[str, Any], name: str) -> pd.DataFrame | None:
    return read_table(inputs[name], COLUMNS[name]) if inputs.get(name) else None


def load_run(inputs: Mapping[str, Any], settings: Mapping[str, Any], config: Mapping[str, Any]) -> RunRecord:
    """Read what the page of a run shows.

    Args:
        inputs: Files by what they are: ``summary``, ``comparison`` and ``examples``; ``figures``, as PNG, in the order
            of the page; ``clean`` predictions and ``uaps``, the worst perturbations, of every model (one training of
            each); ``datasets``; ``provenance``; ``claims`` and ``effects``, if made; and ``stress``, if made.
        settings: ``run``, ``banner``, ``eps`` and ``clean_weight``: see :class:`~.report.record.RunRecord`.
        config: The configuration, shown as it is.

    Raises:
        ArtifactError: If a file is damaged or of another kind.
    """
    clean = [load_clean(path) for path in inputs["clean"]]
    examples = read_record(inputs["examples"])["models"]
    return RunRecord(
        **settings,
        config=config,
        summary=read_table(inputs["summary"]),
        comparison=pd.read_csv(inputs["comparison"]),
        figures=[(Path(path).stem, Path(path).read_bytes()) for path in inputs["figures"]],
        claims=_table_of_claims(inputs, "claims"),
        effects=_table_of_claims(inputs, "effects"),
        stress=read_table(inputs["stress"]) if inputs.get("stress") else None,
        clean={model_key(spec): (predicted, labels) for predicted, labels, spec in clean},
        uaps={model_key(uap): uap for uap in map(load_worst_uap, inputs["uaps"])},
        examples={model_key(model): (model["clean"], model["perturbed"]) for model in examples},
        test_sets={Path(path).stem: load_test_set(path) for path in inputs["datasets"]},
        provenance=[read_json(path) for path in inputs["provenance"]],
    )


def write_report(
    path: str | Path, inputs: Mapping[str, Any], settings: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    """Write the page of a run: one HTML file that needs no network and no other file.

    Args:
        path: The file to write.
        inputs: See :func:`load_run`.
        settings: See :func:`load_run`.
        config: See :func:`load_run`.
    """
    write_text(path, render(load_run(inputs, settings, config)))


def _dataset(folder: Path, name: str) -> Path:
    """Where a run's dataset is stored: a user's in the run's own folder, a built-in one beside all runs."""
    own = folder / "data" / f"{name}.safetensors"
    return own if own.is_file() else folder.parent / "data" / f"{name}.safetensors"


def _first_trainings(folder: Path) -> list[Path]:
    """The folder of each model's first training, below that of all clean predictions."""
    found: dict[Path, list[int]] = {}
    for path in folder.glob("*/*/*/*/rep*/clean.safetensors"):
        model, training = path.parent.parent.relative_to(folder), path.parent.name
        found.setdefault(model, []).append(int(training.removeprefix("rep")))
    return [model / f"rep{min(trainings)}" for model, trainings in sorted(found.items())]


def report_of_folder(folder: str | Path, path: str | Path, cfg: Config) -> None:
    """Write the page of a run from what its folder holds.

    Args:
        folder: ``results/<run>``.
        path: The file to write.
        cfg: The run's configuration.

    Raises:
        ArtifactError: If the folder holds no finished run.
    """
    folder = Path(folder)
    examples = folder / "examples.json"
    cells = _first_trainings(folder / "clean")
    eps = f"eps{number_token(cfg.figures.eps)}"
    summary = folder / "metrics" / "summary.csv"
    if not cells or not summary.is_file() or not examples.is_file():
        missing = "no metrics/summary.csv, no clean predictions or no examples.json"
        raise ArtifactError(f"{folder}: no finished run; there is {missing}.")
    inputs = {
        "summary": summary,
        "comparison": folder / "tables" / "comparison.csv",
        "figures": [f for item in FIGURES if (f := folder / "figures" / f"{item.name}.png").is_file()],
        "clean": [folder / "clean" / cell / "clean.safetensors" for cell in cells],
        "uaps": [folder / "worst" / cell / eps / "worst_uap.safetensors" for cell in cells],
        "examples": examples,
        "datasets": [_dataset(folder, name) for name in sorted({cell.parts[0] for cell in cells})],
        "provenance": sorted(folder.rglob("*.provenance.json"), key=lambda p: Path(p).stat().st_mtime),
    }
    tables = [folder / name for name in ("tables/claims.csv", "tables/effects.csv", "metrics/stress.csv")]
    inputs |= {path.stem: path for path in tables if path.is_file()}
    settings = {"run": cfg.run.name, "banner": cfg.banner, "eps": cfg.figures.eps}
    settings["clean_weight"] = cfg.metrics.clean_weight
    write_report(path, inputs, settings, cfg.model_dump(by_alias=True))
