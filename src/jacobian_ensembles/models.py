"""The LeNet of the paper's experiments, with explicit derivatives with respect to its input.

A LeNet spends most of an attack's or a regulariser's time in pooling and in the gradient with respect to the
*input*, where general automatic differentiation is slow on a CPU. :meth:`LeNet.linearize` therefore keeps
what a forward pass knows (which pixel won each pooling window, each activation's slope) and offers both
products with the Jacobian: v^T J by an explicit backward pass, J u by a forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jacobian_ensembles.data import CLASSES


def _phase_kernel(weight: Tensor) -> Tensor:
    """Fold a 2x2 pooling window into the channels of the 5x5 convolution before it.

    The four pixels of a pooling window see a 6x6 patch of the input through four shifts of the kernel. With
    the input split into its four phases (``pixel_unshuffle``), that is one 3x3 convolution with four times
    the channels in and out. Its output holds each window's pixels as channels, so pooling, the slowest layer
    of a LeNet on a CPU, becomes arithmetic on contiguous planes.

    Args:
        weight: (O, I, 5, 5).

    Returns:
        (4*O, 4*I, 3, 3); output channels are (window pixel, O), row by row in the window.
    """
    shifts = [F.pad(weight, (q, 1 - q, p, 1 - p)) for p in (0, 1) for q in (0, 1)]
    return F.pixel_unshuffle(torch.stack(shifts), 2).flatten(0, 1)


def _windows(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """A 5x5 convolution, with the pixels of each 2x2 window side by side.

    Args:
        x: (B, I, H, W).
        weight: (O, I, 5, 5).
        bias: (O,) or None.
        padding: 0 or 2 pixels.

    Returns:
        (B, 4, O, h, w), where the convolution's output is 2h x 2w.
    """
    tiled = None if bias is None else bias.repeat(4)
    z = F.conv2d(F.pixel_unshuffle(x, 2), _phase_kernel(weight), tiled, padding=padding // 2)
    return z.unflatten(1, (4, -1))


def _windows_adjoint(grad: Tensor, weight: Tensor, padding: int) -> Tensor:
    """The input gradient of :func:`_windows`: (B, 4, O, h, w) -> (B, I, H, W).

    Written as a convolution with flipped, transposed weights.
    """
    kernel = _phase_kernel(weight).flip(2, 3).transpose(0, 1)
    return F.pixel_shuffle(F.conv2d(grad.flatten(1, 2), kernel, padding=2 - padding // 2), 2)


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

    def forward(self, x: Tensor) -> Tensor:
        """Classify without dropout.

        Args:
            x: (B, 1, 28, 28), in [0, 1].

        Returns:
            Logits (B, C).
        """
        if torch.is_grad_enabled():
            return self.linearize(x).logits
        a = self._act(_windows(self._normalize(x), self.conv1.weight, self.conv1.bias, 2).amax(1))
        a = self._act(_windows(a, self.conv2.weight, self.conv2.bias, 0).amax(1))
        return self.fc3(self._act(self.fc2(self._act(self.fc1(a.flatten(1))))))

    def linearize(self, x: Tensor, generator: torch.Generator | None = None) -> Linearization:
        """Classify, and keep what products with the Jacobian at ``x`` need.

        Args:
            x: (B, 1, 28, 28), in [0, 1].
            generator: CPU generator of the dropout masks; None for no dropout.

        Returns:
            The linearisation, with the logits.
        """
        z1, winners1 = _MaxPool.apply(_windows(self._normalize(x), self.conv1.weight, self.conv1.bias, 2))
        a1 = self._act(z1)
        z2, winners2 = _MaxPool.apply(_windows(a1, self.conv2.weight, self.conv2.bias, 0))
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
            logits=self.fc3(hidden),
            winners=(winners1, winners2),
            slopes=(self._slope(a1), self._slope(a2), slopes[0], slopes[1]),
        )


@dataclass(frozen=True)
class Linearization:
    """A LeNet's logits at a batch, and products with its input-output Jacobian J (C x D) there.

    Attributes:
        net: The network.
        logits: (B, C).
        winners: For each pooling layer, a mask (B, 4, channels, h, w) of the pixels it passed on.
        slopes: The slope of the activation (times its dropout mask) of the four hidden layers.
    """

    net: LeNet
    logits: Tensor
    winners: tuple[Tensor, Tensor]
    slopes: tuple[Tensor, ...]

    def _vjp_to_first_pool(self, v: Tensor) -> Tensor:
        net, (s1, s2, s3, s4) = self.net, self.slopes
        g = (v @ net.fc3.weight) * s4
        g = (g @ net.fc2.weight) * s3
        g = (g @ net.fc1.weight).view_as(s2) * s2
        return _windows_adjoint(g.unsqueeze(1) * self.winners[1], net.conv2.weight, padding=0) * s1

    @torch.no_grad()
    def vjp(self, v: Tensor) -> Tensor:
        """v^T J for every sample, outside any graph.

        Args:
            v: (B, C).

        Returns:
            (B, 1, 28, 28).
        """
        g = self._vjp_to_first_pool(v).unsqueeze(1) * self.winners[0]
        return _windows_adjoint(g, self.net.conv1.weight, padding=2) / self.net.std

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
        g = self._vjp_to_first_pool(v).unsqueeze(1) * self.winners[0]
        g = g.unflatten(0, (groups, -1)).sum(1)
        return _windows_adjoint(g, self.net.conv1.weight, padding=2) / self.net.std

    def jvp(self, u: Tensor) -> Tensor:
        """J u for every sample, differentiable with respect to the parameters.

        Args:
            u: (B, 1, 28, 28).

        Returns:
            (B, C).
        """
        net, (s1, s2, s3, s4) = self.net, self.slopes
        t = (_windows(u / net.std, net.conv1.weight, None, 2) * self.winners[0]).sum(1) * s1
        t = (_windows(t, net.conv2.weight, None, 0) * self.winners[1]).sum(1) * s2
        t = F.linear(t.flatten(1), net.fc1.weight) * s3
        return F.linear(F.linear(t, net.fc2.weight) * s4, net.fc3.weight)


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
