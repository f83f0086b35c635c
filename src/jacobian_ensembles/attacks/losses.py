"""Losses that an attack ascends, and their gradient with respect to a shared perturbation.

A loss maps log-probabilities to one number per image. LeNets are differentiated by the engine, which has the same
losses (:mod:`jacobian_ensembles.engine.losses`), any other model by autograd.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from jacobian_ensembles.attacks.outcome import note_steps
from jacobian_ensembles.attacks.several import Several
from jacobian_ensembles.attacks.summing import summed_gradient
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.ensembles.in_engine import in_engine
from jacobian_ensembles.models.compiled import rows
from jacobian_ensembles.models.door import scores
from jacobian_ensembles.models.lenet import compiled

if TYPE_CHECKING:
    from jacobian_ensembles.engine.passes import Networks


def capped_loss(log_probabilities: Tensor, labels: Tensor, cap: float | None) -> Tensor:
    """The cross-entropy of every sample, at most ``cap``.

    A sample beyond the cap, already misclassified with confidence, no longer steers the perturbation.

    Args:
        log_probabilities: (..., B, C).
        labels: (B,).
        cap: In nats; None for no cap.

    Returns:
        (..., B).
    """
    losses = -_of(labels, log_probabilities)
    return losses if cap is None else losses.clamp(max=cap)


def probability_loss(log_probabilities: Tensor, labels: Tensor, cap: float | None = None) -> Tensor:
    """One minus the probability of a sample's class: in [0, 1], so it needs no cap.

    Args:
        log_probabilities: (..., B, C).
        labels: (B,).
        cap: Not used.

    Returns:
        (..., B).
    """
    return 1 - _of(labels, log_probabilities).exp()


def margin_loss(log_probabilities: Tensor, labels: Tensor, cap: float | None = None) -> Tensor:
    """The sigmoid of the largest other log-probability minus that of the sample's class: in [0, 1], so it needs no cap.

    It is above one half where the sample is misclassified, and steepest at the decision boundary. The margin is that of
    Carlini and Wagner: Towards Evaluating the Robustness of Neural Networks (2017), Section V.A.

    Args:
        log_probabilities: (..., B, C).
        labels: (B,).
        cap: Not used.

    Returns:
        (..., B).
    """
    index = labels.expand(log_probabilities.shape[:-1])[..., None]
    others = log_probabilities.scatter(-1, index, -math.inf).amax(-1)
    return (others - _of(labels, log_probabilities)).sigmoid()


def members_loss(log_probabilities: Tensor, labels: Tensor, cap: float | None) -> Tensor:
    """The mean over learners of each one's own capped cross-entropy.

    One confident learner, or a flat average, cannot hide the gradients of the others. The idea is that of Yu, Gao, Xu:
    MORA (NeurIPS 2022), without its weights: every learner counts alike, so any that has a gradient at all has a say.

    Args:
        log_probabilities: (M, B, C), of each learner.
        labels: (B,).
        cap: Of each learner's cross-entropy, in nats; None for no cap.

    Returns:
        (B,).
    """
    return capped_loss(log_probabilities, labels, cap).mean(0)


#: Each loss by name. It maps log-probabilities, (B, C) of the model or, under ``members``, (M, B, C) of an ensemble's
#: learners, the classes (B,) and the cap to losses (B,).
LOSSES: dict[str, Callable[[Tensor, Tensor, float | None], Tensor]] = {
    "cross_entropy": capped_loss,
    "probability": probability_loss,
    "margin": margin_loss,
    "members": members_loss,
}


def _of(labels: Tensor, log_probabilities: Tensor) -> Tensor:
    """The log-probabilities (..., B) of the classes (B,) among (..., B, C)."""
    return log_probabilities.gather(-1, labels.expand(log_probabilities.shape[:-1])[..., None]).squeeze(-1)


def loss_gradient(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    cap: float | None,
    groups: int = 1,
    loss: str = "cross_entropy",
    targeted: bool = False,
) -> Tensor:
    """The gradient of the attack's mean loss with respect to a perturbation shared by each group of samples.

    Where the perturbed input was clipped to [0, 1], the gradient passes straight through the clip: it is
    taken at the clipped input as if the clip were not there. The true derivative is zero wherever a pixel
    is at its bound, as four fifths of MNIST's are; with it those pixels would never be attacked again.

    Args:
        model: Maps inputs to logits or log-probabilities (B, C); an
            :class:`~jacobian_ensembles.ensembles.ensemble.Ensemble` of LeNets on a CPU runs in the engine,
            anything else by automatic differentiation. Of :class:`Several` models, the mean of their gradients.
        x: (G*B, ...), perturbed inputs of G groups one after another.
        labels: (G*B,), the true classes, or the targets.
        cap: See :func:`capped_loss`; bounded losses and targeted attacks have none.
        groups: G.
        loss: A name of :data:`LOSSES`. For a model that is not an Ensemble, ``members`` is its cross-entropy.
        targeted: Ascend minus the loss, with ``labels`` as the target classes. There is no cap, as it would leave out
            the samples that are furthest from their target.

    Returns:
        (G, ...), the gradient of each group's mean loss; zero where it is NaN, or the model cannot be differentiated.
        :func:`~jacobian_ensembles.attacks.outcome.counting_steps` counts how often it was unusable.
    """
    if isinstance(model, Several):
        each_model = [loss_gradient(one, x, labels, cap, groups, loss, targeted) for one in model.models]
        return torch.stack(each_model).mean(0)
    if loss == "members" and not isinstance(model, Ensemble):
        loss = "cross_entropy"
    size = len(x) // groups
    cap = None if targeted else cap
    bounded = loss in ("probability", "margin")
    limit = 0.0 if targeted else 1.0 if bounded else cap
    if (found := in_engine(model, x)) is not None:
        how: dict[str, Any] = {"average": found.average, "loss": loss, "cap": cap, "targeted": targeted}
        parts = zip(rows(x).reshape(groups, size, -1), labels.long().reshape(groups, size).numpy(), strict=True)
        each, notes = zip(*(found.networks.gradient(part, y, **how) for part, y in parts), strict=True)
        largest, least = np.stack(notes).T
        note_steps(largest, least, limit, len(x))
        return torch.from_numpy(np.stack(each)).view(groups, *x.shape[1:])
    if isinstance(model, Ensemble) and (members := compiled(list(model.members), x)) is not None:
        of_groups = zip(x.split(size), labels.split(size), strict=True)
        found_parts = [_compiled_gradient(model, members, part, y, cap, loss) for part, y in of_groups]
        gradient, losses = (torch.cat(tensors) for tensors in zip(*found_parts, strict=True))
    else:
        x = x.detach().requires_grad_(True)
        with torch.enable_grad():
            out = model.member_logits(x) if isinstance(model, Ensemble) and loss == "members" else scores(model, x)
            losses = LOSSES[loss](out.log_softmax(-1), labels, cap)
            total = losses.sum() / size
        # the model may detach
        gradient = summed_gradient(total, x, groups) if total.requires_grad else torch.zeros_like(x[:groups])
    if targeted:
        gradient, losses = -gradient, -losses
    note_steps(gradient.abs().flatten(1).amax(1), losses.detach().view(groups, -1).amin(1), limit, len(x))
    return gradient.nan_to_num(nan=0.0)


def _compiled_gradient(
    model: Ensemble, networks: Networks, x: Tensor, labels: Tensor, cap: float | None, loss: str
) -> tuple[Tensor, Tensor]:
    """The gradient (1, ...) of one group's mean loss and its losses (B,), of LeNets averaged by a function."""
    images = rows(x)
    logits = torch.from_numpy(networks.logits(images).copy()).requires_grad_(True)
    with torch.enable_grad():
        losses = LOSSES[loss](logits.log_softmax(-1) if loss == "members" else model.combine(logits), labels, cap)
        total = losses.sum() / len(labels)
    if not total.requires_grad:  # the function may detach
        return torch.zeros_like(x[:1]), losses
    (v,) = torch.autograd.grad(total, logits, allow_unused=True, materialize_grads=True)
    each = [networks.only(m).products(images, v_m[None].contiguous().numpy(), shared=True) for m, v_m in enumerate(v)]
    return torch.from_numpy(functools.reduce(np.add, each)).view(1, *x.shape[1:]), losses.detach()
