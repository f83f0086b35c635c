"""What the paper's claims are about, as effects with intervals over trainings.

The unit is a training. All its random draws belong to one dataset, method, lambda and repetition, so these blocks are
independent of each other; within one, bagging and voting ensembles of different M share learners. Effects are sums
over blocks, with the variance over trainings pooled within a dataset and a kind of model. Clean accuracy also has an
error over test images, which all models share; accuracy under attack is on the same images throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from jacobian_ensembles.ensembles.methods import METHODS
from jacobian_ensembles.evaluation.statistics import Estimate, contrast
from jacobian_ensembles.evaluation.summary import CELL_KEYS, weighted_accuracy

#: A block without its dataset: the draws of one training.
BLOCK = ["ensemble", "lambda", "repetition"]
#: Trainings before this one were known when the rules were written.
FIRST_NEW = 3
#: The datasets that its claims are about.
PAPERS = ("mnist", "fashion_mnist")
#: The analysis that gives a claim's verdict; any other is a row beside it.
PRIMARY = "primary"
#: What ensembles are compared with.
OWN_MEMBERS, SINGLE, EQUAL_COMPUTE = "own members", "single network", "equal compute"
Setting = tuple[Any, ...]


@dataclass(frozen=True)
class Effect:
    """One comparison of a claim.

    Attributes:
        dataset: As in the configuration.
        part: What is compared, such as ``MNIST bagging``.
        needed: The smallest effect of interest, or the largest loss that does not count (negative).
        value: The effect, in points of accuracy or percent; NaN where it was not measured.
        low: Lower bound of its interval; -inf where it is not known.
        high: Upper bound; inf where it is not known.
        p_above: One-sided p value of the hypothesis that the effect is at most ``needed``; NaN where it is not known.
        p_below: One-sided p value of the hypothesis that it is at least ``needed``.
        p_reversed: One-sided p value of the hypothesis that it is at least ``-needed``; NaN for a negative ``needed``.
        trainings: The smallest number of trainings behind a setting.
        models: Exactly the models or strengths compared, where there are two.
        analysis: :data:`PRIMARY`, or which other one: it then has no p values, and no verdict rests on it.
    """

    dataset: str
    part: str
    needed: float
    value: float
    low: float
    high: float
    p_above: float
    p_below: float
    p_reversed: float
    trainings: int
    models: str = ""
    analysis: str = PRIMARY

    def beside(self, analysis: str) -> Effect:
        """The same as a row without a verdict."""
        return replace(self, analysis=analysis, p_above=math.nan, p_below=math.nan, p_reversed=math.nan)


def signed(value: float, needed: float) -> str:
    """An effect as printed: with its sign, and two decimals where small ones count."""
    return f"{value:+.{2 if abs(needed) < 1 else 1}f}"


def with_interval(value: float, low: float, high: float, needed: float) -> str:
    """An effect and, where it is known, its interval: ``+0.21 [+0.10, +0.32]``."""
    shown = signed(value, needed)
    return f"{shown} [{signed(low, needed)}, {signed(high, needed)}]" if math.isfinite(low) else shown


@dataclass(frozen=True)
class Evidence:
    """What the rules look at.

    Attributes:
        trainings: See :func:`trainings_of`.
        members: See :func:`members_of`; None where members were not attacked one by one.
        images: By dataset the covariance over test images of the models' clean accuracies, in points, of their means
            over as many images; rows and columns are (ensemble, members, lambda). None where it is not known.
        confidence: Level of the intervals.
        scale: What the sizes that effects need are multiplied by.
        used: The repetitions that effects are measured in; empty for all.
    """

    trainings: pd.DataFrame
    members: pd.DataFrame | None = None
    images: Mapping[str, pd.DataFrame] | None = None
    confidence: float = 0.95
    scale: float = 1.0
    used: tuple[int, ...] = ()

    @property
    def repetitions(self) -> list[int]:
        """All that the run has."""
        return sorted(set(self.trainings["repetition"]))

    def since(self, first: int) -> Evidence:
        """The same, measured in the repetitions from ``first`` on."""
        return replace(self, used=tuple(r for r in self.repetitions if r >= first) or (-1,))

    def judged(self) -> Evidence:
        """The same, measured in what verdicts rest on: the known first training is set aside, where there are more."""
        return self.since(1) if self.repetitions[-1] > 0 else self

    @property
    def is_the_papers(self) -> bool:
        """Whether it is about one of the paper's datasets at least."""
        return not set(PAPERS).isdisjoint(self.trainings["dataset"])

    @property
    def can_judge(self) -> bool:
        """Whether the paper's claims can be judged by it: measured on the paper's data, in more than one training."""
        return self.is_the_papers and len(self.used or self.repetitions) > 1

    def here(self, dataset: str) -> pd.DataFrame:
        """The trainings that effects on a dataset are measured in."""
        chosen = self.trainings["dataset"] == dataset
        if self.used:
            chosen &= self.trainings["repetition"].isin(self.used)
        return self.trainings[chosen]

    def image_variance(self, dataset: str, weights: Mapping[Setting, float]) -> float:
        """The variance over test images of a weighted sum of clean accuracies; 0 where it is not known."""
        if self.images is None or dataset not in self.images or not weights:
            return 0.0
        models = pd.MultiIndex.from_tuples(list(weights))
        w, found = np.array([*weights.values()]), self.images[dataset]
        return float(w @ found.loc[models, models].to_numpy() @ w)


