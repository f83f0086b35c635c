"""Training on noisy images: the control that shows whether a Jacobian is needed at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jacobian_ensembles.training.objectives.objective import Batch, Objective

if TYPE_CHECKING:
    from torch import Tensor, nn


class Noise(Objective):
    """The cross-entropy of images with Gaussian noise, drawn anew at every step and not clipped.

    For small deviations its expectation is the cross-entropy plus a penalty on derivatives with respect to the input.

    Args:
        strength: The noise's standard deviation, > 0, in pixel units.

    References:
        Bishop: Training with Noise is Equivalent to Tikhonov Regularization, Neural Computation 1995.
    """

    def gradients(self, net: nn.Module, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """See :meth:`~jacobian_ensembles.training.objectives.objective.Objective.gradients`."""
        import torch

        from jacobian_ensembles.training.objectives.derivatives import loss_and_gradients

        x = batch.images
        drawn = torch.randn(x.shape, generator=batch.rng).to(x)
        return loss_and_gradients(net, x + self.strength * drawn, batch.labels, 0.0, None, batch.dropout)
