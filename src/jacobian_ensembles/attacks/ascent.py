"""Steps along the gradient, of several perturbations side by side: what attacks by gradients share.

No torch, until there are tensors.
"""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jacobian_ensembles.attacks.draws import Draws
from jacobian_ensembles.attacks.outcome import note_steps
from jacobian_ensembles.data.interop import like, stack, to_numpy
from jacobian_ensembles.ensembles.in_engine import in_engine
from jacobian_ensembles.evaluation.accuracy import perturb, sizes
from jacobian_ensembles.models.compiled import Compiled, rows
from jacobian_ensembles.models.evaluation_mode import without_gradients

if TYPE_CHECKING:
    from torch import Tensor, nn

    from jacobian_ensembles.attacks.sgd_uap import SgdOptions

log = logging.getLogger(__name__)
_TINY = np.finfo(np.float64).tiny  # divided by in place of a size of zero


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


def batches(size: int, batch: int, iterations: int, rng: Draws) -> Iterator[np.ndarray]:
    """Yield ``iterations`` index batches (batch,), reshuffling whenever fewer than a batch are left."""
    batch = min(batch, size)
    order, at = rng.permutation(size), 0
    for _ in range(iterations):
        if at + batch > size:
            order, at = rng.permutation(size), 0
        yield order[at : at + batch]
        at += batch


def initial_perturbation(shape: Sequence[int], eps: float, init: str, rng: Draws) -> np.ndarray:
    """The perturbation an attack starts from.

    Args:
        shape: Shape of one input.
        eps: Radius.
        init: ``zero``; ``uniform`` in [-eps, eps]; or ``sign``, each pixel -eps or eps.
        rng: Where it is drawn from.

    Returns:
        float32, of ``shape``.

    Raises:
        ValueError: If ``init`` is none of the three.
    """
    if init == "zero":
        return np.zeros(shape, np.float32)
    draw = rng.uniform(shape) * np.float32(2) - np.float32(1)
    radius = np.float32(eps)
    if init == "uniform":
        found: np.ndarray = radius * draw
        return found
    if init == "sign":
        return np.where(draw < 0, -radius, radius).astype(np.float32)
    raise ValueError(f"init must be 'zero', 'uniform' or 'sign'. Got {init!r}.")


def in_parts(craft: Callable[[slice], Any], count: int, gpu: bool, side_by_side: int | None, what: str) -> Any:
    """Craft perturbations some at a time, half as many whenever memory runs out.

    Args:
        craft: Crafts the perturbations of a slice, (G, ...).
        count: K.
        gpu: Whether they are crafted on a GPU.
        side_by_side: Perturbations crafted at once. None for all on a GPU, to fill it, and one on a CPU, where more
            would be slower.
        what: What is crafted, for the log.

    Returns:
        (K, ...).
    """
    chunk = side_by_side or (count if gpu else 1)
    deltas: list[Any] = []
    started = time.monotonic()
    while len(deltas) < count:
        part = slice(len(deltas), min(len(deltas) + chunk, count))
        try:
            deltas.extend(craft(part))
        except RuntimeError as error:
            if chunk == 1 or not _out_of_memory(error):
                raise
            chunk = (part.stop - part.start + 1) // 2
            log.warning("%s: out of memory; going on with %d perturbations side by side", what, chunk)
            continue
        done, elapsed = len(deltas), time.monotonic() - started
        log.info(
            "%s: %d/%d perturbations, %.1f s each, %.0f s left",
            what, done, count, elapsed / done, elapsed / done * (count - done),
        )  # fmt: skip
    return stack(deltas)


def _out_of_memory(error: RuntimeError) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


