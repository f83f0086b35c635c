"""Joining shipped runs that computed different models of one grid, or different trainings of them, into one run."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from jacobian_ensembles.config.cells import Cell, GridCell
from jacobian_ensembles.config.schema import Config, ConfigError, load_config
from jacobian_ensembles.config.variants import RunAttacks
from jacobian_ensembles.config.yaml_files import read_yaml
from jacobian_ensembles.data.cards import CARDS
from jacobian_ensembles.ensembles.methods import METHODS
from jacobian_ensembles.evaluation.summary import CELL_KEYS
from jacobian_ensembles.runs.arrays import join_arrays
from jacobian_ensembles.runs.draw import draw
from jacobian_ensembles.runs.provenance import made_together
from jacobian_ensembles.runs.run import NOT_RECOMPUTABLE, Run, kept_files
from jacobian_ensembles.runs.ship import check_target, replacing, seal
from jacobian_ensembles.stages.aggregate_ablation import aggregate_ablation
from jacobian_ensembles.stages.aggregate_metrics import aggregate_metrics
from jacobian_ensembles.stages.measure_image_error import image_error_of_bits
from jacobian_ensembles.stages.tabulate_worst_of_k import tabulate_worst_of_k
from jacobian_ensembles.storage.checksums import SUMS
from jacobian_ensembles.storage.files import ArtifactError, write_json, write_text

_NOT_SETTINGS: dict[str, Any] = {"compute": True, "compare": True, "data": {"local_dir"}}  # where, not what
# what may differ between the parts of a grid: which models, and which trainings of them
_MODELS = {"datasets", "ensembles", "members", "lambdas", "cells", "repetitions", "first_repetition"}


def _settings(config: Config) -> dict[str, Any]:
    """What the parts of one run must have in common, by dotted key."""
    shared = config.model_dump(
        mode="json",
        by_alias=True,
        exclude=_NOT_SETTINGS
        | {"run": {"name", "keep", "results"}, "grid": _MODELS, "attack": {"members"}, "ablation": True},
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
        if config.trials and others:
            raise ConfigError(f"{path}: runs with trials cannot be joined.")
    if not others and first.name == name:
        return read_yaml(first / "config.yaml")
    for path in others:
        ours, theirs = _settings(configs[first]), _settings(configs[path])
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                raise ConfigError(
                    f"{path}: {key} is {theirs.get(key)!r}, in {first} it is {ours.get(key)!r}. Parts of one run "
                    "differ in their models and trainings only."
                )
    trainings = _joined_cells(configs)
    raw = configs[first].model_dump(mode="json", by_alias=True, exclude=_NOT_SETTINGS | {"run": {"results"}})
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


def _concatenated(runs: Sequence[Run], name: str) -> str:
    """The rows of a table of several runs, as they are written, in the order of one run."""
    table = pd.concat([pd.read_csv(run.path(name), dtype=str, keep_default_na=False) for run in runs])
    if len(runs) > 1:
        ranks = {variant: i for i, variant in enumerate(dict.fromkeys(table.get("variant", ())))}
        keys = [key for key in ("variant", *CELL_KEYS, "eps", "attack_seed") if key in table.columns]

        def ordered(column: pd.Series) -> pd.Series:
            if column.name == "variant":
                return column.map(ranks)
            return column if column.name in ("dataset", "ensemble") else column.astype(float)

        table = table.sort_values(keys, key=ordered, kind="stable")
    return table.to_csv(index=False)


def _join_tables(runs: Sequence[Run], new: Run, config: Config) -> None:
    """Concatenate the tables of all parts that follow from nothing else, and derive the others as in any run.

    Raises:
        ArtifactError: If a part lacks a table that others have.
    """
    names = sorted({path.stem for run in runs for path in (run.folder / "metrics").glob("*.csv")})
    as_they_are = {name for run in runs for name in run.made.get(NOT_RECOMPUTABLE, ())}
    derived = {"metrics", "summary", "worst_of_k", "ablation"} - {Path(name).stem for name in as_they_are}
    if len(runs) > 1:  # models of all parts are paired on the same images, so it takes their bits
        derived.add("image_error")
    of_variants = {f"records_{variant}" for variant in config.ablation}
    of_some = {"ablation", "members", "image_error", *of_variants}  # not every part may have been asked for them
    for name in names:
        having = [run for run in runs if run.has(name)]
        for run in runs:
            if run not in having and name not in of_some:
                raise ArtifactError(f"{run.path(name)}: missing, while other parts have it. Was it shipped completely?")
        if name not in derived and not (name in of_variants and "ablation" not in derived):
            write_text(new.path(name), _concatenated(having, name))
    if not new.has("records"):
        return
    weight, confidence = config.metrics.clean_weight, config.metrics.confidence
    aggregate_metrics(new.path("records"), new.path("metrics"), new.path("summary"), weight, confidence)
    new.path("metrics").with_name(SUMS).unlink()
    tabulate_worst_of_k(new.path("records"), new.path("worst_of_k"), confidence)
    tried = {variant: new.path(f"records_{variant}") for variant in config.ablation}
    if tried and "ablation" in derived:
        aggregate_ablation(tried, new.path("ablation"), confidence, RunAttacks(config).comparable)


def join_runs(parts: Sequence[str | Path], target: str | Path, draw: Callable[[Path], None] = draw) -> None:
    """Join shipped runs that each computed some of the models of one grid, on different machines or days.

    Records are concatenated, and everything else follows from them as in any run. A single run, joined to its own
    folder, is drawn anew there by the present code.

    Args:
        parts: Folders of shipped runs: different models, or trainings of them, otherwise the same settings. Some may
            have attacked their models with further variants (``ablation``), and code of several commits may have made
            them, which ``provenance.json`` lists.
        target: Folder to write, as :func:`~jacobian_ensembles.runs.ship.ship_run` writes it; its name becomes the
            run's. It may be one of the parts, which is then replaced.
        draw: What draws figures and tables into a run's folder.

    Raises:
        ArtifactError: If a part was not shipped completely, or is altered, or something else than a shipped run is
            where the joined run is to be.
        ConfigError: If settings differ, a training is in two parts, or one is missing before a later one.
    """
    target, runs = Path(target), {Path(part): Run.open(part) for part in parts}
    if not runs:
        raise ArtifactError("Shipped runs are needed to join. Got none.")
    check_target(target, [*runs])
    for run in runs.values():
        run.verify()
    raw = _joined_config({part: load_config(run.config) for part, run in runs.items()}, target.name)
    with replacing(target) as folder:
        write_json(folder / "provenance.json", made_together([run.made for run in runs.values()]))
        write_text(folder / "config.yaml", yaml.safe_dump(raw, sort_keys=False))
        new, several = Run.open(folder), len(runs) > 1
        _join_tables([*runs.values()], new, load_config(raw))
        join_arrays([*runs], folder)
        if several and all((run.folder / "bits").is_dir() for run in runs.values()):
            image_error_of_bits(sorted((folder / "bits").glob("*.safetensors")), new.path("image_error"))
        for path in () if several else kept_files(next(iter(runs.values())).folder):
            kind = path.parent.name  # of a single run, also what the catalogue does not know
            if kind in ("tables", "figures"):
                (folder / kind).mkdir(exist_ok=True)
                shutil.copyfile(path, folder / kind / path.name)
        with_figures = several or (folder / "figures").is_dir()
        draw(folder)
        if not with_figures:  # nor does it get any: the run was shipped without, to be small
            shutil.rmtree(folder / "figures", ignore_errors=True)
        seal(folder)
