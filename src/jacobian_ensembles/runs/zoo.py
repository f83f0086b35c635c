"""What shipped runs keep beside their tables: trained ensembles, worst perturbations, and what each model gets right.

A model is named `<run>/<dataset>/<ensemble>/M<members>/lambda<lambda>`, as in ``table1/mnist/snapshot/M3/lambda0.50``,
with ``/rep<number>`` for any training but the first.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.runs.layout import Layout, cell_wildcards, number_token
from jacobian_ensembles.storage.files import ArtifactError, load_tensors, save_tensors
from jacobian_ensembles.storage.perturbations import load_clean, load_worst_uap, pack_bits, unpack_bits

if TYPE_CHECKING:
    from torch import Tensor

    from jacobian_ensembles.ensembles.ensemble import Ensemble
    from jacobian_ensembles.ensembles.methods import Method
    from jacobian_ensembles.models.building import Builder

_NAME = re.compile(
    r"(?P<run>[\w-]+)/(?P<dataset>\w+)/(?P<ensemble>\w+)/M(?P<members>\d+)/lambda(?P<lambda>\d+(\.\d+)?)"
    r"(/rep(?P<repetition>\d+))?"
)
_HOME = "JACOBIAN_ENSEMBLES_REFERENCE"


class _Model(NamedTuple):
    """A model's name, taken apart."""

    run: str
    cell: Cell

    @property
    def row(self) -> list[str | int | float]:
        """As :func:`keep_arrays` lists it."""
        return _row(self.cell)


def _row(cell: Cell) -> list[str | int | float]:
    return [cell.ensemble, cell.members, cell.lambda_jr, cell.repetition]


def _parsed(name: str) -> _Model:
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(
            "A shipped model is named run/dataset/ensemble/M3/lambda0.50 (and /rep1 for a second training). "
            f"Got {name!r}."
        )
    cell = Cell.model_validate(
        {key: found[key] for key in ("dataset", "ensemble")}
        | {"members": int(found["members"]), "lambda": float(found["lambda"])}
        | {"repetition": int(found["repetition"] or 0)}
    )
    return _Model(found["run"], cell)


def reference_folder() -> Path:
    """Where shipped runs lie: ``results/reference`` in a checkout, else the folder installed with the package.

    The environment variable ``JACOBIAN_ENSEMBLES_REFERENCE`` names another folder.
    """
    if _HOME in os.environ:
        return Path(os.environ[_HOME])
    checkout = Path(__file__).resolve().parents[3] / "results" / "reference"
    return checkout if checkout.is_dir() else Path(sys.prefix) / "share" / "jacobian-ensembles" / "reference"


def _model_file(folder: Path, cell: Cell) -> Path:
    at = cell_wildcards(cell)
    name = "{dataset}_{ensemble}_M{members}_lambda{lambda_jr}_rep{repetition}.safetensors".format(**at)
    return folder / "models" / name


def shipped_models() -> list[str]:
    """The names of all shipped ensembles, for :func:`load_ensemble`."""
    pattern = re.compile(r"(\w+?)_([A-Za-z]+)_(M\d+)_(lambda[\d.]+)_rep(\d+)\.safetensors")
    names = []
    for path in sorted(reference_folder().glob("*/models/*.safetensors")):
        if found := pattern.fullmatch(path.name):
            dataset, ensemble, members, strength, repetition = found.groups()
            rest = "" if repetition == "0" else f"/rep{repetition}"
            names.append(f"{path.parents[1].name}/{dataset}/{ensemble}/{members}/{strength}{rest}")
    return names


def is_name(text: str | Path) -> bool:
    """Whether something is spelled like the name of a shipped model, and is no file."""
    return bool(_NAME.fullmatch(str(text))) and not Path(text).exists()


def stored_file(path: str | Path) -> Path:
    """The file of a stored ensemble, given as such or by the name of a shipped one.

    Raises:
        ArtifactError: If it is such a name, but no such ensemble is shipped.
    """
    if not is_name(path):
        return Path(path)
    model = _parsed(str(path))
    file = _model_file(reference_folder() / model.run, model.cell)
    if not file.exists():
        known = ", ".join(shipped_models()) or f"none in {reference_folder()}"
        raise ArtifactError(f"{path}: no such ensemble is shipped. There are: {known}.")
    return file


