"""The paper's claims, each checked against the trainings of a run: the evidence, the test and a verdict.

A claim compares one or several effects (:mod:`~jacobian_ensembles.paper.claim_rules`), each with the smallest size that
would matter, stated beforehand. Its primary analysis gives the verdict, at the confidence level of the run and after
Holm's correction over all claims:

- *holds*: every effect is larger than needed, or, where a claim is about most, more than half are;
- *does not hold*: some effect is smaller than needed, or, where a claim is about most, at least half of them are;
- *reversed*: it does not hold, and the effects are shown to lie as far on the other side;
- *cannot tell*: neither.

Verdicts rest on the trainings after the first, which was known when the rules were written, and take two of them at
least; on another dataset than the paper's, effects are measured, and nothing is judged. The same rule on new trainings
alone is the confirmation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace

import pandas as pd

from jacobian_ensembles.evaluation.image_error import covariances
from jacobian_ensembles.evaluation.statistics import holm
from jacobian_ensembles.evaluation.summary import CELL_KEYS, MODEL_KEYS
from jacobian_ensembles.paper.claim_rules import RULES, Rule
from jacobian_ensembles.paper.effects import (
    FIRST_NEW,
    PRIMARY,
    Effect,
    Evidence,
    members_of,
    signed,
    trainings_of,
    with_interval,
)
from jacobian_ensembles.paper.labels import RenderedTable, markdown_note, to_markdown

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
        confirmation: The verdict of new trainings alone; empty where there are none.
        half: The verdict if half of each size sufficed.
        double: The verdict if twice each size were needed.
    """

    claim: str
    place: str
    statement: str
    evidence: str
    test: str
    p: float
    missing: str
    verdict: str
    confirmation: str = ""
    half: str = ""
    double: str = ""


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
    needed = parts_needed(len(effects), most)
    return (
        _at_least(needed, [effect.p_above for effect in effects]),
        _at_least(len(effects) - needed + 1, [effect.p_below for effect in effects]),
    )


def _at_least(needed: int, p_values: Sequence[float]) -> float:
    """The p value against fewer than ``needed`` of the hypotheses being false; NaN was not tested."""
    ordered = sorted(1.0 if math.isnan(p) else p for p in p_values)
    return min(1.0, (len(ordered) - needed + 1) * ordered[needed - 1])


def _p_reversed(effects: Sequence[Effect], most: bool) -> float:
    """The two-sided p value against the effects lying as far on the other side; 1 where none has another side."""
    gains = [effect.p_reversed for effect in effects if effect.needed > 0]
    return min(1.0, 2 * _at_least(parts_needed(len(gains), most), gains)) if gains else 1.0


def _lacking(effects: Sequence[Effect]) -> list[str]:
    measured = [effect for effect in effects if not math.isnan(effect.value)]
    return ["more than one training" if any(math.isnan(effect.p_above) for effect in measured) else "more trainings"]


def _evidence(effects: Sequence[Effect], unit: str) -> str:
    """Each effect with its interval: ``MNIST +0.21 [+0.10, +0.32] (better in ...)``."""
    shown = [
        f"{effect.part} {with_interval(effect.value, effect.low, effect.high, effect.needed)}"
        + (f" ({effect.models})" if effect.models else "")
        for effect in effects
        if not math.isnan(effect.value)
    ]
    return f"In {unit}: {'; '.join(shown)}." if shown else "Not measured in this run."


def _verdict(effects: Sequence[Effect], rule: Rule, p: float, claims: int, level: float) -> str:
    if math.isnan(p) or p >= 1 - level:
        return OPEN
    holds, fails = two_sides(effects, rule.most)
    if holds < fails:
        return HOLDS
    # tested only after "does not hold", with its share of the error (a fixed sequence within each claim)
    return REVERSED if claims * _p_reversed(effects, rule.most) < 1 - level else FAILS


