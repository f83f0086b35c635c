import pandas as pd
import pytest

from jacobian_ensembles.report.verdicts import sentence, verdicts


def claims(**columns):
    size = len(next(iter(columns.values())))
    base = {"claim": [f"C{i + 1}" for i in range(size)], "statement": ["s"] * size, "verdict": ["holds"] * size}
    return pd.DataFrame(base | columns)


@pytest.mark.parametrize(
    ("evidence", "number"),
    [
        ("λ = 2 against 0: MNIST -1.6; worse in 4 of 24 settings.", "worse in 4 of 24 settings"),
        ("Correlation between 0.50 and 1.00; 0 of 12 steps in λ fall (a, b).", "0 of 12 steps in λ fall"),
        ("Against M = 1: E lower in 100% of settings (median 0.76).", "E lower in 100% of settings"),
        ("Best 66.5 (bagging M=3).", ""),
        ("Best λ: 0.5 in 3, 2 in 6 of 12 settings.", ""),
    ],
)  # fmt: skip
def test_where_no_effect_is_given_the_evidence_has_a_count(evidence, number):
    assert verdicts(claims(evidence=[evidence]))[0]["number"] == number


def test_an_effect_is_shown_with_its_interval_and_unit():
    table = claims(
        effect=[-1.62, 2.0, None], low=[-2.0, None, None], high=[-1.25, None, None], unit=["points", "", None]
    )
    assert [claim["number"] for claim in verdicts(table)] == ["-1.6 [-2.0, -1.2] points", "+2.0", ""]
    assert verdicts(claims(effect=["ratio 0.76 [0.70, 0.81]"]))[0]["number"] == "ratio 0.76 [0.70, 0.81]"


def test_a_verdict_is_told_by_a_mark_and_a_colour():
    known = ["holds", "holds in part", "does not hold", "not tested", "something new"]
    shown = verdicts(claims(verdict=known))
    assert [claim["tone"] for claim in shown] == ["good", "part", "bad", "open", "open"]
    assert len({claim["mark"] for claim in shown}) == 4
    assert (shown[0]["evidence"], shown[0]["test"]) == ("", "")


def test_verdicts_are_counted_in_a_sentence():
    found = ["holds", "does not hold", "holds", "holds in part", "not tested"]
    expected = "Of the paper's 5 claims 2 hold, 1 holds in part, 1 does not hold, 1 is not tested."
    assert sentence(verdicts(claims(verdict=found))) == expected
