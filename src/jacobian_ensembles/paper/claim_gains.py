"""What claims about ensembles compare: their gain over single networks, to effects and to what a run lacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from jacobian_ensembles.paper.effects import (
    BLOCK,
    EQUAL_COMPUTE,
    OWN_MEMBERS,
    PAPERS,
    SINGLE,
    Effect,
    Evidence,
    Setting,
    gains,
    is_cyclic,
    unmeasured,
    weighted_gain,
)
from jacobian_ensembles.paper.labels import DATASET_TITLES, ENSEMBLES, in_order

#: The size of an effect that matters, in points.
UAP = WEIGHTED = 1.0
_CLEAN = {"mnist": 0.1}
#: An accuracy tells models apart if it is this far, in points, from chance among ten classes and from clean accuracy.
_AWAY = 5.0
_CHANCE = 10.0

Found = tuple[list[Effect], list[str]]
Sizes = Callable[[str], float]


def needed_clean(dataset: str) -> float:
    """The difference in clean accuracy that matters."""
    return _CLEAN.get(dataset, 0.5)


def datasets_of(evidence: Evidence) -> list[str]:
    """The paper's datasets; those of a run that has neither of them, on which claims are measured and not judged."""
    return list(PAPERS) if evidence.is_the_papers else in_order(evidence.trainings["dataset"], DATASET_TITLES)


def lacking(effects: Sequence[Effect], what: str) -> list[str]:
    """What a run lacks, with the parts that were not measured for it."""
    parts = [effect.part for effect in effects if math.isnan(effect.value)]
    return [what if len(parts) == len(effects) else f"{what} ({', '.join(parts)})"] if parts else []


def _mean(settings: Iterable[Setting]) -> dict[Setting, float]:
    chosen = list(settings)
    return dict.fromkeys(chosen, 1 / len(chosen)) if chosen else {}


def _itself(setting: Setting) -> Hashable:
    return setting


def _lacking_baseline(evidence: Evidence, effects: Sequence[Effect]) -> list[str]:
    alone = evidence.members is not None or all(map(is_cyclic, set(evidence.trainings["ensemble"])))
    if alone or evidence.trainings["members"].max() == 1:
        return lacking(effects, "M = 1 beside M > 1")
    return lacking(effects, "the ensembles' members, attacked one by one (attack.members)")


def _groups(evidence: Evidence, by_method: bool) -> list[tuple[str, str, str]]:
    """Dataset, method (empty for all) and part."""
    methods = in_order(set(evidence.trainings["ensemble"]), ENSEMBLES) if by_method else [""]
    return [(d, method, f"{DATASET_TITLES[d]} {method}".rstrip()) for d in datasets_of(evidence) for method in methods]


def _gain(
    evidence: Evidence, group: tuple[str, str, str], column: str, needed: float, baseline: str = OWN_MEMBERS
) -> Effect:
    """The mean gain over methods and lambda; of all methods only if each was measured."""
    dataset, method, part = group
    table = gains(evidence, dataset, column, baseline)
    if method:
        table = table[table.index.get_level_values("ensemble") == method]
    elif baseline == OWN_MEMBERS and set(table.dropna(how="all").index.get_level_values("ensemble")) != set(
        evidence.here(dataset)["ensemble"]
    ):
        return unmeasured(dataset, part, needed)
    return weighted_gain(evidence, dataset, part, needed, table, _mean, _itself, column == "clean")


def mean_gains(evidence: Evidence, column: str, needed: Sizes, by_method: bool = False) -> Found:
    """The mean gain of M > 1 over its own members, by dataset and perhaps method."""
    groups = _groups(evidence, by_method)
    effects = [_gain(evidence, group, column, needed(group[0]) * evidence.scale) for group in groups]
    return effects, _lacking_baseline(evidence, effects)


def _trimmed(evidence: Evidence, group: tuple[str, str, str], column: str, needed: float) -> Effect:
    """The gain without the tenth of the blocks where it is largest and smallest (Yuen)."""
    dataset, method, part = group
    blocks = gains(evidence, dataset, column).mean(axis=1).dropna()
    values = np.sort(blocks[blocks.index.get_level_values("ensemble") == method] if method else blocks)
    cut = len(values) // 10
    if len(values) - 2 * cut < 2:
        return unmeasured(dataset, part, needed)
    kept = len(values) - 2 * cut
    mean = float(values[cut : len(values) - cut].mean())
    winsorized = np.clip(values, values[cut], values[len(values) - cut - 1])
    error = winsorized.std(ddof=1) * math.sqrt(len(values) - 1) / math.sqrt(kept * (kept - 1))
    trainings = len(set(blocks.index.get_level_values("repetition")))
    half = float(stats.t.ppf((1 + evidence.confidence) / 2, kept - 1)) * error
    return replace(
        unmeasured(dataset, part, needed), value=mean, low=mean - half, high=mean + half, trainings=trainings
    )


def gains_beside(evidence: Evidence, column: str, needed: Sizes, by_method: bool = False) -> list[Effect]:
    """Against other baselines, without the extremes, and at each eps by itself."""
    rows = []
    for group in _groups(evidence, by_method):
        size = needed(group[0]) * evidence.scale
        for baseline in (SINGLE, EQUAL_COMPUTE):
            rows.append(_gain(evidence, group, column, size, baseline).beside(baseline))
        rows.append(_trimmed(evidence, group, column, size).beside("trimmed mean"))
        if column == "uap":
            rows += [_gain(evidence, group, eps, size).beside(eps.replace("uap", "ε =")) for eps in _eps(evidence)]
    return rows


