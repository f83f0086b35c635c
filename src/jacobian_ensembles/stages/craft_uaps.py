"""Stage craft_uaps: a block of universal perturbations of one model and eps, each evaluated on the test set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jacobian_ensembles.attacks.attack import load_attack
from jacobian_ensembles.attacks.outcome import counting_steps
from jacobian_ensembles.attacks.targets import success_rates
from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.data.interop import to_numpy
from jacobian_ensembles.evaluation.accuracy import correct
from jacobian_ensembles.models.compiled import admit
from jacobian_ensembles.models.evaluation_mode import evaluating
from jacobian_ensembles.seeding import derive_seed
from jacobian_ensembles.stages.inputs import Placed, StoredEnsemble, StoredImages
from jacobian_ensembles.storage.perturbations import IDLE, save_uaps

if TYPE_CHECKING:
    from torch import nn


def craft_uaps(
    ensemble: StoredEnsemble | nn.Module,
    images: StoredImages,
    path: str | Path,
    *,
    cell: Cell,
    eps: float,
    first: int,
    last: int,
    attack: Mapping[str, Any],
    seed: int,
    variant: str | None = None,
    device: str = "cpu",
) -> None:
    """Craft a block of perturbations of one model and eps, evaluate each on the test set, store both.

    Args:
        ensemble: The assembled ensemble, or any classifier.
        images: The stored dataset.
        path: The file to write.
        cell: The model.
        eps: Radius, in (0, 1].
        first: First attack seed of the block.
        last: Last attack seed of the block, included.
        attack: ``method``, a name or reference; ``options``, its keyword arguments; ``split``, the images that
            perturbations are crafted on; ``clip``, whether perturbed images are clipped to [0, 1]; ``norm``, what eps
            bounds, ``linf`` (the default) or ``l2``.
        seed: Base seed of the run.
        variant: What the run calls this attack; None for its own.
        device: ``cpu`` or ``cuda``.

    Raises:
        ExtensionError: If a reference leads nowhere.
        ValueError: See :class:`~jacobian_ensembles.attacks.attack.UniversalAttack`.
    """
    seeds = [derive_seed("uap", seed, *cell.identity, eps, k) for k in range(first, last + 1)]
    norm = attack.get("norm", "linf")
    craft = load_attack(attack["method"], attack["options"], norm, attack["clip"])
    crafting, testing = images.last(attack["split"], "test")
    place = Placed(ensemble, device, craft.takes_arrays)
    model, (x, y) = place.model, place.bring(*crafting, stored=True)
    with counting_steps() as steps:
        deltas = craft(model, x, y, eps, seeds, first)
    test_x, test_y = admit(model, *place.bring(*testing, stored=True))
    with evaluating(model):
        bits = correct(model, test_x, test_y, deltas, attack["clip"])
    rates = None
    if (aim := getattr(craft, "target", "none")) in ("each", "class"):
        rates = success_rates(model, *place.bring(*testing), deltas, aim, first, attack["clip"]).tolist()
    spec = {**cell.record, "eps": eps} | ({} if norm == "linf" else {"norm": norm})
    spec |= {} if variant is None else {"variant": variant}
    counts = {IDLE: steps.idle, "steps": steps.total, "gradient_images": steps.images}
    save_uaps(path, to_numpy(deltas), to_numpy(bits), first, spec, counts, rates)
