"""Joining shipped runs that computed different models of one grid, or different trainings of them, into one run."""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from jacobian_ensembles.config.cells import Cell, GridCell
from jacobian_ensembles.config.schema import Config, ConfigError, load_config
from jacobian_ensembles.data.cards import CARDS
from jacobian_ensembles.ensembles.methods import METHODS
from jacobian_ensembles.evaluation.summary import CELL_KEYS, summarize
from jacobian_ensembles.runs.crate import write_crate
from jacobian_ensembles.runs.provenance import commit
from jacobian_ensembles.runs.ship import copy_stamped, origin_of, rebuild_run
from jacobian_ensembles.runs.zoo import join_arrays
from jacobian_ensembles.stages.measure_image_error import image_error_of_bits
from jacobian_ensembles.storage.checksums import verify_checksum, write_checksums
from jacobian_ensembles.storage.files import ArtifactError, read_json, write_json, write_text
from jacobian_ensembles.storage.tables import write_table

# what may differ between the parts of a grid: which models, and which trainings of them
_MODELS = {"datasets", "ensembles", "members", "lambdas", "cells", "repetitions", "first_repetition"}

_IMAGE_ERROR = "image_error.csv"


def _settings(config: Config) -> dict[str, Any]:
    """What the parts of one run must have in common, by dotted key."""
    shared = config.model_dump(
        mode="json",
        by_alias=True,
        exclude={
            "compute": True,
            "compare": True,
            "run": {"name", "keep"},
            "grid": _MODELS,
            "attack": {"members"},
            "ablation": True,
        },
    )
    flat = {"seed": shared.pop("seed")}
    return flat | {f"{section}.{key}": value for section, values in shared.items() for key, value in values.items()}


def _joined_ablation(configs: Mapping[Path, Config]) -> dict[str, Any]:
    """The attack variants that any of the parts has."""
    variants: dict[str, Any] = {}
    owner: dict[str, Path] = {}
    for path, config in configs.items():
        for name, variant in config.ablation.items():
            first = owner.setdefault(name, path)
            if variant != configs[first].ablation[name]:
                raise ConfigError(f"{path}: the attack variant {name} is not what it is in {first}. Rename one.")
            variants[name] = variant.model_dump(mode="json")
    return variants


def _joined_cells(configs: Mapping[Path, Config]) -> dict[GridCell, list[int]]:
    """Every model of the parts, with the numbers of its trainings."""
    owner: dict[Cell, Path] = {}
    for path, config in configs.items():
        for cell in config.cells:
            if owner.setdefault(cell, path) != path:
                raise ConfigError(f"{path}: {_spelled(cell)} is in {owner[cell]}, too. Each may be in one part only.")
    trainings: dict[GridCell, list[int]] = defaultdict(list)
    for cell in owner:
        trainings[GridCell.model_construct(**cell.model_dump(exclude={"repetition"}))].append(cell.repetition)
    first = min(map(min, trainings.values()))
    for model, numbers in trainings.items():
        missing = sorted(set(range(first, max(numbers) + 1)) - set(numbers))
        if missing:
            lacking = ", ".join(map(str, missing))
            raise ConfigError(f"{_spelled(model)}: training {lacking} is in no part, later ones are. Join it, too.")
    return trainings


def _spelled(cell: GridCell) -> str:
    training = f" training {cell.repetition}" if isinstance(cell, Cell) else ""
    return f"{cell.dataset} {cell.ensemble} M={cell.members} lambda={cell.lambda_jr:g}{training}"


def _joined_config(configs: Mapping[Path, Config], name: str) -> dict[str, Any]:
    """The configuration of one run with all the models of its parts; a single part keeps its own."""
    first, *others = configs
    for path, config in configs.items():
        if config.trials:  # their table is not made from metrics
            raise ConfigError(f"{path}: runs with trials cannot be joined.")
    if not others and first.name == name:
        own: dict[str, Any] = yaml.safe_load((first / "config.yaml").read_text(encoding="utf-8"))
        return own
    for path in others:
        ours, theirs = _settings(configs[first]), _settings(configs[path])
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                raise ConfigError(
                    f"{path}: {key} is {theirs.get(key)!r}, in {first} it is {ours.get(key)!r}. Parts of one run "
                    "differ in their models and trainings only."
                )
    trainings = _joined_cells(configs)
    raw = configs[first].model_dump(mode="json", by_alias=True, exclude={"compute"})
    grid, parts = raw["grid"], [config.grid for config in configs.values()]
    for axis, known in (("datasets", (*CARDS,)), ("ensembles", (*METHODS,)), ("members", ()), ("lambdas", ())):
        values = dict.fromkeys(value for part in parts for value in getattr(part, axis))
        grid[axis] = sorted(values, key=known.index if set(values) <= set(known) else None)
    most = max(map(len, trainings.values()))
    grid["repetitions"], grid["first_repetition"] = most, min(map(min, trainings.values()))
    grid["cells"] = [
        cell.model_dump(mode="json", by_alias=True) | {"repetitions": None if len(numbers) == most else len(numbers)}
        for cell, numbers in trainings.items()
    ]
    raw["run"]["name"] = name
    raw["ablation"] = _joined_ablation(configs)
    joined = load_config(raw)
    if {*trainings} == {*joined.grid.product()} and {*map(len, trainings.values())} == {most}:
        grid["cells"] = None
    return raw


