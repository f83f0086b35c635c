"""Shipped results: what a reader needs of a finished run, small enough for the repository; redrawn and joined."""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from jacobian_ensembles.data.cards import CARDS
from jacobian_ensembles.ensembles.methods import METHODS
from jacobian_ensembles.evaluation.summary import CELL_KEYS
from jacobian_ensembles.experiment.config import Config, ConfigError, load_config
from jacobian_ensembles.experiment.layout import Layout
from jacobian_ensembles.experiment.provenance import commit
from jacobian_ensembles.paper.catalogue import FIGURES, TABLES
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


def _copy_stamped(source: Path, target: Path, origin: Mapping[str, str]) -> None:
    """Copy a result, and write into the copy where it is from: as columns, as a line, or as metadata of a picture."""
    line = ", ".join(f"{name} {value}" for name, value in origin.items())
    if source.suffix == ".csv":
        text = pd.read_csv(source, dtype=str, keep_default_na=False).assign(**origin).to_csv(index=False)
        write_text(target, text)
    elif source.suffix == ".md":
        write_text(target, f"{source.read_text(encoding='utf-8').rstrip()}\n\n*From {line}.*\n")
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


def _origin(config: Mapping[str, Any], commits: Iterable[str]) -> tuple[str, dict[str, str]]:
    """The text of ``config.yaml``, and what a shipped file says of where it is from."""
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
        config: The run's resolved configuration.

    Raises:
        ArtifactError: If the run has no results.
    """
    root, target = Path(root), Path(target)
    summary = _summarize_provenance(root)
    settings, origin = _origin(config, summary["commit"])
    for path in sorted(p for folder in _FOLDERS for p in (root / folder).glob("*")):
        (target / path.parent.name).mkdir(parents=True, exist_ok=True)
        _copy_stamped(path, target / path.relative_to(root), origin)
    rows = [
        {key: record[key] for key in (*CELL_KEYS, "eps")} | {"attack_seed": seed, "accuracy": accuracy}
        for record in map(read_record, sorted((root / "worst").rglob("worst.json")))
        for seed, accuracy in enumerate(record["accuracies"])
    ]
    if rows:
        write_checksums(sorted((target / "metrics").glob("*.csv")))
        table = pd.DataFrame(rows).sort_values([*CELL_KEYS, "eps", "attack_seed"]).assign(**origin)
        write_text(target / "attack_seeds.csv", table.to_csv(index=False, float_format="%.6g"))
    write_json(target / "provenance.json", summary)
    write_text(target / "config.yaml", settings)


def rebuild_run(shipped: str | Path, target: str | Path) -> None:
    """Draw the figures and write the tables of a shipped run anew, from its metrics.

    Args:
        shipped: A folder of :func:`ship_run`.
        target: Folder to write ``figures/``, ``tables/`` and ``metrics/`` to.

    Raises:
        ArtifactError: If the folder has no metrics.
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
    # tables that are not made from metrics are what was shipped
    for path in sorted((shipped / "tables").iterdir()):
        if not (target / "tables" / path.name).exists():
            (target / "tables").mkdir(exist_ok=True)
            shutil.copyfile(path, target / "tables" / path.name)


def _redraw(shipped: Path, target: Path, config: Config) -> None:
    """Every figure and table of the catalogue whose inputs a shipped run has."""
    sources = {name: Path(path) for name, path in Layout(str(target.parent), target.name).sources.items()}
    sources["ablation"] = shipped / "tables" / "ablation.csv"  # not among the metrics that were copied
    known = {"eps": config.figures.eps, "confidence": config.metrics.confidence}
    known["clean_weight"] = config.metrics.clean_weight
    for item in (*FIGURES, *TABLES):
        inputs = {name: sources[name] for name in item.inputs}
        if not all(path.exists() for path in inputs.values()) or not item.belongs_to(config.grid.repetitions):
            continue
        labels: dict[str, Any] = {"run": config.run.name, "banner": config.run.banner}
        labels["settings"] = {name: known[name] for name in item.settings}
        if item in FIGURES:
            stem = target / "figures" / item.name
            plot_figure(item.name, inputs, stem.with_suffix(".pdf"), stem.with_suffix(".png"), **labels)
        else:
            csv, markdown, latex = (target / "tables" / f"{item.name}.{kind}" for kind in ("csv", "md", "tex"))
            write_table(item.name, inputs, csv, markdown, latex, **labels)


_MODELS = {"datasets", "ensembles", "members", "lambdas", "cells"}  # what may differ between the parts of a grid


def _settings(config: Config) -> dict[str, Any]:
    """What the parts of one run must have in common, by dotted key."""
    shared = config.model_dump(mode="json", by_alias=True, exclude={"compute": True, "run": {"name"}, "grid": _MODELS})
    flat = {"seed": shared.pop("seed")}
    return flat | {f"{section}.{key}": value for section, values in shared.items() for key, value in values.items()}


