"""What an evaluation says of itself."""

import numpy as np

from jacobian_ensembles.evaluation.record import Evaluation

LABELS = np.array([0, 0, 0, 1, 2])
RIGHT = np.array([[1, 1, 0, 0, 0], [1, 0, 0, 0, 0]], bool)


def found(k):
    return Evaluation(LABELS, np.array([0, 0, 0, 1, 1]), RIGHT[:k], np.array([0.1, 0.15])[:k])


def test_an_evaluation_is_one_sentence():
    end = "; chance, always naming the most frequent class, is 60.00%."
    assert str(found(0)) == f"Of 5 images, 80.00% are classified correctly{end}"
    assert (
        str(found(1)) == f"Of 5 images, 80.00% are classified correctly, 40.00% under one perturbation (size 0.1){end}"
    )
    both = "Of 5 images, 80.00% are classified correctly, 20.00% under the worst of 2 perturbations (size 0.15)"
    assert str(found(2)) == both + end
