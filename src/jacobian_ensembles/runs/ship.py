"""Shipped results: what a reader needs of a finished run, small enough for the repository, and redrawing them."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from jacobian_ensembles.config.schema import Config, load_config
from jacobian_ensembles.evaluation.summary import CELL_KEYS
from jacobian_ensembles.paper.catalogue import FIGURES, TABLES
from jacobian_ensembles.runs.crate import write_crate
from jacobian_ensembles.runs.layout import Layout
from jacobian_ensembles.runs.zoo import keep_arrays
from jacobian_ensembles.stages.compare_runs import training_seconds
from jacobian_ensembles.stages.plot_figure import plot_figure
from jacobian_ensembles.stages.write_table import write_table
from jacobian_ensembles.storage.checksums import read_record, verify_checksum, write_checksums
from jacobian_ensembles.storage.files import ArtifactError, read_json, write_bytes, write_json, write_text

_FOLDERS = ("metrics", "tables", "figures")
_ORIGIN = ("run", "seed", "config_sha256", "commit")  # columns of every shipped CSV


def _summarize_provenance(root: Path) -> dict[str, Any]:
    """What made a run: jobs and hours per rule, and every commit, device and version that took part."""
    jobs: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    seen: dict[str, set[str]] = defaultdict(set)
    records = [read_json(path) for path in sorted(root.rglob("*.provenance.json"))]
    for record in records:
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
        "training_seconds": training_seconds(records),
        **{key: sorted(values) for key, values in seen.items()},
    }


def copy_stamped(source: Path, target: Path, origin: Mapping[str, str]) -> None:
    """Copy a result, and write its origin into the copy: as columns, as a line, or as metadata of a picture."""
    line = ", ".join(f"{name} {value}" for name, value in origin.items())
    if source.suffix == ".csv":
        text = pd.read_csv(source, dtype=str, keep_default_na=False).assign(**origin).to_csv(index=False)
        write_text(target, text)
    elif source.suffix == ".md":
        write_text(target, f"{source.read_text(encoding='utf-8').rstrip()}\n\n*From {line}.*\n")
    elif source.suffix == ".txt":
        write_text(target, f"{source.read_text(encoding='utf-8')}From {line}.\n")
    elif source.suffix == ".tex":
        write_text(target, f"% {line}\n{source.read_text(encoding='utf-8')}")
    elif source.suffix == ".png":
        buffer, info = io.BytesIO(), PngInfo()
        info.add_text("Description", line)
        with Image.open(source) as image:
            image.save(buffer, "PNG", pnginfo=info, dpi=image.info["dpi"], optimize=True)
        write_bytes(target, buffer.getvalue())
    elif source.suffix == ".pdf":
        # a comment after the end, where PDF allows one
        write_bytes(target, source.read_bytes() + f"% {line}\n".encode())


def short_commit(commit: str, digits: int) -> str:
    """The first digits of a commit's 40, and the ``-dirty`` that may follow them."""
    return commit[:digits] + commit[40:]


def origin_of(config: Mapping[str, Any], commits: Iterable[str]) -> tuple[str, dict[str, str]]:
    """The text of ``config.yaml``, and what a shipped file says about its origin."""
    settings = yaml.safe_dump(dict(config), sort_keys=False)
    sha = hashlib.sha256(settings.encode()).hexdigest()
    values = (config["run"]["name"], str(config["seed"]), sha[:12], " ".join(short_commit(c, 12) for c in commits))
    return settings, dict(zip(_ORIGIN, values, strict=True))


