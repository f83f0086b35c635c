"""Derivatives of cross-entropy and of the Jacobian regulariser (Eq. 1): compiled for LeNets, else by autograd."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jacobian_ensembles.models.compiled import engine, rows
from jacobian_ensembles.models.door import scores
from jacobian_ensembles.models.evaluation_mode import evaluating
from jacobian_ensembles.models.jacobian import linearize, unit_vectors
from jacobian_ensembles.models.lenet import LeNet, compiled, views
from jacobian_ensembles.training.objectives.objective import Model, Terms


def penalty_by_double_backward(logits: Tensor, x: Tensor, directions: Tensor) -> Tensor:
    """The regulariser (1/2B) sum_i ||J(x_i)||_F^2, estimated by random projection, for any differentiable model.

    ||J||_F^2 = C E_v ||v^T J||^2 for v uniform on the unit sphere of R^C (Hoffman et al. 2019, Algorithm 1).
    Differentiating it differentiates through a backward pass.

    Args:
        logits: (B, C), computed from ``x``.
        x: (B, ...), requiring gradients.
        directions: (P, B, C) unit vectors.

    Returns:
        A scalar, differentiable with respect to whatever ``logits`` depend on.
    """
    total = logits.new_zeros(())
    for v in directions:
        (g,) = torch.autograd.grad((logits * v).sum(), x, create_graph=True)
        total = total + g.pow(2).sum()
    return total * logits.shape[1] / (2 * logits.shape[0] * directions.shape[0])


def draw_directions(count: int, batch: int, classes: int, rng: torch.Generator, device: torch.device) -> Tensor:
    """The random projections of one step.

    Args:
        count: P.
        batch: B.
        classes: C.
        rng: CPU generator.
        device: Where they are needed.

    Returns:
        (P, B, C) unit vectors.
    """
    draws = [unit_vectors(batch, classes, rng) for _ in range(count)]
    return torch.stack(draws).to(device, non_blocking=True)


def loss_and_gradients(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    lambda_jr: float,
    directions: Tensor | None = None,
    dropout: torch.Generator | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """The training loss of one learner, cross-entropy + lambda/2 mean ||J||_F^2 (Eq. 1), and its gradient.

    A :class:`LeNet` on a CPU needs no automatic differentiation (see
    :func:`~jacobian_ensembles.engine.passes.training_gradient`); any other module is differentiated twice.

    Args:
        model: A classifier from (B, ...) to logits (B, C).
        x: (B, ...), in [0, 1].
        labels: (B,), in [0, C).
        lambda_jr: Strength of the regulariser, >= 0.
        directions: (P, B, C) unit vectors; needed when ``lambda_jr`` > 0.
        dropout: Generator of a LeNet's dropout masks; None for no dropout.

    Returns:
        The loss, a scalar outside any graph, and its gradients in the order of ``model.parameters()``, omitting
        parameters that require none.

    Raises:
        ValueError: If ``lambda_jr`` > 0 without ``directions``.
    """
    value, gradients, _ = _derivatives(model, x, labels, lambda_jr, directions, dropout, shared=False)
    return value, gradients


def gradients_of(
    net: nn.Module, terms: Terms, labels: Tensor, dropout: torch.Generator | None = None, keep: bool = True
) -> tuple[Tensor, list[Tensor]]:
    """:func:`loss_and_gradients` of an objective's terms.

    Args:
        net: See :func:`loss_and_gradients`.
        terms: What the loss is made of.
        labels: See :func:`loss_and_gradients`.
        dropout: See :func:`loss_and_gradients`.
        keep: Whether the images must stay as they are, even if the net writes to what it is given.

    Returns:
        The loss and its gradients.
    """
    x, lam, v = terms.images, terms.lambda_jr, terms.directions
    value, gradients, _ = _derivatives(net, x, labels, lam, v, dropout, shared=False, keep=keep)
    return value, gradients


def with_shared_gradient(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    lambda_jr: float,
    directions: Tensor | None = None,
    dropout: torch.Generator | None = None,
) -> tuple[Tensor, list[Tensor], Tensor]:
    """:func:`loss_and_gradients`, and the same pass's gradient for a perturbation that all images share.

    Args:
        model: See :func:`loss_and_gradients`.
        x: (B, ...), the perturbed images.
        labels: See :func:`loss_and_gradients`.
        lambda_jr: See :func:`loss_and_gradients`.
        directions: See :func:`loss_and_gradients`.
        dropout: See :func:`loss_and_gradients`.

    Returns:
        Loss and gradients, and the gradient (...) of the mean cross-entropy, without the regulariser, with respect to
        something added to every image.

    Raises:
        ValueError: If ``lambda_jr`` > 0 without ``directions``.
    """
    value, gradients, shared = _derivatives(model, x, labels, lambda_jr, directions, dropout, shared=True)
    assert shared is not None
    return value, gradients, shared


def _derivatives(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    lambda_jr: float,
    directions: Tensor | None,
    dropout: torch.Generator | None,
    shared: bool,
    keep: bool = True,
) -> tuple[Tensor, list[Tensor], Tensor | None]:
    if directions is None:
        if lambda_jr:
            raise ValueError(f"lambda_jr is {lambda_jr:g}: directions (P, B, C) are needed. Got None.")
        directions = x.new_zeros(0)
    common: Tensor | None = None
    network = compiled([model], x)
    if network is None or not isinstance(model, LeNet):
        with torch.enable_grad():
            x = x.detach().requires_grad_(bool(lambda_jr) or shared)
            logits = scores(model, x, keep or x.requires_grad) if dropout is None else model(x, dropout)
            loss = F.cross_entropy(logits, labels)
            if shared:
                (of_each,) = torch.autograd.grad(loss, x, retain_graph=True)
                common = of_each.sum(0)
            if lambda_jr:
                loss = loss + lambda_jr * penalty_by_double_backward(logits, x, directions)
        trained = [p for p in model.parameters() if p.requires_grad]
        return loss.detach(), list(torch.autograd.grad(loss, trained, materialize_grads=True)), common

    passes = engine()
    assert passes is not None
    given = engine_inputs(model, x, labels, lambda_jr, directions, dropout)
    found, gradient, shared_gradient = passes.training_gradient(network, **given, shared=shared)
    parts = zip(model.parameters(), views(gradient, model), strict=True)
    gradients = [part for p, part in parts if p.requires_grad]
    if shared:
        common = torch.from_numpy(shared_gradient).view(x.shape[1:])
    return torch.tensor(found, dtype=x.dtype), gradients, common


def engine_inputs(
    model: LeNet,
    x: Tensor,
    labels: Tensor,
    lambda_jr: float,
    directions: Tensor | None,
    dropout: torch.Generator | None,
) -> dict[str, Any]:
    """What the engine is told of a step: see :func:`~jacobian_ensembles.engine.passes.training_gradient`.

    Args:
        model: See :func:`loss_and_gradients`.
        x: See :func:`loss_and_gradients`.
        labels: See :func:`loss_and_gradients`.
        lambda_jr: See :func:`loss_and_gradients`.
        directions: See :func:`loss_and_gradients`.
        dropout: See :func:`loss_and_gradients`.

    Returns:
        Its images, labels, directions and masks; dropout's masks are drawn here.
    """
    masks = model.masks(len(x), dropout)
    v = None
    if lambda_jr and directions is not None:
        factor = math.sqrt(lambda_jr * model.fc3.out_features / (len(x) * len(directions)))
        v = (directions.float() * factor).contiguous().numpy()
    return {
        "images": rows(x),
        "labels": labels.long().numpy(),
        "directions": v,
        "masks": None if masks is None else masks.numpy(),
    }


def input_gradient(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """The gradient of every image's own cross-entropy with respect to that image, in evaluation mode.

    Args:
        model: A classifier from (B, ...) to logits (B, C).
        x: (B, ...).
        labels: (B,), in [0, C).

    Returns:
        (B, ...), outside any graph.
    """
    with evaluating(model), torch.no_grad():
        at = linearize(model, x)
        v = at.logits.softmax(1)
        v[torch.arange(len(v)), labels] -= 1
        found: Tensor = at.products(v[None])[0]
        return found


def as_model(net: nn.Module, dropout: torch.Generator | None) -> Model:
    """A learner as a function of images alone, with its dropout as in training."""
    return partial(scores, net) if dropout is None else partial(net, dropout=dropout)


def differentiated(loss: object, nets: Sequence[nn.Module], what: str) -> list[list[Tensor]]:
    """The gradients of a loss with respect to the parameters of several nets.

    Args:
        loss: A scalar.
        nets: M of them.
        what: What made the loss, for the message.

    Returns:
        For each net, gradients in the order of ``parameters()``, omitting parameters that require none.

    Raises:
        ValueError: If it is not a scalar, or depends on no parameter.
    """
    if not isinstance(loss, Tensor) or loss.shape != () or not loss.requires_grad:
        got = f"{tuple(loss.shape)}, outside any graph" if isinstance(loss, Tensor) else type(loss).__name__
        if isinstance(loss, Tensor) and loss.requires_grad:
            got = f"a tensor {tuple(loss.shape)}"
        raise ValueError(f"{what} must return a scalar tensor that depends on the model's weights. Got {got}.")
    trained = [[p for p in net.parameters() if p.requires_grad] for net in nets]
    found = iter(torch.autograd.grad(loss, [p for ps in trained for p in ps], materialize_grads=True))
    return [[next(found) for _ in ps] for ps in trained]
