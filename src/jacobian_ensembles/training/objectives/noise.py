"""Training on noisy images: the control that shows whether a Jacobian is needed at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jacobian_ensembles.training.objectives.objective import Batch, Objective, Terms

if TYPE_CHECKING:
    from torch import nn


class Noise(Objective):
    """The cross-entropy of images with Gaussian noise, drawn anew at every step and not clipped.

    For small deviations its expectation is the cross-entropy plus a penalty on derivatives with respect to the input.

    Args:
        strength: The noise's standard deviation, > 0, in pixel units.

    References:
        Bishop: Training with Noise is Equivalent to Tikhonov Regularization, Neural Computation 1995.
    """

    def terms(self, net: nn.Module, batch: Batch) -> Terms:
        """See :meth:`~jacobian_ensembles.training.objectives.objective.Objective.terms`."""
        import torch

        x = batch.images
        drawn = torch.randn(x.shape, generator=batch.rng).to(x)
        return Terms(x + self.strength * drawn)
