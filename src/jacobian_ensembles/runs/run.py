"""A run on disk, opened: live in ``results/<run>``, shipped in ``results/reference/<run>``, or out of an archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pandas as pd

from jacobian_ensembles.config.attack import Attack
from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.config.schema import banner_of
from jacobian_ensembles.config.yaml_files import read_yaml
from jacobian_ensembles.data.cards import CARDS, CLASSES
from jacobian_ensembles.evaluation.summary import CELL_KEYS, MODEL_KEYS
from jacobian_ensembles.extensions.references import short_name
from jacobian_ensembles.paper.catalogue import FIGURES, TABLES, WRITTEN, Item, find
from jacobian_ensembles.paper.markup import csv
from jacobian_ensembles.runs.layout import Layout, cell_wildcards, number_token
from jacobian_ensembles.storage.checksums import PROVENANCE, SUMS, read_provenance, read_record, verify_all
from jacobian_ensembles.storage.files import ArtifactError, check_tensors, load_tensors, read_json, understanding
from jacobian_ensembles.storage.perturbations import load_clean, load_worst_uap, refuse_twice, unpack_bits
from jacobian_ensembles.storage.tables import read_table
from jacobian_ensembles.training.objectives.registry import OBJECTIVES

#: The part of a run's folder that is kept: what shipping copies and an archive holds.
KEPT = (
    "config.yaml", "provenance.json", "metrics/*.csv", "tables/*.csv", "tables/*.md", "tables/*.tex", "figures/*.pdf",
    "figures/*.png", "figures/*.txt", "bits/*.safetensors", "perturbations/*.safetensors", "models/*.safetensors",
    "report.html",
)  # fmt: skip
#: What Snakemake leaves in folders, and a crate's own description, which lists the files beside it.
UNLISTED = (".snakemake_timestamp",)
#: What ``provenance.json`` says of runs that earlier versions shipped: which tables do not follow from their records.
NOT_RECOMPUTABLE = "not_recomputable"


class Run:
    """A run's folder; :meth:`open` is the way to one.

    Attributes:
        folder: Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._layout = Layout(str(folder.parent), folder.name)

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Open a run.

        Args:
            folder: ``results/<run>``, finished; ``results/reference/<run>``, shipped; or an unpacked archive.

        Raises:
            ArtifactError: If it holds no run, or one that an earlier version shipped.
        """
        folder = Path(folder).resolve()
        for place in (folder, folder / "run"):
            if not all((place / name).is_file() for name in ("config.yaml", "provenance.json")):
                continue
            if (place / "attack_seeds.csv").is_file():
                raise ArtifactError(f"{place}: shipped by an earlier version. Run: jacobian-ensembles convert {place}")
            return cls(place)
        raise ArtifactError(
            f"{folder}: no finished or shipped run; there is no config.yaml with a provenance.json. The workflow "
            "writes them when all that the run's configuration asks for is there."
        )

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The settings, as ``config.yaml`` has them.

        They are not validated: the files of whoever made the run may be missing here, and older runs lack newer
        settings.

        Raises:
            ArtifactError: If it cannot be read.
        """
        try:
            return read_yaml(self.folder / "config.yaml")
        except ValueError as error:
            raise ArtifactError(str(error)) from error

    @property
    def name(self) -> str:
        """What the run is called beside others: by its folder, or in an archive by its configuration."""
        return str(self.config["run"]["name"]) if self.folder.name == "run" else self.folder.name

    @property
    def shipped(self) -> bool:
        """Whether it is kept apart from what it was made from, with a list of checksums."""
        return (self.folder / SUMS).is_file()

    def verify(self) -> int:
        """Check every file of a shipped run against its checksum.

        Returns:
            How many files there are.

        Raises:
            ArtifactError: If one is missing, altered or added; the message names it.
        """
        if not self.shipped:
            raise ArtifactError(f"{self.folder}: no {SUMS}, so not a shipped run. Ship it: snakemake ship")
        return verify_all(self.folder, UNLISTED)

    @cached_property
    def made(self) -> dict[str, Any]:
        """``provenance.json``: see :func:`~jacobian_ensembles.runs.provenance.made_by`."""
        return read_json(self.folder / "provenance.json")

    def path(self, table: str) -> Path:
        """Where a table of the run lies, such as ``metrics`` or ``records``."""
        return self.folder / "metrics" / f"{table}.csv"

    def has(self, table: str) -> bool:
        """Whether the run has a table."""
        return self.path(table).is_file()

    def table(self, name: str) -> pd.DataFrame:
        """A table of models, checked.

        Raises:
            ArtifactError: If the run does not have it, it is altered, or calls a model what a spreadsheet would run.
        """
        table = read_table(self.path(name), MODEL_KEYS)
        with understanding(self.path(name)):
            for text in {*table["dataset"], *table["ensemble"]}:
                csv(text)
        return table

    def has_written(self, name: str) -> bool:
        """Whether the run has a table for readers."""
        return (self.folder / "tables" / f"{name}.csv").is_file()

    def written(self, name: str, needs: Sequence[str] = ()) -> pd.DataFrame:
        """A table for readers, such as ``claims``, checked; an empty cell is missing, a word never is.

        Raises:
            ArtifactError: If the run does not have it, or it is altered or lacks a column.
        """
        return read_table(self.folder / "tables" / f"{name}.csv", needs, words=True)

    @cached_property
    def cells(self) -> list[Cell]:
        """The trainings of the run."""
        rows = self.table("metrics")[CELL_KEYS].drop_duplicates().to_dict("records")
        return [Cell.model_validate(row) for row in rows]

    def _setting(self, section: str, name: str, default: Any) -> Any:
        return (self.config.get(section) or {}).get(name, default)

    @property
    def settings(self) -> dict[str, Any]:
        """What the catalogue's functions may ask for: see :attr:`.catalogue.Item.settings`."""
        return {
            "objective": short_name(self._setting("training", "objective", "jacobian")),
            "eps": self._setting("figures", "eps", 0.15),
            "confidence": self._setting("metrics", "confidence", 0.95),
            "clean_weight": self._setting("metrics", "clean_weight", 0.5),
            "clip": self._setting("attack", "clip", False),
        }

    @property
    def banner(self) -> str:
        """What figures and tables say about a run that is not the paper's."""
        other = self._setting("training", "objective", "jacobian"), self._setting("attack", "method", "sgd")
        with understanding(self.folder / "config.yaml"):
            return banner_of(csv(self.config["run"].get("banner", "")), *other)

    @property
    def classes(self) -> dict[str, int]:
        """How many classes each dataset has, of those that are built in or here."""
        found = dict.fromkeys(CARDS, CLASSES)
        for name in {cell.dataset for cell in self.cells} - set(CARDS):
            with suppress(ArtifactError):
                found[name] = int(load_tensors(self.dataset(name), kind="dataset")[0]["train_labels"].max()) + 1
        return found

    @property
    def objective(self) -> str:
        """What learners minimised, with options that differ from the defaults: ``universal (jacobian 0.05)``."""
        name, options = self._setting("training", "objective", "jacobian"), self._setting("training", "options", {})
        default = resolve_name(OBJECTIVES[name]).Options().model_dump() if name in OBJECTIVES else {}
        own = {key: value for key, value in sorted(options.items()) if value is not None and default.get(key) != value}
        told = [f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in own.items()]
        return f"{short_name(name)} ({', '.join(told)})" if told else short_name(name)

    @property
    def attack(self) -> dict[str, Any]:
        """The attack's settings, with all of its options."""
        recipe = Attack.model_construct(**self.config.get("attack", {})).recipe()
        return {**recipe["options"], **{key: value for key, value in recipe.items() if key != "options"}}

    @property
    def seconds(self) -> dict[tuple[str, float], float]:
        """The wall time of training one learner, by ensemble method and strength."""
        times = self.made.get("training_seconds", {})
        return {(name, float(token)): value for name, of in times.items() for token, value in of.items()}

    @property
    def items(self) -> list[Item]:
        """The figures and tables of the catalogue that can be drawn from its tables."""
        has = {name for name in ("ablation", "stress", "transfer", "trials", "members") if self.has(name)}
        if self.has("summary") and self.table("summary").get("repetitions", pd.Series([1])).max() > 1:
            has.add("repetitions")
        if self.has("metrics") and "certified_accuracy" in self.table("metrics"):
            has.add("certified")
        return [item for item in (*FIGURES, *TABLES) if self._can_draw(item) and item.belongs_to(has)]

    def has_source(self, name: str) -> bool:
        """Whether the run has a table that the catalogue names, or those that it is written from."""
        if name in WRITTEN:
            return self._can_draw(find(name))
        return Path(self._layout.sources[name]).is_file()

    def _can_draw(self, item: Item) -> bool:
        return all(map(self.has_source, item.inputs))

    def reference(self, name: str) -> str:
        """The reference to the dataset or ensemble method that the run calls ``name``, or else the name itself."""
        grid = self.config.get("grid") or {}
        known = (*grid.get("datasets", ()), *grid.get("ensembles", ()))
        return next((reference for reference in known if short_name(reference) == name), name)

    def dataset(self, name: str) -> Path:
        """Where a dataset lies: a user's in the run's own folder, a built-in one beside all runs."""
        above = self.folder.parent
        places = [self.folder, above, above.parent]  # the last for what lies in results/reference
        found = [path for place in places if (path := place / "data" / f"{name}.safetensors").is_file()]
        if not found:
            raise ArtifactError(f"{self.folder}: its dataset {name} is not here. Fetch it: snakemake data")
        return found[0]

    def model(self, cell: Cell) -> Path:
        """The file of an ensemble.

        Raises:
            ArtifactError: If the run does not keep it.
        """
        at = cell_wildcards(cell)
        for path in (self._layout.ensemble.format(**at), self._layout.model.format(**at)):
            if Path(path).is_file():
                return Path(path)
        raise ArtifactError(f"{path}: missing; the run was shipped without its models (run.keep).")

    def predictions(self, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
        """The predicted and the true class of every clean test image, (N,) each, of a live run's training."""
        predicted, labels, _ = load_clean(self._live(self._layout.clean.format(**cell_wildcards(cell))))
        return predicted, labels

    def worst_uap(self, cell: Cell, eps: float) -> dict[str, Any]:
        """All about the worst perturbation of a live run's training: see :func:`.perturbations.load_worst_uap`."""
        return load_worst_uap(self._live(self._worst(cell, eps)))

    @property
    def examples(self) -> list[dict[str, Any]]:
        """What models of a live run take the page's example images for."""
        examples: list[dict[str, Any]] = read_record(self._live(self._layout.examples))["models"]
        return examples

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """The provenance record of every job that left one in a live run's folder, in the order of time."""
        found = self.folder.rglob(f"[!.]*{PROVENANCE}")
        return [read_provenance(path) for path in sorted(found, key=lambda path: path.stat().st_mtime)]

    @property
    def figures(self) -> list[Path]:
        """The figures that are drawn, as PNG, in the catalogue's order, then others by name."""
        order = {item.name: i for i, item in enumerate(FIGURES)}
        found = (self.folder / "figures").glob("*.png")
        return sorted(found, key=lambda path: (order.get(path.stem, len(order)), path.stem))

    def _worst(self, cell: Cell, eps: float) -> str:
        return self._layout.worst_uap.format(**cell_wildcards(cell), eps=number_token(eps))

    def _live(self, path: str) -> str:
        """A file of a live run's own, which is not shipped."""
        if not Path(path).is_file():
            raise ArtifactError(f"{path}: missing. It is part of a live run only: results/<run>.")
        return path

    def perturbation(self, cell: Cell, eps: float | None = None) -> np.ndarray:
        """The worst perturbation of a training, float32: (channels, height, width) at an eps, (E, ...) at all."""
        if eps is not None and Path(self._worst(cell, eps)).is_file():
            return np.asarray(load_worst_uap(self._worst(cell, eps))["delta"])
        tensors, spec, row = self.arrays("perturbations", cell)
        deltas = tensors["delta"][row]
        return np.asarray(deltas if eps is None else deltas[_column(spec, eps)])

    def correct(self, cell: Cell, eps: float | None = None) -> np.ndarray:
        """Which test images a training classifies correctly, clean or under its worst perturbation: (N,) booleans."""
        packed, spec, row = self.arrays("bits", cell)
        of = packed["clean"][row] if eps is None else packed["worst"][row, _column(spec, eps)]
        bits: np.ndarray = unpack_bits(of[None], spec["images"])[0]
        return bits

    def arrays(self, what: str, cell: Cell) -> tuple[dict[str, np.ndarray], dict[str, Any], int]:
        """The ``bits`` or ``perturbations`` of a training's dataset, their spec, and the training's row.

        Raises:
            ArtifactError: If the run does not keep them, or not of this training.
        """
        path = Path(self._layout.arrays.format(what=what, dataset=cell.dataset))
        if not path.is_file():
            raise ArtifactError(f"{path}: missing; the run does not keep its {what} (run.keep).")
        tensors, spec = load_tensors(path, kind=what)
        with understanding(path):
            refuse_twice(path, spec["models"])
            if row_of(cell) not in spec["models"]:
                raise ArtifactError(f"{path}: it has {len(spec['models'])} models, not this one.")
            at = (len(spec["models"]), len(spec["eps"]))
            if what == "bits":
                packed = -(-spec["images"] // 8)
                check_tensors(path, tensors, {"clean": ((at[0], packed), "uint8"), "worst": ((*at, packed), "uint8")})
            elif tensors["delta"].shape[:2] != at:
                raise ArtifactError(f"{path}: it has {tensors['delta'].shape[:2]} perturbations where {at} are named.")
            return tensors, spec, spec["models"].index(row_of(cell))


def row_of(cell: Cell) -> list[str | int | float]:
    """A training as the files of bits and of perturbations list it."""
    return [cell.ensemble, cell.members, cell.lambda_jr, cell.repetition]


def _column(spec: Mapping[str, Any], eps: float) -> int:
    if eps not in spec["eps"]:
        raise ValueError(f"eps must be one of {', '.join(map(str, spec['eps']))}. Got {eps:g}.")
    return int(spec["eps"].index(eps))


def kept_files(folder: Path) -> list[Path]:
    """The files of a run's kept part, in order.

    Raises:
        ArtifactError: If one is a link, which may lead anywhere.
    """
    found = sorted(path for pattern in KEPT for path in folder.glob(pattern) if path.is_file())
    for path in found:
        if path.is_symlink():
            raise ArtifactError(f"{path}: a link; put the file itself there.")
    return found
