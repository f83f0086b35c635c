"""A LeNet's convolutions and pooling, and their adjoints, in the forms that a CPU computes fastest.

A 2x2 pooling window is folded into the channels of the convolution before it, so that pooling is arithmetic on
contiguous planes; input and weight gradients are convolutions of their own, without automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight


@cache
def _window_shifts(dtype: torch.dtype, device: torch.device) -> Tensor:
    """The linear map (25, 144) from a 5x5 kernel to what the four pixels of a pooling window see of it.

    Seen from a window, its four pixels apply the kernel to one 6x6 patch through four shifts. With the patch
    split into its four phases (``pixel_unshuffle``), each shift is four 3x3 kernels.
    """
    with torch.inference_mode(False):  # it is kept, and may be needed in a graph later
        single = torch.eye(25, dtype=dtype, device=device).view(25, 5, 5)
        shifts = torch.stack([F.pad(single, (q, 1 - q, p, 1 - p)) for p in (0, 1) for q in (0, 1)], 1)
        return F.pixel_unshuffle(shifts.unsqueeze(2), 2).reshape(25, 144)


def phase_kernel(weight: Tensor) -> Tensor:
    """Fold a 2x2 pooling window into the channels of the 5x5 convolution before it.

    A 3x3 convolution with this kernel, of the input split into its four phases, has the pixels of each pooling
    window as channels of its output. Pooling, the slowest layer of a LeNet on a CPU, then becomes arithmetic
    on contiguous planes.

    Args:
        weight: (O, I, 5, 5).

    Returns:
        (4*O, 4*I, 3, 3); output channels are (window pixel, O), row by row in the window.
    """
    out, into = weight.shape[:2]
    shifted = weight.flatten(2) @ _window_shifts(weight.dtype, weight.device)
    return shifted.view(out, into, 4, 4, 3, 3).permute(2, 0, 1, 3, 4, 5).reshape(4 * out, 4 * into, 3, 3)


def phase_kernel_adjoint(grad: Tensor) -> Tensor:
    """The adjoint of :func:`phase_kernel`: a gradient (4*O, 4*I, 3, 3) to one (O, I, 5, 5)."""
    out, into = grad.shape[0] // 4, grad.shape[1] // 4
    shifted = grad.view(4, out, into, 4, 3, 3).permute(1, 2, 0, 3, 4, 5).reshape(out, into, 144)
    return (shifted @ _window_shifts(grad.dtype, grad.device).T).view(out, into, 5, 5)


def input_gradient(grad: Tensor, kernel: Tensor, padding: int) -> Tensor:
    """The input gradient of a stride-1 convolution.

    With AVX-512 a convolution with flipped, transposed weights is faster than the transposed convolution; with AVX2 it
    takes four times as long, because oneDNN has no fast kernel for six output channels there.
    """
    if grad.device.type == "cpu" and torch.backends.cpu.get_cpu_capability() != "AVX512":
        return F.conv_transpose2d(grad, kernel, padding=padding)
    return F.conv2d(grad, kernel.flip(2, 3).transpose(0, 1), padding=kernel.shape[-1] - 1 - padding)


def input_gradient_by_blocks(grad: Tensor, kernel: Tensor) -> Tensor:
    """The input gradient of a 3x3 convolution (padding 1) with few input channels.

    Four channels leave most of a CPU's register empty. So each output is a block of 2x2 pixels, in 16 channels:
    (B, 24, 14, 14) -> (B, 16, 7, 7) -> (B, 4, 14, 14).
    """
    flipped = kernel.flip(2, 3).transpose(0, 1)
    shifted = torch.stack([F.pad(flipped, (q, 1 - q, p, 1 - p)) for p in (0, 1) for q in (0, 1)], 1)
    return F.pixel_shuffle(F.conv2d(grad, shifted.flatten(0, 1), stride=2, padding=1), 2)


def kernel_gradient(grad: Tensor, inputs: Tensor, shape: Sequence[int], padding: int) -> Tensor:
    """The weight gradient of a stride-1 convolution; channels-last inputs halve its time on a CPU."""
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    gradient: Tensor = conv2d_weight(inputs, shape, grad, padding=padding)
    return gradient


def as_windows(z: Tensor) -> Tensor:
    """Put the pixels of each 2x2 window side by side: (B, C, 2h, 2w) -> (B, 4, C, h, w)."""
    batch, channels, height, width = z.shape
    split = z.view(batch, channels, height // 2, 2, width // 2, 2)
    return split.permute(0, 3, 5, 1, 2, 4).flatten(1, 2)


@cache
def _window_corners(height: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Where each 2x2 window's first pixel lies in a plane of height x width windows: (height, width)."""
    with torch.inference_mode(False):
        rows, columns = (2 * torch.arange(n, dtype=dtype, device=device) for n in (height, width))
        return rows[:, None] * (2 * width) + columns


def winner_indices(won: Tensor) -> Tensor:
    """Turn a mask (B, 4, C, h, w) of windows' winners into their indices (B, C, h*w) in planes of 4*h*w pixels."""
    height, width = won.shape[-2:]
    _, right, below, both = won.unbind(1)
    corners = _window_corners(height, width, won.dtype, won.device)
    index = torch.add(corners, right).add_(below, alpha=2 * width).add_(both, alpha=2 * width + 1)
    return index.flatten(2).long()


_TIE = 3e-7  # pixels of a pooling window closer than this, a few roundings, are one maximum


class MaxPool(torch.autograd.Function):
    """Max-pooling of windows (B, 4, C, h, w), giving (B, C, h, w) and a mask of the pixels passed on.

    The mask is 1 at the first maximum of each window, as in ``max_pool2d``, else 0. The four pixels' sums run in
    different orders, so over a flat patch of the input they differ by rounding; ``_TIE`` lets the first win.
    Comparisons write floats into place: booleans would take three times as long.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> tuple[Tensor, Tensor]:
        """The maxima (B, C, h, w) and the mask (B, 4, C, h, w)."""
        a, b, c, d = z.unbind(1)
        upper, lower = torch.maximum(a, b), torch.maximum(c, d)
        won = torch.empty_like(z)
        top_row = torch.sub(upper, lower).ge_(-_TIE)
        torch.mul(top_row, torch.sub(a, b).ge_(-_TIE), out=won[:, 0])
        torch.sub(top_row, won[:, 0], out=won[:, 1])
        low_row = top_row.neg_().add_(1)
        torch.mul(low_row, torch.sub(c, d).ge_(-_TIE), out=won[:, 2])
        torch.sub(low_row, won[:, 2], out=won[:, 3])
        ctx.save_for_backward(won)
        ctx.mark_non_differentiable(won)
        ctx.set_materialize_grads(False)
        return torch.maximum(upper, lower), won

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: None) -> Tensor:
        """A gradient (B, C, h, w), handed to the pixels that were passed on."""
        (won,) = ctx.saved_tensors
        result: Tensor = grad.unsqueeze(1) * won
        return result
