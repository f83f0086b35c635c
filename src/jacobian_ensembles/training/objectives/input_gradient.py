"""Double backpropagation: the loss's gradient with respect to the input is kept small."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jacobian_ensembles.training.objectives.objective import Model, Objective

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class InputGradient(Objective):
    """Cross-entropy + lambda/2 mean ||d cross-entropy / dx||^2, over the images of a batch.

    Where the Jacobian penalty holds every logit still, this holds only the loss still, and so acts less the better an
    image is classified.

    Args:
        strength: lambda, > 0, for inputs in [0, 1].

    References:
        Drucker, LeCun: Improving Generalization Performance Using Double Backpropagation (1992); Ross, Doshi-Velez:
        Improving the Adversarial Robustness and Interpretability of Deep Neural Networks by Regularizing their Input
        Gradients, AAAI 2018, Eq. (4), with lambda/2 for their lambda.
    """

    def loss(self, model: Model, images: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """See :meth:`~jacobian_ensembles.training.objectives.objective.Objective.loss`."""
        import torch
        from torch.nn.functional import cross_entropy

        x = images.detach().requires_grad_(True)
        losses = cross_entropy(model(x), labels, reduction="none")
        (g,) = torch.autograd.grad(losses.sum(), x, create_graph=True)
        return losses.mean() + self.strength / 2 * g.pow(2).sum() / len(x)
