"""The learners of an ensemble: one alone, snapshots of one run, or several side by side."""

from __future__ import annotations

import logging

from jacobian_ensembles.training.learner import (
    Identity,
    Task,
    TrainedLearners,
    descend,
    fresh_learner,
    generator,
    own_global_draws,
)

log = logging.getLogger(__name__)


def train_learner(task: Task, identity: Identity) -> TrainedLearners:
    """Train one learner.

    Args:
        task: What to train.
        identity: Whose draws these are: base seed, dataset, ensemble, lambda, repetition, member.

    Returns:
        The trained net, with gradients switched off.

    Raises:
        DivergedError: If the loss is not finite, or the net is at chance on the validation split.
        ValueError: If the network returns anything other than C scores, or the objective is not an Objective or does
            not return a scalar.
    """
    with own_global_draws(identity):
        return descend([fresh_learner(task, identity)], task, task.goal(), None, 1)


def train_snapshots(task: Task, identity: Identity, count: int) -> TrainedLearners:
    """Train one learner, restart its learning rate ``count`` times over the epochs, and keep each cycle's last state.

    Args:
        task: What to train.
        identity: See :func:`train_learner`; the last is ``count``.
        count: M, snapshots.

    Returns:
        M nets, in the order of the cycles.

    Raises:
        DivergedError: See :func:`train_learner`.
        ValueError: See :func:`train_learner`; also if snapshots do not divide the epochs or have no cosine to restart.
    """
    if task.recipe.epochs % count:
        raise ValueError(f"{task.recipe.epochs} epochs do not divide into {count} equal cycles.")
    if task.recipe.schedule != "cosine":
        raise ValueError(f"Snapshots need schedule 'cosine', which they restart. Got {task.recipe.schedule!r}.")
    with own_global_draws(identity):
        return descend([fresh_learner(task, identity)], task, task.goal(), None, count)


def train_together(task: Task, identity: Identity, count: int) -> TrainedLearners:
    """Train learners side by side, joined by the objective's coupling; at lambda zero, as if each were alone.

    Args:
        task: What to train.
        identity: As of :func:`train_learner`, all but the member: learner i has the generators it would have alone.
        count: M, learners.

    Returns:
        M nets.

    Raises:
        DivergedError: See :func:`train_learner`.
        ValueError: See :func:`train_learner`; also if learners have different numbers of batches.
    """
    goal = task.goal()
    if goal is None:  # nothing joins them
        return train_one_by_one(task, identity, count)
    with own_global_draws((*identity, count)):
        learners = [fresh_learner(task, (*identity, i)) for i in range(count)]
        return descend(learners, task, goal, generator("coupling", *identity, count), 1)


def train_one_by_one(task: Task, identity: Identity, count: int) -> TrainedLearners:
    """Train M learners, each by :func:`train_learner`: for arguments and returns, see :func:`train_together`."""
    whole = TrainedLearners([], [])
    for i in range(count):
        log.info("learner %d of %d", i + 1, count)
        one = train_learner(task, (*identity, i))
        whole.nets += one.nets
        whole.validation_accuracy += one.validation_accuracy
        whole.history += one.history
    return whole


def train_members(task: Task, cyclic: bool, identity: Identity, count: int) -> TrainedLearners:
    """Train all learners of an ensemble, for the library, the command line and the workflow.

    Args:
        task: What to train.
        cyclic: Whether they are snapshots of one run, as the ensemble method says.
        identity: Base seed, dataset, ensemble, lambda and repetition.
        count: M.

    Returns:
        M nets, trained by :func:`train_snapshots`, :func:`train_together` or :func:`train_one_by_one`.

    Raises:
        DivergedError: See :func:`train_learner`.
        ValueError: See these; also if snapshots of one run are to be joined.
    """
    if cyclic and task.together:
        raise ValueError(f"learners are snapshots of one training. Got {task.objective!r}, which joins several.")
    if cyclic:
        return train_snapshots(task, (*identity, count), count)
    return (train_together if task.together else train_one_by_one)(task, identity, count)
