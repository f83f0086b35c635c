"""Stage train_trial: a training recipe tried on one learner, judged on the validation split."""

from __future__ import annotations

from pathlib import Path

from jacobian_ensembles.experiment.config import Model, Training
from jacobian_ensembles.experiment.extensions import resolve
from jacobian_ensembles.models.architecture import architecture
from jacobian_ensembles.models.registry import ARCHITECTURES
from jacobian_ensembles.stages.inputs import class_count
from jacobian_ensembles.stages.train_learner import _load
from jacobian_ensembles.storage.files import write_json
from jacobian_ensembles.training.learner import DivergedError, train_learners


def trial_to_file(
    data_path: str | Path,
    path: str | Path,
    *,
    trial: str,
    dataset: str,
    lambda_jr: float,
    model: Model,
    settings: Training,
    seed: int,
    validation_images: int,
    train_images: int | None = None,
    device: str = "cpu",
) -> None:
    """Try a training recipe on one learner, and record how it does on the validation split; the test set is not read.

    Args:
        data_path: The stored dataset.
        path: The JSON record to write: validation accuracy and final loss, or how the learner diverged.
        trial: The recipe's name.
        dataset: The dataset's name.
        lambda_jr: Strength of Jacobian regularisation.
        model: The architecture's settings.
        settings: The training's settings.
        seed: Base seed of the run.
        validation_images: Size of the validation split.
        train_images: Train on so many images only; None for all.
        device: ``cpu`` or ``cuda``.
    """
    train, validation = _load(data_path, device, validation_images, train_images)
    record = {"trial": trial, "dataset": dataset, "lambda": lambda_jr, "epochs": settings.epochs, "seed": seed}
    record |= {"images": len(validation[1]), "validation_accuracy": None, "loss": None, "diverged": None}
    # the draws of voting's first learner, whatever the recipe: trials differ in nothing else
    identity = (seed, dataset, "voting", lambda_jr, 0, 0)
    try:
        settled = architecture(dataset, model, train[0], class_count(data_path))
        builder = resolve(model.architecture, ARCHITECTURES)
        result = train_learners(train, validation, settled, settings, lambda_jr, identity, builder=builder)
        record |= {"validation_accuracy": result.validation_accuracy[0], "loss": result.history[-1]["loss"]}
    except DivergedError as error:
        record["diverged"] = str(error)
    write_json(path, record)
