"""Datasets obtained where they are missing: built-in ones, folders of images, functions of one's own."""

import numpy as np
import PIL.Image
import pytest
import torch

import jacobian_ensembles as je
from jacobian_ensembles.cli.main import main
from jacobian_ensembles.config.schema import ConfigError, load_config
from jacobian_ensembles.config.sections import Data
from jacobian_ensembles.data.splits import default_validation
from jacobian_ensembles.extensions.references import ExtensionError, short_name
from jacobian_ensembles.stages import obtaining
from jacobian_ensembles.stages.inputs import load_split
from jacobian_ensembles.stages.test_sets import load_test_set


def paint(folder, colour=False, count=20):
    """Grey images of 28 x 28, as colour files: cats are bright on top, dogs below; one red pixel if in colour."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 60, (28, 28, 1), np.uint8).repeat(3, 2)
                pixels[14 * label : 14 * label + 14] += 150
                pixels[0, 0] = (255, 0, 0) if colour and i == 3 else 9
                PIL.Image.fromarray(pixels).save(folder / part / name / f"{i}.png")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "mine" / "pets")
    return tmp_path


def test_a_folder_of_images_is_a_dataset_by_its_path(here):
    data = je.load_dataset("mine/pets")
    assert (data.classes, data.class_names) == (2, ["cat", "dog"])
    images, labels = data.train
    assert (images.shape, images.dtype, labels.dtype) == (
        (36, 1, 28, 28),
        torch.float32,
        torch.int64,
    )  # grey: a channel
    assert len(data.validation[1]) == 4  # a tenth of the 40
    assert len(data.test[1]) == 40
    upper, lower = images[:, 0, :14].mean((1, 2)), images[:, 0, 14:].mean((1, 2))
    assert ((lower > upper).long() == labels).all()
    assert images.max() <= 210 / 255
    path = here / data.path
    assert path.parent == here / "results" / "single" / "data"
    before = path.stat().st_mtime_ns
    assert je.load_dataset(f"{here}/mine/../mine/pets/").path == data.path
    assert path.stat().st_mtime_ns == before  # it was there
    (here / "mine/pets/test/dog/0.png").unlink()
    assert len(je.load_dataset("mine/pets").test[1]) == 39  # and is read anew once a file is gone


def test_one_pixel_in_colour_makes_three_channels(here):
    paint(here / "tinted", colour=True)
    data = je.load_dataset("./tinted", results="elsewhere", validation_images=6)
    assert data.train[0].shape == (34, 3, 28, 28)
    assert (here / "elsewhere" / "single" / "data").is_dir()
    assert not (here / "results").exists()


def test_a_function_gets_local_dir(here):
    (here / "own.py").write_text(
        "from jacobian_ensembles.data.folders import read_image_folder\n"
        "def pets(local_dir): return read_image_folder(local_dir, 'L')\n"
    )
    data = je.load_dataset("own.py:pets", local_dir=here / "mine" / "pets")
    assert data.test[0].shape == (40, 1, 28, 28)
    assert torch.equal(data.test[0], je.load_dataset("mine/pets").test[0])


def test_a_built_in_dataset_is_fetched_once_for_all_runs(here, monkeypatch):
    fetched = []

    def fetch(dataset, path, local_dir):
        fetched.append((dataset, str(path), local_dir))
        path.parent.mkdir(parents=True)
        path.touch()

    monkeypatch.setattr(obtaining, "download_dataset", fetch)
    for run in ("single", "other"):
        assert str(obtaining.obtain_dataset("mnist", "results", "idx", run)) == "results/data/mnist.safetensors"
    assert fetched == [("mnist", "results/data/mnist.safetensors", "idx")]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("minst", r"give one of mnist, fashion_mnist, or path/to/file.py:object .* or path/to/folder \(with a slash\)"),
        ("mine", "path/to/folder .with a slash. for a folder"),
        ("mine/nothing", "no folder mine/nothing in /"),
        ("mine/two words", "the folder's name must be a Python name other than mnist, fashion_mnist"),
        ("mine/mnist", "the folder's name must be a Python name other than mnist"),
        ("mine/..", "the folder's name must be"),
        ("own.py:pets", "no file own.py in /"),
    ],
)
def test_what_is_no_dataset_is_refused_by_library_and_configuration(here, dataset, message):
    for name in ("two words", "mnist"):
        (here / "mine" / name).mkdir()
    with pytest.raises(ExtensionError, match=message):
        je.load_dataset(dataset)
    with pytest.raises(ConfigError, match=message):
        configured(dataset)


def configured(*datasets):
    grid = {"datasets": list(datasets), "ensembles": ["voting"], "members": [1], "lambdas": [0], "eps": [0.15]}
    return load_config({"run": {"name": "test"}, "grid": grid})


def test_a_configuration_calls_a_folder_by_its_name(here):
    cfg = configured("mnist", "mine/pets/")
    assert cfg.datasets == ["mnist", "pets"]
    assert cfg.reference("pets") == "mine/pets/"
    assert [cell.dataset for cell in cfg.cells] == ["mnist", "pets"]
    assert short_name("~/there/pets") == "pets"
    with pytest.raises(ConfigError, match="beside another 'pets'"):
        configured("mine/pets", "mine/../mine/pets")
    with pytest.raises(ConfigError, match=r"grid.ensembles.0: got 'mine/voting'; give one of bagging"):
        load_config(
            {"run": {"name": "test"}, "grid": {**configured("mnist").grid.model_dump(), "ensembles": ["mine/voting"]}}
        )


def test_the_command_line_trains_on_a_folder(here):
    options = ["--dataset", "mine/pets", "--set", "data.validation_images=12", "--set", "training.epochs=30"]
    assert main(["train", *options, "--set", "training.batch_size=9", "-o", "m.safetensors"]) == 0
    (stored,) = (here / "results" / "single" / "data").iterdir()
    names = stored.rename(here / "pets.safetensors")
    assert load_test_set(names).names == ("cat", "dog")


def test_the_default_split_is_that_of_the_configuration(here):
    assert default_validation(60_000) == Data().validation_images
    path = je.load_dataset("mine/pets").path
    assert torch.equal(load_split(path, "train")[0], load_split(path, "train", 4)[0])
    assert torch.equal(load_split(path, "test")[0], je.load_dataset("mine/pets").test[0])
