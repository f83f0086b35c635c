"""The LeNet of the paper's experiments, with explicit derivatives with respect to its input; and other nets.

A LeNet spends most of an attack's or a regulariser's time in pooling and in the gradient with respect to the
*input*, where general automatic differentiation is slow on a CPU. :meth:`LeNet.linearize` therefore keeps
what a forward pass knows (which pixel won each pooling window, each activation's slope) and offers both
products with the Jacobian: v^T J by an explicit backward pass, J u by a forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

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


def _phase_kernel_adjoint(grad: Tensor) -> Tensor:
    """The adjoint of :func:`_phase_kernel`: a gradient (4*O, 4*I, 3, 3) to one (O, I, 5, 5)."""
    out, into = grad.shape[0] // 4, grad.shape[1] // 4
    shifted = grad.view(4, out, into, 4, 3, 3).permute(1, 2, 0, 3, 4, 5).reshape(out, into, 144)
    return (shifted @ _window_shifts(grad.dtype, grad.device).T).view(out, into, 5, 5)


def _adjoint(grad: Tensor, kernel: Tensor, padding: int) -> Tensor:
    """The input gradient of a stride-1 convolution.

    With AVX-512 a convolution with flipped, transposed weights is faster than the transposed convolution; with AVX2 it
    takes four times as long, because oneDNN has no fast kernel for six output channels there.
    """
    if grad.device.type == "cpu" and torch.backends.cpu.get_cpu_capability() != "AVX512":
        return F.conv_transpose2d(grad, kernel, padding=padding)
    return F.conv2d(grad, kernel.flip(2, 3).transpose(0, 1), padding=kernel.shape[-1] - 1 - padding)


def _adjoint_by_blocks(grad: Tensor, kernel: Tensor) -> Tensor:
    """The input gradient of a 3x3 convolution (padding 1) with few input channels.

    Four channels leave most of a CPU's register empty. So each output is a block of 2x2 pixels, in 16 channels:
    (B, 24, 14, 14) -> (B, 16, 7, 7) -> (B, 4, 14, 14).
    """
    flipped = kernel.flip(2, 3).transpose(0, 1)
    shifted = torch.stack([F.pad(flipped, (q, 1 - q, p, 1 - p)) for p in (0, 1) for q in (0, 1)], 1)
    return F.pixel_shuffle(F.conv2d(grad, shifted.flatten(0, 1), stride=2, padding=1), 2)


def _kernel_gradient(grad: Tensor, inputs: Tensor, shape: Sequence[int], padding: int) -> Tensor:
    """The weight gradient of a stride-1 convolution; channels-last inputs halve its time on a CPU."""
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    gradient: Tensor = conv2d_weight(inputs, shape, grad, padding=padding)
    return gradient


def _as_windows(z: Tensor) -> Tensor:
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


def _winner_indices(won: Tensor) -> Tensor:
    """Turn a mask (B, 4, C, h, w) of windows' winners into their indices (B, C, h*w) in planes of 4*h*w pixels."""
    height, width = won.shape[-2:]
    _, right, below, both = won.unbind(1)
    corners = _window_corners(height, width, won.dtype, won.device)
    index = torch.add(corners, right).add_(below, alpha=2 * width).add_(both, alpha=2 * width + 1)
    return index.flatten(2).long()


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
        result: Tensor = grad.unsqueeze(1) * won
        return result


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
        z = self._first_windows(self._phases(x), _phase_kernel(self.conv1.weight)).amax(1)
        a = self._act(z + self._first_bias())
        a = self._act(_as_windows(self.conv2(a)).amax(1))
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
        kernel1, phases = _phase_kernel(self.conv1.weight), self._phases(x)
        z1, won1 = _MaxPool.apply(self._first_windows(phases, kernel1))
        a1 = self._act(z1 + self._first_bias())
        z2, won2 = _MaxPool.apply(_as_windows(self.conv2(a1)))
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
            won2=_winner_indices(won2),
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
        q1 = _adjoint(g2, net.conv2.weight, padding=0)
        p1 = through(0, q1)
        g1 = (p1.unsqueeze(1) * self.won1).flatten(1, 2)
        return (g1, g2, p3, p4, v), (q1, q2, q3, q4), (p1, p2, p3, p4)

    def _back_to_phases(self, g1: Tensor) -> Tensor:
        """From the first convolution's output to the input, split into its four phases: (B, 4, 14, 14)."""
        g = _adjoint_by_blocks(g1, self.kernel1)
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
        kernel1 = _kernel_gradient(outputs[0], inputs[0], self.kernel1.shape, padding=1)
        kernel2 = _kernel_gradient(outputs[1], inputs[1], self.net.conv2.weight.shape, padding=0)
        rest = (g.T @ h for g, h in zip(outputs[2:], inputs[2:], strict=True))
        return [_phase_kernel_adjoint(kernel1), kernel2, *rest]

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