def _joined_config(configs: Mapping[Path, Config], name: str) -> dict[str, Any]:
    """The configuration of one run of all the models of its parts; of a single one, its own."""
    first, *others = configs
    for path, config in configs.items():
        if config.trials or config.ablation:  # their tables are not made from metrics
            raise ConfigError(f"{path}: runs with trials or an ablation cannot be joined.")
    if not others and first.name == name:
        own: dict[str, Any] = yaml.safe_load((first / "config.yaml").read_text(encoding="utf-8"))
        return own
    for path in others:
        ours, theirs = _settings(configs[first]), _settings(configs[path])
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                raise ConfigError(
                    f"{path}: {key} is {theirs.get(key)!r}, in {first} it is {ours.get(key)!r}. Parts of one run "
                    "differ in their models only."
                )
    owner: dict[Any, Path] = {}
    for path, config in configs.items():
        for cell in config.cells:
            if owner.setdefault(cell, path) != path:
                model = f"{cell.dataset} {cell.ensemble} M={cell.members} lambda={cell.lambda_jr:g}"
                raise ConfigError(f"{path}: {model} is in {owner[cell]}, too. Each model may be in one part only.")
    raw = configs[first].model_dump(mode="json", by_alias=True, exclude={"compute"})
    grids = [config.grid for config in configs.values()]
    for axis, known in (("datasets", (*CARDS,)), ("ensembles", (*METHODS,)), ("members", ()), ("lambdas", ())):
        values = dict.fromkeys(value for grid in grids for value in getattr(grid, axis))
        raw["grid"][axis] = sorted(values, key=known.index if set(values) <= set(known) else None)
    models = [cell for cell in owner if cell.repetition == 0]
    raw["grid"]["cells"] = [cell.model_dump(mode="json", by_alias=True, exclude={"repetition"}) for cell in models]
    raw["run"]["name"] = name
    joined = load_config(raw)
    if set(joined.grid.cells or ()) == set(joined.grid.product()):
        raw["grid"]["cells"] = None
    return raw


def _joined_table(paths: Sequence[Path]) -> str:
    """The rows of several tables, each still saying where it is from, in the order in which one run has them."""
    table = pd.concat([pd.read_csv(path, dtype=str, keep_default_na=False) for path in paths])
    keys = [key for key in (*CELL_KEYS, "eps", "count", "attack_seed") if key in table.columns]
    names = {"dataset", "ensemble"}
    table = table.sort_values(keys, key=lambda column: column if column.name in names else column.astype(float))
    return table.to_csv(index=False)


def _joined_provenance(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What made all parts of a run: jobs and hours added up, and every commit, device and version that took part."""
    joined: dict[str, Any] = {}
    for key in ("jobs", "hours"):
        total: dict[str, float] = defaultdict(int)
        for rule, value in (item for record in records for item in record[key].items()):
            total[rule] = round(total[rule] + value, 3)
        joined[key] = dict(total)
    joined["first_finished"] = min(record["first_finished"] for record in records)
    joined["last_finished"] = max(record["last_finished"] for record in records)
    sets = dict.fromkeys(key for record in records for key in record if key not in joined)
    joined |= {key: sorted({value for record in records for value in record.get(key, [])}) for key in sets}
    drawn_by = commit()
    joined["commit"] = sorted({*joined["commit"], *([drawn_by] if drawn_by else [])})
    return joined


def _join_tables(parts: Iterable[Path], folder: Path) -> None:
    """Write the metrics of all parts, and their attack seeds, as one run's.

    Raises:
        ArtifactError: If a part lacks a table that others have, or one is damaged.
    """
    for name in sorted({path.name for part in parts for path in (part / "metrics").glob("*.csv")}):
        paths = [part / "metrics" / name for part in parts]
        for path in paths:
            if not path.is_file():
                raise ArtifactError(f"{path}: missing, while other parts have it. Was it shipped completely?")
            verify_checksum(path)
        write_text(folder / "metrics" / name, _joined_table(paths))
    write_checksums(sorted((folder / "metrics").glob("*.csv")))
    write_text(folder / "attack_seeds.csv", _joined_table([part / "attack_seeds.csv" for part in parts]))


def join_runs(parts: Sequence[str | Path], target: str | Path) -> None:
    """Put shipped runs together that each computed some of the models of one grid, on several machines or days.

    A single run is drawn anew by the present code, in its place.

    Args:
        parts: Folders of :func:`ship_run` or of this function: different models, otherwise the same settings.
        target: Folder to write, as :func:`ship_run` writes it; its name becomes the run's. It may be one of the parts,
            which is then replaced. Rows of metrics keep the part and the commits they are from; tables and figures name
            the commit that drew them, too.

    Raises:
        ArtifactError: If a part was not shipped completely, or is damaged.
        ConfigError: If settings differ, or a model is in two parts.
    """
    target = Path(target)
    configs: dict[Path, Config] = {}
    for part in map(Path, parts):
        if not (part / "attack_seeds.csv").is_file():
            raise ArtifactError(f"{part}: no attack_seeds.csv, so not a shipped run of models.")
        configs[part] = load_config(yaml.safe_load((part / "config.yaml").read_text(encoding="utf-8")))
    if not configs:
        raise ArtifactError("Shipped runs are needed to join. Got none.")
    config = _joined_config(configs, target.name)
    record = _joined_provenance([read_json(part / "provenance.json") for part in configs])
    settings, origin = _origin(config, record["commit"])

    # the target is replaced only by a whole run
    with tempfile.TemporaryDirectory(prefix=".joining-", dir=target.parent) as folder:
        joined, drawn = Path(folder) / target.name, Path(folder) / "drawn"
        for name in ("metrics", "tables"):
            (joined / name).mkdir(parents=True)
        _join_tables(configs, joined)
        write_json(joined / "provenance.json", record)
        write_text(joined / "config.yaml", settings)
        rebuild_run(joined, drawn)
        for path in sorted(p for kind in ("tables", "figures") for p in (drawn / kind).iterdir()):
            _copy_stamped(path, joined / path.relative_to(drawn), origin)
        if target.exists():
            shutil.rmtree(target)
        joined.rename(target)
