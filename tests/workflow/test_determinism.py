"""The same configuration gives the same bytes, however the work is cut up; with more threads, the same to rounding."""

import json
import shutil

import numpy as np
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
    assert repo.finished_jobs() == {"craft_uaps": 2, "select_worst_uap": 2, "gather_records": 1, "aggregate_metrics": 1}
    found, expected = repo.stored(), tiny.stored()
    blocks = {name for name in found if "/uaps/" in name}
    assert {name.rpartition("/")[2] for name in blocks} == {"seeds0-2.safetensors"}
    assert "tiny/metrics/metrics.csv" in found
    assert {name: digest for name, digest in found.items() if name not in blocks}.items() <= expected.items()


def test_one_thread_or_two_agree_to_rounding(again, tiny, tmp_path):
    cell = "mnist/voting/M2/lambda0.10/rep0"
    ensemble, worst = f"ensembles/{cell}/ensemble.safetensors", f"worst/{cell}/eps0.15/worst.json"
    threads = [f"{rule}=2" for rule in ("train_learner", "craft_uaps")]
    again(f"results/tiny/{worst}", "--set-threads", *threads)
    one, two = tiny.path / "results/tiny", tmp_path / "repository/results/tiny"
    # Two threads add up in another order, and a hundred steps of Adam, which divides gradients by their size, magnify
    # that: single weights were seen to differ by up to 1.4e-4.
    (expected, _), (found, _) = (load_learners(root / ensemble) for root in (one, two))
    for name, array in expected.items():
        assert np.linalg.norm(found[name] - array) <= 1e-3 * np.linalg.norm(array), name
    accuracies = [json.loads((root / worst).read_text())["accuracies"] for root in (one, two)]
    assert accuracies[1] == pytest.approx(accuracies[0], abs=0.02)  # 4 of 200, where a pixel went the other way