@contextmanager
def evaluating(model: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Put a model in evaluation mode for the while, and each of its modules back as it was; functions have no mode."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    before = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, training in zip(modules, before, strict=True):
            module.training = training


class Normalized(nn.Module):
    """A classifier of normalised inputs as a classifier of inputs in [0, 1].

    Args:
        net: Classifies (x - mean) / std.
        mean: Subtracted from the input.
        std: Divides it after that.
    """

    def __init__(self, net: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.net, self.mean, self.std = net, mean, std

    def forward(self, x: Tensor) -> Tensor:
        """Classify (B, ...) in [0, 1]: logits (B, C)."""
        logits: Tensor = self.net((x - self.mean) / self.std)
        return logits


Builder = Callable[..., nn.Module]

#: The built-in architectures. One of your own is called as ``builder(shape, classes, **options)``, with the shape
#: (channels, height, width) of an image, and returns a module from (B, *shape) in [0, 1] to logits (B, classes); its
#: initial weights may come from torch's global generator, which is seeded for each learner.
ARCHITECTURES: dict[str, Builder] = {"lenet": LeNet}


def build_net(
    architecture: Mapping[str, Any], builder: Builder | None = None, generator: torch.Generator | None = None
) -> nn.Module:
    """Build one learner.

    Args:
        architecture: For a LeNet, the keyword arguments of :class:`LeNet`, and for any other: ``name``, ``shape``,
            ``classes``, ``options``, ``mean`` and ``std``.
        builder: Of an architecture that is not built in; see :data:`ARCHITECTURES`.
        generator: CPU generator of the initial weights; None leaves them to torch's global generator.

    Returns:
        The module, from images in [0, 1] to logits.

    Raises:
        ValueError: If the architecture is not built in and there is no builder.
    """
    settings = dict(architecture)
    name = settings.pop("name", "lenet")
    if name == "lenet":
        return LeNet(**settings, generator=generator)
    if builder is None:
        raise ValueError(f"The architecture '{name}' is not built in: pass what builds it (architecture=...).")
    with torch.random.fork_rng(devices=()):
        if generator is not None:
            torch.manual_seed(generator.initial_seed())
        net = builder(tuple(settings["shape"]), settings["classes"], **settings["options"])
    mean, std = settings["mean"], settings["std"]
    return net if (mean, std) == (0.0, 1.0) else Normalized(net, mean, std)


def parameter_arrays(nets: Sequence[nn.Module]) -> dict[str, np.ndarray]:
    """Stack the parameters and buffers of M nets as NumPy arrays of shape (M, ...), by name."""
    states = [net.state_dict() for net in nets]
    return {name: np.stack([s[name].cpu().numpy() for s in states]) for name in states[0]}


def build_nets(
    arrays: Mapping[str, np.ndarray], architecture: Mapping[str, Any], builder: Builder | None = None
) -> list[nn.Module]:
    """Rebuild the M nets that :func:`parameter_arrays` stacked.

    Args:
        arrays: (M, ...) arrays by name.
        architecture: See :func:`build_net`.
        builder: See :func:`build_net`.

    Returns:
        M nets for evaluation, with gradients switched off.

    Raises:
        ValueError: If the arrays do not fit the architecture, or it needs a builder.
    """
    members = len(next(iter(arrays.values())))
    nets = []
    for m in range(members):
        net = build_net(architecture, builder)
        try:
            net.load_state_dict({name: torch.from_numpy(np.asarray(value[m])) for name, value in arrays.items()})
        except RuntimeError as error:
            raise ValueError(f"The stored learners do not fit their architecture: {error}") from None
        nets.append(net.eval().requires_grad_(False))
    return nets
