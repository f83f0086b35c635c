"""Universal adversarial perturbations by iterated stochastic gradient descent (SGD-UAP)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from jacobian_ensembles.attacks.checks import counting_steps
from jacobian_ensembles.attacks.losses import loss_gradient
from jacobian_ensembles.attacks.settings import SgdSettings
from jacobian_ensembles.evaluation.accuracy import perturb
from jacobian_ensembles.models.door import admit
from jacobian_ensembles.models.evaluation_mode import evaluating

log = logging.getLogger(__name__)


def project(delta: Tensor, eps: float) -> Tensor:
    """Project onto the L-infinity ball of radius eps: any shape, element by element."""
    return delta.clamp(-eps, eps)


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


@torch.no_grad()
def craft_uaps(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    settings: SgdSettings | None = None,
    seeds: Sequence[int] = (0,),
    side_by_side: int | None = None,
) -> Tensor:
    """Craft one universal perturbation per seed: maximise sum_i L(x_i + delta) over ||delta||_inf <= eps.

    Each step moves every pixel by ``settings.step * eps`` (shrinking linearly to zero under ``decay``) along
    the sign of a batch's mean loss gradient, then projects. Labels are the true ones; the last iterate is
    returned. A seed's perturbation does not depend on which other seeds are crafted with it. Where memory
    runs out, half as many are crafted side by side, and so on.

    Args:
        model: Any classifier: maps (B, ...) to logits or log-probabilities (B, C). It is put in evaluation mode for
            the while.
        images: (N, ...), in [0, 1], on the model's device.
        labels: (N,).
        eps: Radius, in (0, 1].
        settings: Steps (with none, the start is returned: random noise, by which an attack is to be judged), batch,
            initialisation, cap, clip; None for the defaults of ``config.yaml``.
        seeds: K generator seeds, one per perturbation.
        side_by_side: Perturbations crafted at a time. None for all on a GPU, which they fill, and one on a CPU,
            which more would slow down.

    Returns:
        (K, ...), each within eps.

    Raises:
        ValueError: If images are not in [0, 1], labels not in [0, C), scores not (B, C), eps not in (0, 1], there are
            no seeds, or no step had a finite gradient other than zero: such an attack proves no robustness.

    References:
        Co et al.: Jacobian Ensembles, Section 2.1; Shafahi et al.: Universal Adversarial Training (2018).
    """
    images, labels = admit(model, images, labels)
    if not 0 < eps <= 1:
        raise ValueError(f"eps must lie in (0, 1], in pixel units. Got {eps}.")
    if not len(seeds):
        raise ValueError("seeds must hold at least one attack seed. Got none.")
    settings = settings or SgdSettings()
    chunk = side_by_side or (len(seeds) if images.device.type == "cuda" else 1)
    deltas: list[Tensor] = []
    started = time.monotonic()
    while len(deltas) < len(seeds):
        part = seeds[len(deltas) : len(deltas) + chunk]
        try:
            with evaluating(model), counting_steps() as steps:
                deltas += _ascend(model, images, labels, eps, settings, part)
        except torch.OutOfMemoryError:
            if chunk == 1:
                raise
            chunk = (len(part) + 1) // 2
            log.warning("eps %g: out of memory; going on with %d perturbations side by side", eps, chunk)
            continue
        steps.check(f"eps {eps:g}")
        done, elapsed = len(deltas), time.monotonic() - started
        log.info(
            "eps %g: %d/%d perturbations, %.1f s each, %.0f s left",
            eps, done, len(seeds), elapsed / done, elapsed / done * (len(seeds) - done),
        )  # fmt: skip
    return torch.stack(deltas)


def _ascend(
    model: nn.Module, images: Tensor, labels: Tensor, eps: float, settings: SgdSettings, seeds: Sequence[int]
) -> Tensor:
    """Craft the perturbations of some seeds side by side: (G, ...)."""
    rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
    delta = torch.stack([initial_perturbation(images.shape[1:], eps, settings.init, rng) for rng in rngs])
    delta = delta.to(images.device)
    if not settings.iterations:
        return delta
    streams = [batches(len(labels), settings.batch_size, settings.iterations, rng) for rng in rngs]
    # to the device once, not once per step: the loop never waits for it
    plan = torch.stack([torch.cat(indices) for indices in zip(*streams, strict=True)]).to(images.device)
    for i, index in enumerate(plan):
        x = images[index].unflatten(0, (len(seeds), -1))
        x = perturb(x, delta[:, None], settings.clip).flatten(0, 1)
        step = settings.step * eps
        if settings.step_rule == "decay":
            step *= 1 - i / settings.iterations
        gradient = loss_gradient(model, x, labels[index], settings.loss_cap, len(seeds))
        delta = project(delta + step * gradient.sign(), eps)
        log.debug("attack", extra={"progress": (i + 1, settings.iterations)})
    return delta


def sgd(model: nn.Module, images: Tensor, labels: Tensor, eps: float, seeds: Sequence[int], **options: Any) -> Tensor:
    """:func:`craft_uaps` as attacks are called (see :data:`~jacobian_ensembles.attacks.registry.ATTACKS`).

    Args:
        model: See :func:`craft_uaps`.
        images: See :func:`craft_uaps`.
        labels: See :func:`craft_uaps`.
        eps: Radius, in (0, 1].
        seeds: K generator seeds.
        **options: Fields of :class:`~jacobian_ensembles.attacks.settings.SgdSettings`.

    Returns:
        (K, ...), each within eps.
    """
    return craft_uaps(model, images, labels, eps, SgdSettings(**options), seeds)
