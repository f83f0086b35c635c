"""Losses that an attack ascends, and their gradient with respect to a shared perturbation."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from jacobian_ensembles.attacks.checks import note_step
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.models.door import scores
from jacobian_ensembles.models.lenet import LeNet


def capped_loss(log_probabilities: Tensor, labels: Tensor, cap: float | None) -> Tensor:
    """The attack's loss of every sample: its cross-entropy, but no more than ``cap``.

    A sample beyond the cap, already misclassified with confidence, no longer steers the perturbation.

    Args:
        log_probabilities: (B, C).
        labels: (B,).
        cap: In nats; None for no cap.

    Returns:
        (B,).
    """
    losses = -log_probabilities.gather(1, labels[:, None]).squeeze(1)
    return losses if cap is None else losses.clamp(max=cap)


def loss_gradient(model: nn.Module, x: Tensor, labels: Tensor, cap: float | None, groups: int = 1) -> Tensor:
    """The gradient of the attack's mean loss with respect to a perturbation shared by each group of samples.

    Where the perturbed input was clipped to [0, 1], the gradient passes straight through the clip: it is
    taken at the clipped input as if the clip were not there. The true derivative is zero wherever a pixel
    is at its bound, which four fifths of MNIST's are; with it those pixels would never be attacked again.

    Args:
        model: Maps inputs to logits or log-probabilities (B, C); an
            :class:`~jacobian_ensembles.ensembles.ensemble.Ensemble` of LeNets uses their explicit gradient, anything
            else automatic differentiation.
        x: (G*B, ...), perturbed inputs of G groups one after another.
        labels: (G*B,).
        cap: See :func:`capped_loss`.
        groups: G.

    Returns:
        (G, ...), the gradient of each group's mean loss; zero where it is NaN, or the model cannot be differentiated.
        :func:`~jacobian_ensembles.attacks.checks.counting_steps` tells how often it was of no use.
    """
    size = len(x) // groups
    same = isinstance(model, nn.Module) and next((p.dtype == x.dtype for p in model.parameters()), False)
    if same and isinstance(model, Ensemble) and model.has_explicit_gradient:
        points = [member.linearize(x) for member in model.members if isinstance(member, LeNet)]
        with torch.enable_grad():
            logits = torch.stack([p.logits for p in points]).detach().requires_grad_(True)
            losses = capped_loss(model.combine(logits), labels, cap)
            (v,) = torch.autograd.grad(losses.sum() / size, logits)
        gradients = (p.vjp_sum(v_m, groups) for p, v_m in zip(points, v, strict=True))
        gradient = functools.reduce(torch.add, gradients)
    else:
        x = x.detach().requires_grad_(True)
        with torch.enable_grad():
            losses = capped_loss(scores(model, x).log_softmax(1), labels, cap)
            total = losses.sum() / size
            g = torch.zeros_like(x)
            if total.requires_grad:  # not where the model detaches
                (g,) = torch.autograd.grad(total, x, allow_unused=True, materialize_grads=True)
        gradient = g.reshape(groups, size, *g.shape[1:]).sum(1)
    note_step(gradient, losses, cap)
    return gradient.nan_to_num(nan=0.0)