def _accuracies(table: pd.DataFrame, keys: list[str], clean_weight: float) -> pd.DataFrame:
    cells = table.groupby(keys, as_index=False).agg(clean=("clean_accuracy", "first"), uap=("worst_accuracy", "mean"))
    by_eps = table.pivot_table("worst_accuracy", keys, "eps").add_prefix("uap ")
    cells = cells.merge(by_eps.reset_index(), on=keys, validate="one_to_one")
    numbers = [column for column in cells.columns if column not in keys]
    cells[numbers] *= 100
    return cells.assign(weighted=weighted_accuracy(cells["clean"], cells["uap"], clean_weight))


def trainings_of(metrics: pd.DataFrame, jacobian: pd.DataFrame | None, clean_weight: float) -> pd.DataFrame:
    """One row per training of a model: its accuracies in percent, and the logarithms of its Jacobian's moments.

    Args:
        metrics: ``metrics.csv``, a row per (model, repetition, eps).
        jacobian: ``jacobian.csv``; None where it was not measured.
        clean_weight: Weight of clean accuracy in weighted accuracy.

    Returns:
        The keys of a cell, and ``clean``, ``uap`` (mean over eps), ``uap <eps>`` and ``weighted``; the logarithms of
        the moments of the norm, ``log_mean`` and ``log_variance``, and their means over the ensemble's own learners,
        ``log_own_mean`` and ``log_own_variance``.
    """
    cells = _accuracies(metrics, CELL_KEYS, clean_weight)
    columns = {"log_": "ensemble_", "log_own_": "learner_"}
    names = {f"{ours}{moment}": f"{source}{moment}" for ours, source in columns.items() for moment in _MOMENTS}
    if jacobian is None:
        return cells.assign(**dict.fromkeys(names, np.nan))
    norms = jacobian[CELL_KEYS].copy()
    for ours, source in names.items():
        norms[ours] = np.log(jacobian[source].where(jacobian[source] > 0))
    return cells.merge(norms, on=CELL_KEYS, how="left", validate="one_to_one")


_MOMENTS = ("mean", "variance")


def members_of(members: pd.DataFrame | None, clean_weight: float) -> pd.DataFrame | None:
    """One row per member of the largest ensemble of a training, attacked by itself: its accuracies in percent.

    Args:
        members: A row per (dataset, ensemble, lambda, repetition, ``member``, eps), ``member`` counted from 0, with
            ``worst_accuracy`` and ``clean_accuracy`` in [0, 1]; None where there are none.
        clean_weight: Weight of clean accuracy in weighted accuracy.
    """
    return None if members is None else _accuracies(members, ["dataset", *BLOCK, "member"], clean_weight)


def is_cyclic(method: Hashable) -> bool:
    """Whether a method's ensembles are snapshots of one training, which a single network of M = 1 equals in cost."""
    return method in METHODS and METHODS[str(method)].cyclic


