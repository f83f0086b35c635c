"""The learners' networks, built-in ones and yours: built, stored as arrays and rebuilt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.lenet import LeNet


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


def build_net(
    architecture: Architecture, builder: Builder | None = None, generator: torch.Generator | None = None
) -> nn.Module:
    """Build one learner.

    Args:
        architecture: The network.
        builder: For an architecture that is not built in; see :data:`~jacobian_ensembles.models.names.ARCHITECTURES`.
        generator: CPU generator of the initial weights; None leaves them to torch's global generator.

    Returns:
        The module, from images in [0, 1] to logits.

    Raises:
        ValueError: If the architecture is not built in and there is no builder, or it builds no module.
    """
    mean, std = architecture.mean, architecture.std
    if architecture.name == "lenet":
        return LeNet(**architecture.options, mean=mean, std=std, classes=architecture.classes, generator=generator)
    if builder is None:
        name = architecture.name
        raise ValueError(f"The architecture '{name}' is not built in: pass what builds it (architecture=...).")
    with torch.random.fork_rng(devices=()):
        if generator is not None:
            torch.manual_seed(generator.initial_seed())
        net = builder(architecture.shape, architecture.classes, **architecture.options)
    if not isinstance(net, nn.Module):
        got = type(net).__name__
        raise ValueError(f"The architecture '{architecture.name}' must build a torch.nn.Module. Got {got}.")
    return net if (mean, std) == (0.0, 1.0) else Normalized(net, mean, std)


def parameter_arrays(nets: Sequence[nn.Module]) -> dict[str, np.ndarray]:
    """Stack the parameters and buffers of M nets as NumPy arrays of shape (M, ...), by name."""
    states = [net.state_dict() for net in nets]
    return {name: np.stack([s[name].cpu().numpy() for s in states]) for name in states[0]}


def build_nets(
    arrays: Mapping[str, np.ndarray], architecture: Architecture, builder: Builder | None = None
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
