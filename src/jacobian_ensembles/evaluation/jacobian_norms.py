"""Norms of Jacobians: of any classifier, and of an ensemble beside its learners."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from jacobian_ensembles.data.tensors import check_pixels
from jacobian_ensembles.models.door import scores, try_out
from jacobian_ensembles.models.evaluation_mode import evaluating, own_modes
from jacobian_ensembles.models.jacobian import DETACHED, exact_jacobian, logit_jacobian, unit_vectors


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
    images = check_pixels(images)
    try_out(model, images)
    rng = torch.Generator().manual_seed(seed)
    norms = []
    with evaluating(model), torch.enable_grad():
        for x in images.split(batch):
            if projections is None:
                norms.append(exact_jacobian(model, x).flatten(1).norm(dim=1))
                continue
            x = x.detach().requires_grad_(True)
            out = scores(model, x)
            if not out.requires_grad:
                raise ValueError(DETACHED)
            total = x.new_zeros(len(x))
            for i in range(projections):
                v = unit_vectors(len(x), out.shape[1], rng).to(out)
                (g,) = torch.autograd.grad(
                    (out * v).sum(), x, retain_graph=i + 1 < projections, allow_unused=True, materialize_grads=True
                )
                total += g.flatten(1).pow(2).sum(1)
            norms.append((total * out.shape[1] / projections).sqrt())
    return torch.cat(norms)


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
