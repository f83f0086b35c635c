"""Losses that an attack ascends, and their gradient with respect to a shared perturbation."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn

from jacobian_ensembles.attacks.checks import note_step
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.models.door import scores
from jacobian_ensembles.models.lenet import LeNet, compiled


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
            :class:`~jacobian_ensembles.ensembles.ensemble.Ensemble` of LeNets on a CPU uses their compiled loops,
            anything else automatic differentiation.
        x: (G*B, ...), perturbed inputs of G groups one after another.
        labels: (G*B,).
        cap: See :func:`capped_loss`.
        groups: G.

    Returns:
        (G, ...), the gradient of each group's mean loss; zero where it is NaN, or the model cannot be differentiated.
        :func:`~jacobian_ensembles.attacks.checks.counting_steps` tells how often it was of no use.
    """
    size = len(x) // groups
    if isinstance(model, Ensemble) and all(compiled(member, x) for member in model.members):
        parts = zip(x.split(size), labels.split(size), strict=True)
        found = [_compiled_gradient(model, part, y, cap) for part, y in parts]
        gradient, losses = (torch.cat(tensors) for tensors in zip(*found, strict=True))
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


def _compiled_gradient(model: Ensemble, x: Tensor, labels: Tensor, cap: float | None) -> tuple[Tensor, Tensor]:
    """The gradient (1, 1, 28, 28) of one group's mean loss and its losses (B,), for LeNets in their compiled loops."""
    points = [member.linearize(x) for member in model.members if isinstance(member, LeNet)]
    logits = torch.stack([p.logits for p in points])
    if callable(model.average):
        with torch.enable_grad():
            logits.requires_grad_(True)
            losses = capped_loss(model.combine(logits), labels, cap)
            (v,) = torch.autograd.grad(losses.sum() / len(x), logits)
    else:  # by hand, which for so few numbers takes a fraction of automatic differentiation's time
        if model.average == "logits":
            logits = logits.mean(0, keepdim=True)
        log_probabilities = logits.log_softmax(2)
        index = labels.expand(len(logits), -1)[..., None]
        true = log_probabilities.gather(2, index)
        share = true.softmax(0) / len(x)  # of each member in the probability of the true class
        losses = math.log(len(logits)) - true.logsumexp(0)[:, 0]
        if cap is not None:
            share *= (losses <= cap)[:, None]
            losses = losses.clamp(max=cap)
        v = (log_probabilities.exp_() * share).scatter_add_(2, index, -share)
        if model.average == "logits":
            v = (v / len(points)).expand(len(points), -1, -1)
    return functools.reduce(torch.add, (p.vjp_sum(v_m) for p, v_m in zip(points, v, strict=True)))[
        None
    ], losses.detach()
