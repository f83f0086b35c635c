"""What configuration files lose in silence: said twice, read as another number, never computed."""

import pytest
import yaml

from jacobian_ensembles.config.overlays import load_overlays
from jacobian_ensembles.config.reading import merge, read_config
from jacobian_ensembles.config.schema import ConfigError, load_config
from jacobian_ensembles.config.yaml_files import load_yaml, read_yaml
from jacobian_ensembles.runs.layout import number_token

GRID = {"datasets": ["mnist"], "ensembles": ["voting"], "members": [1], "lambdas": [0], "eps": [0.15]}
BASE = {"run": {"name": "test"}, "grid": GRID}
CELL = {"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda": 0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid: {a: 1}\ngrid: {b: 2}", "line 2, column 1: the key 'grid' is there twice"),
        ("grid:\n  a: 1\n  b: 2\n  a: 3", "line 4, column 3: the key 'a' is there twice"),
        ("- {a: 1, a: 1}", "the key 'a' is there twice"),
        ("{1: x, 1.0: y}", "the key 1.0 is there twice"),
        ("{yes: x, true: y}", "the key True is there twice"),
        ('{a: 1, "a": 2}', "the key 'a' is there twice"),
        ("seed: 010", "line 1, column 7: 010 would be read as another number"),
        ("seed: -007", "-007 would be read"),
        ("time: 1:30", "1:30 would be read as another number"),
        ("time: 1:30.5", "1:30.5 would be read"),
        ("a: [", "line 1"),
        ("a:\n\t- b", "line 2, column 1"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: b: c", "mapping values are not allowed"),
        ("a: 1\n---\nb: 2", "another document"),
    ],
)
def test_what_would_be_dropped_or_changed_is_refused_with_its_place(text, message):
    with pytest.raises(ValueError, match=r"twice|number|line|constructor|mapping|document") as error:
        load_yaml(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["", "a: 0\nb: 0.10\nc: 0x1f", "a: &x {b: 1}\nc: {<<: *x, b: 2}", "a: '010'\nb: '1:30'", "a: 1e-2",
     "{? [1, 2] : x}", "a: 2026-01-02", "a: 1_000", "a: -0.5e-3"],
)  # fmt: skip
def test_honest_yaml_reads_as_always(text):
    try:
        expected = yaml.safe_load(text)
    except yaml.YAMLError:  # a list as a key
        with pytest.raises(ValueError, match="unhashable"):
            load_yaml(text)
        return
    assert load_yaml(text) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_in_any_unicode_are_read(tmp_path, encoding):
    (tmp_path / "a.yaml").write_text("run: {banner: λ}\r\n", encoding=encoding)
    assert read_yaml(tmp_path / "a.yaml") == {"run": {"banner": "λ"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"- a\n", "a mapping of sections, got a list"), (b"text", "got a str"), (b"\xff\xfa", "cannot be read as YAML"),
     (b"run: {banner: \xe9}", "cannot be read as YAML"), (b"a: \x00", "cannot be read as YAML")],
)  # fmt: skip
def test_what_is_no_configuration_is_refused_by_name(tmp_path, content, message):
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_yaml(tmp_path / "a.yaml")
    assert "a.yaml: " in str(error.value)
    with pytest.raises(ConfigError, match=message):
        read_config([str(tmp_path / "a.yaml")], [])


def test_a_missing_file_is_called_missing(tmp_path):
    with pytest.raises(ValueError, match="there is no such file in"):
        read_yaml(tmp_path / "a.yaml")
    with pytest.raises(ConfigError, match=r"--set a=\[: line 1"):
        read_config([], ["a=["])


def merged(tmp_path, *overlays):
    files, raw = [], {}
    for i, content in enumerate([BASE, *overlays]):
        files.append(tmp_path / f"{i}.yaml")
        files[-1].write_text(yaml.safe_dump(content))
        raw = merge(raw, content)
    return raw, files


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
def test_a_value_that_cells_leave_out_is_said(tmp_path, overlays, message):
    with pytest.raises(ValueError, match=message):
        load_overlays(*merged(tmp_path, *overlays))


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
def test_what_is_computed_in_full_is_taken(tmp_path, overlays):
    raw, files = merged(tmp_path, *overlays)
    assert load_overlays(raw, files) == load_config(raw)


def test_in_one_file_it_is_warned_of(tmp_path, caplog):
    load_overlays(*merged(tmp_path, {"grid": {"cells": [CELL], "members": [1, 2]}}))
    assert "grid.members: 2 is in no entry of grid.cells" in caplog.text


def test_the_command_line_lies_over_all_files(tmp_path):
    raw, files = merged(tmp_path, {"grid": {"cells": [CELL]}})
    said = {"grid": {"lambdas": [0, 5]}}
    with pytest.raises(ValueError, match=r"grid.lambdas: 5.0 is in no entry"):
        load_overlays(merge(raw, said), files, said)


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
