"""An attack of your own: the sign of an accumulated gradient, as in the momentum iterative method (Dong et al., 2018).

attack: {method: docs/examples/momentum.py:momentum}
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jacobian_ensembles.attacks.losses import loss_gradient
from jacobian_ensembles.attacks.sgd_uap import batches, project
from jacobian_ensembles.evaluation.accuracy import perturb
from jacobian_ensembles.experiment.config import Attack

DECAY = 0.9


def momentum(
    model: nn.Module, images: Tensor, labels: Tensor, eps: float, settings: Attack, seeds: Sequence[int]
) -> Tensor:
    """Craft one perturbation per seed: (K, ...), each within eps."""
    deltas = []
    for seed in seeds:
        rng = torch.Generator().manual_seed(seed)
        delta = velocity = torch.zeros_like(images[:1])
        for index in batches(len(labels), settings.batch_size, settings.iterations, rng):
            x = perturb(images[index], delta, settings.clip)
            gradient = loss_gradient(model, x, labels[index], settings.loss_cap)
            velocity = DECAY * velocity + gradient / gradient.abs().mean().clamp(min=1e-12)
            delta = project(delta + settings.step * eps * velocity.sign(), eps)
        deltas.append(delta[0])
    return torch.stack(deltas)
