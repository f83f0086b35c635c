"""What the workflow costs around its computations: Snakemake's own time, job starts, memory, disk.

    python benchmarks/workflow.py                 # all tables; about half an hour
    python benchmarks/workflow.py snakemake start # only these

Everything runs in a temporary copy of the repository; results/data is copied if it is there, else downloaded.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
LAMBDAS_10X = [0, *(round(0.01 * k, 2) for k in range(1, 80))]  # 80 strengths where the paper's grid has 8

#: Models of the runs that are planned only, and a workflow without anything but files: chains of three jobs.
PLANNED = (250, 1_000, 10_000)
BARE = """
rule all:
    input: expand("c/{i}", i=range(config["jobs"] // 3))
rule a:
    output: "a/{i}"
    shell: "touch {output}"
rule b:
    input: "a/{i}"
    output: "b/{i}"
    shell: "touch {output}"
rule c:
    input: "b/{i}"
    output: "c/{i}"
    shell: "touch {output}"
"""

#: One MNIST learner for an epoch, a snapshot run for one, and 50 seeds of few steps against nine members.
FULL_SIZE = {
    "grid": {
        "cells": [
            {"dataset": "mnist", "ensemble": "bagging", "members": 9, "lambda": 0.1},
            {"dataset": "mnist", "ensemble": "snapshot", "members": 1, "lambda": 0.1},
        ]
    },
    "training": {"epochs": 1, "snapshot_epochs": 1},
    "attack": {"iterations": 2},
}
RULES = (
    *("download_dataset", "train_learner", "train_together", "assemble_ensemble", "craft_uaps"),
    *("evaluate_ensemble", "select_worst_uap", "aggregate_metrics", "plot_figure", "write_table", "write_latex_table"),
)


def run(folder: Path, *command: str) -> tuple[str, float, float, float]:
    """Run a command; its output, wall and CPU seconds, and the largest process below it in MB."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        job = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(job.pid, 0)
        wall = time.perf_counter() - started
        output.seek(0)
        text = output.read()
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{text[-3000:]}")
    return text, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def snakemake(folder: Path, *args: str) -> tuple[str, float, float, float]:
    """Run Snakemake on two cores in a copy of the repository."""
    return run(folder, sys.executable, "-m", "snakemake", "--cores", "2", *args)


def copy_repository(folder: Path, data: bool = False) -> Path:
    """Copy what Snakemake needs."""
    for part in ("Snakefile", "config.yaml", "environment.yml", "pyproject.toml"):
        shutil.copy(ROOT / part, folder / part)
    for part in ("src", "profiles", "workflow"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    if data and (ROOT / "results/data").is_dir():
        shutil.copytree(ROOT / "results/data", folder / "results/data")
    return folder


def snakemake_table(folder: Path) -> None:
    """Dry runs of the grid and of ten times the grid, and a run of the grid with nothing to do."""
    print("\n| Snakemake on the full grid | jobs | wall | CPU |\n|---|---:|---:|---:|")

    def row(name: str, *args: str, repeats: int = 3) -> str:
        runs = [snakemake(folder, *args) for _ in range(repeats)]
        jobs = re.search(r"^total +(\d+)", runs[0][0], re.MULTILINE)
        wall, cpu = (statistics.median(r[i] for r in runs) for i in (1, 2))
        print(f"| {name} | {jobs.group(1) if jobs else 0} | {wall:.1f} s | {cpu:.1f} s |", flush=True)
        return runs[0][0]

    row("dry run, nothing there", "--dry-run", "--quiet", "rules")
    (folder / "ten.yaml").write_text(yaml.safe_dump({"grid": {"lambdas": LAMBDAS_10X}}), encoding="utf-8")
    row("dry run, ten times the λ", "--dry-run", "--quiet", "rules", "--configfile", "ten.yaml", repeats=1)

    # Every output as a one-byte file; --touch then records each job as done, as a run of it would.
    summary = snakemake(folder, "--summary")[0].splitlines()
    header = next(i for i, line in enumerate(summary) if line.startswith("output_file\t"))
    outputs = [Path(folder, line.split("\t")[0]) for line in summary[header + 1 :] if "\t" in line]
    for output in outputs:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(" ", encoding="utf-8")
    _, wall, cpu, _ = snakemake(folder, "--touch", "--quiet", "all")
    print(f"| touch all {len(outputs):,} outputs (to set up the next rows) | | {wall:.1f} s | {cpu:.1f} s |")
    for name, args in (("dry run, all there", ["--dry-run"]), ("run, all there", [])):
        if "Nothing to be done" not in row(name, *args):
            raise SystemExit(f"{name}: Snakemake found something to do.")


def planning_table(folder: Path) -> None:
    """Dry runs of grids of many models, and of a bare Snakefile with as many jobs: the least that Snakemake takes."""
    print("\n| planning | jobs | CPU | bare Snakefile | ratio |\n|---|---:|---:|---:|---:|")
    bare = folder / "bare"
    bare.mkdir()
    (bare / "Snakefile").write_text(BARE, encoding="utf-8")
    quiet = ("--dry-run", "--quiet", "rules")
    for models in PLANNED:
        grid = {"datasets": ["mnist"], "ensembles": ["voting"], "members": [1], "cells": None}
        grid["lambdas"] = [k / models for k in range(models)]
        (folder / "many.yaml").write_text(yaml.safe_dump({"grid": grid}), encoding="utf-8")
        text, _, cpu, _ = snakemake(folder, *quiet, "--configfile", "workflow/presets/smoke.yaml", "many.yaml")
        jobs = int(re.search(r"^total +(\d+)", text, re.MULTILINE).group(1))
        _, _, least, _ = snakemake(bare, *quiet, "--config", f"jobs={jobs}")
        print(f"| {models:,} models | {jobs:,} | {cpu:.0f} s | {least:.0f} s | {cpu / least:.2f} |", flush=True)


def start_table() -> None:
    """What starting a job costs before its first own line: Python, and the imports of its adapter."""
    print("\n| start of | wall | CPU | memory |\n|---|---:|---:|---:|")
    package = re.compile(r"^ +((?:from|import) jacobian_ensembles.*)$", re.MULTILINE)
    lines = {"Python": "pass"}
    for script in sorted((ROOT / "workflow/scripts").glob("[a-z]*.py")):
        text = script.read_text(encoding="utf-8")
        lines[script.stem] = "import _job\n" + "\n".join(package.findall(text))
    for name, code in lines.items():
        runs = [run(ROOT / "workflow/scripts", sys.executable, "-B", "-c", code) for _ in range(3)]
        wall, cpu, memory = (statistics.median(r[i] for r in runs) for i in (1, 2, 3))
        print(f"| {name} | {wall:.2f} s | {cpu:.2f} s | {memory:.0f} MB |", flush=True)


def size_tables(folder: Path) -> None:
    """The largest process of each rule at full image counts, and the disk one model takes."""
    (folder / "full.yaml").write_text(yaml.safe_dump(FULL_SIZE), encoding="utf-8")
    options = ("--quiet", "all", "--rerun-triggers", "mtime", "--configfile", "full.yaml")
    own = snakemake(folder, "--dry-run", *options)[3]
    print(f"\n| rule (Snakemake itself: {own:.0f} MB) | largest process |\n|---|---:|")
    for rule in RULES:
        _, _, _, peak = snakemake(folder, "--until", rule, *options)
        print(f"| {rule} | {peak:.0f} MB |", flush=True)
    print("\n| stage of one model (M = 9, one ε) | files | size |\n|---|---:|---:|")
    results = folder / "results/paper"
    for stage in ("learners", "ensembles", "uaps", "worst", "clean", "metrics", "logs", "benchmarks"):
        files = [f for f in (results / stage).rglob("*") if f.is_file() and "bagging" in str(f.relative_to(folder))]
        print(f"| {stage} | {len(files)} | {sum(f.stat().st_size for f in files) / 1e3:.0f} kB |")


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = ("snakemake", "planning", "start", "size")
    parser.add_argument("tables", nargs="*", default=tables, metavar="table", help=f"any of {', '.join(tables)}")
    chosen = parser.parse_args().tables
    if unknown := set(chosen) - set(tables):
        parser.error(f"no such table: {', '.join(sorted(unknown))}; there are {', '.join(tables)}.")
    if "snakemake" in chosen:
        with tempfile.TemporaryDirectory() as scratch:
            snakemake_table(copy_repository(Path(scratch)))
    if "planning" in chosen:
        with tempfile.TemporaryDirectory() as scratch:
            planning_table(copy_repository(Path(scratch)))
    if "start" in chosen:
        start_table()
    if "size" in chosen:
        with tempfile.TemporaryDirectory() as scratch:
            size_tables(copy_repository(Path(scratch), data=True))


if __name__ == "__main__":
    main()
