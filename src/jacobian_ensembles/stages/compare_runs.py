"""Stage compare_runs: finished and shipped runs side by side, in a figure, a table and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jacobian_ensembles.comparing.defence_display import best_shown, best_table, notes, plot, plot_certified
from jacobian_ensembles.comparing.defences import ComparedRun, best_of_each, compare, under_others
from jacobian_ensembles.paper.labels import mark_of
from jacobian_ensembles.paper.markup import csv
from jacobian_ensembles.paper.style import add_mark, picture
from jacobian_ensembles.report.comparison import render_comparison
from jacobian_ensembles.runs.run import Run
from jacobian_ensembles.stages.outputs import write_rendered
from jacobian_ensembles.storage.files import ArtifactError, write_bytes, write_text
from jacobian_ensembles.storage.tables import write_table

#: The files that a comparison writes, and what each holds.
FILES = {
    "comparison.html": "the page",
    "tradeoff.png": "the figure",
    "tradeoff.pdf": "the figure",
    "best.md": "the best strength of each run",
    "best.csv": "the same",
    "models.csv": "every model",
}


def load_compared(folder: str | Path) -> ComparedRun:
    """Read what a comparison needs of a run.

    Args:
        folder: Of a finished or shipped run: see :meth:`~jacobian_ensembles.runs.run.Run.open`.

    Raises:
        ArtifactError: If it holds neither, or a file is damaged.
    """
    run = Run.open(folder)
    try:
        csv(run.name)
    except ValueError as error:
        raise ArtifactError(f"{folder}: its name becomes that of the run; {error}.") from None
    return ComparedRun(
        name=run.name,
        objective=run.objective,
        records=run.table("records"),
        variants=run.table("ablation") if run.has("ablation") else None,
        seconds=run.seconds,
        attack=run.attack,
        banner=str(run.config["run"].get("banner", "")),
    )


def compare_runs(
    folders: Sequence[str | Path],
    target: str | Path,
    clean_weight: float = 0.5,
    confidence: float = 0.95,
    transfer: bool = False,
) -> None:
    """Compare runs side by side.

    Args:
        folders: Folders of finished or shipped runs; differences are from the first.
        target: Folder to write :data:`FILES` to; ``transfer.csv``, if it is asked for; and a figure, ``certified``,
            where runs have certificates.
        clean_weight: Weight of clean accuracy in weighted accuracy.
        confidence: Level of the intervals.
        transfer: Also try the perturbations of every run's best models on the others', which needs runs
            with their models and perturbations.

    Raises:
        ArtifactError: If a folder holds no run, or no models for ``transfer``, or a file is damaged.
        ValueError: If runs share no eps, or two have the same name.
    """
    runs, target = [load_compared(folder) for folder in folders], Path(target)
    table = compare(runs, clean_weight, confidence)
    best = best_of_each(runs, table, clean_weight, confidence)
    carried = None
    if transfer:
        from jacobian_ensembles.stages.transfer_runs import transfer_between

        carried = transfer_between(folders, runs, best)
        best = under_others(best, carried)
    rendered = best_table(runs, best)
    target.mkdir(parents=True, exist_ok=True)
    write_table(target / "models.csv", table)
    if carried is not None:
        write_table(target / "transfer.csv", carried)
    write_rendered(rendered, target / "best.csv", target / "best.md")
    mark = mark_of(next(filter(None, (run.banner for run in runs)), ""))
    drawn = {"tradeoff": plot(runs, table), "certified": plot_certified(runs, best, confidence)}
    pictures = {}
    for name, fig in drawn.items():
        if fig is None:
            continue
        add_mark(fig, mark)
        for kind in ("pdf", "png"):
            pictures[f"{name}.{kind}"] = picture(fig, kind)
            write_bytes(target / f"{name}.{kind}", pictures[f"{name}.{kind}"])
    page = render_comparison([run.name for run in runs], notes(runs), best_shown(runs, best), pictures)
    write_text(target / "comparison.html", page)
