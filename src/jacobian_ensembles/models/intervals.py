"""Interval bounds: the least and the most that every unit of a network can be, over a box of inputs.

They hold for the network *as it is computed*, in float32 or float64. A sum of n products and a bias, added in any order
in arithmetic of unit roundoff u, is off by at most gamma = (n + 1) u / (1 - (n + 1) u) times the sum of the absolute
values (Higham: Accuracy and Stability of Numerical Algorithms, 2002, Section 3.1). So every layer's radius is widened
by that, with the largest absolute values that the box allows. The bounds themselves are computed in float64, whose own
rounding is covered in the same way. Not covered: overflow, and products that are themselves inexact or rearranged
(TF32, Winograd's and Fourier convolutions).

References:
    Gowal et al.: On the Effectiveness of Interval Bound Propagation for Training Verifiably Robust Models,
    arXiv:1810.12715, Eqs. (5) to (8).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jacobian_ensembles.models.building import Normalized
from jacobian_ensembles.models.compiled import engine, rows
from jacobian_ensembles.models.lenet import LeNet, fits

_DOUBLE = 2.0**-53  # unit roundoff of the bounds' own arithmetic
_TINY = 2.0**-125  # more than any product loses by underflow, even where subnormal numbers are flushed to zero
#: How far a computed tanh may lie from the true one, in units of u: torch's is off by 0.6, the compiled one by 4.8.
_TANH = 12
_SAME = (nn.Identity, nn.Dropout, nn.Dropout2d)  # in evaluation mode
_RISING = (nn.ReLU, nn.Tanh, nn.MaxPool2d, nn.Flatten)
_POOLS = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_LAYERS = (nn.Conv2d, nn.Linear, *_RISING, *_POOLS, *_SAME)


class _Scaling(nn.Module):
    """The layer that normalises: (x - mean) / std."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std = mean, std


class Margins(NamedTuple):
    """Bounds on how far the label's logit lies above each other one.

    Attributes:
        low: (B, C), at most; 0 at the label itself.
        high: (B, C), at least; 0 at the label itself.
        size: (B,), no logit is larger in absolute value.
    """

    low: Tensor
    high: Tensor
    size: Tensor


def layers_of(net: nn.Module) -> list[nn.Module]:
    """A network as the layers that it applies one after another, in evaluation mode.

    Args:
        net: A :class:`~jacobian_ensembles.models.lenet.LeNet`, a ``torch.nn.Sequential`` of the layers below, nested or
            not, or either with its normalisation around it.

    Returns:
        The layers, which share the network's parameters.

    Raises:
        ValueError: Naming the first module that is none of these.
    """
    if isinstance(net, LeNet):
        act, pool = nn.Tanh() if net.activation == "tanh" else nn.ReLU(), nn.MaxPool2d(2)
        features = [net.conv1, act, pool, net.conv2, act, pool, nn.Flatten()]
        return [_Scaling(net.mean, net.std), *features, net.fc1, act, net.fc2, act, net.fc3]
    if isinstance(net, Normalized):
        return [_Scaling(net.mean, net.std), *layers_of(net.net)]
    forward = type(net).forward  # a subclass may compute something else
    if forward is nn.Sequential.forward:
        return [layer for child in net.children() for layer in layers_of(child)]
    known = any(forward is kind.forward for kind in _LAYERS)
    got = type(net).__name__
    if isinstance(net, nn.Conv2d) and net.padding_mode != "zeros":
        known, got = False, f"{got} with padding_mode {net.padding_mode!r}"
    if isinstance(net, nn.MaxPool2d) and net.return_indices:
        known, got = False, f"{got} with return_indices"
    if not known:
        names = ", ".join(kind.__name__ for kind in _LAYERS)
        raise ValueError(f"bounds are known for a LeNet and for a Sequential of {names}. Got {got}.")
    return [net]


def _slack(terms: int, unit: float) -> float:
    """What a sum of ``terms`` products and a bias is off by, per absolute value: in the network, and in its bounds."""
    gamma = (terms + 2) * unit
    return gamma / (1 - gamma) + 5 * (terms + 4) * _DOUBLE if unit else 0.0


def _rising(layers: Iterable[nn.Module], centre: Tensor, radius: Tensor, unit: float) -> tuple[Tensor, Tensor]:
    """The box after layers whose units rise, or stay, with every input."""
    low, high = centre - radius, centre + radius
    for layer in layers:
        low, high = layer(low), layer(high)
        if isinstance(layer, nn.Tanh) and unit:
            low, high = low - _TANH * unit, high + _TANH * unit
    centre = torch.lerp(low, high, 0.5)
    radius = high - centre
    return centre, radius + 8 * _DOUBLE * (centre.abs() + radius) if unit else radius


def _affine(layer: nn.Module, centre: Tensor, radius: Tensor, unit: float) -> tuple[Tensor, Tensor]:
    """The box after an affine layer; its radius may have one row for all images."""
    if isinstance(layer, _Scaling):
        terms = 6
    elif isinstance(layer, _POOLS):
        terms = centre.shape[-1] * centre.shape[-2]  # a window has no more
    else:
        assert isinstance(layer, nn.Linear | nn.Conv2d)
        terms = layer.weight[0].numel()
    slack, extra = _slack(terms, unit), terms * _TINY if unit else 0.0
    if unit:
        radius = radius + slack * (centre.abs() + radius)
    if isinstance(layer, _Scaling):
        centre, radius = (centre - layer.mean) / layer.std, (radius + slack * abs(layer.mean)) / layer.std
    elif isinstance(layer, _POOLS):
        centre, radius = layer(centre), layer(radius)
    else:
        weight, bias = layer.weight, layer.bias
        off = None if bias is None or not unit else slack * bias.abs()
        if isinstance(layer, nn.Linear):
            centre, radius = F.linear(centre, weight, bias), F.linear(radius, weight.abs(), off)
        else:
            conv = partial(
                F.conv2d, stride=layer.stride, padding=layer.padding, dilation=layer.dilation, groups=layer.groups
            )
            centre, radius = conv(centre, weight, bias), conv(radius, weight.abs(), off)
    return centre, radius + extra


