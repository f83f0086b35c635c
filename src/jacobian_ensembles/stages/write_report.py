"""Stage write_report: the run as one page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import yaml
from plotly.offline import get_plotlyjs

from jacobian_ensembles.experiment.config import Config
from jacobian_ensembles.experiment.extensions import short_name
from jacobian_ensembles.experiment.layout import number_token
from jacobian_ensembles.paper.labels import DATASET_TITLES, GROUP_TITLES, in_order, model_name, run_note, short_number
from jacobian_ensembles.paper.published import paper_table1
from jacobian_ensembles.paper.table1 import select_table1
from jacobian_ensembles.report.gallery import accuracy_per_class, class_names, data_uri, gallery, model_key
from jacobian_ensembles.report.page import (
    CAPTIONS,
    _chosen,
    _claims,
    _duration,
    _records,
    _script_json,
    _table,
    _table1,
    stages,
)
from jacobian_ensembles.report.tradeoff import _tradeoff
from jacobian_ensembles.storage.files import ArtifactError, load_tensors, write_text
from jacobian_ensembles.storage.predictions import load_clean, load_worst_uap
from jacobian_ensembles.storage.tables import read_table


def write_report(
    path: str | Path,
    *,
    run: str,
    banner: str,
    eps: float,
    clean_weight: float,
    config: Mapping[str, Any],
    summary: str | Path,
    comparison: str | Path,
    figures: Sequence[str | Path],
    clean: Sequence[str | Path],
    uaps: Sequence[str | Path],
    ensembles: Sequence[str | Path],
    datasets: Sequence[str | Path],
    provenance: Sequence[str | Path],
    claims: str | Path | None = None,
    theory: str | Path | None = None,
    architecture: str = "lenet",
    methods: Mapping[str, str] | None = None,
) -> None:
    """Write the report of a run: one HTML file that needs no network and no other file.

    Args:
        path: The file to write.
        run: The run's name.
        banner: The run's banner; empty for a full run.
        eps: The eps of Figure 2, whose perturbations the gallery shows.
        clean_weight: Where the slider of the weight of clean accuracy starts, in [0, 1].
        config: The configuration, shown as it is.
        summary: ``summary.csv``.
        comparison: ``comparison.csv``.
        figures: The figures, as PNG, in the order of the page; :data:`CAPTIONS` knows those of the workflow.
        clean: Clean predictions of every model (one training of each).
        uaps: The worst perturbation at ``eps`` of every model.
        ensembles: Every model, in the same order.
        datasets: The stored datasets.
        provenance: The provenance records of the run's jobs.
        claims: ``claims.csv``: columns claim, statement, evidence, test, verdict. None where it was not computed.
        theory: The theory figure, as PNG. None where it was not drawn.
        architecture: See :func:`~jacobian_ensembles.stages.inputs.load_ensemble`.
        methods: References to ensemble methods that are not built in, by name.

    Raises:
        ArtifactError: If a file is damaged or of another kind.
    """
    table = read_table(summary)
    loaded = {model_key(uap): uap for uap in map(load_worst_uap, uaps)}
    nets = dict(zip(loaded, ensembles, strict=True))
    predictions = {model_key(load_clean(p)[2]): p for p in clean}
    stored = {Path(p).stem: p for p in datasets}
    known = methods or {}
    how = {
        name: {"architecture": architecture} | ({"method": known[name]} if name in known else {})
        for name in table["ensemble"].unique()
    }
    sections = []
    for dataset in in_order(table["dataset"], DATASET_TITLES):
        tensors, _ = load_tensors(stored[dataset], kind="dataset")
        images = tensors["test_images"].astype(np.float32) / 255
        images = images[:, None] if images.ndim == 3 else np.moveaxis(images, -1, 1)
        labels = tensors["test_labels"]
        names = class_names(dataset, int(tensors["train_labels"].max()) + 1)
        models = _chosen(table, dataset)
        ours = select_table1(table[table["dataset"] == dataset])
        theirs = paper_table1()
        theirs = theirs[theirs["dataset"] == dataset].rename(columns={"lambda_jr": "lambda", "learners": "members"})
        ranked = table[table["dataset"] == dataset]
        sections.append(
            {
                "id": dataset,
                "title": DATASET_TITLES[dataset],
                "ours": _table1(
                    ours, dict.fromkeys(("clean_accuracy", "mean_uap_accuracy", "weighted_accuracy"), ""), 100
                ),
                "paper": _table1(theirs, dict.fromkeys(("clean", "avg_uap", "weighted"), ""), 1),
                "tradeoff": _tradeoff(table, dataset),
                "models": [
                    {
                        "name": model_name(row),
                        "clean": round(100 * row["clean_accuracy"], 4),
                        "uap": round(100 * row["mean_uap_accuracy"], 4),
                    }
                    for row in _records(ranked)
                ],
                "gallery": gallery(dataset, models, loaded, nets, (images, labels), names, how),
                "classes": names,
                "per_class": [
                    row
                    for m in models
                    for row in accuracy_per_class(m, predictions[model_key(m)], loaded[model_key(m)])
                ],
            }
        )  # fmt: skip
    rows, facts = stages(provenance)
    shown = [*figures, *([theory] if theory else [])]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["time"] = _duration
    page = environment.from_string(files("jacobian_ensembles.report").joinpath("report.html.j2").read_text()).render(
        run=run,
        banner=banner,
        note=run_note(table, run, ""),
        eps=short_number(eps),
        clean_weight=clean_weight,
        config=yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False, allow_unicode=True),
        seeds={
            "Base seed": config["seed"],
            "Attack seeds per model and ε": int(table["seeds"].min()),
            "Trainings per model": int(table["repetitions"].min()),
        },
        stages=rows,
        facts=facts,
        claims=_claims(claims),
        theory=theory is not None,
        groups={**GROUP_TITLES, "best": "Best three"},
        comparison=_table(pd.read_csv(comparison).drop(columns=["run", "banner"])),
        figures=[
            {
                "uri": data_uri(Path(p).read_bytes(), "image/png"),
                **dict(zip(("caption", "alt"), CAPTIONS.get(Path(p).stem, (Path(p).stem,) * 2), strict=True)),
            }
            for p in shown
        ],
        sections=sections,
        ranking=_script_json({s["id"]: s["models"] for s in sections}),
        plotly=get_plotlyjs(),
    )
    write_text(path, page)


def report_of_folder(folder: str | Path, path: str | Path, cfg: Config) -> None:
    """Write the report of a run's folder, from what is there.

    Args:
        folder: ``results/<run>``.
        path: The file to write.
        cfg: The run's configuration.

    Raises:
        ArtifactError: If the folder holds no finished run.
    """
    folder = Path(folder)
    tables, figures = folder / "tables", folder / "figures"
    claims, theory = tables / "claims.csv", figures / "theory.png"
    ensembles = sorted(folder.glob("ensembles/*/*/*/*/rep0/ensemble.safetensors"))
    cells = [ensemble.parent.relative_to(folder / "ensembles") for ensemble in ensembles]
    eps = f"eps{number_token(cfg.figures.eps)}"
    summary = folder / "metrics" / "summary.csv"
    if not ensembles or not summary.is_file():
        raise ArtifactError(f"{folder}: no finished run; there is no {summary.relative_to(folder)} or no ensemble.")
    write_report(
        path,
        run=cfg.run.name,
        banner=cfg.run.banner,
        eps=cfg.figures.eps,
        clean_weight=cfg.metrics.clean_weight,
        config=cfg.model_dump(by_alias=True),
        summary=summary,
        comparison=tables / "comparison.csv",
        figures=[f for name in CAPTIONS if name != "theory" and (f := figures / f"{name}.png").is_file()],
        clean=[folder / "clean" / cell / "clean.safetensors" for cell in cells],
        uaps=[folder / "worst" / cell / eps / "worst_uap.safetensors" for cell in cells],
        ensembles=ensembles,
        datasets=sorted((folder.parent / "data").glob("*.safetensors")),
        provenance=sorted(folder.rglob("*.provenance.json"), key=lambda p: Path(p).stat().st_mtime),
        claims=claims if claims.is_file() else None,
        theory=theory if theory.is_file() else None,
        architecture=cfg.model.architecture,
        methods={short_name(name): name for name in cfg.grid.ensembles if name != short_name(name)},
    )
