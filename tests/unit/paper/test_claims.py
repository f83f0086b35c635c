import itertools
import math

import numpy as np
import pandas as pd
import pytest
from helpers_claims import LAMBDAS, grid, paper_clean, paper_uap
from scipy import stats

from jacobian_ensembles.evaluation.summary import summarize
from jacobian_ensembles.paper.claim_rules import RULES
from jacobian_ensembles.paper.claims import check_claims, claims, effects, effects_by_attack, two_sides
from jacobian_ensembles.paper.effects import Effect, best_of_kinds, trainings_of

ALL = [f"C{i}" for i in range(1, 15)]


def checked(*args, norms=True, confidence=0.95, **kwargs):
    """The claims of a made-up grid, by number."""
    metrics, jacobian = grid(*args, **kwargs)
    trainings = trainings_of(metrics, jacobian if norms else None, 0.5)
    return {claim.row.claim: claim for claim in check_claims(trainings, confidence)}


def verdicts(*args, **kwargs):
    return {claim: found.row.verdict for claim, found in checked(*args, **kwargs).items()}


def effect(p_above, p_below, needed=1.0, high=2.0):
    return Effect("mnist", "part", needed, 0.0, -1.0, high, p_above, p_below, 3)


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


@pytest.mark.parametrize("trainings", [2, 5])
def test_an_effect_just_as_large_as_needed_rarely_holds_though_learners_nest(trainings):
    """At the threshold itself a one-sided test at 2.5 % errs in 2.5 % of worlds."""
    rule = next(rule for rule in RULES if rule.claim == "C13")
    held = []
    for seed in range(150):
        metrics, _ = grid(
            lambda *_: 95.0, lambda d, e, m, lam: 50 + 2 * (m > 1), trainings, datasets=("kuzushiji",),
            methods=("bagging", "voting"), lambdas=(0.0, 0.1, 0.5), eps=(0.1,), noise=(0.0, 2.0), seed=seed,
        )  # fmt: skip
        table = trainings_of(metrics, None, 0.5)
        (found,), _ = rule.effects(table, 0.95)
        wide = table.pivot_table(index=["ensemble", "lambda", "repetition"], columns="members", values="weighted")
        naive = stats.ttest_1samp(wide.sub(wide[1], axis=0)[[3, 6, 9]].to_numpy().ravel(), 1.0, alternative="greater")
        held.append((found.p_above < 0.025, found.low > 1.0, naive.pvalue < 0.025))
    share, of_intervals, of_pairs = np.mean(held, axis=0)
    assert share == of_intervals
    assert share < 0.025 + 3 * math.sqrt(0.025 * 0.975 / 150)
    assert of_pairs > 0.05  # what taking nested pairs for independent does


def test_intervals_cover_a_planted_effect():
    covered, widths = [], []
    for seed in range(60):
        metrics, _ = grid(
            lambda *_: 95.0, lambda d, e, m, lam: 50 + 4 * (m > 1) * (1 + lam), 3, datasets=("mnist",),
            methods=("bagging",), lambdas=(0.0, 0.5, 1.0), eps=(0.1,), noise=(0.0, 1.5), seed=seed,
        )  # fmt: skip
        rule = next(rule for rule in RULES if rule.claim == "C4")
        effects, _ = rule.effects(trainings_of(metrics, None, 0.5), 0.95)
        found = effects[0]
        covered.append(found.low <= 4 * 1.5 <= found.high)  # the mean of 4, 6 and 8
        widths.append(found.high - found.low)
    assert np.mean(covered) > 0.95 - 3 * math.sqrt(0.05 * 0.95 / 60)
    assert np.median(widths) < 6


def test_more_members_of_the_same_learners_are_no_more_evidence():
    """Twenty nested ensembles of one block are as good as a single one: the interval must not shrink."""
    few, many = (
        checked(
            lambda *_: 95.0, lambda d, e, m, lam: 50 + 2 * (m > 1), trainings=3, noise=(0.0, 2.0), methods=("voting",),
            lambdas=(0.0, 0.1), members=members, seed=4,
        )["C4"].effects[0]
        for members in ((1, 20), (1, *range(15, 25)))
    )  # fmt: skip
    assert many.high - many.low > 0.6 * (few.high - few.low)


