"""Stage train_learner: one learner, or all snapshots of a cyclic run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from jacobian_ensembles.ensembles.methods import METHODS, Method
from jacobian_ensembles.experiment.config import Model, Training
from jacobian_ensembles.experiment.devices import prepare_device
from jacobian_ensembles.experiment.extensions import resolve, short_name
from jacobian_ensembles.models.architecture import architecture
from jacobian_ensembles.models.registry import ARCHITECTURES, parameter_arrays
from jacobian_ensembles.stages.inputs import class_count, load_split
from jacobian_ensembles.storage.learners import save_learners
from jacobian_ensembles.training.learner import train_learners


def _load(
    data_path: str | Path, device: str, validation_images: int, train_images: int | None
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The training and the validation split, on the device to train on."""
    target = prepare_device(device)
    (x, y), (validation_x, validation_y) = (
        load_split(data_path, split, validation_images, limit)
        for split, limit in (("train", train_images), ("validation", None))
    )
    return (x.to(target), y.to(target)), (validation_x.to(target), validation_y.to(target))


def train_to_file(
    data_path: str | Path,
    path: str | Path,
    *,
    dataset: str,
    ensemble: str,
    lambda_jr: float,
    repetition: int,
    member: int | None = None,
    snapshots: int | None = None,
    model: Model,
    settings: Training,
    seed: int,
    validation_images: int,
    train_images: int | None = None,
    device: str = "cpu",
) -> None:
    """Train one learner of bagging or voting, or all M of a snapshot run, and store them.

    Args:
        data_path: The stored dataset.
        path: The checkpoint to write.
        dataset: The dataset's name.
        ensemble: ``bagging``, ``voting``, ``snapshot``, or a reference to a method of your own.
        lambda_jr: Strength of Jacobian regularisation.
        repetition: Which training of this model; repetitions share no draw.
        member: Index of the learner (bagging, voting).
        snapshots: M (snapshot).
        model: The architecture's settings.
        settings: The training's settings.
        seed: Base seed of the run.
        validation_images: Size of the validation split.
        train_images: Train on so many images only; None for all.
        device: ``cpu`` or ``cuda``.

    Raises:
        DivergedError: See :func:`train_learners`; then nothing is stored.
        ExtensionError: If a reference leads nowhere.
    """
    method, name = resolve(ensemble, METHODS, Method), short_name(ensemble)
    builder = resolve(model.architecture, ARCHITECTURES)
    train, validation = _load(data_path, device, validation_images, train_images)
    spec: dict[str, Any] = {
        "dataset": dataset,
        "ensemble": name,
        "lambda": lambda_jr,
        "architecture": architecture(dataset, model, train[0], class_count(data_path)),
    }
    result = train_learners(
        train,
        validation,
        spec["architecture"],
        settings,
        lambda_jr,
        identity=(seed, dataset, name, lambda_jr, repetition, (snapshots or 0) if member is None else member),
        sample=method.sample,
        snapshots=snapshots,
        builder=builder,
    )
    save_learners(path, parameter_arrays(result.nets), spec | {"validation_accuracy": result.validation_accuracy})
