"""How weights move: the optimiser, and its learning rate over a training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters

from jacobian_ensembles.training.recipe import Recipe


def cyclic_cosine(iteration: int, total: int, cycles: int, initial: float) -> float:
    """The learning rate of a cyclic cosine schedule, restarted ``cycles`` times.

    Args:
        iteration: 0-based, in [0, total).
        total: Iterations in all; a multiple of ``cycles``.
        cycles: How many equal cycles; 1 is plain cosine annealing.
        initial: Learning rate at the start of each cycle.

    Returns:
        The learning rate of that iteration, in (0, initial].

    References:
        Huang et al.: Snapshot Ensembles, ICLR 2017, Eq. (2).
    """
    length = total // cycles
    return initial / 2 * (math.cos(math.pi * (iteration % length) / length) + 1)


def make_optimizer(net: nn.Module, settings: Recipe) -> torch.optim.Optimizer:
    """The optimiser a learner is trained with.

    It sees one vector, of which the net's parameters become views: per step that saves the bookkeeping of ten.
    """
    trained = [p for p in net.parameters() if p.requires_grad]
    vector = nn.Parameter(torch.cat([p.detach().flatten() for p in trained]))  # whatever their memory format
    vector_to_parameters(vector.data, trained)
    if settings.optimizer == "adam":
        return torch.optim.Adam([vector], lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    return torch.optim.SGD(
        [vector],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def apply_gradients(optimizer: torch.optim.Optimizer, gradients: Sequence[Tensor]) -> None:
    """Take a step of an optimiser of :func:`make_optimizer`, on one gradient per trained parameter of the net."""
    (vector,) = optimizer.param_groups[0]["params"]
    # after the first step into the same memory: new pages for 11 million parameters cost more than the step itself
    vector.grad = torch.cat([g.flatten() for g in gradients], out=vector.grad)
    optimizer.step()
