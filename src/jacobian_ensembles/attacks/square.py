"""A universal attack that asks for scores only: random search over squares, in the manner of Square Attack.

It needs no gradients, so hiding them does not hinder it: if it does more harm than the attacks that follow them, those
are hindered.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jacobian_ensembles.attacks.losses import margin_loss
from jacobian_ensembles.attacks.settings import SquareSettings
from jacobian_ensembles.evaluation.accuracy import batch_size, perturb
from jacobian_ensembles.models.door import admit, scores
from jacobian_ensembles.models.evaluation_mode import evaluating

log = logging.getLogger(__name__)
#: Of 10,000 queries, those after which the share of the image that a square covers is halved.
_HALVINGS = (10, 50, 200, 500, 1_000, 2_000, 4_000, 6_000, 8_000)


def square_side(query: int, queries: int, share: float, height: int, width: int) -> int:
    """The side of the square that a query changes.

    Args:
        query: The query's number, out of ``queries``.
        queries: How many there are.
        share: Share of the image that the first square covers.
        height: Of the image.
        width: Of the image.

    Returns:
        At least 1, at most the shorter side of the image.
    """
    done = 10_000 * query / queries
    halved = share / 2 ** sum(done > after for after in _HALVINGS)
    return min(max(round(math.sqrt(halved * height * width)), 1), height, width)


@torch.no_grad()
def square(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    seeds: Sequence[int],
    first: int = 0,
    side_by_side: int | None = None,
    **options: Any,
) -> Tensor:
    """Craft universal perturbations from scores alone (for how attacks are called, see :mod:`.registry`).

    A perturbation starts as vertical stripes of -eps and eps. Each query sets a square at a random place to one sign
    per channel, and keeps it if the sigmoid of the margin (:func:`~jacobian_ensembles.attacks.losses.margin_loss`),
    averaged over ``batch_size`` fixed images, grows. The model is asked for the scores of
    ``queries * batch_size`` images per seed, and never for a gradient.

    Args:
        model: Maps (B, ...) to logits or log-probabilities (B, C).
        images: (N, channels, height, width), in [0, 1], on the model's device.
        labels: (N,).
        eps: Radius, in (0, 1].
        seeds: K generator seeds, one per perturbation; each also chooses the images.
        first: Not used.
        side_by_side: Not used: each query builds on what the search has found.
        **options: Fields of :class:`~jacobian_ensembles.attacks.settings.SquareSettings`.

    Returns:
        (K, channels, height, width), each within eps.

    Raises:
        ValueError: If images have no height and width, or the arguments do not fit together.

    References:
        Andriushchenko et al.: Square Attack (ECCV 2020), Algorithms 1 and 2; there for one image.
    """
    settings = SquareSettings(**options)
    images, labels = admit(model, images, labels)
    if images.ndim != 4:
        raise ValueError(f"images must be (N, channels, height, width) for squares. Got {tuple(images.shape)}.")
    if not 0 < eps <= 1:
        raise ValueError(f"eps must lie in (0, 1], in pixel units. Got {eps}.")
    started = time.monotonic()
    with evaluating(model):
        deltas = [_search(model, images, labels, eps, seed, settings) for seed in seeds]
    log.info("eps %g: %d perturbations of squares, %.0f s", eps, len(deltas), time.monotonic() - started)
    return torch.stack(deltas)


def _search(
    model: nn.Module, images: Tensor, labels: Tensor, eps: float, seed: int, settings: SquareSettings
) -> Tensor:
    """One perturbation (channels, height, width)."""
    rng = torch.Generator().manual_seed(seed)
    index = torch.randperm(len(labels), generator=rng)[: settings.batch_size].to(images.device)
    x, y = images[index], labels[index]
    channels, height, width = images.shape[1:]
    at_a_time = batch_size(images.device)

    def signs(*shape: int) -> Tensor:
        return eps * (2.0 * torch.randint(2, shape, generator=rng) - 1).to(images)

    def loss(delta: Tensor) -> Tensor:
        parts = zip(x.split(at_a_time), y.split(at_a_time), strict=True)
        values = [
            margin_loss(scores(model, perturb(part, delta, settings.clip)).log_softmax(-1), of) for part, of in parts
        ]
        return torch.cat(values).mean()

    delta = signs(channels, 1, width).expand(channels, height, width).clone()
    best = loss(delta)
    for query in range(1, settings.queries):
        side = square_side(query, settings.queries, settings.share, height, width)
        top, left = (int(torch.randint(size - side + 1, (), generator=rng)) for size in (height, width))
        candidate = delta.clone()
        window = candidate[:, top : top + side, left : left + side]
        window[:] = signs(channels, 1, 1)
        if torch.equal(candidate, delta):
            window.neg_()  # a query that changes nothing tells nothing
        found = loss(candidate)
        if found > best:
            delta, best = candidate, found
        log.debug("attack", extra={"progress": (query + 1, settings.queries)})
    return delta
