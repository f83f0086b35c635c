import json
import math

import numpy as np
import pandas as pd
import pytest

from jacobian_ensembles.evaluation.records import metrics_of, worst_of_k
from jacobian_ensembles.evaluation.statistics import student_interval, wilson_interval
from jacobian_ensembles.evaluation.summary import average_repetitions, summarize, weighted_accuracy
from jacobian_ensembles.paper.labels import figure_note
from jacobian_ensembles.stages.aggregate_jacobian import aggregate_jacobian
from jacobian_ensembles.stages.aggregate_metrics import aggregate_metrics
from jacobian_ensembles.stages.gather_records import gather_records
from jacobian_ensembles.stages.select_worst_uap import select_worst_uap
from jacobian_ensembles.storage.checksums import write_record
from jacobian_ensembles.storage.files import ArtifactError, load_tensors, save_tensors
from jacobian_ensembles.storage.perturbations import save_clean, save_uaps
from jacobian_ensembles.storage.tables import read_table

CELL = {"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": 0.0, "repetition": 0}


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Wilson's formula by hand with z = 1.959964
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (9900, 10_000, 0.98786, 0.99177)],
)
def test_wilson_intervals(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_bounds_solve_the_score_equation():
    z = 2.5758293035489  # 99 %
    for bound in wilson_interval(37, 120, 0.99):
        assert abs(37 / 120 - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / 120))


