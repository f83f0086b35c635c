import itertools
import math

import numpy as np
import pandas as pd
import pytest
from helpers_claims import LAMBDAS, grid, paper_clean, paper_uap, tables
from scipy import stats

from jacobian_ensembles.evaluation.summary import summarize
from jacobian_ensembles.paper.claim_rules import RULES
from jacobian_ensembles.paper.claims import (
    _verdict,
    all_effects,
    check_claims,
    claims,
    effects,
    effects_by_attack,
    evidence_of,
    two_sides,
    with_confirmation,
)
from jacobian_ensembles.paper.effects import Effect, Evidence, trainings_of

ALL = [f"C{i}" for i in range(1, 15)]


def checked(*args, norms=True, alone=True, confidence=0.95, **kwargs):
    """The claims of a made-up grid, by number: with verdicts from the trainings after the first."""
    found = tables(*args, **kwargs)
    if not norms:
        norm = found["jacobian"].columns.str.startswith(("ensemble_", "learner_"))
        found["jacobian"].loc[:, norm] = np.nan
    if not alone:
        del found["members"]
    evidence = evidence_of(found, 0.5, confidence)
    return {claim.row.claim: claim for claim in check_claims(evidence.judged())}


def verdicts(*args, **kwargs):
    return {claim: found.row.verdict for claim, found in checked(*args, **kwargs).items()}


def effect(p_above, p_below, needed=1.0, high=2.0, p_reversed=math.nan):
    return Effect("mnist", "part", needed, 0.0, -1.0, high, p_above, p_below, p_reversed, 3)


def test_a_world_as_the_paper_describes_it_holds_every_claim():
    assert verdicts() == dict.fromkeys(ALL, "holds")


def test_a_world_turned_around_reverses_every_gain():
    got = verdicts(
        clean=lambda d, e, m, lam: 90 + 7.3 * (lam == 2) - 2 * (0 < lam < 1) - (m > 1) * (2 + 8 * (lam > 0)),
        uap=lambda d, e, m, lam: 60 - 15 * lam**0.5 - (m > 1) * (3 + 8 * (lam > 0)),
    )
    assert got.pop("C8") == "holds"  # its table is the same
    assert got.pop("C14") == "holds"  # a large lambda is still detrimental
    # nothing turns "the loss is at most" around, and in a best lambda of 0 the best of the others is the smallest
    assert got.pop("C11") == "does not hold"
    assert got == dict.fromkeys(got, "reversed")


def test_a_world_without_effects_holds_nothing_but_what_says_so():
    for seed in range(4):
        got = verdicts(lambda *_: 95.0, lambda *_: 50.0, noise=(0.3, 2.0), seed=seed)
        assert got.pop("C8") == "holds"
        got.pop("C11")  # clean accuracy is as close as it can be
        assert "holds" not in got.values()
        assert "reversed" not in got.values()


def effects_of(claim, evidence):
    return next(rule for rule in RULES if rule.claim == claim).effects(evidence)[0]


@pytest.mark.parametrize("trainings", [2, 5])
def test_an_effect_just_as_large_as_needed_rarely_holds_though_gains_share_a_baseline(trainings):
    """At the threshold itself a one-sided test at 2.5 % errs in 2.5 % of worlds."""
    held = []
    for seed in range(120):
        found = tables(
            lambda *_: 95.0, lambda d, e, m, lam: 50 + 2 * (m > 1), trainings, datasets=("kuzushiji",),
            methods=("snapshot",), lambdas=(0.0, 0.1, 0.5), eps=(0.1,), noise=(0.0, 2.0), seed=seed,
        )  # fmt: skip
        (gain,) = effects_of("C13", Evidence(trainings_of(found["metrics"], None, 0.5)))
        held.append((gain.p_above < 0.025, gain.low > 1.0))
    share, of_intervals = np.mean(held, axis=0)
    assert share == of_intervals
    assert share < 0.025 + 3 * math.sqrt(0.025 * 0.975 / 120)