def _eps(evidence: Evidence) -> list[str]:
    return [column for column in evidence.trainings.columns if column.startswith("uap ")]


def norms_fall(evidence: Evidence, baseline: str = OWN_MEMBERS) -> Found:
    """How far the moments of the norm lie below those of the own learners, in percent (geometric mean)."""
    effects = []
    for dataset in datasets_of(evidence):
        here = evidence.here(dataset)
        for moment, symbol in (("mean", "E"), ("variance", "Var")):
            if baseline == OWN_MEMBERS:
                change = (here[f"log_own_{moment}"] - here[f"log_{moment}"]).where(here["members"] > 1)
                table = here.assign(change=change).pivot_table("change", BLOCK, "members")
            else:
                table = -gains(evidence, dataset, f"log_{moment}", baseline)
            part, needed = f"{DATASET_TITLES[dataset]} {symbol}", -math.log1p(-0.1 * evidence.scale)
            effect = weighted_gain(evidence, dataset, part, needed, table, _mean, _itself, on_images=False)
            needed, value, low, high = (
                -100 * math.expm1(-number) for number in (effect.needed, effect.value, effect.low, effect.high)
            )
            effects.append(replace(effect, needed=needed, value=value, low=low, high=high))
    return effects, lacking(effects, "Jacobian norms of M > 1 and of their learners")


def _more_with_regularisation(settings: Iterable[Setting]) -> dict[Setting, float]:
    """The mean over lambda > 0 less lambda = 0, over those methods that have both."""
    found: dict[Hashable, tuple[list[Setting], list[Setting]]] = {}
    for setting in settings:
        found.setdefault(setting[0], ([], []))[setting[1] == 0].append(setting)
    both = [pair for pair in found.values() if all(pair)]
    weights: dict[Setting, float] = {}
    for regularised, plain in both:
        weights |= dict.fromkeys(regularised, 1 / len(both) / len(regularised))
        weights |= dict.fromkeys(plain, -1 / len(both))
    return weights


def _telling_eps(evidence: Evidence, dataset: str) -> list[str]:
    """The eps where single networks and ensembles, plain and regularised, are away from chance and from clean."""
    here = evidence.here(dataset)
    groups = here.groupby([here["members"] > 1, here["lambda"] > 0])
    clean = groups["clean"].mean()
    means = {eps: groups[eps].mean() for eps in _eps(evidence)}
    return [
        eps
        for eps, mean in means.items()
        if len(mean) == 4 and (mean >= _CHANCE + _AWAY).all() and (mean <= clean - _AWAY).all()
    ]


def more_pronounced(evidence: Evidence, baseline: str = OWN_MEMBERS) -> Found:
    """How much more ensembles gain with regularisation, clean and at the eps that tell models apart."""
    effects, missing = [], []
    for dataset in datasets_of(evidence):
        title = DATASET_TITLES[dataset]
        effects.append(_change(evidence, dataset, f"{title} clean", needed_clean(dataset), ["clean"], baseline))
        chosen = _telling_eps(evidence, dataset)
        effects.append(_change(evidence, dataset, f"{title} under attack", UAP, chosen, baseline))
        if not chosen and len(evidence.here(dataset)):
            missing.append(f"an ε at which accuracies on {title} are away from chance and from clean accuracy")
    single = evidence.trainings["lambda"].nunique() < 2 or not (evidence.trainings["lambda"] == 0).any()
    lacks = ["λ = 0 and above"] if single else _lacking_baseline(evidence, effects)
    return effects, missing or lacks


def _change(evidence: Evidence, dataset: str, part: str, needed: float, columns: list[str], baseline: str) -> Effect:
    """The gain of ensembles at lambda > 0 (a mean over lambda) less that at 0, a mean over the columns."""
    if not columns or evidence.here(dataset).empty:
        return unmeasured(dataset, part, needed * evidence.scale)
    mean = evidence.trainings.assign(mean=evidence.trainings[columns].mean(axis=1))
    members = evidence.members
    if members is not None:
        members = members.assign(mean=members[columns].mean(axis=1))
    table = gains(replace(evidence, trainings=mean, members=members), dataset, "mean", baseline)
    methods = set(table.dropna(how="all").index.get_level_values("ensemble"))
    if baseline == OWN_MEMBERS and methods != set(evidence.here(dataset)["ensemble"]):
        return unmeasured(dataset, part, needed * evidence.scale)
    effect = weighted_gain(
        evidence, dataset, part, needed * evidence.scale, table, _more_with_regularisation,
        lambda setting: setting[0], columns == ["clean"],
    )  # fmt: skip
    shown = ", ".join(column.removeprefix("uap ") for column in columns)
    return replace(effect, models="" if columns == ["clean"] else f"ε = {shown}")


def more_pronounced_beside(evidence: Evidence) -> list[Effect]:
    """The same against other baselines, and at each eps by itself."""
    rows = [effect.beside(b) for b in (SINGLE, EQUAL_COMPUTE) for effect in more_pronounced(evidence, b)[0]]
    for dataset in datasets_of(evidence):
        part = f"{DATASET_TITLES[dataset]} under attack"
        for eps in _eps(evidence):
            rows.append(_change(evidence, dataset, part, UAP, [eps], OWN_MEMBERS).beside(eps.replace("uap", "ε =")))
    return rows
