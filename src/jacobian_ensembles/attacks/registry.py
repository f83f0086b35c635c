"""The built-in attacks by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from jacobian_ensembles.attacks.sgd_uap import craft_uaps

#: The built-in attacks. One of your own has the signature of :func:`craft_uaps`, and is called as
#: ``attack(model, images, labels, eps, settings, seeds)``: one perturbation per seed, (K, ...), each within eps.
ATTACKS: dict[str, Callable[..., Tensor]] = {"sgd": craft_uaps}
