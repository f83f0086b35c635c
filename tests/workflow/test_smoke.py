import json
import re
import struct
import subprocess
import sys
import zipfile

import pandas as pd
import pytest

from conftest import ROOT

pytestmark = pytest.mark.workflow


def test_smoke_run_makes_every_figure_and_table(smoke):
    root = smoke.path / "results" / "smoke"
    figures = {p.name for p in (root / "figures").iterdir() if p.suffix in (".pdf", ".png")}
    stems = ("figure1_clean_accuracy", "figure2_robustness", "figure3_tradeoff")
    stems += ("theory", "worst_of_k", "claim_effects")
    assert figures == {f"{stem}.{kind}" for stem in stems for kind in ("pdf", "png")}
    for stem in stems:
        assert (root / "figures" / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
        header = (root / "figures" / f"{stem}.png").read_bytes()[:24]
        assert header.startswith(b"\x89PNG")
        assert min(struct.unpack(">II", header[16:24])) > 400
    tables = {p.name for p in (root / "tables").iterdir()}
    assert {"table1.tex", "table1.csv", "table1.md", "comparison.csv", "comparison.md", "claims.md"} <= tables
    assert "SMOKE TEST" in (root / "tables" / "table1.tex").read_text()


def test_metrics_have_one_row_per_model_and_eps(smoke):
    metrics = pd.read_csv(smoke.path / "results/smoke/metrics/metrics.csv")
    assert len(metrics) == 6
    assert (metrics["seeds"] == 3).all()
    assert (metrics["images"] == 500).all()
    assert (metrics["worst_accuracy"] <= metrics["mean_accuracy"]).all()
    assert (metrics["per_image_worst_accuracy"] <= metrics["worst_accuracy"]).all()
    # 2,000 images and two epochs already beat guessing on clean images
    assert (metrics["clean_accuracy"] > 0.5).all()
    assert (metrics["worst_accuracy"] < metrics["clean_accuracy"]).all()


def test_every_job_left_log_benchmark_and_provenance(smoke):
    root = smoke.path / "results" / "smoke"
    done = 6 + 1 + 6 + 6 + 12 + 6 + 1 + 1 + 4 + 6 + 1 + 1 + 1 + 1 + 2 + 1 + 1 + 1
    assert len(list((root / "benchmarks").rglob("*.tsv"))) == done + 2
    assert len(list((root / "logs").rglob("*.log"))) == done + 2
    records = [json.loads(p.read_text()) for p in root.rglob("*.provenance.json")]
    assert len(records) == done
    assert all(r["settings"]["rule"] and r["wall_seconds"] > 0 and r["versions"]["torch"] for r in records)


def test_the_report_holds_every_figure_and_table(smoke, tmp_path):
    smoke.preset("smoke", "--report", str(tmp_path / "report.zip"))
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        text = "".join(archive.read(name).decode(errors="ignore") for name in archive.namelist())
    for name in ("figure1_clean_accuracy", "figure2_robustness", "figure3_tradeoff", "table1.csv", "comparison.csv"):
        assert name in text
    # a caption that depends on the figure, and the run's banner
    assert "Up and to the right" in text
    assert "SMOKE TEST" in text


def test_a_second_run_does_nothing(smoke):
    assert "Nothing to be done" in smoke.preset("smoke")


def test_a_damaged_checkpoint_is_named_and_costs_nothing_else(smoke, tmp_path):
    import shutil

    from conftest import Repository

    repo = Repository(tmp_path / "copy")
    shutil.copytree(smoke.path / "results", repo.path / "results")
    shutil.copytree(smoke.path / ".snakemake", repo.path / ".snakemake")
    cell = "mnist/voting/M1/lambda0.10/rep0"
    ensemble = repo.path / f"results/smoke/ensembles/{cell}/ensemble.safetensors"
    ensemble.write_bytes(ensemble.read_bytes()[:-100])
    before = {p: p.stat().st_mtime_ns for p in (repo.path / "results/smoke/uaps").rglob("*.safetensors")}
    output = repo.preset("smoke", check=False)
    assert "ensemble.safetensors: its checksum does not match its content" in output
    kept = {p: p.stat().st_mtime_ns for p in before if p.exists()}
    assert {p for p in before if cell not in str(p)} <= {p for p, t in kept.items() if before[p] == t}

    ensemble.unlink()
    repo.preset("smoke")
    assert repo.planned("--configfile", "workflow/presets/smoke.yaml") == {}


def test_the_command_line_gives_the_workflows_own_bytes(smoke, tmp_path):
    settings = ["--config", "config.yaml", "--config", "workflow/presets/smoke.yaml"]

    def command(*args):
        program = [sys.executable, "-c", "import sys; from jacobian_ensembles.cli.main import main; sys.exit(main())"]
        subprocess.run([*program, *args, *settings], cwd=smoke.path, check=True)

    model, uaps = tmp_path / "model.safetensors", tmp_path / "uaps.safetensors"
    command("train", "--dataset", "fashion_mnist", "--members", "1", "-o", str(model))
    command("attack", str(model), "--eps", "0.15", "--seeds", "2", "-o", str(uaps))
    cell = "fashion_mnist/voting/M1/lambda0.00/rep0"
    root = smoke.path / "results/smoke"
    assert model.read_bytes() == (root / f"ensembles/{cell}/ensemble.safetensors").read_bytes()
    assert uaps.read_bytes() == (root / f"uaps/{cell}/eps0.15/seeds0-1.safetensors").read_bytes()


def test_the_page_of_the_run_is_complete(smoke):
    page = (smoke.path / "results/smoke/report.html").read_text()
    assert "SMOKE TEST, numbers without meaning" in page
    for text in ("not checked in this run", "not drawn in this run"):
        assert text not in page
    for rule in ("download_dataset", "train_learner", "train_together", "craft_uaps", "evaluate_ensemble"):
        assert f'<th scope="row">{rule}</th>' in page
    # every model's worst perturbation, in small
    assert page.count('<img loading="lazy"') == 6


def test_the_documented_attack_on_a_model_of_ones_own_runs(smoke):
    script = ROOT / "docs" / "examples" / "my_model.py"
    done = subprocess.run([sys.executable, str(script)], cwd=smoke.path, capture_output=True, text=True, check=True)
    clean, worst = re.search(r"clean ([\d.]+)%, worst of 5 perturbations ([\d.]+)%", done.stdout).groups()
    assert float(clean) > 88
    assert float(worst) < 40
