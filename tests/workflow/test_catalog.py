"""Snakemake's workflow catalog: its rules for standardised usage, and a deployment as it tells users to make one."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml
from test_elsewhere import link_data

from conftest import PARTS, ROOT, job_counts, stored_in

pytestmark = pytest.mark.workflow

URL = "https://github.com/somebody/jacobian-ensembles"


def read_yaml(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_the_catalog_finds_what_it_looks_for():
    # its generator's conditions; `make lint` runs what it runs beside them, snakemake --lint and snakefmt
    readme = (ROOT / "README.md").read_text(encoding="utf-8").lower()
    assert "snakemake" in readme
    assert "workflow" in readme
    assert (ROOT / "workflow" / "Snakefile").is_file()
    assert list((ROOT / "workflow" / "rules").glob("*.smk"))
    assert (ROOT / "config" / "README.md").read_text(encoding="utf-8").strip()
    usage = read_yaml(".snakemake-workflow-catalog.yml")["usage"]
    assert usage["report"] is True
    deployment = usage["software-stack-deployment"]
    assert set(deployment) <= {"conda", "apptainer", "apptainer+conda", "singularity", "singularity+conda", "report"}
    assert any(deployment[way] for way in set(deployment) - {"report"})
    assert isinstance(usage["mandatory-flags"]["flags"], str)


def test_the_configuration_to_start_from_is_the_smallest_that_has_every_part():
    assert read_yaml("config/config.yaml") == read_yaml("workflow/presets/smoke.yaml")


@pytest.fixture(scope="module")
def hosted(tmp_path_factory):
    """The environment in which git takes a repository of this working tree, tagged v1, for one at a hosting service."""
    repository, cache = tmp_path_factory.mktemp("hosted"), tmp_path_factory.mktemp("cache")
    for part in (*PARTS, "LICENSE", "README.md", "config"):
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / part, repository / part, ignore=ignored)
        else:
            shutil.copy(ROOT / part, repository / part)
    author = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "-m", "All"], ["tag", "v1"]):
        subprocess.run(["git", *command], cwd=repository, check=True)
    settings = {f"url.{repository}.insteadOf": URL, "safe.directory": "*"}
    environment = {"XDG_CACHE_HOME": str(cache), "GIT_CONFIG_COUNT": str(len(settings)), "GITHUB_TOKEN": ""}
    for i, (key, value) in enumerate(settings.items()):
        environment |= {f"GIT_CONFIG_KEY_{i}": key, f"GIT_CONFIG_VALUE_{i}": value}
    return environment


@pytest.fixture(scope="module")
def deployed(hosted, tmp_path_factory):
    """A folder in which nothing lies but what snakedeploy wrote."""
    pytest.importorskip("snakedeploy", reason="no snakedeploy: pip install --group publishing")
    folder = tmp_path_factory.mktemp("deployed")
    command = [sys.executable, "-c", "from snakedeploy.client import main; main()", "deploy-workflow", URL, "."]
    environment = {**os.environ, **hosted}
    subprocess.run([*command, "--tag", "v1", "--force"], cwd=folder, env=environment, check=True)
    assert {path.name for path in folder.iterdir()} == {"LICENSE", "config", "profiles", "workflow"}
    return folder


def test_a_deployed_workflow_plans_what_the_repository_plans(deployed, hosted, repository):
    planned, here = job_counts(repository.snakemake("--dry-run", cwd=deployed, env=hosted)), repository.missing()
    assert (planned.pop("default"), here.pop("all")) == (1, 1)  # the targets, which have no job
    assert planned == here


@pytest.mark.faults
def test_a_deployed_workflow_makes_what_the_repository_makes(deployed, hosted, repository, tiny, smoke, tmp_path):
    here = shutil.copytree(deployed, tmp_path / "deployed")
    link_data(smoke, here / "results")
    shutil.copy(tiny.configfile, here / "config" / "config.yaml")
    made = [f"results/tiny/{name}" for name in ("metrics/metrics.csv", "figures/figure2_robustness.png")]
    repository.snakemake(*made, cwd=here, env=hosted)
    found = stored_in(here)
    assert set(made) <= {f"results/{name}" for name in found}
    assert found.items() <= tiny.stored().items()
