"""Stage select_worst_uap: the worst of all attack seeds of one model and eps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jacobian_ensembles.evaluation.statistics import wilson_interval
from jacobian_ensembles.storage.checksums import write_record
from jacobian_ensembles.storage.files import save_tensors
from jacobian_ensembles.storage.predictions import load_uaps, pack_bits


def select_worst_uap(
    blocks: Sequence[str | Path], record_path: str | Path, uap_path: str | Path, confidence: float
) -> None:
    """Choose the worst of all attack seeds, the lowest test accuracy, and keep the whole record.

    Args:
        blocks: Files of :func:`save_uaps`, in seed order.
        record_path: JSON record to write: every seed's accuracy, the seed chosen, mean and spread, and the
            accuracy over the per-image worst case (an image counts only if right under every seed).
        uap_path: Where to store the chosen perturbation and its bits.
        confidence: Level of the Wilson interval.
    """
    deltas, bits, spec = load_uaps(blocks)
    accuracies = bits.mean(axis=1)
    worst = int(np.argmin(bits.sum(axis=1)))  # the first of equals
    low, high = wilson_interval(int(bits[worst].sum()), bits.shape[1], confidence)
    record = {
        **spec,
        "seeds": len(bits),
        "accuracies": [round(float(a), 6) for a in accuracies],
        "worst_seed": worst,
        "worst_accuracy": float(accuracies[worst]),
        "worst_low": low,
        "worst_high": high,
        "mean_accuracy": float(accuracies.mean()),
        "std_accuracy": float(accuracies.std(ddof=1)) if len(bits) > 1 else None,
        "best_accuracy": float(accuracies.max()),
        "per_image_worst_accuracy": float(bits.all(axis=0).mean()),
    }
    save_tensors(
        uap_path,
        {"delta": deltas[worst], "correct": pack_bits(bits[worst : worst + 1])},
        kind="worst_uap",
        spec={**spec, "seed": worst},
    )
    write_record(record_path, record)
