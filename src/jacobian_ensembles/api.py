"""The part of the public interface that the workflow has no use for: training in memory, evaluation as one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from jacobian_ensembles.config import Training
from jacobian_ensembles.data import validation_indices
from jacobian_ensembles.ensembles import Ensemble
from jacobian_ensembles.evaluation import check_images, correct, predictions
from jacobian_ensembles.extensions import resolve, short_name
from jacobian_ensembles.methods import METHODS, Method
from jacobian_ensembles.models import ARCHITECTURES, Builder, evaluating
from jacobian_ensembles.training import train_learners

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Evaluation:
    """What a model gets right, clean and under each of K perturbations.

    Attributes:
        labels: (N,) true classes.
        predicted: (N,) predicted classes of the clean images.
        correct: (K, N) booleans: whether each image is still classified rightly.
        sizes: (K,) the L-infinity norm of each perturbation.
    """

    labels: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray
    sizes: np.ndarray

    @property
    def clean_accuracy(self) -> float:
        """Accuracy on the clean images, in [0, 1]."""
        return float((self.predicted == self.labels).mean())

    @property
    def accuracies(self) -> np.ndarray:
        """Accuracy under each perturbation: (K,), in [0, 1]."""
        return np.asarray(self.correct.mean(axis=1))

    @property
    def worst(self) -> int:
        """The index of the most harmful perturbation, the first of equals.

        Raises:
            ValueError: If no perturbation was evaluated.
        """
        if not len(self.correct):
            raise ValueError("No perturbation was evaluated: pass deltas of shape (K, ...) to evaluate().")
        return int(np.argmin(self.correct.sum(axis=1)))

    @property
    def worst_accuracy(self) -> float:
        """Accuracy under the most harmful perturbation, in [0, 1]."""
        return float(self.accuracies[self.worst])

    def to_pandas(self, confidence: float = 0.95) -> pd.DataFrame:
        """One row for the clean images and one per perturbation.

        Args:
            confidence: Level of the Wilson intervals over images.

        Returns:
            A frame indexed by ``clean``, 0, 1, ..., with columns ``size``, ``accuracy``, ``low`` and ``high``.
        """
        import pandas as pd

        from jacobian_ensembles.metrics import wilson_interval

        rows = np.vstack([(self.predicted == self.labels)[None], self.correct])
        intervals = [wilson_interval(int(row.sum()), len(row), confidence) for row in rows]
        return pd.DataFrame(
            {"size": [0.0, *self.sizes], "accuracy": rows.mean(axis=1)},
            index=pd.Index(["clean", *range(len(self.correct))], name="perturbation"),
        ).assign(low=[low for low, _ in intervals], high=[high for _, high in intervals])

    def per_class(self) -> pd.DataFrame:
        """Accuracy per true class: a row per class, the columns of :meth:`to_pandas`'s index."""
        import pandas as pd

        rows = np.vstack([(self.predicted == self.labels)[None], self.correct])
        table = pd.DataFrame(rows.T, columns=["clean", *range(len(self.correct))])
        return table.groupby(pd.Series(self.labels, name="class")).mean()


def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    deltas: Tensor | None = None,
    clip: bool = False,
    batch: int | None = None,
) -> Evaluation:
    """Evaluate any classifier, clean and under perturbations.

    Args:
        model: Maps (B, ...) to scores (B, C); it is put in evaluation mode for the while.
        images: (N, ...), float in [0, 1], on the model's device.
        labels: (N,) integers.
        deltas: (K, ...), K perturbations; None for the clean accuracy alone.
        clip: Clip perturbed images to [0, 1].
        batch: Images at a time; None for what suits the device.

    Returns:
        The record, as NumPy arrays.

    Raises:
        ValueError: If images are not in [0, 1], or shapes do not match.
    """
    check_images(images, labels)
    if deltas is None:
        deltas = images.new_zeros((0, *images.shape[1:]))
    if deltas.shape[1:] != images.shape[1:]:
        raise ValueError(
            f"deltas must be (K, {tuple(images.shape[1:])}), one perturbation each. Got {tuple(deltas.shape)}."
        )
    deltas = deltas.to(images)
    with evaluating(model):
        return Evaluation(
            labels=labels.cpu().numpy(),
            predicted=predictions(model, images, batch).numpy(),
            correct=correct(model, images, labels, deltas, clip, batch).numpy(),
            sizes=deltas.abs().flatten(1).amax(1).cpu().numpy() if len(deltas) else np.zeros(0),
        )


def train_ensemble(
    images: Tensor,
    labels: Tensor,
    ensemble: str | Method = "voting",
    members: int = 3,
    lambda_jr: float = 0.0,
    *,
    architecture: str | Builder = "lenet",
    options: Mapping[str, Any] | None = None,
    settings: Training | None = None,
    validation: tuple[Tensor, Tensor] | None = None,
    seed: int = 0,
) -> Ensemble:
    """Train an ensemble in memory, as the workflow trains its own.

    Args:
        images: (N, channels, height, width), float in [0, 1], on the device to train on.
        labels: (N,) integers in [0, C).
        ensemble: ``bagging``, ``snapshot``, ``voting``, a reference, or a :class:`~jacobian_ensembles.methods.Method`.
        members: M.
        lambda_jr: Strength of Jacobian regularisation (Eq. 1), >= 0.
        architecture: ``lenet``, a reference, or a builder: called as ``builder(shape, classes, **options)``, it returns
            a module from (B, *shape) in [0, 1] to logits (B, C).
        options: Keyword arguments of the architecture; of a LeNet ``activation`` and ``dropout``.
        settings: Optimiser, rate, batch size, epochs; None for the defaults of ``config.yaml``.
        validation: Images and labels for the check that each learner is better than chance; None holds out a
            stratified tenth of the training images, at most 5,000.
        seed: Of every draw.

    Returns:
        The ensemble, for evaluation, with gradients switched off.

    Raises:
        DivergedError: If a learner did not become better than chance.
        ValueError: If images are not in [0, 1], shapes do not match, or snapshots do not divide the epochs.
    """
    check_images(images, labels)
    settings = settings or Training()
    if validation is None:
        held_out = torch.from_numpy(validation_indices(labels.cpu().numpy(), min(5000, len(labels) // 10), "data"))
        held_out = held_out.to(labels.device)
        kept = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
        kept[held_out] = False
        validation, (images, labels) = (images[held_out], labels[held_out]), (images[kept], labels[kept])
    labels, classes = labels.long(), int(max(labels.max(), validation[1].max())) + 1
    method = resolve(ensemble, METHODS, Method) if isinstance(ensemble, str) else ensemble
    spec: dict[str, Any] = {**(options or {}), "classes": classes}
    builder = None
    if architecture != "lenet":
        builder = resolve(architecture, ARCHITECTURES) if isinstance(architecture, str) else architecture
        spec = {"name": "own", "shape": images.shape[1:], "classes": classes, "options": options or {}, "mean": 0.0}
        spec["std"] = 1.0
    name = short_name(ensemble) if isinstance(ensemble, str) else "own"
    nets: list[nn.Module] = []
    for i in [members] if method.cyclic else range(members):
        identity = (seed, "data", name, lambda_jr, 0, i)
        nets += train_learners(
            (images, labels),
            validation,
            spec,
            settings,
            lambda_jr,
            identity,
            sample=method.sample,
            snapshots=members if method.cyclic else None,
            builder=builder,
        ).nets
    return Ensemble(nets, method.average)
