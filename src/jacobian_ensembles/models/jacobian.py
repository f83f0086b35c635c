"""The input-output Jacobian of a network, and products with it: compiled for LeNets, else by autograd.

No torch, until there are tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from jacobian_ensembles.data.interop import is_tensor, like, to_numpy
from jacobian_ensembles.models.compiled import Compiled, rows

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from jacobian_ensembles.data.interop import Array
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
    import torch
    import torch.nn.functional as F

    return F.normalize(torch.randn(batch, classes, generator=generator), dim=1)


class Linearization(Protocol):
    """A network at a batch: its outputs there, and products with its Jacobian J (C x D), outside any graph.

    Tensors for a batch that is a tensor, arrays for an array.
    """

    @property
    def logits(self) -> Any:
        """The outputs, (B, C)."""

    def products(self, v: Any) -> Any:
        """v^T J of every sample, for each of K vectors: (K, B, C) to (K, B, ...)."""


def linearize(model: Callable[[Tensor], Tensor] | Compiled, x: Any) -> Linearization:
    """A network's outputs at a batch, and products with its Jacobian there.

    Args:
        model: Maps (B, ...) to (B, C), each sample on its own; or one LeNet in the engine.
        x: (B, ...).

    Returns:
        See :class:`Linearization`.

    Raises:
        ValueError: If the outputs are not scores, or cannot be differentiated.
    """
    if isinstance(model, Compiled):
        return _Compiled(model.networks, x)
    from torch import nn

    from jacobian_ensembles.models.lenet import compiled

    networks = compiled([model], x) if isinstance(model, nn.Module) else None
    return _Differentiated(model, x) if networks is None else _Compiled(networks, x)


class _Compiled:
    """A LeNet in the engine."""

    def __init__(self, networks: Networks, x: Array) -> None:
        self._networks, self._x = networks, x

    @property
    def logits(self) -> Any:
        return like(self._networks.logits(rows(self._x))[0].copy(), self._x)

    def products(self, v: Any) -> Any:
        found = self._networks.products(rows(self._x), np.ascontiguousarray(to_numpy(v), np.float32))
        return like(found.reshape(len(v), *self._x.shape), self._x)


class _Differentiated:
    """Any network, by automatic differentiation of one forward pass."""

    def __init__(self, model: Callable[[Tensor], Tensor], x: Tensor) -> None:
        import torch

        from jacobian_ensembles.models.door import scores

        self._x = x.detach().requires_grad_(True)
        with torch.enable_grad():
            self._out = scores(model, self._x)
        if not self._out.requires_grad:
            raise ValueError(DETACHED)

    @property
    def logits(self) -> Tensor:
        return self._out.detach()

    def products(self, v: Tensor) -> Tensor:
        import torch

        found = [
            torch.autograd.grad(
                self._out, self._x, row.to(self._out), retain_graph=True, allow_unused=True, materialize_grads=True
            )[0]
            for row in v
        ]
        return torch.stack(found)


def exact_jacobian(model: Callable[[Tensor], Tensor] | Compiled, x: Any) -> Any:
    """The Jacobian of a model's outputs with respect to its inputs, row by row.

    Args:
        model: See :func:`linearize`.
        x: (B, ...), D inputs per sample, tensor or array.

    Returns:
        (B, C, D).

    Raises:
        ValueError: If the outputs are not scores, or cannot be differentiated.
    """
    return jacobian_of(linearize(model, x))


def jacobian_of(at: Linearization) -> Any:
    """:func:`exact_jacobian` of what :func:`linearize` gave."""
    logits = at.logits
    batch, classes = logits.shape
    unit = like(np.broadcast_to(np.eye(classes, dtype=np.float32)[:, None], (classes, batch, classes)).copy(), logits)
    if is_tensor(unit):
        unit = unit.to(logits)
    return at.products(unit).reshape(classes, batch, -1).swapaxes(0, 1)
