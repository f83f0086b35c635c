"""Faults done to the real workflow: what is refused, what survives, and that the end is the same to the byte."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from conftest import fault

pytestmark = [pytest.mark.workflow, pytest.mark.faults]

CELL = "mnist/voting/M2/lambda0.10"
LEARNER = "results/tiny/learners/mnist/voting/lambda0.10/learner0.safetensors"
SNAPSHOTS = "results/tiny/learners/mnist/snapshot/M2/lambda0.00/snapshots.safetensors"
ENSEMBLE = f"results/tiny/ensembles/{CELL}/ensemble.safetensors"
UAPS = f"results/tiny/uaps/{CELL}/eps0.15/seeds0-1.safetensors"
WORST = f"results/tiny/worst/{CELL}/eps0.15/worst.json"
METRICS = "results/tiny/metrics/metrics.csv"


@pytest.fixture
def copy(tiny, tmp_path):
    """A copy of the finished tiny run."""
    return tiny.copy(tmp_path / "copy")


def remove(repo, target):
    (repo.path / target).unlink()
    return target


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
    assert (tmp_path / "struck").exists()
    assert "Exiting because a job execution failed" in output
    assert not (copy.path / target).exists()
    copy.run(target)
    assert copy.stored() == tiny.stored()
