"""The real workflow, run in a copy of the repository on the real data sets."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("Snakefile", "config.yaml", "environment.yml", "pyproject.toml", "src", "workflow")


class Repository:
    """A copy of the repository in which Snakemake can be run and files can be edited."""

    def __init__(self, path: Path):
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, path / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy(source, path / part)

    def snakemake(self, *args: str, check: bool = True, timeout: float = 400) -> str:
        """Run snakemake and return its output; fail the test unless it succeeds."""
        command = [sys.executable, "-m", "snakemake", "--cores", "2", *args]
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            command,
            cwd=self.path,
            env=env,
            timeout=timeout,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert not check or done.returncode == 0, done.stdout
        return done.stdout

    def preset(self, name: str, *args: str, **kwargs) -> str:
        """Run snakemake with a preset."""
        return self.snakemake(*args, "--configfile", f"workflow/presets/{name}.yaml", **kwargs)

    def planned(self, *args: str) -> dict[str, int]:
        """How many jobs of each rule a dry run plans."""
        return job_counts(self.snakemake("--dry-run", *args))


def job_counts(output: str) -> dict[str, int]:
    """The job table of a snakemake run; empty when there was nothing to be done."""
    if "Nothing to be done" in output:
        return {}
    table = output.partition("Job stats:")[2].partition("total")[0]
    assert table, output
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


@pytest.fixture
def repository(tmp_path) -> Repository:
    """A copy of the repository without any results."""
    return Repository(tmp_path / "repository")


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Repository:
    """A copy of the repository in which the smoke preset has run from the download to the figures."""
    repo = Repository(tmp_path_factory.mktemp("smoke") / "repository")
    repo.log = repo.preset("smoke")
    return repo
