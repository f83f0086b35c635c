"""Adversarial training: every image is perturbed against the learner as it stands."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from jacobian_ensembles.training.objectives.derivatives import input_gradient, loss_and_gradients
from jacobian_ensembles.training.objectives.objective import Batch, Objective
from jacobian_ensembles.training.objectives.registry import AdversarialOptions


class Adversarial(Objective):
    """The cross-entropy of images, each under its own perturbation, found by projected gradient ascent (PGD).

    Perturbations start at random within eps, and x + delta is not clipped, as in the paper's attack. A step costs
    ``steps`` more forward and backward passes than a plain one.

    Args:
        strength: eps, > 0, in pixel units: the largest change of a pixel.
        **options: Fields of :class:`~jacobian_ensembles.training.objectives.registry.AdversarialOptions`.

    References:
        Madry et al.: Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018.
    """

    def __init__(self, strength: float, **options: Any) -> None:
        super().__init__(strength)
        self.options = AdversarialOptions(**options)

    def perturbed(self, net: nn.Module, batch: Batch) -> Tensor:
        """The images (B, ...) as the learner is trained on them, each within eps of the original."""
        x, eps = batch.images, self.strength
        step = self.options.step or 2.5 / self.options.steps
        delta = eps * (2 * torch.rand(x.shape, generator=batch.rng) - 1).to(x)
        for _ in range(self.options.steps):
            delta = (delta + step * eps * input_gradient(net, x + delta, batch.labels).sign()).clamp(-eps, eps)
        return x + delta

    def gradients(self, net: nn.Module, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """See :meth:`~jacobian_ensembles.training.objectives.objective.Objective.gradients`."""
        return loss_and_gradients(net, self.perturbed(net, batch), batch.labels, 0.0, None, batch.dropout)