def ship_run(root: str | Path, target: str | Path, config: Mapping[str, Any]) -> None:
    """Copy the small outputs of a finished run to where the repository keeps them.

    Args:
        root: The run's folder.
        target: Folder to write: ``config.yaml`` (resolved), ``provenance.json`` (jobs, hours, commits, versions),
            ``attack_seeds.csv`` (the accuracy under every attack seed) and the metrics, tables and figures. Each of
            these names the run, its base seed, the commits that made it and the start of ``config.yaml``'s SHA-256.
            Beside them is what ``run.keep`` names (see :func:`~jacobian_ensembles.runs.zoo.keep_arrays`).
            ``ro-crate-metadata.json`` says what each file is and what made the run: see :mod:`.crate`.
        config: The run's resolved configuration.

    Raises:
        ArtifactError: If the run has no results.
    """
    root, target = Path(root), Path(target)
    summary = _summarize_provenance(root)
    settings, origin = origin_of(config, summary["commit"])
    for path in sorted(p for folder in _FOLDERS for p in (root / folder).glob("*")):
        (target / path.parent.name).mkdir(parents=True, exist_ok=True)
        copy_stamped(path, target / path.relative_to(root), origin)
    rows = [
        {key: record[key] for key in (*CELL_KEYS, "eps")} | {"attack_seed": seed, "accuracy": accuracy}
        for record in map(read_record, sorted((root / "worst").rglob("worst.json")))
        for seed, accuracy in enumerate(record["accuracies"])
    ]
    if rows:
        write_checksums(sorted((target / "metrics").glob("*.csv")))
        table = pd.DataFrame(rows).sort_values([*CELL_KEYS, "eps", "attack_seed"]).assign(**origin)
        write_text(target / "attack_seeds.csv", table.to_csv(index=False, float_format="%.6g"))
    if (root / "worst").is_dir():
        cfg = load_config(config)
        keep_arrays(Layout(str(root.parent), root.name), target, cfg.cells, cfg.grid.eps, cfg.run.keep)
    write_json(target / "provenance.json", summary)
    write_text(target / "config.yaml", settings)
    write_crate(target)


def rebuild_run(shipped: str | Path, target: str | Path) -> None:
    """Redraw the figures and rewrite the tables of a shipped run from its metrics.

    Args:
        shipped: A folder that :func:`ship_run` wrote.
        target: Folder to write ``figures/``, ``tables/`` and ``metrics/`` to.

    Raises:
        ArtifactError: If the folder has neither metrics nor a table of recipes, or one is damaged.
    """
    shipped, target = Path(shipped), Path(target)
    config = load_config(yaml.safe_load((shipped / "config.yaml").read_text(encoding="utf-8")))
    (target / "figures").mkdir(parents=True, exist_ok=True)
    (target / "metrics").mkdir(exist_ok=True)
    for path in sorted((shipped / "metrics").glob("*.csv")):
        verify_checksum(path)
        plain = pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns=list(_ORIGIN), errors="ignore")
        write_text(target / "metrics" / path.name, plain.to_csv(index=False))
    if not (shipped / "metrics" / "metrics.csv").exists() and not (shipped / "tables" / "recipe.csv").exists():
        raise ArtifactError(f"{shipped}: neither metrics/metrics.csv nor tables/recipe.csv. Was it shipped completely?")
    _redraw(shipped, target, config)
    # tables that are not made from metrics are copied as shipped
    for path in sorted((shipped / "tables").iterdir()):
        if not (target / "tables" / path.name).exists():
            (target / "tables").mkdir(exist_ok=True)
            shutil.copyfile(path, target / "tables" / path.name)


def _redraw(shipped: Path, target: Path, config: Config) -> None:
    """Redraw every figure and table of the catalogue whose inputs a shipped run has."""
    sources = {name: Path(path) for name, path in Layout(str(target.parent), target.name).sources.items()}
    known = {"eps": config.figures.eps, "confidence": config.metrics.confidence}
    known |= {"clean_weight": config.metrics.clean_weight, "clip": config.attack.clip}
    transfer = bool(config.stress.transfer_eps)
    for item in (*TABLES, *FIGURES):  # the figure of the claims is drawn from their tables
        inputs = {name: sources[name] for name in item.inputs}
        if not all(path.exists() for path in inputs.values()) or not item.belongs_to(
            config.repetitions, transfer=transfer
        ):
            continue
        inputs |= {name: sources[name] for name in item.optional if sources[name].exists()}
        labels: dict[str, Any] = {"run": config.run.name, "banner": config.banner}
        labels["settings"] = {name: known[name] for name in item.settings}
        if item in FIGURES:
            stem = target / "figures" / item.name
            plot_figure(item.name, inputs, *(stem.with_suffix(f".{kind}") for kind in item.kinds), **labels)
        else:
            csv, markdown, latex = (target / "tables" / f"{item.name}.{kind}" for kind in ("csv", "md", "tex"))
            write_table(item.name, inputs, csv, markdown, latex, **labels)
