"""A universal attack that asks for scores only: random search over squares, in the manner of Square Attack.

It needs no gradients, so hiding them does not hinder it: if it does more harm than the attacks that follow them, those
are hindered.

No torch until it is called.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from jacobian_ensembles.attacks.attack import UniversalAttack
from jacobian_ensembles.config.settings import PositiveInt, number

if TYPE_CHECKING:
    from torch import Tensor, nn

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


class Square(UniversalAttack):
    """Random search over squares, which asks for scores alone.

    A perturbation starts as vertical stripes of -eps and eps. Each query sets a square at a random place to one sign
    per channel, and keeps it if the sigmoid of the margin (:func:`~jacobian_ensembles.attacks.losses.margin_loss`),
    averaged over ``batch_size`` fixed images, grows. The model is asked for the scores of
    ``queries * batch_size`` images per seed, and never for a gradient. A seed also chooses the images.

    Attributes:
        queries: How many perturbations are tried, one after another; the model scores ``queries * batch_size`` images
            per attack seed.
        batch_size: Images that each perturbation is tried on, the same ones throughout an attack seed.
        share: Share of the image that the first square covers, in (0, 1]; later ones are smaller.
        clip: Clip x + delta to [0, 1]. In a run, the value of the section ``attack``.

    References:
        Andriushchenko et al.: Square Attack (ECCV 2020), Algorithms 1 and 2; there for one image.
    """

    queries: PositiveInt = 1000
    batch_size: PositiveInt = 500
    share: Annotated[float, Field(gt=0, le=1), BeforeValidator(number)] = 0.8
    clip: bool = False

    @property
    def kind(self) -> str:
        """It sees scores only."""
        return "black box"

    @property
    def steps(self) -> int:
        """As many as ``queries``."""
        return self.queries

    def craft(
        self, model: nn.Module, images: Tensor, labels: Tensor, eps: float, seeds: Sequence[int], **_: Any
    ) -> Tensor:
        """See :class:`~jacobian_ensembles.attacks.attack.UniversalAttack`; images have channels, height and width."""
        import torch

        from jacobian_ensembles.models.evaluation_mode import evaluating

        if images.ndim != 4:
            raise ValueError(f"images must be (N, channels, height, width) for squares. Got {tuple(images.shape)}.")
        started = time.monotonic()
        with torch.no_grad(), evaluating(model):
            deltas = [self._search(model, images, labels, eps, seed) for seed in seeds]
        log.info("eps %g: %d perturbations of squares, %.0f s", eps, len(deltas), time.monotonic() - started)
        return torch.stack(deltas)

    def _search(self, model: nn.Module, images: Tensor, labels: Tensor, eps: float, seed: int) -> Tensor:
        """One perturbation (channels, height, width)."""
        import torch

        from jacobian_ensembles.attacks.losses import margin_loss
        from jacobian_ensembles.evaluation.accuracy import batch_size, perturb
        from jacobian_ensembles.models.door import scores

        rng = torch.Generator().manual_seed(seed)
        index = torch.randperm(len(labels), generator=rng)[: self.batch_size].to(images.device)
        x, y = images[index], labels[index]
        channels, height, width = images.shape[1:]
        at_a_time = batch_size(images.device)

        def signs(*shape: int) -> Tensor:
            return eps * (2.0 * torch.randint(2, shape, generator=rng) - 1).to(images)

        def loss(delta: Tensor) -> Tensor:
            parts = zip(x.split(at_a_time), y.split(at_a_time), strict=True)
            values = [
                margin_loss(scores(model, perturb(part, delta, self.clip)).log_softmax(-1), of) for part, of in parts
            ]
            return torch.cat(values).mean()

        delta = signs(channels, 1, width).expand(channels, height, width).clone()
        best = loss(delta)
        for query in range(1, self.queries):
            side = square_side(query, self.queries, self.share, height, width)
            top, left = (int(torch.randint(size - side + 1, (), generator=rng)) for size in (height, width))
            candidate = delta.clone()
            window = candidate[:, top : top + side, left : left + side]
            window[:] = signs(channels, 1, 1)
            if torch.equal(candidate, delta):
                window.neg_()  # a query that changes nothing tells nothing
            found = loss(candidate)
            if found > best:
                delta, best = candidate, found
            log.debug("attack", extra={"progress": (query + 1, self.queries)})
        return delta
