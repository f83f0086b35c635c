"""Table 1, and its comparison with the paper's: as LaTeX, CSV and Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from jacobian_ensembles.artifacts import read_json, write_text
from jacobian_ensembles.metrics import read_table


class _Titles(dict[Any, str]):
    def __missing__(self, name: Any) -> str:
        return str(name)  # a user's dataset is called as it is in paths


DATASET_TITLES = _Titles(mnist="MNIST", fashion_mnist="Fashion-MNIST")
GROUP_TITLES = {
    "best": "",
    "jr_only": "JR only",
    "ensemble_only": "Ensemble only",
    "standard": "Standard",
}
_ACCURACIES = {
    "clean_accuracy": "Clean",
    "mean_uap_accuracy": "Avg. UAP",
    "weighted_accuracy": "Weighted",
}
# a printed percentage is within half of its last digit of the true one; a mean of two adds up to that twice
_ROUNDING = 0.1


def in_order(values: Iterable[str], known: Iterable[str]) -> list[str]:
    """The distinct values: those known first, in the order of ``known``, then a user's own in alphabetical order."""
    present, known = set(values), list(known)
    return [name for name in known if name in present] + sorted(present - set(known))


def select_table1(summary: pd.DataFrame) -> pd.DataFrame:
    """Choose the rows of Table 1 by the paper's rule.

    Per dataset: the three models with the highest weighted accuracy; then the best with Jacobian
    regularisation only (M = 1, lambda > 0), with an ensemble only (M > 1, lambda = 0), and with neither. A
    group without any model in the run has no row.

    Args:
        summary: The table of :func:`~jacobian_ensembles.metrics.summarize`.

    Returns:
        The chosen rows of ``summary``, with a leading column ``group``.
    """
    chosen = []
    for dataset in in_order(summary["dataset"], DATASET_TITLES):
        models = summary[summary["dataset"] == dataset]
        # a fixed order among equals
        models = models.sort_values(
            ["weighted_accuracy", "members", "lambda", "ensemble"], ascending=[False, True, True, True]
        )
        single, plain = models["members"] == 1, models["lambda"] == 0
        groups = {
            "best": models.head(3),
            "jr_only": models[single & ~plain].head(1),
            "ensemble_only": models[~single & plain].head(1),
            "standard": models[single & plain].head(1),
        }
        chosen += [rows.assign(group=group) for group, rows in groups.items() if len(rows)]
    table = pd.concat(chosen, ignore_index=True)
    return table[["group", *(c for c in table.columns if c != "group")]]


def short_number(value: float) -> str:
    """A setting as printed: two decimals where they say it exactly, as many as it takes otherwise."""
    return f"{value:.2f}" if round(value, 2) == value else f"{value:g}"


def _percent(value: float) -> str:
    return "–" if pd.isna(value) else f"{100 * value:.1f}"


def _display(table: pd.DataFrame) -> pd.DataFrame:
    """The table as printed: names, lambda and percentages as text."""
    return pd.DataFrame(
        {
            "Dataset": table["dataset"].map(DATASET_TITLES),
            "Group": table["group"].map(GROUP_TITLES),
            "Ensemble": table["ensemble"].str.capitalize(),
            "Learners": table["members"].astype(str),
            "lambda": table["lambda"].map(short_number),
            **{title: table[column].map(_percent) for column, title in _ACCURACIES.items()},
        }
    )


def to_markdown(table: pd.DataFrame) -> str:
    """A frame of strings as a Markdown table."""
    rows = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _latex_escape(text: str) -> str:
    special = {"\\": "\\textbackslash{}", "^": "\\textasciicircum{}", "~": "\\textasciitilde{}"}
    special |= {char: f"\\{char}" for char in "&%$#_{}"}
    return "".join(special.get(char, char) for char in text)


