"""Targets beside the default one, run for real: ablation, recipe, spread, ship and reference_figures."""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from conftest import Repository

pytestmark = pytest.mark.workflow

CELL = {"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": 0}
SMALL = {
    "run": {"name": "small"},
    "grid": {"members": [1], "lambdas": [0], "eps": [0.15], "cells": [CELL]},
    "data": {"train_images": 1000, "test_images": 200},
    "training": {"epochs": 1},
    "attack": {"seeds": 2, "iterations": 5},
}


def overlay(tmp_path, **sections):
    path = tmp_path / "overlay.yaml"
    path.write_text(yaml.safe_dump(SMALL | sections))
    return str(path)


def command(repo, *arguments):
    """Run a command of the package as this repository has it."""
    program = [sys.executable, "-c", "import sys; from jacobian_ensembles.cli.main import main; sys.exit(main())"]
    environment = {**os.environ, "PYTHONPATH": str(repo.path / "src")}
    subprocess.run([*program, *map(str, arguments)], cwd=repo.path, env=environment, check=True)


@pytest.fixture
def beside(smoke, tmp_path):
    """A repository without results that shares the smoke run's dataset."""
    repo = Repository(tmp_path / "beside")
    repo.share_data(smoke)
    return repo


def test_a_shipped_run_is_redrawn_in_a_clone_without_training(smoke, tmp_path):
    finished = smoke.copy(tmp_path / "finished")
    finished.run("ship")
    shipped = finished.path / "results/reference/smoke"
    clone = Repository(tmp_path / "clone")
    shutil.copytree(shipped, clone.path / "results/reference/smoke")
    drawn = {"redraw_figure": 6, "redraw_table": 4, "redraw_latex_table": 1, "reference_figures": 1}
    assert clone.planned("reference_figures") == drawn
    clone.snakemake("reference_figures")
    run, rebuilt = finished.path / "results/smoke", clone.path / "results/rebuilt/smoke"
    for folder in ("tables", "figures"):
        names = {p.name for p in (shipped / folder).iterdir()}
        assert names == {p.name for p in (rebuilt / folder).iterdir() if ".provenance." not in p.name}
        assert len(names) >= 7
        for name in names:
            assert (shipped / folder / name).read_bytes() == (run / folder / name).read_bytes(), name
            assert (rebuilt / folder / name).read_bytes() == (run / folder / name).read_bytes(), name
    # drawn anew where numbers change, and only there; without the files of whoever made it
    copy, metrics = clone.path / "results/reference/smoke", "metrics/worst_of_k.csv"
    (copy / metrics).write_text((copy / metrics).read_text().replace(",3,1,0.", ",3,1,0.0"))
    command(finished, "crate", copy)
    assert clone.planned("reference_figures") == {"redraw_figure": 1, "reference_figures": 1}
    config = copy / "config.yaml"
    config.write_text(config.read_text().replace("architecture: lenet", "architecture: my_net.py:net"))
    clone.snakemake("reference_figures", "--forceall", "--dry-run")


def test_a_shipped_run_is_joined_into_its_place_and_a_ship_that_fails_leaves_the_earlier_one(smoke, tmp_path):
    finished = smoke.copy(tmp_path / "finished")
    finished.run("ship")
    shipped = finished.path / "results/reference/smoke"
    before = {path: path.read_bytes() for path in shipped.rglob("*") if path.is_file()}
    assert "Nothing to be done" in finished.run("ship")
    # the command draws by the workflow's rules, in a clone and where Snakemake is
    command(finished, "join", shipped, "-o", shipped)
    after = {path: path.read_bytes() for path in shipped.rglob("*") if path.is_file()}
    assert before.keys() - after.keys() == {shipped / "report.html"}  # which shows what is not shipped
    described = {shipped / name for name in ("SHA256SUMS", "ro-crate-metadata.json")}
    assert {path for path, content in after.items() if content != before[path]} == described
    before = after
    (shipped / "NOTES.md").write_text("mine")
    output = finished.run("ship", "--forcerun", "ship_run", check=False)
    assert "NOTES.md: not part of a shipped run" in output
    assert {path: path.read_bytes() for path in before} == before
    assert (shipped / "NOTES.md").read_text() == "mine"


