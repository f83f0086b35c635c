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
    assert headline(summary(ROWS, trainings), {}, {"mnist": 10}) == [
        "MNIST: Jacobian regularisation of strength 0.1 raised a single network's accuracy under attack from 25.0 to "
        f"70.0 %, clean +0.0 points ({said} of each model). Guessing among 10 classes gives 10 %."
    ]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (ROWS[:2], "the best of 2 models is bagging M=1 λ=0.00, with 30.0 % under attack and 97.0 % clean"),
        (ROWS[4:], "voting M=9 λ=0.10, with 100.0 % under attack and 100.0 % clean"),
    ],
)
def test_without_both_kinds_of_network_the_best_model_is_named(rows, said):
    assert headline(summary(rows), {}, {}) == [f"MNIST: {said} (one training of each model)."]


def test_the_best_model_of_another_defence_names_it():
    (said,) = headline(summary(ROWS[4:]), {"training": {"objective": "noise"}}, {})
    assert said.startswith("MNIST: voting M=9 λ=0.10 (the strength of 'noise'), with 100.0 % under attack")


def test_what_was_not_changed_is_said_to_be_left():
    rows = [("leaves", "voting", 1, 0.0, 0.9, 0.6), ("leaves", "voting", 1, 0.1, 0.9, 0.6001)]
    (said,) = headline(summary(rows), {}, {})
    assert "of strength 0.1 left a single network's accuracy under attack at 60.0 %, clean +0.0 points" in said


def test_a_small_loss_is_no_minus_zero():
    (said,) = headline(
        summary([("mnist", "voting", 1, 0.0, 0.9, 0.2), ("mnist", "voting", 1, 0.1, 0.8999, 0.7)]), {}, {}
    )
    assert "clean +0.0 points" in said


def test_what_is_not_the_papers_is_named():
    config = {"training": {"objective": "own/fgsm.py:Fgsm"}, "attack": {"method": "square"}}
    rows = [("leaves", "voting", 1, 0.0, 0.9, 0.6), ("leaves", "voting", 1, 2.0, 0.8, 0.4)]
    (said,) = headline(summary(rows).assign(norm="l2"), config, {"leaves": 3})
    assert said == (
        "leaves: 'Fgsm' of strength 2 lowered a single network's accuracy under the attack 'square' from 60.0 to "
        "40.0 %, clean -10.0 points (one training of each model). ε bounds the root mean squared change of the pixels "
        "(L2). Guessing among 3 classes gives 33.3 %."
    )