def margin_bounds(
    layers: Sequence[nn.Module], centre: Tensor, radius: Tensor, labels: Tensor, unit: float = 0.0
) -> Margins:
    """Bounds on the margins over a box of inputs; the last linear layer is folded into them.

    Folding bounds (w_y - w_j)^T h at once, where the difference of two logits' bounds would count what they share
    twice.

    Args:
        layers: See :func:`layers_of`; of the precision of ``centre``.
        centre: (B, ...), the middle of what each pixel can be.
        radius: (B, ...), how far it can be from that; or (1, ...), the same for every image, which costs less.
        labels: (B,), in [0, C).
        unit: Unit roundoff of the network's arithmetic, whose errors the bounds then cover; 0 for none, as in training.

    Returns:
        The bounds, differentiable with respect to whatever the layers depend on.

    Raises:
        ValueError: If the layers do not end in one row of logits per image.
    """
    last = layers[-1]
    body = layers[:-1] if isinstance(last, nn.Linear) else layers
    body = [layer for layer in body if not isinstance(layer, _SAME)]
    for rising, run in groupby(body, lambda layer: isinstance(layer, _RISING)):
        if rising:
            centre, radius = _rising(run, centre, radius, unit)
        else:
            for layer in run:
                centre, radius = _affine(layer, centre, radius, unit)
    if centre.ndim != 2:
        got = tuple(centre.shape)
        raise ValueError(f"the layers must end in logits (B, C). Got {got}: end them with nn.Flatten().")
    return _folded(last if isinstance(last, nn.Linear) else None, centre, radius, labels, unit)


def _folded(last: nn.Linear | None, centre: Tensor, radius: Tensor, labels: Tensor, unit: float) -> Margins:
    """The margins' bounds, given the box before the last linear layer; None where there is none."""
    weight, bias = torch.eye(centre.shape[1]).to(centre), None
    if last is not None:
        weight, bias = last.weight, last.bias
    own = labels.unsqueeze(1)
    middle = F.linear(centre, weight, bias)
    middle = middle.gather(1, own) - middle
    # |w_y - w_j| of the labels that occur: (labels, C, features)
    present, which = labels.unique(return_inverse=True)
    apart = (weight[present].unsqueeze(1) - weight).abs()
    widths = F.linear(radius.expand_as(centre), apart.flatten(0, 1)).view(len(centre), len(present), -1)
    width = widths.gather(1, which.view(-1, 1, 1).expand(-1, 1, len(weight))).squeeze(1)
    sizes = F.linear(centre.abs() + radius, weight.abs(), None if bias is None else bias.abs())
    slack = _slack(weight.shape[1], unit)
    if unit:
        both = sizes.gather(1, own) + sizes
        others = 1 - F.one_hot(labels, len(weight)).to(width)
        width = (width + slack * both + 2 * weight.shape[1] * _TINY) * others
    return Margins(middle - width, middle + width, (1 + slack) * sizes.amax(1))


def margin_bounds_within(net: nn.Module, x: Tensor, eps: float, labels: Tensor) -> Margins:
    """:func:`margin_bounds` where every pixel may change by eps, as training needs them: compiled for LeNets on a CPU.

    Args:
        net: See :func:`layers_of`.
        x: (B, ...); no gradient reaches it.
        eps: >= 0.
        labels: (B,), in [0, C).

    Returns:
        See :func:`margin_bounds`.
    """
    there = isinstance(net, LeNet) and fits(net, x) and {p.dtype for p in net.parameters()} == {torch.float32}
    if not there or engine() is None:
        return margin_bounds(layers_of(net), x, torch.full_like(x[:1], eps), labels)
    assert isinstance(net, LeNet)
    doubled = [part for layer in net.layers()[:4] for part in _doubled(layer)]
    high, low = _HiddenBounds.apply(x, eps, net.activation == "relu", net.mean, net.std, *doubled).chunk(2, 1)
    return _folded(net.fc3, (low + high) / 2, (high - low) / 2, labels, 0.0)


def _doubled(layer: nn.Conv2d | nn.Linear) -> list[Tensor]:
    """Weight and bias of the layer that takes the most and the least of its inputs to those of its outputs."""
    plus, minus = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
    assert layer.bias is not None
    return [torch.cat([torch.cat([plus, minus], 1), torch.cat([minus, plus], 1)]), torch.cat([layer.bias, layer.bias])]


class _HiddenBounds(torch.autograd.Function):
    """The most and the least of a LeNet's last hidden features, (B, 168), in the engine."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, relu: bool, mean: float, std: float, *doubled: Tensor) -> Tensor:
        from jacobian_ensembles.engine.bounds import BoundPass

        ctx.shapes = [part.shape for part in doubled]
        ctx.bounds = BoundPass([part.numpy() for part in doubled], relu, mean, std)
        return torch.from_numpy(ctx.bounds.up(rows(x), eps))

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Any:
        found = ctx.bounds.down(v.contiguous().numpy())
        return *[None] * 5, *(torch.from_numpy(g).view(s) for g, s in zip(found, ctx.shapes, strict=True))
