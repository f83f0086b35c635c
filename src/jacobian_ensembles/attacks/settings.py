"""The options of the built-in attack. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from jacobian_ensembles.settings import PositiveInt, Settings, whole


class SgdSettings(Settings):
    """Options of iterated stochastic gradient steps (:mod:`~jacobian_ensembles.attacks.sgd_uap`).

    Attributes:
        iterations: Steps; with 0 the start is returned: random noise, by which an attack is to be judged.
        batch_size: Images per step.
        init: ``zero``, ``uniform`` in [-eps, eps], or ``sign``: each pixel -eps or eps.
        step: Step size in units of eps, along the sign of the gradient.
        step_rule: ``constant``, or ``decay``: linearly to zero.
        loss_cap: Cap of each image's cross-entropy, in nats; None for none.
        clip: Clip x + delta to [0, 1].
    """

    iterations: Annotated[int, Field(ge=0), BeforeValidator(whole)] = 100
    batch_size: PositiveInt = 200
    init: Literal["zero", "uniform", "sign"] = "zero"
    step: Annotated[float, Field(gt=0)] = 0.8
    step_rule: Literal["constant", "decay"] = "constant"
    loss_cap: Annotated[float, Field(gt=0)] | None = 12.0
    clip: bool = False
