"""Norms of Jacobians: of any classifier, and of an ensemble beside its learners. No torch, until there are tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jacobian_ensembles.data.interop import concatenate, like, on_gpu, stack, to_numpy
from jacobian_ensembles.evaluation.shared_direction import SharedDirection
from jacobian_ensembles.models.compiled import Compiled
from jacobian_ensembles.models.evaluation_mode import evaluating, own_modes, without_gradients
from jacobian_ensembles.models.jacobian import exact_jacobian, jacobian_of, linearize, unit_vectors

if TYPE_CHECKING:
    from torch import Tensor, nn


@own_modes()
def jacobian_norm(
    model: Callable[[Tensor], Tensor], images: Tensor, projections: int | None = None, seed: int = 0, batch: int = 200
) -> Tensor:
    """The Frobenius norm of a model's Jacobian at each image: how far its outputs move under small input changes.

    Args:
        model: Any classifier, or function, from (B, ...) to outputs (B, C); a module is put in evaluation mode
            meanwhile. For an :class:`~jacobian_ensembles.ensembles.ensemble.Ensemble` the outputs are
            log-probabilities; pass ``lambda x: ensemble.member_logits(x).mean(0)`` for the paper's Jacobian of the
            averaged logits.
        images: (N, ...), in [0, 1].
        projections: P, the number of random projections that estimate the squared norm (unbiased); None for the exact
            norm, by C backward passes.
        seed: Of the projections.
        batch: Images at a time.

    Returns:
        (N,) norms, on the images' device.

    Raises:
        ValueError: If images are not in [0, 1], or outputs are not differentiable scores.

    References:
        Hoffman, Roberts, Yaida: Robust Learning with Jacobian Regularization, arXiv:1908.02729, Algorithm 1.
    """
    import torch

    from jacobian_ensembles.data.tensors import check_pixels
    from jacobian_ensembles.models.door import try_out

    images = check_pixels(images)
    try_out(model, images)
    rng = torch.Generator().manual_seed(seed)
    norms = []
    with evaluating(model):
        for x in images.split(batch):
            if projections is None:
                norms.append(exact_jacobian(model, x).flatten(1).norm(dim=1))
                continue
            at = linearize(model, x)
            classes = at.logits.shape[1]
            v = torch.stack([unit_vectors(len(x), classes, rng) for _ in range(projections)]).to(at.logits)
            square = at.products(v).flatten(2).square().sum(2).sum(0)
            norms.append((square * classes / projections).sqrt())
    return torch.cat(norms)


@without_gradients()
def jacobian_statistics(
    members: Sequence[nn.Module] | Sequence[Compiled], images: Any, labels: Any = None, batch: int = 50
) -> dict[str, Any]:
    """Measure the logits' Jacobians of M learners and of their mean, the ensemble of Theorem 3.1.

    Args:
        members: M classifiers from (B, ...) to logits (B, C).
        images: (N, ...), in [0, 1], as a tensor; or as an array for LeNets in the engine.
        labels: (N,), the true classes; None to leave out ``shared``.
        batch: Images at a time.

    Returns:
        float64, tensors or arrays as the images are: ``learners`` (M, N), every ||J_i||_F^2; ``ensemble`` (N,),
        ||(1/M) sum_i J_i||_F^2; ``cosine`` (M, M), the cosine between the entries of two learners' Jacobians, averaged
        over images; ``moments`` (M, 4), mean, variance, skewness and excess kurtosis of a learner's entries over all
        images; ``size`` (2,), C and D; and with labels ``shared`` (3,), of the ensemble: see
        :class:`~jacobian_ensembles.evaluation.shared_direction.SharedDirection`.
    """
    shared = SharedDirection()
    learners, ensemble, cosines, power_sums = [], [], [], []
    for start in range(0, len(images), batch):
        at = [linearize(member, images[start : start + batch]) for member in members]
        each = [jacobian_of(one) for one in at]
        shape = each[0].shape[1:]
        # a GPU keeps them; on a CPU the sums are NumPy's, whatever the images are
        flat = stack([_double(jacobian.reshape(len(jacobian), -1)) for jacobian in each])
        square = flat * flat
        norms = square.sum(2)
        learners.append(norms)
        ensemble.append((flat.mean(0) ** 2).sum(1))
        powers = flat.sum((1, 2)), norms.sum(1), (square * flat).sum((1, 2)), (square * square).sum((1, 2))
        power_sums.append(stack(powers))
        if labels is not None:
            of_ensemble = to_numpy(flat.mean(0)).reshape(-1, *shape)
            logits = np.sum([to_numpy(one.logits) for one in at], 0)
            shared.add(of_ensemble, logits, to_numpy(labels[start : start + batch]))
        flat /= (norms.clip(np.finfo(np.float64).tiny) ** 0.5)[:, :, None]  # of length one
        unit = flat.reshape(len(flat), -1)
        cosines.append(unit @ unit.T)
    count = len(images) * shape[0] * shape[1]
    mean, second, third, fourth = sum(power_sums) / count
    variance = second - mean**2
    skewness = (third - 3 * mean * second + 2 * mean**3) / variance**1.5
    kurtosis = (fourth - 4 * mean * third + 6 * mean**2 * second - 3 * mean**4) / variance**2 - 3
    found = {
        "learners": concatenate([norms.T for norms in learners]).T,
        "ensemble": concatenate(ensemble),
        "cosine": sum(cosines) / len(images),
        "moments": stack([mean, variance, skewness, kurtosis]).T,
        "size": np.array(shape),
    }
    if labels is not None:
        found["shared"] = shared.values()
    return {name: like(value, images) if isinstance(value, np.ndarray) else value for name, value in found.items()}


def _double(jacobian: Any) -> Any:
    """In double precision; of a CPU's tensor as an array."""
    return jacobian.double() if on_gpu(jacobian) else to_numpy(jacobian).astype(np.float64)