def _joined_table(paths: Sequence[Path]) -> str:
    """The rows of several tables, each with its origin, in the order that a single run has."""
    table = pd.concat([pd.read_csv(path, dtype=str, keep_default_na=False) for path in paths])
    variants = dict.fromkeys(table["variant"]) if "variant" in table else {}
    keys = [key for key in ("variant", *CELL_KEYS, "eps", "count", "attack_seed") if key in table.columns]
    names = {"dataset", "ensemble"}

    def ordered(column: pd.Series) -> pd.Series:
        if column.name == "variant":
            return column.map(list(variants).index)
        return column if column.name in names else column.astype(float)

    table = table.sort_values(keys, key=ordered)
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
    times: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        for method, seconds in record.get("training_seconds", {}).items():
            for strength, value in seconds.items():
                times[method][strength].append(value)
    means = {m: {s: round(sum(v) / len(v), 2) for s, v in found.items()} for m, found in times.items()}
    joined["training_seconds"] = means
    sets = dict.fromkeys(key for record in records for key in record if key not in joined)
    joined |= {key: sorted({value for record in records for value in record.get(key, [])}) for key in sets}
    drawn_by = commit()
    joined["commit"] = sorted({*joined["commit"], *([drawn_by] if drawn_by else [])})
    return joined


def _join_tables(parts: Sequence[Path], folder: Path, config: Config, origin: Mapping[str, str]) -> None:
    """Write the metrics of all parts, their attack seeds and the arrays they keep, as one run's.

    A row of ``summary.csv`` averages a model's trainings; if there are several, the table is computed anew.

    Raises:
        ArtifactError: If a part lacks a table that others have, or one is damaged.
    """
    for name in sorted({path.name for part in parts for path in (part / "metrics").glob("*.csv")} - {_IMAGE_ERROR}):
        paths = [part / "metrics" / name for part in parts]
        if name in ("ablation.csv", "members.csv"):  # some parts may have used the run's own attack only
            paths = [path for path in paths if path.is_file()]
        for path in paths:
            if not path.is_file():
                raise ArtifactError(f"{path}: missing, while other parts have it. Was it shipped completely?")
            verify_checksum(path)
        write_text(folder / "metrics" / name, _joined_table(paths))
    if config.repetitions > 1:
        metrics = pd.read_csv(folder / "metrics" / "metrics.csv").drop(columns=[*origin])
        summary = summarize(metrics, config.metrics.clean_weight, config.metrics.confidence)
        write_table(folder / "metrics" / "summary.csv", summary.assign(**origin))
    join_arrays(parts, folder)
    if bits := sorted((folder / "bits").glob("*.safetensors")):  # models of all parts, paired on the same images
        image_error_of_bits(bits, folder / "metrics" / _IMAGE_ERROR)
    write_checksums(sorted((folder / "metrics").glob("*.csv")))
    write_text(folder / "attack_seeds.csv", _joined_table([part / "attack_seeds.csv" for part in parts]))


def join_runs(parts: Sequence[str | Path], target: str | Path) -> None:
    """Join shipped runs that each computed some of the models of one grid, on different machines or days.

    A single run, joined to its own folder, is redrawn there by the present code.

    Args:
        parts: Folders that :func:`ship_run` or this function wrote: different models, or trainings of them, otherwise
            the same settings. Some may have attacked their models with further variants (``ablation``).
        target: Folder to write, as :func:`ship_run` writes it; its name becomes the run's. It may be one of the parts,
            which is then replaced. Rows of metrics keep the part and the commits they are from; tables and figures also
            name the commit that drew them.

    Raises:
        ArtifactError: If a part was not shipped completely, or is damaged.
        ConfigError: If settings differ, a training is in two parts, or one is missing before a later one.
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
    settings, origin = origin_of(config, record["commit"])

    # the target is replaced only by a complete run
    with tempfile.TemporaryDirectory(prefix=".joining-", dir=target.parent) as folder:
        joined, drawn = Path(folder) / target.name, Path(folder) / "drawn"
        for name in ("metrics", "tables"):
            (joined / name).mkdir(parents=True)
        _join_tables([*configs], joined, load_config(config), origin)
        write_json(joined / "provenance.json", record)
        write_text(joined / "config.yaml", settings)
        rebuild_run(joined, drawn)
        for path in sorted(p for kind in ("tables", "figures") for p in (drawn / kind).iterdir()):
            copy_stamped(path, joined / path.relative_to(drawn), origin)
        write_crate(joined)
        if target.exists():
            shutil.rmtree(target)
        joined.rename(target)
