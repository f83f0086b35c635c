import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from jacobian_ensembles.evaluation.summary import summarize
from jacobian_ensembles.experiment.config import ConfigError, load_config
from jacobian_ensembles.shipping import join_runs, rebuild_run, ship_run
from jacobian_ensembles.storage.checksums import verify_checksum, write_record
from jacobian_ensembles.storage.files import ArtifactError, read_json, write_json

ROOT = Path(__file__).resolve().parents[2]
CELL = {"dataset": "mnist", "ensemble": "voting", "lambda": 0.1, "repetition": 0}


@pytest.fixture
def run(tmp_path):
    """A small finished run: two models, two eps, three attack seeds."""
    return finished_run(tmp_path, "mine", (1, 3))


def finished_run(tmp_path, name, sizes):
    """A small finished run of ensembles of these sizes, and its configuration."""
    root = tmp_path / "results" / name
    rows = []
    for members in sizes:
        for eps in (0.15, 0.2):
            cell = {**CELL, "members": members, "eps": eps}
            write_record(root / f"worst/M{members}/eps{eps}/worst.json", {**cell, "accuracies": [0.5, 0.25, 0.75]})
            rows.append(
                {**cell, "seeds": 3, "images": 100, "clean_accuracy": 0.9, "clean_low": 0.8, "clean_high": 0.95,
                 "worst_accuracy": 0.25, "worst_low": 0.2, "worst_high": 0.3, "std_accuracy": 0.1}
            )  # fmt: skip
    metrics = pd.DataFrame(rows)
    for folder in ("metrics", "tables", "figures"):
        (root / folder).mkdir()
    metrics.to_csv(root / "metrics/metrics.csv", index=False)
    summarize(metrics, 0.5, 0.95).to_csv(root / "metrics/summary.csv", index=False)
    (root / "tables/table1.md").write_text("old")
    (root / "tables/notes.md").write_text("a table that is not made from metrics")
    (root / "tables/table1.tex").write_text("\\begin{table}\n")
    (root / "figures/figure1.pdf").write_bytes(b"%PDF-1.4\n%%EOF\n")
    Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).save(root / "figures/figure1.png", dpi=(200, 200))
    for i, (rule, seconds) in enumerate((("train_learner", 3600), ("train_learner", 1800), ("craft_uaps", 360))):
        write_json(
            root / f"x/{i}.provenance.json",
            {"settings": {"rule": rule}, "wall_seconds": seconds, "commit": "abc", "device": "cpu", "package": "0.1.0",
             "python": "3.11", "platform": "Linux", "versions": {"torch": "2.14.1"},
             "finished": f"2026-01-0{i + 1}T00:00:00+00:00"},
        )  # fmt: skip
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["run"]["name"] = name
    config["grid"] |= {"datasets": ["mnist"], "ensembles": ["voting"], "members": list(sizes), "lambdas": [0.1]}
    config["grid"] |= {"eps": [0.15, 0.2]}
    return root, load_config(config).model_dump(mode="json", by_alias=True, exclude={"compute"})


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
    assert not list((tmp_path / "shipped").rglob("*.safetensors"))


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


@pytest.fixture
def parts(tmp_path):
    """Two shipped runs, of one model each."""
    folders = []
    for members in (3, 1):
        root, config = finished_run(tmp_path, f"M{members}", (members,))
        folders.append(tmp_path / "shipped" / f"M{members}")
        ship_run(root, folders[-1], config)
    return folders


def edit(folder, section, key, value):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config[section][key] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def test_joined_parts_are_what_one_run_of_all_models_ships(run, parts, tmp_path):
    ship_run(*run[:1], tmp_path / "whole", run[1])
    join_runs(parts, joined := tmp_path / "shipped" / "mine")
    assert (joined / "config.yaml").read_text() == (tmp_path / "whole/config.yaml").read_text()
    for name in ("metrics/metrics.csv", "metrics/summary.csv", "attack_seeds.csv"):
        ours, theirs = (pd.read_csv(folder / name) for folder in (joined, tmp_path / "whole"))
        assert ours["run"].tolist() == [f"M{members}" for members in ours["members"]]
        stamps = ["run", "config_sha256"]
        pd.testing.assert_frame_equal(ours.drop(columns=stamps), theirs.drop(columns=stamps))
    verify_checksum(joined / "metrics/summary.csv")
    table = (joined / "tables/table1.md").read_text()
    assert "Run 'mine', worst of 3 attack seeds" in table
    assert "*From run mine, seed 0, config_sha256" in table
    assert (joined / "figures/figure3_tradeoff.pdf").stat().st_size > 1000
    record = read_json(joined / "provenance.json")
    assert record["jobs"] == {"train_learner": 4, "craft_uaps": 2}
    assert record["hours"] == {"train_learner": 3.0, "craft_uaps": 0.2}
    assert {"abc"} <= set(record["commit"])  # and the one that drew it, where there is a repository
    assert record["torch"] == ["2.14.1"]
    assert {path.name for path in joined.parent.iterdir()} == {"M1", "M3", "mine"}


