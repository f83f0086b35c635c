"""One self-contained HTML page of one model: clean, under attack over eps, worst perturbations, flags, classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from jacobian_ensembles.evaluation.record import Evaluation
from jacobian_ensembles.paper.labels import percent, short_number
from jacobian_ensembles.paper.style import COLUMN, drawing, legend_above, picture, sample
from jacobian_ensembles.report.contents import TestSet
from jacobian_ensembles.report.gallery import accuracy_per_class, data_uri, examples, thumbnail
from jacobian_ensembles.robustness.flags import CLEAN, flags_of
from jacobian_ensembles.robustness.stress_tables import rules


@dataclass(frozen=True)
class AttackedModel:
    """What the page of a model shows.

    Attributes:
        title: What it is called.
        test_set: The images that accuracies are measured on.
        found: By eps what the model gets right, clean and under each of its K perturbations.
        worst: By eps the most harmful perturbation, (channels, height, width).
        examples: By eps the predicted classes of the example images, clean and under that perturbation.
        stress: The table of :func:`~jacobian_ensembles.robustness.stress.stress`; None where it was not made.
        notes: How it was attacked, a sentence each.
    """

    title: str
    test_set: TestSet
    found: Mapping[float, Evaluation]
    worst: Mapping[float, np.ndarray]
    examples: Mapping[float, tuple[Sequence[int], Sequence[int]]]
    stress: pd.DataFrame | None
    notes: Sequence[str]


@drawing()
def plot_accuracy(found: Mapping[float, Evaluation]) -> Figure:
    """Accuracy against eps, from clean accuracy at 0: under the worst perturbation, the mean of all, and chance."""
    first = next(iter(found.values()))
    eps, clean = [0.0, *found], first.clean_accuracy
    fig = Figure(figsize=(COLUMN, 2.4), layout="constrained")
    ax = fig.subplots()
    tables = [e.to_pandas().loc[e.worst] for e in found.values()]
    low, high = ([first.to_pandas().loc["clean", end], *(t[end] for t in tables)] for end in ("low", "high"))
    ax.fill_between(eps, 100 * np.array(low), 100 * np.array(high), color="C0", alpha=0.25, linewidth=0)
    ax.plot(eps, [100 * a for a in (clean, *(e.worst_accuracy for e in found.values()))], "C0o-")
    ax.plot(eps, [100 * a for a in (clean, *(e.accuracies.mean() for e in found.values()))], "C1s:")
    ax.axhline(100 * first.chance, color="0.5", linestyle="--", linewidth=0.8)
    ax.set(xlabel="ε" if first.norm == "linf" else "ε (L2)", ylabel="Accuracy (%)", ylim=(0, 102))
    lines = {"worst (band: 95% interval)": sample("C0", "o", "-"), "mean": sample("C1", "s", ":")}
    legend_above(fig, {**lines, "chance": sample("0.5", linestyle="--")})
    return fig


def _rows(model: AttackedModel) -> list[dict[str, str]]:
    rows = []
    for eps, found in model.found.items():
        low, high = found.to_pandas()[["low", "high"]].iloc[1 + found.worst].tolist()  # after the clean row
        interval = f"[{percent(low)}, {percent(high)}]"
        values = {"worst": found.worst_accuracy, "mean": float(found.accuracies.mean())}
        rows.append({"eps": short_number(eps), "interval": interval, **{k: percent(v) for k, v in values.items()}})
    return rows


def _stress(table: pd.DataFrame | None) -> dict[str, Any] | None:
    if table is None:
        return None
    shown = table[table["kind"] != CLEAN].assign(flags=table["flags"].fillna(""))
    rows = [
        {**row, "eps": short_number(row["eps"]), "worst": percent(row["worst_accuracy"])}
        for row in shown[["attack", "eps", "worst_accuracy", "flags"]].to_dict("records")
    ]
    return {"flags": flags_of(table), "rules": rules(), "rows": rows}


def render_model(model: AttackedModel) -> str:
    """Render the page of a model.

    Returns:
        HTML that needs no network and no other file.
    """
    names, labels = list(model.test_set.names), model.test_set.labels
    gallery: list[dict[str, Any]] = []
    classes: list[dict[str, Any]] = []
    for eps, found in model.found.items():
        uap = {"delta": model.worst[eps], "eps": eps, "accuracy": found.worst_accuracy, "seed": found.worst}
        seen = examples(model.test_set, model.worst[eps], model.examples[eps], names)
        gallery.append({"eps": short_number(eps), **thumbnail(uap), "examples": seen})
        clean, under = accuracy_per_class(short_number(eps), (found.predicted, labels), found.correct[found.worst])
        classes += [under] if classes else [{**clean, "model": "0"}, under]
    first = next(iter(model.found.values()))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = files("jacobian_ensembles.report").joinpath("model.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        title=model.title, clean=percent(first.clean_accuracy), chance=percent(first.chance), images=len(labels),
        rows=_rows(model), figure=data_uri(picture(plot_accuracy(model.found), "png"), "image/png"), gallery=gallery,
        stress=_stress(model.stress), names=names, classes=classes, notes=model.notes,
    )  # fmt: skip
