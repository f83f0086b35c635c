"""Runs beside one another: the trade-off of each, what it cost to train, and by how much it differs from the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from jacobian_ensembles.evaluation.differences import welch
from jacobian_ensembles.evaluation.records import ATTACKED, metrics_of, with_worst
from jacobian_ensembles.evaluation.statistics import holm
from jacobian_ensembles.evaluation.summary import CELL_KEYS, MODEL_KEYS, summarize, weighted_accuracy
from jacobian_ensembles.paper.labels import DATASET_TITLES, in_order

_KEYS = ["run", *MODEL_KEYS]
_DIFFERENCE = ["difference", "difference_low", "difference_high", "p", "every_attack_difference"]
#: The smallest difference in weighted accuracy that counts.
EFFECT = 0.01
#: What all points of a curve over strengths have in common.
FAMILY = ["dataset", "ensemble", "members"]


@dataclass(frozen=True)
class ComparedRun:
    """What a comparison needs of a run.

    Attributes:
        name: The run's.
        objective: What its learners minimise, with any options that are not the default.
        records: ``records.csv``, see :mod:`~jacobian_ensembles.evaluation.records`.
        variants: ``ablation.csv``, where other attacks were tried on the same models.
        seconds: The wall time of training one learner, by ensemble method and strength.
        attack: The attack's settings.
        banner: The run's banner.
    """

    name: str
    objective: str
    records: pd.DataFrame
    variants: pd.DataFrame | None = None
    seconds: Mapping[tuple[str, float], float] = field(default_factory=dict)
    attack: Mapping[str, Any] = field(default_factory=dict)
    banner: str = ""


@dataclass(frozen=True)
class Common:
    """What runs have in common, which is all that they are compared on.

    Attributes:
        eps: Radii.
        seeds: How many attack seeds, the first ones of each run.
        variants: Names of further attacks.
    """

    eps: tuple[float, ...]
    seeds: int
    variants: tuple[str, ...]


def common_ground(runs: Sequence[ComparedRun]) -> Common:
    """Find what all runs were attacked with.

    Raises:
        ValueError: If there are no runs, two of the same name, or no eps that all have.
    """
    names = [run.name for run in runs]
    if len(set(names)) < len(names) or not names:
        raise ValueError(f"runs to compare must have different names. Got {', '.join(names) or 'none'}.")
    eps = set.intersection(*({float(e) for e in run.records["eps"]} for run in runs))
    if not eps:
        had = "; ".join(f"{run.name} {sorted(set(run.records['eps']))}" for run in runs)
        raise ValueError(f"runs to compare need an eps that all were attacked with. Got {had}.")
    variants = [set() if run.variants is None else set(run.variants["variant"]) for run in runs]
    seeds = min(int(run.records["attack_seed"].max()) + 1 for run in runs)
    return Common(tuple(sorted(eps)), seeds, tuple(sorted(set.intersection(*variants))))


def comparable(run: ComparedRun, common: Common, confidence: float, every_attack: bool) -> pd.DataFrame:
    """A run's metrics as if it had been made with what all runs have in common.

    Args:
        run: The run.
        common: See :func:`common_ground`.
        confidence: Level of the Wilson intervals.
        every_attack: Take the worst of all attacks that the runs share, not of the run's own alone.

    Returns:
        See :func:`~jacobian_ensembles.evaluation.records.metrics_of`: of the common eps and attack seeds.
    """
    chosen = (run.records["attack_seed"] < common.seeds) & run.records["eps"].isin(common.eps)
    metrics = metrics_of(run.records[chosen], confidence)
    if not (every_attack and common.variants and run.variants is not None):
        return metrics
    shared = run.variants[run.variants["variant"].isin(common.variants)]
    others = shared.groupby(ATTACKED)["worst_accuracy"].min()
    found = others.reindex(pd.MultiIndex.from_frame(metrics[ATTACKED])).to_numpy()
    return with_worst(metrics, np.fmin(metrics["worst_accuracy"], found), confidence)


def compare(runs: Sequence[ComparedRun], clean_weight: float, confidence: float) -> pd.DataFrame:
    """Summarise every model of every run by what the runs have in common.

    Args:
        runs: At least one.
        clean_weight: Weight of clean accuracy in weighted accuracy.
        confidence: Level of the intervals.

    Returns:
        One row per (run, model): the columns of :func:`~jacobian_ensembles.evaluation.summary.summarize`,
        ``every_attack_accuracy``, the mean over eps under the worst of all shared attacks, ``objective``, ``seconds``,
        the wall time of training one learner, and ``cost``, its ratio to that of plain training of the same method in
        the first run that has it. The last two are missing where they are not known.

    Raises:
        ValueError: See :func:`common_ground`.
    """
    common, parts = common_ground(runs), []
    plain: dict[str, float] = {}
    for run in runs:
        for (ensemble, strength), seconds in run.seconds.items():
            if strength == 0:
                plain.setdefault(ensemble, seconds)
    for run in runs:
        table = summarize(comparable(run, common, confidence, every_attack=False), clean_weight, confidence)
        strongest = summarize(comparable(run, common, confidence, every_attack=True), clean_weight, confidence)
        pairs = list(zip(table["ensemble"], table["lambda"], strict=True))
        times = [run.seconds.get((ensemble, float(strength)), np.nan) for ensemble, strength in pairs]
        cost = [s / plain.get(ensemble, np.nan) for s, (ensemble, _) in zip(times, pairs, strict=True)]
        parts.append(
            table.assign(
                run=run.name,
                objective=run.objective,
                every_attack_accuracy=strongest["mean_uap_accuracy"],
                seconds=times,
                cost=cost,
            )
        )
    table = pd.concat(parts, ignore_index=True)
    return table[[*_KEYS, *(c for c in table.columns if c not in _KEYS)]]


def best_of_each(
    runs: Sequence[ComparedRun], table: pd.DataFrame, clean_weight: float, confidence: float
) -> pd.DataFrame:
    """The strength with the highest weighted accuracy of every run, and how far it is from the first run's.

    Args:
        runs: As compared; the first is what the others are measured against.
        table: Of :func:`compare`.
        clean_weight: Weight of clean accuracy.
        confidence: Level of the intervals.

    Returns:
        One row per (dataset, ensemble, M, run) in this order, the row of ``table`` with ``difference`` in weighted
        accuracy from the first run, ``difference_low`` and ``difference_high``, Welch's interval over trainings, where
        both have several; ``p``, Welch's p value after Holm's correction over all rows; ``every_attack_difference``,
        the same under the worst of all shared attacks; and the :func:`verdict`.
    """
    trainings = _weighted(runs, clean_weight, confidence)
    rows = []
    for _, family in _best(table).groupby(FAMILY, sort=False):
        found = {row["run"]: row for row in family.to_dict("records")}
        base = found.get(runs[0].name)
        for name in (run.name for run in runs if run.name in found):
            row = found[name]
            if base is not None and name != runs[0].name:
                row = {**row, **_difference(row, base, trainings, clean_weight, confidence)}
            rows.append(row)
    out = _judged(pd.DataFrame(rows).reindex(columns=[*table.columns, *_DIFFERENCE]), confidence)
    return out.sort_values(FAMILY, key=_places(out), kind="stable")


def gain_of_members(
    runs: Sequence[ComparedRun], table: pd.DataFrame, clean_weight: float, confidence: float
) -> pd.DataFrame:
    """How much better the best ensemble of every run is than its best single learner.

    Args:
        runs: As compared.
        table: Of :func:`compare`.
        clean_weight: Weight of clean accuracy.
        confidence: Level of the intervals.

    Returns:
        One row per (dataset, ensemble, M > 1, run), with the columns of :func:`best_of_each`; differences are from the
        run's own best model of M = 1. Runs without one are left out.
    """
    trainings = _weighted(runs, clean_weight, confidence)
    best, rows = _best(table), []
    single = {(r["run"], r["dataset"], r["ensemble"]): r for r in best[best["members"] == 1].to_dict("records")}
    for row in best[best["members"] > 1].to_dict("records"):
        base = single.get((row["run"], row["dataset"], row["ensemble"]))
        if base is not None:
            rows.append({**row, **_difference(row, base, trainings, clean_weight, confidence)})
    out = _judged(pd.DataFrame(rows).reindex(columns=[*table.columns, *_DIFFERENCE]), confidence)
    order = {run.name: i for i, run in enumerate(runs)}
    return out.sort_values("run", key=lambda c: c.map(order)).sort_values(FAMILY, key=_places(out), kind="stable")


def _judged(rows: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """The rows with their p values corrected for each other, and the verdicts that follow."""
    rows = rows.assign(p=holm(rows["p"].tolist()))
    return rows.assign(verdict=[verdict(row, 1 - confidence) for row in rows.to_dict("records")])


def _best(table: pd.DataFrame) -> pd.DataFrame:
    """The strength with the highest weighted accuracy of every run's method and M; the smaller strength in a tie."""
    best = table.sort_values(["weighted_accuracy", "lambda"], ascending=[False, True], kind="stable")
    return best.drop_duplicates(["run", *FAMILY])


