"""A defence of your own: logit squeezing (Kannan et al., 2018), which keeps logits small.

training: {objective: docs/examples/logit_squeezing.py:LogitSqueezing, options: {noise: 0.1}}
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from jacobian_ensembles.training.objectives.objective import Model, Objective


class LogitSqueezing(Objective):
    """Cross-entropy + lambda/2 of the mean squared logit, both on noisy images."""

    def __init__(self, strength: float, noise: float = 0.1) -> None:
        super().__init__(strength)
        if noise < 0:
            raise ValueError(f"noise must be a standard deviation >= 0. Got {noise}.")
        self.noise = noise

    def loss(self, model: Model, images: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """A scalar, for one learner at one batch."""
        noise = torch.randn(images.shape, generator=rng).to(images)
        logits = model(images + self.noise * noise)
        return F.cross_entropy(logits, labels) + self.strength / 2 * logits.pow(2).mean()
