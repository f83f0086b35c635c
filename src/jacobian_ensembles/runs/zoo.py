"""What shipped runs keep beside their tables: trained ensembles, worst perturbations, and what each model gets right.

A model is named `<run>/<dataset>/<ensemble>/M<members>/lambda<lambda>`, as in ``table1/mnist/snapshot/M3/lambda0.50``,
with ``/rep<number>`` for any training but the first.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.runs.layout import Layout, cell_wildcards
from jacobian_ensembles.runs.run import Run
from jacobian_ensembles.storage.files import ArtifactError

if TYPE_CHECKING:
    import numpy as np
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
    if checkout.is_dir():
        return checkout
    shared = Path("share", "jacobian-ensembles", "reference")
    # beside the package after `pip install --target`, else some levels above it: an environment, a user's own folder
    above = [folder / shared for folder in Path(__file__).resolve().parents[2:]]
    return next((folder for folder in above if folder.is_dir()), Path(sys.prefix) / shared)


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
    file = Path(Layout(str(reference_folder()), model.run).model.format(**cell_wildcards(model.cell)))
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


def _keeper(name: str, what: str) -> tuple[Run, Cell]:
    """The shipped run that keeps the bits or perturbations of a model, and the model."""
    model = _parsed(name)
    if not (reference_folder() / model.run / what / f"{model.cell.dataset}.safetensors").exists():
        have = sorted(f"{p.parents[1].name} ({p.stem})" for p in reference_folder().glob(f"*/{what}/*.safetensors"))
        raise ArtifactError(f"{name}: no {what} of it are shipped. There are those of {', '.join(have) or 'no run'}.")
    return Run.open(reference_folder() / model.run), model.cell


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
    run, cell = _keeper(name, "bits")
    return run.correct(cell, eps)


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

    run, cell = _keeper(name, "perturbations")
    return torch.from_numpy(run.perturbation(cell, eps).copy())
