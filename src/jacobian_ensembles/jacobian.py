"""The input-output Jacobian: its exact norm, and the regulariser that penalises it in training (Eq. 1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jacobian_ensembles.models import LeNet


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


def regularized_loss(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    lambda_jr: float,
    directions: Tensor | None = None,
    dropout: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """The training loss of one learner: cross-entropy + lambda/2 mean ||J||_F^2 (Eq. 1).

    For a :class:`LeNet` no backward pass is differentiated (see
    :meth:`~jacobian_ensembles.models.Linearization.squared_norm`): the returned objective then has the loss's
    *gradient*, not its value.

    Args:
        model: A classifier from (B, ...) to logits (B, C).
        x: (B, ...), in [0, 1].
        labels: (B,), in [0, C).
        lambda_jr: Strength of the regulariser, >= 0.
        directions: (P, B, C) unit vectors; needed when ``lambda_jr`` > 0.
        dropout: Generator of a LeNet's dropout masks; None for no dropout.

    Returns:
        The objective to differentiate, and the loss's value (a detached scalar).

    Raises:
        ValueError: If ``lambda_jr`` > 0 without ``directions``.
    """
    if lambda_jr and directions is None:
        raise ValueError(f"lambda_jr is {lambda_jr:g}: directions (P, B, C) are needed. Got None.")
    if not isinstance(model, LeNet):
        if not lambda_jr:
            loss = F.cross_entropy(model(x), labels)
        else:
            x = x.detach().requires_grad_(True)
            logits = model(x)
            loss = F.cross_entropy(logits, labels)
            loss = loss + lambda_jr * penalty_by_double_backward(logits, x, directions)
        return loss, loss.detach()

    at = model.linearize(x, dropout)
    loss = F.cross_entropy(at.logits, labels)
    if not lambda_jr:
        return loss, loss.detach()
    objective, value = loss, loss.detach()
    scale = lambda_jr * at.logits.shape[1] / (x.shape[0] * len(directions))
    for v in directions:
        square, surrogate = at.squared_norm(v)
        objective = objective + scale * surrogate
        value = value + scale / 2 * square
    return objective, value
