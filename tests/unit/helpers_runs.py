"""Finished runs for tests: what the workflow leaves, without any training."""

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.config.schema import load_config
from jacobian_ensembles.runs.layout import Layout, cell_wildcards, number_token
from jacobian_ensembles.runs.ship import ship_run
from jacobian_ensembles.stages.aggregate_metrics import aggregate_metrics
from jacobian_ensembles.stages.describe_run import describe_run
from jacobian_ensembles.stages.gather_records import gather_records
from jacobian_ensembles.stages.keep_arrays import keep_arrays
from jacobian_ensembles.stages.tabulate_worst_of_k import tabulate_worst_of_k
from jacobian_ensembles.storage.checksums import write_record
from jacobian_ensembles.storage.files import write_json
from jacobian_ensembles.storage.perturbations import save_clean, save_worst_uap

ROOT = Path(__file__).resolve().parents[2]
CELL = {"dataset": "mnist", "ensemble": "voting", "lambda": 0.1, "repetition": 0}


def finished_run(tmp_path, name, sizes, repetition=0):
    """A small finished run of ensembles of these sizes, and its configuration."""
    root = tmp_path / "results" / name
    layout = Layout(str(tmp_path / "results"), name)
    clean, worst, uaps = [], [], []
    for members in sizes:
        cell = {**CELL, "members": members, "repetition": repetition}
        at = cell_wildcards(Cell.model_validate(cell))
        clean.append(layout.clean.format(**at))
        # of 100 images, the first 10 M are wrong when clean, and so many more as eps has hundredths
        wrong = np.arange(100) < 10 * members
        save_clean(clean[-1], wrong.astype(int), np.zeros(100, int), cell)
        for eps in (0.15, 0.2):
            spec = {**cell, "eps": eps, "images": 100}
            worst.append(layout.worst.format(**at, eps=number_token(eps)))
            counted = {"accuracies": [0.5, 0.25, 0.75], "per_image_worst_accuracy": 0.12, "steps": 30}
            write_record(worst[-1], spec | counted)
            uaps.append(layout.worst_uap.format(**at, eps=number_token(eps)))
            delta = np.full((1, 28, 28), eps * (repetition + 1), np.float32)
            still = np.arange(100) >= 10 * members + round(100 * eps)
            save_worst_uap(uaps[-1], delta, still, {**spec, "seed": 1})
    gather_records(clean, worst, layout.records)
    aggregate_metrics(layout.records, layout.metrics, layout.summary, 0.5, 0.95)
    tabulate_worst_of_k(layout.records, layout.worst_of_k, 0.95)
    for what in ("bits", "perturbations"):
        keep_arrays(what, clean, uaps, layout.arrays.format(what=what, dataset="mnist"))
    for folder in ("tables", "figures"):
        (root / folder).mkdir()
    (root / "tables/table1.md").write_text("old")
    (root / "tables/notes.md").write_text("a table that is not made from metrics")
    (root / "tables/table1.tex").write_text("\\begin{table}\n")
    (root / "figures/figure1.pdf").write_bytes(b"%PDF-1.4\n%%EOF\n")
    Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).save(root / "figures/figure1.png", dpi=(200, 200))
    for i, (rule, seconds) in enumerate((("train_learner", 3600), ("train_learner", 1800), ("craft_uaps", 360))):
        write_json(
            root / f"x/{i}.provenance.json",
            {"settings": {"rule": rule}, "wall_seconds": seconds, "commit": "abc", "device": "cpu", "package": "0.1.0",
             "python": "3.11", "platform": "Linux", "versions": {"torch": "2.14.1"},
             "finished": f"2026-01-0{i + 1}T00:00:00+00:00", "threads": 1},
        )  # fmt: skip
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["run"]["name"] = name
    config["grid"] |= {"datasets": ["mnist"], "ensembles": ["voting"], "members": list(sizes), "lambdas": [0.1]}
    config["grid"] |= {"eps": [0.15, 0.2], "first_repetition": repetition}
    exclude = {"compute": True, "compare": True, "run": {"results"}, "data": {"local_dir"}}
    config = load_config(config).model_dump(mode="json", by_alias=True, exclude=exclude)
    describe(root, config)
    return root, config


def describe(root, config):
    """Write what a finished run says of itself, from the provenance records that are there."""
    records = sorted(root.rglob("*.provenance.json"))
    describe_run(config, records, root / "config.yaml", root / "provenance.json")


def ship(root, target, config, keep=("bits",)):
    """Ship a finished run with a configuration, perhaps an edited one."""
    describe(root, config)
    left_out = {"bits", "perturbations", "models"} - {*keep}
    target.parent.mkdir(parents=True, exist_ok=True)
    ship_run(root, target, [p for p in root.rglob("*") if p.relative_to(root).parts[0] not in left_out])