def test_a_joined_run_takes_further_parts(parts, tmp_path):
    whole = tmp_path / "shipped" / "whole"
    join_runs(parts, whole)
    root, config = finished_run(tmp_path, "M9", (9,))
    config["grid"]["lambdas"] = [0.1, 0.5]
    config["grid"]["cells"] = [{"dataset": "mnist", "ensemble": "voting", "members": 9, "lambda": 0.1}]
    ship_run(root, more := tmp_path / "shipped" / "M9", config)
    join_runs([whole, more], whole)
    assert pd.read_csv(whole / "metrics/summary.csv")["members"].tolist() == [1, 3, 9]
    grid = yaml.safe_load((whole / "config.yaml").read_text())["grid"]
    assert (grid["members"], grid["lambdas"]) == ([1, 3, 9], [0.1, 0.5])
    assert [cell["members"] for cell in grid["cells"]] == [1, 3, 9]  # not the whole product: no model at lambda 0.5


def test_parts_with_other_settings_are_refused(parts, tmp_path):
    edit(parts[1], "attack", "seeds", 4)
    with pytest.raises(ConfigError, match=r"M1: attack.seeds is 4, in .*M3 it is 50.*differ in their models only"):
        join_runs(parts, tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


def test_a_model_in_two_parts_is_refused(parts, tmp_path):
    edit(parts[1], "grid", "members", [1, 3])
    with pytest.raises(ConfigError, match=r"mnist voting M=3 lambda=0.1 is in .*M3, too"):
        join_runs(parts, tmp_path / "whole")


@pytest.mark.parametrize(
    ("missing", "message"),
    [("attack_seeds.csv", "not a shipped run of models"), ("metrics/summary.csv", "Was it shipped completely")],
)
def test_an_incomplete_part_is_named_and_what_was_joined_before_stays(parts, tmp_path, missing, message):
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole/kept").touch()
    (parts[1] / missing).unlink()
    with pytest.raises(ArtifactError, match=message):
        join_runs(parts, tmp_path / "whole")
    assert (tmp_path / "whole/kept").exists()


def test_a_damaged_part_is_refused(parts, tmp_path):
    path = parts[0] / "metrics/summary.csv"
    path.write_text(path.read_text().replace("0.25", "0.85"))
    with pytest.raises(ArtifactError, match=r"summary\.csv"):
        join_runs(parts, tmp_path / "whole")


def test_a_single_run_is_drawn_anew_in_its_place(parts, monkeypatch):
    (one, _), before = parts, pd.read_csv(parts[0] / "metrics/metrics.csv")
    settings = (one / "config.yaml").read_text()
    (one / "tables/table1.md").write_text("by an older version")
    monkeypatch.setattr("jacobian_ensembles.shipping.commit", lambda: 10 * "e62f" + "-dirty")
    join_runs([one], one)
    pd.testing.assert_frame_equal(pd.read_csv(one / "metrics/metrics.csv"), before)
    assert (one / "config.yaml").read_text() == settings
    assert "commit abc e62fe62fe62f-dirty" in (one / "tables/table1.md").read_text()
    assert "Run 'M3'" in (one / "tables/table1.md").read_text()


def test_a_run_with_an_ablation_is_refused_even_alone(parts):
    config = yaml.safe_load((parts[0] / "config.yaml").read_text()) | {"ablation": {"default": {}}}
    (parts[0] / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match="an ablation cannot be joined"):
        join_runs(parts[:1], parts[0])


def test_nothing_is_not_joined(tmp_path):
    with pytest.raises(ArtifactError, match="Got none"):
        join_runs([], tmp_path / "whole")
