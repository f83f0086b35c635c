import pandas as pd
import pytest

from jacobian_ensembles.report.headline import headline


def summary(rows, trainings=1):
    columns = ["dataset", "ensemble", "members", "lambda", "clean_accuracy", "mean_uap_accuracy"]
    table = pd.DataFrame(rows, columns=columns)
    weighted = (table["clean_accuracy"] + table["mean_uap_accuracy"]) / 2
    return table.assign(weighted_accuracy=weighted, repetitions=trainings)


ROWS = [
    ("mnist", "voting", 1, 0.0, 0.99, 0.2), ("mnist", "bagging", 1, 0.0, 0.97, 0.3),
    ("mnist", "voting", 1, 0.1, 0.98, 0.7), ("mnist", "voting", 1, 0.5, 0.9, 0.72),
    ("mnist", "voting", 9, 0.1, 1.0, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("trainings", "said"), [(1, "one training"), (3, "3 trainings")])
def test_a_sentence_says_what_regularisation_did_to_a_single_network(trainings, said):
    assert headline(summary(ROWS, trainings)) == [
        "MNIST: regularisation of strength 0.1 took a single network's accuracy under attack from 25.0 to 70.0 %, "
        f"without an attack from 98.0 to 98.0 % ({said} of each model)."
    ]


@pytest.mark.parametrize("rows", [ROWS[:2], ROWS[2:], ROWS[4:]])
def test_without_both_kinds_of_network_nothing_is_said(rows):
    assert headline(summary(rows)) == []
