"""The engine's functions for Python, on NumPy arrays: what it computes of LeNets, each in one compiled call.

Nothing here knows torch. Arrays are contiguous and writable (for others numba would compile anew): images float32
(N, 784), pixels as the caller has them, and labels int64 (N,).
Buffers are kept from call to call, one set for each thread. Results are new arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jacobian_ensembles.engine.loops import OWN, SHARED, WINNERS, products_of, scores_of, steps_of
from jacobian_ensembles.engine.losses import AVERAGES, LOSSES
from jacobian_ensembles.engine.memory import aligned, buffers
from jacobian_ensembles.engine.network import B1, B2, B3, B4, FIRST, ROW, TAPS1, TAPS2, W1, W2, W3, W4, W5
from jacobian_ensembles.engine.training import ADAM, FIXED, NONE, SGD, SUMS, TABLES, move_of, step_of
from jacobian_ensembles.engine.vectors import LANES

#: Numbers of the optimisers, by their names in a recipe.
OPTIMIZERS = {"adam": ADAM, "sgd": SGD}
_STARTS = (W1, B1, W2, B2, W3, B3, W4, B4)


def outputs_of(classes: int) -> int:
    """Outputs of the last layer, padded."""
    return -(-classes // 4) * 4


def size_of(classes: int) -> int:
    """Elements of a network's parameters, padded."""
    return -(-(W5 + 85 * outputs_of(classes)) // 16) * 16


def pieces(classes: int) -> list[slice]:
    """Where each parameter lies in a network's vector, weight and bias of one layer after another."""
    outputs = outputs_of(classes)
    sizes = (150, 6, 2400, 16, 48000, 120, 10080, 84, 84 * classes, classes)
    starts = (*_STARTS, W5, W5 + 84 * outputs)
    return [slice(at, at + size) for at, size in zip(starts, sizes, strict=True)]


@dataclass(frozen=True)
class Networks:
    """M LeNets of equal scaling and classes, as the engine reads them.

    Attributes:
        parameters: (M, S), see :func:`pack`.
        relus: (M,) bool: whether a network's activation is ReLU; otherwise it is tanh.
        classes: C.
        mean: Subtracted from images.
        scale: Multiplies them after that.
    """

    parameters: Any
    relus: Any
    classes: int
    mean: np.float32
    scale: np.float32

    def __len__(self) -> int:
        """M."""
        return len(self.parameters)

    def only(self, member: int) -> Networks:
        """One of them."""
        return replace(self, parameters=self.parameters[member : member + 1], relus=self.relus[member : member + 1])

    @property
    def _inputs(self) -> tuple[Any, ...]:
        return self.mean, self.scale, self.parameters, outputs_of(self.classes), self.relus

    @property
    def _work(self) -> tuple[Any, ...]:
        m, outputs = len(self), outputs_of(self.classes)
        return (
            buffers.take("work", SHARED + m * OWN),
            buffers.take("winners", m * WINNERS, np.int32),
            buffers.take("logits", (3 * m + 2) * outputs),
        )

    def logits(self, images: Any) -> Any:
        """Logits of every network: (M, N, C)."""
        out, none = np.empty((len(self), len(images), outputs_of(self.classes)), np.float32), np.empty((0, 0), np.int32)
        self._score(images, np.zeros((1, 784), np.float32), False, "logits", out, none)
        return out[:, :, : self.classes]

    def _score(self, images: Any, deltas: Any, clip: bool, average: str, each: Any, taken: Any) -> None:
        setting = self.classes, AVERAGES[average]
        scores_of(images, deltas, *_bounds(clip), *self._inputs, *setting, *self._work, each, taken)

    def predictions(self, images: Any, deltas: Any, clip: bool, average: str = "logits") -> Any:
        """The ensemble's class of every image under every perturbation.

        Args:
            images: (N, 784).
            deltas: (K, 784) float32, added to the images.
            clip: Clip the sums to [0, 1].
            average: ``logits`` or ``probabilities``.

        Returns:
            (K, N) int32; -1 where the scores are NaN.
        """
        taken = np.empty((len(deltas), len(images)), np.int32)
        self._score(images, deltas, clip, average, np.empty((0, 0, 0), np.float32), taken)
        return taken

    def products(self, images: Any, v: Any, shared: bool = False) -> Any:
        """v^T J of a single network at every image, for each of K vectors.

        Args:
            images: (N, 784).
            v: (K, N, C) float32.
            shared: Sum over images, which costs less than the products themselves.

        Returns:
            (K, N, 784), or (K, 784).

        Raises:
            ValueError: If there are several networks.
        """
        if len(self) != 1:
            raise ValueError(f"products are of one network. Got {len(self)}.")
        out = np.zeros((len(v), 28, 32) if shared else (len(v), len(images), 784), np.float32)
        taps = buffers.flat("taps", TAPS2 + TAPS1)
        products_of(images, v, *self._inputs, *self._work, taps, shared, out)
        return np.ascontiguousarray(out[:, :, :28]).reshape(len(v), 784) if shared else out

    def ascend(
        self,
        images: Any,
        labels: Any,
        plan: Any,
        delta: Any,
        velocity: Any,
        *,
        eps: float,
        step: float,
        first: int = 0,
        steps: int | None = None,
        decay: bool = False,
        momentum: float = 0.0,
        parts: int = 1,
        norm: str = "linf",
        clip: bool = False,
        average: str = "logits",
        loss: str = "cross_entropy",
        cap: float | None = None,
        targeted: bool = False,
    ) -> tuple[Any, Any]:
        """Steps of the attack :mod:`~jacobian_ensembles.attacks.sgd_uap` on the ensemble.

        Args:
            images: (N, 784).
            labels: (N,).
            plan: (T, B) int64: the images of each step.
            delta: (784,) float32: the perturbation, moved in place.
            velocity: (784,) float32, of the momentum; moved in place.
            eps: Radius.
            step: In units of eps.
            first: The number of the first step, which counts under ``decay``.
            steps: Steps in all; None for T.
            decay: Shrink the step linearly to zero.
            momentum: Weight of earlier gradients.
            parts: Parts of a batch, for trial steps.
            norm: ``linf`` or ``l2``.
            clip: Clip perturbed images to [0, 1]; the gradient passes straight through.
            average: ``logits`` or ``probabilities``.
            loss: A name of :data:`~jacobian_ensembles.engine.losses.LOSSES`.
            cap: Of a cross-entropy, in nats; None for no cap.
            targeted: Descend: images are to pass for their labels instead of leaving them.

        Returns:
            The gradient (784,) of the last step, and (T, parts, 2) of every gradient: its largest entry, and the
            smallest loss, both NaN if there was any.
        """
        size = -(-plan.shape[1] // parts)
        notes = np.zeros((len(plan), -(-plan.shape[1] // size), 2), np.float32)
        last = np.zeros(784, np.float32)
        steps_of(
            images, labels, plan, first, len(plan) if steps is None else steps, bool(targeted), delta, velocity,
            float(eps), float(step), bool(decay), float(momentum), parts, norm == "l2", *_bounds(clip), *self._inputs,
            self.classes, AVERAGES[average], LOSSES[loss], math.inf if cap is None else float(cap), *self._work,
            buffers.flat("taps", len(self) * TAPS2).reshape(len(self), TAPS2), last, notes,
        )  # fmt: skip
        return last, notes

    def gradient(
        self, images: Any, labels: Any, *, average: str, loss: str, cap: float | None, targeted: bool = False
    ) -> tuple[Any, Any]:
        """The gradient of the mean loss with respect to something added to all images: see :meth:`ascend`.

        Returns:
            (784,), and (2,): its largest entry and the smallest loss, NaN if there was any.
        """
        plan, delta = np.arange(len(images))[None], np.zeros(784, np.float32)
        how: dict[str, Any] = {"average": average, "loss": loss, "cap": cap, "targeted": targeted}
        gradient, notes = self.ascend(images, labels, plan, delta, delta.copy(), eps=1.0, step=0.0, **how)
        return gradient, notes[0, 0]


def _bounds(clip: bool) -> tuple[float, float]:
    return (0.0, 1.0) if clip else (-math.inf, math.inf)


def pack(networks: Sequence[Sequence[Any]], relus: Sequence[bool], mean: float = 0.0, std: float = 1.0) -> Networks:
    """LeNets' parameters as the engine reads them.

    Args:
        networks: Of each of M networks, weight and bias of every layer, input to output: ten arrays.
        relus: Whether a network's activation is ReLU; otherwise it is tanh.
        mean: Subtracted from images.
        std: Divides them after that.

    Returns:
        A copy of the parameters.
    """
    classes = len(networks[0][9])
    parameters = aligned((len(networks), size_of(classes)))
    for row, arrays in zip(parameters, networks, strict=True):
        for piece, array in zip(pieces(classes), arrays, strict=True):
            row[piece] = array.reshape(-1)
    return Networks(parameters, np.array(relus, np.bool_), classes, np.float32(mean), np.float32(1 / std))


def training_gradient(
    network: Networks,
    images: Any,
    labels: Any,
    directions: Any = None,
    masks: Any = None,
    shared: bool = False,
) -> tuple[float, Any, Any]:
    """The mean cross-entropy of one network plus 1/2 sum ||v^T J||^2, and its gradient.

    Args:
        network: A single one.
        images: (B, 784).
        labels: (B,).
        directions: The v, (P, B, C) float32; None for none.
        masks: (B, 204) float32, what dropout multiplies the units of the last two hidden layers by; None for none.
        shared: Also give the gradient of the mean cross-entropy with respect to something added to all images.

    Returns:
        The loss; the gradient (S,), laid out as the parameters are; and the shared one (784,), or None.

    Raises:
        ValueError: If there are several networks.
    """
    gradient = aligned(network.parameters.shape[1])
    common = np.zeros((28, 32) if shared else (0, 0), np.float32)
    loss = _step(
        network, images, labels, directions, masks, gradient, common, NONE, gradient, gradient, 0, 0.0, 0.0, 0.0
    )
    return loss, gradient, np.ascontiguousarray(common[:, :28]).reshape(784) if shared else None


def _step(
    network: Networks,
    images: Any,
    labels: Any,
    directions: Any,
    masks: Any,
    gradient: Any,
    common: Any,
    *optimizer: Any,
) -> float:
    if len(network) != 1:
        raise ValueError(f"training is of one network. Got {len(network)}.")
    outputs, many = outputs_of(network.classes), 0 if directions is None else len(directions)
    blocks = -(-len(images) // LANES) * (1 + many)
    loss: float = step_of(
        images, labels, np.empty((0, 0, 0), np.float32) if directions is None else directions,
        np.empty((0, 0), np.float32) if masks is None else masks, network.mean, network.scale, network.parameters[0],
        outputs, network.relus[0], network.classes, gradient, common.reshape(-1),
        buffers.take("step", FIXED + 5 * outputs), buffers.take("winners", FIRST + 400, np.int32),
        buffers.flat("tables", TABLES), buffers.take("downs", blocks * (204 + outputs)),
        buffers.flat("rows", (blocks + 1) * LANES * ROW), buffers.take("sums", SUMS + outputs), *optimizer,
    )  # fmt: skip
    return loss


class Descent:
    """Adam or SGD on one network, whose parameters it changes in place.

    Attributes:
        network: The network.
        gradient: (S,), the last one, laid out as the parameters are.

    Args:
        network: A single one.
        optimizer: ``adam`` or ``sgd``.
        momentum: Of ``sgd``.
        weight_decay: Of either, as in torch.optim.
    """

    def __init__(self, network: Networks, optimizer: str, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        self.network = network
        self.gradient, self._mean, self._square = (aligned(network.parameters.shape[1]) for _ in range(3))
        self._kind, self._momentum, self._decay = OPTIMIZERS[optimizer], float(momentum), float(weight_decay)
        self._steps = 0

    def _next(self, rate: float) -> tuple[Any, ...]:
        self._steps += 1
        return self._kind, self._mean, self._square, self._steps, float(rate), self._momentum, self._decay

    def step(self, images: Any, labels: Any, rate: float, directions: Any = None, masks: Any = None) -> float:
        """A whole step on the loss of :func:`training_gradient`, which is returned, at a learning rate."""
        none = np.empty(0, np.float32)
        return _step(self.network, images, labels, directions, masks, self.gradient, none, *self._next(rate))

    def move(self, rate: float) -> None:
        """A step along what was written to ``gradient``."""
        move_of(self.network.parameters[0], self.gradient, *self._next(rate))
