"""Crafting universal perturbations in Python, whatever the attack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from jacobian_ensembles.attacks.attack import UniversalAttack, load_attack
from jacobian_ensembles.attacks.registry import ATTACKS
from jacobian_ensembles.attacks.several import Several


def craft_uaps(
    model: nn.Module | Sequence[nn.Module],
    images: Tensor,
    labels: Tensor,
    eps: float,
    attack: str | UniversalAttack | Callable[..., Any] = "sgd",
    seeds: int | Iterable[int] = (0,),
    side_by_side: int | None = None,
    first: int = 0,
    **options: Any,
) -> Tensor:
    """Craft one universal perturbation per seed: a delta within eps under which few images are classified correctly.

    Attack ``sgd`` is the paper's: iterated stochastic gradient steps, see :mod:`~jacobian_ensembles.attacks.sgd_uap`.
    Attack ``staged`` makes many short starts, compares them on crafting images and continues the best; each of its
    perturbations costs as many steps as ``budget`` of sgd's, see :mod:`~jacobian_ensembles.attacks.staged`.
    Attack ``square`` searches at random and uses scores only, see :mod:`~jacobian_ensembles.attacks.square`.

    Args:
        model: Any classifier: maps (B, ...) to logits or log-probabilities (B, C). It is put in evaluation mode for
            the duration. A list of several, for perturbations that fool all of them: attacks by gradients ascend the
            mean of the models' losses, those by scores see their soft vote, see
            :class:`~jacobian_ensembles.attacks.several.Several`.
        images: (N, ...), in [0, 1], on the model's device.
        labels: (N,).
        eps: Radius, in (0, 1].
        attack: ``sgd``, ``staged``, ``square``, or a reference, class or function of your own, whose options
            (steps, batch, loss, norm, clip, ...) are given by keyword; or an attack with its options, such as
            ``SgdUap(iterations=50)``.
        seeds: K generator seeds, one per perturbation, or K for 0, ..., K - 1.
        side_by_side: Perturbations crafted at once. None for all on a GPU, to fill it, and one on a CPU, where more
            would be slower. Halved whenever memory runs out.
        first: The number of the first seed; matters only with targets.
        **options: Fields of :class:`~jacobian_ensembles.attacks.sgd_uap.SgdUap`,
            :class:`~jacobian_ensembles.attacks.staged.Staged` or :class:`~jacobian_ensembles.attacks.square.Square`;
            fields not given are as in ``config.yaml``.

    Returns:
        (K, ...), each within eps.

    Raises:
        ExtensionError: If a reference leads nowhere.
        ValueError: If images are not in [0, 1], labels not in [0, C), scores not (B, C), eps not in (0, 1], there are
            no seeds, there is no such attack, options are unknown or come beside an attack that has its own, or a
            class has no image to craft on; or if no step had a finite, non-zero gradient: such an attack proves no
            robustness.
    """
    if isinstance(attack, UniversalAttack):
        if options:
            raise ValueError(f"Give an attack's options once. Got {attack.title}(...), and {', '.join(options)}.")
    elif isinstance(attack, str) and attack not in ATTACKS and ":" not in attack:
        raise ValueError(f"attack must be one of {', '.join(ATTACKS)}, or your own. Got {attack!r}.")
    else:
        attack = load_attack(attack, options)
    if isinstance(model, Sequence | nn.ModuleList):
        model = Several(list(model))
    deltas: Tensor = attack(model, images, labels, eps, seeds, first, side_by_side)
    return deltas
