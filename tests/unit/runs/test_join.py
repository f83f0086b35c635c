import shutil

import pandas as pd
import pytest
import yaml
from helpers_runs import finished_run, ship

from jacobian_ensembles.config.schema import ConfigError, load_config
from jacobian_ensembles.runs import join
from jacobian_ensembles.runs.run import Run
from jacobian_ensembles.runs.ship import seal
from jacobian_ensembles.stages.aggregate_ablation import aggregate_ablation
from jacobian_ensembles.stages.measure_image_error import image_error_of_bits
from jacobian_ensembles.storage.files import ArtifactError, read_json, write_json


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
        ship(root, folders[-1], config)
    return folders


def join_runs(parts, target):
    """Join, without drawing: the workflow's tests draw."""
    join.join_runs(parts, target, draw=lambda folder: None)


def edit(folder, section, key, value):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config[section][key] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    seal(folder)


def test_joined_parts_are_what_one_run_of_all_models_ships(run, parts, tmp_path):
    ship(run[0], tmp_path / "whole", run[1])
    join_runs(parts, joined := tmp_path / "shipped" / "mine")
    for name in ("config.yaml", "metrics/records.csv", "metrics/metrics.csv", "metrics/summary.csv"):
        assert (joined / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    for name in ("metrics/worst_of_k.csv", "bits/mnist.safetensors"):
        assert (joined / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    image_error_of_bits([joined / "bits/mnist.safetensors"], tmp_path / "images.csv")  # which pairs all models
    assert (joined / "metrics/image_error.csv").read_bytes() == (tmp_path / "images.csv").read_bytes()
    assert Run.open(joined).verify() == 9
    record = read_json(joined / "provenance.json")
    assert record["jobs"] == {"train_learner": 4, "craft_uaps": 2}
    assert record["hours"] == {"train_learner": 3.0, "craft_uaps": 0.2}
    assert record["commit"] == ["abc"]
    assert record["torch"] == ["2.14.1"]
    assert {path.name for path in joined.parent.iterdir()} == {"M1", "M3", "mine"}


def test_a_joined_run_takes_further_parts(parts, tmp_path):
    whole = tmp_path / "shipped" / "whole"
    join_runs(parts, whole)
    root, config = finished_run(tmp_path, "M9", (9,))
    config["grid"]["lambdas"] = [0.1, 0.5]
    config["grid"]["cells"] = [{"dataset": "mnist", "ensemble": "voting", "members": 9, "lambda": 0.1}]
    ship(root, more := tmp_path / "shipped" / "M9", config)
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


def test_an_incomplete_part_is_named_and_what_was_joined_before_stays(parts, tmp_path):
    join_runs(parts, whole := tmp_path / "whole")
    before = (whole / "SHA256SUMS").read_text()
    (parts[1] / "metrics/records.csv").unlink()
    with pytest.raises(ArtifactError, match=r"M1/metrics/records\.csv: missing, while SHA256SUMS names it"):
        join_runs(parts, whole)
    seal(parts[1])
    with pytest.raises(ArtifactError, match="Was it shipped completely"):
        join_runs(parts, whole)
    assert (whole / "SHA256SUMS").read_text() == before


def test_nothing_but_a_shipped_run_is_replaced_and_that_is_said_before_any_work(parts, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter1.tex").write_text("five years")
    for target in (tmp_path / "thesis", tmp_path / "shipped", tmp_path / "results/M1"):
        with pytest.raises(ArtifactError, match=r"not part of a shipped run|it holds"):
            join.join_runs(parts, target, draw=pytest.fail)
    assert (tmp_path / "thesis/chapter1.tex").read_text() == "five years"


def test_a_damaged_part_is_refused(parts, tmp_path):
    path = parts[0] / "metrics/summary.csv"
    path.write_text(path.read_text().replace("0.25", "0.85"))
    with pytest.raises(ArtifactError, match=r"summary\.csv"):
        join_runs(parts, tmp_path / "whole")


def test_a_single_run_is_drawn_anew_in_its_place(parts):
    (one, _) = parts
    before = {path.relative_to(one): path.read_bytes() for path in one.rglob("*.*") if "ro-crate" not in path.name}

    def draw(folder):
        (folder / "tables/table1.md").write_text("by this version")

    join.join_runs([one], one, draw)
    for path, content in before.items():
        if path.name not in ("table1.md", "SHA256SUMS"):
            assert (one / path).read_bytes() == content, path
    assert (one / "tables/table1.md").read_text() == "by this version"
    Run.open(one).verify()


def test_a_run_with_trials_is_refused_beside_others(parts):
    config = yaml.safe_load((parts[0] / "config.yaml").read_text()) | {"trials": {"plain": {}}}
    (parts[0] / "config.yaml").write_text(yaml.safe_dump(config))
    seal(parts[0])
    with pytest.raises(ConfigError, match="trials cannot be joined"):
        join_runs(parts, parts[0])


def shipped(tmp_path, name, sizes=(1,), first=0, ablation=None):
    """A shipped run of one training of some models."""
    root, config = finished_run(tmp_path, name, sizes, first)
    config["ablation"] = ablation or {}
    for variant in ablation or ():
        shutil.copy(root / "metrics/records.csv", root / f"metrics/records_{variant}.csv")
    if ablation:
        tried = {variant: root / f"metrics/records_{variant}.csv" for variant in ablation}
        aggregate_ablation(tried, root / "metrics/ablation.csv", 0.95)
    folder = tmp_path / "shipped" / name
    ship(root, folder, config)
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


@pytest.mark.parametrize("recomputable", [True, False])
def test_attack_variants_of_some_parts_are_kept(tmp_path, recomputable):
    weak = {"weak": {"iterations": 1}}
    parts = [shipped(tmp_path, name, (m,), ablation=weak) for name, m in (("a", 3), ("c", 1))]
    parts.append(shipped(tmp_path, "b", (6,)))
    if not recomputable:  # as earlier versions shipped it
        (parts[0] / "metrics/records_weak.csv").unlink()
        made = read_json(parts[0] / "provenance.json") | {"not_recomputable": ["metrics/ablation.csv"]}
        write_json(parts[0] / "provenance.json", made)
        seal(parts[0])
    join_runs(parts, whole := tmp_path / "shipped" / "whole")
    table = pd.read_csv(whole / "metrics/ablation.csv")
    assert table["members"].tolist() == [1, 1, 3, 3]
    assert table["worst_accuracy"].tolist() == [0.25] * 4
    assert (whole / "metrics/records_weak.csv").exists() == recomputable
    assert ("not_recomputable" in read_json(whole / "provenance.json")) != recomputable
    assert yaml.safe_load((whole / "config.yaml").read_text())["ablation"]["weak"]["iterations"] == 1


def test_variants_of_one_name_and_other_settings_are_refused(tmp_path):
    parts = [shipped(tmp_path, f"M{m}", (m,), ablation={"weak": {"iterations": m}}) for m in (1, 3)]
    with pytest.raises(ConfigError, match=r"M3: the attack variant weak is not what it is in .*M1"):
        join_runs(parts, tmp_path / "whole")


def test_nothing_is_not_joined(tmp_path):
    with pytest.raises(ArtifactError, match="Got none"):
        join_runs([], tmp_path / "whole")
