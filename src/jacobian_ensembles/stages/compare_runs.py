"""Stage compare_runs: finished and shipped runs side by side, in a figure, a table and a page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pandas as pd

from jacobian_ensembles.comparing.defence_display import best_shown, best_table, notes, plot
from jacobian_ensembles.comparing.defences import ComparedRun, best_of_each, compare, under_others
from jacobian_ensembles.config.attack import Attack
from jacobian_ensembles.config.yaml_files import read_yaml
from jacobian_ensembles.evaluation.summary import CELL_KEYS
from jacobian_ensembles.paper.labels import mark_of
from jacobian_ensembles.paper.markup import csv
from jacobian_ensembles.paper.style import add_mark, picture
from jacobian_ensembles.report.comparison import render_comparison
from jacobian_ensembles.stages.outputs import write_rendered
from jacobian_ensembles.storage.checksums import read_record
from jacobian_ensembles.storage.files import ArtifactError, read_json, write_bytes, write_text
from jacobian_ensembles.storage.tables import read_table, write_table
from jacobian_ensembles.training.objectives.registry import OBJECTIVES

#: The files that a comparison writes, and what each holds.
FILES = {
    "comparison.html": "the page",
    "tradeoff.png": "the figure",
    "tradeoff.pdf": "the figure",
    "best.md": "the best strength of each run",
    "best.csv": "the same",
    "models.csv": "every model",
}


def training_seconds(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """How long one learner took to train, by ensemble method and strength.

    Args:
        records: What :func:`~jacobian_ensembles.runs.provenance.provenance` gave; only training jobs count.

    Returns:
        Mean wall seconds per learner, by the method's name and the strength as paths spell it.
    """
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for record in records:
        job = record["settings"]
        if job["rule"] in ("train_learner", "train_together") and "ensemble" in job:
            name = str(job["ensemble"]).rpartition(":")[2]
            learners = 1 if "member" in job else int(job["members"])
            times[name, job["lambda_jr"]].append(record["wall_seconds"] / learners)
    out: dict[str, dict[str, float]] = defaultdict(dict)
    for (name, strength), seconds in sorted(times.items()):
        out[name][strength] = round(sum(seconds) / len(seconds), 2)
    return dict(out)


def objective_label(goal: Mapping[str, Any]) -> str:
    """What learners minimised, with options that differ from the defaults, such as ``universal (jacobian 0.05)``."""
    name, options = goal["objective"], goal["options"]
    default = resolve_name(OBJECTIVES[name]).Options().model_dump() if name in OBJECTIVES else {}
    own = {key: value for key, value in sorted(options.items()) if value is not None and default.get(key) != value}
    told = [f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in own.items()]
    short = str(name).rpartition(":")[2]
    return f"{short} ({', '.join(told)})" if told else short


def load_compared(folder: str | Path) -> ComparedRun:
    """Read what a comparison needs of a run.

    Args:
        folder: ``results/<run>``, finished, or ``results/reference/<run>``, shipped.

    Raises:
        ArtifactError: If it holds neither, or a file is damaged.
    """
    folder = Path(folder)
    if not (folder / "metrics" / "metrics.csv").is_file():
        raise ArtifactError(f"{folder}: no finished or shipped run; there is no metrics/metrics.csv.")
    try:
        csv(folder.resolve().name)
    except ValueError as error:
        raise ArtifactError(f"{folder}: its name becomes that of the run; {error}.") from None
    variants = folder / "metrics" / "ablation.csv"
    common: dict[str, Any] = {
        "name": folder.resolve().name,
        "metrics": read_table(folder / "metrics" / "metrics.csv"),
        "variants": read_table(variants) if variants.is_file() else None,
    }
    return ComparedRun(**common, **(_shipped if (folder / "attack_seeds.csv").is_file() else _finished)(folder))


def _shipped(folder: Path) -> dict[str, Any]:
    """What a shipped run tells besides its tables."""
    config, made = read_yaml(folder / "config.yaml"), read_json(folder / "provenance.json")
    training = config.get("training", {})
    goal = {"objective": training.get("objective", "jacobian"), "options": training.get("options", {})}
    # not validated: the files of whoever made the run may be missing here, and older runs lack newer settings
    attack = Attack.model_construct(**config.get("attack", {})).recipe()
    return {
        "objective": objective_label(goal),
        "seeds": pd.read_csv(folder / "attack_seeds.csv"),
        "seconds": _numbers(made.get("training_seconds", {})),
        "attack": _flat(attack),
        "banner": config["run"].get("banner", ""),
    }


def _finished(folder: Path) -> dict[str, Any]:
    """The same for a finished run, in the folder where it was made."""
    worst = [read_record(path) for path in sorted((folder / "worst").rglob("worst.json"))]
    rows = [
        {key: record[key] for key in (*CELL_KEYS, "eps")} | {"attack_seed": seed, "accuracy": accuracy}
        for record in worst
        for seed, accuracy in enumerate(record["accuracies"])
    ]
    if not rows:
        raise ArtifactError(f"{folder}: no worst-case records (worst/.../worst.json). Run the workflow again.")
    records = [read_json(path) for path in sorted((folder / "learners").rglob("*.provenance.json"))]
    goals = [record["settings"].get("objective") for record in records]
    crafted = next((folder / "uaps").rglob("*.provenance.json"), None)
    drawn = next((folder / "tables").glob("*.provenance.json"), None)
    return {
        "objective": objective_label(next(filter(None, goals), {"objective": "jacobian", "options": {}})),
        "seeds": pd.DataFrame(rows),
        "seconds": _numbers(training_seconds(records)),
        "attack": {} if crafted is None else _flat(read_json(crafted)["settings"]["attack"]),
        "banner": "" if drawn is None else read_json(drawn)["settings"].get("banner", ""),
    }


def _numbers(seconds: Mapping[str, Mapping[str, float]]) -> dict[tuple[str, float], float]:
    return {(name, float(token)): value for name, times in seconds.items() for token, value in times.items()}


def _flat(attack: Mapping[str, Any]) -> dict[str, Any]:
    return {**attack["options"], **{key: value for key, value in attack.items() if key != "options"}}


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
        target: Folder to write :data:`FILES` to, and ``transfer.csv``, if it is asked for.
        clean_weight: Weight of clean accuracy in weighted accuracy.
        confidence: Level of the intervals.
        transfer: Also try the perturbations of every run's best models on the others', which needs finished runs.

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
    fig = plot(runs, table)
    add_mark(fig, mark_of(next(filter(None, (run.banner for run in runs)), "")))
    pictures = {kind: picture(fig, kind) for kind in ("pdf", "png")}
    for kind, content in pictures.items():
        write_bytes(target / f"tradeoff.{kind}", content)
    page = render_comparison([run.name for run in runs], notes(runs), best_shown(runs, best), pictures["png"])
    write_text(target / "comparison.html", page)
