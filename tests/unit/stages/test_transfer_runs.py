"""The best models of finished runs under one another's perturbations."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers_runs import describe, finished_run, ship

from jacobian_ensembles.cli.main import main
from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.runs.layout import Layout
from jacobian_ensembles.stages.keep_arrays import keep_arrays
from jacobian_ensembles.storage.files import save_tensors
from jacobian_ensembles.storage.learners import save_learners
from jacobian_ensembles.storage.perturbations import load_worst_uap, save_worst_uap

AT = {"dataset": "mnist", "ensemble": "voting", "members": 1, "lambda_jr": "0.10", "repetition": 0}


def add_models(tmp_path, name, seed):
    """What the workflow leaves of a run beside its tables: an ensemble, a perturbation of its own."""
    layout = Layout(str(tmp_path / "results"), name)
    net = LeNet(generator=torch.Generator().manual_seed(seed))
    arrays = {key: value[None].numpy() for key, value in net.state_dict().items()}
    spec = {"dataset": "mnist", "ensemble": "voting", "lambda": 0.1, "architecture": Architecture().record()}
    save_learners(layout.ensemble.format(**AT), arrays, {**spec, "validation_accuracy": [0.5]})
    deltas = {}
    for i, (eps, token) in enumerate(((0.15, "0.15"), (0.2, "0.20"))):
        path = layout.worst_uap.format(**AT, eps=token)
        old = load_worst_uap(path)
        deltas[eps] = torch.randn(1, 28, 28, generator=torch.Generator().manual_seed(10 * seed + i))
        kept = {
            key: old[key] for key in ("dataset", "ensemble", "members", "lambda", "repetition", "eps", "seed", "images")
        }
        save_worst_uap(path, deltas[eps].numpy(), old["correct"], kept)
    return net.eval(), deltas


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two finished runs of one small network each, on 40 test images."""
    rng = np.random.default_rng(0)
    arrays = {f"{part}_images": rng.integers(0, 256, (40, 28, 28), np.uint8) for part in ("train", "test")}
    arrays |= {f"{part}_labels": np.arange(40, dtype=np.uint8) % 10 for part in ("train", "test")}
    save_tensors(tmp_path / "results/data/mnist.safetensors", arrays, kind="dataset", spec={"dataset": "mnist"})
    monkeypatch.setattr("jacobian_ensembles.stages.test_sets.CARDS", {})  # called like the built-in one, and is not
    folders = {name: finished_run(tmp_path, name, (1,)) for name in ("mine", "theirs")}
    for root, config in folders.values():
        config["data"] |= {"validation_images": 2, "test_images": 40}
        config["attack"]["clip"] = True
        describe(root, config)
    made = {name: add_models(tmp_path, name, seed) for seed, name in enumerate(folders, start=1)}
    return folders, made, arrays


def test_every_perturbation_is_tried_on_every_model(runs, tmp_path, capsys):
    folders, made, arrays = runs
    out = tmp_path / "out"
    assert main(["compare", "--transfer", *(str(root) for root, _ in folders.values()), "-o", str(out)]) == 0
    table = pd.read_csv(out / "transfer.csv").set_index(["source", "target", "eps"])["accuracy"]
    x = torch.from_numpy(arrays["test_images"]).float()[:, None] / 255
    y = torch.arange(40) % 10
    right = {
        (source, target, eps): float((net((x + delta).clamp(0, 1)).argmax(1) == y).float().mean())
        for source, (_, deltas) in made.items()
        for target, (net, _) in made.items()
        for eps, delta in deltas.items()
    }
    assert len({*right.values()}) > 2
    assert table.to_dict() == pytest.approx(right)
    best = pd.read_csv(out / "best.csv").set_index("run")["transfer_accuracy"]
    assert best["mine"] == pytest.approx((right["theirs", "mine", 0.15] + right["theirs", "mine", 0.2]) / 2)
    header = next(line for line in (out / "best.md").read_text().splitlines() if line.startswith("|"))
    assert "| Others' UAPs |" in header
    assert "Others&#39; UAPs" in (out / "comparison.html").read_text()


def test_shipped_runs_are_tried_if_they_keep_their_models(runs, tmp_path, capsys):
    folders, _, _ = runs
    for name, (root, config) in folders.items():
        ship(root, tmp_path / "shipped" / name, config)
    shipped = [str(tmp_path / "shipped" / name) for name in folders]
    assert main(["compare", "--transfer", *shipped, "-o", str(tmp_path / "out")]) == 1
    assert "missing; the run was shipped without its models (run.keep)" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*"))
    (tmp_path / "results/reference").mkdir()
    for name, (root, config) in folders.items():
        layout = Layout(str(tmp_path / "results"), name)
        Path(layout.model.format(**AT)).parent.mkdir()
        shutil.copy(layout.ensemble.format(**AT), layout.model.format(**AT))
        clean = layout.clean.format(**AT)
        uaps = [layout.worst_uap.format(**AT, eps=token) for token in ("0.15", "0.20")]
        keep_arrays("perturbations", [clean], uaps, layout.arrays.format(what="perturbations", **AT))
        ship(root, tmp_path / "results/reference" / name, config, keep=("models", "perturbations"))
    shipped = [str(tmp_path / "results/reference" / name) for name in folders]
    for of, out in ((shipped, "out"), ([str(root) for root, _ in folders.values()], "live")):
        assert main(["compare", "--transfer", *of, "-o", str(tmp_path / out)]) == 0
    assert (tmp_path / "out/transfer.csv").read_bytes() == (tmp_path / "live/transfer.csv").read_bytes()
