"""An attack of your own: the sign of an accumulated gradient, as in the momentum iterative method (Dong et al., 2018).

attack: {method: docs/examples/momentum.py:momentum, options: {decay: 0.9}}
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jacobian_ensembles.attacks.ascent import batches, project
from jacobian_ensembles.attacks.draws import Draws
from jacobian_ensembles.attacks.losses import loss_gradient


def momentum(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    seeds: Sequence[int],
    *,
    decay: float = 0.9,
    iterations: int = 100,
    batch_size: int = 200,
) -> Tensor:
    """Craft one perturbation per seed: (K, ...), each within eps."""
    if not 0 <= decay < 1:
        raise ValueError(f"decay must lie in [0, 1). Got {decay}.")
    deltas = []
    for seed in seeds:
        delta = velocity = torch.zeros_like(images[:1])
        for index in batches(len(labels), batch_size, iterations, Draws(seed)):
            gradient = loss_gradient(model, images[index] + delta, labels[index], cap=12.0)
            velocity = decay * velocity + gradient / gradient.abs().mean().clamp(min=1e-12)
            delta = project(delta + 0.8 * eps * velocity.sign(), eps)
        deltas.append(delta[0])
    return torch.stack(deltas)
