"""The input-output Jacobian of a network."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jacobian_ensembles.models.door import scores
from jacobian_ensembles.models.lenet import LeNet, compiled

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


def exact_jacobian(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The Jacobian of a model's outputs with respect to its inputs, by C backward passes.

    Args:
        model: Maps (B, ...) to (B, C), each sample on its own.
        x: (B, ...), D inputs per sample.

    Returns:
        (B, C, D).

    Raises:
        ValueError: If the outputs are not scores, or cannot be differentiated.
    """
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        out = scores(model, x)
        if not out.requires_grad:
            raise ValueError(DETACHED)
        rows = [
            torch.autograd.grad(
                out[:, c].sum(), x, retain_graph=c + 1 < out.shape[1], allow_unused=True, materialize_grads=True
            )[0].flatten(1)
            for c in range(out.shape[1])
        ]
    return torch.stack(rows, dim=1)


@torch.no_grad()
def logit_jacobian(model: nn.Module, x: Tensor) -> Tensor:
    """The Jacobian of a classifier's logits, by a LeNet's compiled products or, for any other, :func:`exact_jacobian`.

    Args:
        model: Maps (B, ...) to logits (B, C), each sample on its own.
        x: (B, ...), in [0, 1].

    Returns:
        (B, C, D).
    """
    if not (isinstance(model, LeNet) and compiled(model, x)):
        return exact_jacobian(model, x)
    at = model.linearize(x)
    unit = torch.eye(at.logits.shape[1], device=x.device)
    return torch.stack([at.vjp(row.expand_as(at.logits)).flatten(1) for row in unit], dim=1)
