"""Training of base learners: Jacobian-regularised cross-entropy, whole data in memory, every draw seeded."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from jacobian_ensembles.artifacts import write_json
from jacobian_ensembles.checkpoints import save_learners
from jacobian_ensembles.config import Model, Training
from jacobian_ensembles.data import CLASSES, NORMALIZATION, class_count, load_split
from jacobian_ensembles.devices import prepare_device
from jacobian_ensembles.extensions import resolve, short_name
from jacobian_ensembles.jacobian import loss_and_gradients, unit_vectors
from jacobian_ensembles.lenet import LeNet
from jacobian_ensembles.methods import METHODS, Method
from jacobian_ensembles.models import ARCHITECTURES, Builder, build_net, parameter_arrays
from jacobian_ensembles.seeding import derive_seed

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
    right = sum((net(x).argmax(1) == y).sum().item() for x, y in parts)
    return float(right / len(labels))


def make_optimizer(net: nn.Module, settings: Training) -> torch.optim.Optimizer:
    """The optimiser a learner is trained with.

    It sees one vector, of which the net's parameters become views: per step that saves the bookkeeping of ten.
    """
    trained = [p for p in net.parameters() if p.requires_grad]
    vector = nn.Parameter(parameters_to_vector(trained).detach())
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
    vector.grad = torch.cat([g.flatten() for g in gradients])
    optimizer.step()


def _check_usable(net: nn.Module, validation: tuple[Tensor, Tensor], loss: float, where: str) -> float:
    """The validation accuracy of a net that may be handed on."""
    if not math.isfinite(loss) or not all(p.isfinite().all() for p in net.parameters()):
        what = "its parameters are no longer finite" if math.isfinite(loss) else f"the loss became {loss}"
        raise DivergedError(f"{where}: the learner diverged, {what}. Lower training.learning_rate or lambda.")
    images, labels = validation
    score = accuracy(net.eval(), images, labels)
    chance = torch.bincount(labels).max().item() / len(labels)
    # what a constant guess reaches, plus three standard errors
    bound = chance + 3 * math.sqrt(chance * (1 - chance) / len(labels))
    if score <= bound:
        raise DivergedError(
            f"{where}: validation accuracy is {score:.1%}, no better than guessing one class ({bound:.1%} with "
            "three standard errors). The learner collapsed; lower training.learning_rate or lambda, or train longer."
        )
    return score


def train_learners(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    architecture: Mapping[str, Any],
    settings: Training,
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
        architecture: See :func:`~jacobian_ensembles.models.build_net`.
        settings: Optimiser, rate, batch, epochs.
        lambda_jr: Strength of Jacobian regularisation (Eq. 1), >= 0, for inputs in [0, 1].
        identity: Whose draws these are (base seed, dataset, ensemble, lambda, repetition, member).
        sample: Which images of ``train`` to train on (see :class:`~jacobian_ensembles.methods.Method`); None for all.
        snapshots: M: restart the learning rate M times over ``settings.snapshot_epochs`` and keep a
            snapshot at the end of each cycle. None for one learner over ``settings.epochs``.
        builder: Of an architecture that is not built in.

    Returns:
        The trained net or nets, with gradients switched off.

    Raises:
        DivergedError: If the loss is not finite, or a net is at chance on the validation split.
        ValueError: If the snapshots do not divide the epochs.
    """
    with torch.random.fork_rng():  # a user's net may draw its dropout masks from torch's global generator
        torch.manual_seed(derive_seed("global", *identity))
        return _train(train, validation, architecture, settings, lambda_jr, identity, sample, snapshots, builder)


