"""Interval-bound training: the loss of the worst logits that interval bounds allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from jacobian_ensembles.config.settings import Settings
from jacobian_ensembles.training.objectives.objective import Batch, Objective

if TYPE_CHECKING:
    from torch import Tensor, nn


class Ibp(Objective):
    """A mixture of the cross-entropy and of an upper bound on it over all perturbations within eps.

    The bound is that of intervals, so that :func:`~jacobian_ensembles.robustness.certificates.certify` proves what was
    trained. Over the first part of training, eps grows from 0 and the bound's weight in the mixture from 0, both
    linearly; of snapshots, over the first part of the first cycle, so that the first snapshot is trained at the full
    eps, too. x + delta is not clipped. Dropout acts in the cross-entropy, not in the bound.

    Args:
        strength: eps, > 0, in pixel units: the largest change of a pixel.
        **options: Fields of :class:`Ibp.Options`.

    References:
        Gowal et al.: On the Effectiveness of Interval Bound Propagation for Training Verifiably Robust Models,
        arXiv:1810.12715, Eqs. (11) and (12), with 1 - kappa for the weight here.
    """

    class Options(Settings):
        """Options of :class:`Ibp`.

        Attributes:
            ramp: The share of training over which eps and the weight of the bound grow to their full size.
            mixture: The bound's weight in the loss after that; the cross-entropy has the rest.
        """

        ramp: Annotated[float, Field(gt=0, le=1)] = 0.5
        mixture: Annotated[float, Field(gt=0, le=1)] = 0.5

    def prepare(self, net: nn.Module) -> None:
        """Scale a fresh tanh learner's weights so that, on average, intervals keep their width from layer to layer.

        Under the usual initial weights they widen several times per layer. A tanh then saturates at both ends, where
        its bounds have no gradient, and the learner collapses or certifies nothing, however long the ramp. ReLUs do
        not saturate, and learn more from the usual weights.

        Raises:
            ValueError: If the learner has a part for which there are no bounds.

        References:
            Of ReLU networks: Shi et al.: Fast Certified Robust Training with Short Warmup, NeurIPS 2021.
        """
        from torch.nn import Conv2d, Linear, Tanh

        from jacobian_ensembles.models.intervals import layers_of

        layers = layers_of(net)
        if any(isinstance(layer, Tanh) for layer in layers):
            for layer in layers:
                if isinstance(layer, Linear | Conv2d):
                    layer.weight.data /= layer.weight.data.flatten(1).abs().sum(1).mean()

    def gradients(self, net: nn.Module, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """See :meth:`~jacobian_ensembles.training.objectives.objective.Objective.gradients`."""
        import torch
        import torch.nn.functional as F

        from jacobian_ensembles.models.intervals import margin_bounds_within
        from jacobian_ensembles.training.objectives.derivatives import differentiated, loss_and_gradients

        x, grown = batch.images, min(1.0, batch.progress / self.options.ramp)
        eps, weight = grown * self.strength, grown * self.options.mixture
        value, gradients = loss_and_gradients(net, x, batch.labels, 0.0, None, batch.dropout)
        with torch.enable_grad():
            low = margin_bounds_within(net, x, eps, batch.labels).low
            bound = F.cross_entropy(-low, batch.labels)
        (more,) = differentiated(bound, [net], "the bound")
        mixed = [torch.lerp(a, b, weight) for a, b in zip(gradients, more, strict=True)]
        return torch.lerp(value, bound.detach(), weight), mixed
