"""The LeNet of the paper's experiments, with explicit derivatives with respect to its input.

A LeNet spends most of an attack's or a regulariser's time in pooling and in the gradient with respect to the
*input*, where general automatic differentiation is slow on a CPU. :meth:`LeNet.linearize` therefore keeps
what a forward pass knows (which pixel won each pooling window, each activation's slope) and offers both
products with the Jacobian: v^T J by an explicit backward pass, J u by a forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jacobian_ensembles.data.cards import CLASSES
from jacobian_ensembles.models.convolutions import (
    MaxPool,
    as_windows,
    input_gradient,
    input_gradient_by_blocks,
    kernel_gradient,
    phase_kernel,
    phase_kernel_adjoint,
    winner_indices,
)


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
        classes: C.
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
        classes: int = CLASSES,
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
        self.fc3 = nn.Linear(84, classes)
        for layer in self.layers():
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            if layer.bias is not None:
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

    def _first_bias(self) -> Tensor:
        assert self.conv1.bias is not None
        return self.conv1.bias[:, None, None]

    def _phases(self, x: Tensor) -> Tensor:
        """The normalised input, split into the four pixels of each pooling window: (B, 4, 14, 14)."""
        return F.pixel_unshuffle(self._normalize(x), 2)

    def _first_windows(self, phases: Tensor, kernel: Tensor) -> Tensor:
        """The first convolution with the pixels of each pooling window side by side: (B, 4, 6, 14, 14).

        The bias, one for all pixels of a window, is left for after the pooling: a quarter of the additions.
        """
        windows: Tensor = F.conv2d(phases, kernel, padding=1).unflatten(1, (4, -1))
        return windows

    def forward(self, x: Tensor) -> Tensor:
        """Classify without dropout.

        Args:
            x: (B, 1, 28, 28), in [0, 1].

        Returns:
            Logits (B, C).
        """
        if torch.is_grad_enabled():
            return self.linearize(x).logits
        z = self._first_windows(self._phases(x), phase_kernel(self.conv1.weight)).amax(1)
        a = self._act(z + self._first_bias())
        a = self._act(as_windows(self.conv2(a)).amax(1))
        logits: Tensor = self.fc3(self._act(self.fc2(self._act(self.fc1(a.flatten(1))))))
        return logits

    def linearize(self, x: Tensor, generator: torch.Generator | None = None) -> Linearization:
        """Classify, and keep what products with the Jacobian at ``x`` need.

        Args:
            x: (B, 1, 28, 28), in [0, 1].
            generator: CPU generator of the dropout masks; None for no dropout.

        Returns:
            The linearisation, with the logits.
        """
        kernel1, phases = phase_kernel(self.conv1.weight), self._phases(x)
        z1, won1 = MaxPool.apply(self._first_windows(phases, kernel1))
        a1 = self._act(z1 + self._first_bias())
        z2, won2 = MaxPool.apply(as_windows(self.conv2(a1)))
        a2 = self._act(z2)
        inputs, activations, slopes = [phases, a1, a2.flatten(1)], [a1, a2], [self._slope(a1), self._slope(a2)]
        for layer in (self.fc1, self.fc2):
            a = self._act(layer(inputs[-1]))
            slope, hidden = self._slope(a), a
            if generator is not None and self.dropout:
                keep = torch.rand(a.shape, generator=generator) >= self.dropout
                keep = keep.to(a, non_blocking=True) / (1 - self.dropout)
                hidden, slope = a * keep, slope * keep
            inputs.append(hidden)
            activations.append(a)
            slopes.append(slope)
        return Linearization(
            net=self,
            kernel1=kernel1,
            logits=self.fc3(hidden),
            inputs=tuple(inputs),
            activations=tuple(activations),
            slopes=tuple(slopes),
            won1=won1,
            won2=winner_indices(won2),
        )


@dataclass(frozen=True)
class Linearization:
    """A LeNet's logits at a batch, and products with its input-output Jacobian J (C x D) there.

    Attributes:
        net: The network.
        kernel1: The first convolution's kernel, with pooling windows folded in.
        logits: (B, C).
        inputs: What each of the five layers was given; the first, the image's four phases.
        activations: The outputs of the four hidden layers' activations, before dropout.
        slopes: The slopes of the four activations, times their dropout masks.
        won1: The mask (B, 4, 6, 14, 14) of the pixels that the first pooling passed on.
        won2: The indices (B, 16, 25) of those that the second one passed on.
    """

    net: LeNet
    kernel1: Tensor
    logits: Tensor
    inputs: tuple[Tensor, ...]
    activations: tuple[Tensor, ...]
    slopes: tuple[Tensor, ...]
    won1: Tensor
    won2: Tensor

    def _pull(self, v: Tensor, bends: Sequence[Tensor] | None = None) -> tuple[tuple[Tensor, ...], ...]:
        """v^T J, layer by layer, down to the first convolution's output.

        Args:
            v: (B, C).
            bends: What joins on the way, at the input of each of the four activations.

        Returns:
            What arrives at the five layers' outputs, and at the four activations' outputs and inputs.
        """
        net = self.net

        def through(i: int, q: Tensor) -> Tensor:
            p = q * self.slopes[i]
            return p if bends is None else p.add_(bends[i])

        q4 = v @ net.fc3.weight
        p4 = through(3, q4)
        q3 = p4 @ net.fc2.weight
        p3 = through(2, q3)
        q2 = (p3 @ net.fc1.weight).view_as(self.slopes[1])
        p2 = through(1, q2)
        g2 = p2.new_zeros(len(p2), 16, 100).scatter_(2, self.won2, p2.flatten(2)).unflatten(2, (10, 10))
        q1 = input_gradient(g2, net.conv2.weight, padding=0)
        p1 = through(0, q1)
        g1 = (p1.unsqueeze(1) * self.won1).flatten(1, 2)
        return (g1, g2, p3, p4, v), (q1, q2, q3, q4), (p1, p2, p3, p4)

    def _back_to_phases(self, g1: Tensor) -> Tensor:
        """From the first convolution's output to the input, split into its four phases: (B, 4, 14, 14)."""
        g = input_gradient_by_blocks(g1, self.kernel1)
        return g if self.net.std == 1 else g / self.net.std

    @torch.no_grad()
    def vjp(self, v: Tensor) -> Tensor:
        """v^T J for every sample, outside any graph.

        Args:
            v: (B, C).

        Returns:
            (B, 1, 28, 28).
        """
        return F.pixel_shuffle(self._back_to_phases(self._pull(v)[0][0]), 2)

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
        total = self._pull(v)[0][0].unflatten(0, (groups, -1)).sum(1)
        return F.pixel_shuffle(self._back_to_phases(total), 2)

    def _push(self, phases: Tensor) -> tuple[Tensor, ...]:
        """J u, layer by layer: what arrives at the five layers' inputs."""
        net, (s1, s2, s3, s4) = self.net, self.slopes
        t0 = phases if net.std == 1 else phases / net.std
        t1 = F.conv2d(t0, self.kernel1, padding=1).unflatten(1, (4, -1))
        t1 = t1.mul_(self.won1).sum(1) * s1
        t2 = F.conv2d(t1, net.conv2.weight).flatten(2).gather(2, self.won2).flatten(1) * s2.flatten(1)
        t3 = F.linear(t2, net.fc1.weight) * s3
        return t0, t1, t2, t3, F.linear(t3, net.fc2.weight) * s4

    def jvp(self, u: Tensor) -> Tensor:
        """J u for every sample.

        Args:
            u: (B, 1, 28, 28).

        Returns:
            (B, C).
        """
        return F.linear(self._push(F.pixel_unshuffle(u, 2))[-1], self.net.fc3.weight)

    def _weight_gradients(self, outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        """Each layer's weight gradient, from what arrives at its output and what it was given."""
        kernel1 = kernel_gradient(outputs[0], inputs[0], self.kernel1.shape, padding=1)
        kernel2 = kernel_gradient(outputs[1], inputs[1], self.net.conv2.weight.shape, padding=0)
        rest = (g.T @ h for g, h in zip(outputs[2:], inputs[2:], strict=True))
        return [phase_kernel_adjoint(kernel1), kernel2, *rest]

    @torch.no_grad()
    def gradients(self, r: Tensor, directions: Sequence[Tensor] = ()) -> tuple[list[Tensor], Tensor]:
        """The gradient of a loss plus 1/2 sum ||v^T J||^2 with respect to every parameter.

        With u = J^T v held constant, the gradient of 1/2 ||J^T v||^2 equals that of v^T J u, a product of weights
        and slopes. Through the weights it is an outer product per layer, of v on its way down and u on its way
        up. Through the slopes it joins the loss's own backward pass. No backward pass is differentiated.

        Args:
            r: (B, C), the gradient of the loss with respect to the logits.
            directions: The v, (B, C) each; none for the loss alone.

        Returns:
            The gradients in the order of ``net.parameters()``, and the sum of ||v^T J||^2 over samples and v.
        """
        weights, bends, square = [], None, r.new_zeros(())
        for v in directions:
            (g1, *below), arrived, _ = self._pull(v)
            g1 = g1.contiguous(memory_format=torch.channels_last)  # dearer than what follows without it
            u = self._back_to_phases(g1).contiguous()
            square += u.flatten().dot(u.flatten())
            inputs = self._push(u)
            weights.append(self._weight_gradients((g1, *below), inputs))
            if self.net.activation == "tanh":  # its slope 1 - a^2 changes by -2a; that of a ReLU does not change
                new = [
                    (q * t.view_as(q)).mul_(a).mul_(-2)
                    for q, t, a in zip(arrived, inputs[1:], self.activations, strict=True)
                ]
                bends = new if bends is None else [b + n for b, n in zip(bends, new, strict=True)]
        outputs, _, pooled = self._pull(r, bends)
        weights.append(self._weight_gradients(outputs, self.inputs))
        biases = [p.sum((0, 2, 3)) for p in pooled[:2]] + [p.sum(0) for p in (*pooled[2:], r)]
        summed = (sum(terms) for terms in zip(*weights, strict=True))
        return [g for pair in zip(summed, biases, strict=True) for g in pair], square
