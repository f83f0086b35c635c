"""Images attacked one by one, each by a perturbation of its own: the adversarial-robustness-toolbox's PGD and APGD.

A perturbation of its own harms an image at least as much as one that it shares with all others. Where it seems to harm
less, the attack with gradients is at fault.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from jacobian_ensembles.evaluation.accuracy import predictions
from jacobian_ensembles.models.door import admit, scores
from jacobian_ensembles.models.evaluation_mode import evaluating
from jacobian_ensembles.robustness.toolbox import NAMES, toolbox_version

_BATCH = 250


class _Scores(nn.Module):
    """A model as the toolbox calls it: it always gives log-probabilities, so neither loss sees a second softmax."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return scores(self.model, x).log_softmax(-1)


@contextmanager
def _numpy_draws(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, which the toolbox draws from, and restore it afterwards."""
    before = np.random.get_state()  # noqa: NPY002 - the toolbox uses it
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def accuracy_one_by_one(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    iterations: int = 40,
    clip: bool = False,
    seed: int = 0,
) -> dict[str, float | None]:
    """Accuracy on images attacked one by one, under each of two attacks of the toolbox.

    ``PGD`` starts at the image and takes steps of 2.5 eps / ``iterations`` along the sign of the cross-entropy's
    gradient (Madry et al. 2018). ``APGD`` starts at a random point of the ball, halves its step where it stalls, and
    ascends the difference-of-logits ratio, whose gradient survives saturated scores (Croce and Hein 2020); with fewer
    than three classes, the cross-entropy.

    Args:
        model: Maps (B, ...) to logits or log-probabilities (B, C).
        images: (N, ...), in [0, 1], on the model's device.
        labels: (N,).
        eps: Radius, in pixel units.
        iterations: Steps of each attack.
        clip: Whether perturbed images are clipped to [0, 1], as universal perturbations are.
        seed: Of the random start.

    Returns:
        The accuracy of each of :data:`~jacobian_ensembles.robustness.toolbox.NAMES`, in [0, 1]; None where the toolbox
        is not installed.

    Raises:
        ValueError: See :func:`~jacobian_ensembles.models.door.admit`.
    """
    images, labels = admit(model, images, labels)
    if toolbox_version() is None:
        return dict.fromkeys(NAMES)
    with warnings.catch_warnings():  # of frameworks that are not installed
        warnings.simplefilter("ignore")
        from art.attacks.evasion import AutoProjectedGradientDescent, ProjectedGradientDescentPyTorch
        from art.estimators.classification import PyTorchClassifier
    with evaluating(model), torch.no_grad():
        classes = scores(model, images[:1]).shape[1]
    found: dict[str, float | None] = {}
    with evaluating(model), _numpy_draws(seed):
        wrapped = _Scores(model).eval()
        classifier = PyTorchClassifier(
            model=wrapped,
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(images.shape[1:]),
            nb_classes=classes,
            clip_values=(0.0, 1.0) if clip else None,
            device_type="cpu" if images.device.type == "cpu" else "gpu",
        )
        common = {"eps": eps, "max_iter": iterations, "batch_size": _BATCH, "verbose": False}
        attacks = (
            ProjectedGradientDescentPyTorch(classifier, eps_step=2.5 * eps / iterations, **common),
            AutoProjectedGradientDescent(
                classifier,
                eps_step=2 * eps,
                nb_random_init=1,
                loss_type="difference_logits_ratio" if classes > 2 else "cross_entropy",
                **common,
            ),
        )
        for name, attack in zip(NAMES, attacks, strict=True):
            moved = torch.from_numpy(attack.generate(images.cpu().numpy(), labels.cpu().numpy())).to(images)
            if (moved - images).abs().max() > eps + 1e-5:
                raise ValueError(f"{name}: the toolbox moved a pixel by more than eps = {eps:g}.")
            found[name] = float((predictions(model, moved) == labels.cpu()).double().mean())
    return found