def test_a_training_that_is_lucky_for_all_its_ensembles_is_one_training():
    """With one lucky M = 1 network in each block of one repetition, all gains of that repetition fall together."""
    metrics, _ = grid(lambda *_: 95.0, lambda *_: 50.0, trainings=4, noise=(0.0, 0.0))
    lucky = (metrics["repetition"] == 0) & (metrics["members"] == 1)
    metrics.loc[lucky, "worst_accuracy"] += 0.1
    found = {c.row.claim: c for c in check_claims(trainings_of(metrics, None, 0.5), 0.95)}["C4"].effects[0]
    # at each of 8 lambda gains are -10, 0, 0, 0: mean -2.5, standard deviation 5; error 2.5/sqrt(8), 24 freedoms
    assert found.value == pytest.approx(-2.5)
    half = 2.0639 * 2.5 / math.sqrt(8)
    assert (found.low, found.high) == pytest.approx((-2.5 - half, -2.5 + half), abs=1e-3)


def test_one_training_is_told_apart_from_several():
    rows = checked(trainings=1)
    assert list(rows) == ALL
    best_of = [claim for claim, found in rows.items() if found.row.missing == "more than one training"]
    # chosen and measured in the same training; C6 and C14 need settings besides methods
    assert {"C7", "C10", "C11", "C12"} <= set(best_of)
    assert {rows[claim].row.verdict for claim in best_of} == {"cannot tell"}
    assert "[" not in rows["C7"].row.evidence
    # what many independent settings say with one voice can be told
    assert rows["C3"].row.verdict == rows["C4"].row.verdict == "holds"


@pytest.mark.parametrize(("missing", "open_claims"), [(0.01, {"C2"}), (0.2, set())])
def test_claims_on_a_range_of_lambda_or_on_the_best_of_all_need_all_of_it(missing, open_claims):
    rows = checked(lambdas=tuple(lam for lam in LAMBDAS if lam != missing))
    open_claims = open_claims | {"C5", "C6", "C7", "C10", "C11", "C12", "C14"}
    assert {claim for claim, found in rows.items() if found.row.verdict == "cannot tell"} == open_claims
    for claim in open_claims:
        assert rows[claim].row.missing == f"λ = {missing:g}"


def test_what_has_no_single_networks_beside_its_ensembles_is_named():
    metrics, jacobian = grid()
    kept = (metrics["ensemble"] != "snapshot") | (metrics["members"] > 1)
    table = trainings_of(metrics[kept], jacobian, 0.5)
    row = next(c.row for c in check_claims(table, 0.95) if c.row.claim == "C3")
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


def test_the_best_of_many_equal_models_is_no_better():
    """Sixty-three ensembles against three networks: chosen and measured in one training, the best would win."""
    differences = {1: [], 3: []}
    for trainings, seed in itertools.product(differences, range(40)):
        metrics, _ = grid(
            lambda *_: 95.0, lambda *_: 50.0, trainings, datasets=("mnist",), eps=(0.1,), noise=(0.3, 3.0), seed=seed
        )
        values, _ = best_of_kinds(
            trainings_of(metrics, None, 0.5), "weighted", "weighted", "Jacobian ensemble", "standard"
        )
        assert len(values) == trainings
        differences[trainings].append(values.mean())
    honest, naive = differences[3], differences[1]
    assert abs(np.mean(honest)) < 3 * np.std(honest) / math.sqrt(40)
    assert np.mean(naive) > 3 * np.std(naive) / math.sqrt(40)


def test_the_best_are_chosen_on_other_trainings_by_hand():
    """Two ensembles and a standard network; the ensemble that is best in one training is chosen for the others."""
    rows = [("a", 3, 0.1, (9, 1, 1)), ("b", 3, 0.1, (4, 4, 4)), ("a", 1, 0.0, (0, 0, 0))]
    table = pd.DataFrame(
        [
            {"ensemble": e, "members": m, "lambda": lam, "repetition": r, "weighted": value, "clean": 2.0 * value}
            for e, m, lam, values in rows
            for r, value in enumerate(values)
        ]
    )
    values, names = best_of_kinds(table, "weighted", "clean", "Jacobian ensemble", "standard")
    # for training 0 the others say b (4 against 1); for 1 and 2 they say a (5 against 4)
    assert values.tolist() == [8, 2, 2]
    assert names == "b M=3 λ=0.1 against a M=1 λ=0"
    # a fourth training of some models only is left out
    more = pd.concat([table, table[:1].assign(repetition=3, weighted=100.0)])
    assert best_of_kinds(more, "weighted", "clean", "Jacobian ensemble", "standard")[0].tolist() == [8, 2, 2]


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


def test_a_dataset_of_ones_own_is_judged_by_itself():
    rows = checked(clean=lambda d, *rest: paper_clean("fashion_mnist", *rest), datasets=("kuzushiji",))
    assert rows["C1"].row.verdict == rows["C4"].row.verdict == "holds"
    assert rows["C1"].row.evidence.startswith("In points: kuzushiji +")
    assert rows["C6"].row.verdict == "cannot tell"