def table1_latex(table: pd.DataFrame, note: str) -> str:
    """Table 1 as LaTeX.

    Args:
        table: The rows of :func:`select_table1`.
        note: A line in the caption: the run and what it rests on.

    Returns:
        A ``table`` environment for a document that loads booktabs.
    """
    shown = _display(table)
    lines = [
        "\\begin{table}",
        "\\centering",
        f"\\caption{{Weighted accuracy (in \\%). {_latex_escape(note)}}}",
        "\\label{tab:weighted-accuracy}",
        "\\begin{tabular}{@{}llrrrrr@{}}",
        "\\toprule",
    ]
    for i, (dataset, rows) in enumerate(shown.groupby("Dataset", sort=False)):
        if i:
            lines.append("\\midrule[\\heavyrulewidth]")
        lines += [
            f"\\multicolumn{{4}}{{l}}{{Model}} & \\multicolumn{{3}}{{c}}{{{dataset} accuracy (\\%)}} \\\\",
            "\\cmidrule(r){1-4}\\cmidrule(l){5-7}",
            "& Ensemble & Learners & $\\lambda_{\\mathrm{JR}}$ & Clean & Avg.\\ UAP & Weighted \\\\",
            "\\midrule",
        ]
        ranked = rows["Group"] == ""
        lines += [" & ".join(row) + " \\\\" for row in rows[ranked].drop(columns="Dataset").to_numpy()]
        if ranked.any() and (~ranked).any():
            lines.append("\\midrule")
        lines += [" & ".join(row) + " \\\\" for row in rows[~ranked].drop(columns="Dataset").to_numpy()]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table}", ""]).replace("–", "--")


def run_note(summary: pd.DataFrame, run: str, banner: str) -> str:
    """One line that says which run this is and how much it rests on."""
    seeds, images, eps = (int(summary[c].min()) for c in ("seeds", "images", "eps_values"))
    label = f"{banner}: run" if banner else "Run"
    worst = f"worst of {seeds} attack seeds" if seeds > 1 else "one attack seed"
    least, most = int(summary["repetitions"].min()), int(summary["repetitions"].max())
    if most > 1:
        worst = f"mean of {least if least == most else f'{least} to {most}'} trainings, {worst}"
    return f"{label} '{run}', {worst}, {eps} eps value{'s' if eps > 1 else ''}, {images:,} test images."


def write_table1(
    summary_path: str | Path,
    latex_path: str | Path,
    csv_path: str | Path,
    markdown_path: str | Path,
    run: str,
    banner: str,
) -> None:
    """Write Table 1 in three forms.

    Args:
        summary_path: ``summary.csv``.
        latex_path: LaTeX to write.
        csv_path: CSV to write (fractions, not percent).
        markdown_path: Markdown to write.
        run: The run's name.
        banner: The run's banner; empty for a full run.
    """
    summary = read_table(summary_path)
    table = select_table1(summary)
    note = run_note(summary, run, banner)
    write_text(latex_path, table1_latex(table, note))
    write_text(csv_path, table.assign(run=run, banner=banner).to_csv(index=False, float_format="%.6g"))
    write_text(markdown_path, f"Table 1: weighted accuracy (in %). {note}\n\n{to_markdown(_display(table))}")


def paper_table1() -> pd.DataFrame:
    """The paper's Table 1, with the rows marked whose printed numbers do not add up.

    Returns:
        Columns dataset, group, ensemble, learners, lambda_jr, clean, avg_uap, weighted (in %), ``mean`` of
        clean and average UAP accuracy, and ``adds_up``.
    """
    with files("jacobian_ensembles").joinpath("paper_table1.csv").open() as file:
        paper = pd.read_csv(file)
    paper["mean"] = (paper["clean"] + paper["avg_uap"]) / 2
    paper["adds_up"] = (paper["mean"] - paper["weighted"]).abs() <= _ROUNDING + 1e-9
    return paper


def paper_models() -> pd.DataFrame:
    """The paper's Table 1 by our names: a network without an ensemble is M = 1 soft voting.

    Returns:
        :func:`paper_table1` with columns dataset, ensemble, members and lambda that name models as a run does.
    """
    paper = paper_table1()
    keys = {"ensemble": paper["ensemble"].replace("none", "voting"), "members": paper["learners"]}
    return paper.assign(**keys).rename(columns={"lambda_jr": "lambda"})


def compare_with_paper(summary: pd.DataFrame) -> pd.DataFrame:
    """Set our models beside the rows of the paper's Table 1, cell by cell.

    The paper's rows without an ensemble are compared with our M = 1 soft-voting model, which is a single
    network trained on the whole training set.

    Args:
        summary: ``summary.csv``.

    Returns:
        One row per row of the paper's table: its cell, the paper's numbers, ours with their intervals (see
        :func:`~jacobian_ensembles.metrics.summarize`) and the differences (all in %; missing where the run has no such
        model), and whether the paper's row adds up.
    """
    paper = paper_models()
    bounds = [f"{column.removesuffix('accuracy')}{end}" for column in _ACCURACIES for end in ("low", "high")]
    ours = summary[["dataset", "ensemble", "members", "lambda", *_ACCURACIES, *bounds]]
    joined = paper.merge(ours, on=["dataset", "ensemble", "members", "lambda"], how="left", validate="1:1")
    pairs = zip(("clean", "avg_uap", "weighted"), _ACCURACIES, strict=True)
    out = joined[["dataset", "group", "ensemble", "members", "lambda", "adds_up"]].copy()
    for paper_column, our_column in pairs:
        out[f"paper_{paper_column}"] = joined[paper_column]
        out[f"our_{paper_column}"] = (100 * joined[our_column]).round(2)
        for end in ("low", "high"):
            bound = joined[f"{our_column.removesuffix('accuracy')}{end}"]
            out[f"our_{paper_column}_{end}"] = (100 * bound).round(2)
        out[f"difference_{paper_column}"] = (100 * joined[our_column] - joined[paper_column]).round(2)
    return out