@pytest.mark.parametrize(("successes", "trials"), [(-1, 10), (11, 10), (0, 0)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(ValueError, match="successes must lie in"):
        wilson_interval(successes, trials)


def select(tmp_path, bits, cell=CELL, eps=0.15, sizes=None):
    bits = np.asarray(bits, bool)
    deltas = np.arange(len(bits), dtype=np.float32).reshape(-1, 1, 1, 1) * np.ones((1, 1, 28, 28), np.float32)
    blocks, first = [], 0
    for size in sizes or [len(bits)]:
        blocks.append(tmp_path / f"block{first}")
        save_uaps(blocks[-1], deltas[first : first + size], bits[first : first + size], first, {**cell, "eps": eps})
        first += size
    select_worst_uap(blocks, tmp_path / "worst.json", tmp_path / "worst_uap")
    return json.loads((tmp_path / "worst.json").read_text())


def test_the_worst_seed_is_found_as_brute_force_finds_it(tmp_path):
    bits = np.random.default_rng(3).random((7, 123)) < 0.6
    record = select(tmp_path, bits, sizes=[3, 3, 1])
    accuracies = [sum(row) / 123 for row in bits.tolist()]
    assert record["accuracies"] == pytest.approx(accuracies)
    assert record["per_image_worst_accuracy"] == sum(all(column) for column in bits.T.tolist()) / 123
    tensors, spec = load_tensors(tmp_path / "worst_uap", "worst_uap")
    assert (tensors["delta"] == accuracies.index(min(accuracies))).all()
    assert spec["seed"] == accuracies.index(min(accuracies))


def test_among_equals_the_first_seed_is_chosen(tmp_path):
    record = select(tmp_path, [[1, 1, 1], [0, 1, 0], [1, 0, 0]])
    assert load_tensors(tmp_path / "worst_uap", "worst_uap")[1]["seed"] == 1
    assert record["per_image_worst_accuracy"] == 0


def test_targets_counts_and_norm_go_into_the_record(tmp_path):
    bits, deltas = np.ones((2, 8), bool), np.zeros((2, 1, 28, 28), np.float32)
    counts = {"steps": 3, "gradient_images": 60}
    for first, rates in ((0, [0.5, 0.25]), (2, [0.0, 0.125])):
        block = tmp_path / str(first)
        save_uaps(block, deltas, bits, first, {**CELL, "eps": 0.1, "norm": "l2"}, counts, rates)
    select_worst_uap([tmp_path / "0", tmp_path / "2"], tmp_path / "w.json", tmp_path / "w")
    record = json.loads((tmp_path / "w.json").read_text())
    assert (record["steps"], record["gradient_images"], record["norm"]) == (6, 120, "l2")
    assert record["success_rates"] == [0.5, 0.25, 0, 0.125]
    save_clean(tmp_path / "clean", np.ones(8, np.uint8), np.ones(8, np.uint8), CELL)
    gather_records([tmp_path / "clean"], [tmp_path / "w.json"], tmp_path / "r.csv")
    assert metrics_of(read_table(tmp_path / "r.csv"))["success_rate"].tolist() == [0.21875]


def test_tables_of_another_norm_say_so(tmp_path):
    save_clean(tmp_path / "clean", np.ones(2, np.uint8), np.ones(2, np.uint8), CELL)
    for norm in ({}, {"norm": "l2"}):
        save_uaps(tmp_path / "b", np.zeros((1, 1, 28, 28)), np.ones((1, 2), bool), 0, {**CELL, "eps": 0.1, **norm})
        select_worst_uap([tmp_path / "b"], tmp_path / "w.json", tmp_path / "w")
        paths = tmp_path / "m.csv", tmp_path / "s.csv"
        gather_records([tmp_path / "clean"], [tmp_path / "w.json"], tmp_path / "r.csv")
        aggregate_metrics(tmp_path / "r.csv", *paths, 0.5, 0.95)
        records = read_table(tmp_path / "r.csv")
        tables = {"summary": read_table(paths[1])}, {"worst_of_k": worst_of_k(records, 0.95)}
        for found in (figure_note(table, "x", "") for table in tables):
            assert found.endswith(" ε bounds the root mean squared change of the pixels (L2).") == bool(norm)
            assert ("L2" in found) == bool(norm)


def test_certified_accuracies_stand_beside_those_under_attack(run):
    folder, clean, worst = run
    proved = []
    for members, rates in ((1, [0.25, 0.0]), (3, [0.125, 0.125])):
        proved.append(folder / f"certified{members}")
        cell = {**CELL, "members": members}
        write_record(proved[-1], {**cell, "eps": [0.15, 0.2], "certified_accuracies": rates, "images": 8})
    gather_records(clean, worst, folder / "records", proved)
    aggregate_metrics(folder / "records", folder / "m.csv", folder / "s.csv", 0.5, 0.95)
    assert read_table(folder / "m.csv")["certified_accuracy"].tolist() == [0.25, 0, 0.125, 0.125]
    assert read_table(folder / "s.csv")["mean_certified_accuracy"].tolist() == [0.125, 0.125]
    with pytest.raises(ArtifactError, match="no bounds of mnist"):
        gather_records(clean, worst, folder / "records", proved[:1])


@pytest.mark.parametrize(("weight", "expected"), [(0.5, 0.7), (1, 0.9), (0, 0.5), (0.25, 0.6)])
def test_weighted_accuracy(weight, expected):
    assert weighted_accuracy(0.9, 0.5, weight) == pytest.approx(expected)


@pytest.fixture
def run(tmp_path):
    """Two models with eight test images: clean 6/8 and 4/8; worst 3/8 and 1/8, 2/8 and 2/8."""
    labels = np.arange(8)
    clean, worst = [], []
    for members, right, per_eps in ((1, 6, {0.15: (3, 5), 0.2: (1, 2)}), (3, 4, {0.15: (4, 2), 0.2: (2, 2)})):
        cell = {**CELL, "members": members}
        clean.append(tmp_path / f"clean{members}")
        save_clean(clean[-1], np.where(labels < right, labels, 9), labels, cell)
        for eps, counts in per_eps.items():
            folder = tmp_path / f"M{members}eps{eps}"
            folder.mkdir()
            select(folder, [np.arange(8) < count for count in counts], cell, eps)
            worst.append(folder / "worst.json")
    return tmp_path, clean, worst


def aggregate(clean, worst, metrics, summary):
    gather_records(clean, worst, metrics.with_name("records"))
    aggregate_metrics(metrics.with_name("records"), metrics, summary, 0.5, 0.95)


def test_tables_hold_the_hand_computed_numbers(run):
    folder, clean, worst = run
    aggregate(clean, worst, folder / "m.csv", folder / "s.csv")
    metrics, summary = read_table(folder / "m.csv"), read_table(folder / "s.csv")
    assert metrics[["members", "eps", "worst_accuracy", "clean_accuracy", "seeds", "images"]].to_numpy().tolist() == [
        [1, 0.15, 0.375, 0.75, 2, 8],
        [1, 0.2, 0.125, 0.75, 2, 8],
        [3, 0.15, 0.25, 0.5, 2, 8],
        [3, 0.2, 0.25, 0.5, 2, 8],
    ]
    assert summary["mean_uap_accuracy"].tolist() == [0.25, 0.25]
    assert summary["weighted_accuracy"].tolist() == [0.5, 0.375]
    # bounds are means of the parts' bounds
    single = metrics[metrics["members"] == 1].mean(numeric_only=True)
    for end in ("low", "high"):
        assert summary.loc[0, f"mean_uap_{end}"] == pytest.approx(single[f"worst_{end}"], abs=1e-6)
        weighted = (single[f"clean_{end}"] + single[f"worst_{end}"]) / 2
        assert summary.loc[0, f"weighted_{end}"] == pytest.approx(weighted, abs=1e-6)
    assert summary["eps_values"].tolist() == [2, 2]
    assert summary["repetitions"].tolist() == [1, 1]
    assert summarize(metrics, clean_weight=1.0, confidence=0.95)["weighted_accuracy"].tolist() == [0.75, 0.5]


def test_student_intervals_by_hand():
    # three values: mean 2, standard error 1/sqrt(3), t of 2 degrees of freedom 4.302653
    assert student_interval([1, 2, 3]) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))
    with pytest.raises(ValueError, match="needs at least 2"):
        student_interval([1])


