"""Layers of settings: how they become one configuration, and what is said where they cannot."""

import re
import time
from functools import reduce
from pathlib import Path

import pytest

from jacobian_ensembles.config.reading import Layer, beyond, load_layers, merge, read_config, spoken
from jacobian_ensembles.config.schema import ConfigError, load_config
from jacobian_ensembles.runs.layout import number_token

GRID = {"datasets": ["mnist"], "ensembles": ["voting"], "members": [1], "lambdas": [0], "eps": [0.15]}
BASE = {"run": {"name": "test"}, "grid": GRID}
CELL = {"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": 0}


def layers(*overlays):
    return [Layer(f"{i}.yaml", content, defaults=not i) for i, content in enumerate([BASE, *overlays])]


@pytest.mark.parametrize(
    ("overlays", "message"),
    [
        (
            [{"grid": {"cells": [CELL]}}, {"grid": {"lambdas": [0, 2]}}],
            r"grid.lambdas: 2.0 is in no entry of grid.cells",
        ),
        ([{"grid": {"cells": [CELL]}}, {"grid": {"members": [1, 3, 5]}}], "grid.members: 3, 5"),
        (
            [{"grid": {"cells": [CELL]}}, {"grid": {"datasets": ["mnist", "fashion_mnist"]}}],
            "grid.datasets: fashion_mnist",
        ),
        ([{"grid": {"cells": [CELL]}}, {"grid": {"ensembles": ["voting", "bagging"]}}], "grid.ensembles: bagging"),
    ],
)
def test_a_value_that_cells_leave_out_is_said(overlays, message):
    with pytest.raises(ConfigError, match=message) as error:
        load_layers(layers(*overlays))
    assert "in 2.yaml, grid.cells in 1.yaml)" in str(error.value)


@pytest.mark.parametrize(
    "overlays",
    [
        [],
        [{"grid": {"lambdas": [0, 2]}}, {"grid": {"cells": [CELL]}}],  # a preset chooses among the lists it lies over
        [{"grid": {"cells": [CELL]}}, {"grid": {"lambdas": [0, 2], "cells": None}}],
        [{"grid": {"cells": [CELL]}}, {"grid": {"lambdas": [0, 2], "cells": [CELL, CELL | {"lambda": 2}]}}],
        [{"grid": {"cells": [CELL]}}, {"training": {"epochs": 1}}],
    ],
)
def test_what_is_computed_in_full_is_taken(overlays):
    assert load_layers(layers(*overlays)) == load_config(reduce(merge, overlays, BASE))


def test_in_one_file_it_is_warned_of(caplog):
    load_layers(layers({"grid": {"cells": [CELL], "members": [1, 2]}}))
    assert "grid.members: 2 is in no entry of grid.cells" in caplog.text


def test_the_command_line_lies_over_all_files():
    with pytest.raises(ConfigError, match=r"grid.lambdas: 5.0 is in no entry.*\(grid.lambdas in --config, "):
        load_layers(
            [*layers({"grid": {"cells": [CELL]}}), Layer("--config", spoken({"grid": {"lambdas": ["0", "5"]}}))]
        )


def problem(*found):
    with pytest.raises(ConfigError) as error:
        load_layers(found)
    return str(error.value).splitlines()


BASE_LAYER = Layer("base.yaml", BASE | {"figures": {"eps": 0.15}}, defaults=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": "resnet50"}, "model: .* \\(in my.yaml\\)"),
        ({"lr": 0.1}, "lr: unknown key.* \\(in my.yaml\\)"),
        ({"training": {"epoch": 3}}, "training.epoch: unknown key; did you mean 'epochs'.* \\(in my.yaml\\)"),
        ({"grid": {"eps": [0.2]}}, "figures.eps: got 0.15; .* \\(figures.eps in base.yaml, grid.eps in my.yaml\\)"),
        ({"attack": {"inner_batches": 500}}, "attack.inner_batches: got 500, .* \\(in my.yaml\\)"),
        ({"training": {"objective": "noise", "options": {"a": 1}}}, "training.options: got .* \\(in my.yaml\\)"),
        ({"ablation": {"a.b": {"momentum": 7}}}, "ablation.a.b.momentum: got 7.* \\(in my.yaml\\)"),
        ({5: {}}, "5: .* \\(in my.yaml\\)"),
    ],
)
def test_a_problem_names_the_file_it_is_in(content, message):
    title, line, *rest = problem(BASE_LAYER, Layer("other.yaml", {"seed": 3}), Layer("my.yaml", content))
    assert title == "The configuration cannot be used:"
    assert re.fullmatch(message, line.strip())
    assert not rest


