"""The best lambda of a range, and the best model of a kind, as effects."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from jacobian_ensembles.evaluation.statistics import Estimate, contrast
from jacobian_ensembles.paper.effects import FIRST_NEW, Effect, Evidence, Setting, by_setting, effect_of, unmeasured

#: The four kinds of models that Table 1 compares, by whether they are ensembles and whether they are regularised.
KINDS = {
    "Jacobian ensemble": (True, True),
    "JR only": (False, True),
    "ensemble only": (True, False),
    "standard": (False, False),
}

_Choice = Callable[[list[float]], float]


class OverLambda:
    """Accuracy against lambda on one dataset, over methods and those M that have every lambda asked for.

    Args:
        evidence: What was measured.
        dataset: Of these models.
        column: The accuracy.
        lambdas: Those that are compared; None for all.
    """

    def __init__(self, evidence: Evidence, dataset: str, column: str, lambdas: Sequence[float] | None = None) -> None:
        here = evidence.here(dataset)
        if lambdas is not None:
            here = here[here["lambda"].isin(lambdas)]
        wide = here.pivot_table(column, ["ensemble", "members", "repetition"], "lambda", dropna=False).dropna()
        self.lambdas = sorted(map(float, wide.columns)) if len(wide) else []
        self._evidence, self._dataset, self._clean = evidence, dataset, column == "clean"
        self._models = sorted({(method, m) for method, m, _ in wide.index})
        self._methods = sorted({method for method, _ in self._models})
        means = wide.groupby(["ensemble", "repetition"]).mean()
        self._values: dict[Setting, list[float]] = {
            (method, lam): rows[lam].tolist() for method, rows in means.groupby("ensemble") for lam in self.lambdas
        }
        self.trainings = min(map(len, self._values.values()), default=0)

    def mean(self, lam: float) -> float:
        """The mean accuracy at one lambda."""
        return float(np.mean([np.mean(self._values[method, lam]) for method in self._methods]))

    def difference(self, first: float, second: float) -> Estimate:
        """The accuracy at one lambda less that at another."""
        count = len(self._methods)
        weights = {(method, first): 1 / count for method in self._methods}
        weights |= {(method, second): -1 / count for method in self._methods}
        pools = {setting: setting[1] > 0 for setting in self._values}
        estimate = contrast(self._values, weights, pools, {setting: setting[0] for setting in weights})
        if not self._clean:
            return estimate
        sizes = {method: sum(name == method for name, _ in self._models) for method in self._methods}
        models = {
            (method, m, lam): sign / count / sizes[method]
            for method, m in self._models
            for lam, sign in ((first, 1), (second, -1))
        }
        return estimate.with_variance(self._evidence.image_variance(self._dataset, models))


def best_inside(
    evidence: Evidence,
    dataset: str,
    part: str,
    needed: float,
    curve: OverLambda,
    inside: Sequence[float],
    outside: Sequence[float],
) -> Effect:
    """Whether some lambda of one set is better than every lambda of another, by the same margin.

    The search for the best of ``inside`` is corrected for (Bonferroni), and so, on the other side, is that for the
    best of ``outside``.

    Args:
        evidence: What was measured.
        dataset: See :class:`Effect`.
        part: See :class:`Effect`.
        needed: See :class:`Effect`.
        curve: On this dataset.
        inside: Values of lambda, among them the one that is claimed to be best.
        outside: The values it is compared with.

    Returns:
        The difference of the two best means.
    """
    n_in, n_out = len(inside), len(outside)
    tail = (1 - evidence.confidence) / 2
    pairs = {(i, o): curve.difference(i, o) for i in inside for o in outside}

    def best_of_worst(
        of: Callable[[Estimate], float], best: Callable[..., float], worst: Callable[..., float]
    ) -> float:
        return float(best([worst([of(pairs[i, o]) for o in outside]) for i in inside]))

    low = best_of_worst(lambda pair: pair.lower(1 - tail / n_in), max, min)
    high = best_of_worst(lambda pair: pair.upper(1 - tail / n_out), max, min)
    # np, so that an unknown p value makes the whole unknown
    above = float(np.minimum(1.0, n_in * best_of_worst(lambda pair: pair.p_above(needed), np.min, np.max)))
    below = float(np.minimum(1.0, n_out * best_of_worst(lambda pair: pair.p_below(needed), np.max, np.min)))
    back = float(np.minimum(1.0, n_out * best_of_worst(lambda pair: pair.p_below(-needed), np.max, np.min)))
    best, other = (max(values, key=curve.mean) for values in (inside, outside))
    models = f"λ = {best:g} against {other:g}"
    difference = curve.mean(best) - curve.mean(other)
    return Effect(dataset, part, needed, difference, low, high, above, below, back, curve.trainings, models)


def whole_trainings(evidence: Evidence, dataset: str) -> list[int]:
    """The repetitions that have every model; in a half-computed one the best may be missing."""
    sizes = evidence.trainings.loc[evidence.trainings["dataset"] == dataset, "repetition"].value_counts()
    return sorted(sizes.index[sizes == sizes.max()])


Split = tuple[list[int], list[int]]


def choose_and_measure(evidence: Evidence, dataset: str) -> list[Split]:
    """The repetitions that the best models are chosen in, and the later ones that they are measured in, by preference.

    The best of many is also the luckiest, so the two have none in common. First comes: chosen in the trainings known
    before, measured in new ones, which may be of these models alone; then, for models without new trainings: chosen in
    the first.
    """
    whole = whole_trainings(evidence, dataset)
    used = sorted(set(evidence.here(dataset)["repetition"]))
    new = [r for r in used if r >= FIRST_NEW]
    splits = [([r for r in whole if r < FIRST_NEW], new)] if new else []
    return [*splits, (whole[:1], [r for r in used if r > whole[0]])] if whole else []


def best_of_kinds(
    evidence: Evidence,
    dataset: str,
    part: str,
    needed: float,
    chosen_by: str,
    column: str,
    kinds: tuple[str, str],
    splits: Sequence[Split],
) -> Effect:
    """The best model of one kind against the best of another.

    Args:
        evidence: What was measured.
        dataset: See :class:`Effect`.
        part: See :class:`Effect`.
        needed: See :class:`Effect`.
        chosen_by: The accuracy that makes a model the best.
        column: The accuracy to compare.
        kinds: Two of :data:`KINDS`.
        splits: The repetitions to choose in, and to measure in; see :func:`choose_and_measure`. The first that have
            both models count.
    """
    here = evidence.trainings[evidence.trainings["dataset"] == dataset]
    if here.empty:  # of a run of the paper's other dataset
        return unmeasured(dataset, part, needed)
    model = ["ensemble", "members", "lambda"]
    wide = here.pivot_table(list(dict.fromkeys((chosen_by, column))), model, "repetition")
    ensemble = wide.index.get_level_values("members") > 1
    regularised = wide.index.get_level_values("lambda") > 0
    of_kind = [(ensemble == KINDS[kind][0]) & (regularised == KINDS[kind][1]) for kind in kinds]
    for choose, later in splits:
        known = [wide[chosen_by][kind].reindex(columns=choose).dropna() for kind in of_kind]
        if not choose or any(values.empty for values in known):
            continue
        a, b = (values.mean(axis=1).idxmax() for values in known)
        measure = [r for r in later if wide[column].loc[[a, b], r].notna().all()]
        if measure:
            break
    else:
        return unmeasured(dataset, part, needed)
    values: dict[Setting, list[float]] = {tuple(m): wide[column].loc[m, measure].tolist() for m in (a, b)}
    # pooled over methods and lambda, from all trainings that verdicts rest on
    judged = evidence.judged().here(dataset)
    spread = by_setting(judged.set_index([*model, "repetition"])[column])
    pools = {setting: (setting[1], setting[2] > 0) for setting in {*values, *spread}}
    weights: dict[Setting, float] = {tuple(a): 1.0, tuple(b): -1.0}
    estimate = contrast(values, weights, pools, dict.fromkeys(weights), spread)
    if column == "clean":
        estimate = estimate.with_variance(evidence.image_variance(dataset, weights))
    names = " against ".join(f"{method} M={members} λ={lam:g}" for method, members, lam in (a, b))
    return effect_of(evidence, dataset, part, needed, estimate, len(measure), names)