def test_repetitions_are_averaged_and_single_trainings_left_alone():
    rows = [
        {**CELL, "repetition": r, "worst_accuracy": a, "worst_low": a - 0.01, "worst_high": a + 0.01, "seeds": 5}
        for r, a in enumerate((0.5, 0.6, 0.7))
    ]
    rows.append({**rows[0], "lambda": 0.5})
    several, single = average_repetitions(pd.DataFrame(rows), 0.95).to_dict("records")
    assert (several["lambda"], several["repetitions"], single["lambda"], single["repetitions"]) == (0.0, 3, 0.5, 1)
    assert "repetition" not in several
    assert (several["worst_accuracy"], several["worst_sd"]) == pytest.approx((0.6, 0.1))
    assert (several["worst_low"], several["worst_high"]) == pytest.approx(student_interval([0.5, 0.6, 0.7]))
    assert (single["worst_accuracy"], single["worst_low"], single["worst_high"]) == pytest.approx((0.5, 0.49, 0.51))
    assert several["seeds"] == 5


@pytest.mark.parametrize("values", [(0.9, 0.95, 1.0), (0.0, 0.05, 0.1)])
def test_intervals_over_trainings_end_where_accuracy_does(values):
    rows = [{**CELL, "repetition": r, "worst_accuracy": value} for r, value in enumerate(values)]
    (row,) = average_repetitions(pd.DataFrame(rows), 0.95).to_dict("records")
    low, high = student_interval(values)
    assert low < 0 or high > 1
    assert (row["worst_low"], row["worst_high"]) == pytest.approx((max(low, 0), min(high, 1)))


