"""Accuracy under perturbations: one bit per image, from which everything else follows.

No torch, until there are tensors.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from jacobian_ensembles.data.interop import is_tensor, like, to_numpy
from jacobian_ensembles.ensembles.in_engine import in_engine
from jacobian_ensembles.models.compiled import Compiled, rows
from jacobian_ensembles.models.evaluation_mode import without_gradients

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from jacobian_ensembles.data.interop import Array

log = logging.getLogger(__name__)
_AT_ONCE = 2_000  # images that the engine is given at a time: stored ones become numbers only then
_EVERY = 10.0  # seconds between two lines of progress


def perturb(x: Any, delta: Any, clip: bool) -> Any:
    """Apply a perturbation.

    Args:
        x: (B, ...), in [0, 1].
        delta: Broadcastable to ``x``.
        clip: Clip the sum to [0, 1].

    Returns:
        x + delta, like ``x``.
    """
    return (x + delta).clip(0, 1) if clip else x + delta


def sizes(deltas: Any, norm: str = "linf") -> Any:
    """How large perturbations are, in the units of eps.

    Args:
        deltas: (K, ...), tensor or array.
        norm: ``linf``: the largest change of a pixel; ``l2``: the root of the mean squared change, which is the L2 norm
            divided by the square root of D.

    Returns:
        (K,); under ``l2`` in double precision.

    Raises:
        ValueError: If ``norm`` is neither.
    """
    if norm not in ("linf", "l2"):
        raise ValueError(f"norm must be 'linf' or 'l2'. Got {norm!r}.")
    flat = deltas.reshape(len(deltas), math.prod(deltas.shape[1:]))
    if not is_tensor(deltas):
        return np.abs(flat).max(1) if norm == "linf" else np.sqrt(np.square(flat, dtype=np.float64).mean(1))
    if norm == "linf":
        return flat.abs().amax(1)
    import torch

    lengths: Tensor = torch.linalg.vector_norm(flat, dim=1, dtype=torch.float64)
    return lengths / math.sqrt(flat.shape[1])


def batch_size(device: torch.device) -> int:
    """Images to classify at a time: what a CPU's cache holds, or enough to hide a GPU's kernel launches."""
    return 500 if device.type == "cpu" else 5_000


@without_gradients()
def correct(model: Any, images: Any, labels: Any, deltas: Any, clip: bool, batch: int | None = None) -> Any:
    """Which images a model still classifies correctly under each perturbation.

    Args:
        model: Maps (B, ...) to scores (B, C).
        images: (N, ...), in [0, 1]; with labels and perturbations tensors, or arrays for LeNets in the engine.
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
        taken = _taken(found, images, deltas.to(images) if is_tensor(deltas) else deltas, clip)
        return like(taken == to_numpy(labels), images)
    import torch

    from jacobian_ensembles.models.door import scores

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
    _check_defined(undefined)
    return out.cpu()


def _taken(model: Compiled, images: Array, deltas: Array, clip: bool) -> np.ndarray:
    """The engine's class (K, N) of every image under every perturbation."""
    moves = rows(np.broadcast_to(to_numpy(deltas), (len(deltas), *images.shape[1:])))
    starts = range(0, max(len(images), 1), _AT_ONCE)
    parts = [model.networks.predictions(rows(images[at : at + _AT_ONCE]), moves, clip, model.average) for at in starts]
    taken = np.concatenate(parts, axis=1)
    _check_defined((taken < 0).any())
    return taken


def _check_defined(undefined: Any) -> None:
    """Refuse scores that are NaN."""
    if undefined:
        raise ValueError(
            "the model returned NaN for perturbed images, which may lie outside [0, 1]: let it take those, or set clip."
        )


@without_gradients()
def predictions(model: Any, images: Any, batch: int | None = None) -> Any:
    """The predicted class of every image: (N, ...) -> (N,) int64, on the CPU; an array for an array."""
    if (found := in_engine(model, images)) is not None:
        still = np.zeros((1, *images.shape[1:]), np.float32)
        return like(_taken(found, images, still, False)[0].astype(np.int64), images)
    import torch

    from jacobian_ensembles.models.door import scores

    return torch.cat([scores(model, x).argmax(1) for x in images.split(batch or batch_size(images.device))]).cpu()