def test_a_run_without_the_models_asked_for_tells_nothing():
    rows = checked(members=(1,), lambdas=(0.0,), norms=False)
    assert {found.row.verdict for found in rows.values()} == {"cannot tell"}
    assert all(found.row.missing for found in rows.values())
    assert {found.row.evidence for found in rows.values()} == {"Not measured in this run."}


def test_what_is_missing_is_estimated_from_the_width_of_intervals():
    # gains of 3 with a wide spread: more trainings would tell
    row = checked(
        clean=lambda *_: 95.0, uap=lambda d, e, m, lam: 50 + 3 * (m > 1), noise=(0.0, 12.0), lambdas=(0.0, 0.1), seed=2
    )["C4"].row
    assert row.verdict == "cannot tell"
    assert row.missing.startswith(("about", "more than 100"))


def test_all_parts_or_most_by_hand():
    # all of three: the largest p; failing is thrice the smallest
    three = [effect(0.01, 0.99), effect(0.02, 0.98), effect(0.2, 0.8)]
    assert two_sides(three, most=False) == pytest.approx((0.2, 1.0))
    # two of three: twice the second smallest; failing is twice the second smallest of the other side
    assert two_sides(three, most=True) == pytest.approx((0.04, 1.0))
    fails = [effect(0.99, 0.01), effect(0.97, 0.03), effect(0.001, 0.999)]
    assert two_sides(fails, most=True) == pytest.approx((1.0, 0.06))
    assert two_sides(fails, most=False) == pytest.approx((0.99, 0.03))


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
    tables = {"metrics": metrics, "jacobian": jacobian, "ablation": ablation}
    found = effects_by_attack(tables, 0.5, 0.95)
    assert list(found) == ["own", "strong"]
    own, strong = ({c.row.claim: [e.value for e in c.effects] for c in found[name]} for name in found)
    # M > 1 gain 3 points without regularisation and 7 with it, and 2 less under the strong attack
    assert own["C4"] == pytest.approx([(3 + 7 * 7) / 8] * 6)
    assert strong["C4"] == pytest.approx([(3 + 7 * 7) / 8 - 2] * 6)
    assert own["C8"] == strong["C8"]
    assert all(effect.trainings == 1 for claim in found["own"] for effect in claim.effects)


def test_the_report_names_run_banner_and_every_claim():
    metrics, jacobian = grid()
    tables = {"metrics": metrics, "summary": summarize(metrics, 0.5, 0.95), "jacobian": jacobian}
    rendered = claims(tables, "mine", "QUICK", clean_weight=0.5, confidence=0.95)
    text = rendered.markdown
    assert "QUICK: run 'mine'" in text
    assert text.count("| holds |") == 14
    assert "corrected for 14 claims (Holm)" in text
    assert rendered.frame["claim"].tolist() == ALL
    assert {"statement", "evidence", "test", "verdict", "p", "missing", "place"} <= set(rendered.frame.columns)


def test_the_effects_are_a_table_with_a_row_each():
    metrics, jacobian = grid(lambdas=(0.0, 0.5))
    tables = {"metrics": metrics, "summary": summarize(metrics, 0.5, 0.95), "jacobian": jacobian}
    rendered = effects(tables, "mine", "QUICK", clean_weight=0.5, confidence=0.95)
    found = checked(lambdas=(0.0, 0.5))
    assert rendered.frame["value"].tolist() == pytest.approx(
        [e.value for claim in found.values() for e in claim.effects], nan_ok=True
    )
    assert rendered.frame["claim"].tolist() == [name for name, claim in found.items() for _ in claim.effects]
    row = rendered.frame[rendered.frame["claim"] == "C8"].iloc[0]
    assert (row["dataset"], row["part"], row["unit"], row["needed"]) == ("mnist", "MNIST E", "%", pytest.approx(10))
    assert row["low"] < row["value"] < row["high"]
    assert row["trainings"] == 3
    assert f"| C8 | MNIST E |  | % | 3 | +10.0 | {row['value']:+.1f} [" in rendered.markdown
    assert "C6" not in rendered.markdown  # not measured


def test_weighted_accuracy_has_the_weight_of_the_run():
    metrics, _ = grid(trainings=1, lambdas=(0.0, 0.1))
    table = trainings_of(metrics, None, 0.8)
    assert table["weighted"].to_numpy() == pytest.approx((0.8 * table["clean"] + 0.2 * table["uap"]).to_numpy())
    means = metrics.groupby(["dataset", "ensemble", "members", "lambda"])["worst_accuracy"].mean()
    assert table["uap"].to_numpy() == pytest.approx(100 * means.to_numpy())
