"""Several models attacked by one perturbation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jacobian_ensembles.models.door import scores


class Several(nn.Module):
    """Models that a perturbation is to fool together: the loss that an attack ascends is the mean of each one's own.

    :func:`~jacobian_ensembles.attacks.losses.loss_gradient` takes each model's gradient by itself, as if it were
    attacked alone, with its own cap. Called, it gives their soft vote: what an attack by scores sees, and what
    ``staged`` compares its starts by.

    Args:
        models: Each maps (B, ...) to logits or log-probabilities (B, C), of the same C classes.

    Raises:
        ValueError: If there are none, or one is no module.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        if not models or not all(isinstance(model, nn.Module) for model in models):
            got = ", ".join(type(model).__name__ for model in models) or "none"
            raise ValueError(f"Several models must be given as a list of modules, at least one. Got {got}.")
        self.models = nn.ModuleList(models)

    def forward(self, x: Tensor) -> Tensor:
        """The log of the mean of the models' probabilities: (B, ...) -> (B, C)."""
        of_each = [scores(model, x) for model in self.models]
        if len(classes := {out.shape[1] for out in of_each}) > 1:
            raise ValueError(f"The models must have the same classes. Got {' and '.join(map(str, sorted(classes)))}.")
        return torch.stack([out.log_softmax(-1) for out in of_each]).logsumexp(0) - math.log(len(of_each))
