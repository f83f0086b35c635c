"""Universal adversarial training: learner and perturbation are trained against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from jacobian_ensembles.config.settings import Settings
from jacobian_ensembles.training.objectives.objective import Batch, Objective

if TYPE_CHECKING:
    from torch import Tensor, nn


class Universal(Objective):
    """The cross-entropy of images under one perturbation for all, which ascends it in the same steps.

    In every step the learner descends and the perturbation ascends, both from where they stand: one pass gives both
    gradients. The perturbation starts at zero, moves along the sign of its gradient and stays within eps; x + delta is
    not clipped, as in the paper's attack. Optionally the Jacobian is regularised there too.

    Args:
        strength: eps, > 0, in pixel units: the largest change of a pixel.
        **options: Fields of :class:`Universal.Options`.

    References:
        Shafahi et al.: Universal Adversarial Training, AAAI 2020, the simultaneous method.
    """

    class Options(Settings):
        """Options of :class:`Universal`.

        Attributes:
            step: How far the perturbation moves in a step, in units of eps.
            jacobian: Strength of additional Jacobian regularisation (Eq. 1), at the perturbed images.
        """

        step: Annotated[float, Field(gt=0, le=2)] = 1.0
        jacobian: Annotated[float, Field(ge=0)] = 0.0

    def __init__(self, strength: float, **options: Any) -> None:
        super().__init__(strength, **options)
        self.delta: Tensor | None = None  # (...), of one image's shape

    def gradients(self, net: nn.Module, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """See :meth:`~jacobian_ensembles.training.objectives.objective.Objective.gradients`."""
        import torch

        from jacobian_ensembles.training.objectives.derivatives import draw_directions, with_shared_gradient

        images, eps, lam = batch.images, self.strength, self.options.jacobian
        delta = torch.zeros_like(images[0]) if self.delta is None else self.delta
        directions = None
        if lam:
            directions = draw_directions(batch.projections, len(images), batch.classes, batch.rng, images.device)
        value, gradients, ascent = with_shared_gradient(
            net, images + delta, batch.labels, lam, directions, batch.dropout
        )
        self.delta = (delta + self.options.step * eps * ascent.sign()).clamp(-eps, eps)
        return value, gradients
