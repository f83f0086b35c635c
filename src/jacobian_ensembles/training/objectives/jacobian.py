"""Jacobian regularisation: the paper's defence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jacobian_ensembles.training.objectives.objective import Batch, Objective

if TYPE_CHECKING:
    from torch import Tensor, nn


class Jacobian(Objective):
    """Cross-entropy + lambda/2 mean ||J||_F^2 (Eq. 1), the norm estimated by random projections.

    Args:
        strength: lambda, > 0, for inputs in [0, 1].

    References:
        Hoffman, Roberts, Yaida: Robust Learning with Jacobian Regularization, arXiv:1908.02729, Algorithm 1.
    """

    def gradients(self, net: nn.Module, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """See :meth:`~jacobian_ensembles.training.objectives.objective.Objective.gradients`."""
        return regularized(net, batch, self.strength)


def regularized(net: nn.Module, batch: Batch, lambda_jr: float) -> tuple[Tensor, list[Tensor]]:
    """Loss and gradients with the Jacobian penalty of strength ``lambda_jr`` >= 0, from newly drawn projections."""
    from jacobian_ensembles.training.objectives.derivatives import draw_directions, loss_and_gradients

    x, directions = batch.images, None
    if lambda_jr:
        directions = draw_directions(batch.projections, len(x), batch.classes, batch.rng, x.device)
    return loss_and_gradients(net, x, batch.labels, lambda_jr, directions, batch.dropout)
