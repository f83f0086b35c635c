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
        (
            "In points: MNIST +1.6 [+1.2, +2.0]; Fashion-MNIST +13.3.",
            "MNIST +1.6 [+1.2, +2.0], Fashion-MNIST +13.3 points",
        ),
        (
            "In points: MNIST bagging +4.0 [+0.3, +7.7] (better in 14 of 15); MNIST snapshot -4.5 [-9.3, +3.3]; "
            "Fashion-MNIST voting +0.6 [-1.0, +2.0] (better in 9 of 15 settings).",
            "MNIST -4.5 to +4.0, Fashion-MNIST +0.6 [-1.0, +2.0] points",
        ),
        (
            "In %: MNIST E +42.7 [+36.9, +47.9]; MNIST Var +72.5 [+66.2, +77.6].",
            "MNIST +42.7 to +72.5 %",
        ),
        (
            "In points: MNIST, JR only -0.6 (snapshot M=3 λ=0.5 against snapshot M=1 λ=0.5); MNIST λ 0 to 0.05 +48.8.",
            "MNIST -0.6 to +48.8 points",
        ),
        ("Not measured in this run.", ""),
        # of earlier versions
        ("λ = 2 against 0: MNIST -1.6; worse in 4 of 24 settings.", "worse in 4 of 24 settings"),
        ("Correlation between 0.50 and 1.00; 0 of 12 steps in λ fall (a, b).", "0 of 12 steps in λ fall"),
        ("Against M = 1: E lower in 100% of settings (median 0.76).", "E lower in 100% of settings"),
        ("Best λ: 0.5 in 3, 2 in 6 of 12 settings.", ""),
    ],
)
def test_what_was_measured_is_said_in_a_line(evidence, number):
    assert verdicts(claims(evidence=[evidence]))[0]["number"] == number


def test_a_verdict_is_told_by_a_mark_and_a_colour():
    known = ["holds", "holds in part", "does not hold", "reversed", "cannot tell", "something new"]
    shown = verdicts(claims(verdict=known))
    assert [claim["tone"] for claim in shown] == ["good", "part", "bad", "bad", "open", "open"]
    assert len({claim["mark"] for claim in shown}) == 4


def test_what_a_table_lacks_is_empty():
    (claim,) = verdicts(claims(p=[None]))
    assert {claim[name] for name in ("p", "place", "evidence", "test", "missing")} == {""}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (["holds", "does not hold", "holds", "holds in part"], "2 hold, 1 holds in part, 1 does not hold."),
        (["cannot tell", "reversed", "cannot tell"], "1 is reversed; about 2 this run cannot tell."),
        (["not tested", "new"], "1 is not tested, 1 new."),
    ],
)
def test_verdicts_are_counted_in_a_sentence(found, expected):
    assert sentence(verdicts(claims(verdict=found))) == f"Of the paper's {len(found)} claims {expected}"


def test_a_run_that_cannot_tell_says_so():
    said = sentence(verdicts(claims(verdict=["cannot tell"])))
    assert said == "This run cannot tell about any of the paper's claims."
