"""The built-in attacks by name. No torch."""

from __future__ import annotations

#: Where each built-in attack is found: a subclass of :class:`~jacobian_ensembles.attacks.attack.UniversalAttack`,
#: imported when it is used.
ATTACKS = {
    "sgd": "jacobian_ensembles.attacks.sgd_uap:SgdUap",
    "staged": "jacobian_ensembles.attacks.staged:Staged",
    "square": "jacobian_ensembles.attacks.square:Square",
}