def check_claims(evidence: Evidence) -> list[Checked]:
    """Check the paper's claims by their primary analyses, in the trainings that the evidence is measured in.

    Args:
        evidence: What was measured.

    Returns:
        One per claim, in the order of the rules.
    """
    found = [rule.effects(evidence) for rule in RULES]
    sides = [two_sides(effects, rule.most) for (effects, _), rule in zip(found, RULES, strict=True)]
    corrected = holm([min(1.0, 2 * min(pair)) if not math.isnan(pair[0]) else math.nan for pair in sides])
    checked = []
    for rule, (effects, missing), p in zip(RULES, found, corrected, strict=True):
        verdict = _verdict(effects, rule, p, len(RULES), evidence.confidence) if evidence.can_judge else OPEN
        missing = missing if evidence.is_the_papers else ["one of the paper's datasets"]
        lacks = (missing or _lacking(effects)) if verdict == OPEN else []
        text = _evidence(effects, rule.unit)
        row = Claim(rule.claim, rule.place, rule.statement, text, rule.test, p, "; ".join(lacks), verdict)
        checked.append(Checked(rule, effects, row))
    return checked


def with_confirmation(evidence: Evidence) -> list[Checked]:
    """Check the paper's claims in the trainings that verdicts rest on, in the new ones, and with other sizes."""
    judged = evidence.judged()
    others = {
        "confirmation": evidence.since(FIRST_NEW),
        "half": replace(judged, scale=0.5),
        "double": replace(judged, scale=2.0),
    }
    if evidence.repetitions[-1] < FIRST_NEW:
        del others["confirmation"]
    found = {name: check_claims(other) for name, other in others.items()}
    checked = check_claims(judged)
    for name, rows in found.items():
        checked = [
            replace(claim, row=replace(claim.row, **{name: other.row.verdict}))  # type: ignore[arg-type]
            for claim, other in zip(checked, rows, strict=True)
        ]
    return checked


def all_effects(evidence: Evidence) -> list[tuple[Rule, Effect]]:
    """Every effect of every claim: of the primary analysis, then the rows beside it."""
    judged, rows = evidence.judged(), []
    for rule in RULES:
        found = list(rule.effects(judged)[0]) + list(rule.beside(judged))
        if evidence.repetitions[-1] >= FIRST_NEW:
            found += [effect.beside("new trainings") for effect in rule.effects(evidence.since(FIRST_NEW))[0]]
        if len(evidence.repetitions) > 1:
            found += [effect.beside("all trainings") for effect in rule.effects(evidence.since(0))[0]]
        primary = {(effect.part, effect.value) for effect in found if effect.analysis == PRIMARY}
        rows += [
            (rule, effect)
            for effect in found
            if effect.analysis == PRIMARY
            or not (math.isnan(effect.value) or (effect.part, effect.value) in primary)  # measured, and not the same
        ]
    return rows


def effects_by_attack(
    tables: Mapping[str, pd.DataFrame], clean_weight: float, confidence: float
) -> dict[str, list[tuple[Rule, Effect]]]:
    """The effects of the claims under each variant of the attack, from those trainings that all variants attacked.

    Args:
        tables: ``metrics``, ``jacobian`` and ``ablation``.
        clean_weight: Weight of clean accuracy in weighted accuracy.
        confidence: Level of intervals.

    Returns:
        For each variant what :func:`all_effects` returns, with the run's own accuracies replaced by those under it.
    """
    keys = [*CELL_KEYS, "eps"]
    wide = tables["ablation"].pivot_table("worst_accuracy", keys, "variant", sort=False).dropna()
    metrics = tables["metrics"].set_index(keys).loc[wide.index].reset_index()
    found = {}
    for variant in wide.columns:
        own = metrics.assign(worst_accuracy=wide[variant].to_numpy())
        jacobian = tables["jacobian"].merge(own[CELL_KEYS].drop_duplicates())
        trainings = trainings_of(own, jacobian, clean_weight)
        found[str(variant)] = all_effects(Evidence(trainings, confidence=confidence))
    return found


