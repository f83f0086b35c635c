"""The LeNet of the paper's experiments: the textbook module, and compiled derivatives for CPUs.

General automatic differentiation of a network this small leaves most of a CPU idle. In float32 on a CPU
:meth:`LeNet.linearize` therefore runs the network in the loops of :mod:`jacobian_ensembles.models.kernels`, keeps what
a forward pass knows, and offers the products with the Jacobian and the parameters' gradients. Everywhere else,
automatic differentiation of :meth:`LeNet.forward` gives the same.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jacobian_ensembles.data.cards import CLASSES

log = logging.getLogger(__name__)


@functools.cache
def _kernels() -> ModuleType | None:
    """The compiled loops, imported when a network first needs them; None without numba."""
    try:
        from jacobian_ensembles.models.kernels import __name__ as name  # code digests follow this form of import
    except ImportError as error:
        log.warning("LeNets run through torch's layers, several times slower than compiled: %s", error)
        return None
    return sys.modules[name]


def compiled(net: nn.Module, x: Tensor) -> bool:
    """Whether a network's products with its Jacobian at ``x`` are compiled: a LeNet's, in float32 on a CPU."""
    return (
        isinstance(net, LeNet)
        and (x.device.type, x.dtype, net.fc3.weight.dtype) == ("cpu", torch.float32, torch.float32)
        and _kernels() is not None
    )


class LeNet(nn.Module):
    """The LeNet of Hoffman et al. (2019): 61,706 parameters for ten classes.

    conv 6@5x5 (padding 2), activation, 2x2 max-pool, conv 16@5x5, activation, 2x2 max-pool, 400-120-84-C,
    Xavier-uniform weights and zero biases.

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

    def forward(self, x: Tensor, dropout: torch.Generator | None = None) -> Tensor:
        """Classify.

        Args:
            x: (B, 1, 28, 28), in [0, 1].
            dropout: CPU generator of the dropout masks; None for no dropout.

        Returns:
            Logits (B, C).
        """
        differentiable = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *self.parameters()))
        if not differentiable and compiled(self, x):
            return self.linearize(x, dropout, keep=False).logits
        act = torch.tanh if self.activation == "tanh" else torch.relu
        z = x if (self.mean, self.std) == (0.0, 1.0) else (x - self.mean) / self.std
        a = F.max_pool2d(act(self.conv1(z)), 2)
        a = F.max_pool2d(act(self.conv2(a)), 2).flatten(1)
        for layer in (self.fc1, self.fc2):
            a = act(layer(a))
            if dropout is not None and self.dropout:
                a = a * self._mask(a, dropout)
        logits: Tensor = self.fc3(a)
        return logits

    def _vector(self) -> Any:
        """All parameters in one array, with outputs of zeros added, as the kernels compute four logits at a time."""
        parameters = [p for layer in self.layers() for p in (layer.weight, layer.bias) if p is not None]
        arrays = [p.detach().numpy().ravel() for p in parameters]
        missing = np.zeros(-len(arrays[9]) % 4 * 84, np.float32)
        return np.concatenate([*arrays[:9], missing, arrays[9], missing[::84]])

    def _mask(self, a: Tensor, generator: torch.Generator) -> Tensor:
        """What a layer's dropout multiplies hidden units (B, units) by."""
        return (torch.rand(a.shape, generator=generator) >= self.dropout).to(a) / (1 - self.dropout)

    @torch.no_grad()
    def linearize(self, x: Tensor, dropout: torch.Generator | None = None, keep: bool = True) -> Linearization:
        """Classify, and keep what products with the Jacobian at ``x`` need.

        Args:
            x: (B, 1, 28, 28), in [0, 1]; :func:`compiled` says whether this can be done.
            dropout: CPU generator of the dropout masks; None for no dropout.
            keep: False if only the logits are needed.

        Returns:
            The linearisation, with the logits.

        Raises:
            ValueError: If it cannot be done.
        """
        kernels = _kernels()
        if kernels is None or not compiled(self, x):
            raise ValueError(f"Only float32 on a CPU, with numba, is compiled. Got {x.dtype} on {x.device}.")
        vector = self._vector()
        masks = np.empty((0, 0), np.float32)
        if dropout is not None and self.dropout:
            dropped = [self._mask(x.new_empty(len(x), units), dropout) for units in (120, 84)]
            masks = _to_blocks(torch.cat([torch.ones(len(x), 400), *dropped], 1), kernels.LANES)
        images = x.detach().reshape(len(x), 784).contiguous().numpy(), np.float32(self.mean), np.float32(1 / self.std)
        relu = self.activation == "relu"
        logits, *kept = kernels.forward(*images, vector, relu, masks, keep)
        logits = _columns(logits, kernels.LANES)[: self.fc3.out_features, : len(x)].T
        return Linearization(self, kernels, logits, images, (*kept, vector, relu, masks))