def write_comparison(
    summary_path: str | Path, csv_path: str | Path, markdown_path: str | Path, run: str, banner: str
) -> None:
    """Write the comparison with the paper's Table 1 as CSV and Markdown.

    Args:
        summary_path: ``summary.csv``.
        csv_path: CSV to write.
        markdown_path: Markdown to write.
        run: The run's name.
        banner: The run's banner; empty for a full run.
    """
    summary = read_table(summary_path)
    table = compare_with_paper(summary)
    write_text(csv_path, table.assign(run=run, banner=banner).to_csv(index=False))
    shown = pd.DataFrame(
        {
            "Dataset": table["dataset"].map(DATASET_TITLES),
            "Model": [
                f"{ensemble} M={members} λ={short_number(lam)}"
                for ensemble, members, lam in zip(table["ensemble"], table["members"], table["lambda"], strict=True)
            ],
        }
    )
    for column, title in (("clean", "clean"), ("avg_uap", "avg. UAP"), ("weighted", "weighted")):
        shown[f"{title}: paper"] = table[f"paper_{column}"].map("{:.1f}".format)
        if column == "weighted":
            shown[f"{title}: paper"] += table["adds_up"].map({True: "", False: " †"})
        shown["ours"] = [
            "–" if pd.isna(value) else f"{value:.1f} [{low:.1f}, {high:.1f}]"
            for value, low, high in table[[f"our_{column}{end}" for end in ("", "_low", "_high")]].to_numpy()
        ]
        shown["difference"] = _signed(table[f"difference_{column}"], "{:+.1f}")
        shown = shown.rename(columns={"ours": f"{title}: ours", "difference": f"{title}: difference"})
    odd = paper_table1().query("not adds_up")
    notes = [
        f"† The paper's weighted accuracy is the mean of the two columns before it; here "
        f"({r.clean} + {r.avg_uap})/2 = {r.mean:.2f}, printed {r.weighted}."
        for r in odd.itertuples()
    ]
    text = (
        f"Our models beside the paper's Table 1 (in %). {run_note(summary, run, banner)}\n"
        "Rows without an ensemble are our M=1 voting models; – marks a model this run does not have. "
        "Avg. UAP is a mean over four eps (0.10 to 0.25) in the paper, and over this run's eps here. "
        "Intervals are over "
        f"{'training repetitions' if summary['repetitions'].min() > 1 else 'test images'}.\n\n"
    )
    write_text(markdown_path, text + to_markdown(shown) + "\n" + "\n".join(notes) + "\n")


def write_trials(records: Sequence[str | Path], csv_path: str | Path, markdown_path: str | Path) -> None:
    """Compare training recipes by their accuracy on the validation split.

    Args:
        records: What :func:`~jacobian_ensembles.training.trial_to_file` wrote.
        csv_path: CSV to write, one row per (recipe, dataset, lambda).
        markdown_path: Markdown to write, a row per recipe and a column per (dataset, lambda).
    """
    trials = pd.DataFrame([read_json(path) for path in records])
    write_text(csv_path, trials.to_csv(index=False))
    trials["shown"] = trials["validation_accuracy"].map(lambda v: "diverged" if pd.isna(v) else f"{100 * v:.2f}")
    trials["setting"] = trials["dataset"].map(DATASET_TITLES) + " λ=" + trials["lambda"].map(short_number)
    order = list(dict.fromkeys(trials["setting"]))
    wide = trials.pivot_table("shown", "trial", "setting", aggfunc="first", sort=False)[order].reset_index()
    images = int(trials["images"].min())
    note = f"Accuracy (in %) of one learner on {images:,} validation images; no test image was read."
    write_text(markdown_path, f"{note}\n\n{to_markdown(wide)}")


def _signed(values: pd.Series, form: str) -> pd.Series:
    return values.map(lambda v: "–" if pd.isna(v) else form.format(v))