def load_ensemble(
    path: str | Path,
    members: int | None = None,
    architecture: str | Builder = "lenet",
    method: str | Method | None = None,
) -> Ensemble:
    """Load a stored ensemble for evaluation: a file of a run, or a shipped one by its name.

    Args:
        path: The file ``assemble_ensemble`` wrote, or a name such as ``table1/mnist/snapshot/M3/lambda0.50`` (see
            :func:`shipped_models`).
        members: The number of members it must have; None for any.
        architecture: What builds the members, if they are not LeNets: a reference (see
            :mod:`~jacobian_ensembles.extensions.references`) or the builder itself. A stored file names no
            code to run.
        method: The ensemble method, if it is not built in: a reference or the method itself. None for built-in ones.

    Returns:
        The ensemble, on the CPU, with gradients switched off.

    Raises:
        ArtifactError: If there is no such file or shipped model, or the file is damaged, or has other shapes or another
            member count.
        ExtensionError: If a reference leads nowhere.
        ValueError: If an architecture or method is not built in and was not given, or does not fit.
    """
    from jacobian_ensembles.stages.inputs import load_ensemble as load

    return load(stored_file(path), members, architecture, method)


def _find(name: str, what: str, eps: float | None) -> tuple[dict[str, np.ndarray], dict[str, Any], int, int]:
    """The arrays of a model's dataset in a shipped run, their spec, and the model's row and the column of eps."""
    model = _parsed(name)
    path = reference_folder() / model.run / what / f"{model.cell.dataset}.safetensors"
    if not path.exists():
        have = sorted(f"{p.parents[1].name} ({p.stem})" for p in reference_folder().glob(f"*/{what}/*.safetensors"))
        raise ArtifactError(f"{name}: no {what} of it are shipped. There are those of {', '.join(have) or 'no run'}.")
    tensors, spec = load_tensors(path, kind=what)
    if model.row not in spec["models"]:
        raise ArtifactError(f"{name}: {path} has {len(spec['models'])} models, not this one.")
    if eps is None:
        return tensors, spec, spec["models"].index(model.row), 0
    if eps not in spec["eps"]:
        raise ValueError(f"eps must be one of {', '.join(map(str, spec['eps']))}. Got {eps:g}.")
    return tensors, spec, spec["models"].index(model.row), spec["eps"].index(eps)


def load_correct(name: str, eps: float | None = None) -> np.ndarray:
    """Which test images a shipped model classifies correctly: clean, or under its worst perturbation.

    An index means the same image for all models of a dataset, so two models can be compared image by image.

    Args:
        name: The model, such as ``table1/mnist/snapshot/M3/lambda0.50``.
        eps: Radius; None for the clean images.

    Returns:
        (N,) booleans.

    Raises:
        ArtifactError: If nothing of the kind is shipped, or the file is damaged.
        ValueError: If the name is not that of a model, or eps is not one of the run's.
    """
    tensors, spec, row, column = _find(name, "bits", eps)
    packed = tensors["clean"][row] if eps is None else tensors["worst"][row, column]
    bits: np.ndarray = unpack_bits(packed[None], spec["images"])[0]
    return bits


def load_perturbation(name: str, eps: float | None = None) -> Tensor:
    """The worst perturbation of a shipped model.

    Args:
        name: The model, such as ``table1/mnist/snapshot/M3/lambda0.50``.
        eps: Radius; None for the perturbations of all E eps of the run, in their order.

    Returns:
        (channels, height, width), or (E, channels, height, width), float32: what to add to images in [0, 1].

    Raises:
        ArtifactError: If nothing of the kind is shipped, or the file is damaged.
        ValueError: If the name is not that of a model, or eps is not one of the run's.
    """
    import torch

    tensors, _, row, column = _find(name, "perturbations", eps)
    deltas = tensors["delta"][row]
    return torch.from_numpy((deltas if eps is None else deltas[column]).copy())


