"""Steps along the gradient, of several perturbations side by side: what attacks by gradients share."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from jacobian_ensembles.attacks.losses import loss_gradient
from jacobian_ensembles.evaluation.accuracy import perturb, sizes

if TYPE_CHECKING:
    from jacobian_ensembles.attacks.sgd_uap import SgdOptions

log = logging.getLogger(__name__)
_TINY = torch.finfo(torch.float64).tiny  # divided by in place of a size of zero


def project(delta: Tensor, eps: float, norm: str = "linf") -> Tensor:
    """Project onto the ball of radius eps.

    Args:
        delta: Any shape, projected element by element; under ``l2`` (G, ...), each of the G perturbations on its own.
        eps: Radius.
        norm: What it bounds, ``linf`` or ``l2``: see :func:`~jacobian_ensembles.evaluation.accuracy.sizes`.

    Returns:
        Like ``delta``.
    """
    if norm == "linf":
        return delta.clamp(-eps, eps)
    return (delta * _each(eps / sizes(delta, norm).clamp(min=eps), delta)).to(delta)


def steepest(gradient: Tensor, norm: str = "linf") -> Tensor:
    """The direction of size one in which a loss grows fastest: the sign of its gradient; under ``l2`` the gradient.

    Args:
        gradient: (G, ...), of G perturbations.
        norm: How size is measured, ``linf`` or ``l2``: see :func:`~jacobian_ensembles.evaluation.accuracy.sizes`.

    Returns:
        Like ``gradient``; zero where it is zero.
    """
    if norm == "linf":
        return gradient.sign()
    return (gradient / _each(sizes(gradient, norm).clamp(min=_TINY), gradient)).to(gradient)


def _each(values: Tensor, like: Tensor) -> Tensor:
    """One double per perturbation, (G,), shaped to broadcast against the perturbations, (G, ...)."""
    return values.double().view(-1, *[1] * (like.ndim - 1))


def batches(size: int, batch: int, iterations: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Yield ``iterations`` index batches (batch,), reshuffling whenever fewer than a batch are left."""
    batch = min(batch, size)
    order = torch.randperm(size, generator=rng)
    at = 0
    for _ in range(iterations):
        if at + batch > size:
            order, at = torch.randperm(size, generator=rng), 0
        yield order[at : at + batch]
        at += batch


def initial_perturbation(shape: Sequence[int], eps: float, init: str, rng: torch.Generator) -> Tensor:
    """The perturbation an attack starts from.

    Args:
        shape: Shape of one input.
        eps: Radius.
        init: ``zero``; ``uniform`` in [-eps, eps]; or ``sign``, each pixel -eps or eps.
        rng: CPU generator.

    Returns:
        A float32 tensor of ``shape``.

    Raises:
        ValueError: If ``init`` is none of the three.
    """
    if init == "zero":
        return torch.zeros(*shape)
    draw = torch.rand(*shape, generator=rng) * 2 - 1
    if init == "uniform":
        return eps * draw
    if init == "sign":
        return eps * torch.where(draw < 0, -1.0, 1.0)
    raise ValueError(f"init must be 'zero', 'uniform' or 'sign'. Got {init!r}.")


def in_parts(
    craft: Callable[[slice], Tensor], count: int, device: torch.device, side_by_side: int | None, what: str
) -> Tensor:
    """Craft perturbations some at a time, half as many whenever memory runs out.

    Args:
        craft: Crafts the perturbations of a slice, (G, ...).
        count: K.
        device: Where they are crafted.
        side_by_side: Perturbations crafted at once. None for all on a GPU, to fill it, and one on a CPU, where more
            would be slower.
        what: What is crafted, for the log.

    Returns:
        (K, ...).
    """
    chunk = side_by_side or (count if device.type == "cuda" else 1)
    deltas: list[Tensor] = []
    started = time.monotonic()
    while len(deltas) < count:
        part = slice(len(deltas), min(len(deltas) + chunk, count))
        try:
            deltas += craft(part)
        except torch.OutOfMemoryError:
            if chunk == 1:
                raise
            chunk = (part.stop - part.start + 1) // 2
            log.warning("%s: out of memory; going on with %d perturbations side by side", what, chunk)
            continue
        done, elapsed = len(deltas), time.monotonic() - started
        log.info(
            "%s: %d/%d perturbations, %.1f s each, %.0f s left",
            what, done, count, elapsed / done, elapsed / done * (count - done),
        )  # fmt: skip
    return torch.stack(deltas)


@torch.no_grad()
def ascend(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    settings: SgdOptions,
    seeds: Sequence[int],
    targets: Tensor | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """Craft the perturbations of G seeds side by side: see :class:`~jacobian_ensembles.attacks.sgd_uap.SgdUap`.

    Args:
        model: In evaluation mode.
        images: (N, ...), in [0, 1].
        labels: (N,).
        eps: Radius.
        settings: The attack's options.
        seeds: G generator seeds.
        targets: (G,), a class for each; None for no targets.
        start: (G, ...), where to begin; None for what the settings say.

    Returns:
        (G, ...), each within eps.
    """
    norm = settings.norm
    if targets is not None and settings.target == "class":
        chosen = labels == targets
        if not chosen.any():
            raise ValueError(f"target: got 'class', but there is no image of class {int(targets)} to craft on.")
        images, labels, targets = images[chosen], labels[chosen], None
    rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
    if start is None:
        start = torch.stack([initial_perturbation(images.shape[1:], eps, settings.init, rng) for rng in rngs])
    delta = start.to(images.device)
    if not settings.iterations:
        return delta
    streams = [batches(len(labels), settings.batch_size, settings.iterations, rng) for rng in rngs]
    # to the device once, not once per step: the loop never waits for it
    plan = torch.stack([torch.stack(indices) for indices in zip(*streams, strict=True)]).to(images.device)

    def gradient_at(point: Tensor, index: Tensor) -> Tensor:
        """The gradient at the images with indices (G, B) under perturbations (G, ...), shaped like these."""
        chosen = images.index_select(0, index.flatten()).unflatten(0, index.shape)  # faster than images[index]
        x = perturb(chosen, point[:, None], settings.clip).flatten(0, 1)
        y = labels[index] if targets is None else targets[:, None].expand_as(index)
        aimed = targets is not None
        return loss_gradient(model, x, y.flatten(), settings.loss_cap, len(seeds), settings.loss, aimed)

    velocity = torch.zeros_like(delta)
    for i, index in enumerate(plan):
        step = settings.step * eps
        if settings.step_rule == "decay":
            step *= 1 - i / settings.iterations
        gradients: list[Tensor] = []
        point = delta
        for part in index.chunk(settings.inner_batches, 1):
            if gradients:
                point = project(point + step * steepest(gradients[-1], norm), eps, norm)
            gradients.append(gradient_at(point, part))
        gradient = functools.reduce(torch.add, gradients)
        if settings.momentum:
            scale = _each(gradient.double().abs().flatten(1).mean(1).clamp(min=_TINY), gradient)
            gradient = velocity = settings.momentum * velocity + (gradient / scale).to(gradient)
        delta = project(delta + step * steepest(gradient, norm), eps, norm)
        log.debug("attack", extra={"progress": (i + 1, settings.iterations)})
    return delta
