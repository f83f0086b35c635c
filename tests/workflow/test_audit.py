"""What finds reads that a rule does not declare."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

JOB = """
from types import SimpleNamespace
from safetensors import safe_open
snakemake = SimpleNamespace(rule="mine", input=["results/a.csv"], output=["results/out.csv"], log=["results/a.log"])
for name in ("a.csv", "b.csv", "a.provenance.json", "reference/c.csv"):
    open("results/" + name).close()
safe_open("results/d.safetensors", "np")
open("results/e.csv", "w").close()
"""


def test_a_job_that_reads_what_its_rule_does_not_name_is_listed(tmp_path):
    (tmp_path / "results/reference").mkdir(parents=True)
    for name in ("a.csv", "b.csv", "a.provenance.json", "reference/c.csv"):
        (tmp_path / "results" / name).write_text("")
    save_file({"x": np.zeros(1)}, tmp_path / "results/d.safetensors")
    audit = {"PYTHONPATH": str(Path(__file__).parent / "audit"), "TEST_READS": str(tmp_path / "list")}
    subprocess.run([sys.executable, "-c", JOB], cwd=tmp_path, env={**os.environ, **audit}, check=True)
    assert (tmp_path / "list").read_text() == "mine b.csv\nmine d.safetensors\n"
