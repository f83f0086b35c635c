"""The input-output Jacobian: its exact norm, and the regulariser that penalises it in training (Eq. 1)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jacobian_ensembles.lenet import LeNet
from jacobian_ensembles.models import evaluating


def unit_vectors(batch: int, classes: int, generator: torch.Generator) -> Tensor:
    """Draw directions uniformly from the unit sphere of R^C.

    Args:
        batch: B.
        classes: C.
        generator: A CPU generator, so that the draws are the same on every device.

    Returns:
        (B, C), rows of norm 1.
    """
    return F.normalize(torch.randn(batch, classes, generator=generator), dim=1)


def exact_jacobian(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The Jacobian of a model's outputs with respect to its inputs, by C backward passes.

    Args:
        model: Maps (B, ...) to (B, C), each sample on its own.
        x: (B, ...), D inputs per sample.

    Returns:
        (B, C, D).
    """
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        out = model(x)
        rows = [
            torch.autograd.grad(out[:, c].sum(), x, retain_graph=c + 1 < out.shape[1])[0].flatten(1)
            for c in range(out.shape[1])
        ]
    return torch.stack(rows, dim=1)


@torch.no_grad()
def logit_jacobian(model: nn.Module, x: Tensor) -> Tensor:
    """The Jacobian of a classifier's logits, by a LeNet's explicit products or, for any other, :func:`exact_jacobian`.

    Args:
        model: Maps (B, ...) to logits (B, C), each sample on its own.
        x: (B, ...), in [0, 1].

    Returns:
        (B, C, D).
    """
    if not isinstance(model, LeNet):
        return exact_jacobian(model, x)
    at = model.linearize(x)
    unit = torch.eye(at.logits.shape[1], device=x.device)
    return torch.stack([at.vjp(row.expand_as(at.logits)).flatten(1) for row in unit], dim=1)


def jacobian_norm(
    model: Callable[[Tensor], Tensor], images: Tensor, projections: int | None = None, seed: int = 0, batch: int = 200
) -> Tensor:
    """The Frobenius norm of a model's Jacobian at each image: how far its outputs move under small input changes.

    Args:
        model: Any classifier, or function, from (B, ...) to outputs (B, C); a module is put in evaluation mode for the
            while. For an :class:`~jacobian_ensembles.ensembles.Ensemble` the outputs are log-probabilities; pass
            ``lambda x: ensemble.member_logits(x).mean(0)`` for the paper's Jacobian of the averaged logits.
        images: (N, ...), in [0, 1].
        projections: P, random projections to estimate the squared norm with (unbiased); None for the exact norm, by C
            backward passes.
        seed: Of the projections.
        batch: Images at a time.

    Returns:
        (N,) norms, on the images' device.

    References:
        Hoffman, Roberts, Yaida: Robust Learning with Jacobian Regularization, arXiv:1908.02729, Algorithm 1.
    """
    rng = torch.Generator().manual_seed(seed)
    norms = []
    with evaluating(model), torch.enable_grad():
        for x in images.split(batch):
            if projections is None:
                norms.append(exact_jacobian(model, x).flatten(1).norm(dim=1))
                continue
            x = x.detach().requires_grad_(True)
            out = model(x)
            total = x.new_zeros(len(x))
            for i in range(projections):
                v = unit_vectors(len(x), out.shape[1], rng).to(out)
                (g,) = torch.autograd.grad((out * v).sum(), x, retain_graph=i + 1 < projections)
                total += g.flatten(1).pow(2).sum(1)
            norms.append((total * out.shape[1] / projections).sqrt())
    return torch.cat(norms)


def penalty_by_double_backward(logits: Tensor, x: Tensor, directions: Tensor) -> Tensor:
    """The regulariser (1/2B) sum_i ||J(x_i)||_F^2, estimated by random projection, for any differentiable model.

    ||J||_F^2 = C E_v ||v^T J||^2 for v uniform on the unit sphere of R^C (Hoffman et al. 2019, Algorithm 1).
    Differentiating it differentiates through a backward pass.

    Args:
        logits: (B, C), computed from ``x``.
        x: (B, ...), requiring gradients.
        directions: (P, B, C) unit vectors.

    Returns:
        A scalar, differentiable with respect to whatever ``logits`` depend on.
    """
    total = logits.new_zeros(())
    for v in directions:
        (g,) = torch.autograd.grad((logits * v).sum(), x, create_graph=True)
        total = total + g.pow(2).sum()
    return total * logits.shape[1] / (2 * logits.shape[0] * directions.shape[0])


def loss_and_gradients(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    lambda_jr: float,
    directions: Tensor | None = None,
    dropout: torch.Generator | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """The training loss of one learner, cross-entropy + lambda/2 mean ||J||_F^2 (Eq. 1), and its gradient.

    A :class:`LeNet` needs no automatic differentiation (see
    :meth:`~jacobian_ensembles.lenet.Linearization.gradients`); any other module is differentiated twice.

    Args:
        model: A classifier from (B, ...) to logits (B, C).
        x: (B, ...), in [0, 1].
        labels: (B,), in [0, C).
        lambda_jr: Strength of the regulariser, >= 0.
        directions: (P, B, C) unit vectors; needed when ``lambda_jr`` > 0.
        dropout: Generator of a LeNet's dropout masks; None for no dropout.

    Returns:
        The loss, a scalar outside any graph, and its gradients in the order of ``model.parameters()``, those that
        require none left out.

    Raises:
        ValueError: If ``lambda_jr`` > 0 without ``directions``.
    """
    if directions is None:
        if lambda_jr:
            raise ValueError(f"lambda_jr is {lambda_jr:g}: directions (P, B, C) are needed. Got None.")
        directions = x.new_zeros(0)
    if not isinstance(model, LeNet):
        with torch.enable_grad():
            x = x.detach().requires_grad_(bool(lambda_jr))
            logits = model(x)
            loss = F.cross_entropy(logits, labels)
            if lambda_jr:
                loss = loss + lambda_jr * penalty_by_double_backward(logits, x, directions)
        trained = [p for p in model.parameters() if p.requires_grad]
        return loss.detach(), list(torch.autograd.grad(loss, trained, materialize_grads=True))

    with torch.no_grad():
        at = model.linearize(x, dropout)
        batch, classes = at.logits.shape
        log_probabilities = at.logits.log_softmax(1)
        r = (log_probabilities.exp() - F.one_hot(labels, classes)) / batch
        scaled = []
        if lambda_jr:
            scaled = list(directions * math.sqrt(lambda_jr * classes / (batch * len(directions))))
        gradients, square = at.gradients(r, scaled)
        return F.nll_loss(log_probabilities, labels) + square / 2, gradients
