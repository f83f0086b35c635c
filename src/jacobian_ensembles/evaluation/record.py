"""One record per evaluated model: what it gets right, clean and under perturbations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from jacobian_ensembles.evaluation.accuracy import correct, predictions, sizes
from jacobian_ensembles.models.door import admit
from jacobian_ensembles.models.evaluation_mode import evaluating, own_modes

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Evaluation:
    """What a model gets right, clean and under each of K perturbations.

    Attributes:
        labels: (N,) true classes.
        predicted: (N,) predicted classes of the clean images.
        correct: (K, N) booleans: whether each image is still classified correctly.
        sizes: (K,) how large each perturbation is, in the units of eps.
        norm: What ``sizes`` measure: ``linf``, the largest change of a pixel, or ``l2``, the root of the mean squared
            change.
    """

    labels: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray
    sizes: np.ndarray
    norm: str = "linf"

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
        """The index of the most harmful perturbation, the first in a tie.

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

        from jacobian_ensembles.evaluation.statistics import wilson_interval

        rows = np.vstack([(self.predicted == self.labels)[None], self.correct])
        intervals = [wilson_interval(int(row.sum()), len(row), confidence) for row in rows]
        return pd.DataFrame(
            {"size": [0.0, *self.sizes], "accuracy": rows.mean(axis=1)},
            index=pd.Index(["clean", *range(len(self.correct))], name="perturbation"),
        ).assign(low=[low for low, _ in intervals], high=[high for _, high in intervals])

    def per_class(self) -> pd.DataFrame:
        """Accuracy per true class: a row per class, with the index of :meth:`to_pandas` as columns."""
        import pandas as pd

        rows = np.vstack([(self.predicted == self.labels)[None], self.correct])
        table = pd.DataFrame(rows.T, columns=["clean", *range(len(self.correct))])
        return table.groupby(pd.Series(self.labels, name="class")).mean()


@own_modes()
def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    deltas: Tensor | None = None,
    clip: bool = False,
    batch: int | None = None,
    norm: str = "linf",
) -> Evaluation:
    """Evaluate any classifier, clean and under perturbations.

    Args:
        model: Maps (B, ...) to scores (B, C); it is put in evaluation mode meanwhile.
        images: (N, ...), float in [0, 1], on the model's device.
        labels: (N,) integers.
        deltas: (K, ...), K perturbations; None for the clean accuracy alone.
        clip: Clip perturbed images to [0, 1].
        batch: Images at a time; None for what suits the device.
        norm: How the perturbations' sizes are measured: ``linf`` or ``l2``, see
            :func:`~jacobian_ensembles.evaluation.accuracy.sizes`.

    Returns:
        The record, as NumPy arrays.

    Raises:
        ValueError: If images are not in [0, 1], labels not in [0, C), scores not (B, C), or shapes do not match.
    """
    images, labels = admit(model, images, labels)
    if deltas is None:
        deltas = images.new_zeros((0, *images.shape[1:]))
    if not isinstance(deltas, Tensor) or deltas.shape[1:] != images.shape[1:]:
        got = tuple(deltas.shape) if isinstance(deltas, Tensor) else type(deltas).__name__
        raise ValueError(f"deltas must be (K, {tuple(images.shape[1:])}), one perturbation each. Got {got}.")
    if not deltas.is_floating_point():
        raise ValueError(f"deltas must be floats, in the unit of images in [0, 1]. Got {deltas.dtype}.")
    deltas = deltas.detach().to(images)
    if not deltas.isfinite().all():
        raise ValueError("deltas must be finite. Got NaN or infinity: an attack without gradients may give that.")
    if deltas.numel() and (most := float(deltas.abs().max())) > 1:
        raise ValueError(f"deltas must change no pixel by more than 1. Got {most:.4g}: divide what is of 255 by 255.")
    with evaluating(model):
        return Evaluation(
            labels=labels.cpu().numpy(),
            predicted=predictions(model, images, batch).numpy(),
            correct=correct(model, images, labels, deltas, clip, batch).numpy(),
            sizes=sizes(deltas, norm).cpu().numpy(),
            norm=norm,
        )
