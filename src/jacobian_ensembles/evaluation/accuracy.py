"""Accuracy under perturbations: one bit per image, from which everything else follows."""

from __future__ import annotations

import logging
import math
import time

import torch
from torch import Tensor, nn

from jacobian_ensembles.ensembles.ensemble import in_engine
from jacobian_ensembles.models.door import scores
from jacobian_ensembles.models.lenet import rows

log = logging.getLogger(__name__)
_EVERY = 10.0  # seconds between two lines of progress


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


def sizes(deltas: Tensor, norm: str = "linf") -> Tensor:
    """How large perturbations are, in the units of eps.

    Args:
        deltas: (K, ...).
        norm: ``linf``: the largest change of a pixel; ``l2``: the root of the mean squared change, which is the L2 norm
            divided by the square root of D.

    Returns:
        (K,); under ``l2`` in double precision.

    Raises:
        ValueError: If ``norm`` is neither.
    """
    flat = deltas.reshape(len(deltas), math.prod(deltas.shape[1:]))
    if norm == "linf":
        return flat.abs().amax(1)
    if norm == "l2":
        lengths: Tensor = torch.linalg.vector_norm(flat, dim=1, dtype=torch.float64)
        return lengths / math.sqrt(flat.shape[1])
    raise ValueError(f"norm must be 'linf' or 'l2'. Got {norm!r}.")


def batch_size(device: torch.device) -> int:
    """Images to classify at a time: what a CPU's cache holds, or enough to hide a GPU's kernel launches."""
    return 500 if device.type == "cpu" else 5_000


@torch.no_grad()
def correct(
    model: nn.Module, images: Tensor, labels: Tensor, deltas: Tensor, clip: bool, batch: int | None = None
) -> Tensor:
    """Which images a model still classifies correctly under each perturbation.

    Args:
        model: Maps (B, ...) to scores (B, C).
        images: (N, ...), in [0, 1].
        labels: (N,).
        deltas: (K, ...), K perturbations; zeros give the clean predictions.
        clip: Clip perturbed images to [0, 1].
        batch: Images at a time; None for :func:`batch_size`.

    Returns:
        (K, N) bool, on the CPU.

    Raises:
        ValueError: If the model returns NaN for a perturbed image.
    """
    if (found := in_engine(model, images)) is not None:
        networks, average = found
        moves = rows(deltas.to(images).expand(-1, *images.shape[1:]))
        taken = torch.from_numpy(networks.predictions(rows(images), moves, clip, average))
        return _defined(taken == labels, taken < 0)
    batch = batch or batch_size(images.device)
    out = torch.empty(len(deltas), len(labels), dtype=torch.bool, device=images.device)
    undefined = torch.zeros((), dtype=torch.bool, device=images.device)
    said = time.monotonic()
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        for k, delta in enumerate(deltas):
            of_batch = scores(model, perturb(images[part], delta, clip))
            out[k, part] = of_batch.argmax(1) == labels[part]
            undefined |= of_batch.isnan().any()
        if (now := time.monotonic()) - said > _EVERY:
            said, done = now, min(part.stop, len(labels))
            log.info("evaluating: %d of %d images", done, len(labels), extra={"progress": (done, len(labels))})
    return _defined(out, undefined)


def _defined(right: Tensor, undefined: Tensor) -> Tensor:
    """``right``, on the CPU, unless some scores were NaN."""
    if undefined.any():
        raise ValueError(
            "the model returned NaN for perturbed images, which may lie outside [0, 1]: let it take those, or set clip."
        )
    return right.cpu()


@torch.no_grad()
def predictions(model: nn.Module, images: Tensor, batch: int | None = None) -> Tensor:
    """The predicted class of every image: (N, ...) -> (N,) int64, on the CPU."""
    return torch.cat([scores(model, x).argmax(1) for x in images.split(batch or batch_size(images.device))]).cpu()