def test_intervals_cover_a_planted_effect():
    covered, widths = [], []
    for seed in range(60):
        found = tables(
            lambda *_: 95.0, lambda d, e, m, lam: 50 + 4 * (m > 1) * (1 + lam), 3, datasets=("mnist",),
            methods=("bagging",), lambdas=(0.0, 0.5, 1.0), eps=(0.1,), noise=(0.0, 1.5), seed=seed,
        )  # fmt: skip
        gain = effects_of("C4", evidence_of(found, 0.5, 0.95))[0]
        covered.append(gain.low <= 4 * 1.5 <= gain.high)  # the mean of 4, 6 and 8
        widths.append(gain.high - gain.low)
    assert np.mean(covered) > 0.95 - 3 * math.sqrt(0.05 * 0.95 / 60)
    assert np.median(widths) < 1.5  # against its own members; a single network's own deviation would be in it else


def test_more_members_beside_the_same_network_are_no_more_evidence():
    """Twenty ensembles beside one network are as good as one: the interval must not shrink."""
    few, many = (
        checked(
            lambda *_: 95.0, lambda d, e, m, lam: 50 + 2 * (m > 1), noise=(0.0, 2.0), methods=("snapshot",),
            lambdas=(0.0, 0.1), members=members, seed=4,
        )["C4"].effects[0]
        for members in ((1, 20), (1, *range(15, 25)))
    )  # fmt: skip
    assert many.high - many.low > 0.6 * (few.high - few.low)


def test_a_training_that_is_lucky_for_all_its_ensembles_is_one_training():
    """With one lucky M = 1 network in each block of one repetition, all gains of that repetition fall together."""
    metrics, _ = grid(lambda *_: 95.0, lambda *_: 50.0, trainings=4, noise=(0.0, 0.0))
    lucky = metrics["repetition"].isin([0, 1]) & (metrics["members"] == 1)
    metrics.loc[lucky, "worst_accuracy"] += 0.1
    found = effects_of("C4", Evidence(trainings_of(metrics, None, 0.5)).judged())
    snapshot = next(effect for effect in found if effect.part == "MNIST snapshot")
    # training 0 is set aside; at each of 8 lambda gains are -10, 0, 0: variance 100/3 in both pools, of a mean 100/9
    assert snapshot.value == pytest.approx(-10 / 3)
    parts = np.array([7, 1]) * 100 / 9 / 64
    half = stats.t.ppf(0.975, parts.sum() ** 2 / (parts**2 / [14, 2]).sum()) * math.sqrt(parts.sum())
    assert (snapshot.low, snapshot.high) == pytest.approx((-10 / 3 - half, -10 / 3 + half))
    assert snapshot.trainings == 3


def test_the_first_training_gives_no_verdict_where_there_are_others():
    def world(trainings):
        found = tables(lambda *_: 95.0, lambda d, e, m, lam: 50 + 5 * (m > 1), trainings)
        first = found["metrics"]["repetition"] == 0
        found["metrics"].loc[first & (found["metrics"]["members"] > 1), "worst_accuracy"] -= 0.3
        rows = with_confirmation(evidence_of(found, 0.5, 0.95))
        return next(checked for checked in rows if checked.rule.claim == "C4")

    assert world(1).row.verdict == "cannot tell"  # one training is not judged
    assert (world(3).row.verdict, world(3).row.confirmation) == ("holds", "")
    assert (world(5).row.verdict, world(5).row.confirmation) == ("holds", "holds")
    assert {effect.trainings for effect in world(5).effects} == {4}


def test_new_trainings_alone_are_the_confirmation():
    found = tables(lambda *_: 95.0, lambda d, e, m, lam: 50 + 5 * (m > 1), 5)
    new = (found["metrics"]["repetition"] > 2) & (found["metrics"]["members"] > 1)
    found["metrics"].loc[new, "worst_accuracy"] -= 0.1
    row = next(c.row for c in with_confirmation(evidence_of(found, 0.5, 0.95)) if c.rule.claim == "C4")
    assert row.confirmation == "reversed"


def test_the_sizes_are_varied():
    gain = {"mnist": 0.15, "fashion_mnist": 0.75}
    found = tables(lambda d, e, m, lam: 90 + gain[d] * (m > 1), noise=(0.02, 0.5))
    row = next(c.row for c in with_confirmation(evidence_of(found, 0.5, 0.95)) if c.rule.claim == "C3")
    assert (row.half, row.verdict, row.double) == ("holds", "holds", "does not hold")


