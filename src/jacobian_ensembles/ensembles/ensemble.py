"""Ensembles: convex combinations of base learners, always giving log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from jacobian_ensembles.ensembles.methods import Method
from jacobian_ensembles.models.door import scores


class Ensemble(nn.Module):
    """The equal-weight ensemble of M classifiers: F = (1/M) sum_i f_i.

    Bagging and snapshot ensembles average logits; soft voting averages probabilities. Either way ``forward``
    returns log-probabilities, for one member as for nine, so that cross-entropy under attack is exact and no
    softmax is ever applied twice.

    Args:
        members: M modules from (B, ...) to logits (B, C).
        average: ``logits``, ``probabilities``, or a function from member logits (M, B, C) to log-probabilities (B, C).

    Raises:
        ValueError: If there are no members, or ``average`` is none of the three.
    """

    def __init__(self, members: Sequence[nn.Module], average: str | Callable[[Tensor], Tensor] = "logits") -> None:
        super().__init__()
        if not members:
            raise ValueError("An ensemble needs at least one member. Got none.")
        self.members = nn.ModuleList(members)
        self.average = Method(average).average

    def member_logits(self, x: Tensor) -> Tensor:
        """The logits of every member: (B, ...) -> (M, B, C)."""
        return torch.stack([scores(member, x) for member in self.members])

    def combine(self, logits: Tensor) -> Tensor:
        """Member logits (M, B, C) to the ensemble's log-probabilities (B, C)."""
        if callable(self.average):
            return self.average(logits)
        if self.average == "logits":
            return logits.mean(0).log_softmax(-1)
        return logits.log_softmax(-1).logsumexp(0) - math.log(len(logits))

    def forward(self, x: Tensor) -> Tensor:
        """Classify: (B, ...) -> log-probabilities (B, C)."""
        return self.combine(self.member_logits(x))
