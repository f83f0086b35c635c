"""The cluster profiles on a real Slurm: to the figures, within the limits, and through what goes wrong there."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml

from conftest import HERE, Repository

pytestmark = [pytest.mark.workflow, pytest.mark.slurm]

SCRIPTS = Path(__file__).resolve().parent
# a cluster without accounting, looked at more often than a real one should be
SLURM = ["--profile", "profiles/slurm", "--slurm-status-command", "squeue"]
SLURM += ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "30"]
SLURM += ["--default-resources", "slurm_account=test", "slurm_partition=main"]
GENERIC = ["--profile", "profiles/cluster-generic", "--seconds-between-status-checks", "1"]
GENERIC += ["--latency-wait", "30"]


@pytest.fixture(scope="session")
def cluster():
    """The environment in which commands find a one-node Slurm that believes in one GPU."""
    if shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        pytest.skip("no Slurm here: apt-get install slurm-wlm")
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="pip install '.[cluster]'")
    folder = tempfile.mkdtemp(prefix="slurm-", dir="/tmp")  # short: sockets below it have at most 107 characters
    try:
        up = subprocess.run([SCRIPTS / "up.sh", folder], capture_output=True, text=True, timeout=60)
        assert up.returncode == 0, up.stderr
        path = f"{folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
        yield {"SLURM_CONF": up.stdout.strip(), "PATH": path}
    finally:
        subprocess.run([SCRIPTS / "down.sh", folder], timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def queue(cluster):
    """Every job Slurm remembers: {id: {field: value}}."""
    text = subprocess.run(
        ["scontrol", "show", "job", "-o"], env={**os.environ, **cluster}, capture_output=True, text=True, check=True
    ).stdout
    jobs = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines() if line.startswith("JobId=")]
    return {job["JobId"]: job for job in jobs}


@pytest.fixture
def fresh(smoke, tmp_path):
    """Make a repository that has the datasets and nothing else."""

    def make(configfile="workflow/presets/smoke.yaml"):
        repo = Repository(tmp_path / "repository", configfile)
        repo.share_data(smoke)
        return repo

    return make


def test_the_smoke_run_reaches_its_figures_in_a_few_submissions_and_equals_a_local_one(fresh, smoke, cluster):
    repo, before = fresh(), queue(cluster)
    # a job that really used a GPU would find none here; this one asks for it, holds its slot, and computes with NumPy
    options = ["--set-resources", "select_worst_uap:gpu=1", "--group-components", "train=4", "model=2"]
    output = repo.run(*SLURM, *options, env=cluster, cores=1)
    assert re.search(r"^(\d+) of \1 jobs done, in", output, re.MULTILINE)
    assert repo.stored() == smoke.stored()
    new = {int(name): job for name, job in queue(cluster).items() if name not in before}
    jobs = [new[name] for name in sorted(new)]
    # two of seven trainings, three of two models each, the examples; figures and tables are made where Snakemake runs
    assert len(jobs) == output.count("has been submitted") == 2 + 3 + 1
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    # a submission's jobs run one after the other, on the one CPU that it holds; submissions run side by side
    assert {job["NumCPUs"] for job in jobs} == {"1"}
    assert max(job["StartTime"] for job in jobs[:2]) < min(job["EndTime"] for job in jobs[:2])
    on_gpu = [job for job in jobs if job.get("TresPerJob") == "gres:gpu:1"]
    assert len(on_gpu) == 3
    # one GPU: one after the other
    spans = sorted((job["StartTime"], job["EndTime"]) for job in on_gpu)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    records = [json.loads(path.read_text()) for path in repo.path.glob("results/smoke/worst/**/*.provenance.json")]
    assert {record["device"] for record in records} == {"cuda 0"}


def wait_for(condition, process):
    for _ in range(1200):
        if found := condition():
            return found
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    raise AssertionError("nothing happened in two minutes")


def test_a_cancelled_job_is_sent_again_and_an_edited_configuration_is_not_mixed_in(fresh, tiny, tmp_path, cluster):
    overlay = tmp_path / "tiny.yaml"
    overlay.write_text((HERE / "tiny.yaml").read_text())
    repo, before = fresh(str(overlay)), queue(cluster)
    process = repo.start(*SLURM, "--configfile", str(overlay), env=cluster, cores=1)
    (victim,) = wait_for(lambda: [k for k, j in queue(cluster).items() if k not in before], process)
    # the trainings that come later would take the new rate, were they to read the file themselves
    edited = yaml.safe_load(overlay.read_text())
    edited["training"]["learning_rate"] = 0.01
    overlay.write_text(yaml.safe_dump(edited))
    wait_for(lambda: queue(cluster)[victim]["JobState"] == "RUNNING", process)
    subprocess.run(["scancel", victim], env={**os.environ, **cluster}, check=True)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert "Trying to restart" in output
    tries = [job for name, job in queue(cluster).items() if name not in before]
    assert [job["JobState"] for job in tries] == ["CANCELLED", "COMPLETED", "COMPLETED", "COMPLETED"]
    memory = [int(re.search(r"mem=(\d+)M", job["TRES"])[1]) for job in tries]
    assert memory[:2] == [2000, 4000]  # one training at a time; at the second try it is given twice as much
    assert repo.stored() == tiny.stored()
    # the next start sees the edit
    assert repo.planned("--configfile", str(overlay))["train_learner"] == 2


def test_a_job_that_is_cancelled_for_good_is_reported_and_the_rest_is_kept(fresh, tiny, cluster):
    repo, before = fresh(tiny.configfile), queue(cluster)
    options = [*GENERIC, "--retries", "0", "--group-components", "train=4", "model=1"]
    process = repo.start(*options, "--configfile", tiny.configfile, env=cluster, cores=2)

    def crafting():
        new = [k for k, j in queue(cluster).items() if k not in before and j["JobState"] == "RUNNING"]
        return new if (repo.path / "results/tiny/learners/mnist/snapshot").exists() and len(queue(cluster)) > 1 else []

    wait_for(crafting, process)
    first = next(k for k in queue(cluster) if k not in before)
    wait_for(lambda: [k for k in crafting() if k != first], process)
    victim = next(k for k in crafting() if k != first)
    subprocess.run(["scancel", victim], env={**os.environ, **cluster}, check=True)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 1, output
    assert victim in output
    missing = repo.missing()
    assert "train_learner" not in missing
    assert 1 <= missing["craft_uaps"] <= 2  # of the cancelled model only
    # the CPUs that a submission holds are all used from its start: two of its three trainings start together
    assert queue(cluster)[first]["NumCPUs"] == "2"
    log = (repo.path / f"logs/cluster/{first}.log").read_text()
    times = re.findall(r"^\[(.*)\]\nJob \d+: Train", log, re.MULTILINE)
    starts = [datetime.strptime(at, "%c") for at in times]
    assert len(starts) == 3
    assert starts[1] - starts[0] <= timedelta(seconds=1)
    repo.run(*GENERIC, env=cluster, cores=2)
    assert repo.stored() == tiny.stored()
