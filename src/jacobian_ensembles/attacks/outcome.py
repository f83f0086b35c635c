"""Checks on what an attack returns, and on whether it had usable gradients. No torch."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from jacobian_ensembles.data.interop import is_tensor, to_numpy
from jacobian_ensembles.evaluation.accuracy import sizes

if TYPE_CHECKING:
    from jacobian_ensembles.data.interop import Array

log = logging.getLogger(__name__)


class NoGradientError(ValueError):
    """No step of an attack had a usable gradient: what it returns proves no robustness."""


class Steps:
    """A count of an attack's steps: all of them, and those that had no usable gradient."""

    def __init__(self) -> None:
        #: For each step and group: the largest entry of the gradient, and whether every loss has reached its cap.
        self._notes: list[tuple[Array, Array]] = []
        #: How many images a gradient was taken at: the cost of an attack.
        self.images = 0

    def note(self, largest: Array, least: Array, cap: float | None, images: int) -> None:
        """Count G steps.

        A step is idle if its gradient is zero or has an entry that is not finite, unless every loss has reached its
        cap: then there was nothing left to ascend.

        Args:
            largest: (G,), the largest entry of each step's gradient, without sign; not looked at before the end, so
                that no step waits for a GPU.
            least: (G,), the smallest loss of each.
            cap: The largest possible loss of a sample, up to rounding; None for no cap.
            images: At how many images gradients were taken.
        """
        limit = math.nan if cap is None else cap - 1e-6 * max(cap, 1)
        self._notes.append((largest, least >= limit))
        self.images += images

    def add(self, other: Steps) -> None:
        """Add the steps of another count."""
        self._notes += other._notes
        self.images += other.images

    @property
    def total(self) -> int:
        """The number of steps; each moves one perturbation."""
        return sum(len(largest) for largest, _ in self._notes)

    @property
    def idle(self) -> int:
        """The number of steps without a usable gradient."""
        if not self._notes:
            return 0
        largest, capped = (np.concatenate([to_numpy(p) for p in parts]) for parts in zip(*self._notes, strict=True))
        return int((~(np.isfinite(largest) & (largest > 0)) & ~capped).sum())

    def check(self, what: str = "the attack") -> None:
        """Refuse an attack that never had a usable gradient, and warn of one that sometimes had none.

        Raises:
            NoGradientError: If no step had a usable gradient.
        """
        total, idle = self.total, self.idle
        if idle == total > 0:
            raise NoGradientError(
                f"{what}: none of {total} steps had a finite gradient other than zero, so nothing was attacked; "
                "accuracies would not be robustness. The model rounds, saturates, detaches or gives NaN: attack it "
                "without that part, or with scores scaled down."
            )
        if idle:
            log.warning(
                "%s: %d of %d steps had no finite gradient other than zero: accuracies may pass for robustness.",
                what, idle, total,
            )  # fmt: skip


_COUNT: ContextVar[Steps | None] = ContextVar("steps", default=None)


@contextmanager
def counting_steps() -> Iterator[Steps]:
    """Count the steps of every :func:`~jacobian_ensembles.attacks.losses.loss_gradient` call inside the block.

    Unless the block fails otherwise than by :class:`NoGradientError`, they are also added to the count of an enclosing
    block: a part that failed for lack of memory is crafted again.
    """
    steps, around = Steps(), _COUNT.get()
    token = _COUNT.set(steps)
    counted = True
    try:
        yield steps
    except BaseException as error:
        counted = isinstance(error, NoGradientError)
        raise
    finally:
        _COUNT.reset(token)
        if counted and around is not None:
            around.add(steps)


def note_steps(largest: Array, least: Array, cap: float | None, images: int) -> None:
    """Report steps to the current count, if any: see :meth:`Steps.note`."""
    if (steps := _COUNT.get()) is not None:
        steps.note(largest, least, cap, images)


def check_deltas(
    deltas: Any, shape: tuple[int, ...], eps: float, method: str, norm: str = "linf", arrays: bool = False
) -> None:
    """Refuse anything but one perturbation per seed, each within eps.

    Args:
        deltas: What an attack returned.
        shape: (K, ...), the shape required.
        eps: Radius.
        method: The attack's name, for the message.
        norm: What eps bounds, ``linf`` or ``l2``: see :func:`~jacobian_ensembles.evaluation.accuracy.sizes`.
        arrays: Whether they must be an array; otherwise a tensor.

    Raises:
        ValueError: Saying what was returned.
    """
    fitting = isinstance(deltas, np.ndarray) if arrays else is_tensor(deltas)
    if not fitting or tuple(deltas.shape) != shape:
        got = tuple(deltas.shape) if fitting else type(deltas).__name__
        raise ValueError(f"{method}: perturbations of shape {shape} are needed, it returned {got}.")
    largest = float(sizes(deltas, norm).max())
    if not largest <= eps * (1 + 1e-6):
        what = "" if norm == "linf" else f" ({norm})"
        raise ValueError(f"{method}: it returned a perturbation of size {largest:g}{what}, where eps is {eps:g}.")
