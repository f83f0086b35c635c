"""How weights move: the optimiser, and its learning rate over the course of training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from jacobian_ensembles.models.lenet import LeNet, descent, fits, views
from jacobian_ensembles.training.objectives.derivatives import engine_inputs, gradients_of
from jacobian_ensembles.training.objectives.objective import Terms
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


class Optimizer:
    """Adam or SGD on one vector, of which a net's trained parameters become views.

    Each step saves the bookkeeping of ten tensors. A LeNet that the engine takes lies in the engine's memory, where a
    whole step is one call. torch's functions are called without its classes, which import a compiler that nothing
    here uses.

    Args:
        net: The network.
        settings: ``optimizer``, ``momentum``, ``weight_decay``.
    """

    def __init__(self, net: nn.Module, settings: Recipe) -> None:
        self.net, self.settings = net, settings
        self.gradient: Tensor | None = None
        self._descent = descent(net, settings.optimizer, settings.momentum, settings.weight_decay)
        if self._descent is not None and isinstance(net, LeNet):
            self._parts = views(self._descent.gradient, net)
            return
        trained = [p for p in net.parameters() if p.requires_grad]
        self.vector = torch.cat([p.detach().flatten() for p in trained])  # whatever their memory format
        vector_to_parameters(self.vector, trained)
        self._mean, self._square = torch.zeros_like(self.vector), torch.zeros_like(self.vector)
        self._steps = self.vector.new_zeros(())
        self._momentum: list[Tensor | None] = [None]

    def descend(self, terms: Terms, labels: Tensor, rate: float, dropout: torch.Generator | None = None) -> Tensor:
        """Take a step down a loss.

        Args:
            terms: What the loss is made of; the net may write to their images.
            labels: (B,), in [0, C).
            rate: The learning rate.
            dropout: Generator of a LeNet's dropout masks; None for no dropout.

        Returns:
            The loss before the step, a scalar outside any graph.
        """
        net, x = self.net, terms.images
        if self._descent is None or not isinstance(net, LeNet) or not fits(net, x):
            value, gradients = gradients_of(net, terms, labels, dropout, keep=False)
            self.step(gradients, rate)
            return value
        given = engine_inputs(net, x, labels, terms.lambda_jr, terms.directions, dropout)
        return torch.tensor(self._descent.step(**given, rate=rate), dtype=x.dtype)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        """Take a step along given gradients.

        Args:
            gradients: One per trained parameter of the net.
            rate: The learning rate.
        """
        if self._descent is not None:
            for part, gradient in zip(self._parts, gradients, strict=True):
                part.copy_(gradient)
            self._descent.move(rate)
            return
        # reuse the memory of the first step: new pages for 11 million parameters cost more than the step itself
        self.gradient = torch.cat([g.flatten() for g in gradients], out=self.gradient)
        if self.settings.optimizer == "adam":
            adam(
                [self.vector],
                [self.gradient],
                [self._mean],
                [self._square],
                [],
                [self._steps],
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=rate,
                weight_decay=self.settings.weight_decay,
                eps=1e-8,
                maximize=False,
            )
        else:
            sgd(
                [self.vector],
                [self.gradient],
                self._momentum,
                fused=True,
                weight_decay=self.settings.weight_decay,
                momentum=self.settings.momentum,
                lr=rate,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
