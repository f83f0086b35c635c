"""The real workflow, run in a copy of the repository on the real datasets."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PARTS = ("Snakefile", "config.yaml", "environment.yml", "pyproject.toml", "src", "profiles", "workflow")


class Repository:
    """A copy of the repository in which Snakemake can be run and files can be edited; one that exists is taken over."""

    def __init__(self, path: Path, configfile: str = "workflow/presets/smoke.yaml"):
        self.path = path
        self.configfile = configfile
        path.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            if (path / part).exists():
                continue
            source = ROOT / part
            if source.is_dir():  # with compiled code, Python's and numba's: both know whether it fits its source
                shutil.copytree(source, path / part, ignore=shutil.ignore_patterns("*.egg-info"))
            else:
                shutil.copy(source, path / part)

    @property
    def undeclared(self) -> Path:
        """What ``audit/sitecustomize.py`` lists."""
        return self.path / "undeclared"

    def start(
        self, *args: str, env: dict[str, str] | None = None, cores: int = 2, cwd: Path | None = None
    ) -> subprocess.Popen:
        """Start snakemake, here or in another folder, with its output in a pipe."""
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", str(cores), *args],
            cwd=cwd or self.path,
            # without GPUs, whose slots repositories side by side would take from each other
            env={
                **os.environ,
                "PYTHONDONTWRITEBYTECODE": "1",
                "CUDA_VISIBLE_DEVICES": "",
                "PYTHONPATH": str(HERE / "audit"),  # jobs that read what they do not declare are listed
                "TEST_READS": str(self.undeclared),
                **(env or {}),
            },
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def snakemake(self, *args: str, check: bool = True, timeout: float = 1800, **kwargs) -> str:
        """Run snakemake and return its output; fail the test unless it succeeds (``check=False``: unless it fails)."""
        process = self.start(*args, **kwargs)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()  # on SIGTERM it would wait for its jobs
            pytest.fail(f"snakemake hangs: {process.communicate()[0]}")
        assert (process.returncode == 0) == check, output
        assert not self.undeclared.exists(), self.undeclared.read_text()
        return output

    def preset(self, name: str, *args: str, **kwargs) -> str:
        """Run snakemake with a preset."""
        return self.snakemake(*args, "--configfile", f"workflow/presets/{name}.yaml", **kwargs)

    def run(self, *args: str, **kwargs) -> str:
        """Run snakemake with this repository's configuration; targets come first in ``args``."""
        return self.snakemake(*args, "--configfile", self.configfile, **kwargs)

    def planned(self, *args: str, **kwargs) -> dict[str, int]:
        """How many jobs of each rule a dry run plans."""
        return job_counts(self.snakemake("--dry-run", *args, **kwargs))

    def missing(self) -> dict[str, int]:
        """How many jobs of each rule a dry run of this repository's configuration plans."""
        return self.planned("--configfile", self.configfile)

    def finished_jobs(self) -> Counter[str]:
        """How many jobs of each rule the latest run finished, by Snakemake's log of it."""
        log = max((self.path / ".snakemake/log").iterdir())
        done = Counter(re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", log.read_text(), re.MULTILINE))
        del done["all"]
        return done

    def stored(self) -> dict[str, str]:
        """The SHA-256 of every result of every run: see :func:`stored_in`."""
        return stored_in(self.path)

    def copy(self, path: Path) -> "Repository":
        """Another repository with the same results and the same memory of them; the datasets are hard links."""
        other = Repository(path, self.configfile)
        for part in ("results", ".snakemake"):
            shutil.copytree(self.path / part, path / part, ignore=_linked_or_stale, dirs_exist_ok=True)
        other.share_data(self)
        return other

    def share_data(self, other: "Repository") -> None:
        """Take over another repository's datasets, as hard links."""
        (self.path / "results/data").mkdir(parents=True, exist_ok=True)
        for source in (other.path / "results/data").iterdir():
            os.link(source, self.path / "results/data" / source.name)


def stored_in(folder: Path) -> dict[str, str]:
    """The SHA-256 of every result below a folder's ``results``: all but logs, benchmarks and what says when and where.

    That is provenance, and the page, which shows it. Hidden files are what a kill in the middle of a write leaves.
    """
    found = {}
    for path in sorted((folder / "results").rglob("*")):
        name = path.relative_to(folder / "results")
        timed = name.parts[1:2] in [("logs",), ("benchmarks",), ("report.html",)] or "provenance." in path.name
        if path.is_file() and not timed and not path.name.startswith("."):
            found[str(name)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _linked_or_stale(folder, names):
    """What :meth:`Repository.copy` leaves out: the datasets, which it links, and locks."""
    return ["data"] if Path(folder).name == "results" else ["locks"]


def job_counts(output: str) -> dict[str, int]:
    """The job table of a snakemake run; empty when there was nothing to be done."""
    if "Nothing to be done" in output:
        return {}
    table = output.partition("Job stats:")[2].partition("total")[0]
    assert table, output
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def fault(folder: Path, at: str, signal: str, victim: str = "job") -> dict[str, str]:
    """The environment that makes ``injection/sitecustomize.py`` send one signal at one moment."""
    flag = folder / "struck"
    flag.unlink(missing_ok=True)
    plan = {"at": at, "signal": signal, "victim": victim, "flag": str(flag)}
    return {"TEST_FAULT": json.dumps(plan), "PYTHONPATH": str(HERE / "injection")}


def struck(folder: Path) -> int:
    """Wait for a :func:`fault`; the process that got the signal."""
    flag = folder / "struck"
    for _ in range(1200):
        if flag.exists() and flag.read_text():
            return int(flag.read_text())
        time.sleep(0.1)
    raise AssertionError("nothing happened in two minutes")


@pytest.fixture
def repository(tmp_path) -> Repository:
    """A copy of the repository without any results."""
    return Repository(tmp_path / "repository")


#: Everything that numba compiles.
COMPILE = """
import numpy as np
from jacobian_ensembles.engine import passes
sizes = (150, 6, 2400, 16, 48000, 120, 10080, 84, 840, 10)
network = passes.pack([[np.zeros(size, np.float32) for size in sizes]], [False])
images, labels = np.zeros((1, 784), np.float32), np.zeros(1, np.int64)
network.logits(images), network.products(images, np.zeros((1, 1, 10), np.float32))
network.gradient(images, labels, average="logits", loss="cross_entropy", cap=None)
passes.training_gradient(network, images, labels), passes.Descent(network, "adam").move(0.0)
"""


def compile_everything() -> None:
    """Have the code compiled beside its source, once, and not by the jobs of every copy: that takes half a minute."""
    source = ROOT / "src"
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(source)], check=True)
    subprocess.run([sys.executable, "-c", COMPILE], env={**os.environ, "PYTHONPATH": str(source)}, check=True)


def finished(tmp_path_factory, configfile: str, data: Repository | None = None) -> Repository:
    """A repository in which a configuration has run: once for all of pytest's processes, and a copy for each.

    With FINISHED_RUNS, a folder, once for all calls of pytest: whoever sets it keeps the code as it is meanwhile.
    """
    name, root = Path(configfile).stem, tmp_path_factory.getbasetemp()
    if "FINISHED_RUNS" in os.environ:
        root = Path(os.environ["FINISHED_RUNS"])
    elif "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    with FileLock(root / f"{name}.lock"):
        log = root / f"{name}.log"
        if not log.exists():
            compile_everything()
        original = Repository(root / name / "repository", configfile)
        if not log.exists():
            if data:
                original.share_data(data)
            log.write_text(original.run())
    return original.copy(tmp_path_factory.mktemp(name) / "repository")


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Repository:
    """A copy of the repository in which the smoke preset has run from the download to the figures."""
    return finished(tmp_path_factory, "workflow/presets/smoke.yaml")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, smoke) -> Repository:
    """A copy of the repository in which ``tiny.yaml``, two models, has run undisturbed. Not to be changed."""
    return finished(tmp_path_factory, str(HERE / "tiny.yaml"), smoke)
