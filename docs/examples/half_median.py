"""An ensemble method of your own: each learner sees a random half of the images; the median logit decides.

grid: {ensembles: [voting, docs/examples/half_median.py:half_median]}
"""

import torch
from torch import Tensor

from jacobian_ensembles.ensembles.methods import Method


def half(size: int, rng: torch.Generator) -> Tensor:
    """A random half of the training images, without replacement."""
    return torch.randperm(size, generator=rng)[: size // 2]


def median_logit(logits: Tensor) -> Tensor:
    """Member logits (M, B, C) to log-probabilities (B, C)."""
    return logits.quantile(0.5, dim=0).log_softmax(-1)


half_median = Method(average=median_logit, sample=half)
