"""Training of base learners: all data in memory, every draw seeded."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.building import Builder, build_net
from jacobian_ensembles.models.door import scores
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.seeding import derive_seed
from jacobian_ensembles.training.objectives.derivatives import as_model, differentiated
from jacobian_ensembles.training.objectives.objective import Batch, Objective, Terms
from jacobian_ensembles.training.optimization import Optimizer, cyclic_cosine
from jacobian_ensembles.training.recipe import Recipe
from jacobian_ensembles.training.refusals import check_learner, check_storable, check_validation, guess

log = logging.getLogger(__name__)
Identity = tuple[str | int | float, ...]
_LOG_EVERY = 10.0  # seconds between progress lines inside an epoch


class DivergedError(RuntimeError):
    """Training did not produce a usable learner; the message says what happened and what to try."""


@dataclass
class TrainedLearners:
    """The result of a training run.

    Attributes:
        nets: One learner, the M snapshots of a run, or M learners trained together, for evaluation.
        validation_accuracy: Of each net, in [0, 1].
        history: One record per epoch: epoch, loss, seconds; of each learner in turn if nothing couples them.
    """

    nets: list[nn.Module]
    validation_accuracy: list[float]
    history: list[dict[str, float]] = field(default_factory=list)


def generator(role: str, *identity: str | int | float) -> torch.Generator:
    """A CPU generator for one purpose; see :func:`~jacobian_ensembles.seeding.derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(role, *identity))


@torch.no_grad()
def accuracy(net: torch.nn.Module, images: Tensor, labels: Tensor, batch: int = 500) -> float:
    """The share of images classified correctly.

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


_FEW = 100  # validation images, of which even a fair learner may get too few right


def _check_usable(net: nn.Module, validation: tuple[Tensor, Tensor], loss: float, where: str) -> float:
    """The validation accuracy of a net, if the net is usable."""
    if not math.isfinite(loss) or not all(p.isfinite().all() for p in net.parameters()):
        what = "its parameters are no longer finite" if math.isfinite(loss) else f"the loss became {loss}"
        raise DivergedError(f"{where}: the learner diverged, {what}. Lower training.learning_rate or lambda.")
    images, labels = validation
    score = accuracy(net.eval(), images, labels)
    bound = guess(labels)
    if score <= bound:
        advice = "The learner collapsed; lower training.learning_rate or lambda, or train longer."
        if len(labels) < _FEW:
            advice = (
                f"With {len(labels)} validation images that may be bad luck: give more (validation=..., or "
                "data.validation_images), or train longer."
            )
        raise DivergedError(
            f"{where}: validation accuracy is {score:.1%}, no better than guessing one class ({bound:.1%} with "
            f"three standard errors). {advice}"
        )
    return score


@dataclass
class Learner:
    """A net in training, with its images, its optimiser and the generators of its own draws."""

    net: nn.Module
    images: Tensor
    labels: Tensor
    classes: int
    settings: Recipe
    optimizer: Optimizer
    order: torch.Generator
    rng: torch.Generator
    dropout: torch.Generator | None

    @property
    def batch_size(self) -> int:
        """Images per step, at most all."""
        return min(self.settings.batch_size, len(self.labels))

    @property
    def steps(self) -> int:
        """Per epoch: the last, partial batch is dropped; the order changes every epoch."""
        return len(self.labels) // self.batch_size

    def epoch(self, done: int, whole: int) -> Iterator[Batch]:
        """The batches of one pass over the images, after ``done`` such passes; progress is complete after ``whole``."""
        self.net.train()
        permutation = torch.randperm(len(self.labels), generator=self.order).to(self.labels.device)
        for i, index in enumerate(permutation[: self.steps * self.batch_size].split(self.batch_size)):
            x, y, progress = self.images.index_select(0, index), self.labels[index], (done + i / self.steps) / whole
            yield Batch(x, y, self.classes, self.settings.projections, self.rng, self.dropout, min(1.0, progress))


@dataclass(frozen=True)
class Task:
    """What the learners of an ensemble are trained on, and how.

    Attributes:
        train: Images (N, ...) in [0, 1] and labels (N,), on the device to train on.
        validation: The same, for the final check; never used to choose weights.
        architecture: The network.
        recipe: Optimiser, rate, batch, epochs.
        lambda_jr: Strength of the objective, >= 0; for Jacobian regularisation, lambda of Eq. 1 for inputs in [0, 1].
            Zero is plain training with the cross-entropy, whatever the objective.
        objective: A subclass of :class:`~jacobian_ensembles.training.objectives.objective.Objective`.
        options: Its options, by keyword.
        sample: Which images of ``train`` to train on (see
            :class:`~jacobian_ensembles.ensembles.methods.Method`); None for all.
        builder: For an architecture that is not built in.

    Raises:
        ValueError: If lambda is negative, or the validation split is too small.
    """

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    architecture: Architecture
    recipe: Recipe
    lambda_jr: float
    objective: Callable[..., Objective]
    options: Mapping[str, Any] = field(default_factory=dict)
    sample: Callable[[int, torch.Generator], Tensor] | None = None
    builder: Builder | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if not 0 <= self.lambda_jr < math.inf:
            raise ValueError(f"lambda must be a finite number >= 0. Got {self.lambda_jr}.")
        check_validation(self.validation[1])

    @property
    def together(self) -> bool:
        """Whether the objective joins the learners of an ensemble."""
        return bool(getattr(self.objective, "together", False))

    def goal(self) -> Objective | None:
        """The objective, made anew for one training; None for plain training.

        Raises:
            ValueError: If it is not an Objective, or refuses its options.
        """
        if not self.lambda_jr:
            return None
        goal = self.objective(self.lambda_jr, **self.options)
        if not isinstance(goal, Objective):
            raise ValueError(f"an objective must be an instance of a subclass of Objective. Got {goal!r}.")
        return goal


@contextmanager
def own_global_draws(identity: Identity) -> Iterator[None]:
    """Seed torch's global generator for the duration: a user's net may draw its dropout masks from it."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed("global", *identity))
        yield


def fresh_learner(task: Task, identity: Identity) -> Learner:
    """A learner with its fresh net and generators, which depend on the identity alone.

    Raises:
        ValueError: If the network cannot be trained on the images.
    """
    images, labels = task.train
    if task.sample is not None:
        chosen = task.sample(len(labels), generator("bootstrap", *identity)).to(labels.device)
        images, labels = images[chosen], labels[chosen]
    net = build_net(task.architecture, task.builder, generator("init", *identity)).to(images.device)
    if not isinstance(net, LeNet):
        check_learner(net, images, task.architecture.classes)
        check_storable(net, task.architecture, task.builder)
    return Learner(
        net,
        images,
        labels,
        task.architecture.classes,
        task.recipe,
        Optimizer(net, task.recipe),
        order=generator("order", *identity),
        rng=generator("projections", *identity),  # for whatever an objective draws; the first one drew projections
        dropout=generator("dropout", *identity) if isinstance(net, LeNet) and net.dropout else None,
    )


def descend(
    learners: Sequence[Learner],
    task: Task,
    goal: Objective | None,
    coupling: torch.Generator | None,
    cycles: int,
) -> TrainedLearners:
    """The loop that trains all: learners side by side, joined by a coupling where there is a generator for it.

    Args:
        learners: M of them, with equally many batches.
        task: What to train.
        goal: The objective; None for plain training.
        coupling: Generator of the coupling's draws; None for none.
        cycles: How often the learning rate restarts; at the end of each cycle the nets are kept.

    Returns:
        The nets of each cycle in turn, with gradients switched off.

    Raises:
        DivergedError: If the loss is not finite, or a net is at chance on the validation split.
        ValueError: If learners have different numbers of batches.
    """
    sizes = {learner.steps for learner in learners}
    if len(sizes) > 1:
        raise ValueError(f"learners trained together need equally many batches. Got {sorted(sizes)} in an epoch.")
    if goal is not None:
        for learner in learners:
            goal.prepare(learner.net)
    settings = task.recipe
    epochs, steps, batch = settings.epochs, sizes.pop(), learners[0].batch_size
    result = TrainedLearners([], [])
    started = reported = time.monotonic()
    step = 0
    for epoch in range(1, epochs + 1):
        total = learners[0].images.new_zeros(())
        for batches in zip(*(learner.epoch(epoch - 1, epochs // cycles) for learner in learners), strict=True):
            rate = settings.learning_rate
            if settings.schedule == "cosine":
                rate = cyclic_cosine(step, epochs * steps, cycles, rate)
            total += _step(learners, batches, goal, coupling, step, rate)
            step += 1
            log.debug("training", extra={"progress": (step, epochs * steps)})
            if time.monotonic() - reported > _LOG_EVERY:
                reported = time.monotonic()
                _report(epoch, epochs, step, epochs * steps, batch, started, None)
        loss = (total / steps).item()
        result.history.append({"epoch": epoch, "loss": round(loss, 6), "seconds": round(time.monotonic() - started, 2)})
        _report(epoch, epochs, step, epochs * steps, batch, started, loss)
        if not math.isfinite(loss) or epoch % (epochs // cycles) == 0:
            for learner in learners:
                score = _check_usable(learner.net, task.validation, loss, f"epoch {epoch} of {epochs}")
                log.info("validation accuracy %.2f %%", 100 * score)
                snapshot = copy.deepcopy(learner.net)
                snapshot.zero_grad(set_to_none=True)
                result.nets.append(snapshot.requires_grad_(False))
                result.validation_accuracy.append(score)
    return result


def _step(
    learners: Sequence[Learner],
    batches: Sequence[Batch],
    goal: Objective | None,
    coupling: torch.Generator | None,
    step: int,
    rate: float,
) -> Tensor:
    """One step of every learner; returns their mean loss."""
    pairs = list(zip(learners, batches, strict=True))
    if goal is None or coupling is None or len(learners) == 1:
        return torch.stack([_own_step(learner, own, goal, rate) for learner, own in pairs]).mean()
    found = [goal.gradients(learner.net, own) for learner, own in pairs]
    common = batches[step % len(batches)]  # every learner's images in turn
    with torch.enable_grad():
        models = [as_model(learner.net, own.dropout) for learner, own in pairs]
        joint = goal.coupling(models, common.images, common.labels, coupling)
    more = differentiated(joint, [learner.net for learner in learners], f"{type(goal).__name__}.coupling")
    for learner, (_, gradients), others in zip(learners, found, more, strict=True):
        learner.optimizer.step([a + b for a, b in zip(gradients, others, strict=True)], rate)
    return torch.stack([loss for loss, _ in found]).mean() + joint.detach() / len(learners)


def _own_step(learner: Learner, batch: Batch, goal: Objective | None, rate: float) -> Tensor:
    """A step of a learner that nothing joins to others; returns its loss."""
    terms = Terms(batch.images)
    if goal is not None:
        own = type(goal).gradients is not Objective.gradients  # an objective's own gradients go before its terms
        found = None if own else goal.terms(learner.net, batch)
        if found is None:
            value, gradients = goal.gradients(learner.net, batch)
            learner.optimizer.step(gradients, rate)
            return value
        terms = found
    return learner.optimizer.descend(terms, batch.labels, rate, batch.dropout)


def _report(epoch: int, epochs: int, step: int, steps: int, batch: int, started: float, loss: float | None) -> None:
    elapsed = time.monotonic() - started
    left = elapsed / step * (steps - step)
    text = "" if loss is None else f"loss {loss:.4f}, "
    log.info("epoch %d/%d: %s%.0f images/s, %.0f s left", epoch, epochs, text, step * batch / elapsed, left)
