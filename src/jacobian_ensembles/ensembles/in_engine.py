"""What of a classifier the engine can compute. No torch, until something is a module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jacobian_ensembles.models.compiled import Compiled

if TYPE_CHECKING:
    from torch import nn


def in_engine(model: nn.Module | Compiled, x: Any) -> Compiled | None:
    """An ensemble of LeNets, or a LeNet, in the engine, for inputs like ``x``.

    Returns:
        Its learners, and how their scores are averaged; None if anything else must compute the ensemble's scores.
    """
    if isinstance(model, Compiled):
        return model
    from jacobian_ensembles.ensembles.ensemble import Ensemble
    from jacobian_ensembles.models.lenet import compiled, unchanged

    members: list[nn.Module] = [model]
    average: Any = "logits"
    if isinstance(model, Ensemble) and unchanged(model, Ensemble):
        members, average = list(model.members), model.average
    if not isinstance(average, str) or (networks := compiled(members, x)) is None:
        return None
    return Compiled(networks, average)