def test_variants_of_the_attack_share_models_and_seeds(beside, tmp_path):
    variants = {"default": {}, "weak": {"iterations": 1, "step": 0.01}, "staged": {"method": "staged"}}
    beside.snakemake("metrics", "ablation", "--configfile", overlay(tmp_path, ablation=variants))
    root = beside.path / "results/small"
    table = pd.read_csv(root / "metrics/ablation.csv").set_index("variant")
    run = pd.read_csv(root / "metrics/metrics.csv").iloc[0]
    assert table.loc["default", "worst_accuracy"] == run["worst_accuracy"]
    assert table.loc["weak", "worst_accuracy"] > run["worst_accuracy"]
    assert table.loc["staged", ["seeds", "gradient_images"]].tolist() == [1, run["gradient_images"]]
    assert (table["clean_accuracy"] == run["clean_accuracy"]).all()
    assert {"ablation.png", "budget.png"} <= {path.name for path in (root / "figures").iterdir()}
    assert len(list((root / "ensembles").rglob("*.safetensors"))) == 1


def test_trials_are_compared_and_one_that_diverges_stops_nothing(beside, tmp_path):
    trials = {"plain": {}, "wild": {"training": {"optimizer": "sgd", "learning_rate": 1000}}}
    grid = {"datasets": ["mnist"], "lambdas": [0], "members": [1], "eps": [0.15]}
    beside.snakemake("recipe", "--configfile", overlay(tmp_path, trials=trials, grid=grid))
    table = pd.read_csv(beside.path / "results/small/tables/recipe.csv").set_index("trial")
    assert table.loc["plain", "validation_accuracy"] > 0.3
    assert pd.isna(table.loc["wild", "validation_accuracy"])
    assert "lower training.learning_rate" in table.loc["wild", "diverged"]
    assert "| wild | diverged |" in (beside.path / "results/small/tables/recipe.md").read_text()


def test_repetitions_differ_and_their_spread_is_reported(beside, tmp_path):
    grid = SMALL["grid"] | {"repetitions": 2}
    beside.snakemake("spread", "--configfile", overlay(tmp_path, grid=grid))
    metrics = pd.read_csv(beside.path / "results/small/metrics/metrics.csv")
    assert metrics["repetition"].tolist() == [0, 1]
    assert metrics["clean_accuracy"].nunique() == 2
    spread = pd.read_csv(beside.path / "results/small/tables/spread.csv").iloc[0]
    assert spread["repetitions"] == 2
    assert spread["clean_accuracy"] == pytest.approx(metrics["clean_accuracy"].mean(), abs=1e-6)


def test_the_stress_test_puts_every_attack_in_one_table_on_one_page(beside, tmp_path):
    cells = [CELL, CELL | {"ensemble": "bagging", "members": 2}]
    grid = SMALL["grid"] | {"members": [1, 2], "ensembles": ["voting", "bagging"], "cells": cells, "eps": [0.15, 0.5]}
    variants = {
        "noise": {"iterations": 0, "init": "sign", "eps": [0.15]},
        "own": {},
        "square": {"method": "square", "options": {"queries": 5, "batch_size": 50}, "eps": [0.15]},
    }
    stress = {"transfer_eps": [0.15], "single_eps": [0.15], "single_images": 20, "single_iterations": 2}
    sections = {"grid": grid, "ablation": variants, "stress": stress}
    beside.snakemake("all", "stress", "--configfile", overlay(tmp_path, **sections))
    root = beside.path / "results/small"
    table = pd.read_csv(root / "metrics/stress.csv")
    counts = table.groupby("attack").size().to_dict()
    # two models; the run's own attack at both eps, by the name of the variant that it is
    assert counts == {"clean": 2, "noise": 2, "own": 4, "square": 2, "transfer": 2, "PGD": 2, "APGD": 2}
    metrics = pd.read_csv(root / "metrics/metrics.csv").sort_values(["ensemble", "eps"])
    own = table[table["attack"] == "own"].sort_values(["ensemble", "eps"])
    assert own["worst_accuracy"].tolist() == metrics["worst_accuracy"].tolist()
    transfer = pd.read_csv(root / "metrics/transfer.csv")
    assert len(transfer) == 2 * 3  # two models under the perturbations of both and of one learner of the bagging
    own_at = metrics[metrics["eps"] == 0.15].set_index("ensemble")["worst_accuracy"]
    diagonal = transfer[transfer["own"]].set_index("ensemble")["accuracy"]
    assert diagonal.to_dict() == pytest.approx(own_at.to_dict(), abs=1e-6)
    assert "voting M=1 λ=0.00" in (root / "tables/stress.md").read_text()
    assert "Is the robustness real?" in (root / "report.html").read_text()
    assert {"transfer.png", "budget.png"} <= {path.name for path in (root / "figures").iterdir()}
    assert not (root / "ablation/own").exists()
