"""Certificates: how many images no perturbation up to a size can take from a model, whatever the attack."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.evaluation.statistics import wilson_interval
from jacobian_ensembles.models.door import admit, scores
from jacobian_ensembles.models.evaluation_mode import evaluating
from jacobian_ensembles.models.intervals import Margins, layers_of, margin_bounds

if TYPE_CHECKING:
    import pandas as pd

_TRIED = 16  # images on which the bounds are checked against the model itself
_BATCH = 100  # images at a time: what a CPU's cache holds of their bounds
_NUMBERS = 2**22  # how many differences of last-layer weights a batch may need


@dataclass(frozen=True)
class Certificate:
    """Which images a model provably classifies correctly under every perturbation of a size.

    Attributes:
        eps: (E,) radii, the largest change of a pixel.
        certified: (E, N) booleans: False says that nothing is proved, not that there is an attack.
        clip: Whether perturbed images are clipped to [0, 1].
    """

    eps: np.ndarray
    certified: np.ndarray
    clip: bool

    @property
    def accuracies(self) -> np.ndarray:
        """The accuracy that no attack can fall below on these images: (E,), in [0, 1]."""
        return np.asarray(self.certified.mean(axis=1))

    def to_pandas(self, confidence: float = 0.95) -> pd.DataFrame:
        """One row per radius.

        Args:
            confidence: Level of the Wilson intervals over images.

        Returns:
            A frame indexed by ``eps``, with columns ``certified``, a rate, ``low`` and ``high``.
        """
        import pandas as pd

        intervals = [wilson_interval(int(row.sum()), len(row), confidence) for row in self.certified]
        frame = pd.DataFrame({"certified": self.accuracies}, index=pd.Index(self.eps, name="eps"))
        return frame.assign(low=[low for low, _ in intervals], high=[high for _, high in intervals])


def certify(
    model: nn.Module, images: Tensor, labels: Tensor, eps: float | Sequence[float], clip: bool = False
) -> Certificate:
    """Prove which images a model classifies correctly under every perturbation up to a size.

    Each image may have a perturbation of its own, so the rate is a lower bound on accuracy under any attack in the
    maximum norm, universal or not. Bounds are intervals, which are fast and loose: a network that was not trained for
    them (objective ``ibp``) is certified for small radii only. They allow for the rounding of the network's own
    arithmetic, see :mod:`~jacobian_ensembles.models.intervals`.

    An ensemble is certified by the mean of its learners' bounds: of margins where it averages logits; where it averages
    probabilities, of p_y - p_j, whose exact range follows from those of the margins.

    Args:
        model: A LeNet, or a ``torch.nn.Sequential`` of linear layers and convolutions, ReLU and tanh, pooling,
            flattening and dropout, with logits at its end; or an
            :class:`~jacobian_ensembles.ensembles.ensemble.Ensemble` of such.
        images: (N, ...), float in [0, 1], on the model's device.
        labels: (N,) integers.
        eps: One or E radii, >= 0.
        clip: Whether the attack clips x + delta to [0, 1].

    Returns:
        A bit per radius and image.

    Raises:
        ValueError: If images are not in [0, 1], labels not in [0, C), a radius is negative, the model has a part for
            which there are no bounds, computes in another precision than float32 and float64, or gives other scores
            than its layers do.

    References:
        Gowal et al.: On the Effectiveness of Interval Bound Propagation for Training Verifiably Robust Models,
        arXiv:1810.12715.
    """
    images, labels = admit(model, images, labels)
    radii = np.atleast_1d(np.asarray(eps, dtype=np.float64))
    if radii.ndim != 1 or not (np.isfinite(radii) & (radii >= 0)).all():
        raise ValueError(f"eps must be one or several finite radii >= 0, in pixel units. Got {eps!r}.")
    nets = list(model.members) if isinstance(model, Ensemble) else [model]
    average = model.average if isinstance(model, Ensemble) else None
    if callable(average):
        name = getattr(average, "__name__", type(average).__name__)
        raise ValueError(f"bounds are known for averages of logits and of probabilities. Got the function {name}.")
    unit = max(_unit(net, images) for net in nets)
    with evaluating(model), torch.no_grad():
        layers = [[copy.deepcopy(layer).double() for layer in layers_of(net)] for net in nets]
        _check(nets, layers, images[:_TRIED], labels[:_TRIED], unit)
        classes = scores(nets[0], images[:1]).shape[1]
        last = layers[0][-1]
        features = last.in_features if isinstance(last, nn.Linear) else classes
        batch = max(1, min(_BATCH, _NUMBERS // (classes * features)))
        certified = torch.zeros(len(radii), len(labels), dtype=torch.bool, device=images.device)
        left = torch.arange(len(labels), device=images.device)
        for e in radii.argsort():  # what is lost at a radius is lost at every larger one
            if len(left):
                proved = [
                    _proved(layers, average, images[i], labels[i], radii[e], clip, unit) for i in left.split(batch)
                ]
                left = left[torch.cat(proved)]
                certified[e, left] = True
    return Certificate(radii, certified.cpu().numpy(), clip)


def _unit(net: nn.Module, images: Tensor) -> float:
    """The unit roundoff of a network's arithmetic, or of its images' if that is larger."""
    kinds = {p.dtype for p in (*net.parameters(), images)}
    if images.is_cuda and (torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32):
        raise ValueError(
            "bounds are for full float32. Got TF32, switched on: set torch.backends.cudnn.allow_tf32 and "
            "torch.backends.cuda.matmul.allow_tf32 to False."
        )
    if not kinds <= {torch.float32, torch.float64}:
        raise ValueError(f"bounds are for float32 and float64. Got {', '.join(sorted(map(str, kinds)))}: use .float().")
    return max(torch.finfo(kind).eps / 2 for kind in kinds)


def _box(x: Tensor, eps: float, clip: bool, unit: float) -> tuple[Tensor, Tensor]:
    """The centre and the radius of every pixel of x + delta, as it is computed."""
    x = x.double()
    radius = eps + 3 * unit * (x.abs() + eps)  # eps and the sum are rounded; the excess covers this arithmetic, too
    if not clip:
        return x, radius
    low, high = (x - radius).clamp(0, 1), (x + radius).clamp(0, 1)
    return (low + high) / 2, (high - low) / 2 + unit * radius


def _check(
    nets: Sequence[nn.Module], layers: Sequence[Sequence[nn.Module]], x: Tensor, labels: Tensor, unit: float
) -> None:
    """Refuse a network whose scores lie outside its own bounds without any perturbation."""
    for net, own in zip(nets, layers, strict=True):
        out = scores(net, x).double()
        margins = out.gather(1, labels.unsqueeze(1)) - out
        found = margin_bounds(own, *_box(x, 0.0, False, unit), labels, unit)
        off = torch.maximum(found.low - margins, margins - found.high).max().item()
        if off > 0:
            raise ValueError(
                f"{type(net).__name__} must compute what its layers do. Its scores lie {off:.3g} "
                "outside their bounds: remove hooks and whatever else changes its scores."
            )


def _proved(
    layers: Sequence[Sequence[nn.Module]],
    average: str | None,
    x: Tensor,
    labels: Tensor,
    eps: float,
    clip: bool,
    unit: float,
) -> Tensor:
    """Which images (B,) are right whatever is added."""
    found = [margin_bounds(own, *_box(x, eps, clip, unit), labels, unit) for own in layers]
    bounds = [_probability_margins(m, labels) if average == "probabilities" else m.low for m in found]
    low = torch.stack(bounds).mean(0)
    slack = torch.zeros_like(low[:, :1])
    if average is not None:
        # two log-probabilities, as an ensemble computes them from its M learners' logits of size Z at most, are
        # together off by less than this; a difference of probabilities is smaller than one of their logarithms
        members, classes = len(layers), low.shape[1]
        size = torch.stack([m.size for m in found]).amax(0).unsqueeze(1)
        slack = 4 * unit * ((members + 7) * size + 7 * classes + 4 * members + 4)
    return (low > slack).scatter(1, labels.unsqueeze(1), True).all(1)


def _probability_margins(margins: Margins, labels: Tensor) -> Tensor:
    """The least that p_y - p_j can be for each other class j, (B, C), for logits whose margins have independent bounds.

    With t_k = exp(z_k - z_y), p_y - p_j = (1 - t_j) / (1 + sum_k t_k). It falls in t_j; in every other t_k it falls
    where t_j < 1 and rises where t_j > 1.
    """
    largest, smallest = (-margins.low).clamp(max=600).exp(), (-margins.high).clamp(max=600).exp()
    own = labels.unsqueeze(1)
    largest, smallest = largest.scatter(1, own, 0.0), smallest.scatter(1, own, 0.0)
    others = smallest.sum(1, keepdim=True) - smallest
    total = torch.where(largest <= 1, largest.sum(1, keepdim=True), largest + others)
    return (1 - largest) / (1 + total)
