"""Ensembles: convex combinations of base learners, always giving log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from jacobian_ensembles.checkpoints import load_learners
from jacobian_ensembles.models import LeNet, build_nets

#: What each ensemble method averages: the members' logits, or their probabilities.
AVERAGES = {"bagging": "logits", "snapshot": "logits", "voting": "probabilities"}


class Ensemble(nn.Module):
    """The equal-weight ensemble of M classifiers: F = (1/M) sum_i f_i.

    Bagging and snapshot ensembles average logits; soft voting averages probabilities. Either way ``forward``
    returns log-probabilities, for one member as for nine, so that cross-entropy under attack is exact and no
    softmax is ever applied twice.

    Args:
        members: M modules from (B, ...) to logits (B, C).
        average: ``logits`` or ``probabilities``.

    Raises:
        ValueError: If there are no members, or ``average`` is neither.
    """

    def __init__(self, members: Sequence[nn.Module], average: str = "logits") -> None:
        super().__init__()
        if not members:
            raise ValueError("An ensemble needs at least one member. Got none.")
        if average not in ("logits", "probabilities"):
            raise ValueError(f"average must be 'logits' or 'probabilities'. Got {average!r}.")
        self.members = nn.ModuleList(members)
        self.average = average

    def member_logits(self, x: Tensor) -> Tensor:
        """The logits of every member: (B, ...) -> (M, B, C)."""
        return torch.stack([member(x) for member in self.members])

    def combine(self, logits: Tensor) -> Tensor:
        """Member logits (M, B, C) to the ensemble's log-probabilities (B, C)."""
        if self.average == "logits":
            return logits.mean(0).log_softmax(-1)
        return logits.log_softmax(-1).logsumexp(0) - math.log(len(logits))

    def forward(self, x: Tensor) -> Tensor:
        """Classify: (B, ...) -> log-probabilities (B, C)."""
        return self.combine(self.member_logits(x))

    @property
    def has_explicit_gradient(self) -> bool:
        """Whether every member is a LeNet, whose input gradient needs no automatic differentiation."""
        return all(isinstance(member, LeNet) for member in self.members)


def load_ensemble(path: str | Path, members: int | None = None) -> Ensemble:
    """Load a stored ensemble for evaluation.

    Args:
        path: The file ``assemble_ensemble`` wrote.
        members: The number of members it must have; None for any.

    Returns:
        The ensemble, on the CPU, with gradients switched off.

    Raises:
        ArtifactError: If the file is damaged, or has other shapes or another member count.
    """
    arrays, spec = load_learners(path, members)
    return Ensemble(build_nets(arrays, spec["architecture"]), AVERAGES[spec["ensemble"]])
