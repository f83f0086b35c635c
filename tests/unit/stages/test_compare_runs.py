"""Folders of finished and shipped runs beside one another."""

import base64
import re

import pandas as pd
import pytest
from helpers_runs import describe, finished_run, ship

from jacobian_ensembles.cli.main import main
from jacobian_ensembles.runs.provenance import training_seconds
from jacobian_ensembles.stages.compare_runs import FILES, compare_runs, load_compared
from jacobian_ensembles.storage.files import ArtifactError, read_json, write_json

UNIVERSAL = {"objective": "universal", "options": {"step": 1.0, "jacobian": 0.05}}


def job(seconds, rule="train_learner", lam="0.10", ensemble="voting", **wildcards):
    return {"settings": {"rule": rule, "lambda_jr": lam, "ensemble": ensemble, **wildcards}, "wall_seconds": seconds}


@pytest.fixture
def runs(tmp_path):
    """A finished run with another objective, and a shipped one."""
    root, config = finished_run(tmp_path, "mine", (1, 3))
    record = read_json(root / "x/0.provenance.json")
    write_json(root / "learners/a.provenance.json", record | job(30, member="0"))
    config["training"] |= UNIVERSAL
    config["attack"]["clip"] = True
    config["run"]["banner"] = "few seeds"
    describe(root, config)
    other, config = finished_run(tmp_path, "theirs", (1, 3))
    config["run"]["banner"] = "few seeds"
    write_json(other / "learners/a.provenance.json", record | job(20, lam="0.00", member="0"))
    write_json(other / "learners/b.provenance.json", record | job(90, "train_together", members="3"))
    ship(other, tmp_path / "shipped" / "theirs", config)
    return tmp_path / "shipped" / "theirs", root


def test_seconds_are_of_one_learner_by_method_and_strength():
    records = [
        job(10, member="0"), job(20, member="1"), job(90, "train_together", ensemble="own.py:fast", members="3"),
        job(5, lam="0.00", member="0"), {"settings": {"rule": "craft_uaps"}, "wall_seconds": 7},
    ]  # fmt: skip
    assert training_seconds(records) == {"fast": {"0.10": 30.0}, "voting": {"0.00": 5.0, "0.10": 15.0}}


def test_a_finished_and_a_shipped_run_tell_the_same_of_themselves(runs):
    shipped, finished = map(load_compared, runs)
    assert (shipped.name, shipped.objective) == ("theirs", "jacobian")
    assert shipped.seconds == {("voting", 0.0): 20.0, ("voting", 0.1): 30.0}
    assert (finished.name, finished.objective, finished.seconds) == (
        "mine",
        "universal (jacobian 0.05)",
        {("voting", 0.1): 30.0},
    )
    pd.testing.assert_frame_equal(shipped.records, finished.records)
    assert (shipped.banner, finished.banner) == ("few seeds", "few seeds")
    assert shipped.attack["clip"] is False
    assert finished.attack["clip"] is True


def test_the_command_writes_the_figure_the_tables_and_a_page_that_needs_nothing_else(
    runs, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # no config.yaml there
    assert main(["compare", *map(str, runs), "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "comparison.html")
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(FILES)
    models = pd.read_csv(tmp_path / "out" / "models.csv").set_index(["run", "members"])
    assert models.loc[("mine", 1), "mean_uap_accuracy"] == pytest.approx(0.25)  # the worst of 0.5, 0.25 and 0.75
    assert models.loc[("mine", 1), "cost"] == pytest.approx(1.5)
    page = (tmp_path / "out" / "comparison.html").read_text()
    (png,) = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert base64.b64decode(png) == (tmp_path / "out" / "tradeoff.png").read_bytes()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "mine was attacked otherwise than theirs (" in page
    assert "<td>universal (jacobian 0.05)</td>" in page
    assert page.count("<tr>") == 1 + 4  # two runs, two sizes


def test_the_same_runs_give_the_same_bytes(runs, tmp_path):
    for name in ("a", "b"):
        compare_runs(runs, tmp_path / name)
    for file in FILES:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_folder_without_a_run_is_refused(runs, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match=r"empty: no finished or shipped run; there is no config\.yaml"):
        load_compared(tmp_path / "empty")
    (runs[1] / "metrics/records.csv").unlink()
    assert main(["compare", *map(str, runs), "-o", str(tmp_path / "out")]) == 1
    assert "records.csv: there is no such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_shipped_run_of_before_objectives_is_read(runs):
    config = runs[0] / "config.yaml"
    text = re.sub(r"(?m)^  (objective: jacobian|options: \{\}|loss: .*|norm: .*)\n", "", config.read_text())
    config.write_text(text)
    made = read_json(runs[0] / "provenance.json")
    made.pop("training_seconds")
    write_json(runs[0] / "provenance.json", made)
    run = load_compared(runs[0])
    assert (run.objective, run.seconds, run.attack["loss"]) == ("jacobian", {}, "cross_entropy")
