"""The built-in attacks, and how every attack is called. No torch."""

from __future__ import annotations

#: Where each built-in attack is found. An attack, built in or yours, is a function called as
#: ``attack(model, images, labels, eps, seeds, **options)``: the model maps (B, ...) to logits or log-probabilities
#: (B, C), images (N, ...) lie in [0, 1], labels (N,) are the true classes, and it returns one perturbation per seed,
#: (K, ...), each within eps. Its options are those of the configuration's ``attack.options``, and it checks them.
#: A built-in one is also given ``first``, the number of its first seed among all of the model's, which sets targets.
ATTACKS = {
    "sgd": "jacobian_ensembles.attacks.sgd_uap:sgd",
    "staged": "jacobian_ensembles.attacks.staged:staged",
    "square": "jacobian_ensembles.attacks.square:square",
}
#: Those that ask a model for scores only, never for a gradient.
BLACK_BOX = ("square",)
