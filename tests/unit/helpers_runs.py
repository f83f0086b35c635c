"""Finished runs for tests: what the workflow leaves, without any training."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.config.schema import load_config
from jacobian_ensembles.evaluation.summary import summarize
from jacobian_ensembles.runs.layout import Layout, cell_wildcards, number_token
from jacobian_ensembles.storage.checksums import write_record
from jacobian_ensembles.storage.files import write_json
from jacobian_ensembles.storage.perturbations import save_clean, save_worst_uap

ROOT = Path(__file__).resolve().parents[2]
CELL = {"dataset": "mnist", "ensemble": "voting", "lambda": 0.1, "repetition": 0}


def finished_run(tmp_path, name, sizes, repetition=0):
    """A small finished run of ensembles of these sizes, and its configuration."""
    root = tmp_path / "results" / name
    layout, rows = Layout(str(tmp_path / "results"), name), []
    for members in sizes:
        for eps in (0.15, 0.2):
            cell = {**CELL, "members": members, "repetition": repetition}
            at = {**cell_wildcards(Cell.model_validate(cell)), "eps": number_token(eps)}
            write_record(layout.worst.format(**at), {**cell, "eps": eps, "accuracies": [0.5, 0.25, 0.75]})
            # of 100 images, the first 10 M are wrong when clean, and so many more as eps has hundredths
            wrong = np.arange(100) < 10 * members
            still = np.arange(100) >= 10 * members + round(100 * eps)
            save_clean(layout.clean.format(**at), wrong.astype(int), np.zeros(100, int), cell)
            delta = np.full((1, 28, 28), eps * (repetition + 1), np.float32)
            spec = {**cell, "eps": eps, "seed": 1, "images": 100}
            save_worst_uap(layout.worst_uap.format(**at), delta, still, spec)
            rows.append(
                {**cell, "eps": eps, "seeds": 3, "images": 100,
                 "clean_accuracy": 0.9, "clean_low": 0.8, "clean_high": 0.95,
                 "worst_accuracy": 0.25, "worst_low": 0.2, "worst_high": 0.3, "std_accuracy": 0.1}
            )  # fmt: skip
    metrics = pd.DataFrame(rows)
    for folder in ("metrics", "tables", "figures"):
        (root / folder).mkdir()
    metrics.to_csv(root / "metrics/metrics.csv", index=False)
    summarize(metrics, 0.5, 0.95).to_csv(root / "metrics/summary.csv", index=False)
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
             "finished": f"2026-01-0{i + 1}T00:00:00+00:00"},
        )  # fmt: skip
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["run"]["name"] = name
    config["grid"] |= {"datasets": ["mnist"], "ensembles": ["voting"], "members": list(sizes), "lambdas": [0.1]}
    config["grid"] |= {"eps": [0.15, 0.2], "first_repetition": repetition}
    return root, load_config(config).model_dump(mode="json", by_alias=True, exclude={"compute"})
