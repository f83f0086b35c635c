"""The shared direction of Jacobians against NumPy's own decompositions."""

import numpy as np
import pytest

from jacobian_ensembles.evaluation import shared_direction
from jacobian_ensembles.evaluation.shared_direction import SharedDirection


def collected(jacobians, logits, labels, batch=3):
    shared = SharedDirection()
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        shared.add(jacobians[part], logits[part], labels[part])
    return shared.values()


def test_by_hand():
    # centred rows of the first image: (1, 0), (-1, 0); of the second: (0, 2), (0, -2)
    jacobians = np.array([[[2.0, 0.0], [0.0, 0.0]], [[0.0, 4.0], [0.0, 0.0]]])
    logits, labels = np.array([[1.0, 3.0], [0.0, 5.0]]), np.array([0, 1])
    largest, share, margin = collected(jacobians, logits, labels)
    assert largest == pytest.approx(8 / 2)  # of two images
    assert share == pytest.approx(8 / 10)
    assert margin == pytest.approx((2 + 4) / 2)  # |(2, 0) - (0, 4)|_1 / 2


def test_the_largest_eigenvalue_is_that_of_a_decomposition(monkeypatch):
    rng = np.random.default_rng(0)
    common = rng.normal(size=12)
    jacobians = rng.normal(size=(20, 4, 12)) + rng.normal(size=(20, 4, 1)) * common
    logits, labels = rng.normal(size=(20, 4)), np.arange(20) % 4
    centred = jacobians - jacobians.mean(1, keepdims=True)
    eigenvalues = np.linalg.eigvalsh(np.einsum("ncd,nce->de", centred, centred) / 20)
    largest, share, margin = collected(jacobians, logits, labels)
    assert largest == pytest.approx(eigenvalues[-1], rel=1e-5)
    assert share == pytest.approx(eigenvalues[-1] / eigenvalues.sum(), rel=1e-5)
    gradients = []
    for jacobian, z, y in zip(jacobians, logits, labels, strict=True):
        others = [c for c in range(4) if c != y]
        gradients.append(jacobian[y] - jacobian[max(others, key=lambda c: z[c])])
    assert margin == pytest.approx(np.abs(np.mean(gradients, 0)).sum())
    monkeypatch.setattr(shared_direction, "_VALUES", 6 * 4 * 12)  # eigenvalues of the first six images alone
    few = collected(jacobians, logits, labels)
    assert few[0] == pytest.approx(np.linalg.eigvalsh(np.einsum("ncd,nce->de", centred[:6], centred[:6]) / 6)[-1])
    assert few[2] == margin


def test_a_network_that_is_constant_shares_nothing():
    assert collected(np.zeros((2, 3, 5)), np.zeros((2, 3)), np.array([0, 1])).tolist() == [0, 0, 0]