def _to_blocks(rows: Tensor, lanes: int) -> Any:
    """Rows (B, features) to the kernels' blocks (blocks, features * lanes), the last one padded with zeros."""
    padded = F.pad(rows, (0, 0, 0, -len(rows) % lanes))
    return padded.view(-1, lanes, rows.shape[1]).transpose(1, 2).flatten(1).contiguous().numpy()


def _columns(blocks: Any, lanes: int) -> Tensor:
    """And back, with images as columns: (features, B), including the padding of the last block."""
    return torch.from_numpy(blocks).view(len(blocks), -1, lanes).transpose(0, 1).flatten(1)


@dataclass(frozen=True)
class Linearization:
    """A LeNet's logits at a batch, and products with its input-output Jacobian J (C x D) there.

    Attributes:
        net: The network.
        kernels: The module of the compiled loops.
        logits: (B, C).
        images: (B, 784), what is subtracted from them and what they are then multiplied by.
        state: What else the kernels need.
    """

    net: LeNet
    kernels: ModuleType
    logits: Tensor
    images: tuple[Any, ...]
    state: tuple[Any, ...]

    def _blocks(self, v: Tensor) -> Any:
        """V (B, C) as the kernels want it."""
        return _to_blocks(F.pad(v, (0, -v.shape[1] % 4)), self.kernels.LANES)

    def vjp(self, v: Tensor) -> Tensor:
        """v^T J for every sample, outside any graph.

        Args:
            v: (B, C).

        Returns:
            (B, 1, 28, 28).
        """
        gradient = self.kernels.input_gradient(self._blocks(v), *self.state)
        return torch.from_numpy(gradient)[: len(v)].view(-1, 1, 28, 28) / self.net.std

    def vjp_sum(self, v: Tensor) -> Tensor:
        """The sum of v^T J over the samples, outside any graph.

        Args:
            v: (B, C).

        Returns:
            (1, 28, 28).
        """
        return torch.from_numpy(self.kernels.input_gradient_sum(self._blocks(v), *self.state))[None] / self.net.std

    def gradients(self, r: Tensor, directions: Sequence[Tensor] = ()) -> tuple[list[Tensor], float]:
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
        kernels, (a1, _, _, hidden, *_) = self.kernels, self.state
        bends1, bends = (np.zeros_like(a) if len(directions) else a[:0] for a in (a1, hidden))
        convolutions = [torch.zeros_like(p) for p in list(self.net.parameters())[:3]]
        into = [g.view(-1).numpy() for g in convolutions]  # the kernels add to them
        vectors = [self._blocks(v) for v in (*directions, r)]
        width = len(hidden) * kernels.LANES
        down, up = (torch.empty(604, width * len(vectors)) for _ in range(2))
        columns, square = (down.numpy(), up.numpy()), 0.0
        for i, v in enumerate(vectors[:-1]):
            slopes = self.images[2], bends1, bends
            square += kernels.tangent(v, *self.state, *slopes, into[0], into[2], *columns, i * width)
        at = len(directions) * width
        kernels.parameter_gradients(vectors[-1], *self.state, *self.images, bends1, bends, *into, *columns, at)
        # every linear layer's outer products, of the loss and all directions, are one matrix product
        outputs = [*down.split((400, 120, 84)), _columns(np.concatenate(vectors), kernels.LANES)[: r.shape[1]]]
        weights = [p @ h.T for p, h in zip(outputs[1:], up.split((400, 120, 84)), strict=True)]
        of_loss = [p[:, at:] for p in outputs]
        biases = [of_loss[0].reshape(16, -1).sum(1), *(p.sum(1) for p in of_loss[1:])]
        linear = [g for pair in zip(weights, biases[1:], strict=True) for g in pair]
        return [*convolutions, biases[0], *linear], square
