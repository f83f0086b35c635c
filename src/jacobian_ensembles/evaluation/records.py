"""The records of an attack, a row per training, eps and attack seed, and what follows from them. pandas only.

Records hold what counting a model's answers gives, in full precision. ``metrics.csv``, ``summary.csv``,
``worst_of_k.csv`` and ``ablation.csv`` are functions of them, for a live run as for a joined or a compared one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jacobian_ensembles.evaluation.statistics import wilson_interval
from jacobian_ensembles.evaluation.summary import CELL_KEYS, CERTIFIED, IDLE
from jacobian_ensembles.evaluation.worst_case import expected_worst, over_seeds, worst_interval

ATTACKED = [*CELL_KEYS, "eps"]
#: The columns of every row; ``accuracy`` is that under the seed.
COLUMNS = [*ATTACKED, "attack_seed", "accuracy", "images", "clean_accuracy"]
#: What all seeds of a training and eps have in common, where it is known: the share of images that are provably right
#: under every perturbation, and the share right under every seed; what the attack cost, in steps and in images at which
#: a gradient was taken; its steps without a usable gradient; and what eps bounds, where that is not the largest change
#: of a pixel.
SHARED = [CERTIFIED, "gradient_images", "norm", "per_image_worst_accuracy", "steps", IDLE]
#: Per seed, of perturbations with a target class: the share of other classes' images that pass for it.
RATE = "success_rate"
#: The numbers of attack seeds at which the expected worst case is tabulated, where there are that many.
COUNTS = (1, 2, 3, 5, 10, 20, 50, 100)
_LEADING = [*ATTACKED, "seeds", "images", "worst_accuracy", "worst_low", "worst_high", "worst_seed"]
_SPREAD = ["best_accuracy", "mean_accuracy", "std_accuracy"]


def records_table(attacks: Sequence[Mapping[str, Any]], clean: Mapping[tuple[Any, ...], float]) -> pd.DataFrame:
    """Gather what attacks on the models of a run counted.

    Args:
        attacks: One per (training, eps): ``CELL_KEYS``, ``eps``, ``images``, ``accuracies`` (K,), perhaps
            ``success_rates`` (K,), and those of :data:`SHARED` that are known.
        clean: The clean accuracy of each training, by ``CELL_KEYS``.

    Returns:
        A row per attack seed: :data:`COLUMNS`, then those of :data:`SHARED` and :data:`RATE` that are known.

    Raises:
        ValueError: If a training has a clean accuracy but no attack, or the reverse, or is attacked twice.
    """
    cells = {tuple(attack[key] for key in CELL_KEYS) for attack in attacks}
    if odd := sorted(cells ^ set(clean), key=str):
        told = "\n".join(" ".join(map(str, cell)) for cell in odd)
        raise ValueError(f"Models with clean predictions but no attack, or the reverse:\n{told}")
    rows = []
    for attack in attacks:
        cell = tuple(attack[key] for key in CELL_KEYS)
        known = {key: attack[key] for key in SHARED if key in attack}
        rates = attack.get("success_rates")
        for seed, accuracy in enumerate(attack["accuracies"]):
            own = {"attack_seed": seed, "accuracy": accuracy, "images": attack["images"], "clean_accuracy": clean[cell]}
            row = {key: attack[key] for key in ATTACKED} | own | known
            rows.append(row if rates is None else row | {RATE: rates[seed]})
    table = pd.DataFrame(rows)
    once(table, [*ATTACKED, "attack_seed"])
    present = [name for name in (*COLUMNS, *SHARED, RATE) if name in table.columns]
    return table[present].sort_values([*ATTACKED, "attack_seed"], ignore_index=True)


def once(table: pd.DataFrame, keys: Sequence[str], every: Sequence[str] = ()) -> None:
    """Refuse a table with something twice, or with holes.

    Args:
        table: Any.
        keys: What tells its rows apart.
        every: Two of the keys: for each value of the others, every value of the one must be there with every value of
            the other.

    Raises:
        ValueError: Naming the first that is there twice or not at all.
    """
    if (again := table.duplicated([*keys])).any():
        raise ValueError(f"{_told(table.loc[again, [*keys]].iloc[0])}: there twice.")
    others = [key for key in keys if key not in every]
    for key, group in table.groupby(others) if every else ():
        first, second = (group[name].unique() for name in every)
        if len(group) < len(first) * len(second):
            raise ValueError(f"{_told(dict(zip(others, key, strict=True)))}: not every {' with every '.join(every)}.")


def _told(row: Mapping[Any, Any] | pd.Series) -> str:
    return ", ".join(f"{key} {value}" for key, value in row.items())


def metrics_of(records: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """One row per (training, eps): the worst of all attack seeds, and what is known besides.

    Args:
        records: Of :func:`records_table`.
        confidence: Level of the Wilson intervals, which are over test images.

    Returns:
        ``CELL_KEYS``, ``eps``, ``seeds``, ``images``; the worst seed with its accuracy and interval; mean, best and
        standard deviation over seeds; what of :data:`SHARED` is known; clean accuracy with its interval.
    """
    rows = []
    for row, group in _by_attack(records):
        first, images = group.iloc[0], int(group["images"].iloc[0])
        clean, found = float(first["clean_accuracy"]), over_seeds(group["accuracy"].to_numpy())
        row |= found | {name: first[name] for name in SHARED if name in group}
        row |= {"images": images, "clean_accuracy": clean}
        row |= _interval("worst", found["worst_accuracy"], images, confidence)
        row |= _interval("clean", clean, images, confidence)
        rows.append(row | ({RATE: group[RATE].mean()} if RATE in group else {}))
    table = pd.DataFrame(rows)
    known = [name for name in sorted([*_SPREAD, *SHARED, RATE]) if name in table.columns]
    return table[[*_LEADING, *known, "clean_accuracy", "clean_low", "clean_high"]]


def _by_attack(records: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Each training and eps, with its rows in the order of the attack seeds: every one from 0 on, and every eps.

    Raises:
        ValueError: If a row is there twice or missing, or rows of one training disagree on what they have in common.
    """
    once(records, [*ATTACKED, "attack_seed"])
    tried = records.groupby(CELL_KEYS)["eps"].nunique()
    if tried.min() < tried.max():
        cell = dict(zip(CELL_KEYS, tried.idxmin(), strict=True))  # type: ignore[call-overload]
        raise ValueError(f"{_told(cell)}: attacked at {tried.min()} eps, other models at {tried.max()}.")
    for key, group in records.sort_values([*ATTACKED, "attack_seed"]).groupby(ATTACKED, sort=False):
        assert isinstance(key, tuple)
        row = dict(zip(ATTACKED, key, strict=True))
        if [*group["attack_seed"]] != [*range(len(group))]:
            raise ValueError(f"{_told(row)}: not every attack seed from 0 to {group['attack_seed'].max()} is there.")
        shared = [name for name in ("images", "clean_accuracy") if name in group]
        if any((group[name] != group[name].iloc[0]).any() for name in shared):
            raise ValueError(f"{_told(row)}: its rows disagree on {' or '.join(shared)}.")
        yield row, group


