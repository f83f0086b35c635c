import math

import pandas as pd
import pytest

from jacobian_ensembles.report.verdicts import sentence, verdicts


def claims(*found):
    rows = [{"claim": f"C{i}", "statement": "s", "verdict": verdict} for i, verdict in enumerate(found, 1)]
    return pd.DataFrame(rows)


def effects(*rows, unit="points"):
    """Of C1: dataset, value, half of the interval (infinite: none) and the size needed."""
    columns = ["dataset", "value", "half", "needed"]
    table = pd.DataFrame(rows, columns=columns).assign(claim="C1", unit=unit, part="", analysis="primary")
    return table.assign(low=table["value"] - table["half"], high=table["value"] + table["half"])


@pytest.mark.parametrize(
    ("rows", "unit", "number"),
    [
        (
            [("mnist", 1.6, 0.4, 1), ("fashion_mnist", 13.3, math.inf, 1)],
            "points",
            "MNIST +1.6 [+1.2, +2.0], Fashion-MNIST +13.3 points",
        ),
        (
            [("mnist", 4, 3, 1), ("mnist", -4.5, 5, 1), ("mnist", 1, 1, 1), ("fashion_mnist", 0.6, 1.5, 1)],
            "points",
            "MNIST -4.5 to +4.0, Fashion-MNIST +0.6 [-0.9, +2.1] points",
        ),
        ([("mnist", 0.123, 0.05, 0.1)], "points", "MNIST +0.12 [+0.07, +0.17] points"),
        ([("kuzushiji", 42.7, 4, 10), ("kuzushiji", 72.5, 3, 10)], "%", "kuzushiji +42.7 to +72.5 %"),
        ([("mnist", math.nan, math.inf, 1), ("mnist", 2, 1, 1)], "points", "MNIST +2.0 [+1.0, +3.0] points"),
        ([("mnist", math.nan, math.inf, 1)], "points", ""),
        ([], "points", ""),
    ],
)
def test_what_was_measured_is_said_in_a_line(rows, unit, number):
    found = verdicts(claims("holds", "holds"), effects(*rows, unit=unit))
    assert [claim["number"] for claim in found] == [number, ""]


def test_what_stands_beside_the_primary_analysis_is_not_counted():
    rows = effects(("mnist", 4, 1, 1), ("mnist", 9, 1, 1)).assign(analysis=["primary", "single network"])
    assert verdicts(claims("holds"), rows)[0]["number"] == "MNIST +4.0 [+3.0, +5.0] points"


def test_a_verdict_is_told_by_a_mark_and_a_colour():
    shown = verdicts(claims("holds", "does not hold", "reversed", "cannot tell"), effects())
    assert [claim["tone"] for claim in shown] == ["good", "bad", "bad", "open"]
    assert len({claim["mark"] for claim in shown}) == 3


def test_what_a_cell_lacks_is_empty():
    (claim,) = verdicts(claims("holds").assign(p=[math.nan], place=["4.2"]), effects())
    assert (claim["p"], claim["place"]) == ("", "4.2")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (["holds", "does not hold", "holds"], "2 hold, 1 does not hold."),
        (["cannot tell", "reversed", "cannot tell"], "1 is reversed; about 2 this run cannot tell."),
    ],
)
def test_verdicts_are_counted_in_a_sentence(found, expected):
    assert sentence(verdicts(claims(*found), effects())) == f"Of the paper's {len(found)} claims {expected}"


def test_a_run_that_cannot_tell_says_so():
    said = sentence(verdicts(claims("cannot tell"), effects()))
    assert said == "This run cannot tell about any of the paper's claims."
