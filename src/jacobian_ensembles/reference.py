"""Shipped results: what a reader needs of a finished run, small enough for the repository, and how to redraw it."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from jacobian_ensembles.artifacts import ArtifactError, read_json, write_json, write_text
from jacobian_ensembles.checksums import read_record
from jacobian_ensembles.claims import write_claims
from jacobian_ensembles.config import Config, load_config
from jacobian_ensembles.figures import FIGURES, plot_figure
from jacobian_ensembles.metrics import CELL_KEYS
from jacobian_ensembles.sensitivity import tabulate_spread
from jacobian_ensembles.supplement import plot_supplement
from jacobian_ensembles.tables import write_comparison, write_table1

_FOLDERS = ("metrics", "tables", "figures")


def _summarize_provenance(root: Path) -> dict[str, Any]:
    """What made a run: jobs and hours per rule, and every commit, device and version that took part."""
    jobs: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    seen: dict[str, set[str]] = defaultdict(set)
    for path in sorted(root.rglob("*.provenance.json")):
        record = read_json(path)
        rule = record["settings"]["rule"]
        jobs[rule] += 1
        seconds[rule] += record["wall_seconds"]
        for key in ("commit", "device", "package", "python", "platform"):
            seen[key].add(str(record[key]))
        for package, version in record["versions"].items():
            seen[package].add(str(version))
        seen["finished"].add(record["finished"])
    if not jobs:
        raise ArtifactError(f"{root}: no provenance records, so no finished run. Run the workflow first.")
    finished = sorted(seen.pop("finished"))
    return {
        "jobs": dict(jobs),
        "hours": {rule: round(total / 3600, 3) for rule, total in seconds.items()},
        "first_finished": finished[0],
        "last_finished": finished[-1],
        **{key: sorted(values) for key, values in seen.items()},
    }


def ship_run(root: str | Path, target: str | Path, config: Mapping[str, Any]) -> None:
    """Copy the small outputs of a finished run to where the repository keeps them.

    Args:
        root: The run's folder.
        target: Folder to write: ``config.yaml`` (resolved), ``provenance.json`` (jobs, hours, commits, versions),
            ``attack_seeds.csv`` (the accuracy under every attack seed) and the metrics, tables and figures.
        config: The run's resolved configuration.

    Raises:
        ArtifactError: If the run has no results.
    """
    root, target = Path(root), Path(target)
    summary = _summarize_provenance(root)
    for folder in _FOLDERS:
        if (root / folder).is_dir():
            (target / folder).mkdir(parents=True, exist_ok=True)
            for path in sorted((root / folder).iterdir()):
                if path.suffix != ".json":  # one provenance record for the whole run is kept instead
                    shutil.copyfile(path, target / folder / path.name)
    rows = [
        {key: record[key] for key in (*CELL_KEYS, "eps")} | {"attack_seed": seed, "accuracy": accuracy}
        for record in map(read_record, sorted((root / "worst").rglob("worst.json")))
        for seed, accuracy in enumerate(record["accuracies"])
    ]
    if rows:
        table = pd.DataFrame(rows).sort_values([*CELL_KEYS, "eps", "attack_seed"])
        write_text(target / "attack_seeds.csv", table.to_csv(index=False, float_format="%.6g"))
    write_json(target / "provenance.json", summary)
    write_text(target / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False))


def rebuild_run(shipped: str | Path, target: str | Path) -> None:
    """Draw the figures and write the tables of a shipped run anew, from its metrics.

    Args:
        shipped: A folder of :func:`ship_run`.
        target: Folder to write ``figures/`` and ``tables/`` to.

    Raises:
        ArtifactError: If the folder has no metrics.
    """
    shipped, target = Path(shipped), Path(target)
    config = load_config(yaml.safe_load((shipped / "config.yaml").read_text()))
    (target / "figures").mkdir(parents=True, exist_ok=True)
    if (shipped / "metrics" / "metrics.csv").exists():
        _rebuild_tables_and_figures(shipped / "metrics", target, config)
    elif not (shipped / "tables" / "recipe.csv").exists():
        raise ArtifactError(f"{shipped}: neither metrics/metrics.csv nor tables/recipe.csv. Was it shipped completely?")
    for name, table in (
        ("theory", shipped / "metrics" / "jacobian.csv"),
        ("worst_of_k", shipped / "metrics" / "worst_of_k.csv"),
        ("ablation", shipped / "tables" / "ablation.csv"),
    ):
        if table.exists():
            pdf, png = (target / "figures" / f"{name}.{kind}" for kind in ("pdf", "png"))
            plot_supplement(name, table, pdf, png, config.run.name, config.run.banner)
    # tables that are not made from metrics are what was shipped
    for path in sorted((shipped / "tables").iterdir()):
        if not (target / "tables" / path.name).exists():
            (target / "tables").mkdir(exist_ok=True)
            shutil.copyfile(path, target / "tables" / path.name)


def _rebuild_tables_and_figures(source: Path, target: Path, config: Config) -> None:
    metrics, summary, jacobian = (source / f"{name}.csv" for name in ("metrics", "summary", "jacobian"))
    run, banner, tables = config.run.name, config.run.banner, target / "tables"
    confidence = config.metrics.confidence
    for name in FIGURES:
        pdf, png = (target / "figures" / f"{name}.{kind}" for kind in ("pdf", "png"))
        plot_figure(name, metrics, summary, pdf, png, config.figures.eps, confidence, run, banner)
    latex, csv, markdown = (tables / f"table1.{kind}" for kind in ("tex", "csv", "md"))
    write_table1(summary, latex, csv, markdown, run, banner)
    write_comparison(summary, tables / "comparison.csv", tables / "comparison.md", run, banner)
    if jacobian.exists():
        write_claims(metrics, summary, jacobian, tables / "claims.csv", tables / "claims.md", confidence, run, banner)
    if config.grid.repetitions > 1:
        weight = config.metrics.clean_weight
        tabulate_spread(metrics, tables / "spread.csv", tables / "spread.md", weight, confidence, run, banner)
