import hashlib
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers_runs import finished_run
from PIL import Image

from jacobian_ensembles.runs.ship import rebuild_run, ship_run
from jacobian_ensembles.storage.files import ArtifactError, read_json


@pytest.fixture
def run(tmp_path):
    """A small finished run: two models, two eps, three attack seeds."""
    return finished_run(tmp_path, "mine", (1, 3))


def test_a_shipped_run_says_what_made_it_and_keeps_every_attack_seed(run, tmp_path):
    root, config = run
    ship_run(root, tmp_path / "shipped", config)
    record = read_json(tmp_path / "shipped/provenance.json")
    assert record["jobs"] == {"train_learner": 2, "craft_uaps": 1}
    assert record["hours"] == {"train_learner": 1.5, "craft_uaps": 0.1}
    assert (record["commit"], record["torch"]) == (["abc"], ["2.14.1"])
    assert (record["first_finished"][:10], record["last_finished"][:10]) == ("2026-01-01", "2026-01-03")
    seeds = pd.read_csv(tmp_path / "shipped/attack_seeds.csv")
    assert len(seeds) == 2 * 2 * 3
    assert seeds.groupby("attack_seed")["accuracy"].first().tolist() == [0.5, 0.25, 0.75]
    assert yaml.safe_load((tmp_path / "shipped/config.yaml").read_text()) == config
    assert [path.name for path in (tmp_path / "shipped").rglob("*.safetensors")] == ["mnist.safetensors"]  # the bits


def test_every_shipped_file_names_its_run_seed_configuration_and_commit(run, tmp_path):
    root, config = run
    ship_run(root, shipped := tmp_path / "shipped", config)
    sha = hashlib.sha256((shipped / "config.yaml").read_bytes()).hexdigest()[:12]
    line = f"run mine, seed 0, config_sha256 {sha}, commit abc"
    for path in (*shipped.rglob("*.csv"),):
        assert {"run", "seed", "config_sha256", "commit"} <= set(pd.read_csv(path).columns), path
    assert line in (shipped / "tables/table1.md").read_text()
    assert (shipped / "tables/table1.tex").read_text() == f"% {line}\n\\begin{{table}}\n"
    assert (shipped / "figures/figure1.pdf").read_bytes() == f"%PDF-1.4\n%%EOF\n% {line}\n".encode()
    with Image.open(shipped / "figures/figure1.png") as image, Image.open(root / "figures/figure1.png") as before:
        assert image.info["Description"] == line
        assert image.info["dpi"] == before.info["dpi"]
        np.testing.assert_array_equal(np.asarray(image), np.asarray(before))


def test_a_shipped_run_is_redrawn_from_its_metrics(run, tmp_path):
    root, config = run
    ship_run(root, tmp_path / "shipped", config)
    rebuild_run(tmp_path / "shipped", tmp_path / "new")
    figures = {p.name for p in (tmp_path / "new/figures").iterdir()}
    assert {"figure1_clean_accuracy.png", "figure2_robustness.pdf", "figure3_tradeoff.png"} <= figures
    table = (tmp_path / "new/tables/table1.md").read_text()
    assert "Run 'mine', worst of 3 attack seeds" in table
    assert "| 90.0 | 25.0 | 57.5 |" in table
    assert (tmp_path / "new/tables/notes.md").read_text().startswith("a table that is not made from metrics")
    for name in ("metrics", "summary"):  # as they were, without where they are from
        pd.testing.assert_frame_equal(*(pd.read_csv(r / f"metrics/{name}.csv") for r in (tmp_path / "new", root)))


def test_an_unfinished_run_is_not_shipped(tmp_path):
    with pytest.raises(ArtifactError, match="no finished run"):
        ship_run(tmp_path, tmp_path / "shipped", {})
    assert not (tmp_path / "shipped").exists()


def test_an_incomplete_shipment_is_named(run, tmp_path):
    root, config = run
    ship_run(root, tmp_path / "shipped", config)
    shutil.rmtree(tmp_path / "shipped/metrics")
    with pytest.raises(ArtifactError, match="Was it shipped completely"):
        rebuild_run(tmp_path / "shipped", tmp_path / "new")
