"""What an objective is: a training loss with one strength."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jacobian_ensembles.models.door import scores

Model = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Batch:
    """What one learner is trained on in one step.

    Attributes:
        images: (B, ...), in [0, 1].
        labels: (B,), in [0, C).
        classes: C.
        projections: P, of the recipe: random projections per image, where a Jacobian's norm is estimated.
        rng: CPU generator of the objective's draws, the learner's own.
        dropout: Generator of a LeNet's dropout masks; None for no dropout.
    """

    images: Tensor
    labels: Tensor
    classes: int
    projections: int
    rng: torch.Generator
    dropout: torch.Generator | None = None


class Objective:
    """What learners minimise, with one strength: the grid's lambda.

    One of your own derives from this class and defines its :meth:`loss`. An instance serves one training, so what it
    keeps from step to step (a perturbation, say) goes in its attributes. A strength of zero is plain training
    with the cross-entropy, whatever the objective, and no instance is made.

    Attributes:
        together: Whether the M learners of an ensemble are trained side by side, in one job, joined by
            :meth:`coupling`. Such ensembles do not nest: the learners of M = 3 are not the first of those of M = 6.
        strength: > 0.

    Args:
        strength: The grid's lambda, > 0.
        **options: A subclass's own, from ``training.options``; it checks them.
    """

    together: ClassVar[bool] = False

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def loss(self, model: Model, images: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """The loss of one learner on a batch; here its cross-entropy.

        Args:
            model: From (B, ...) to logits (B, C), differentiable twice with respect to images and weights.
            images: (B, ...), in [0, 1].
            labels: (B,), in [0, C).
            rng: CPU generator for whatever is drawn, the learner's own.

        Returns:
            A scalar that depends on the model's weights.
        """
        return F.cross_entropy(model(images), labels)

    def gradients(self, net: nn.Module, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """The loss of one learner and its gradient; here by automatic differentiation of :meth:`loss`.

        Args:
            net: The learner.
            batch: What it is trained on.

        Returns:
            The loss, outside any graph, and its gradients in the order of ``net.parameters()``, omitting parameters
            that require none.

        Raises:
            ValueError: If :meth:`loss` returns anything other than a scalar that depends on the learner.
        """
        with torch.enable_grad():
            loss = self.loss(as_model(net, batch.dropout), batch.images, batch.labels, batch.rng)
        (gradients,) = differentiated(loss, [net], f"{type(self).__name__}.loss")
        return loss.detach(), gradients

    def coupling(self, models: Sequence[Model], images: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """What joins M learners that are trained together, added to the sum of their losses.

        Args:
            models: M of them, from (B, ...) to logits (B, C).
            images: (B, ...), in [0, 1], the same for all; taken from each learner's batch in turn.
            labels: (B,), in [0, C).
            rng: CPU generator, the ensemble's own.

        Returns:
            A scalar that depends on the weights of all models.
        """
        raise NotImplementedError(f"{type(self).__name__} trains learners together: it needs a coupling(...), too.")


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
