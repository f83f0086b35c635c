"""Stored learners and ensembles: M nets' parameters stacked as (M, ...) arrays. NumPy only, never pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jacobian_ensembles.storage.files import (
    ArtifactError,
    check_tensors,
    load_tensors,
    save_tensors,
    understanding,
    write_bytes,
)

#: The parameters of one LeNet of ten classes. A test compares them with the module itself.
PARAMETER_SHAPES: dict[str, tuple[int, ...]] = {
    "conv1.weight": (6, 1, 5, 5),
    "conv1.bias": (6,),
    "conv2.weight": (16, 6, 5, 5),
    "conv2.bias": (16,),
    "fc1.weight": (120, 400),
    "fc1.bias": (120,),
    "fc2.weight": (84, 120),
    "fc2.bias": (84,),
    "fc3.weight": (10, 84),
    "fc3.bias": (10,),
}


def save_learners(path: str | Path, arrays: Mapping[str, np.ndarray], spec: Mapping[str, Any]) -> None:
    """Store the stacked parameters of one or more learners.

    Args:
        path: The file to write.
        arrays: (M, ...) float32 arrays by parameter name.
        spec: ``dataset`` and ``data``, the checksum of its file, ``ensemble``, ``lambda``, ``repetition`` and
            ``architecture`` of the learners, the number of each in its training, ``learners``, and the
            ``validation_accuracy`` of each.
    """
    members = len(next(iter(arrays.values())))
    save_tensors(path, arrays, kind="learners", spec={**spec, "members": members})


def copy_learners(source: str | Path, path: str | Path) -> None:
    """Copy a file of stored learners, byte for byte, after checking it.

    Raises:
        ArtifactError: See :func:`load_learners`.
    """
    load_learners(source)
    write_bytes(path, Path(source).read_bytes())


def load_learners(path: str | Path, members: int | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Load and check stored learners.

    Args:
        path: The file.
        members: The number of learners it must hold; None for any.

    Returns:
        (M, ...) arrays by parameter name, and the spec of :func:`save_learners` with ``members``.

    Raises:
        ArtifactError: If the file is damaged, or has other shapes or another number of learners.
    """
    arrays, spec = load_tensors(path, kind="learners")
    with understanding(path):
        if members is not None and spec["members"] != members:
            raise ArtifactError(f"{path}: expected {members} learners, got {spec['members']}. Delete it to rebuild it.")
        check_tensors(path, arrays, _expected(arrays, spec))
    return arrays, spec


def _expected(arrays: Mapping[str, np.ndarray], spec: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    """The shapes and dtypes that stored learners must have; for a user's architecture, only their number is known."""
    members, settings = spec["members"], spec["architecture"]
    if not arrays:
        raise ValueError("there are no parameters")
    if settings.get("name", "lenet") != "lenet":
        return {name: ((members, *a.shape[1:]), a.dtype.name) for name, a in arrays.items()}
    classes = settings.get("classes", 10)
    last = {"fc3.weight": (classes, 84), "fc3.bias": (classes,)}
    return {name: ((members, *shape), "float32") for name, shape in (PARAMETER_SHAPES | last).items()}
