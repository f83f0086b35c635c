"""Adversarial training: every image is perturbed against the learner as it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from jacobian_ensembles.config.settings import PositiveInt, Settings
from jacobian_ensembles.training.objectives.objective import Batch, Objective, Terms

if TYPE_CHECKING:
    from torch import Tensor, nn


class Adversarial(Objective):
    """The cross-entropy of images, each under its own perturbation, found by projected gradient ascent (PGD).

    Perturbations start at random within eps, and x + delta is not clipped, as in the paper's attack. A step costs
    ``steps`` more forward and backward passes than a plain one.

    Args:
        strength: eps, > 0, in pixel units: the largest change of a pixel.
        **options: Fields of :class:`Adversarial.Options`.

    References:
        Madry et al.: Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018.
    """

    class Options(Settings):
        """Options of :class:`Adversarial`.

        Attributes:
            steps: Steps of projected gradient ascent, for every batch.
            step: How far each goes, in units of eps; None for 2.5 / steps, so that together they reach any corner.
        """

        steps: PositiveInt = 3
        step: Annotated[float, Field(gt=0, le=2)] | None = None

    def perturbed(self, net: nn.Module, batch: Batch) -> Tensor:
        """The images (B, ...) as the learner is trained on them, each within eps of the original."""
        import torch

        from jacobian_ensembles.training.objectives.derivatives import input_gradient

        x, eps = batch.images, self.strength
        step = self.options.step or 2.5 / self.options.steps
        delta = eps * (2 * torch.rand(x.shape, generator=batch.rng) - 1).to(x)
        for _ in range(self.options.steps):
            delta = (delta + step * eps * input_gradient(net, x + delta, batch.labels).sign()).clamp(-eps, eps)
        return x + delta

    def terms(self, net: nn.Module, batch: Batch) -> Terms:
        """See :meth:`~jacobian_ensembles.training.objectives.objective.Objective.terms`."""
        return Terms(self.perturbed(net, batch))
