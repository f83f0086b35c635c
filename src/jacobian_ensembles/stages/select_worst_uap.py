"""Stage select_worst_uap: the worst of all attack seeds of one model and eps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jacobian_ensembles.evaluation.worst_case import counted, worst_seed
from jacobian_ensembles.storage.checksums import write_record
from jacobian_ensembles.storage.perturbations import RATES, load_uaps, save_worst_uap


def select_worst_uap(blocks: Sequence[str | Path], record_path: str | Path, uap_path: str | Path) -> None:
    """Choose the worst of all attack seeds, the one with the lowest test accuracy, and keep what all of them counted.

    Args:
        blocks: What stage craft_uaps wrote, in seed order.
        record_path: JSON record to write: see :func:`~jacobian_ensembles.evaluation.worst_case.counted`.
        uap_path: Where to store the chosen perturbation and its bits.
    """
    deltas, bits, spec = load_uaps(blocks)
    found = counted(bits)
    worst = worst_seed(found["accuracies"])
    kept = {key: value for key, value in spec.items() if key != RATES}
    save_worst_uap(uap_path, deltas[worst], bits[worst], {**kept, "seed": worst})
    write_record(record_path, {**spec, **found})
