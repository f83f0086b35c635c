"""Perturbations as pictures and arrays."""

import numpy as np
import PIL.Image
import pytest
import torch

import jacobian_ensembles as je
from jacobian_ensembles.cli.main import main
from jacobian_ensembles.storage.perturbations import save_uaps

DELTA = torch.tensor([[[0.0, 0.1, -0.1], [0.05, -0.05, 0.0002]]])


def test_a_picture_is_symmetric_around_grey(tmp_path):
    je.save_perturbation(DELTA, tmp_path / "d.png")
    picture = PIL.Image.open(tmp_path / "d.png")
    assert (picture.mode, float(picture.info["scale"])) == ("L", pytest.approx(0.1))
    assert np.asarray(picture).tolist() == [[128, 255, 1], [192, 64, 128]]
    je.save_perturbation(torch.cat([DELTA, 0 * DELTA, -DELTA]), tmp_path / "d.png")
    picture = PIL.Image.open(tmp_path / "d.png")
    assert (picture.mode, picture.size) == ("RGB", (3, 2))
    assert picture.getpixel((1, 0)) == (255, 128, 1)
    je.save_perturbation(0 * DELTA[0], tmp_path / "d.png")
    assert set(np.asarray(PIL.Image.open(tmp_path / "d.png")).flat) == {128}


def test_arrays_are_read_back_without_loss(tmp_path):
    deltas = torch.randn(4, 3, 2, 2, requires_grad=True)
    for name in ("a.npy", "b.npz", "c.NPZ"):
        je.save_perturbation(deltas, tmp_path / name)
    found = np.load(tmp_path / "a.npy")
    assert (found.dtype, found.shape) == (np.float32, (4, 3, 2, 2))
    assert np.array_equal(found, deltas.detach().numpy())
    assert np.array_equal(np.load(tmp_path / "b.npz")["delta"], found)
    assert (tmp_path / "b.npz").read_bytes() == (tmp_path / "c.NPZ").read_bytes()


@pytest.mark.parametrize(
    ("delta", "name", "message"),
    [
        (DELTA, "d.jpg", "it must end in one of .png, .npy, .npz"),
        (DELTA[None], "d.png", r"shows one perturbation.*Got \(1, 1, 2, 3\): give delta\[k\]"),
        (torch.ones(2, 4, 4), "d.png", "1 or 3 channels"),
        (DELTA.int(), "d.npy", "Got int32"),
        (DELTA / 0, "d.npy", "finite: False"),
        (DELTA[0, 0], "d.npy", r"Got float32 \(3,\)"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, delta, name, message):
    with pytest.raises(ValueError, match=message):
        je.save_perturbation(delta, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_the_most_harmful_or_all(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    deltas = np.stack([DELTA.numpy(), -DELTA.numpy()])
    save_uaps("u.safetensors", deltas, np.array([[1, 0, 1], [0, 0, 1]], bool), 0, {"eps": 0.1})
    assert main(["export", "u.safetensors", "-o", "u.npy"]) == 0
    assert np.array_equal(np.load("u.npy"), deltas[1])
    assert main(["export", "u.safetensors", "--all", "-o", "u.npz"]) == 0
    assert np.array_equal(np.load("u.npz")["delta"], deltas)
    assert main(["export", "table1/mnist/snapshot/M3/lambda0.50", "--eps", "0.15", "-o", "s.png"]) == 0
    assert float(PIL.Image.open("s.png").info["scale"]) == pytest.approx(0.15)
    assert capsys.readouterr().out.splitlines() == ["u.npy", "u.npz", "s.png"]
    for wrong in (["u.safetensors", "--all", "-o", "u.png"], ["nothing", "-o", "u.png"]):
        assert main(["export", *wrong]) == 1
    assert main(["export", "table1/mnist/snapshot/M3/lambda0.50", "-o", "s.png"]) == 2
    assert "--eps" in capsys.readouterr().err
    with pytest.raises(SystemExit) as error:
        main(["export", "u.safetensors", "-o", "u.jpg"])
    assert error.value.code == 2
