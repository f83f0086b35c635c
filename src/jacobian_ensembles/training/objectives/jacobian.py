"""Jacobian regularisation: the paper's defence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jacobian_ensembles.training.objectives.objective import Batch, Objective, Terms

if TYPE_CHECKING:
    from torch import nn


class Jacobian(Objective):
    """Cross-entropy + lambda/2 mean ||J||_F^2 (Eq. 1), the norm estimated by random projections.

    Args:
        strength: lambda, for inputs in [0, 1]; zero, of ``decorrelated`` without this penalty, draws nothing.

    References:
        Hoffman, Roberts, Yaida: Robust Learning with Jacobian Regularization, arXiv:1908.02729, Algorithm 1.
    """

    def terms(self, net: nn.Module, batch: Batch) -> Terms:
        """See :meth:`~jacobian_ensembles.training.objectives.objective.Objective.terms`."""
        from jacobian_ensembles.training.objectives.derivatives import draw_directions

        x, directions = batch.images, None
        if self.strength:
            directions = draw_directions(batch.projections, len(x), batch.classes, batch.rng, x.device)
        return Terms(x, self.strength, directions)