def test_ensembles_are_judged_beside_their_own_members():
    rows = checked(alone=False)
    waiting = {claim: rows[claim].row for claim in ("C3", "C4", "C9", "C13")}
    assert {row.verdict for row in waiting.values()} == {"cannot tell"}
    lacks = "the ensembles' members, attacked one by one (attack.members)"
    assert waiting["C13"].missing == lacks
    groups = "MNIST bagging, MNIST voting, Fashion-MNIST bagging, Fashion-MNIST voting"
    assert waiting["C3"].missing == waiting["C4"].missing == f"{lacks} ({groups})"
    assert {effect.part for effect in rows["C4"].effects if not math.isnan(effect.value)} == {
        "MNIST snapshot",
        "Fashion-MNIST snapshot",
    }


def test_rows_beside_the_primary_analysis_have_no_p_values():
    made = tables()
    made["metrics"]["worst_accuracy"] += 0.01 * made["metrics"]["eps"] * (made["metrics"]["members"] > 1)
    found = all_effects(evidence_of(made, 0.5, 0.95))
    beside = [(rule.claim, effect) for rule, effect in found if effect.analysis != "primary"]
    assert all(math.isnan(p) for _, e in beside for p in (e.p_above, e.p_below, e.p_reversed))
    got = {(claim, e.analysis): e.value for claim, e in beside if e.part == "MNIST voting"}
    assert set(got) == {
        *(("C3", a) for a in ("single network", "equal compute", "trimmed mean", "new trainings", "all trainings")),
        *(("C4", a) for a in ("single network", "equal compute", "trimmed mean", "new trainings", "all trainings")),
        *(("C4", f"ε = {eps}") for eps in (0.1, 0.15, 0.2, 0.25)),
    }
    # gains of 3 points without regularisation and 7 with it
    assert got["C4", "single network"] == pytest.approx((3 + 7 * 7) / 8, abs=0.5)
    best = next(e for claim, e in beside if claim == "C7" and e.analysis.startswith("best of all trainings"))
    assert math.isinf(best.low)


def test_one_training_is_told_apart_from_several():
    rows = checked(trainings=1)
    assert list(rows) == ALL
    best_of = [claim for claim, found in rows.items() if found.row.missing.startswith("more than one training")]
    # chosen and measured in the same training; C6 and C14 need settings besides methods
    assert {"C7", "C10", "C11", "C12"} <= set(best_of)
    assert {rows[claim].row.verdict for claim in best_of} == {"cannot tell"}
    assert rows["C7"].row.evidence == "Not measured in this run."
    assert {found.row.verdict for found in rows.values()} == {"cannot tell"}
    assert rows["C3"].row.p < 0.05  # many settings with one voice, and yet one training


@pytest.mark.parametrize(("missing", "open_claims"), [(0.01, {"C2"}), (0.2, set())])
def test_claims_on_a_range_of_lambda_or_on_the_best_of_all_need_all_of_it(missing, open_claims):
    rows = checked(lambdas=tuple(lam for lam in LAMBDAS if lam != missing))
    open_claims = open_claims | {"C5", "C6", "C7", "C10", "C11", "C12", "C14"}
    assert {claim for claim, found in rows.items() if found.row.verdict == "cannot tell"} == open_claims
    for claim in open_claims:
        assert rows[claim].row.missing == f"λ = {missing:g}"


def test_what_has_no_single_networks_beside_its_ensembles_is_named():
    found = tables()
    kept = (found["metrics"]["ensemble"] != "snapshot") | (found["metrics"]["members"] > 1)
    evidence = evidence_of(found | {"metrics": found["metrics"][kept]}, 0.5, 0.95)
    row = next(c.row for c in check_claims(evidence) if c.row.claim == "C3")
    assert row.verdict == "cannot tell"
    assert row.missing == "M = 1 beside M > 1 (MNIST snapshot, Fashion-MNIST snapshot)"


def test_the_best_of_some_methods_is_not_the_best():
    row = checked(methods=("bagging", "voting"))["C7"].row
    assert (row.verdict, row.missing) == ("cannot tell", "snapshot")
    assert "JR only +" in row.evidence


