"""What an objective is: a training loss with one strength. No torch until it is called: a plan reads its options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from jacobian_ensembles.config.settings import Settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Model = Callable[["Tensor"], "Tensor"]


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
        progress: The share of training that is done, in [0, 1]; of snapshots, of their first cycle.
    """

    images: Tensor
    labels: Tensor
    classes: int
    projections: int
    rng: torch.Generator
    dropout: torch.Generator | None = None
    progress: float = 1.0


@dataclass(frozen=True)
class Terms:
    """A loss whose derivatives need no automatic differentiation: cross-entropy + lambda/2 mean ||J||_F^2 (Eq. 1).

    Attributes:
        images: (B, ...), where both are taken.
        lambda_jr: lambda, >= 0.
        directions: (P, B, C) unit vectors, that estimate the norm; needed when lambda > 0.
    """

    images: Tensor
    lambda_jr: float = 0.0
    directions: Tensor | None = None


class Objective:
    """What learners minimise, with one strength: the grid's lambda.

    One of your own derives from this class and defines its :meth:`loss`. An instance serves one training, so what it
    keeps from step to step (a perturbation, say) goes in its attributes. A strength of zero is plain training
    with the cross-entropy, whatever the objective, and no instance is made.

    Attributes:
        together: Whether the M learners of an ensemble are trained side by side, in one job, joined by
            :meth:`coupling`. Such ensembles do not nest: the learners of M = 3 are not the first of those of M = 6.
        Options: A subclass's options from ``training.options``, one field each, checked when it is made. One that
            defines ``__init__(self, strength, ...)`` may check its own instead.
        strength: > 0.
        options: Those of this training.

    Args:
        strength: The grid's lambda, > 0.
        **options: Fields of ``Options``.
    """

    together: ClassVar[bool] = False

    class Options(Settings):
        """None here."""

    options: Any

    def __init__(self, strength: float, **options: Any) -> None:
        self.strength = strength
        self.options = self.Options(**options)

    def prepare(self, net: nn.Module) -> None:
        """Change a fresh learner's weights, in place, before it is trained; here nothing."""

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
        from torch.nn.functional import cross_entropy

        return cross_entropy(model(images), labels)

    def terms(self, net: nn.Module, batch: Batch) -> Terms | None:
        """What :meth:`loss` is made of, where that is all it is; here None: it is differentiated automatically.

        Args:
            net: The learner.
            batch: What it is trained on.
        """
        return None

    def gradients(self, net: nn.Module, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """The loss of one learner and its gradient: of its :meth:`terms`, or of :meth:`loss`.

        One that overrides this needs no terms: they are not asked for.

        Args:
            net: The learner.
            batch: What it is trained on.

        Returns:
            The loss, outside any graph, and its gradients in the order of ``net.parameters()``, omitting parameters
            that require none.

        Raises:
            ValueError: If :meth:`loss` returns anything other than a scalar that depends on the learner.
        """
        import torch

        from jacobian_ensembles.training.objectives.derivatives import as_model, differentiated, gradients_of

        if (terms := self.terms(net, batch)) is not None:
            return gradients_of(net, terms, batch.labels, batch.dropout)
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
