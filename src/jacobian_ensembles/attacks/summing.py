"""The gradient with respect to a perturbation that samples share, by torch's automatic differentiation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge


@torch.no_grad()
def summed_gradient(total: Tensor, x: Tensor, groups: int) -> Tensor:
    """The gradient of a scalar with respect to a perturbation shared by each group of samples: (G, ...).

    Where only convolutions take the input, the batch is summed before their adjoint, which is then applied once per
    group instead of to every sample.
    """
    first = first_convolutions(total, x) if x.device.type == "cpu" else []
    if not first:
        (of_each,) = torch.autograd.grad(total, x, allow_unused=True, materialize_grads=True)
        return of_each.reshape(groups, -1, *x.shape[1:]).sum(1)
    names = ("weight", "stride", "padding", "dilation", "transposed", "output_padding", "groups")
    saved = [[getattr(node, f"_saved_{name}") for name in names] for node in first]  # freed by the next line
    found = torch.autograd.grad(total, [GradientEdge(node, 0) for node in first], allow_unused=True)
    gradient = torch.zeros_like(x[:groups])
    for g, (weight, *geometry) in zip(found, saved, strict=True):
        if g is None:  # no gradient reached it
            continue
        shared = g.unflatten(0, (groups, -1)).sum(1)
        wanted = [True, False, False]  # the input's gradient, not those of weights and bias
        gradient += torch.ops.aten.convolution_backward(shared, gradient, weight, None, *geometry, wanted)[0]
    return gradient


def first_convolutions(total: Tensor, x: Tensor) -> list[Any]:
    """The graph nodes of the convolutions that take the input; none where anything else takes it too."""
    found, seen = [], set()
    left: list[Any] = [total.grad_fn]
    while left:
        if (node := left.pop()) is None or node in seen:
            continue
        seen.add(node)
        for place, (source, _) in enumerate(node.next_functions):
            origin = source
            while origin is not None and origin.name() == "ToCopyBackward0":  # the copy that a model is given
                origin = origin.next_functions[0][0]
            if getattr(origin, "variable", None) is not x:
                left.append(source)
                continue
            if node.name() != "ConvolutionBackward0" or place > 0:
                return []
            if (node._saved_weight.dtype, node._saved_weight.device) != (x.dtype, x.device):
                return []
            found.append(node)
    return found
