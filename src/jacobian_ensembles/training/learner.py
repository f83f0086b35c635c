"""Training of base learners: whole data in memory, every draw seeded."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters

from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.door import scores, try_out
from jacobian_ensembles.models.jacobian import unit_vectors
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.models.registry import Builder, build_net
from jacobian_ensembles.seeding import derive_seed
from jacobian_ensembles.training.objectives import loss_and_gradients
from jacobian_ensembles.training.recipe import Recipe

log = logging.getLogger(__name__)
_LOG_EVERY = 10.0  # seconds between progress lines inside an epoch


class DivergedError(RuntimeError):
    """Training did not produce a usable learner; the message says what happened and what to try."""


@dataclass
class TrainedLearners:
    """What a training run hands on.

    Attributes:
        nets: One learner, or the M snapshots of a snapshot run, for evaluation.
        validation_accuracy: Of each net, in [0, 1].
        history: One record per epoch: epoch, loss, seconds.
    """

    nets: list[nn.Module]
    validation_accuracy: list[float]
    history: list[dict[str, float]] = field(default_factory=list)


def generator(role: str, *identity: str | int | float) -> torch.Generator:
    """A CPU generator for one purpose; see :func:`~jacobian_ensembles.seeding.derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(role, *identity))


def cyclic_cosine(iteration: int, total: int, cycles: int, initial: float) -> float:
    """The learning rate of a cyclic cosine schedule, restarted ``cycles`` times.

    Args:
        iteration: 0-based, in [0, total).
        total: Iterations in all; a multiple of ``cycles``.
        cycles: How many equal cycles; 1 is plain cosine annealing.
        initial: Learning rate at the start of each cycle.

    Returns:
        The learning rate of that iteration, in (0, initial].

    References:
        Huang et al.: Snapshot Ensembles, ICLR 2017, Eq. (2).
    """
    length = total // cycles
    return initial / 2 * (math.cos(math.pi * (iteration % length) / length) + 1)


@torch.no_grad()
def accuracy(net: torch.nn.Module, images: Tensor, labels: Tensor, batch: int = 500) -> float:
    """The share of images classified rightly.

    Args:
        net: Maps (B, ...) to scores (B, C).
        images: (B, ...).
        labels: (B,).
        batch: Images at a time.

    Returns:
        A number in [0, 1].
    """
    parts = zip(images.split(batch), labels.split(batch), strict=True)
    right = sum((scores(net, x).argmax(1) == y).sum().item() for x, y in parts)
    return float(right / len(labels))


def make_optimizer(net: nn.Module, settings: Recipe) -> torch.optim.Optimizer:
    """The optimiser a learner is trained with.

    It sees one vector, of which the net's parameters become views: per step that saves the bookkeeping of ten.
    """
    trained = [p for p in net.parameters() if p.requires_grad]
    vector = nn.Parameter(torch.cat([p.detach().flatten() for p in trained]))  # whatever their memory format
    vector_to_parameters(vector.data, trained)
    if settings.optimizer == "adam":
        return torch.optim.Adam([vector], lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    return torch.optim.SGD(
        [vector],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def apply_gradients(optimizer: torch.optim.Optimizer, gradients: Sequence[Tensor]) -> None:
    """Take a step of an optimiser of :func:`make_optimizer`, on one gradient per trained parameter of the net."""
    (vector,) = optimizer.param_groups[0]["params"]
    # after the first step into the same memory: new pages for 11 million parameters cost more than the step itself
    vector.grad = torch.cat([g.flatten() for g in gradients], out=vector.grad)
    optimizer.step()


def _check_usable(net: nn.Module, validation: tuple[Tensor, Tensor], loss: float, where: str) -> float:
    """The validation accuracy of a net that may be handed on."""
    if not math.isfinite(loss) or not all(p.isfinite().all() for p in net.parameters()):
        what = "its parameters are no longer finite" if math.isfinite(loss) else f"the loss became {loss}"
        raise DivergedError(f"{where}: the learner diverged, {what}. Lower training.learning_rate or lambda.")
    images, labels = validation
    score = accuracy(net.eval(), images, labels)
    bound = _guess(labels)
    if score <= bound:
        raise DivergedError(
            f"{where}: validation accuracy is {score:.1%}, no better than guessing one class ({bound:.1%} with "
            "three standard errors). The learner collapsed; lower training.learning_rate or lambda, or train longer."
        )
    return score


def check_learner(net: nn.Module, images: Tensor, classes: int) -> None:
    """Refuse a network of a user's that cannot be trained on a dataset, before any step is taken.

    Args:
        net: The fresh network.
        images: (B, ...), some training images.
        classes: C of the dataset.

    Raises:
        ValueError: If it has nothing to train, or does not return (B, C) float32 scores.
    """
    with torch.random.fork_rng():
        found = try_out(net, images)
    if found != classes:
        raise ValueError(
            f"the architecture must return {classes} scores, one per class of the dataset. It returned {found}: build "
            "its last layer for the number of classes it is given, as in builder(shape, classes)."
        )
    trained = [p for p in net.parameters() if p.requires_grad]
    kinds = sorted({str(p.dtype) for p in trained})
    if kinds != ["torch.float32"]:
        got = ", ".join(kinds) or "none that requires a gradient"
        raise ValueError(f"the architecture's parameters must be float32. Got {got}: build it with .float().")


def check_validation(labels: Tensor) -> None:
    """Refuse a validation split on which no learner could be told from a guess.

    Args:
        labels: (B,) validation labels.

    Raises:
        ValueError: If even every image right would not be better than guessing one class.
    """
    if len(labels) == 0 or _guess(labels) >= 1:
        common = int(torch.bincount(labels).max()) if len(labels) else 0
        raise ValueError(
            f"the validation split must tell a learner from a guess. Got {len(labels)} images, {common} of one class: "
            "give more, of several classes (data.validation_images, or validation=...)."
        )


def _guess(labels: Tensor) -> float:
    """What a constant guess reaches, plus three standard errors."""
    chance = torch.bincount(labels).max().item() / len(labels)
    return chance + 3 * math.sqrt(chance * (1 - chance) / len(labels))


def train_learners(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    architecture: Architecture,
    settings: Recipe,
    lambda_jr: float,
    identity: tuple[str | int | float, ...],
    sample: Callable[[int, torch.Generator], Tensor] | None = None,
    snapshots: int | None = None,
    builder: Builder | None = None,
) -> TrainedLearners:
    """Train one learner, or one run of M snapshots.

    Args:
        train: Images (B, ...) in [0, 1] and labels (B,), on the device to train on.
        validation: The same, for the final check; never used to choose weights.
        architecture: The network.
        settings: Optimiser, rate, batch, epochs.
        lambda_jr: Strength of Jacobian regularisation (Eq. 1), >= 0, for inputs in [0, 1].
        identity: Whose draws these are (base seed, dataset, ensemble, lambda, repetition, member).
        sample: Which images of ``train`` to train on (see
            :class:`~jacobian_ensembles.ensembles.methods.Method`); None for all.
        snapshots: M: restart the learning rate M times over the epochs and keep a snapshot at the end of each cycle.
            None for one learner.
        builder: Of an architecture that is not built in.

    Returns:
        The trained net or nets, with gradients switched off.

    Raises:
        DivergedError: If the loss is not finite, or a net is at chance on the validation split.
        ValueError: If the snapshots do not divide the epochs or have no cosine to restart, lambda is negative, the
            validation split is too small, or the network returns something else than C scores.
    """
    if not 0 <= lambda_jr < math.inf:
        raise ValueError(f"lambda must be a finite number >= 0. Got {lambda_jr}.")
    check_validation(validation[1])
    with torch.random.fork_rng():  # a user's net may draw its dropout masks from torch's global generator
        torch.manual_seed(derive_seed("global", *identity))
        return _train(train, validation, architecture, settings, lambda_jr, identity, sample, snapshots, builder)


def _train(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    architecture: Architecture,
    settings: Recipe,
    lambda_jr: float,
    identity: tuple[str | int | float, ...],
    sample: Callable[[int, torch.Generator], Tensor] | None,
    snapshots: int | None,
    builder: Builder | None,
) -> TrainedLearners:
    images, labels = train
    if sample is not None:
        chosen = sample(len(labels), generator("bootstrap", *identity)).to(labels.device)
        images, labels = images[chosen], labels[chosen]
    epochs, cycles = settings.epochs, snapshots or 1
    if epochs % cycles:
        raise ValueError(f"{epochs} epochs do not divide into {cycles} equal cycles.")
    if snapshots and settings.schedule != "cosine":
        raise ValueError(f"Snapshots need schedule 'cosine', which they restart. Got {settings.schedule!r}.")

    net = build_net(architecture, builder, generator("init", *identity)).to(images.device)
    if not isinstance(net, LeNet):
        check_learner(net, images, architecture.classes)
    order = generator("order", *identity)
    projection = generator("projections", *identity)
    dropout = generator("dropout", *identity) if isinstance(net, LeNet) and net.dropout else None
    optimizer = make_optimizer(net, settings)

    size, batch = len(labels), min(settings.batch_size, len(labels))
    steps = size // batch  # the last, partial batch of an epoch is dropped; the order changes every epoch
    result = TrainedLearners([], [])
    started = reported = time.monotonic()
    step = 0
    for epoch in range(1, epochs + 1):
        net.train()
        permutation = torch.randperm(size, generator=order).to(labels.device)
        total = images.new_zeros(())
        for index in permutation[: steps * batch].split(batch):
            rate = settings.learning_rate
            if settings.schedule == "cosine":
                rate = cyclic_cosine(step, epochs * steps, cycles, rate)
            for group in optimizer.param_groups:
                group["lr"] = rate
            directions = None
            if lambda_jr:
                draws = [unit_vectors(batch, architecture.classes, projection) for _ in range(settings.projections)]
                directions = torch.stack(draws).to(images.device, non_blocking=True)
            value, gradients = loss_and_gradients(net, images[index], labels[index], lambda_jr, directions, dropout)
            apply_gradients(optimizer, gradients)
            total += value
            step += 1
            log.debug("training", extra={"progress": (step, epochs * steps)})
            if time.monotonic() - reported > _LOG_EVERY:
                reported = time.monotonic()
                _report(epoch, epochs, step, epochs * steps, batch, started, None)
        loss = (total / steps).item()
        result.history.append({"epoch": epoch, "loss": round(loss, 6), "seconds": round(time.monotonic() - started, 2)})
        _report(epoch, epochs, step, epochs * steps, batch, started, loss)
        if not math.isfinite(loss) or epoch % (epochs // cycles) == 0:
            score = _check_usable(net, validation, loss, f"epoch {epoch} of {epochs}")
            log.info("validation accuracy %.2f %%", 100 * score)
            snapshot = copy.deepcopy(net)
            snapshot.zero_grad(set_to_none=True)
            result.nets.append(snapshot.requires_grad_(False))
            result.validation_accuracy.append(score)
    return result


def _report(epoch: int, epochs: int, step: int, steps: int, batch: int, started: float, loss: float | None) -> None:
    elapsed = time.monotonic() - started
    left = elapsed / step * (steps - step)
    text = "" if loss is None else f"loss {loss:.4f}, "
    log.info("epoch %d/%d: %s%.0f images/s, %.0f s left", epoch, epochs, text, step * batch / elapsed, left)
