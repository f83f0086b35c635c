"""The command line, run in this process on a small made-up dataset, and once as the installed command."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers_science import patch_dataset

from jacobian_ensembles.cli import progress
from jacobian_ensembles.cli.main import main
from jacobian_ensembles.config.reading import merge, read_config
from jacobian_ensembles.config.schema import ConfigError
from jacobian_ensembles.storage.perturbations import load_uaps

OWN_DATA = """
import numpy as np
def patches(local_dir):
    with np.load({path!r}) as arrays:
        return dict(arrays)
"""
OWN_MODEL = """
from torch import nn
def mine():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
def wrong():
    return 3
"""
SETTINGS = """
data: {validation_images: 60}
training: {epochs: 8, batch_size: 20, learning_rate: 0.003}
attack: {iterations: 5, batch_size: 50}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a dataset and a model of one's own, and short settings."""
    arrays = {}
    for part, count, seed in (("train", 400, 0), ("test", 100, 1)):
        images, labels = patch_dataset(count, seed)
        arrays |= {f"{part}_images": (255 * images[:, 0]).byte().numpy(), f"{part}_labels": labels.numpy()}
    np.savez(tmp_path / "patches.npz", **arrays)
    (tmp_path / "own.py").write_text(OWN_DATA.format(path=str(tmp_path / "patches.npz")) + OWN_MODEL)
    (tmp_path / "config.yaml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    logging.getLogger("jacobian_ensembles").handlers.clear()
    logging.getLogger("jacobian_ensembles").propagate = True


def test_a_page_of_ones_own_model(folder, capsys):
    command = [
        "report-model",
        "own.py:mine",
        "--dataset",
        "own.py:patches",
        "--eps",
        "0.3",
        "--seeds",
        "2",
        "--no-flags",
    ]
    assert main([*command, "-o", "p.html"]) == 0
    assert capsys.readouterr().out == "p.html\n"
    page = (folder / "p.html").read_text()
    assert "<h1>own.py:mine under universal attack</h1>" in page
    assert "Crafted on 340 images with attack SgdUap, 2 seeds per ε." in page


def test_it_is_explained_how_a_shipped_models_numbers_were_made(capsys):
    assert main(["explain", "table1", "mnist", "M9"]) == 0
    assert "MNIST snapshot M=9 λ=0.50, training 0 of run table1\n" in capsys.readouterr().out
    assert main(["explain", "table1", "mnist", "M4"]) == 2


def test_train_attack_and_evaluate(folder, capsys):
    data = ["--dataset", "own.py:patches"]
    assert (
        main(["train", *data, "--ensemble", "bagging", "--members", "2", "--lambda", "0.01", "-o", "m.safetensors"])
        == 0
    )
    assert main(["attack", "m.safetensors", *data, "--eps", "0.3", "--seeds", "3", "-o", "u.safetensors"]) == 0
    deltas, bits, spec = load_uaps(["u.safetensors"])
    assert deltas.shape == (3, 1, 28, 28)
    assert (spec["ensemble"], spec["members"], spec["eps"]) == ("bagging", 2, 0.3)
    said = capsys.readouterr()
    assert main(["evaluate", "m.safetensors", *data, "--uaps", "u.safetensors", "--csv", "t.csv"]) == 0
    table = pd.read_csv("t.csv", index_col=0)
    np.testing.assert_allclose(table["accuracy"].iloc[1:], bits.mean(axis=1))
    clean, worst = table.loc["clean", "accuracy"], table["accuracy"].iloc[1:].min()
    assert clean > 0.8
    assert f"3 perturbations, eps 0.3. Of 100 images, {clean:.2%} are classified correctly" in said.out
    assert f", {worst:.2%} under the worst of 3 perturbations (size 0.3); chance" in said.out
    printed = capsys.readouterr()
    assert "clean" in printed.out
    for command in (["attack", "m.safetensors", "--eps", "0.3"], ["evaluate", "m.safetensors"]):
        assert main([*command, "--dataset", "mnist"]) == 2
        assert "m.safetensors was trained on patches; --dataset names mnist" in capsys.readouterr().err
    # no terminal here: plain lines, with a time stamp and no carriage return
    assert "epoch 8/8" in said.err
    assert "\r" not in said.err
    assert main(["info", "m.safetensors", "u.safetensors"]) == 0
    assert "learners {" in capsys.readouterr().out


def test_a_model_of_ones_own_is_attacked_and_evaluated(folder, capsys):
    assert main(["attack", "own.py:mine", "--dataset", "own.py:patches", "--eps", "0.2", "-o", "u.safetensors"]) == 0
    assert main(["evaluate", "own.py:mine", "--dataset", "own.py:patches", "--uaps", "u.safetensors"]) == 0
    assert "0.2000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--dataset", "minst"], 2, "got 'minst'; give one of mnist, fashion_mnist"),
        (["train", "--dataset", "mnist", "--set", "training.epoch=2"], 2, "did you mean 'epochs'?"),
        (["train", "--dataset", "mnist", "--set", "training"], 2, "give section.key=value"),
        (["train", "--dataset", "mnist", "--config", "nothing.yaml"], 2, "nothing.yaml: there is no such file in"),
        (["attack", "nothing.safetensors", "--eps", "0.1"], 2, "nothing.safetensors: there is no such file"),
        (["attack", "own.py:nothing", "--dataset", "mnist", "--eps", "0.1"], 2, "own.py defines no nothing"),
        (["attack", "own.py:mine", "--eps", "0.1"], 2, "Name them with --dataset"),
        (["evaluate", "own.py:wrong", "--dataset", "own.py:patches"], 2, "returned 3, where an nn.Module is needed"),
        (["attack", "table1/mnist/snapshot/M3/lambda7.00", "--eps", "0.1"], 2, "no such ensemble is shipped"),
        (["report", "."], 1, "no finished or shipped run"),
        (["join", ".", "more", "-o", "whole"], 1, "no finished or shipped run"),
    ],
)
def test_failures_are_one_clear_message_and_an_exit_code(folder, capsys, arguments, code, message):
    assert main(arguments) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "arguments",
    [[], ["tran"], ["attack", "m.safetensors"], ["train", "--dataset", "mnist", "--members", "0"]]
    + [["attack", "own.py:mine", "--dataset", "mnist", "--eps", eps] for eps in ("2", "0", "nan", "all", "-0.1")]
    + [["train", "--dataset", "mnist", "--repetition", "-1"], ["train", "--dataset", "mnist", "--lambda", "much"]],
)
def test_a_wrong_command_line_is_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert "usage: jacobian-ensembles" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "train", "attack", "evaluate", "report", "join", "info"])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as error:
        main([*command.split(), "--help"])
    assert error.value.code == 0
    text = capsys.readouterr().out
    assert [code in text for code in ("Exit codes: 0 done", "1 the work", "2 the command", "130 stopped")] == [True] * 4
    assert command or all(name in text for name in ("train", "attack", "evaluate", "report", "join", "info"))