def _interval(stem: str, accuracy: float, images: int, confidence: float) -> dict[str, float]:
    low, high = wilson_interval(round(accuracy * images), images, confidence)
    return {f"{stem}_low": low, f"{stem}_high": high}


def with_worst(metrics: pd.DataFrame, worst: Sequence[float] | np.ndarray, confidence: float) -> pd.DataFrame:
    """The same metrics with another ``worst_accuracy``, and its interval."""
    pairs = zip(worst, metrics["images"], strict=True)
    bounds = pd.DataFrame([_interval("worst", float(accuracy), int(images), confidence) for accuracy, images in pairs])
    return metrics.assign(
        worst_accuracy=worst, worst_low=bounds["worst_low"].to_numpy(), worst_high=bounds["worst_high"].to_numpy()
    )


def worst_of_k(records: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Tabulate the expected worst case against the number of attack seeds.

    Args:
        records: Of :func:`records_table`.
        confidence: Share of draws between the percentiles.

    Returns:
        One row per (training, eps, count) with ``expected_worst`` and its percentiles.
    """
    rows = []
    for row, group in _by_attack(records):
        accuracies = group["accuracy"].to_numpy()
        if "norm" in group:
            row["norm"] = group["norm"].iloc[0]
        for count in sorted({c for c in COUNTS if c <= len(accuracies)} | {len(accuracies)}):
            low, high = worst_interval(accuracies, count, confidence)
            expected = {"expected_worst": expected_worst(accuracies, count), "low": low, "high": high}
            rows.append({**row, "seeds": len(accuracies), "count": count, **expected})
    return pd.DataFrame(rows)