def keep_arrays(layout: Layout, target: Path, cells: Sequence[Cell], eps: Sequence[float], what: Iterable[str]) -> None:
    """Keep what the tables of a finished run do not hold.

    Args:
        layout: The run's paths.
        target: Its shipped folder, where ``bits/<dataset>.safetensors`` (``clean`` (R, N/8) and ``worst`` (R, E, N/8),
            one bit per test image, for R trainings and E eps), ``perturbations/<dataset>.safetensors`` (``delta``
            (R, E, ...)) and ``models/`` (ensembles as they are) are written.
        cells: The run's trainings.
        eps: Its radii.
        what: Any of ``bits``, ``perturbations`` and ``models``.
    """
    for dataset in dict.fromkeys(cell.dataset for cell in cells):
        own = [cell for cell in cells if cell.dataset == dataset]
        worst = [
            [load_worst_uap(layout.worst_uap.format(**cell_wildcards(c), eps=number_token(e))) for e in eps]
            for c in own
        ]
        spec = {"dataset": dataset, "models": [_row(cell) for cell in own], "eps": list(eps)}
        if "bits" in what:
            right = [
                clean[0] == clean[1] for c in own if (clean := load_clean(layout.clean.format(**cell_wildcards(c))))
            ]
            bits = np.stack([pack_bits(np.stack([w["correct"] for w in row])) for row in worst])
            tensors = {"clean": pack_bits(np.stack(right)), "worst": bits}
            save_tensors(target / "bits" / f"{dataset}.safetensors", tensors, "bits", {**spec, "images": len(right[0])})
        if "perturbations" in what:
            deltas = np.stack([np.stack([w["delta"] for w in row]) for row in worst])
            seeds = [[w["seed"] for w in row] for row in worst]
            path = target / "perturbations" / f"{dataset}.safetensors"
            save_tensors(path, {"delta": deltas}, "perturbations", {**spec, "seeds": seeds})
    if "models" in what:
        (target / "models").mkdir(parents=True, exist_ok=True)
        for cell in cells:
            shutil.copyfile(layout.ensemble.format(**cell_wildcards(cell)), _model_file(target, cell))


def join_arrays(parts: Iterable[Path], target: Path) -> None:
    """Join what several shipped folders keep; a part may lack some of it.

    Args:
        parts: Folders with what :func:`keep_arrays` wrote.
        target: The folder to write to.

    Raises:
        ArtifactError: If a file is damaged, or parts differ in their eps or their number of images.
    """
    parts = list(parts)
    for what in ("bits", "perturbations"):
        for name in sorted({path.name for part in parts for path in (part / what).glob("*.safetensors")}):
            found = [load_tensors(path, kind=what) for part in parts if (path := part / what / name).exists()]
            save_tensors(target / what / name, *_stacked(name, found))
    for path in sorted(path for part in parts for path in (part / "models").glob("*.safetensors")):
        (target / "models").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / "models" / path.name)


def _stacked(
    name: str, found: Sequence[tuple[dict[str, np.ndarray], Mapping[str, Any]]]
) -> tuple[dict[str, np.ndarray], str, dict[str, Any]]:
    """Several files' models in one, in the order of a run: tensors, kind and spec."""
    specs = [spec for _, spec in found]
    shared = [{k: v for k, v in spec.items() if k not in ("models", "seeds")} for spec in specs]
    for other in shared[1:]:
        if other != shared[0]:
            raise ArtifactError(f"{name}: a part keeps {other}, another {shared[0]}.")
    models = [row for spec in specs for row in spec["models"]]
    order = sorted(range(len(models)), key=models.__getitem__)
    tensors = {key: np.concatenate([tensors[key] for tensors, _ in found])[order] for key in found[0][0]}
    spec = {**shared[0], "models": [models[i] for i in order]}
    if "seeds" in specs[0]:
        seeds = [row for s in specs for row in s["seeds"]]
        spec["seeds"] = [seeds[i] for i in order]
    return tensors, "perturbations" if "seeds" in specs[0] else "bits", spec
