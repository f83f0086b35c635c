"""The LeNet of the paper's experiments, with explicit derivatives with respect to its input.

A LeNet spends most of an attack's or a regulariser's time in pooling and in the gradient with respect to the
*input*, where general automatic differentiation is slow on a CPU. :meth:`LeNet.linearize` therefore keeps
what a forward pass knows (which pixel won each pooling window, each activation's slope) and offers both
products with the Jacobian: v^T J by an explicit backward pass, J u by a forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jacobian_ensembles.data import CLASSES


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


def _phase_kernel(weight: Tensor) -> Tensor:
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


def _adjoint(grad: Tensor, kernel: Tensor, padding: int) -> Tensor:
    """The input gradient of a stride-1 convolution, as a convolution with flipped, transposed weights."""
    return F.conv2d(grad, kernel.flip(2, 3).transpose(0, 1), padding=kernel.shape[-1] - 1 - padding)


def _as_windows(z: Tensor) -> Tensor:
    """Put the pixels of each 2x2 window side by side: (B, C, 2h, 2w) -> (B, 4, C, h, w)."""
    batch, channels, height, width = z.shape
    split = z.view(batch, channels, height // 2, 2, width // 2, 2)
    return split.permute(0, 3, 5, 1, 2, 4).flatten(1, 2)


_TIE = 3e-7  # pixels of a pooling window closer than this, a few roundings, are one maximum


class _MaxPool(torch.autograd.Function):
    """Max-pooling of windows (B, 4, C, h, w), giving (B, C, h, w) and a mask of the pixels passed on.

    The mask is 1 at the first maximum of each window, as in ``max_pool2d``, else 0. The four pixels' sums run in
    different orders, so over a flat patch of the input they differ by rounding; ``_TIE`` lets the first win.
    Comparisons write floats into place: booleans would take three times as long.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> tuple[Tensor, Tensor]:
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
        (won,) = ctx.saved_tensors
        return grad.unsqueeze(1) * won


class LeNet(nn.Module):
    """The LeNet of Hoffman et al. (2019): 61,706 parameters for ten classes.

    conv 6@5x5 (padding 2), activation, 2x2 max-pool, conv 16@5x5, activation, 2x2 max-pool, 400-120-84-C,
    Xavier-uniform weights and zero biases. Pooling precedes the activation here: both activations are
    monotone, so the two commute, and a quarter of the activations is saved.

    Dropout acts only when a generator is passed, so the module has no training mode to forget.

    Args:
        activation: ``tanh`` or ``relu``.
        dropout: Probability of dropping a hidden unit after each of the first two linear layers, in [0, 1).
        mean: Subtracted from the input, inside the model.
        std: Divides the input after that, inside the model.
        generator: CPU generator of the initial weights; None leaves them to torch's global generator.

    References:
        Hoffman, Roberts, Yaida: Robust Learning with Jacobian Regularization, arXiv:1908.02729.
    """

    def __init__(
        self,
        activation: str = "tanh",
        dropout: float = 0.0,
        mean: float = 0.0,
        std: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if activation not in ("tanh", "relu"):
            raise ValueError(f"activation must be 'tanh' or 'relu'. Got {activation!r}.")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1). Got {dropout}.")
        if not std > 0:
            raise ValueError(f"std must be positive. Got {std}.")
        self.activation, self.dropout, self.mean, self.std = activation, dropout, mean, std
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, CLASSES)
        for layer in self.layers():
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)

    def layers(self) -> list[nn.Conv2d | nn.Linear]:
        """The five layers with parameters, input to output."""
        return [self.conv1, self.conv2, self.fc1, self.fc2, self.fc3]

    def _act(self, z: Tensor) -> Tensor:
        if self.activation == "relu":
            return torch.relu(z)
        return 2 * torch.sigmoid(2 * z) - 1  # tanh, four times as fast on a CPU, equal to rounding

    def _slope(self, a: Tensor) -> Tensor:
        """The activation's derivative, from its output."""
        return 1 - a * a if self.activation == "tanh" else (a > 0).to(a.dtype)

    def _normalize(self, x: Tensor) -> Tensor:
        return x if (self.mean, self.std) == (0.0, 1.0) else (x - self.mean) / self.std

    def _first_windows(self, x: Tensor, kernel: Tensor) -> Tensor:
        """The first convolution, with the pixels of each pooling window side by side: (B, 4, 6, 14, 14)."""
        z = F.conv2d(F.pixel_unshuffle(self._normalize(x), 2), kernel, self.conv1.bias.repeat(4), padding=1)
        return z.unflatten(1, (4, -1))

    def forward(self, x: Tensor) -> Tensor:
        """Classify without dropout.

        Args:
            x: (B, 1, 28, 28), in [0, 1].

        Returns:
            Logits (B, C).
        """
        if torch.is_grad_enabled():
            return self.linearize(x).logits
        a = self._act(self._first_windows(x, _phase_kernel(self.conv1.weight)).amax(1))
        a = self._act(_as_windows(self.conv2(a)).amax(1))
        return self.fc3(self._act(self.fc2(self._act(self.fc1(a.flatten(1))))))

    def linearize(self, x: Tensor, generator: torch.Generator | None = None) -> Linearization:
        """Classify, and keep what products with the Jacobian at ``x`` need.

        Args:
            x: (B, 1, 28, 28), in [0, 1].
            generator: CPU generator of the dropout masks; None for no dropout.

        Returns:
            The linearisation, with the logits.
        """
        kernel1 = _phase_kernel(self.conv1.weight)
        z1, winners1 = _MaxPool.apply(self._first_windows(x, kernel1))
        a1 = self._act(z1)
        z2, winners2 = _MaxPool.apply(_as_windows(self.conv2(a1)))
        a2 = self._act(z2)
        hidden, slopes = a2.flatten(1), []
        for layer in (self.fc1, self.fc2):
            hidden = self._act(layer(hidden))
            slope = self._slope(hidden)
            if generator is not None and self.dropout:
                keep = torch.rand(hidden.shape, generator=generator) >= self.dropout
                keep = keep.to(hidden) / (1 - self.dropout)
                hidden, slope = hidden * keep, slope * keep
            slopes.append(slope)
        return Linearization(
            net=self,
            kernel1=kernel1,
            logits=self.fc3(hidden),
            winners=(winners1, winners2),
            slopes=(self._slope(a1), self._slope(a2), slopes[0], slopes[1]),
        )


