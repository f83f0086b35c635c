import itertools

import pandas as pd
import pytest

from jacobian_ensembles.paper.claims import check_claims, claims, norm_against_robustness

LAMBDAS = (0.0, 0.05, 0.2, 0.5, 2.0)


def tables(clean, uap, datasets=("mnist", "fashion_mnist"), members=(1, 3), lambdas=LAMBDAS, images=10_000):
    """The summary, metrics and Jacobian tables of models with given accuracies."""
    rows = []
    for d, e, m, lam in itertools.product(datasets, ("bagging", "voting"), members, lambdas):
        c, u = clean(d, m, lam), uap(d, m, lam)
        rows.append(
            {"dataset": d, "ensemble": e, "members": m, "lambda": lam, "clean_accuracy": c, "mean_uap_accuracy": u,
             "weighted_accuracy": (c + u) / 2, "seeds": 5, "eps_values": 1, "images": images, "repetitions": 1}
        )  # fmt: skip
    summary = pd.DataFrame(rows)
    metrics = summary.assign(eps=0.15, worst_accuracy=summary["mean_uap_accuracy"])
    jacobian = summary[["dataset", "ensemble", "members", "lambda"]].assign(
        ensemble_mean=lambda t: 4 / t["members"] / (1 + t["lambda"]),
        ensemble_variance=lambda t: 4 / t["members"] ** 2,
        learner_mean=5.0,
    )
    return metrics, summary, jacobian


def as_claimed(d, m, lam):
    """Robustness as the paper has it: growing with lambda on MNIST, best at 0.2 on Fashion-MNIST, better with M."""
    growth = {0: 0.3, 0.05: 0.5, 0.2: 0.7, 0.5: 0.72, 2: 0.75} if d == "mnist" else {0.0: 0.1, 0.05: 0.2, 0.2: 0.4}
    return growth.get(lam, 0.3) + 0.01 * (m > 1)


def paper_clean(d, m, lam):
    return 0.95 + 0.005 * (m > 1) + 0.001 * (lam == 0.05) - 0.05 * (lam == 2)


def verdicts(*args, **kwargs):
    return {row.claim: row for row in check_claims(*tables(*args, **kwargs))}


def test_a_world_as_the_paper_describes_it_holds_every_claim():
    rows = verdicts(paper_clean, as_claimed)
    assert list(rows) == [f"C{i}" for i in range(1, 9)]
    assert {claim for claim, row in rows.items() if row.verdict != "holds"} == set()
    assert "MNIST -5.0" in rows["C1"].evidence
    assert "significantly worse in 8 of 8 settings" in rows["C1"].evidence  # two datasets, two methods, M = 1 and 3


def test_a_world_turned_around_holds_none():
    rows = verdicts(
        lambda d, m, lam: 0.9 - 0.02 * (m > 1) + 0.05 * (lam == 2) - 0.05 * (0 < lam < 1),
        lambda d, m, lam: 0.9 - 0.3 * lam - 0.05 * (m > 1),
    )
    rows.pop("C8")  # its table is the same
    assert {row.verdict for row in rows.values()} == {"does not hold"}


@pytest.mark.parametrize(("loss", "verdict"), [(0.001, "does not hold"), (0.05, "holds")])
def test_a_loss_within_sampling_error_is_no_damage(loss, verdict):
    # at 95 % of 10,000 images the error of a difference is 0.3 points
    rows = verdicts(lambda d, m, lam: 0.95 - loss * (lam == 2), as_claimed)
    assert rows["C1"].verdict == verdict


def test_a_fall_on_mnist_is_named_and_fashion_does_not_count():
    def dips(d, m, lam):
        return as_claimed(d, m, lam) - 0.2 * (m == 3 and lam == 0.5)

    row = verdicts(paper_clean, dips)["C5"]
    assert row.verdict == "holds in part"
    assert "2 of 16 steps in λ fall significantly (bagging M=3 λ 0.2 to 0.5: -18.0" in row.evidence


def test_the_best_lambda_on_fashion_is_counted():
    row = verdicts(paper_clean, lambda d, m, lam: as_claimed(d, m, lam) + 0.2 * (m == 1 and lam == 2))["C6"]
    assert (row.verdict, row.evidence) == ("holds in part", "Best λ: 0.2 in 2, 2 in 2 of 4 settings.")


def test_the_order_of_groups_is_by_their_best_models():
    row = verdicts(paper_clean, as_claimed)["C7"]
    # bagging comes first among equals: 95.5 and 76 % make 85.5 % less clean accuracy lost at lambda 2
    assert "MNIST: Jacobian ensemble 84.2 (bagging M=3 λ=0.50), JR only 83.5 (bagging M=1 λ=0.50)" in row.evidence


def test_a_run_without_the_models_asked_for_is_not_tested():
    rows = verdicts(paper_clean, as_claimed, members=(1,), lambdas=(0.0,))
    assert {claim: row.verdict for claim, row in rows.items()} == dict.fromkeys(rows, "not tested")
    metrics, summary, _ = tables(paper_clean, as_claimed)
    assert check_claims(metrics, summary, None)[-1].verdict == "not tested"


def test_norm_and_robustness_are_ranked_against_each_other():
    _, summary, jacobian = tables(paper_clean, lambda d, m, lam: m + lam if d == "mnist" else -m - lam)
    jacobian = jacobian.assign(ensemble_mean=summary["members"] + summary["lambda"])
    table = norm_against_robustness(summary, jacobian).set_index("dataset")
    assert table["spearman"].to_dict() == pytest.approx({"mnist": 1.0, "fashion_mnist": -1.0})
    assert (table["models"] == 20).all()


def test_the_report_names_run_banner_and_every_claim():
    metrics, summary, jacobian = tables(paper_clean, as_claimed)
    known = {"metrics": metrics.assign(repetition=0), "summary": summary, "jacobian": jacobian.assign(repetition=0)}
    rendered = claims(known, "mine", "QUICK", confidence=0.95)
    text = rendered.markdown
    assert "QUICK: run 'mine'" in text
    assert text.count("| holds |") == 8
    assert "rank correlation between mean ‖J_F‖² and mean UAP accuracy over 20 models" in text
    assert rendered.frame["claim"].tolist() == [f"C{i}" for i in range(1, 9)]


def test_a_run_without_comparable_models_tests_nothing():
    """As the models of Table 1: single networks of one method, ensembles of another, few lambdas each."""
    metrics, summary, jacobian = tables(paper_clean, as_claimed)
    alone = [("bagging", 3, 0.5), ("voting", 1, 0.0), ("voting", 1, 0.05)]

    def only(table):
        keys = zip(table["ensemble"], table["members"], table["lambda"], strict=True)
        return table[[key in alone for key in keys]]

    rows = {row.claim: row for row in check_claims(only(metrics), only(summary), only(jacobian))}
    assert {c for c, row in rows.items() if row.verdict == "not tested"} == {"C1", "C3", "C4", "C5", "C6", "C7", "C8"}
    assert rows["C2"].evidence.startswith("Best λ in (0, 0.1] against 0")
