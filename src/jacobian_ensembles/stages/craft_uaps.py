"""Stage craft_uaps: a block of universal perturbations of one model and eps, each evaluated on the test set."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from jacobian_ensembles.attacks.checks import _check_deltas
from jacobian_ensembles.attacks.registry import ATTACKS
from jacobian_ensembles.evaluation.accuracy import correct
from jacobian_ensembles.experiment.config import Attack
from jacobian_ensembles.experiment.devices import prepare_device
from jacobian_ensembles.experiment.extensions import resolve
from jacobian_ensembles.seeding import derive_seed
from jacobian_ensembles.stages.inputs import load_ensemble, load_split
from jacobian_ensembles.storage.predictions import save_uaps


def craft_to_file(
    ensemble: str | Path | nn.Module,
    data_path: str | Path,
    path: str | Path,
    *,
    cell: dict[str, str | int | float],
    eps: float,
    first: int,
    last: int,
    settings: Attack,
    seed: int,
    validation_images: int,
    train_images: int | None = None,
    test_images: int | None = None,
    architecture: str = "lenet",
    method: str | None = None,
    device: str = "cpu",
) -> None:
    """Craft a block of perturbations of one model and eps, evaluate each on the test set, store both.

    Args:
        ensemble: The assembled ensemble's file, or any classifier.
        data_path: The stored dataset.
        path: The file to write.
        cell: ``dataset``, ``ensemble``, ``members``, ``lambda`` and ``repetition`` of the model.
        eps: Radius, in (0, 1].
        first: First attack seed of the block.
        last: Last attack seed of the block, included.
        settings: The attack.
        seed: Base seed of the run.
        validation_images: Size of the validation split.
        train_images: Size of the training split where crafting uses it; None for all.
        test_images: Use so many test images only; None for all.
        architecture: See :func:`~jacobian_ensembles.stages.inputs.load_ensemble`.
        method: See :func:`~jacobian_ensembles.stages.inputs.load_ensemble`.
        device: ``cpu`` or ``cuda``.

    Raises:
        ExtensionError: If a reference leads nowhere.
        ValueError: If an attack of the user's returns something else than K perturbations within eps.
    """
    target = prepare_device(device)
    limits = {"train": train_images, "validation": None, "test": test_images}
    if not isinstance(ensemble, nn.Module):
        ensemble = load_ensemble(ensemble, int(cell["members"]), architecture, method)
    model = ensemble.to(target)
    (x, y), (test_x, test_y) = (
        load_split(data_path, split, validation_images, limits[split]) for split in (settings.split, "test")
    )
    seeds = [derive_seed("uap", seed, *cell.values(), eps, k) for k in range(first, last + 1)]
    attack = resolve(settings.method, ATTACKS)
    deltas = attack(model, x.to(target), y.to(target), eps, settings, seeds)
    _check_deltas(deltas, (len(seeds), *x.shape[1:]), eps, settings.method)
    bits = correct(model, test_x.to(target), test_y.to(target), deltas, settings.clip)
    save_uaps(path, deltas.cpu().numpy(), bits.numpy(), first, {**cell, "eps": eps})
