"""The same configuration gives the same bytes, however the work is cut up and whatever runs beside it."""

import pytest
from conftest import Repository

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


def test_seeds_in_one_block_or_in_several_give_the_same_numbers(again, tiny):
    found = again("--config", "attack={seeds_per_job: 5}")
    blocks = {name for name in found if "/uaps/" in name}
    assert {name.rpartition("/")[2] for name in blocks} == {"seeds0-2.safetensors"}
    expected = {name: digest for name, digest in tiny.stored().items() if "/uaps/" not in name}
    assert {name: digest for name, digest in found.items() if name not in blocks} == expected


def test_one_thread_or_two_give_the_same_bytes(again, tiny):
    rules = ("train_learner", "train_snapshots", "evaluate_ensemble", "craft_uaps")
    assert again("--set-threads", *(f"{rule}=2" for rule in rules)) == tiny.stored()
