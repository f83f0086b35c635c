"""Universal adversarial perturbations by iterated stochastic gradient descent (SGD-UAP)."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from jacobian_ensembles.config import Attack
from jacobian_ensembles.data import load_split
from jacobian_ensembles.devices import prepare_device
from jacobian_ensembles.ensembles import Ensemble, load_ensemble
from jacobian_ensembles.evaluation import check_images, correct, perturb
from jacobian_ensembles.extensions import resolve
from jacobian_ensembles.lenet import LeNet
from jacobian_ensembles.models import evaluating
from jacobian_ensembles.records import save_uaps
from jacobian_ensembles.seeding import derive_seed

log = logging.getLogger(__name__)


def project(delta: Tensor, eps: float) -> Tensor:
    """Project onto the L-infinity ball of radius eps: any shape, element by element."""
    return delta.clamp(-eps, eps)


def capped_loss(log_probabilities: Tensor, labels: Tensor, cap: float | None) -> Tensor:
    """The attack's loss of every sample: its cross-entropy, but no more than ``cap``.

    A sample beyond the cap, already misclassified with confidence, no longer steers the perturbation.

    Args:
        log_probabilities: (B, C).
        labels: (B,).
        cap: In nats; None for no cap.

    Returns:
        (B,).
    """
    losses = -log_probabilities.gather(1, labels[:, None]).squeeze(1)
    return losses if cap is None else losses.clamp(max=cap)


def loss_gradient(model: nn.Module, x: Tensor, labels: Tensor, cap: float | None, groups: int = 1) -> Tensor:
    """The gradient of the attack's mean loss with respect to a perturbation shared by each group of samples.

    Where the perturbed input was clipped to [0, 1], the gradient passes straight through the clip: it is
    taken at the clipped input as if the clip were not there. The true derivative is zero wherever a pixel
    is at its bound, which four fifths of MNIST's are; with it those pixels would never be attacked again.

    Args:
        model: Maps inputs to logits or log-probabilities (B, C); an :class:`~jacobian_ensembles.ensembles.Ensemble`
            of LeNets uses their explicit gradient, anything else automatic differentiation.
        x: (G*B, ...), perturbed inputs of G groups one after another.
        labels: (G*B,).
        cap: See :func:`capped_loss`.
        groups: G.

    Returns:
        (G, ...), the gradient of each group's mean loss.
    """
    size = len(x) // groups
    if isinstance(model, Ensemble) and model.has_explicit_gradient:
        points = [member.linearize(x) for member in model.members if isinstance(member, LeNet)]
        with torch.enable_grad():
            logits = torch.stack([p.logits for p in points]).detach().requires_grad_(True)
            total = capped_loss(model.combine(logits), labels, cap).sum() / size
            (v,) = torch.autograd.grad(total, logits)
        gradients = (p.vjp_sum(v_m, groups) for p, v_m in zip(points, v, strict=True))
        return functools.reduce(torch.add, gradients)
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        total = capped_loss(model(x).log_softmax(1), labels, cap).sum() / size
        (g,) = torch.autograd.grad(total, x)
    return g.reshape(groups, size, *g.shape[1:]).sum(1)


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
    settings: Attack | None = None,
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
        ValueError: If images are not in [0, 1], labels do not match, or eps is not in (0, 1].

    References:
        Co et al.: Jacobian Ensembles, Section 2.1; Shafahi et al.: Universal Adversarial Training (2018).
    """
    check_images(images, labels)
    if not 0 < eps <= 1:
        raise ValueError(f"eps must lie in (0, 1], in pixel units. Got {eps}.")
    settings = settings or Attack()
    chunk = side_by_side or (len(seeds) if images.device.type == "cuda" else 1)
    deltas: list[Tensor] = []
    started = time.monotonic()
    while len(deltas) < len(seeds):
        part = seeds[len(deltas) : len(deltas) + chunk]
        try:
            with evaluating(model):
                deltas += _ascend(model, images, labels, eps, settings, part)
        except torch.OutOfMemoryError:
            if chunk == 1:
                raise
            chunk = (len(part) + 1) // 2
            log.warning("eps %g: out of memory; going on with %d perturbations side by side", eps, chunk)
            continue
        done, elapsed = len(deltas), time.monotonic() - started
        log.info(
            "eps %g: %d/%d perturbations, %.1f s each, %.0f s left",
            eps, done, len(seeds), elapsed / done, elapsed / done * (len(seeds) - done),
        )  # fmt: skip
    return torch.stack(deltas)


