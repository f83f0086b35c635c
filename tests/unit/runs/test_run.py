import numpy as np
import pandas as pd
import pytest
import yaml
from helpers_runs import CELL, describe, finished_run, ship

from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.runs.archive import check_archive
from jacobian_ensembles.runs.run import Run
from jacobian_ensembles.runs.ship import ship_run
from jacobian_ensembles.storage.checksums import sha256, write_record
from jacobian_ensembles.storage.files import ArtifactError, read_json


@pytest.fixture
def places(tmp_path):
    """The same run live, shipped, and as an unpacked archive has it."""
    root, config = finished_run(tmp_path, "mine", (1, 3))
    shipped, unpacked = tmp_path / "results/reference/mine", tmp_path / "unpacked"
    for target in (shipped, unpacked / "run"):
        ship(root, target, config, keep=("bits", "perturbations"))
    return [Run.open(folder) for folder in (root, shipped, unpacked)]


def test_a_run_tells_the_same_live_shipped_and_unpacked(places):
    cell = Cell.model_validate(CELL | {"members": 3})
    for run in places:
        assert run.name == "mine"
        assert len(run.table("records")) == 2 * 2 * 3
        assert run.cells == [Cell.model_validate(CELL | {"members": m}) for m in (1, 3)]
        assert run.made["jobs"] == {"train_learner": 2, "craft_uaps": 1}
        assert run.correct(cell, 0.2).sum() == 50
        assert np.unique(run.perturbation(cell, 0.15)) == pytest.approx([0.15])
        assert run.perturbation(cell).shape == (2, 1, 28, 28)
        assert (run.attack["step"], run.attack["method"], run.objective, run.banner) == (0.8, "sgd", "jacobian", "")
    assert [run.shipped for run in places] == [False, True, True]


def test_what_only_a_live_run_has_is_asked_for_in_plain_words(places):
    cell = Cell.model_validate(CELL | {"members": 3})
    live, shipped, _ = places
    predicted, labels = live.predictions(cell)
    assert (predicted != labels).sum() == 30
    with pytest.raises(ArtifactError, match="part of a live run only"):
        shipped.predictions(cell)
    with pytest.raises(ArtifactError, match=r"shipped without its models \(run.keep\)"):
        shipped.model(cell)
    with pytest.raises(ArtifactError, match="no SHA256SUMS, so not a shipped run"):
        live.verify()


def test_datasets_are_found_beside_runs_and_above_shipped_ones(places, tmp_path):
    with pytest.raises(ArtifactError, match="its dataset mnist is not here"):
        places[1].dataset("mnist")
    (tmp_path / "results/data").mkdir()
    (tmp_path / "results/data/mnist.safetensors").touch()
    assert places[0].dataset("mnist") == places[1].dataset("mnist")


def test_the_files_of_whoever_made_a_run_are_not_needed(places):
    path = places[1].folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"]["architecture"] = "gone/my_net.py:net"
    config["training"]["objective"] = "gone/mine.py:Mine"
    config["training"]["options"] = {"a": 1}
    path.write_text(yaml.safe_dump(config))
    run = Run.open(places[1].folder)
    assert run.objective == "Mine (a 1)"
    assert "learners minimise 'Mine' at strength λ" in run.banner
    settings = {"objective": "Mine", "eps": 0.15, "confidence": 0.95, "clean_weight": 0.5, "clip": False}
    assert run.settings == settings


@pytest.mark.parametrize(
    ("goal", "label"),
    [
        ({"objective": "jacobian", "options": {}}, "jacobian"),
        ({"objective": "universal", "options": {"step": 1.0, "jacobian": 0.05}}, "universal (jacobian 0.05)"),
        ({"objective": "adversarial", "options": {"steps": 3, "step": None}}, "adversarial"),
        (
            {"objective": "decorrelated", "options": {"of": "loss", "correlation": 10.0}},
            "decorrelated (correlation 10, of loss)",
        ),
        ({}, "jacobian"),
    ],
)
def test_an_objective_is_called_by_its_name_and_what_is_not_its_default(tmp_path, goal, label):
    run = Run(tmp_path)
    run.__dict__["config"] = {"run": {"name": "x"}, "training": goal}
    assert run.objective == label


def test_what_can_be_drawn_is_what_the_tables_are_there_for(places):
    names = {item.name for item in places[0].items}
    assert {"figure1_clean_accuracy", "table1", "worst_of_k"} <= names
    assert not {"theory", "ablation", "stress", "recipe", "spread"} & names
    summary = pd.read_csv(places[0].path("summary")).assign(repetitions=2)
    summary.to_csv(places[0].path("summary"), index=False)
    (places[0].folder / "metrics/SHA256SUMS").unlink()
    assert "spread" in {item.name for item in places[0].items}


def test_provenance_adds_up(places):
    record = read_json(places[1].folder / "provenance.json")
    assert record["hours"] == {"train_learner": 1.5, "craft_uaps": 0.1}
    assert (record["commit"], record["torch"]) == (["abc"], ["2.14.1"])
    assert (record["first_finished"][:10], record["last_finished"][:10]) == ("2026-01-01", "2026-01-03")


def test_names_that_a_spreadsheet_would_run_are_refused(tmp_path):
    root, config = finished_run(tmp_path, "mine", (1,))
    path = root / "metrics/summary.csv"
    (root / "metrics/SHA256SUMS").unlink()
    path.write_text(path.read_text().replace("voting", '"=HYPERLINK(""a"")"'))
    with pytest.raises(ArtifactError, match=r"summary\.csv: .* a spreadsheet would run"):
        Run.open(root).table("summary")
    config["run"]["banner"] = "@SUM(A1)"
    describe(root, config)
    with pytest.raises(ArtifactError, match=r"config\.yaml: .* a spreadsheet would run"):
        _ = Run.open(root).banner


def test_a_live_run_is_verified_by_the_provenance_of_its_jobs(tmp_path):
    root, _ = finished_run(tmp_path, "mine", (1,))
    with pytest.raises(ArtifactError, match="an earlier version made it"):
        check_archive(root)
    table = root / "metrics/summary.csv"
    write_record(root / "metrics/metrics.provenance.json", {"outputs": {"summary.csv": sha256(table)}})
    assert check_archive(root) == 1
    table.write_text(table.read_text() + " ")
    with pytest.raises(ArtifactError, match=r"summary\.csv: missing, or not what its job left"):
        check_archive(root)
    (root / "metrics/SHA256SUMS").unlink()
    with pytest.raises(ArtifactError, match=r"summary\.csv: its checksum"):  # nor is it shipped
        ship_run(root, tmp_path / "mine")
