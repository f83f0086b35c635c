"""Results that Snakemake does not remember: the provenance beside them says whether they are what is asked for."""

import os
import re
import shlex
import shutil

import pytest
from test_reruns import TRAIN

from conftest import Repository

pytestmark = pytest.mark.workflow

LEARNER = "results/smoke/learners/mnist/voting/lambda0.00/rep0/learner0.safetensors"
SMOKE = ("--configfile", "workflow/presets/smoke.yaml")


@pytest.fixture
def forgotten(smoke, tmp_path):
    """The smoke run without what Snakemake remembers of it."""
    memory = smoke.path / ".snakemake/metadata"
    memory.rename(tmp_path / "metadata")
    yield smoke
    if memory.exists():
        memory.rename(tmp_path / "new")
    (tmp_path / "metadata").rename(memory)


def refused(repo, *args):
    return repo.snakemake("--dry-run", *SMOKE, *args, check=False)


def test_without_its_memory_equal_results_are_taken_and_others_refused_with_the_command_that_makes_them(forgotten):
    assert forgotten.planned(*SMOKE) == {}
    output = refused(forgotten, "--config", "seed=5")
    assert "seed was 0, and is 5" in output
    assert "Give this run another run.name" in output
    command = shlex.split(re.findall(r"^(snakemake .*--forcerun .*)$", output, re.MULTILINE)[-1])
    assert TRAIN.items() <= forgotten.planned(*command[command.index("--dry-run") + 1 :]).items()
    # so are those of models that are no longer asked for, and of other code
    assert "among its inputs" in refused(
        forgotten, "--config", "grid={datasets: [mnist], cells: null, ensembles: [voting], lambdas: [0]}"
    )
    source = forgotten.path / "src/jacobian_ensembles/models/jacobian.py"
    text = source.read_text()
    try:
        source.write_text(f"{text}\nEDITED = 1\n")
        assert "code.jacobian was " in refused(forgotten)
    finally:
        source.write_text(text)


def test_another_spelling_of_the_folder_is_the_same_run(smoke):
    place = f"run={{results: '{smoke.path / 'results'}'}}"
    assert smoke.planned(*SMOKE, "--config", place) == {}
    assert "seed was 0, and is 5" in refused(smoke, "--config", place, "seed=5")


def test_a_run_that_came_with_the_clone_is_shipped_anew(repository):
    shipped = repository.path / "results/reference/smoke/SHA256SUMS"
    shipped.parent.mkdir(parents=True)
    shipped.touch()
    assert repository.planned("all", "ship", *SMOKE)["ship_run"] == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"rule": 3}', b"\xff\x00"], ids=str)
def test_a_damaged_record_is_none(smoke, content):
    import base64

    (record,) = [
        path
        for path in (smoke.path / ".snakemake/metadata").rglob("*")
        if path.is_file() and path.name == base64.urlsafe_b64encode(LEARNER.encode()).decode()
    ]
    original = record.read_bytes()
    try:
        record.write_bytes(content)
        assert smoke.planned(*SMOKE) == {}
        assert f"{LEARNER}: seed was 0, and is 5" in refused(smoke, "--config", "seed=5", "--", LEARNER)
    finally:
        record.write_bytes(original)


def test_a_plan_for_dates_alone_says_so_and_names_the_command_that_takes_the_results_as_they_are(smoke, tmp_path):
    # as cp -r into another clone: new dates, and nothing that Snakemake remembers
    clone = Repository(tmp_path / "clone")
    shutil.copytree(smoke.path / "results/smoke", clone.path / "results/smoke", copy_function=shutil.copyfile)
    clone.share_data(smoke)
    os.utime(clone.path / LEARNER)
    uaps, *_ = (clone.path / "results/smoke/uaps").glob("mnist/voting/M1/lambda0.00/rep0/eps0.15/*.safetensors")
    content = uaps.read_bytes()
    uaps.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    output = clone.snakemake("--dry-run", *SMOKE)
    assert re.search(r"which have their checksums: \d+$", output, re.MULTILINE)
    assert "--touch" not in output
    uaps.write_bytes(content)
    os.utime(clone.path / LEARNER)
    output = clone.snakemake("--dry-run", *SMOKE)
    command = shlex.split(re.findall(r"To take them as they are: (snakemake .*)$", output, re.MULTILINE)[-1])
    assert "--touch" in command
    clone.snakemake(*command[1:])
    assert clone.planned(*SMOKE) == {}
    assert clone.stored() == smoke.stored()