def test_a_fall_is_a_fall_even_where_values_of_lambda_are_missing():
    lambdas = (0.0, 0.05, 0.5, 2.0)
    row = checked(uap=lambda d, e, m, lam: paper_uap(d, e, m, lam) - 20 * (lam == 2), lambdas=lambdas)["C5"].row
    assert row.verdict == "does not hold"
    assert "MNIST λ 0.5 to 2 -18." in row.evidence


def test_a_plateau_is_monotone_within_a_point():
    plateau = dict(zip(LAMBDAS, (25, 40, 72, 78, 83, 87, 87, 86.8), strict=True))
    got = verdicts(uap=lambda d, e, m, lam: plateau[lam] if d == "mnist" else paper_uap(d, e, m, lam))
    assert got["C5"] == "holds"


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.3, "holds"), (0.02, "does not hold"), (-0.02, "does not hold"), (-0.3, "reversed")]
)
def test_a_gain_in_clean_accuracy_counts_from_its_size_on(gain, verdict):
    scale = {"mnist": 1, "fashion_mnist": 5}
    got = verdicts(clean=lambda d, e, m, lam: 90 + gain * scale[d] * (m > 1), noise=(0.02, 0.5))
    assert got["C3"] == verdict


def test_most_settings_are_more_than_half_of_the_pairs_of_dataset_and_method():
    def world(losers):
        return verdicts(uap=lambda d, e, m, lam: 50 + 3 * (m > 1) * (-1 if (d, e) in losers else 1))["C4"]

    pairs = list(itertools.product(("mnist", "fashion_mnist"), ("bagging", "snapshot", "voting")))
    assert world(pairs[:2]) == "holds"
    assert world(pairs[:3]) == "does not hold"  # half of them is not most
    assert world(pairs[:4]) == "reversed"


def test_ensembles_that_gain_less_with_regularisation_reverse_the_interaction():
    rows = checked(
        clean=lambda d, e, m, lam: 90 + (m > 1) * (0 if lam else 2),
        uap=lambda d, e, m, lam: 50 + (m > 1) * (2 if lam else 8),
    )
    found = rows["C9"]
    assert found.row.verdict == "reversed"
    by_part = {e.part: e.value for e in found.effects}
    assert by_part["MNIST under attack"] == pytest.approx(-6, abs=1)
    assert by_part["MNIST clean"] == pytest.approx(-2, abs=0.2)


@pytest.mark.parametrize(("loss", "verdict"), [(0.2, "holds"), (4.0, "does not hold")])
def test_close_clean_accuracy_is_a_loss_of_less_than_a_point(loss, verdict):
    got = verdicts(clean=lambda d, e, m, lam: 90 - loss * (lam > 0), noise=(0.05, 0.5))
    assert got["C11"] == verdict


def test_norms_fall_by_a_percentage():
    rows = checked()
    by_part = {e.part: e.value for e in rows["C8"].effects}
    ratios = np.array([1 / m + 0.3 * (1 - 1 / m) for m in (3, 6, 9)])
    assert by_part["MNIST E"] == pytest.approx(100 * (1 - np.exp(np.log(ratios).mean())), abs=1.5)
    assert rows["C8"].row.evidence.startswith("In %: MNIST E +")
    assert checked(norms=False)["C8"].row.verdict == "cannot tell"


def test_a_run_of_one_of_the_papers_datasets_does_not_speak_for_both():
    rows = checked(datasets=("mnist",))
    assert rows["C1"].row.verdict == "cannot tell"
    assert rows["C1"].row.missing == "λ = 0 beside 2 (Fashion-MNIST)"
    assert rows["C5"].row.verdict == "holds"  # it speaks of MNIST


def test_a_dataset_of_ones_own_is_measured_and_not_judged():
    rows = checked(clean=lambda d, *rest: paper_clean("fashion_mnist", *rest), datasets=("kuzushiji",))
    assert {(claim.row.verdict, claim.row.missing) for claim in rows.values()} == {
        ("cannot tell", "one of the paper's datasets")
    }
    assert rows["C1"].row.evidence.startswith("In points: kuzushiji +")


def test_beside_the_papers_datasets_ones_own_has_no_say():
    rows = checked(datasets=("mnist", "fashion_mnist", "kuzushiji"))
    assert rows["C1"].row.verdict == "holds"
    assert "kuzushiji" not in rows["C1"].row.evidence


