"""The LeNet of the paper's experiments: the textbook module, and its way into the engine.

General automatic differentiation of a network this small leaves most of a CPU idle. In float32 on a CPU,
:mod:`jacobian_ensembles.engine` computes a LeNet's scores and derivatives; everywhere else automatic differentiation of
:meth:`LeNet.forward` gives the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jacobian_ensembles.data.cards import CLASSES
from jacobian_ensembles.models.compiled import LAYERS, engine, rows

if TYPE_CHECKING:
    from jacobian_ensembles.engine.passes import Descent, Networks


def compiled(nets: Sequence[nn.Module], x: Tensor) -> Networks | None:
    """Networks as the engine knows them, for inputs like ``x``.

    Args:
        nets: M networks.
        x: (B, ...).

    Returns:
        A copy of their parameters; None unless all are LeNets, unchanged, in float32 on a CPU, alike in classes and
        scaling.
    """
    lenets = [net for net in nets if isinstance(net, LeNet) and fits(net, x)]
    if len(lenets) < len(nets):
        return None
    if {p.dtype for net in lenets for p in net.parameters()} != {torch.float32}:
        return None
    kinds = {(net.mean, net.std, net.fc3.out_features, net.fc3.weight.device.type) for net in lenets}
    if len(kinds) > 1 or (passes := engine()) is None:
        return None
    mean, std, *_ = kinds.pop()
    arrays = [[p.detach().numpy() for p in net.parameters()] for net in lenets]
    found: Networks = passes.pack(arrays, [net.activation == "relu" for net in lenets], mean, std)
    return found


def descent(net: nn.Module, optimizer: str, momentum: float, weight_decay: float) -> Descent | None:
    """Move a LeNet's parameters to the engine's memory, of which they become views, to be trained there.

    Args:
        net: The network.
        optimizer: ``adam`` or ``sgd``.
        momentum: Of ``sgd``.
        weight_decay: Of either.

    Returns:
        The optimiser; None, with nothing done, unless the engine takes the network, and all of it is trained.
    """
    if not isinstance(net, LeNet) or not all(p.requires_grad for p in net.parameters()):
        return None
    network, passes = compiled([net], net.fc1.weight.new_empty(0, 1, 28, 28)), engine()
    if network is None or passes is None:
        return None
    for p, view in zip(net.parameters(), views(network.parameters[0], net), strict=True):
        p.data = view
    found: Descent = passes.Descent(network, optimizer, momentum, weight_decay)
    return found


def views(vector: Any, net: LeNet) -> list[Tensor]:
    """The parts of a vector (S,) that is laid out as the engine lays out a LeNet's parameters, shaped like these."""
    whole, passes = torch.from_numpy(vector), engine()
    assert passes is not None
    parts = zip(net.parameters(), passes.pieces(net.fc3.out_features), strict=True)
    return [whole[piece].view_as(p) for p, piece in parts]


def fits(net: LeNet, x: Tensor) -> bool:
    """Whether the engine takes a LeNet for such inputs, if it takes its parameters."""
    there = x.device.type == "cpu" and x.dtype == torch.float32 and x.shape[1:] == (1, 28, 28)
    return there and unchanged(net, LeNet)


def unchanged(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether calling a module does what its class does: no subclass has another ``forward``, nothing hooks in."""
    hooked = any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    return type(module).forward is kind.forward and not hooked


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
        return [getattr(self, name) for name in LAYERS]

    def forward(self, x: Tensor, dropout: torch.Generator | None = None) -> Tensor:
        """Classify.

        Args:
            x: (B, 1, 28, 28), in [0, 1].
            dropout: CPU generator of the dropout masks; None for no dropout.

        Returns:
            Logits (B, C).
        """
        differentiable = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *self.parameters()))
        if not differentiable and dropout is None and (networks := compiled([self], x)) is not None:
            return torch.from_numpy(networks.logits(rows(x))[0].copy())
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

    def _mask(self, a: Tensor, generator: torch.Generator) -> Tensor:
        """What a layer's dropout multiplies hidden units (B, units) by."""
        return (torch.rand(a.shape, generator=generator) >= self.dropout).to(a) / (1 - self.dropout)

    def masks(self, images: int, dropout: torch.Generator | None) -> Tensor | None:
        """The masks that :meth:`forward` draws for so many images, (B, 204) of both layers; None for no dropout."""
        if dropout is None or not self.dropout:
            return None
        like = self.fc1.weight.detach()
        return torch.cat([self._mask(like.new_empty(images, units), dropout) for units in (120, 84)], 1)
