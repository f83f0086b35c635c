import pandas as pd
import pytest
import yaml
from helpers_runs import finished_run

from jacobian_ensembles.config.schema import ConfigError, load_config
from jacobian_ensembles.runs.join import join_runs
from jacobian_ensembles.runs.ship import ship_run
from jacobian_ensembles.storage.checksums import verify_checksum
from jacobian_ensembles.storage.files import ArtifactError, read_json


@pytest.fixture
def run(tmp_path):
    """A small finished run: two models, two eps, three attack seeds."""
    return finished_run(tmp_path, "mine", (1, 3))


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
    with pytest.raises(
        ConfigError, match=r"M1: attack.seeds is 4, in .*M3 it is 50.*in their models and trainings only"
    ):
        join_runs(parts, tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


def test_a_model_in_two_parts_is_refused(parts, tmp_path):
    edit(parts[1], "grid", "members", [1, 3])
    with pytest.raises(ConfigError, match=r"mnist voting M=3 lambda=0.1 training 0 is in .*M3, too"):
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
    monkeypatch.setattr("jacobian_ensembles.runs.join.commit", lambda: 10 * "e62f" + "-dirty")
    join_runs([one], one)
    pd.testing.assert_frame_equal(pd.read_csv(one / "metrics/metrics.csv"), before)
    assert (one / "config.yaml").read_text() == settings
    assert "commit abc e62fe62fe62f-dirty" in (one / "tables/table1.md").read_text()
    assert "Run 'M3'" in (one / "tables/table1.md").read_text()


def test_a_run_with_trials_is_refused_even_alone(parts):
    config = yaml.safe_load((parts[0] / "config.yaml").read_text()) | {"trials": {"plain": {}}}
    (parts[0] / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match="trials cannot be joined"):
        join_runs(parts[:1], parts[0])


def shipped(tmp_path, name, sizes=(1,), first=0, ablation=None):
    """A shipped run of one training of some models."""
    root, config = finished_run(tmp_path, name, sizes, first)
    config["ablation"] = ablation or {}
    if ablation:
        metrics = pd.read_csv(root / "metrics/metrics.csv").assign(mean_accuracy=0.5, best_accuracy=0.75)
        both = [metrics.assign(variant=variant) for variant in ablation]
        pd.concat(both).to_csv(root / "metrics/ablation.csv", index=False)
    folder = tmp_path / "shipped" / name
    ship_run(root, folder, config)
    return folder


def test_trainings_of_the_same_models_are_joined_to_repetitions(tmp_path):
    parts = [shipped(tmp_path, f"t{first}", (1, 3), first) for first in (1, 0)]
    join_runs(parts, whole := tmp_path / "shipped" / "whole")
    grid = yaml.safe_load((whole / "config.yaml").read_text())["grid"]
    assert (grid["repetitions"], grid["first_repetition"], grid["cells"]) == (2, 0, None)
    metrics = pd.read_csv(whole / "metrics/metrics.csv")
    assert metrics[["members", "repetition"]].drop_duplicates().to_numpy().tolist() == [[1, 0], [1, 1], [3, 0], [3, 1]]
    assert pd.read_csv(whole / "metrics/summary.csv")["repetitions"].tolist() == [2, 2]


def test_models_may_have_different_numbers_of_trainings(tmp_path):
    join_runs([shipped(tmp_path, "t0", (1, 3)), shipped(tmp_path, "t1", (3,), 1)], whole := tmp_path / "shipped/whole")
    grid = yaml.safe_load((whole / "config.yaml").read_text())["grid"]
    assert [(cell["members"], cell["repetitions"]) for cell in grid["cells"]] == [(1, 1), (3, None)]
    cells = load_config(yaml.safe_load((whole / "config.yaml").read_text())).cells
    assert [(cell.members, cell.repetition) for cell in cells] == [(1, 0), (3, 0), (3, 1)]
    join_runs([whole, shipped(tmp_path, "t1b", (1,), 1)], whole)
    assert yaml.safe_load((whole / "config.yaml").read_text())["grid"]["cells"] is None


def test_a_training_missing_between_others_is_named(tmp_path):
    parts = [shipped(tmp_path, "t0"), shipped(tmp_path, "t2", first=2)]
    with pytest.raises(ConfigError, match=r"mnist voting M=1 lambda=0\.1: training 1 is in no part"):
        join_runs(parts, tmp_path / "whole")


def test_the_same_training_in_two_parts_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"M=1 lambda=0.1 training 0 is in .*a, too"):
        join_runs([shipped(tmp_path, "a"), shipped(tmp_path, "b")], tmp_path / "whole")


def test_attack_variants_of_some_parts_are_kept(tmp_path):
    weak = {"weak": {"iterations": 1}}
    parts = [shipped(tmp_path, "a", (1,), ablation=weak), shipped(tmp_path, "b", (3,))]
    join_runs(parts, whole := tmp_path / "shipped" / "whole")
    assert pd.read_csv(whole / "metrics/ablation.csv")["members"].tolist() == [1, 1]
    assert "| weak | 25.0 (50.0) |" in (whole / "tables/attack_variants.md").read_text()
    assert yaml.safe_load((whole / "config.yaml").read_text())["ablation"]["weak"]["iterations"] == 1


def test_variants_of_one_name_and_other_settings_are_refused(tmp_path):
    parts = [shipped(tmp_path, f"M{m}", (m,), ablation={"weak": {"iterations": m}}) for m in (1, 3)]
    with pytest.raises(ConfigError, match=r"M3: the attack variant weak is not what it is in .*M1"):
        join_runs(parts, tmp_path / "whole")


def test_nothing_is_not_joined(tmp_path):
    with pytest.raises(ArtifactError, match="Got none"):
        join_runs([], tmp_path / "whole")