def test_a_run_without_the_models_asked_for_tells_nothing():
    rows = checked(members=(1,), lambdas=(0.0,), norms=False)
    assert {found.row.verdict for found in rows.values()} == {"cannot tell"}
    assert all(found.row.missing for found in rows.values())
    assert {found.row.evidence for found in rows.values()} == {"Not measured in this run."}


def test_what_more_trainings_would_tell_is_said_without_a_number():
    row = checked(
        clean=lambda *_: 95.0, uap=lambda d, e, m, lam: 50 + 3 * (m > 1), noise=(0.0, 12.0), lambdas=(0.0, 0.1), seed=2
    )["C4"].row
    assert (row.verdict, row.missing) == ("cannot tell", "more trainings")


def test_an_eps_where_all_are_at_chance_or_at_their_ceiling_says_nothing_about_the_interaction():
    # at 0.1 the regularised models are as good as clean, at 0.25 the others are at chance
    def uap(d, e, m, lam):
        return (70 if lam else 28) + (m > 1) * 5

    rows = checked(lambda *_: 90.0, uap)
    assert rows["C9"].effects[1].models == "ε = 0.15, 0.2"
    rows = checked(lambda *_: 90.0, lambda *args: uap(*args) + (12 if args[3] else -12))
    assert [math.isnan(effect.value) for effect in rows["C9"].effects] == [False, True, False, True]


def test_the_error_over_test_images_widens_clean_claims_alone():
    found = tables(noise=(0.01, 0.5))
    without = {c.row.claim: c.effects[0] for c in check_claims(evidence_of(found, 0.5, 0.95))}
    unit = found["images"].assign(**{c: found["images"][c] + 0.04 for c in found["images"] if c.isdigit()})
    shared = {c.row.claim: c.effects[0] for c in check_claims(evidence_of(found | {"images": unit}, 0.5, 0.95))}
    # what all models share cancels in differences
    assert shared["C1"].high - shared["C1"].low == pytest.approx(without["C1"].high - without["C1"].low)
    own = tables(noise=(0.01, 0.5), images=0.2)["images"]
    wide = {c.row.claim: c.effects[0] for c in check_claims(evidence_of(found | {"images": own}, 0.5, 0.95))}
    assert wide["C1"].high - wide["C1"].low > 2 * (without["C1"].high - without["C1"].low)
    # twelve models less twelve, each with a variance of its own of 0.02
    assert wide["C1"].high - wide["C1"].low == pytest.approx(2 * 1.96 * math.sqrt(2 * 0.02 / 12), rel=0.1)
    assert wide["C4"] == without["C4"]


def test_all_parts_or_most_by_hand():
    # all of three: the largest p; failing is thrice the smallest
    three = [effect(0.01, 0.99), effect(0.02, 0.98), effect(0.2, 0.8)]
    assert two_sides(three, most=False) == pytest.approx((0.2, 1.0))
    # two of three: twice the second smallest; failing is twice the second smallest of the other side
    assert two_sides(three, most=True) == pytest.approx((0.04, 1.0))
    fails = [effect(0.99, 0.01), effect(0.97, 0.03), effect(0.001, 0.999)]
    assert two_sides(fails, most=True) == pytest.approx((1.0, 0.06))
    assert two_sides(fails, most=False) == pytest.approx((0.99, 0.03))


def test_reversed_needs_a_test_after_the_correction_for_all_claims():
    """A bound of -1.16 against -1, as one that an audit found, is no reversal."""
    rule = next(rule for rule in RULES if rule.claim == "C6")

    def verdict(p_reversed):
        return _verdict([effect(1.0, 1e-9, p_reversed=p_reversed)], rule, 1e-6, 14, 0.95)

    assert verdict(0.018) == "does not hold"
    assert verdict(0.05 / 28 * 1.01) == "does not hold"
    assert verdict(0.05 / 28 * 0.99) == "reversed"
    assert _verdict([effect(1.0, 1e-9, needed=-1.0)], rule, 1e-6, 14, 0.95) == "does not hold"


