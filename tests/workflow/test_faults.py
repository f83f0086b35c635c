"""Faults done to the real workflow: what is refused, what survives, and that the end is the same to the byte."""

import os
import pickle
import re
import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from conftest import HERE, Repository, fault, struck

pytestmark = [pytest.mark.workflow, pytest.mark.faults]

CELL = "mnist/voting/M2/lambda0.10/rep0"
LEARNER = "results/tiny/learners/mnist/voting/lambda0.10/rep0/learner0.safetensors"
SNAPSHOTS = "results/tiny/learners/mnist/snapshot/M2/lambda0.00/rep0/learners.safetensors"
ENSEMBLE = f"results/tiny/ensembles/{CELL}/ensemble.safetensors"
UAPS = f"results/tiny/uaps/{CELL}/eps0.15/seeds0-1.safetensors"
WORST = f"results/tiny/worst/{CELL}/eps0.15/worst.json"
CLEAN = f"results/tiny/clean/{CELL}/clean.safetensors"
METRICS = "results/tiny/metrics/metrics.csv"
SUMMARY = "results/tiny/metrics/summary.csv"
TABLE = "results/tiny/tables/table1.csv"
# what a file made again leaves to do: its provenance, and so what says when and where the run was made, is new
DESCRIBED_ANEW = {"describe_run": 1, "write_report": 1, "all": 1}


@pytest.fixture
def copy(tiny, tmp_path):
    """A copy of the finished tiny run."""
    return tiny.copy(tmp_path / "copy")


def remove(repo, *targets):
    for target in targets:
        (repo.path / target).unlink()


@pytest.mark.parametrize(
    ("target", "at", "name"),
    [
        (LEARNER, r"epoch 1/2: loss", "KILL"),
        (SNAPSHOTS, r"epoch 1/2: loss", "TERM"),
        (UAPS, r"1/2 perturbations", "KILL"),
        (UAPS, r"1/2 perturbations", "TERM"),
        (UAPS, r"seeds0-1\.safetensors$", "KILL"),
        (UAPS, r"seeds0-1\.provenance\.json$", "KILL"),
    ],
    ids=["training", "snapshots", "crafting", "crafting-term", "while-writing", "between-outputs"],
)
def test_a_killed_job_leaves_no_half_file_and_is_made_again_the_same(copy, tiny, tmp_path, target, at, name):
    remove(copy, target)
    output = copy.run(target, env=fault(tmp_path, at, name), check=False)
    assert f"died with <Signals.SIG{name}" in output
    assert "Exiting because a job execution failed" in output
    assert not (copy.path / target).exists()
    assert "1 of 1 jobs done, in" in copy.run(target)
    assert copy.stored() == tiny.stored()
    assert copy.missing() == DESCRIBED_ANEW


def test_snakemake_is_interrupted_and_started_again(copy, tiny, tmp_path):
    targets = [UAPS, UAPS.replace("seeds0-1", "seeds2-2")]
    remove(copy, *targets)
    copy.run(*targets, env=fault(tmp_path, "1/[12] perturbations", "INT", "snakemake"), cores=1, check=False)
    assert (tmp_path / "struck").exists()
    copy.run(*targets)
    assert copy.stored() == tiny.stored()
    assert copy.missing() == DESCRIBED_ANEW


def test_a_run_cancelled_at_every_stage_ends_in_the_same_bytes(tiny, tmp_path):
    repo = Repository(tmp_path / "repository", tiny.configfile)
    repo.share_data(tiny)
    for at, name, victim in [
        (r"epoch 1/2: loss", "KILL", "job"),
        (r"epoch 2/2: loss", "KILL", "snakemake"),
        (r"ensemble\.safetensors$", "KILL", "job"),
        (r"1/2 perturbations", "TERM", "snakemake"),
        (r"worst\.json$", "KILL", "job"),
        (r"summary\.csv$", "KILL", "job"),  # metrics.csv is there, the other table is not
        (r"figure2_robustness\.png$", "TERM", "job"),
    ]:
        repo.run(env=fault(tmp_path, at, name, victim), check=False)
        assert (tmp_path / "struck").exists(), at
        if (victim, name) == ("snakemake", "KILL"):
            # left to a person, who knows that no other Snakemake runs
            assert "--unlock" in repo.run(check=False)
            repo.run("--unlock")
    repo.run()
    assert repo.stored() == tiny.stored()
    assert repo.missing() == {}