def _train(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    architecture: Mapping[str, Any],
    settings: Training,
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
    epochs = settings.snapshot_epochs if snapshots else settings.epochs
    cycles = snapshots or 1
    if epochs % cycles:
        raise ValueError(f"{epochs} snapshot epochs do not divide into {cycles} equal cycles.")

    net = build_net(architecture, builder, generator("init", *identity)).to(images.device)
    order = generator("order", *identity)
    projection = generator("projections", *identity)
    dropout = generator("dropout", *identity) if isinstance(net, LeNet) and net.dropout else None
    optimizer = make_optimizer(net, settings)

    classes = architecture.get("classes", CLASSES)
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
            rate = cyclic_cosine(step, epochs * steps, cycles, settings.learning_rate)
            for group in optimizer.param_groups:
                group["lr"] = rate
            directions = None
            if lambda_jr:
                draws = [unit_vectors(batch, classes, projection) for _ in range(settings.projections)]
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


def architecture(dataset: str, model: Model, images: Tensor, classes: int = CLASSES) -> dict[str, Any]:
    """What :func:`~jacobian_ensembles.models.build_net` needs to know of a dataset's learners.

    Args:
        dataset: The dataset's name.
        model: The architecture's settings.
        images: (B, channels, height, width), the training images.
        classes: C.

    Returns:
        A JSON-able mapping.

    Raises:
        ValueError: If a LeNet cannot take such images.
    """
    mean, std = 0.0, 1.0
    if model.normalize:
        mean, std = NORMALIZATION.get(dataset) or (round(images.mean().item(), 4), round(images.std().item(), 4))
    shape = tuple(images.shape[1:])
    scaling = {"mean": mean, "std": std, "classes": classes}
    if model.architecture != "lenet":
        name = short_name(model.architecture)
        return {"name": name, "shape": list(shape), "options": dict(model.options), **scaling}
    if shape != (1, 28, 28):
        raise ValueError(
            f"{dataset}: its images are of shape {shape}; a LeNet takes (1, 28, 28). Resize them, or set "
            "model.architecture to one of your own (path/to/file.py:object)."
        )
    return {"activation": model.activation, "dropout": model.dropout, **scaling}


def _load(
    data_path: str | Path, device: str, validation_images: int, train_images: int | None
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The training and the validation split, on the device to train on."""
    target = prepare_device(device)
    (x, y), (validation_x, validation_y) = (
        load_split(data_path, split, validation_images, limit)
        for split, limit in (("train", train_images), ("validation", None))
    )
    return (x.to(target), y.to(target)), (validation_x.to(target), validation_y.to(target))


def train_to_file(
    data_path: str | Path,
    path: str | Path,
    *,
    dataset: str,
    ensemble: str,
    lambda_jr: float,
    repetition: int,
    member: int | None = None,
    snapshots: int | None = None,
    model: Model,
    settings: Training,
    seed: int,
    validation_images: int,
    train_images: int | None = None,
    device: str = "cpu",
) -> None:
    """Train one learner of bagging or voting, or all M of a snapshot run, and store them.

    Args:
        data_path: The stored dataset.
        path: The checkpoint to write.
        dataset: The dataset's name.
        ensemble: ``bagging``, ``voting``, ``snapshot``, or a reference to a method of your own.
        lambda_jr: Strength of Jacobian regularisation.
        repetition: Which training of this model; repetitions share no draw.
        member: Index of the learner (bagging, voting).
        snapshots: M (snapshot).
        model: The architecture's settings.
        settings: The training's settings.
        seed: Base seed of the run.
        validation_images: Size of the validation split.
        train_images: Train on so many images only; None for all.
        device: ``cpu`` or ``cuda``.

    Raises:
        DivergedError: See :func:`train_learners`; then nothing is stored.
        ExtensionError: If a reference leads nowhere.
    """
    method, name = resolve(ensemble, METHODS, Method), short_name(ensemble)
    builder = resolve(model.architecture, ARCHITECTURES)
    train, validation = _load(data_path, device, validation_images, train_images)
    spec: dict[str, Any] = {
        "dataset": dataset,
        "ensemble": name,
        "lambda": lambda_jr,
        "architecture": architecture(dataset, model, train[0], class_count(data_path)),
    }
    result = train_learners(
        train,
        validation,
        spec["architecture"],
        settings,
        lambda_jr,
        identity=(seed, dataset, name, lambda_jr, repetition, (snapshots or 0) if member is None else member),
        sample=method.sample,
        snapshots=snapshots,
        builder=builder,
    )
    save_learners(path, parameter_arrays(result.nets), spec | {"validation_accuracy": result.validation_accuracy})


def trial_to_file(
    data_path: str | Path,
    path: str | Path,
    *,
    trial: str,
    dataset: str,
    lambda_jr: float,
    model: Model,
    settings: Training,
    seed: int,
    validation_images: int,
    train_images: int | None = None,
    device: str = "cpu",
) -> None:
    """Try a training recipe on one learner, and record how it does on the validation split; the test set is not read.

    Args:
        data_path: The stored dataset.
        path: The JSON record to write: validation accuracy and final loss, or how the learner diverged.
        trial: The recipe's name.
        dataset: The dataset's name.
        lambda_jr: Strength of Jacobian regularisation.
        model: The architecture's settings.
        settings: The training's settings.
        seed: Base seed of the run.
        validation_images: Size of the validation split.
        train_images: Train on so many images only; None for all.
        device: ``cpu`` or ``cuda``.
    """
    train, validation = _load(data_path, device, validation_images, train_images)
    record = {"trial": trial, "dataset": dataset, "lambda": lambda_jr, "epochs": settings.epochs, "seed": seed}
    record |= {"images": len(validation[1]), "validation_accuracy": None, "loss": None, "diverged": None}
    # the draws of voting's first learner, whatever the recipe: trials differ in nothing else
    identity = (seed, dataset, "voting", lambda_jr, 0, 0)
    try:
        settled = architecture(dataset, model, train[0], class_count(data_path))
        builder = resolve(model.architecture, ARCHITECTURES)
        result = train_learners(train, validation, settled, settings, lambda_jr, identity, builder=builder)
        record |= {"validation_accuracy": result.validation_accuracy[0], "loss": result.history[-1]["loss"]}
    except DivergedError as error:
        record["diverged"] = str(error)
    write_json(path, record)