def test_a_part_that_was_not_measured_speaks_for_neither_side():
    parts = [effect(0.001, 0.999), effect(math.nan, math.nan)]
    assert two_sides(parts, most=False) == pytest.approx((1.0, 1.0))
    assert two_sides([effect(0.999, 0.001), *parts[1:]], most=False) == pytest.approx((1.0, 0.002))
    assert all(map(math.isnan, two_sides(parts[1:], most=False)))
    assert all(map(math.isnan, two_sides([], most=False)))


def test_effects_by_attack_are_those_of_the_trainings_that_all_variants_attacked():
    metrics, jacobian = grid(trainings=2, noise=(0.0, 0.0))
    keys = ["dataset", "ensemble", "members", "lambda", "repetition", "eps", "worst_accuracy"]
    first = metrics.loc[metrics["repetition"] == 0, keys]
    strong = first.assign(worst_accuracy=first["worst_accuracy"] - 0.02 * (first["members"] > 1))
    ablation = pd.concat([first.assign(variant="own"), strong.assign(variant="strong")])
    metrics.loc[metrics["repetition"] == 1, "worst_accuracy"] = 0.0  # not to be looked at
    found = effects_by_attack({"metrics": metrics, "jacobian": jacobian, "ablation": ablation}, 0.5, 0.95)
    assert list(found) == ["own", "strong"]
    own, strong = (
        {(rule.claim, e.analysis, e.part): e.value for rule, e in found[name] if not math.isnan(e.value)}
        for name in found
    )
    # M > 1 gain 3 points without regularisation and 7 with it, and 2 less under the strong attack
    assert own["C4", "single network", "MNIST voting"] == pytest.approx((3 + 7 * 7) / 8)
    assert strong["C4", "single network", "MNIST voting"] == pytest.approx((3 + 7 * 7) / 8 - 2)
    assert own["C8", "primary", "MNIST E"] == strong["C8", "primary", "MNIST E"]
    assert all(effect.trainings == 1 for _, effect in found["own"] if not math.isnan(effect.value))


def rendered(function, **kwargs):
    found = tables(**kwargs)
    found["summary"] = summarize(found["metrics"], 0.5, 0.95)
    return function(found, "mine", "QUICK", clean_weight=0.5, confidence=0.95)


def test_the_report_names_run_banner_and_every_claim():
    table = rendered(claims, trainings=5)
    text = table.markdown
    assert "QUICK: run 'mine'" in text
    assert text.count("| holds | holds | holds |") > 7
    assert "corrected for 14 claims (Holm)" in text
    assert "Verdicts rest on the trainings after the first, which was known" in text
    assert table.frame["claim"].tolist() == ALL
    assert set(table.frame["verdict"]) == set(table.frame["confirmation"]) == {"holds"}
    assert {"statement", "evidence", "test", "p", "missing", "place", "half", "double"} <= set(table.frame.columns)


def test_the_effects_are_a_table_with_a_row_each():
    table = rendered(effects, lambdas=(0.0, 0.5))
    found = checked(lambdas=(0.0, 0.5))
    primary = table.frame[table.frame["analysis"] == "primary"]
    assert primary["value"].tolist() == pytest.approx(
        [e.value for claim in found.values() for e in claim.effects], nan_ok=True
    )
    assert primary["claim"].tolist() == [name for name, claim in found.items() for _ in claim.effects]
    row = primary[primary["claim"] == "C8"].iloc[0]
    assert (row["dataset"], row["part"], row["unit"], row["needed"]) == ("mnist", "MNIST E", "%", pytest.approx(10))
    assert row["low"] < row["value"] < row["high"]
    assert row["trainings"] == 3
    assert f"| C8 | primary | MNIST E |  | % | 3 | +10.0 | {row['value']:+.1f} [" in table.markdown
    assert "C6" not in table.markdown  # not measured


def test_weighted_accuracy_has_the_weight_of_the_run():
    metrics, _ = grid(trainings=1, lambdas=(0.0, 0.1))
    table = trainings_of(metrics, None, 0.8)
    assert table["weighted"].to_numpy() == pytest.approx((0.8 * table["clean"] + 0.2 * table["uap"]).to_numpy())
    means = metrics.groupby(["dataset", "ensemble", "members", "lambda"])["worst_accuracy"].mean()
    assert table["uap"].to_numpy() == pytest.approx(100 * means.to_numpy())