def truncated(content):
    return content[: len(content) // 2]


def bit_flipped(content):
    """One bit, three quarters into the file: among the numbers."""
    at = 3 * len(content) // 4
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    ("damaged", "harm", "reader"),
    [
        (LEARNER, truncated, ENSEMBLE),
        (ENSEMBLE, bit_flipped, CLEAN),
        (UAPS, truncated, WORST),
        (UAPS, bit_flipped, WORST),
        (WORST, truncated, METRICS),
        (WORST, bit_flipped, METRICS),
        (SUMMARY, bit_flipped, TABLE),
    ],
    ids=lambda value: getattr(value, "__name__", Path(str(value)).stem),
)
def test_a_damaged_file_is_named_and_rebuilt_on_request(copy, tiny, damaged, harm, reader):
    path = copy.path / damaged
    path.write_bytes(harm(path.read_bytes()))
    remove(copy, reader)
    output = copy.run(reader, check=False)
    assert f"ArtifactError: {damaged}: " in output
    assert "elete it to" in output
    assert not (copy.path / reader).exists()
    path.unlink()
    copy.run(damaged, reader)
    assert copy.stored() == tiny.stored()


class Hostile:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_a_hostile_checkpoint_is_refused_and_never_executed(copy):
    (copy.path / ENSEMBLE).write_bytes(pickle.dumps(Hostile()))
    remove(copy, CLEAN)
    output = copy.run(CLEAN, check=False)
    assert f"ArtifactError: {ENSEMBLE}: its checksum does not match its content" in output
    assert not (copy.path / "executed").exists()