def evidence_of(tables: Mapping[str, pd.DataFrame], clean_weight: float, confidence: float) -> Evidence:
    """What a run's tables say about the claims.

    Args:
        tables: ``metrics`` and ``jacobian``; ``members`` and ``images``, where the run has them.
        clean_weight: Weight of clean accuracy in weighted accuracy.
        confidence: Level of intervals and verdicts.
    """
    images = covariances(tables["images"]) if "images" in tables else None
    trainings = trainings_of(tables["metrics"], tables["jacobian"], clean_weight)
    models = trainings[MODEL_KEYS].drop_duplicates().itertuples(index=False, name=None)
    if images and not all(dataset in images and tuple(model) in images[dataset].index for dataset, *model in models):
        images = None  # parts of a joined run may have kept no bits
    return Evidence(trainings, members_of(tables.get("members"), clean_weight), images, confidence)


def _rests_on(evidence: Evidence) -> str:
    """Which trainings, and which errors, verdicts rest on."""
    used = evidence.judged().used
    later = "the trainings after the first, which was known when the rules were written" if used else "one training"
    images = "" if evidence.images is not None else " The error over test images is not known here."
    return f"Verdicts rest on {later}.{images}"


def effects(
    tables: Mapping[str, pd.DataFrame], run: str, banner: str, clean_weight: float, confidence: float
) -> RenderedTable:
    """What the claims rest on: a row per effect.

    Args:
        tables: See :func:`evidence_of`, and ``summary``.
        run: The run's name.
        banner: The run's banner; empty for a full run.
        clean_weight: Weight of clean accuracy in weighted accuracy.
        confidence: Level of the intervals.
    """
    evidence = evidence_of(tables, clean_weight, confidence)
    rows = [{"claim": rule.claim, "unit": rule.unit, **asdict(effect)} for rule, effect in all_effects(evidence)]
    table = pd.DataFrame(rows, columns=["claim", "unit", *(field.name for field in fields(Effect))])
    measured = table[table["value"].notna()]
    sizes = ("value", "low", "high", "needed")
    shown = measured[["claim", "analysis", "part", "models", "unit", "trainings"]].assign(
        needed=[signed(needed, needed) for needed in measured["needed"]],
        effect=[with_interval(*row) for row in zip(*(measured[name] for name in sizes), strict=True)],
    )
    text = (
        f"The effects behind the claims. {markdown_note(tables['summary'], run, banner)} Means with {confidence:.0%} "
        f"intervals over trainings. {_rests_on(evidence)} Only primary analyses give verdicts.\n\n"
    )
    return RenderedTable(table, text + to_markdown(shown.rename(columns=str.capitalize)))


def claims(
    tables: Mapping[str, pd.DataFrame], run: str, banner: str, clean_weight: float, confidence: float
) -> RenderedTable:
    """The claims report of a run.

    Args:
        tables: See :func:`evidence_of`, and ``summary``.
        run: The run's name.
        banner: The run's banner; empty for a full run.
        clean_weight: Weight of clean accuracy in weighted accuracy.
        confidence: Level of intervals and verdicts.
    """
    evidence = evidence_of(tables, clean_weight, confidence)
    rows = [checked.row for checked in with_confirmation(evidence)]
    table = pd.DataFrame([astuple(row) for row in rows], columns=[f.name for f in fields(Claim)])
    shown = table.assign(
        verdict=[f"{row.verdict}: {row.missing}" if row.missing else row.verdict for row in rows],
        p=["–" if math.isnan(row.p) else f"{row.p:.2g}" for row in rows],
        confirmation=table["confirmation"].replace("", "–"),
    ).drop(columns="missing")
    shown = shown.rename(columns=str.capitalize).rename(
        columns={"Confirmation": "New trainings alone", "Half": "At half the sizes", "Double": "At twice the sizes"}
    )
    text = (
        f"The paper's claims against this run. {markdown_note(tables['summary'], run, banner)} Effects are means with "
        f"{confidence:.0%} intervals over trainings; where there is one training, the spread over settings stands in "
        "for that over trainings, if there is more than one setting, and no verdict is given. p values are corrected "
        f"for {len(rows)} claims (Holm). {_rests_on(evidence)}\n\n"
    )
    return RenderedTable(table, text + to_markdown(shown), float_format="%.4g")
