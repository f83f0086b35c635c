"""Runs that earlier versions shipped, as this test writes them, brought into today's form."""

import json
import shutil

import pandas as pd
import pytest
from helpers_runs import finished_run, ship

from jacobian_ensembles.cli.main import main
from jacobian_ensembles.runs.run import Run
from jacobian_ensembles.storage.checksums import write_checksums
from jacobian_ensembles.storage.files import read_json

ORIGIN = {"run": "mine", "seed": "0", "config_sha256": "abc", "commit": "def 012-dirty"}
LINE = ", ".join(f"{name} {value}" for name, value in ORIGIN.items())


def made_old(folder):
    """Turn a shipped run into what version 0.2 would have shipped."""
    records = pd.read_csv(folder / "metrics/records.csv")
    keys = ["dataset", "ensemble", "members", "lambda", "repetition", "eps", "attack_seed", "accuracy"]
    records[keys].assign(**ORIGIN).to_csv(folder / "attack_seeds.csv", index=False)
    for name in ("metrics/records.csv", "SHA256SUMS", "ro-crate-metadata.json"):
        (folder / name).unlink()
    for path in folder.rglob("*.csv"):
        pd.read_csv(path, dtype=str, keep_default_na=False).assign(**ORIGIN).to_csv(path, index=False)
    for path in (folder / "tables").glob("*.md"):
        path.write_text(f"{path.read_text().rstrip()}\n\n*From {LINE}.*\n")
    for path in (folder / "tables").glob("*.tex"):
        path.write_text(f"% {LINE}\n{path.read_text()}")
    write_checksums(sorted((folder / "metrics").glob("*.csv")))


@pytest.fixture
def pair(tmp_path):
    """The same run, as it is shipped today and as it was."""
    root, config = finished_run(tmp_path, "mine", (1, 3))
    shutil.copy(root / "metrics/metrics.csv", root / "metrics/ablation.csv")
    (root / "tables/table1.md").write_text("old\n")
    (root / "tables/notes.md").write_text("a table\n")
    ship(root, tmp_path / "today/mine", config)
    shutil.copytree(tmp_path / "today/mine", tmp_path / "old/mine")
    made_old(tmp_path / "old/mine")
    return tmp_path / "today/mine", tmp_path / "old/mine"


def test_a_converted_run_is_what_would_be_shipped_today(pair):
    today, old = pair
    assert main(["convert", str(old)]) == 0
    for path in today.rglob("*"):
        name = path.relative_to(today)
        if path.is_file() and name.name not in ("SHA256SUMS", "ro-crate-metadata.json", "provenance.json"):
            assert (old / name).read_bytes() == path.read_bytes(), name
    made = read_json(old / "provenance.json")
    assert made.pop("not_recomputable") == ["metrics/ablation.csv"]
    assert made == read_json(today / "provenance.json")
    assert Run.open(old).verify() == Run.open(today).verify()


def test_the_trials_own_seed_stays(tmp_path):
    folder = tmp_path / "recipe"
    (folder / "tables").mkdir(parents=True)
    (folder / "config.yaml").write_text(json.dumps({"run": {"name": "recipe", "banner": ""}, "grid": {"datasets": []}}))
    made = {"jobs": {}, "hours": {}, "last_finished": "", "commit": ["abc"], "package": ["0.1.0"]}
    (folder / "provenance.json").write_text(json.dumps(made))
    (folder / "tables/recipe.csv").write_text("trial,seed,loss\na,7,0.5\n")
    assert main(["convert", str(folder)]) == 0
    assert (folder / "metrics/trials.csv").read_text() == "trial,seed,loss\na,7,0.5\n"
    assert (folder / "tables/recipe.csv").read_text() == "trial,seed,loss\na,7,0.5\n"


def test_an_altered_or_converted_run_is_refused(pair, capsys):
    today, old = pair
    assert main(["convert", str(today)]) == 1
    assert "no shipped run of an earlier version" in capsys.readouterr().err
    table = old / "metrics/metrics.csv"
    table.write_text(table.read_text().replace("0.25", "0.999"))
    assert main(["convert", str(old)]) == 1
    assert "metrics.csv: its checksum does not match" in capsys.readouterr().err
    assert (old / "attack_seeds.csv").exists()
