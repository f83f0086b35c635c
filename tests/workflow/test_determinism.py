"""The same configuration gives the same bytes, however the work is cut up; with more threads, the same to rounding."""

import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import Repository

from jacobian_ensembles.storage.learners import load_learners

pytestmark = [pytest.mark.workflow, pytest.mark.faults]


@pytest.fixture
def again(tiny, tmp_path):
    """Run the tiny configuration anew, with some options, and return everything it stored."""

    def run(*args, **kwargs):
        repo = Repository(tmp_path / "repository", tiny.configfile)
        repo.share_data(tiny)
        repo.run(*args, **kwargs)
        return repo.stored()

    return run


def test_one_job_at_a_time_or_two_give_the_same_bytes(again, tiny):
    assert again(cores=1) == tiny.stored()


def test_seeds_in_one_block_or_in_several_give_the_same_numbers(tiny, tmp_path):
    repo = tiny.copy(tmp_path / "copy")
    for stage in ("uaps", "worst", "metrics"):
        shutil.rmtree(repo.path / "results/tiny" / stage)
    repo.run("results/tiny/metrics/metrics.csv", "--config", "attack={seeds_per_job: 5}")
    assert repo.finished_jobs() == {"craft_uaps": 2, "select_worst_uap": 2, "aggregate_metrics": 1}
    found, expected = repo.stored(), tiny.stored()
    blocks = {name for name in found if "/uaps/" in name}
    assert {name.rpartition("/")[2] for name in blocks} == {"seeds0-2.safetensors"}
    assert "tiny/metrics/metrics.csv" in found
    assert {name: digest for name, digest in found.items() if name not in blocks}.items() <= expected.items()


def test_one_thread_or_two_agree_to_rounding(again, tiny, tmp_path):
    rules = ("train_learner", "train_together", "evaluate_ensemble", "craft_uaps")
    again("metrics", "--set-threads", *(f"{rule}=2" for rule in rules))
    one, two = tiny.path / "results/tiny", tmp_path / "repository/results/tiny"
    # Two threads add up in another order, and a hundred steps of Adam, which divides gradients by their size, magnify
    # that: single weights were seen to differ by up to 1.4e-4.
    for path in one.glob("ensembles/**/ensemble.safetensors"):
        expected, _ = load_learners(path)
        found, _ = load_learners(two / path.relative_to(one))
        for name, array in expected.items():
            assert np.linalg.norm(found[name] - array) <= 1e-3 * np.linalg.norm(array), name
    tables = [pd.read_csv(root / "metrics/metrics.csv") for root in (one, two)]
    difference = (tables[0]["mean_accuracy"] - tables[1]["mean_accuracy"]).abs()
    assert difference.max() <= 0.02  # 4 of 200 images, where a perturbation's pixel went the other way
