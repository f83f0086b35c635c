import copy
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from jacobian_ensembles.config.schema import Attack, Config, ConfigError, load_config

ROOT = Path(__file__).resolve().parents[3]
MINIMAL = {
    "run": {"name": "test"},
    "grid": {
        "datasets": ["mnist"],
        "ensembles": ["bagging", "snapshot"],
        "members": [1, 3],
        "lambdas": [0, 0.1],
        "eps": [0.15, 0.2],
    },
}


def changed(**sections):
    raw = copy.deepcopy(MINIMAL)
    for section, values in sections.items():
        raw.setdefault(section, {}).update(values)
    return raw


def cell(dataset="mnist", ensemble="bagging", members=1, lam=0):
    return {"dataset": dataset, "ensemble": ensemble, "members": members, "lambda": lam}


def test_cells_are_the_product_in_grid_order():
    cells = [(c.ensemble, c.members, c.lambda_jr) for c in load_config(MINIMAL).cells]
    assert cells == [(e, m, lam) for e in ("bagging", "snapshot") for m in (1, 3) for lam in (0, 0.1)]


def test_listed_cells_restrict_the_product():
    config = load_config(changed(grid={"cells": [cell("mnist", "snapshot", 3, "1e-1"), cell()]}))
    assert [(c.ensemble, c.members, c.lambda_jr) for c in config.cells] == [("bagging", 1, 0), ("snapshot", 3, 0.1)]


def test_every_model_is_trained_as_often_as_asked():
    config = load_config(changed(grid={"cells": [cell("mnist", "snapshot", 3, 0.1), cell()], "repetitions": 2}))
    got = [(c.ensemble, c.members, c.repetition) for c in config.cells]
    assert got == [("bagging", 1, 0), ("bagging", 1, 1), ("snapshot", 3, 0), ("snapshot", 3, 1)]


def test_a_part_of_a_longer_run_has_later_trainings():
    config = load_config(changed(grid={"repetitions": 2, "first_repetition": 3}))
    assert [c.repetition for c in config.cells[:4]] == [3, 4, 3, 4]
    assert config.repetitions == 2


def test_a_listed_cell_may_be_trained_more_often_than_the_rest():
    config = load_config(changed(grid={"cells": [{**cell("mnist", "snapshot", 3, 0.1), "repetitions": 3}, cell()]}))
    assert [(c.members, c.repetition) for c in config.cells] == [(1, 0), (3, 0), (3, 1), (3, 2)]
    assert config.repetitions == 3


def test_trials_and_attack_variants_say_only_what_differs():
    config = load_config(
        changed(
            training={"epochs": 3, "optimizer": "sgd"},
            attack={"clip": True},
            model={},
            trials={"long": {"training": {"epochs": 9}}, "same": {}, "relu": {"model": {"activation": "relu"}}},
            ablation={"free": {"clip": False}, "default": {}},
        )
    )
    assert (config.trials["long"].training.epochs, config.trials["long"].training.optimizer) == (9, "sgd")
    assert config.trials["same"].training == config.training
    assert (config.trials["relu"].model.activation, config.model.activation) == ("relu", "tanh")
    assert config.ablation["default"].recipe() == config.attack.recipe()
    assert not config.ablation["free"].clip