def test_every_eps_is_averaged_by_itself():
    rows = [{**CELL, "repetition": r, "eps": e, "worst_accuracy": r + e} for r in (0, 1) for e in (0.1, 0.2)]
    table = average_repetitions(pd.DataFrame(rows), 0.95)
    assert table[["eps", "worst_accuracy"]].to_numpy() == pytest.approx(np.array([[0.1, 0.6], [0.2, 0.7]]))


def test_the_order_of_files_does_not_matter(run):
    folder, clean, worst = run
    for name, order in (("a", 1), ("b", -1)):
        aggregate(clean[::order], worst[::order], folder / f"m{name}", folder / f"s{name}")
    assert (folder / "ma").read_bytes() == (folder / "mb").read_bytes()
    assert (folder / "sa").read_bytes() == (folder / "sb").read_bytes()


def test_a_model_without_attack_or_clean_predictions_is_refused(run):
    folder, clean, worst = run
    for files in ((clean, worst[:2]), (clean[:1], worst)):
        with pytest.raises(ArtifactError, match="no attack, or the reverse"):
            aggregate(*files, folder / "m.csv", folder / "s.csv")
    assert not (folder / "m.csv").exists()


@pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n"])
def test_a_damaged_table_is_named(tmp_path, content):
    path = tmp_path / "metrics.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ArtifactError, match=r"metrics\.csv"):
        read_table(path, ["dataset"])


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998) 857-872, Table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_are_those_published(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_an_interval_holds_its_proportion():
    outside = []
    for trials in range(1, 600):
        for successes in (0, 1, trials - 1, trials):
            low, high = wilson_interval(successes, trials)
            if not low <= successes / trials <= high:
                outside.append((successes, trials))
    assert outside == []


def test_files_of_two_runs_over_the_same_model_are_not_mixed(run):
    folder, clean, worst = run
    with pytest.raises(ArtifactError, match="Two files with clean predictions of mnist voting 1"):
        aggregate(clean + clean[:1], worst, folder / "m.csv", folder / "s.csv")
    with pytest.raises(ArtifactError, match=r"dataset mnist, ensemble voting, members 1, .*: there twice"):
        aggregate(clean, worst + worst[:1], folder / "m.csv", folder / "s.csv")


def test_measured_norms_are_set_beside_the_theorems(tmp_path):
    # two learners, three images; entries of mean 0.5 and variance 4 in Jacobians of 2 x 3
    learners, ensemble = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 8.0]]), np.array([1.0, 2.0, 6.0])
    tensors = {
        "learners": learners,
        "ensemble": ensemble,
        "cosine": np.array([[1.0, 0.2], [0.2, 1.0]]),
        "moments": np.array([[0.4, 3.0, 0.0, 1.0], [0.6, 5.0, 0.0, 3.0]]),
        "size": np.array([2, 3]),
    }
    save_tensors(tmp_path / "j", tensors, kind="jacobian", spec={**CELL, "members": 2})
    aggregate_jacobian([tmp_path / "j"], tmp_path / "j.csv")
    (row,) = read_table(tmp_path / "j.csv").to_dict("records")
    assert (row["ensemble_mean"], row["ensemble_variance"]) == (3, 7)
    # the learners' variances over images are 1 and 7
    assert (row["learner_mean"], row["learner_variance"]) == (3.5, 4)
    # mu = 0.5 and s^2 = 4: CD (s^2/2 + mu^2) and CD (4 mu^2 s^2/2 + 2 s^4/4)
    assert (row["lower_mean"], row["lower_variance"]) == (6 * 2.25, 6 * (2 + 8))
    assert (row["upper_mean"], row["upper_variance"]) == (6 * 4.25, 6 * (4 + 32))
    assert (row["cosine"], row["excess_kurtosis"], row["images"]) == (0.2, 2, 3)
    # inner products of the two learners, (4 |J_F|^2 - |J_1|^2 - |J_2|^2)/2, are 0, 1 and 6.5
    assert row["cosine_by_norm"] == pytest.approx(7.5 / (3**0.5 + 8**0.5 + 24**0.5), rel=1e-5)
