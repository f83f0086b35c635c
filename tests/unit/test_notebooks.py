"""The notebook's code, run cell by cell on made-up images in the place of MNIST's."""

import json
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import torch
from helpers_science import patch_dataset

import jacobian_ensembles as je

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "notebooks" / "attack.ipynb"


def test_the_notebook_runs_and_ends_in_one_picture(monkeypatch, capsys):
    mpl.use("agg")
    monkeypatch.setattr(
        je,
        "load_dataset",
        lambda name: SimpleNamespace(train=patch_dataset(60, 0), test=patch_dataset(40, 1)),
        raising=False,
    )
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert len(cells) == 10
    plt.close("all")
    names = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            assert not plt.get_fignums()  # the picture is the last cell's
            exec("".join(cell["source"]), names)
    (number,) = plt.get_fignums()
    assert len(plt.figure(number).axes) == 6
    plt.close("all")
    said = capsys.readouterr().out.splitlines()
    assert [line.split(": Of 40 images")[0] for line in said] == ["plain", "regularised"]
    assert all(torch.as_tensor(d).abs().max() <= 0.15 + 1e-6 for d in names["deltas"].values())
