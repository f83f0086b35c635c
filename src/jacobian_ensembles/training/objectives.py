"""What a learner minimises: cross-entropy with the Jacobian regulariser (Eq. 1)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jacobian_ensembles.models.door import scores
from jacobian_ensembles.models.lenet import LeNet, compiled


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

    A :class:`LeNet` on a CPU needs no automatic differentiation (see
    :meth:`~jacobian_ensembles.models.lenet.Linearization.gradients`); any other module is differentiated twice.

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
    if not (isinstance(model, LeNet) and compiled(model, x)):
        with torch.enable_grad():
            x = x.detach().requires_grad_(bool(lambda_jr))
            logits = scores(model, x) if dropout is None else model(x, dropout)
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
