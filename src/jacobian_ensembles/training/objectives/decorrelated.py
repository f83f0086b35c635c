"""Learners trained together so that their Jacobians do not agree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from jacobian_ensembles.config.settings import Settings
from jacobian_ensembles.training.objectives.jacobian import Jacobian
from jacobian_ensembles.training.objectives.objective import Batch, Model, Objective, Terms

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class Decorrelated(Objective):
    """The Jacobian penalty of every learner, and a penalty on how far the learners' Jacobians agree.

    Added to the losses is lambda times 1 / (M - 1) sum_{i<j} of the mean squared cosine between v^T J_i and v^T J_j, v
    drawn anew for each image. Theorem 3.1 gives E ||J_F||^2 = 1/M of a learner's only where Jacobians are uncorrelated;
    those of learners trained one by one are not. A single learner is trained as by ``jacobian``.

    Args:
        strength: lambda, > 0, of both penalties.
        **options: Fields of :class:`Decorrelated.Options`.

    References:
        Of loss gradients and against transferred single-image attacks: Kariyappa, Qureshi: Improving Adversarial
        Robustness of Ensembles with Diversity Training (GAL), arXiv:1901.09981; Dabouei et al.: Exploiting Joint
        Robustness to Adversarial Perturbations, CVPR 2020; Yang et al.: TRS, NeurIPS 2021. Of Jacobians: Adam et al.:
        Reducing Adversarial Example Transferability Using Gradient Regularization, arXiv:1904.07980.
    """

    together = True

    class Options(Settings):
        """Options of :class:`Decorrelated`.

        Attributes:
            jacobian: Weight of each learner's Jacobian penalty (Eq. 1), in units of the strength.
            correlation: Weight of the mean squared cosine, in units of the strength.
            of: What the cosine compares: the ``jacobian``, randomly projected, or the gradients of the ``loss``.
        """

        jacobian: Annotated[float, Field(ge=0)] = 1.0
        correlation: Annotated[float, Field(ge=0)] = 1.0
        of: Literal["jacobian", "loss"] = "jacobian"

    def terms(self, net: nn.Module, batch: Batch) -> Terms:
        """See :meth:`~jacobian_ensembles.training.objectives.objective.Objective.terms`."""
        return Jacobian(self.strength * self.options.jacobian).terms(net, batch)

    def coupling(self, models: Sequence[Model], images: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """See :meth:`~jacobian_ensembles.training.objectives.objective.Objective.coupling`."""
        import torch
        import torch.nn.functional as F

        from jacobian_ensembles.models.jacobian import unit_vectors

        x, products, v = images.detach().requires_grad_(True), [], None
        for model in models:
            logits = model(x)
            if self.options.of == "loss":
                along = F.cross_entropy(logits, labels, reduction="sum")
            else:
                if v is None:
                    v = unit_vectors(len(x), logits.shape[1], rng).to(logits)
                along = (logits * v).sum()
            (g,) = torch.autograd.grad(along, x, create_graph=True)
            products.append(g.flatten(1))
        squares = [F.cosine_similarity(a, b, dim=1).pow(2).mean() for a, b in combinations(products, 2)]
        weight = self.strength * self.options.correlation
        penalty: Tensor = weight * torch.stack(squares).sum() / (len(models) - 1)
        return penalty
