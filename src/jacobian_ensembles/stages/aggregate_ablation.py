"""Stage aggregate_ablation: variants of the attack compared on the same models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from jacobian_ensembles.evaluation.summary import CELL_KEYS
from jacobian_ensembles.paper.ablation import ablation_means
from jacobian_ensembles.paper.labels import DATASET_TITLES, _percent, model_name, short_number, to_markdown
from jacobian_ensembles.storage.checksums import read_record
from jacobian_ensembles.storage.files import write_text
from jacobian_ensembles.storage.tables import read_table


def aggregate_ablation(
    metrics_path: str | Path,
    records: Sequence[str | Path],
    variants: Sequence[str],
    csv_path: str | Path,
    markdown_path: str | Path,
) -> None:
    """Compare variants of the attack on the same models with the same attack seeds.

    Args:
        metrics_path: ``metrics.csv`` of the run, for the models' clean accuracies.
        records: Worst-case records: all models and eps of the first variant, then of the second, and so on.
        variants: The variants' names, in that order.
        csv_path: CSV to write: one row per (variant, model, eps).
        markdown_path: Markdown to write: accuracy under the worst (and the mean) of the attack seeds, averaged over
            eps: a row per variant, a column per model, their mean, and the mean distance from the paper's numbers.
    """
    each = len(records) // len(variants)
    rows = [read_record(path) | {"variant": variants[i // each]} for i, path in enumerate(records)]
    table = pd.DataFrame(rows).drop(columns="accuracies")
    known = read_table(metrics_path)[[*CELL_KEYS, "eps", "clean_accuracy"]]
    table = table.merge(known, on=[*CELL_KEYS, "eps"], how="left", validate="many_to_one")
    leading = ["variant", *CELL_KEYS, "eps", "seeds", "worst_accuracy", "mean_accuracy", "std_accuracy"]
    table = table[leading + [c for c in table.columns if c not in leading]]
    write_text(csv_path, table.to_csv(index=False, float_format="%.6g"))

    means = ablation_means(table)
    means["model"] = [f"{DATASET_TITLES[r['dataset']]} {model_name(r)}" for r in means.to_dict("records")]
    pairs = zip(means["worst_accuracy"], means["mean_accuracy"], strict=True)
    means["shown"] = [f"{100 * worst:.1f} ({100 * mean:.1f})" for worst, mean in pairs]
    means["distance"] = (means["worst_accuracy"] - means["published"]).abs()
    order = list(dict.fromkeys(means["model"]))
    wide = means.pivot_table("shown", "variant", "model", aggfunc="first", sort=False)[order]
    sums = means.groupby("variant", sort=False)[["worst_accuracy", "mean_accuracy", "distance"]].mean()
    wide["all"] = [f"{100 * worst:.1f} ({100 * mean:.1f})" for worst, mean, _ in sums.to_numpy()]
    wide["from the paper"] = sums["distance"].map(_percent)
    first = means.drop_duplicates("model").set_index("model")["published"].map(_percent)
    paper = pd.DataFrame([{**first, "all": "–", "from the paper": "–"}], index=["*the paper, worst of 50*"])
    seeds, eps = int(table["seeds"].min()), ", ".join(short_number(e) for e in sorted(set(table["eps"])))
    note = (
        f"Accuracy (in %) under the worst of {seeds} attack seeds, and in brackets their mean; averaged over "
        f"ε = {eps}. Lower is stronger. The last column is the mean absolute difference from the paper's numbers."
    )
    shown = pd.concat([wide, paper]).rename_axis("variant").reset_index()
    write_text(markdown_path, f"{note}\n\n{to_markdown(shown)}")
