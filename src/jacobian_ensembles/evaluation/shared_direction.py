"""What the Jacobians at different images have in common: the directions that one perturbation for all can use."""

from __future__ import annotations

import numpy as np

#: What :meth:`SharedDirection.values` gives, in ``jacobian.csv``; tables of before December 2026 lack it.
COLUMNS = ("shared_norm", "shared_share", "margin_gradient")
_VALUES = 2**22  # of Jacobians that are kept: of 535 images of 28 x 28 pixels in ten classes
_ROUNDS = 100
_SETTLED = 1e-7


class SharedDirection:
    """Collects the Jacobians of one model, image by image.

    ||J||_F^2 counts all directions alike, while a universal perturbation needs one that many images share. Adding the
    same to every logit changes no decision, so a Jacobian's rows are taken less their mean.
    """

    def __init__(self) -> None:
        self._kept: list[np.ndarray] = []
        self._margin: np.ndarray | None = None
        self._images = self._counted = 0

    def add(self, jacobians: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> None:
        """Take the next images.

        Args:
            jacobians: (B, C, D).
            logits: (B, C).
            labels: (B,), the true classes.
        """
        at = np.arange(len(labels))
        rivals = logits.copy()
        rivals[at, labels] = -np.inf
        gradient = (jacobians[at, labels] - jacobians[at, rivals.argmax(1)]).sum(0, dtype=np.float64)
        self._margin = gradient if self._margin is None else self._margin + gradient
        self._images += len(labels)
        if not self._kept or (self._counted + len(labels)) * jacobians[0].size <= _VALUES:
            centred = jacobians - jacobians.mean(1, keepdims=True)
            self._kept.append(centred.reshape(-1, jacobians.shape[2]).astype(np.float32))
            self._counted += len(labels)

    def values(self) -> np.ndarray:
        """What was collected: :data:`COLUMNS`, eigenvalues of as many images as are kept.

        Returns:
            (3,): the largest eigenvalue of the mean of J^T J, which is the mean of ||J u||^2 for the best common
            direction u of length one; its share of the sum of all eigenvalues, the mean of ||J||_F^2 (1: all images
            share one direction); and the L1 norm of the mean gradient of the margin, the true class's logit less the
            largest other one: eps times it is what the best perturbation of size eps takes from the mean margin, to
            first order.
        """
        total = sum(float(np.square(rows, dtype=np.float64).sum()) for rows in self._kept)
        v = np.ones(self._kept[0].shape[1], np.float32)
        v += np.linspace(0, 1, len(v), dtype=np.float32)  # no symmetry of images is one of this
        largest = 0.0
        for _ in range(_ROUNDS):  # power iteration
            v /= np.linalg.norm(v) or 1
            moved = [rows @ v for rows in self._kept]
            found = sum(float(part @ part) for part in moved)
            if found - largest <= _SETTLED * found:
                break
            largest, v = found, np.sum([part @ rows for part, rows in zip(moved, self._kept, strict=True)], 0)
        assert self._margin is not None
        share = found / total if total else 0.0
        return np.array([found / self._counted, share, np.abs(self._margin / self._images).sum()])