def _ascend(
    model: nn.Module, images: Tensor, labels: Tensor, eps: float, settings: Attack, seeds: Sequence[int]
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


#: The built-in attacks. One of your own has the signature of :func:`craft_uaps`, and is called as
#: ``attack(model, images, labels, eps, settings, seeds)``: one perturbation per seed, (K, ...), each within eps.
ATTACKS: dict[str, Callable[..., Tensor]] = {"sgd": craft_uaps}


def _check_deltas(deltas: Tensor, shape: tuple[int, ...], eps: float, method: str) -> None:
    if tuple(deltas.shape) != shape:
        raise ValueError(f"{method}: perturbations of shape {shape} are needed, it returned {tuple(deltas.shape)}.")
    largest = deltas.abs().max().item()
    if not largest <= eps * (1 + 1e-6):
        raise ValueError(f"{method}: it returned a perturbation of size {largest:g}, where eps is {eps:g}.")


def craft_to_file(
    ensemble: str | Path | nn.Module,
    data_path: str | Path,
    path: str | Path,
    *,
    cell: dict[str, str | int | float],
    eps: float,
    first: int,
    last: int,
    settings: Attack,
    seed: int,
    validation_images: int,
    train_images: int | None = None,
    test_images: int | None = None,
    architecture: str = "lenet",
    method: str | None = None,
    device: str = "cpu",
) -> None:
    """Craft a block of perturbations of one model and eps, evaluate each on the test set, store both.

    Args:
        ensemble: The assembled ensemble's file, or any classifier.
        data_path: The stored dataset.
        path: The file to write.
        cell: ``dataset``, ``ensemble``, ``members``, ``lambda`` and ``repetition`` of the model.
        eps: Radius, in (0, 1].
        first: First attack seed of the block.
        last: Last attack seed of the block, included.
        settings: The attack.
        seed: Base seed of the run.
        validation_images: Size of the validation split.
        train_images: Size of the training split where crafting uses it; None for all.
        test_images: Use so many test images only; None for all.
        architecture: See :func:`~jacobian_ensembles.ensembles.load_ensemble`.
        method: See :func:`~jacobian_ensembles.ensembles.load_ensemble`.
        device: ``cpu`` or ``cuda``.

    Raises:
        ExtensionError: If a reference leads nowhere.
        ValueError: If an attack of the user's returns something else than K perturbations within eps.
    """
    target = prepare_device(device)
    limits = {"train": train_images, "validation": None, "test": test_images}
    if not isinstance(ensemble, nn.Module):
        ensemble = load_ensemble(ensemble, int(cell["members"]), architecture, method)
    model = ensemble.to(target)
    (x, y), (test_x, test_y) = (
        load_split(data_path, split, validation_images, limits[split]) for split in (settings.split, "test")
    )
    seeds = [derive_seed("uap", seed, *cell.values(), eps, k) for k in range(first, last + 1)]
    attack = resolve(settings.method, ATTACKS)
    deltas = attack(model, x.to(target), y.to(target), eps, settings, seeds)
    _check_deltas(deltas, (len(seeds), *x.shape[1:]), eps, settings.method)
    bits = correct(model, test_x.to(target), test_y.to(target), deltas, settings.clip)
    save_uaps(path, deltas.cpu().numpy(), bits.numpy(), first, {**cell, "eps": eps})