def gains(evidence: Evidence, dataset: str, column: str, baseline: str = OWN_MEMBERS) -> pd.DataFrame:
    """The gain of every M > 1 over a baseline.

    Args:
        evidence: What was measured.
        dataset: Of these models.
        column: The accuracy to compare; of a Jacobian's moment also the logarithm.
        baseline: :data:`OWN_MEMBERS`, the mean over the ensemble's own members; snapshots are compared with M = 1 of
            the same block, one run of the same length. :data:`SINGLE`: M = 1 of the same block. :data:`EQUAL_COMPUTE`:
            the single network of a run as long as all snapshots, with the same lambda and repetition; not for
            snapshots.

    Returns:
        A row per block, a column per M, NaN where one of both is missing.
    """
    here = evidence.here(dataset)
    if here.empty:
        return pd.DataFrame(index=pd.MultiIndex.from_tuples([], names=BLOCK))
    wide = here.pivot_table(column, BLOCK, "members", dropna=False).reindex(columns=sorted({1, *here["members"]}))
    methods = wide.index.get_level_values("ensemble")
    cyclic = np.array([is_cyclic(method) for method in methods])
    bases = dict.fromkeys(sorted({*here["members"]} - {1}), wide[1])
    if baseline == OWN_MEMBERS:
        own = evidence.members
        if own is not None:
            own = own[own["dataset"] == dataset].pivot_table(column, BLOCK, "member").reindex(wide.index)
        for m, single in bases.items():
            mean = np.nan if own is None else own.reindex(columns=range(m)).mean(axis=1, skipna=False)
            bases[m] = single.where(cyclic, mean)
    elif baseline == EQUAL_COMPUTE:
        keys = ["lambda", "repetition"]
        long = wide.loc[cyclic, 1].groupby(keys).mean()
        aligned = long.reindex(pd.MultiIndex.from_frame(wide.index.to_frame()[keys])).to_numpy()
        bases = {m: pd.Series(aligned, wide.index).where(~cyclic) for m in bases}
    return pd.DataFrame({m: wide[m] - base for m, base in bases.items()}, index=wide.index)


def by_setting(values: pd.Series) -> dict[Setting, list[float]]:
    """The values of each setting's trainings; the index ends in ``repetition``."""
    found: dict[Setting, list[float]] = {}
    for key, value in zip(values.dropna().index.to_list(), values.dropna(), strict=True):
        found.setdefault(key[:-1], []).append(float(value))
    return found


def effect_of(
    evidence: Evidence, dataset: str, part: str, needed: float, estimate: Estimate, trainings: int, models: str = ""
) -> Effect:
    """An effect with its interval and p values."""
    level = (1 + evidence.confidence) / 2
    measured = not math.isnan(estimate.mean)
    low, high = (estimate.lower(level), estimate.upper(level)) if measured else (-math.inf, math.inf)
    back = estimate.p_below(-needed) if needed > 0 else math.nan
    sides = estimate.p_above(needed), estimate.p_below(needed), back
    return Effect(dataset, part, needed, estimate.mean, low, high, *sides, trainings, models)


def unmeasured(dataset: str, part: str, needed: float) -> Effect:
    """An effect that the run lacks."""
    return Effect(dataset, part, needed, math.nan, -math.inf, math.inf, math.nan, math.nan, math.nan, 0)


def weighted_gain(
    evidence: Evidence,
    dataset: str,
    part: str,
    needed: float,
    table: pd.DataFrame,
    weights: Callable[[Iterable[Setting]], dict[Setting, float]],
    unit: Callable[[Setting], Hashable],
    on_images: bool,
) -> Effect:
    """A weighted sum over settings (method, lambda) of the gain of ensembles, a mean over M.

    Args:
        evidence: What was measured.
        dataset: See :class:`Effect`.
        part: See :class:`Effect`.
        needed: See :class:`Effect`.
        table: Of :func:`gains`.
        weights: From the settings that were measured to the weights of some.
        unit: See :func:`~jacobian_ensembles.evaluation.statistics.contrast`.
        on_images: Whether to add the error over test images; a single network's stands in for its ensemble's members'.
    """
    values = by_setting(table.mean(axis=1))
    chosen = weights(values)
    # snapshots have another baseline, and without regularisation trainings spread more
    pools = {setting: (is_cyclic(setting[0]), setting[1] > 0) for setting in values}
    estimate = contrast(values, chosen, pools, {setting: unit(setting) for setting in chosen})
    if on_images:
        sizes = [int(m) for m in table.columns]
        models: dict[Setting, float] = {}
        for (method, lam), weight in chosen.items():
            models[method, 1, lam] = -weight
            models |= {(method, m, lam): weight / len(sizes) for m in sizes}
        estimate = estimate.with_variance(evidence.image_variance(dataset, models))
    return effect_of(evidence, dataset, part, needed, estimate, min((len(values[s]) for s in chosen), default=0))
