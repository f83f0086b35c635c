"""Exact Jacobian norms of trained learners and of their ensemble, on test images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from jacobian_ensembles.artifacts import save_tensors
from jacobian_ensembles.data import load_split
from jacobian_ensembles.devices import prepare_device
from jacobian_ensembles.ensembles import load_ensemble
from jacobian_ensembles.jacobian import logit_jacobian


@torch.no_grad()
def jacobian_statistics(members: Sequence[nn.Module], images: Tensor, batch: int = 50) -> dict[str, Tensor]:
    """Measure the logits' Jacobians of M learners and of their mean, the ensemble of Theorem 3.1.

    Args:
        members: M classifiers from (B, ...) to logits (B, C).
        images: (N, ...), in [0, 1].
        batch: Images at a time.

    Returns:
        float64 tensors: ``learners`` (M, N), every ||J_i||_F^2; ``ensemble`` (N,), ||(1/M) sum_i J_i||_F^2;
        ``cosine`` (M, M), the cosine between the entries of two learners' Jacobians, averaged over images;
        ``moments`` (M, 4), mean, variance, skewness and excess kurtosis of a learner's entries over all images;
        ``size`` (2,), C and D.
    """
    learners, ensemble = [], []
    cosine = power_sums = torch.zeros((), dtype=torch.float64, device=images.device)
    for x in images.split(batch):
        jacobians = torch.stack([logit_jacobian(member, x) for member in members]).double()
        shape = jacobians.shape[2:]
        flat = jacobians.flatten(2)
        norms = flat.square().sum(2)
        learners.append(norms)
        ensemble.append(flat.mean(0).square().sum(1))
        unit = flat / norms.clamp_min(torch.finfo(torch.float64).tiny).sqrt().unsqueeze(2)
        cosine = cosine + torch.einsum("ibd,jbd->ij", unit, unit)
        power_sums = power_sums + torch.stack([flat.pow(p).sum((1, 2)) for p in (1, 2, 3, 4)], dim=1)
    count = len(images) * shape[0] * shape[1]
    mean, second, third, fourth = (power_sums / count).unbind(1)
    variance = second - mean**2
    skewness = (third - 3 * mean * second + 2 * mean**3) / variance**1.5
    kurtosis = (fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4) / variance**2 - 3
    return {
        "learners": torch.cat(learners, dim=1),
        "ensemble": torch.cat(ensemble),
        "cosine": cosine / len(images),
        "moments": torch.stack([mean, variance, skewness, kurtosis], dim=1),
        "size": torch.tensor(shape),
    }


def measure_to_file(
    ensemble_path: str | Path,
    data_path: str | Path,
    path: str | Path,
    *,
    cell: dict[str, str | int | float],
    images: int,
    validation_images: int,
    architecture: str = "lenet",
    method: str | None = None,
    device: str = "cpu",
) -> None:
    """Store :func:`jacobian_statistics` of one ensemble on a fixed random choice of test images.

    Args:
        ensemble_path: The assembled ensemble.
        data_path: The stored dataset.
        path: The file to write.
        cell: ``dataset``, ``ensemble``, ``members``, ``lambda`` and ``repetition`` of the model.
        images: How many test images.
        validation_images: Size of the validation split.
        architecture: See :func:`~jacobian_ensembles.ensembles.load_ensemble`.
        method: See :func:`~jacobian_ensembles.ensembles.load_ensemble`.
        device: ``cpu`` or ``cuda``.
    """
    target = prepare_device(device)
    x, _ = load_split(data_path, "test", validation_images, images)
    model = load_ensemble(ensemble_path, int(cell["members"]), architecture, method).to(target)
    statistics = jacobian_statistics(list(model.members), x.to(target))
    save_tensors(path, {name: value.cpu().numpy() for name, value in statistics.items()}, kind="jacobian", spec=cell)
