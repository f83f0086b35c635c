"""Evaluation of a model under perturbations: one bit per test image, from which everything else follows."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from jacobian_ensembles.data import load_split
from jacobian_ensembles.devices import prepare_device
from jacobian_ensembles.ensembles import load_ensemble
from jacobian_ensembles.records import save_clean


def perturb(x: Tensor, delta: Tensor, clip: bool) -> Tensor:
    """Apply a perturbation.

    Args:
        x: (B, ...), in [0, 1].
        delta: Broadcastable to ``x``.
        clip: Clip the sum to [0, 1].

    Returns:
        x + delta, like ``x``.
    """
    return (x + delta).clamp(0, 1) if clip else x + delta


def batch_size(device: torch.device) -> int:
    """Images to classify at a time: what a CPU's cache holds; on a GPU enough to hide the start of its kernels."""
    return 500 if device.type == "cpu" else 5_000


def check_images(images: Tensor, labels: Tensor) -> None:
    """Refuse images that are not floats in [0, 1], and labels that are not one integer each.

    Raises:
        ValueError: Saying what was got and what to do.
    """
    low, high = (images.min().item(), images.max().item()) if images.numel() else (0.0, 0.0)
    if not images.is_floating_point() or low < 0 or high > 1:
        raise ValueError(
            f"images must be floats in [0, 1]. Got {images.dtype} in [{low:g}, {high:g}]. Divide bytes by 255, and "
            "let the model subtract means and divide by deviations itself: perturbations are bounded in pixel units."
        )
    if labels.shape != images.shape[:1] or labels.is_floating_point():
        raise ValueError(f"labels must be {len(images)} integers. Got {labels.dtype} of shape {tuple(labels.shape)}.")


@torch.no_grad()
def correct(
    model: nn.Module, images: Tensor, labels: Tensor, deltas: Tensor, clip: bool, batch: int | None = None
) -> Tensor:
    """Which images a model still classifies rightly under each perturbation.

    Args:
        model: Maps (B, ...) to scores (B, C).
        images: (N, ...), in [0, 1].
        labels: (N,).
        deltas: (K, ...), K perturbations; zeros give the clean predictions.
        clip: Clip perturbed images to [0, 1].
        batch: Images at a time; None for :func:`batch_size`.

    Returns:
        (K, N) bool, on the CPU.
    """
    batch = batch or batch_size(images.device)
    out = torch.empty(len(deltas), len(labels), dtype=torch.bool, device=images.device)
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        for k, delta in enumerate(deltas):
            out[k, part] = model(perturb(images[part], delta, clip)).argmax(1) == labels[part]
    return out.cpu()


@torch.no_grad()
def predictions(model: nn.Module, images: Tensor, batch: int | None = None) -> Tensor:
    """The predicted class of every image: (N, ...) -> (N,) int64, on the CPU."""
    return torch.cat([model(x).argmax(1) for x in images.split(batch or batch_size(images.device))]).cpu()


def evaluate_to_file(
    ensemble_path: str | Path,
    data_path: str | Path,
    path: str | Path,
    *,
    cell: dict[str, str | int | float],
    validation_images: int,
    test_images: int | None = None,
    architecture: str = "lenet",
    method: str | None = None,
    device: str = "cpu",
) -> None:
    """Store an ensemble's predictions on the clean test set.

    Args:
        ensemble_path: The assembled ensemble.
        data_path: The stored dataset.
        path: The file to write.
        cell: ``dataset``, ``ensemble``, ``members``, ``lambda`` and ``repetition`` of the model.
        validation_images: Size of the validation split.
        test_images: Use so many test images only; None for all.
        architecture: See :func:`~jacobian_ensembles.ensembles.load_ensemble`.
        method: See :func:`~jacobian_ensembles.ensembles.load_ensemble`.
        device: ``cpu`` or ``cuda``.
    """
    target = prepare_device(device)
    images, labels = load_split(data_path, "test", validation_images, test_images)
    model = load_ensemble(ensemble_path, int(cell["members"]), architecture, method).to(target)
    save_clean(path, predictions(model, images.to(target)).numpy(), labels.numpy(), cell)
