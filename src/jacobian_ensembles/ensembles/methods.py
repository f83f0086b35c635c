"""Ensemble methods: which images each learner is trained on, and what is averaged. No torch until a draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Method:
    """One ensemble method.

    Attributes:
        average: What the ensemble averages: the members' ``logits``, or their ``probabilities``; or a function from
            member logits (M, B, C) to log-probabilities (B, C), differentiable for the attack's sake.
        sample: Maps the number of training images n and the learner's own generator to the indices (k,) that the
            learner is trained on; None for all images. Learners differ in initial weights and batch order anyway.
        cyclic: Whether the M learners are snapshots of one training run. Such an ensemble does not nest: it cannot
            be the first M learners of a larger one.
    """

    average: str | Callable[[Tensor], Tensor] = "logits"
    sample: Callable[[int, torch.Generator], Tensor] | None = None
    cyclic: bool = False

    def __post_init__(self) -> None:
        """Refuse an average that is neither known nor a function."""
        if not callable(self.average) and self.average not in ("logits", "probabilities"):
            raise ValueError(f"average must be 'logits', 'probabilities' or a function. Got {self.average!r}.")


def bootstrap_indices(size: int, rng: torch.Generator) -> Tensor:
    """A bootstrap resample: ``size`` draws with replacement from ``range(size)``, (size,) int64."""
    import torch

    return torch.randint(size, (size,), generator=rng)


#: The paper's three methods.
METHODS = {
    "bagging": Method(average="logits", sample=bootstrap_indices),
    "snapshot": Method(average="logits", cyclic=True),
    "voting": Method(average="probabilities"),
}
