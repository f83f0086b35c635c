"""The one function that crafts universal perturbations, whatever the attack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from jacobian_ensembles.attacks.settings import SgdSettings, SquareSettings, StagedSettings
from jacobian_ensembles.attacks.sgd_uap import sgd
from jacobian_ensembles.attacks.square import square
from jacobian_ensembles.attacks.staged import staged

_ATTACKS: dict[str, tuple[Callable[..., Tensor], type[SgdSettings] | type[StagedSettings] | type[SquareSettings]]] = {
    "sgd": (sgd, SgdSettings),
    "staged": (staged, StagedSettings),
    "square": (square, SquareSettings),
}


def craft_uaps(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    settings: SgdSettings | StagedSettings | SquareSettings | None = None,
    seeds: Sequence[int] = (0,),
    side_by_side: int | None = None,
    first: int = 0,
    attack: str = "sgd",
    **options: Any,
) -> Tensor:
    """Craft one universal perturbation per seed: a delta within eps under which few images are classified correctly.

    Attack ``sgd`` is the paper's: iterated stochastic gradient steps, see :mod:`~jacobian_ensembles.attacks.sgd_uap`.
    Attack ``staged`` makes many short starts, compares them on crafting images and continues the best; each of its
    perturbations costs as many steps as ``budget`` of sgd's, see :mod:`~jacobian_ensembles.attacks.staged`.
    Attack ``square`` searches at random and uses scores only, see :mod:`~jacobian_ensembles.attacks.square`.

    Args:
        model: Any classifier: maps (B, ...) to logits or log-probabilities (B, C). It is put in evaluation mode for
            the duration.
        images: (N, ...), in [0, 1], on the model's device.
        labels: (N,).
        eps: Radius, in (0, 1].
        settings: The attack's options (steps, batch, loss, norm, clip, ...), of its own class; None to use ``options``.
        seeds: K generator seeds, one per perturbation.
        side_by_side: Perturbations crafted at once. None for all on a GPU, to fill it, and one on a CPU, where more
            would be slower. Halved whenever memory runs out.
        first: The number of the first seed; matters only with targets.
        attack: ``sgd``, ``staged`` or ``square``.
        **options: Fields of :class:`~jacobian_ensembles.attacks.settings.SgdSettings`,
            :class:`~jacobian_ensembles.attacks.settings.StagedSettings` or
            :class:`~jacobian_ensembles.attacks.settings.SquareSettings`, instead of ``settings``; fields not given
            are as in ``config.yaml``.

    Returns:
        (K, ...), each within eps.

    Raises:
        ValueError: If images are not in [0, 1], labels not in [0, C), scores not (B, C), eps not in (0, 1], there are
            no seeds, there is no such attack, settings belong to another attack or come with options, or a class has
            no image to craft on; or if no step had a finite, non-zero gradient: such an attack proves no robustness.
    """
    if attack not in _ATTACKS:
        raise ValueError(f"attack must be one of {', '.join(_ATTACKS)}. Got {attack!r}.")
    craft, wanted = _ATTACKS[attack]
    if settings is not None:
        if options:
            raise ValueError(f"Give settings, or options by keyword, not both. Got settings and {', '.join(options)}.")
        if not isinstance(settings, wanted):
            raise ValueError(f"settings of attack {attack!r} are {wanted.__name__}. Got {type(settings).__name__}.")
        options = settings.model_dump(include=set(wanted.model_fields))
    return craft(model, images, labels, eps, seeds, first=first, side_by_side=side_by_side, **options)
