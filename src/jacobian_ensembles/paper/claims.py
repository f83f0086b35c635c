"""The paper's claims, each checked against the trainings of a run: the evidence, the test and a verdict.

A claim compares one or several effects (:mod:`~jacobian_ensembles.paper.claim_rules`), each with the smallest size that
would matter, stated beforehand. Verdicts, at the confidence level of the run and after Holm's correction over all
claims:

- *holds*: every effect is larger than needed, or, where a claim is about most, more than half are;
- *does not hold*: some effect is smaller than needed, or, where a claim is about most, at least half of them are;
- *reversed*: it does not hold, and the effects lie as far on the other side;
- *cannot tell*: neither; the report says what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields

import pandas as pd

from jacobian_ensembles.evaluation.statistics import holm
from jacobian_ensembles.evaluation.summary import CELL_KEYS
from jacobian_ensembles.paper.claim_rules import RULES, Rule
from jacobian_ensembles.paper.effects import Effect, signed, trainings_of, with_interval
from jacobian_ensembles.paper.labels import RenderedTable, run_note, to_markdown

HOLDS, FAILS, REVERSED, OPEN = "holds", "does not hold", "reversed", "cannot tell"


@dataclass(frozen=True)
class Claim:
    """One row of the report.

    Attributes:
        claim: Its number, C1 to C14.
        place: The section of the paper, and its figure or table.
        statement: What the paper claims.
        evidence: The effects, with their intervals.
        test: How they were judged.
        p: Two-sided p value after Holm's correction; NaN where nothing was tested.
        missing: What it would take to tell; empty where the run can tell.
        verdict: ``holds``, ``does not hold``, ``reversed`` or ``cannot tell``.
    """

    claim: str
    place: str
    statement: str
    evidence: str
    test: str
    p: float
    missing: str
    verdict: str


@dataclass(frozen=True)
class Checked:
    """A claim with what was measured for it.

    Attributes:
        rule: How it is judged.
        effects: What was measured.
        row: What the report says.
    """

    rule: Rule
    effects: list[Effect]
    row: Claim


def parts_needed(count: int, most: bool) -> int:
    """How many of its ``count`` parts a claim needs: all, or more than half."""
    return count // 2 + 1 if most else count


def two_sides(effects: Sequence[Effect], most: bool) -> tuple[float, float]:
    """The p values against a claim's failing and against its holding.

    That at least u of n effects are as large as needed is a partial conjunction; its p value is n - u + 1 times the
    u-th smallest of theirs, so for u = n the largest. The claim fails if at least n - u + 1 effects are smaller.

    Args:
        effects: The claim's parts; one that was not measured speaks for neither side.
        most: Whether more than half of them suffice.

    Returns:
        The p value against failing, and that against holding; NaN where no effect could be tested.

    References:
        Benjamini, Heller: Screening for Partial Conjunction Hypotheses, Biometrics 2008.
    """
    if all(math.isnan(effect.p_above) for effect in effects):
        return math.nan, math.nan
    above, below = (
        sorted(1.0 if math.isnan(p) else p for p in sides)
        for sides in ([effect.p_above for effect in effects], [effect.p_below for effect in effects])
    )
    count, needed = len(effects), parts_needed(len(effects), most)
    return min(1.0, (count - needed + 1) * above[needed - 1]), min(1.0, needed * below[count - needed])


def _is_reversed(effects: Sequence[Effect], most: bool) -> bool:
    gains = [effect for effect in effects if effect.needed > 0]
    other_side = sum(effect.high < -effect.needed for effect in gains)
    return bool(gains) and other_side >= parts_needed(len(gains), most)


def _trainings_needed(effects: Sequence[Effect]) -> list[str]:
    """How many trainings would shrink the intervals enough, if the effects are as they look now."""
    single = [effect.part for effect in effects if effect.trainings == 1]
    if single:
        return ["more than one training"]
    factors = [
        effect.trainings * ((effect.high - effect.low) / 2 / gap) ** 2
        for effect in effects
        if effect.low <= effect.needed <= effect.high and (gap := abs(effect.value - effect.needed)) > 0
    ]
    count = math.ceil(max(factors, default=0))
    if not count:
        return ["more trainings"]
    return [f"about {count} trainings" if count <= 100 else "more than 100 trainings: it is close to what is needed"]


def _evidence(effects: Sequence[Effect], unit: str) -> str:
    """Each effect with its interval: ``MNIST +0.21 [+0.10, +0.32] (better in ...)``."""
    shown = [
        f"{effect.part} {with_interval(effect.value, effect.low, effect.high, effect.needed)}"
        + (f" ({effect.models})" if effect.models else "")
        for effect in effects
        if not math.isnan(effect.value)
    ]
    return f"In {unit}: {'; '.join(shown)}." if shown else "Not measured in this run."


def _verdict(effects: Sequence[Effect], rule: Rule, p: float, level: float) -> str:
    if math.isnan(p) or p >= 1 - level:
        return OPEN
    holds, fails = two_sides(effects, rule.most)
    if holds < fails:
        return HOLDS
    return REVERSED if _is_reversed(effects, rule.most) else FAILS


def check_claims(trainings: pd.DataFrame, confidence: float) -> list[Checked]:
    """Check the paper's claims.

    Args:
        trainings: :func:`~jacobian_ensembles.paper.effects.trainings_of` a run.
        confidence: Level of the intervals and of the verdicts.

    Returns:
        One per claim, in the order of the rules.
    """
    found = [rule.effects(trainings, confidence) for rule in RULES]
    sides = [two_sides(effects, rule.most) for (effects, _), rule in zip(found, RULES, strict=True)]
    corrected = holm([min(1.0, 2 * min(pair)) if not math.isnan(pair[0]) else math.nan for pair in sides])
    checked = []
    for rule, (effects, missing), p in zip(RULES, found, corrected, strict=True):
        verdict = _verdict(effects, rule, p, confidence)
        lacks = (missing or _trainings_needed(effects)) if verdict == OPEN else []
        evidence = _evidence(effects, rule.unit)
        row = Claim(rule.claim, rule.place, rule.statement, evidence, rule.test, p, "; ".join(lacks), verdict)
        checked.append(Checked(rule, effects, row))
    return checked


def effects_by_attack(
    tables: Mapping[str, pd.DataFrame], clean_weight: float, confidence: float
) -> dict[str, list[Checked]]:
    """The claims under each variant of the attack, from those trainings that all variants attacked.

    Args:
        tables: ``metrics``, ``jacobian`` and ``ablation``.
        clean_weight: Weight of clean accuracy in weighted accuracy.
        confidence: Level of intervals and verdicts.

    Returns:
        For each variant what :func:`check_claims` returns, with the run's own accuracies replaced by those under it.
    """
    keys = [*CELL_KEYS, "eps"]
    wide = tables["ablation"].pivot_table("worst_accuracy", keys, "variant", sort=False).dropna()
    metrics = tables["metrics"].set_index(keys).loc[wide.index].reset_index()
    found = {}
    for variant in wide.columns:
        own = metrics.assign(worst_accuracy=wide[variant].to_numpy())
        jacobian = tables["jacobian"].merge(own[CELL_KEYS].drop_duplicates())
        found[str(variant)] = check_claims(trainings_of(own, jacobian, clean_weight), confidence)
    return found


def effects(
    tables: Mapping[str, pd.DataFrame], run: str, banner: str, clean_weight: float, confidence: float
) -> RenderedTable:
    """What the claims rest on: a row per effect.

    Args:
        tables: ``metrics``, ``summary`` and ``jacobian``.
        run: The run's name.
        banner: The run's banner; empty for a full run.
        clean_weight: Weight of clean accuracy in weighted accuracy.
        confidence: Level of the intervals.
    """
    trainings = trainings_of(tables["metrics"], tables["jacobian"], clean_weight)
    rows = [
        {"claim": checked.rule.claim, "unit": checked.rule.unit, **asdict(effect)}
        for checked in check_claims(trainings, confidence)
        for effect in checked.effects
    ]
    table = pd.DataFrame(rows, columns=["claim", "unit", *(field.name for field in fields(Effect))])
    measured = table[table["value"].notna()]
    sizes = ("value", "low", "high", "needed")
    shown = measured[["claim", "part", "models", "unit", "trainings"]].assign(
        needed=[signed(needed, needed) for needed in measured["needed"]],
        effect=[with_interval(*row) for row in zip(*(measured[name] for name in sizes), strict=True)],
    )
    text = (
        f"The effects behind the claims. {run_note(tables['summary'], run, banner)} Means with {confidence:.0%} "
        "intervals over trainings.\n\n"
    )
    return RenderedTable(table, text + to_markdown(shown.rename(columns=str.capitalize)))


def claims(
    tables: Mapping[str, pd.DataFrame], run: str, banner: str, clean_weight: float, confidence: float
) -> RenderedTable:
    """The claims report of a run.

    Args:
        tables: ``metrics``, ``summary`` and ``jacobian``.
        run: The run's name.
        banner: The run's banner; empty for a full run.
        clean_weight: Weight of clean accuracy in weighted accuracy.
        confidence: Level of intervals and verdicts.
    """
    trainings = trainings_of(tables["metrics"], tables["jacobian"], clean_weight)
    rows = [checked.row for checked in check_claims(trainings, confidence)]
    table = pd.DataFrame([astuple(row) for row in rows], columns=[f.name for f in fields(Claim)])
    shown = table.assign(
        verdict=[f"{row.verdict}: {row.missing}" if row.missing else row.verdict for row in rows],
        p=["–" if math.isnan(row.p) else f"{row.p:.2g}" for row in rows],
    ).drop(columns="missing")
    text = (
        f"The paper's claims against this run. {run_note(tables['summary'], run, banner)} Effects are means with "
        f"{confidence:.0%} intervals over trainings, on the same test images; where there is one training, the spread "
        "over settings stands in for that over trainings, if there is more than one setting. p values are corrected "
        f"for {len(rows)} claims (Holm).\n\n"
    )
    return RenderedTable(table, text + to_markdown(shown.rename(columns=str.capitalize)), float_format="%.4g")