def _weighted(runs: Sequence[ComparedRun], clean_weight: float, confidence: float) -> dict[str, pd.Series]:
    """The weighted accuracy of every training, by run."""
    common, out = common_ground(runs), {}
    for run in runs:
        metrics = comparable(run, common, confidence, every_attack=False)
        cells = metrics.groupby(CELL_KEYS).agg(clean=("clean_accuracy", "first"), uap=("worst_accuracy", "mean"))
        out[run.name] = weighted_accuracy(cells["clean"], cells["uap"], clean_weight)
    return out


def _difference(
    row: Mapping[Any, Any],
    base: Mapping[Any, Any],
    trainings: Mapping[str, pd.Series],
    clean_weight: float,
    confidence: float,
) -> dict[Any, Any]:
    """The columns of :data:`_DIFFERENCE` for one model against another."""
    ours, theirs = (_of_model(trainings[r["run"]], r) for r in (row, base))
    out: dict[Any, Any] = {"difference": float(np.mean(ours) - np.mean(theirs))}
    if min(len(ours), len(theirs)) > 1:
        out["difference_low"], out["difference_high"], out["p"] = welch(ours, theirs, confidence)
    under_all = [weighted_accuracy(r["clean_accuracy"], r["every_attack_accuracy"], clean_weight) for r in (row, base)]
    return out | {"every_attack_difference": under_all[0] - under_all[1]}


