"""The input-output Jacobian of a network, and products with it: compiled for LeNets, else by autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jacobian_ensembles.models.door import scores
from jacobian_ensembles.models.lenet import compiled, rows

if TYPE_CHECKING:
    from jacobian_ensembles.engine.passes import Networks

#: What is wrong with a model whose outputs autograd cannot follow.
DETACHED = (
    "the model's scores cannot be differentiated with respect to its inputs. Let it compute them by torch alone, "
    "without detach(), no_grad(), inference_mode() or NumPy."
)


def unit_vectors(batch: int, classes: int, generator: torch.Generator) -> Tensor:
    """Draw directions uniformly from the unit sphere of R^C.

    Args:
        batch: B.
        classes: C.
        generator: A CPU generator, so that the draws are the same on every device.

    Returns:
        (B, C), rows of norm 1.
    """
    return F.normalize(torch.randn(batch, classes, generator=generator), dim=1)


class Linearization(Protocol):
    """A network at a batch: its outputs there, and products with its Jacobian J (C x D), outside any graph."""

    @property
    def logits(self) -> Tensor:
        """The outputs, (B, C)."""

    def products(self, v: Tensor) -> Tensor:
        """v^T J of every sample, for each of K vectors: (K, B, C) to (K, B, ...)."""


def linearize(model: Callable[[Tensor], Tensor], x: Tensor) -> Linearization:
    """A network's outputs at a batch, and products with its Jacobian there.

    Args:
        model: Maps (B, ...) to (B, C), each sample on its own.
        x: (B, ...).

    Returns:
        See :class:`Linearization`.

    Raises:
        ValueError: If the outputs are not scores, or cannot be differentiated.
    """
    networks = compiled([model], x) if isinstance(model, nn.Module) else None
    return _Differentiated(model, x) if networks is None else _Compiled(networks, x)


class _Compiled:
    """A LeNet in the engine."""

    def __init__(self, networks: Networks, x: Tensor) -> None:
        self._networks, self._x = networks, x

    @property
    def logits(self) -> Tensor:
        return torch.from_numpy(self._networks.logits(rows(self._x))[0].copy())

    def products(self, v: Tensor) -> Tensor:
        found = self._networks.products(rows(self._x), v.detach().float().contiguous().numpy())
        return torch.from_numpy(found).view(len(v), *self._x.shape)


class _Differentiated:
    """Any network, by automatic differentiation of one forward pass."""

    def __init__(self, model: Callable[[Tensor], Tensor], x: Tensor) -> None:
        self._x = x.detach().requires_grad_(True)
        with torch.enable_grad():
            self._out = scores(model, self._x)
        if not self._out.requires_grad:
            raise ValueError(DETACHED)

    @property
    def logits(self) -> Tensor:
        return self._out.detach()

    def products(self, v: Tensor) -> Tensor:
        found = [
            torch.autograd.grad(
                self._out, self._x, row.to(self._out), retain_graph=True, allow_unused=True, materialize_grads=True
            )[0]
            for row in v
        ]
        return torch.stack(found)


def exact_jacobian(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The Jacobian of a model's outputs with respect to its inputs, row by row.

    Args:
        model: Maps (B, ...) to (B, C), each sample on its own.
        x: (B, ...), D inputs per sample.

    Returns:
        (B, C, D).

    Raises:
        ValueError: If the outputs are not scores, or cannot be differentiated.
    """
    at = linearize(model, x)
    batch, classes = at.logits.shape
    unit = torch.eye(classes, dtype=at.logits.dtype, device=x.device)
    return at.products(unit[:, None].expand(classes, batch, classes)).flatten(2).transpose(0, 1)
