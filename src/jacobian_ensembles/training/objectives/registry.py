"""The built-in objectives by name. No torch."""

from __future__ import annotations

_HERE = "jacobian_ensembles.training.objectives"
#: Where each built-in objective is found, imported when it is used: a subclass of
#: :class:`~jacobian_ensembles.training.objectives.objective.Objective`, made as ``Class(strength, **options)``.
OBJECTIVES = {
    "jacobian": f"{_HERE}.jacobian:Jacobian",
    "input_gradient": f"{_HERE}.input_gradient:InputGradient",
    "noise": f"{_HERE}.noise:Noise",
    "universal": f"{_HERE}.universal:Universal",
    "shared": f"{_HERE}.shared:Shared",
    "adversarial": f"{_HERE}.adversarial:Adversarial",
    "decorrelated": f"{_HERE}.decorrelated:Decorrelated",
    "ibp": f"{_HERE}.ibp:Ibp",
}