@without_gradients()
def ascend(
    model: Any,
    images: Any,
    labels: Any,
    eps: float,
    settings: SgdOptions,
    seeds: Sequence[int],
    targets: np.ndarray | None = None,
    start: Any = None,
) -> Any:
    """Craft the perturbations of G seeds side by side: see :class:`~jacobian_ensembles.attacks.sgd_uap.SgdUap`.

    Args:
        model: In evaluation mode.
        images: (N, ...), in [0, 1]; with the labels tensors, or arrays for LeNets in the engine, which may be stored
            images, uint8.
        labels: (N,).
        eps: Radius.
        settings: The attack's options.
        seeds: G generator seeds.
        targets: (G,), a class for each; None for no targets.
        start: (G, ...), where to begin; None for what the settings say.

    Returns:
        (G, ...), each within eps.
    """
    if targets is not None and settings.target == "class":
        chosen = labels == int(targets[0])
        if not chosen.any():
            raise ValueError(f"target: got 'class', but there is no image of class {int(targets[0])} to craft on.")
        images, labels, targets = images[chosen], labels[chosen], None
    rngs = [Draws(seed) for seed in seeds]
    if start is None:
        shape = tuple(images.shape[1:])
        start = like(np.stack([initial_perturbation(shape, eps, settings.init, rng) for rng in rngs]), images)
    if not settings.iterations:
        return start
    size, batch, steps = len(labels), settings.batch_size, settings.iterations
    plan = np.stack([np.stack(list(batches(size, batch, steps, rng))) for rng in rngs])
    if (found := in_engine(model, images)) is not None:
        aims = [None] * len(seeds) if targets is None else targets
        return stack([
            _ascend_compiled(found, images, labels, eps, settings, *own)
            for own in zip(start, plan, aims, strict=True)
        ])  # fmt: skip
    return _ascend_differentiated(model, images, labels, eps, settings, start, plan, targets)


def _ascend_differentiated(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    settings: SgdOptions,
    start: Tensor,
    plan: np.ndarray,
    targets: np.ndarray | None,
) -> Tensor:
    """The steps of :func:`ascend` for all perturbations at once, by torch."""
    import torch

    from jacobian_ensembles.attacks.losses import loss_gradient

    norm, groups = settings.norm, len(plan)
    delta = start.to(images.device)
    # to the device once, not once per step: the loop never waits for it
    indices = torch.from_numpy(plan).transpose(0, 1).to(images.device)
    aims = None if targets is None else torch.from_numpy(targets).to(images.device)

    def gradient_at(point: Tensor, index: Tensor) -> Tensor:
        """The gradient at the images with indices (G, B) under perturbations (G, ...), shaped like these."""
        chosen = images.index_select(0, index.flatten()).unflatten(0, index.shape)  # faster than images[index]
        x = perturb(chosen, point[:, None], settings.clip).flatten(0, 1)
        y = labels[index] if aims is None else aims[:, None].expand_as(index)
        return loss_gradient(model, x, y.flatten(), settings.loss_cap, groups, settings.loss, aims is not None)

    velocity = torch.zeros_like(delta)
    for i, index in enumerate(indices):
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


_AT_ONCE = 25  # steps between two reports of progress


def _ascend_compiled(
    model: Compiled,
    images: Any,
    labels: Any,
    eps: float,
    settings: SgdOptions,
    start: Any,
    plan: np.ndarray,
    target: int | None,
) -> Any:
    """The steps of :func:`ascend` for one perturbation, (...), in the engine."""
    delta = to_numpy(start).flatten()  # a copy
    velocity = np.zeros_like(delta)
    y = to_numpy(labels).astype(np.int64)
    if target is not None:
        y[:] = target
    stored = images.dtype == np.uint8
    x = images if stored else rows(images)
    cap, bounded = None if target is not None else settings.loss_cap, settings.loss in ("probability", "margin")
    limit = 0.0 if target is not None else 1.0 if bounded else cap
    for i in range(0, len(plan), _AT_ONCE):
        part = np.ascontiguousarray(plan[i : i + _AT_ONCE])
        of_part = (x, y, part)
        if stored:  # only what these steps need becomes numbers
            chosen, where = np.unique(part, return_inverse=True)
            of_part = (rows(x[chosen]), y[chosen], where.reshape(part.shape))
        _, notes = model.networks.ascend(
            *of_part, delta, velocity, eps=eps, step=settings.step, first=i, steps=len(plan),
            decay=settings.step_rule == "decay", momentum=settings.momentum, parts=settings.inner_batches,
            norm=settings.norm, clip=settings.clip, average=model.average, loss=settings.loss, cap=cap,
            targeted=target is not None,
        )  # fmt: skip
        largest, least = notes.reshape(-1, 2).T
        note_steps(largest, least, limit, part.size)
        log.debug("attack", extra={"progress": (min(i + _AT_ONCE, len(plan)), len(plan))})
    return like(delta.reshape(tuple(start.shape)), start)