def test_a_file_that_is_read_unasked_comes_with_the_way_to_do_without(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text("defaults:\n  - db: mysql\nname: app\n")
    cell = {"datasets": ["mnist"], "ensembles": ["voting"], "members": [1], "lambdas": [0]}
    with pytest.raises(ConfigError) as error:
        read_config([], [], cell)
    _, first, second, way_out = str(error.value).splitlines()
    assert first.endswith("(in config.yaml)")
    assert second.startswith("  name: unknown key")
    assert way_out == "config.yaml: read because it is in this folder; --config none does without it."
    assert read_config(["none"], [], cell).run.name == "single"
    Path("config.yaml").write_text("- a list\n")
    with pytest.raises(ConfigError, match=r"config.yaml: a configuration is a mapping.*\n.*--config none"):
        read_config([], [], cell)
    with pytest.raises(ConfigError, match=r"seed: got -1\..*\(in --set seed=-1\)$"):
        read_config(["none"], ["seed=-1"], cell)
    with pytest.raises(ConfigError, match=r"--set a=\[: line"):
        read_config(["none"], ["a=["])
    with pytest.raises(ConfigError, match=r"cofnig.yaml: there is no such file in"):
        read_config(["cofnig.yaml"], [])


def said(**sections):
    return load_layers([BASE_LAYER, Layer("--config", spoken(sections))])


@pytest.mark.parametrize("null", ["null", "~", "", "Null", "NULL"])
def test_null_from_snakemakes_command_line_is_null_where_it_may_be(null):
    cells = [{"dataset": "mnist", "ensemble": "voting", "members": "1", "lambda": "0", "repetitions": null}]
    cfg = said(data={"local_dir": null, "train_images": null, "test_images": null}, attack={"loss_cap": null})
    assert (cfg.data.local_dir, cfg.data.train_images, cfg.data.test_images, cfg.attack.loss_cap) == (None,) * 4
    assert said(grid={"cells": cells}).grid.cells[0].repetitions is None
    assert said(grid={"cells": null}).grid.cells is None
    assert said(ablation={"a": {"eps": null, "loss_cap": null}}).ablation["a"].eps is None


@pytest.mark.parametrize("null", ["null", "~"])
@pytest.mark.parametrize(("section", "key"), [("run", "banner"), ("run", "results"), ("model", "architecture")])
def test_null_where_a_text_must_be_is_refused_with_the_way_out(null, section, key):
    _, line = problem(BASE_LAYER, Layer("--config", spoken({section: {key: null}})))
    assert line.startswith(f"  {section}.{key}: got {null}, and it cannot be none; a text '{null}' must come")
    assert line.endswith("(in --config)")


def test_text_from_snakemakes_command_line_is_what_yaml_would_have_read(tmp_path):
    (tmp_path / "arch.py").write_text("def net(shape, classes, **options): ...")
    spoken_options = {
        "a": "3",
        "b": "0.5",
        "c": "true",
        "d": "null",
        "e": "relu",
        "f": "1e-3",
        "g": ["1", "x"],
        "h": "a: b",
    }
    cfg = said(model={"architecture": f"{tmp_path}/arch.py:net", "options": spoken_options}, attack={"clip": "yes"})
    meant = {"a": 3, "b": 0.5, "c": True, "d": None, "e": "relu", "f": 0.001, "g": [1, "x"], "h": "a: b"}
    assert cfg.model.options == meant
    assert [type(value) for value in cfg.model.options.values()] == [type(value) for value in meant.values()]
    assert cfg.attack.clip
    assert said(run={"banner": "2024"}).run.banner == "2024"
    assert said(run={"banner": ""}).run.banner == ""
    assert said(seed="3").seed == 3
    # a file means what it says: a quoted number is a text
    in_file = Layer("a.yaml", {"model": {"architecture": f"{tmp_path}/arch.py:net", "options": {"a": "3"}}})
    assert load_layers([BASE_LAYER, in_file]).model.options == {"a": "3"}


def test_what_a_snakefile_around_the_workflow_says_is_found():
    files = [Layer("a", {"run": {"name": "x"}, "seed": 1}), Layer("b", {"seed": 2, "grid": {"eps": [0.1]}})]
    given = {"run": {"name": "x", "banner": "B"}, "seed": 2, "grid": {"eps": [0.2]}, "data": {"local_dir": "d"}}
    assert beyond(files, given) == {"run": {"banner": "B"}, "grid": {"eps": [0.2]}, "data": {"local_dir": "d"}}
    assert beyond(files, {"run": {"name": "x"}, "seed": 2, "grid": {"eps": [0.1]}}) == {}


def test_floats_that_differ_by_rounding_are_one(tmp_path):
    grid = GRID | {"eps": [0.1, 0.1 + 0.2], "lambdas": [0, 0.7 + 0.1]}
    cfg = load_config({**BASE, "grid": grid | {"cells": [CELL | {"lambda": 0.8}]}, "figures": {"eps": 0.3}})
    assert cfg.grid.eps == (0.1, 0.3)
    assert [number_token(eps) for eps in cfg.grid.eps] == ["0.10", "0.30"]
    assert [cell.lambda_jr for cell in cfg.cells] == [0.8]
    with pytest.raises(ConfigError, match=r"duplicate values 0.3"):
        load_config({**BASE, "grid": GRID | {"eps": [0.3, 0.1 + 0.2]}})
    with pytest.raises(ConfigError, match=r"figures.eps: got 0.1234567; give one of grid.eps, 0.12345678$"):
        load_config({**BASE, "grid": GRID | {"eps": [0.12345678]}, "figures": {"eps": 0.1234567}})


def test_numbers_in_options_and_homes_in_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "arch.py").write_text("def net(shape, classes, slope): ...")
    cfg = load_config(
        {
            "run": {"name": "test", "results": "~/results"},
            "grid": GRID,
            "data": {"local_dir": "$HOME/data"},
            "model": {"architecture": f"{tmp_path}/arch.py:net", "options": {"slope": "1e-2", "kind": "a"}},
        }
    )
    assert (cfg.run.results, cfg.data.local_dir) == ("/home/me/results", "/home/me/data")
    assert cfg.model.options == {"slope": 0.01, "kind": "a"}
    with pytest.raises(ConfigError, match=r"run.results: .*\$NOWHERE stands for nothing"):
        load_config({**BASE, "run": {"name": "test", "results": "$NOWHERE/x"}})
    with pytest.raises(ConfigError, match=r"run.results"):
        load_config({**BASE, "run": {"name": "test", "results": "a{b}"}})


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("./results", "results"),
        ("results/", "results"),
        (".//a//b/./c/", "a/b/c"),
        ("../x/", "../x"),
        ("Größe/ä b", "Größe/ä b"),
        ("/tmp/x/", "/tmp/x"),
        ("...", "..."),
    ],
)
def test_results_has_one_spelling(given, meant):
    assert load_config({**BASE, "run": {"name": "test", "results": given}}).run.results == meant


@pytest.mark.parametrize("given", [".", "./", "a/..\n", " a", "a ", "a\tb", "a\x00"])
def test_results_that_paths_cannot_spell_are_refused(given):
    with pytest.raises(ConfigError, match=r"run.results: got "):
        load_config({**BASE, "run": {"name": "test", "results": given}})


def test_a_grid_of_many_models_is_read_in_linear_time():
    def seconds(models):
        lambdas = [i / 10_000 for i in range(models)]
        raw = {**BASE, "grid": GRID | {"lambdas": lambdas, "cells": [CELL | {"lambda": lam} for lam in lambdas]}}
        began = time.process_time()
        cfg = load_config(raw)
        assert sum(cfg.is_cyclic(cell.ensemble) for cell in cfg.cells) == 0
        assert sum(cfg.in_one_job(cell.ensemble) for cell in cfg.cells) == 0
        assert len(cfg.cells) == models
        return time.process_time() - began

    few, many = (min(seconds(models) for _ in range(3)) for models in (500, 5000))
    assert many < 30 * few  # a hundred times, were it quadratic