def test_configurations_are_merged_as_snakemake_does_it(tmp_path):
    assert merge({"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"c": [3]}}) == {"a": {"b": 1, "c": [3]}, "d": 2}
    (tmp_path / "a.yaml").write_text("training: {epochs: 3, batch_size: 10}\n")
    (tmp_path / "b.yaml").write_text("training: {epochs: 4}\n")
    cell = {"datasets": ["mnist"], "ensembles": ["voting"], "members": [1], "lambdas": [0]}
    cfg = read_config([f"{tmp_path}/a.yaml", f"{tmp_path}/b.yaml"], ["attack.step=0.5"], cell)
    assert (cfg.training.epochs, cfg.training.batch_size, cfg.attack.step) == (4, 10, 0.5)
    root = Path(__file__).resolve().parents[3]
    preset = [f"{root}/config.yaml", f"{root}/workflow/presets/smoke.yaml"]
    assert len(read_config(preset, []).cells) == 6
    assert len(read_config(preset, [], cell).cells) == 1
    with pytest.raises(ConfigError, match="it is a folder"):
        read_config([str(tmp_path)], [])


def test_on_a_terminal_progress_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    progress.start_logging()
    for i in range(1, 4):
        progress.log.debug("training", extra={"progress": (i, 3)})
    progress.log.info("a line")
    error = capsys.readouterr().err
    assert "\r" in error
    assert "training" in error
    assert "a line\n" in error
    progress.log.handlers.clear()
    progress.log.propagate = True


def test_the_installed_command_runs():
    command = Path(sys.executable).parent / "jacobian-ensembles"
    done = subprocess.run([command, "info"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("jacobian-ensembles")
    assert "torch" in done.stdout