def test_a_second_snakemake_in_the_folder_or_on_the_results_is_refused_and_the_first_goes_on(copy, tiny, tmp_path):
    remove(copy, UAPS)
    process = copy.start(UAPS, "--configfile", copy.configfile, env=fault(tmp_path, "1/2 perturbations", "STOP", "job"))
    held = struck(tmp_path)
    output = copy.run(UAPS, check=False)
    assert "Directory cannot be locked" in output
    assert "Traceback" not in output
    clone = Repository(tmp_path / "clone", copy.configfile)
    (clone.path / "results").symlink_to(copy.path / "results")
    output = clone.run(UAPS, check=False)
    assert re.search(r"results/tiny: process \d+, started in .*/copy, works on these results", output), output
    os.kill(held, signal.SIGCONT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert copy.stored() == tiny.stored()


@contextmanager
def small_disk(folder, megabytes):
    """A file system of its own, in memory; yields a function that changes its size."""
    folder.mkdir(parents=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no right to mount a small disk: {made.stderr.strip()}")

    def remount(options):
        subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)

    try:
        yield remount
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def on_small_disk(tiny, tmp_path):
    """A copy of the tiny run on a disk of its own, and the function that changes the disk's options."""
    with small_disk(tmp_path / "disk", 300) as remount:
        repo = Repository(tmp_path / "disk/repository", tiny.configfile)
        for part in ("results", ".snakemake"):
            shutil.copytree(tiny.path / part, repo.path / part)
        yield repo, remount


def used_kilobytes(folder):
    disk = os.statvfs(folder)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize // 1024


@pytest.mark.parametrize("room", [16, 300], ids=["no-room", "room-for-a-log"])
def test_a_full_disk_is_said_and_once_there_is_room_the_run_goes_on(on_small_disk, tiny, room):
    repo, remount = on_small_disk
    remove(repo, ENSEMBLE, UAPS)
    (repo.path / ENSEMBLE).with_suffix(".provenance.json").unlink()
    remount(f"size={used_kilobytes(repo.path) + room}k")  # the ensemble needs 500 kB
    output = repo.run(UAPS, check=False)
    assert "No space left on device" in output
    assert not (repo.path / ENSEMBLE).exists()
    litter = [p.name for p in (repo.path / ENSEMBLE).parent.rglob(".*ensemble*")]
    assert not litter
    remount("size=300m")
    repo.run(UAPS)
    assert repo.stored() == tiny.stored()


def test_a_full_folder_for_temporary_files_is_named_before_a_job_starts(copy, tiny, tmp_path):
    remove(copy, UAPS)
    with small_disk(tmp_path / "tmp", 1):
        (tmp_path / "tmp/full").write_bytes(bytes(2**20))
        output = copy.run(UAPS, env={"TMPDIR": str(tmp_path / "tmp")}, check=False)
    assert f"{tmp_path / 'tmp'}: temporary files cannot be written (No space left on device)" in output
    copy.run(UAPS)
    assert copy.stored() == tiny.stored()


def test_a_read_only_results_folder_is_said_and_nothing_is_lost(on_small_disk, tiny, tmp_path):
    disk, remount = on_small_disk
    repo = tiny.copy(tmp_path / "copy")
    shutil.rmtree(repo.path / "results")
    (repo.path / "results").symlink_to(disk.path / "results")
    remove(repo, UAPS)
    remount("ro")
    # Snakemake sees that it could not replace the other output, which is still there
    output = repo.run(UAPS, check=False)
    assert "Write-protected output files" in output
    assert UAPS.replace(".safetensors", ".provenance.json") in output
    # a file that is not there cannot be made
    remount("rw")
    remove(repo, UAPS.replace(".safetensors", ".provenance.json"))
    remount("ro")
    output = repo.run(UAPS, check=False)
    assert "Read-only file system" in output
    assert "results/tiny" in output
    remount("rw")
    repo.run(UAPS)
    assert repo.stored() == tiny.stored()


def test_a_configuration_edited_while_running_is_not_mixed_in(tiny, tmp_path):
    overlay = tmp_path / "tiny.yaml"
    shutil.copy(HERE / "tiny.yaml", overlay)
    repo = tiny.copy(tmp_path / "copy")
    repo.configfile = str(overlay)
    shutil.rmtree(repo.path / "results/tiny/uaps")
    remove(repo, WORST)
    process = repo.start(
        WORST, "--configfile", repo.configfile, env=fault(tmp_path, "1/2 perturbations", "STOP", "job"), cores=1
    )
    held = struck(tmp_path)
    settings = yaml.safe_load(overlay.read_text())
    settings["attack"]["iterations"] = 3
    overlay.write_text(yaml.safe_dump(settings))
    os.kill(held, signal.SIGCONT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    found = repo.stored()
    assert {name: digest for name, digest in tiny.stored().items() if name in found} == found
    # started again, it sees the edit
    assert repo.missing()["craft_uaps"] == 4


def test_code_edited_while_running_is_refused_instead_of_mixed_in(copy, tmp_path):
    shutil.rmtree(copy.path / "results/tiny/uaps")
    remove(copy, WORST)
    # in the first of two blocks, whichever that is
    process = copy.start(
        WORST, "--configfile", copy.configfile, env=fault(tmp_path, "1/[12] perturbations", "STOP", "job"), cores=1
    )
    held = struck(tmp_path)
    source = copy.path / "src/jacobian_ensembles/attacks/sgd_uap.py"
    source.write_text(f"{source.read_text()}\nEDITED = 1\n")
    os.kill(held, signal.SIGCONT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1, output
    assert "the code of this job (sgd) was edited after Snakemake was started" in output
    assert copy.missing()["craft_uaps"] == 4
