"""The gradient that images share is kept small: what one perturbation for all can use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jacobian_ensembles.training.objectives.objective import Model, Objective

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Shared(Objective):
    """Cross-entropy + eps ||the mean over a batch of d cross-entropy / dx||_1.

    That is the cross-entropy under the worst perturbation for all images of the batch, to first order: a Jacobian
    penalty holds every direction of every image still, this only the one that images share.

    Args:
        strength: eps, > 0, in pixel units.

    References:
        First-order penalties for perturbations of single images: Simon-Gabriel et al.: First-Order Adversarial
        Vulnerability of Neural Networks and Input Dimension, ICML 2019, arXiv:1802.01421.
    """

    def loss(self, model: Model, images: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """See :meth:`~jacobian_ensembles.training.objectives.objective.Objective.loss`."""
        import torch
        from torch.nn.functional import cross_entropy

        x = images.detach().requires_grad_(True)
        loss = cross_entropy(model(x), labels)
        (g,) = torch.autograd.grad(loss, x, create_graph=True)
        return loss + self.strength * g.sum(0).abs().sum()
