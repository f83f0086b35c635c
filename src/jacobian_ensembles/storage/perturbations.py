"""Stored evaluations: one bit per test image and attack seed, from which every number follows. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from jacobian_ensembles.storage.files import ArtifactError, check_tensors, load_tensors, save_tensors, understanding

#: The key for how many of the attack's steps had no finite gradient other than zero: accuracies under such an attack
#: may not be robustness.
IDLE = "steps_without_gradient"
#: What a block counts: those steps, all steps, and the images at which a gradient was taken, which is what it costs.
COUNTS = (IDLE, "steps", "gradient_images")
#: For perturbations with a target class: the share of test images of other classes that pass for it.
RATES = "success_rates"


def pack_bits(correct: np.ndarray) -> np.ndarray:
    """Pack (K, N) booleans into (K, ceil(N/8)) bytes."""
    return np.packbits(np.asarray(correct, bool), axis=1)


def unpack_bits(packed: np.ndarray, images: int) -> np.ndarray:
    """Undo :func:`pack_bits`: (K, ceil(N/8)) bytes -> (K, N) booleans."""
    return np.unpackbits(packed, axis=1, count=images).astype(bool)


def refuse_twice(path: str | Path, models: Sequence[Any]) -> None:
    """Refuse a file of many trainings that has one twice.

    Raises:
        ArtifactError: Naming the file and the training.
    """
    seen: list[Any] = []
    for model in models:
        if model in seen:
            raise ArtifactError(f"{path}: {' '.join(map(str, model))} is there twice. Delete it to have it made again.")
        seen.append(model)


def save_clean(path: str | Path, predicted: np.ndarray, labels: np.ndarray, spec: dict[str, Any]) -> None:
    """Store a model's clean test predictions.

    Args:
        path: The file to write.
        predicted: (N,) predicted classes.
        labels: (N,) true classes.
        spec: The cell: ``dataset``, ``ensemble``, ``members``, ``lambda``, ``repetition``.
    """
    tensors = {"predicted": predicted.astype(np.uint8), "labels": labels.astype(np.uint8)}
    save_tensors(path, tensors, kind="clean", spec=spec)


def load_clean(path: str | Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Load what :func:`save_clean` wrote.

    Returns:
        Predicted and true classes, both (N,), and the cell.

    Raises:
        ArtifactError: If the file is damaged or of another kind.
    """
    tensors, spec = load_tensors(path, kind="clean")
    size = len(tensors.get("labels", ()))
    check_tensors(path, tensors, {"predicted": ((size,), "uint8"), "labels": ((size,), "uint8")})
    return tensors["predicted"], tensors["labels"], spec


def save_uaps(
    path: str | Path,
    deltas: np.ndarray,
    correct: np.ndarray,
    first_seed: int,
    spec: dict[str, Any],
    counts: Mapping[str, int] = MappingProxyType({}),
    success_rates: Sequence[float] | None = None,
) -> None:
    """Store a block of perturbations and what the model got right under each.

    Args:
        path: The file to write.
        deltas: (K, ...) float32.
        correct: (K, N) booleans.
        first_seed: The attack seed of the first; the others follow on.
        spec: The cell, ``eps``, ``norm`` where it is not ``linf``, ``variant`` where it is not the run's own attack.
        counts: Those of :data:`COUNTS` that are known.
        success_rates: (K,) in [0, 1], for perturbations with a target class: see :data:`RATES`.
    """
    tensors = {"delta": deltas.astype(np.float32), "correct": pack_bits(correct)}
    rates = {} if success_rates is None else {RATES: [float(rate) for rate in success_rates]}
    more = {
        "first_seed": first_seed,
        "last_seed": first_seed + len(deltas) - 1,
        "images": correct.shape[1],
        IDLE: 0,
        **counts,
        **rates,
    }
    save_tensors(path, tensors, "uaps", {**spec, **more})


def load_uaps(paths: Sequence[str | Path]) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Load consecutive blocks of perturbations of one (model, eps).

    Args:
        paths: The blocks, in seed order.

    Returns:
        Perturbations (K, ...), booleans (K, N), and the spec shared by all blocks, with the sums of their
        :data:`COUNTS` and, for perturbations with a target class, all :data:`RATES`.

    Raises:
        ArtifactError: If a block is damaged, missing from the sequence, or of another model or eps.
    """
    deltas, bits, shared, expected = [], [], None, 0
    gathered: dict[str, Any] = {IDLE: 0}
    for path in paths:
        with understanding(path):
            tensors, spec = load_tensors(path, kind="uaps")
            first = spec.pop("first_seed")
            spec.pop("last_seed", None)
            for key in {*COUNTS, RATES} & spec.keys():
                value = spec.pop(key)
                gathered[key] = gathered[key] + value if key in gathered else value
            shared = shared or spec
            if spec != shared:
                raise ArtifactError(f"{path}: a block of {spec}, but {paths[0]} is one of {shared}.")
            if first != expected:
                raise ArtifactError(f"{path}: starts at attack seed {first}; seed {expected} was to come next.")
            count = len(tensors.get("delta", ()))
            check_tensors(
                path,
                tensors,
                {
                    "delta": (tensors["delta"].shape if "delta" in tensors else (), "float32"),
                    "correct": ((count, -(-spec["images"] // 8)), "uint8"),
                },
            )
            deltas.append(tensors["delta"])
            bits.append(unpack_bits(tensors["correct"], spec["images"]))
            expected += count
    if shared is None:
        raise ArtifactError("No blocks of perturbations were given.")
    return np.concatenate(deltas), np.concatenate(bits), {**shared, **gathered}


def save_worst_uap(path: str | Path, delta: np.ndarray, correct: np.ndarray, spec: dict[str, Any]) -> None:
    """Store the worst perturbation of one (model, eps).

    Args:
        path: The file to write.
        delta: (channels, height, width).
        correct: (N,) booleans: the test images still classified correctly.
        spec: The cell, ``eps`` and the attack ``seed``.
    """
    save_tensors(path, {"delta": delta, "correct": pack_bits(correct[None])}, kind="worst_uap", spec=spec)


def load_worst_uap(path: str | Path) -> dict[str, Any]:
    """Read the worst perturbation of one (model, eps).

    Args:
        path: What :func:`save_worst_uap` wrote.

    Returns:
        Its spec (the model, eps, seed), with ``delta`` (channels, height, width), ``correct`` (N,) bool, the test
        images still classified correctly, and their share, ``accuracy``.

    Raises:
        ArtifactError: If the file is damaged or of another kind.
    """
    tensors, spec = load_tensors(path, kind="worst_uap")
    with understanding(path):
        packed = ((1, -(-spec["images"] // 8)), "uint8")
        check_tensors(path, tensors, {"delta": (tensors["delta"].shape, "float32"), "correct": packed})
        bits = unpack_bits(tensors["correct"], spec["images"])[0]
    return {"delta": tensors["delta"], "correct": bits, "accuracy": float(bits.mean()), **spec}
