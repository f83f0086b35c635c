"""Losses that an attack ascends, and their gradient with respect to a shared perturbation.

A loss maps log-probabilities to one number per image. :func:`loss_gradient` finds its gradient at the logits, which are
few; the rest is the model's own derivative, by compiled loops or autograd.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from jacobian_ensembles.attacks.outcome import note_step
from jacobian_ensembles.attacks.summing import summed_gradient
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.models.door import scores
from jacobian_ensembles.models.lenet import LeNet, compiled


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
            :class:`~jacobian_ensembles.ensembles.ensemble.Ensemble` of LeNets on a CPU uses their compiled loops,
            anything else automatic differentiation.
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
    if loss == "members" and not isinstance(model, Ensemble):
        loss = "cross_entropy"
    size = len(x) // groups
    cap = None if targeted else cap
    if isinstance(model, Ensemble) and all(compiled(member, x) for member in model.members):
        parts = zip(x.split(size), labels.split(size), strict=True)
        found = [_compiled_gradient(model, part, y, cap, loss) for part, y in parts]
        gradient, losses = (torch.cat(tensors) for tensors in zip(*found, strict=True))
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
    bounded = loss in ("probability", "margin")
    note_step(gradient, losses, 0.0 if targeted else 1.0 if bounded else cap)
    return gradient.nan_to_num(nan=0.0)


def _derivative(total: Tensor, at: Tensor) -> Tensor:
    """The gradient of a scalar, shaped like ``at``; zero where the model detaches."""
    if not total.requires_grad:
        return torch.zeros_like(at)
    (found,) = torch.autograd.grad(total, at, allow_unused=True, materialize_grads=True)
    return found


def _compiled_gradient(
    model: Ensemble, x: Tensor, labels: Tensor, cap: float | None, loss: str
) -> tuple[Tensor, Tensor]:
    """The gradient (1, 1, 28, 28) of one group's mean loss and its losses (B,), by the LeNets' compiled loops."""
    points = [member.linearize(x) for member in model.members if isinstance(member, LeNet)]
    v, losses = _logits_gradient(model, torch.stack([p.logits for p in points]), labels, cap, loss)
    gradient = functools.reduce(torch.add, (p.vjp_sum(v_m) for p, v_m in zip(points, v, strict=True)))
    return gradient[None], losses.detach()


def _logits_gradient(
    model: Ensemble, logits: Tensor, labels: Tensor, cap: float | None, loss: str
) -> tuple[Tensor, Tensor]:
    """The mean loss's gradient with respect to the learners' logits, (M, B, C), and the losses (B,)."""
    if callable(model.average) or loss != "cross_entropy":
        with torch.enable_grad():
            logits.requires_grad_(True)
            out = logits.log_softmax(-1) if loss == "members" else model.combine(logits)
            losses = LOSSES[loss](out, labels, cap)
            return _derivative(losses.sum() / len(labels), logits), losses
    # by hand: for so few numbers this takes a fraction of automatic differentiation's time
    members = len(logits)
    if model.average == "logits":
        logits = logits.mean(0, keepdim=True)
    log_probabilities = logits.log_softmax(2)
    index = labels.expand(len(logits), -1)[..., None]
    true = log_probabilities.gather(2, index)
    share = true.softmax(0) / len(labels)  # of each member in the probability of the true class
    losses = math.log(len(logits)) - true.logsumexp(0)[:, 0] if len(logits) > 1 else -true[0, :, 0]
    if cap is not None:
        share *= (losses <= cap)[:, None]
        losses = losses.clamp(max=cap)
    v = (log_probabilities.exp_() * share).scatter_add_(2, index, -share)
    return (v / members).expand(members, -1, -1) if model.average == "logits" else v, losses