@pytest.mark.parametrize(
    ("raw", "start"),
    [
        ({"trials": {"x": {"training": {"epoch": 9}}}}, "trials.x.training.epoch: unknown key; did you mean 'epochs'?"),
        ({"trials": {"x": {"trainin": {}}}}, "trials.x.trainin: unknown key; did you mean 'training'?"),
        ({"ablation": {"x": {"clipp": True}}}, "ablation.x.clipp: unknown key; did you mean 'clip'?"),
        ({"ablation": {"x": 3}}, "ablation.x: got 3"),
        ({"trials": {"A b": {}}}, "trials.A b"),
    ],
)
def test_a_mistake_in_a_variant_is_named_where_it_is(raw, start):
    (line,) = problems(changed(training={}, attack={}, model={}, **raw))
    assert line.startswith(start)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (changed(grid={"lamdas": [0]}), "grid.lamdas: unknown key; did you mean 'lambdas'?"),
        (changed(trainning={}), "trainning: unknown key; did you mean 'training'?"),
        (changed(attack={"step_rul": "decay"}), "attack.step_rul: unknown key; did you mean 'step_rule'?"),
        (changed(grid={"cells": [{**cell(), "epz": 1}]}), "grid.cells.0.epz: unknown key"),
        (changed(grid={"lambdas": [0, 0.1, 0.1]}), "duplicate values 0.1"),
        (changed(grid={"lambdas": [0, 0.1, "1e-1"]}), "duplicate values 0.1"),
        (changed(grid={"members": [0]}), "grid.members.0: got 0"),
        (changed(grid={"members": [1.5]}), "grid.members.0: got 1.5"),
        (changed(grid={"members": [True]}), "grid.members.0: got True"),
        (changed(grid={"eps": [0, 0.15]}), "grid.eps.0: got 0"),
        (changed(grid={"eps": [0.15, 1.5]}), "grid.eps.1: got 1.5"),
        (changed(grid={"eps": [0.15, float("nan")]}), "grid.eps.1: got nan"),
        (changed(grid={"lambdas": [-1]}), "grid.lambdas.0: got -1"),
        (changed(grid={"lambdas": []}), "the list is empty"),
        (changed(grid={"datasets": ["cifar10"]}), "grid.datasets.0: got 'cifar10'"),
        (changed(grid={"cells": [cell(members=9)]}), "got mnist bagging M=9 lambda=0, which is not in the product"),
        (changed(training={"snapshot_epochs": 10}), "training.snapshot_epochs: got 10, which does not divide into 3"),
        (changed(figures={"eps": 0.3}), "figures.eps: got 0.3"),
        (changed(run={"name": "../elsewhere"}), "run.name: got '../elsewhere'"),
        (changed(run={"name": "data"}), "run.name: got 'data'"),
        ({"run": {"name": "test"}}, "grid: this key is missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_says_where_what_was_got_and_what_is_allowed(raw, message):
    with pytest.raises(ConfigError) as error:
        load_config(raw)
    assert message in str(error.value)
    assert "pydantic" not in str(error.value)


def test_every_problem_is_listed_at_once():
    with pytest.raises(ConfigError) as error:
        load_config(changed(grid={"eps": [2]}, training={"epochs": 0}, attack={"init": "ones"}))
    assert all(where in str(error.value) for where in ("grid.eps.0", "training.epochs", "attack.init"))


def test_snapshot_epochs_need_to_divide_only_for_snapshot_models():
    config = load_config(changed(grid={"ensembles": ["bagging"]}, training={"snapshot_epochs": 10}))
    assert config.training.snapshot_epochs == 10


def test_numbers_may_come_as_text_from_the_command_line():
    config = load_config(changed(grid={"members": ["1", "3"], "lambdas": ["0", "1e-3"]}))
    assert config.grid.members == (1, 3)
    assert config.grid.lambdas == (0.0, 0.001)


def test_configuration_is_frozen():
    with pytest.raises(ValidationError):
        load_config(MINIMAL).training.epochs = 3


@pytest.mark.parametrize(
    ("seeds", "per_job", "blocks"),
    [
        (50, 50, [(0, 49)]),
        (60, 50, [(0, 49), (50, 59)]),
        (7, 3, [(0, 2), (3, 5), (6, 6)]),
        (1, 50, [(0, 0)]),
    ],
)
def test_more_seeds_leave_full_blocks_as_they_are(seeds, per_job, blocks):
    assert Attack(seeds=seeds, seeds_per_job=per_job).seed_blocks() == blocks


def sections(model):
    return {name: field.annotation for name, field in model.model_fields.items()}


def test_config_yaml_states_and_documents_every_key():
    text = (ROOT / "config.yaml").read_text()
    raw = yaml.safe_load(text)
    assert set(raw) == set(sections(Config))
    for name, section in sections(Config).items():
        if name not in ("trials", "ablation") and isinstance(raw[name], dict):
            assert set(raw[name]) == set(section.model_fields), name
    for line in text.splitlines():
        key, _, rest = line.strip().partition(":")
        if key.isidentifier() and key not in sections(Config):
            assert "#" in rest, line


def problems(raw):
    with pytest.raises(ConfigError) as error:
        load_config(raw)
    return [line.strip() for line in str(error.value).splitlines()[1:]]


@pytest.mark.parametrize(
    ("raw", "start", "allowed"),
    [
        (changed(bogus={"a": 1}), "bogus: unknown key", "Allowed here: run, seed, grid, data, model"),
        (changed(training={"epoch": 1}), "training.epoch: unknown key; did you mean 'epochs'?", "snapshot_epochs"),
        (
            changed(grid={"cells": [{**cell(), "lamda": 1}]}),
            "grid.cells.0.lamda: unknown key",
            "members, lambda, repetitions.",
        ),
        (changed(grid={"members": [0]}), "grid.members.0: got 0", "greater than or equal to 1"),
        (changed(grid={"eps": [0, 0.15]}), "grid.eps.0: got 0", "greater than 0"),
        (changed(grid={"eps": [0.15, 1.5]}), "grid.eps.1: got 1.5", "less than or equal to 1"),
        (
            changed(grid={"ensembles": ["stacking"]}),
            "grid.ensembles.0: got 'stacking'",
            "bagging, snapshot, voting, or path/to/file.py:object",
        ),
        (changed(training={"snapshot_epochs": 10}), "training.snapshot_epochs: got 10", "a multiple of every entry"),
        (changed(figures={"eps": 0.3}), "figures.eps: got 0.3", "0.15, 0.2"),
        (changed(run={"name": "a/b"}), "run.name: got 'a/b'", "A-Za-z0-9"),
        ({"grid": MINIMAL["grid"]}, "run: this key is missing", ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_mistake_is_one_line_that_starts_with_its_key(raw, start, allowed):
    (line,) = problems(raw)
    assert line.startswith(start)
    assert allowed in line


@pytest.mark.parametrize("key", ["datasets", "ensembles", "members", "lambdas", "eps", "cells"])
def test_an_empty_list_is_refused_by_its_key(key):
    (line,) = problems(changed(grid={key: []}))
    assert line.startswith(f"grid.{key}: the list is empty")


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (changed(grid={"lambdas": [0, 0.1, "1e-1"]}), "grid.lambdas"),
        (changed(grid={"eps": [0.15, "0.15"]}), "grid.eps"),
        (changed(grid={"members": [1, "1"]}), "grid.members"),
        (changed(grid={"cells": [cell(members=9)]}), "grid.cells"),
        (changed(grid={"cells": [cell(), {**cell(), "repetitions": 2}]}), "grid.cells"),
        (changed(run={"name": "data"}), "run.name"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_found_late_starts_with_its_key_too(raw, key):
    (line,) = problems(raw)
    assert line.startswith(f"{key}: ")


def test_problems_between_sections_are_all_listed():
    lines = problems(changed(training={"snapshot_epochs": 10}, figures={"eps": 0.3}))
    assert [line.partition(":")[0] for line in lines] == ["training.snapshot_epochs", "figures.eps"]


@pytest.mark.parametrize("key", ["lambdas", "eps"])
def test_true_is_no_number(key):
    (line,) = problems(changed(grid={key: [True, 0.15]}))
    assert line.startswith(f"grid.{key}.0: got True")


def test_snapshot_epochs_need_to_divide_only_for_listed_cells():
    raw = changed(grid={"cells": [cell(), cell(ensemble="snapshot")]}, training={"snapshot_epochs": 10})
    assert [c.members for c in load_config(raw).cells] == [1, 1]


def test_the_documented_values_are_the_defaults():
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert load_config({"run": raw["run"], "grid": raw["grid"]}) == load_config(raw)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"ablation": {"weak": {"eps": [0.15, 0.7]}}}, "ablation.weak.eps: got 0.7; give some of grid.eps"),
        ({"ablation": {"weak": {"eps": []}}}, "ablation.weak.eps: the list is empty"),
        ({"stress": {"transfer_eps": [0.7]}}, "stress.transfer_eps: got 0.7; give some of grid.eps"),
        ({"stress": {"single_eps": [0.7]}}, "stress.single_eps: got 0.7; give some of grid.eps"),
        ({"stress": {"single_image": 3}}, "did you mean 'single_images'"),
    ],
)
def test_what_is_tried_at_some_eps_only_is_tried_at_those_of_the_run(sections, message):
    with pytest.raises(ConfigError, match=message):
        load_config(changed(**sections))
    at_some = load_config(changed(ablation={"weak": {"eps": [0.15]}, "all": {}}, stress={"transfer_eps": [0.15]}))
    assert (at_some.ablation["weak"].eps, at_some.ablation["all"].eps) == ((0.15,), None)
    assert at_some.stress.asked
    assert not load_config(changed()).stress.asked


@pytest.mark.parametrize("banner", ["=1+1", "@SUM(A1)", "+ 5 points", " -x", "\uff1d1"])
def test_a_banner_that_a_spreadsheet_would_run_is_refused(banner):
    raw = changed()
    raw["run"]["banner"] = banner
    with pytest.raises(ConfigError, match=r"run\.banner.*spreadsheet would run as a formula"):
        load_config(raw)


def test_a_banner_is_one_line():
    raw = changed()
    raw["run"]["banner"] = "QUICK RUN,\n  not the paper's\n"
    assert load_config(raw).banner == "QUICK RUN, not the paper's"


@pytest.mark.parametrize(
    ("banner", "objective", "told"),
    [
        ("", "jacobian", ""),
        ("QUICK", "jacobian", "QUICK"),
        ("", "noise", "learners minimise 'noise' at strength λ, not the paper's"),
        ("QUICK", "noise", "QUICK; learners minimise 'noise' at strength λ, not the paper's"),
    ],
)
def test_figures_and_tables_are_to_say_that_another_objective_was_minimised(banner, objective, told):
    raw = changed(training={"objective": objective})
    raw["run"]["banner"] = banner
    assert load_config(raw).banner == told