@dataclass(frozen=True)
class Linearization:
    """A LeNet's logits at a batch, and products with its input-output Jacobian J (C x D) there.

    Attributes:
        net: The network.
        kernel1: The first convolution's kernel, with pooling windows folded in.
        logits: (B, C).
        winners: For each pooling layer, a mask (B, 4, channels, h, w) of the pixels it passed on.
        slopes: The slope of the activation (times its dropout mask) of the four hidden layers.
    """

    net: LeNet
    kernel1: Tensor
    logits: Tensor
    winners: tuple[Tensor, Tensor]
    slopes: tuple[Tensor, ...]

    def _back_to_first_windows(self, v: Tensor) -> Tensor:
        """v^T J, but with respect to the first convolution's output: (B, C) -> (B, 4, 6, 14, 14)."""
        net, (s1, s2, s3, s4) = self.net, self.slopes
        g = (v @ net.fc3.weight) * s4
        g = (g @ net.fc2.weight) * s3
        g = (g @ net.fc1.weight).view_as(s2) * s2
        g = (g.unsqueeze(1) * self.winners[1]).flatten(1, 2)
        g = F.pixel_shuffle(_adjoint(g, _phase_kernel(net.conv2.weight), padding=0), 2) * s1
        return g.unsqueeze(1) * self.winners[0]

    def _back_to_phases(self, windows: Tensor) -> Tensor:
        """From the first convolution's output to the input, split into its four phases: (B, 4, 14, 14)."""
        g = _adjoint(windows.flatten(1, 2), self.kernel1, padding=1)
        return g if self.net.std == 1 else g / self.net.std

    @torch.no_grad()
    def vjp(self, v: Tensor) -> Tensor:
        """v^T J for every sample, outside any graph.

        Args:
            v: (B, C).

        Returns:
            (B, 1, 28, 28).
        """
        return F.pixel_shuffle(self._back_to_phases(self._back_to_first_windows(v)), 2)

    @torch.no_grad()
    def vjp_sum(self, v: Tensor, groups: int = 1) -> Tensor:
        """The sum of v^T J over each group of samples, outside any graph.

        The first layer is linear, so its batch is summed before it instead of after: its cost, the largest
        of all layers' input gradients, vanishes.

        Args:
            v: (G*B, C), the G groups one after another.
            groups: G.

        Returns:
            (G, 1, 28, 28).
        """
        total = self._back_to_first_windows(v).unflatten(0, (groups, -1)).sum(1)
        return F.pixel_shuffle(self._back_to_phases(total), 2)

    def _forward_from_phases(self, phases: Tensor) -> Tensor:
        net, (s1, s2, s3, s4) = self.net, self.slopes
        t = F.conv2d(phases if net.std == 1 else phases / net.std, self.kernel1, padding=1).unflatten(1, (4, -1))
        t = (t * self.winners[0]).sum(1) * s1
        t = (_as_windows(F.conv2d(t, net.conv2.weight)) * self.winners[1]).sum(1) * s2
        t = F.linear(t.flatten(1), net.fc1.weight) * s3
        return F.linear(F.linear(t, net.fc2.weight) * s4, net.fc3.weight)

    def jvp(self, u: Tensor) -> Tensor:
        """J u for every sample, differentiable with respect to the parameters.

        Args:
            u: (B, 1, 28, 28).

        Returns:
            (B, C).
        """
        return self._forward_from_phases(F.pixel_unshuffle(u, 2))

    def squared_norm(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of ||v^T J||^2 over the batch, and something cheap with the same gradient up to a factor.

        With u = J^T v held constant, the gradient of 1/2 ||J^T v||^2 with respect to the parameters equals
        that of v^T J u, and J u is a forward pass: no backward pass is differentiated.

        Args:
            v: (B, C).

        Returns:
            The sum (detached), and v^T J u summed over the batch, whose gradient is half the sum's.
        """
        with torch.no_grad():
            u = self._back_to_phases(self._back_to_first_windows(v))
        return u.pow(2).sum(), (v * self._forward_from_phases(u)).sum()


def parameter_arrays(nets: list[LeNet]) -> dict[str, np.ndarray]:
    """Stack the parameters of M nets as NumPy arrays of shape (M, ...), by parameter name."""
    states = [net.state_dict() for net in nets]
    return {name: np.stack([s[name].cpu().numpy() for s in states]) for name in states[0]}


def build_nets(arrays: dict[str, np.ndarray], architecture: dict[str, Any]) -> list[LeNet]:
    """Rebuild the M nets that :func:`parameter_arrays` stacked.

    Args:
        arrays: (M, ...) arrays by parameter name.
        architecture: Keyword arguments of :class:`LeNet`.

    Returns:
        M nets, with gradients switched off.
    """
    members = len(next(iter(arrays.values())))
    nets = []
    for m in range(members):
        net = LeNet(**architecture)
        net.load_state_dict({name: torch.from_numpy(value[m]) for name, value in arrays.items()})
        nets.append(net.requires_grad_(False))
    return nets