def _places(table: pd.DataFrame) -> Callable[[pd.Series], pd.Series]:
    """A key for sorting that puts datasets into their usual order."""
    place = {name: i for i, name in enumerate(in_order(table["dataset"], DATASET_TITLES))}
    return lambda column: column.map(place) if column.name == "dataset" else column


def _of_model(trainings: pd.Series, model: Mapping[Any, Any]) -> list[float]:
    """The values of all trainings of one model."""
    chosen = trainings.xs(tuple(model[key] for key in MODEL_KEYS), level=tuple(MODEL_KEYS))
    return [float(value) for value in chosen]


def verdict(row: Mapping[Any, Any], level: float = 0.05) -> str:
    """Whether a run's best model is better than the first run's.

    Args:
        row: Of :func:`best_of_each`.
        level: Below which a corrected p value counts.

    Returns:
        ``better`` or ``worse`` where weighted accuracies differ by at least :data:`EFFECT`, shown after Holm's
        correction, and the sign is the same under the worst of all shared attacks; else ``no difference found``; empty
        where there is no p value.
    """
    if pd.isna(row["p"]):
        return ""
    sign = float(np.sign(row["difference"]))
    if abs(row["difference"]) < EFFECT or row["p"] >= level or sign * row["every_attack_difference"] <= 0:
        return "no difference found"
    return "better" if sign > 0 else "worse"


def strongest_at_each_eps(
    runs: Sequence[ComparedRun], tolerance: Mapping[str, float], confidence: float
) -> pd.DataFrame:
    """Which model of which run is most robust at an eps, among those that cost little clean accuracy.

    Args:
        runs: The first that has strength 0 shows what plain training reaches.
        tolerance: By dataset, how far a model's mean clean accuracy may lie below plain training's of the same method
            and M, in [0, 1].
        confidence: Level of the intervals of :func:`comparable`, which are not used.

    Returns:
        One row per (run, dataset, ensemble, M, eps): the run's strength with the highest mean accuracy under its
        attack, that mean as ``worst_accuracy``, ``clean_accuracy``, and its ``place`` among the runs, from 1. Runs
        with no model within the tolerance are left out.
    """
    common = common_ground(runs)
    own = pd.concat([comparable(run, common, confidence, every_attack=False).assign(run=run.name) for run in runs])
    means = own.groupby([*_KEYS, "eps"], sort=False)[["clean_accuracy", "worst_accuracy"]].mean().reset_index()
    plain = means[means["lambda"] == 0].drop_duplicates([*FAMILY, "eps"])
    joined = means.merge(plain[[*FAMILY, "eps", "clean_accuracy"]], on=[*FAMILY, "eps"], suffixes=("", "_plain"))
    cost = (joined["clean_accuracy_plain"] - joined["clean_accuracy"]).round(9)
    kept = joined[cost <= joined["dataset"].map(tolerance)]
    ordered = kept.sort_values(["worst_accuracy", "lambda"], ascending=[False, True], kind="stable")
    first = ordered.drop_duplicates(["run", *FAMILY, "eps"])
    return first.assign(place=first.groupby([*FAMILY, "eps"]).cumcount() + 1)


def under_others(best: pd.DataFrame, transfer: pd.DataFrame) -> pd.DataFrame:
    """Add how well the best models withstand perturbations that were crafted for the other runs' best models.

    Args:
        best: Of :func:`best_of_each`.
        transfer: Of :func:`~jacobian_ensembles.stages.transfer_runs.transfer_between`.

    Returns:
        ``best`` with ``transfer_accuracy``, under the worst perturbation of all other runs, mean over eps and
        trainings; missing where there is no other run.
    """
    keys = [*FAMILY, "target"]
    carried = transfer[transfer["source"] != transfer["target"]]
    worst = carried.groupby([*keys, "repetition", "eps"])["accuracy"].min().groupby(keys).mean()
    column = worst.rename("transfer_accuracy").rename_axis(index={"target": "run"}).reset_index()
    return best.merge(column, on=[*FAMILY, "run"], how="left", validate="one_to_one")
