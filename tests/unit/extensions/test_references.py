"""What users bring: references, and the worked examples of docs/examples through the package's own functions."""

import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_science import patch_dataset
from PIL import Image
from torch import nn

from jacobian_ensembles.attacks import sgd_uap
from jacobian_ensembles.attacks.registry import ATTACKS
from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.config.schema import Attack, ConfigError, Model, load_config
from jacobian_ensembles.config.training import Training
from jacobian_ensembles.data.arrays import DataError, check_arrays
from jacobian_ensembles.data.folders import read_image_folder
from jacobian_ensembles.ensembles import methods
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.ensembles.methods import Method
from jacobian_ensembles.extensions.code_digest import code_digest, extension_digest
from jacobian_ensembles.extensions.references import ExtensionError, check_reference, resolve, short_name, source_file
from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.names import ARCHITECTURES
from jacobian_ensembles.runs.layout import WILDCARDS
from jacobian_ensembles.stages.assemble_ensemble import assemble_ensemble
from jacobian_ensembles.stages.craft_uaps import craft_uaps
from jacobian_ensembles.stages.download_dataset import download_dataset
from jacobian_ensembles.stages.evaluate_ensemble import evaluate_ensemble
from jacobian_ensembles.stages.inputs import StoredEnsemble, StoredImages, load_ensemble, load_split
from jacobian_ensembles.stages.train_learner import load_task, train_learner
from jacobian_ensembles.storage.files import load_tensors, save_tensors
from jacobian_ensembles.storage.perturbations import load_clean, load_uaps
from jacobian_ensembles.training.ensembles import train_ensemble
from jacobian_ensembles.training.objectives.decorrelated import Decorrelated
from jacobian_ensembles.training.objectives.registry import OBJECTIVES
from jacobian_ensembles.training.recipe import Recipe

EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples"
CNN = f"{EXAMPLES}/small_cnn.py:small_cnn"
MEDIAN = f"{EXAMPLES}/half_median.py:half_median"
MOMENTUM = f"{EXAMPLES}/momentum.py:momentum"
SHAPES = f"{EXAMPLES}/folder_of_images.py:shapes"
SQUEEZING = f"{EXAMPLES}/logit_squeezing.py:LogitSqueezing"
PLAIN = Training().goal
GRID = {"datasets": ["mnist"], "ensembles": ["voting"], "members": [1], "lambdas": [0], "eps": [0.15]}


def loaded(**sections):
    grid = {**GRID, **sections.pop("grid", {})}
    return load_config({"run": {"name": "test"}, "grid": grid, **sections})


def paint(folder, sizes=((24, 20),), count=40, seed=0):
    """Colour images of three classes, told apart by which half is bright and in which colour."""
    rng = np.random.default_rng(seed)
    for part, many in (("train", count), ("test", count // 2)):
        for label, name in enumerate(("blue", "green", "red")):
            (folder / part / name).mkdir(parents=True)
            for i in range(many):
                height, width = sizes[i % len(sizes)]
                image = rng.integers(0, 60, (height, width, 3), np.uint8)
                image[: height // 2, :, 2 - label] += 150
                Image.fromarray(image).save(folder / part / name / f"{i:03}.png")
    return folder


@pytest.mark.parametrize("registry", [ARCHITECTURES, ATTACKS, OBJECTIVES])
def test_every_built_in_name_leads_to_something_to_call(registry):
    assert all(callable(resolve(name, registry)) for name in registry)


def test_a_reference_is_followed_to_its_object():
    assert isinstance(resolve(MEDIAN, methods.METHODS, Method), Method)
    assert resolve("voting", methods.METHODS, Method) is methods.METHODS["voting"]
    assert resolve("jacobian_ensembles.attacks.sgd_uap:SgdUap", {}) is sgd_uap.SgdUap
    assert (short_name(CNN), short_name("voting")) == ("small_cnn", "voting")
    assert source_file("voting") is None
    assert source_file("jacobian_ensembles.attacks.sgd_uap:SgdUap") == Path(sgd_uap.__file__)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("stacking", "got 'stacking'; give one of voting, or path/to/file.py:object"),
        ("nowhere.py:x", "got 'nowhere.py:x'; no file nowhere.py in "),
        ("no.such.module:x", "no module no.such.module is installed"),
        ("numpy:", "must be a Python name"),
        ("jacobian_ensembles.attacks.sgd_uap:voting", "a Python name other than voting"),
        ("jacobian_ensembles.attacks.sgd_uap:nothing", "defines no nothing"),
    ],
)
def test_a_reference_that_leads_nowhere_says_where_it_broke_off(reference, message):
    with pytest.raises(ExtensionError, match=message):
        check_reference(reference, ("voting",))


def test_a_file_that_is_not_python_or_an_object_of_another_kind_is_refused(tmp_path):
    (tmp_path / "broken.py").write_text("def f(:\n")
    with pytest.raises(ExtensionError, match="not valid Python"):
        check_reference(f"{tmp_path}/broken.py:f", ())
    (tmp_path / "number.py").write_text("f = 3\n")
    with pytest.raises(ExtensionError, match="is 3, where something to call is needed"):
        resolve(f"{tmp_path}/number.py:f", {})
    with pytest.raises(ExtensionError, match="where a Method is needed"):
        resolve(CNN, methods.METHODS, Method)


def test_checking_a_configuration_does_not_run_the_users_files(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("raise SystemExit('run')\ndef mine(): ...\n")
    cells = loaded(grid={"datasets": [f"{file}:mine"], "ensembles": ["voting", MEDIAN]}).cells
    assert [(c.dataset, c.ensemble) for c in cells] == [("mine", "voting"), ("mine", "half_median")]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"grid": {"datasets": ["nowhere.py:x"]}}, "grid.datasets.0: got 'nowhere.py:x'; no file nowhere.py"),
        ({"grid": {"ensembles": [MEDIAN, f"{EXAMPLES}/../examples/half_median.py:half_median"]}}, "tell them apart"),
        ({"grid": {"datasets": [MEDIAN], "ensembles": [MEDIAN]}}, "names both a dataset and an ensemble method"),
        ({"model": {"architecture": "resnet"}}, "model.architecture: got 'resnet'; give one of lenet"),
        ({"model": {"options": {"width": 3}}}, "for an architecture of your own"),
        ({"model": {"architecture": CNN, "dropout": 0.5}}, "dropout: got 0.5, which is lenet's"),
        ({"attack": {"method": "pgd"}}, "attack.method: got 'pgd'; give one of sgd"),
        ({"training": {"objective": "trades"}}, "training.objective: got 'trades'; give one of jacobian, input_grad"),
        ({"training": {"options": {"step": 1}}}, "the objective jacobian has none"),
        (
            {"training": {"objective": "universal", "options": {"stepp": 1}}},
            "options.stepp: unknown key; did you mean 'step'? Allowed here: step, jacobian.",
        ),
        (
            {"training": {"objective": "adversarial", "options": {"steps": 0}}},
            "options.steps: got 0. Input should be greater than or equal to 1",
        ),
    ],
)
def test_the_configuration_refuses_extensions_that_cannot_work(sections, message):
    with pytest.raises(ConfigError) as error:
        loaded(**sections)
    assert message in str(error.value)


def test_names_and_references_go_back_and_forth():
    cfg = loaded(grid={"ensembles": ["voting", MEDIAN], "cells": [
        {"dataset": "mnist", "ensemble": "half_median", "members": 1, "lambda": 0},
        {"dataset": "mnist", "ensemble": MEDIAN, "members": 1, "lambda": 0},
    ][:1]})  # fmt: skip
    assert [c.ensemble for c in cfg.cells] == ["half_median"]
    assert (cfg.reference("half_median"), cfg.reference("voting"), cfg.datasets) == (MEDIAN, "voting", ["mnist"])


def test_a_digest_follows_the_file_and_the_package_but_not_comments(tmp_path):
    file = tmp_path / "mine.py"
    digests = []
    for text in (
        "from jacobian_ensembles.ensembles.methods import Method\nmine = Method()\n",
        "# new\nfrom jacobian_ensembles.ensembles.methods import Method\nmine = Method( )\n",
        "from jacobian_ensembles.ensembles.methods import Method\nmine = Method('probabilities')\n",
        "from jacobian_ensembles import craft_uaps\nmine = craft_uaps\n",
    ):
        file.write_text(text)
        digests.append(extension_digest(f"{file}:mine"))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert extension_digest("voting") == ""


def test_a_public_name_is_followed_to_its_module(tmp_path, monkeypatch):
    file = tmp_path / "mine.py"
    file.write_text("from jacobian_ensembles import craft_uaps as mine\n")
    before = extension_digest(f"{file}:mine")
    monkeypatch.setattr(
        "jacobian_ensembles.extensions.code_digest.code_digest",
        lambda *m: code_digest(*m) + "changed" * ("attacks.crafting" in m),
    )
    assert extension_digest(f"{file}:mine") != before


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    """The folder example as a stored dataset: 120 training and 60 test images of 24 x 20 pixels in colour."""
    folder = tmp_path_factory.mktemp("colour")
    path = folder / "shapes.safetensors"
    download_dataset(SHAPES, path, paint(folder / "images"))
    return path


def test_a_folder_of_colour_images_becomes_a_dataset(colour):
    images, labels = load_split(colour, "train", 30)
    assert (images.shape, images.dtype) == ((90, 3, 24, 20), torch.float32)
    assert images.is_contiguous()
    assert 0 <= images.min() <= images.max() <= 210 / 255
    # class 0, "blue", is bright in its upper half in the third channel
    bright = images[labels == 0][:, :, :12].mean((0, 2, 3))
    assert bright.argmax() == 2
    assert torch.bincount(load_split(colour, "validation", 30)[1]).tolist() == [10, 10, 10]
    assert StoredImages(colour, 30).classes == 3


def test_grey_images_and_mixed_sizes(tmp_path):
    assert read_image_folder(paint(tmp_path / "grey"), mode="L")["train_images"].shape == (120, 24, 20)
    with pytest.raises(DataError, match=r"001.png: images of one size are needed, got \(20, 20\) here"):
        read_image_folder(paint(tmp_path / "mixed", sizes=((24, 20), (20, 20))))
    with pytest.raises(DataError, match=r"no folder train/<class>/"):
        read_image_folder(tmp_path)


def arrays(**changes):
    base = {
        "train_images": np.zeros((6, 4, 4), np.uint8),
        "train_labels": np.arange(6) % 3,
        "test_images": np.zeros((2, 4, 4), np.uint8),
        "test_labels": np.array([0, 2]),
    }
    return {**base, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": np.zeros(1)}, "must return a mapping of train_images"),
        ({"train_images": np.zeros((6, 4, 4))}, "train_images must be uint8"),
        ({"test_images": np.zeros((2, 5, 4), np.uint8)}, "test_images must be uint8 .* as in training"),
        ({"test_labels": np.array([0])}, r"test_labels must be 2 integers, got int64 \(1,\)"),
        ({"train_labels": np.array([0, 1, 3, 0, 1, 3])}, "labels must run from 0 to C - 1.* got 0 to 3, without 2"),
        ({"test_labels": np.array([0, 3])}, "a test label occurs that no training image has"),
    ],
)
def test_arrays_that_are_no_dataset_are_refused_with_the_reason(changes, message):
    assert check_arrays("mine", arrays())["train_labels"].dtype == np.uint8
    with pytest.raises(DataError, match=message):
        check_arrays("mine", arrays(**changes))


def test_a_lenet_says_what_images_it_takes():
    with pytest.raises(ValueError, match=r"The images are of shape \(3, 24, 20\); a LeNet takes \(1, 28, 28\)"):
        Architecture(shape=(3, 24, 20))


def network(**settings):
    return Model(**settings).network


def test_normalisation_of_a_users_dataset_is_measured_on_its_training_images(tmp_path):
    images = np.repeat(np.array([64, 191], np.uint8), 20)[:, None, None] * np.ones((1, 28, 28), np.uint8)
    labels = np.repeat(np.arange(2), 20)
    tensors = {f"{part}_images": images for part in ("train", "test")}
    tensors |= {f"{part}_labels": labels.astype(np.uint8) for part in ("train", "test")}
    save_tensors(tmp_path / "mine", tensors, "dataset", {"dataset": "mine"})
    stored = StoredImages(tmp_path / "mine", 10)
    pixels = stored.split("train")[0]

    def found_for(dataset, **settings):
        return load_task(stored, dataset, 0.0, network(**settings), Recipe(), PLAIN, "cpu").architecture

    found = found_for("mine", normalize=True)
    assert (found.mean, found.std) == (round(pixels.mean().item(), 4), round(pixels.std().item(), 4))
    assert found.classes == 2
    assert found_for("mnist", normalize=True).mean == 0.1307
    assert found_for("mine").std == 1.0


@pytest.mark.parametrize("normalize", [False, True])
def test_every_extension_together_through_the_files_of_the_workflow(colour, tmp_path, normalize):
    """A dataset, an architecture, a method and an attack of the user's, trained, assembled, attacked, evaluated."""
    model = network(architecture=CNN, options={"width": 6}, normalize=normalize)
    images = StoredImages(colour, 30)
    learners = []
    for i in range(3):
        learners.append(tmp_path / f"learner{i}.safetensors")
        recipe = Recipe(epochs=12, batch_size=15, learning_rate=0.01)
        train_learner(
            images, learners[-1], dataset="shapes", ensemble=MEDIAN, lambda_jr=0.01, repetition=0, member=i,
            model=model, recipe=recipe, goal=PLAIN, seed=0,
        )  # fmt: skip
    path = tmp_path / "ensemble.safetensors"
    assemble_ensemble(learners, 3, path)
    with pytest.raises(ValueError, match="'half_median' is not a built-in method: pass it"):
        load_ensemble(path)
    with pytest.raises(ValueError, match="'small_cnn' is not built in: pass what builds it"):
        load_ensemble(path, method=MEDIAN)

    x, _ = load_split(colour, "test", 30)
    ensemble = load_ensemble(path, 3, CNN, MEDIAN)
    logits = ensemble.member_logits(x)
    assert not torch.equal(logits[0], logits[1])
    torch.testing.assert_close(ensemble(x), logits.sort(0).values[1].log_softmax(1))

    cell = Cell(dataset="shapes", ensemble="half_median", members=3, **{"lambda": 0.01})
    stored = StoredEnsemble(path, 3, CNN, MEDIAN)
    evaluate_ensemble(stored, images, tmp_path / "clean.safetensors", cell=cell)
    predicted, labels, _ = load_clean(tmp_path / "clean.safetensors")
    clean = (predicted == labels).mean()
    assert clean > 0.9
    accuracy = {}
    for method, options in ((MOMENTUM, {"options": {"iterations": 20}}), ("sgd", {"iterations": 20})):
        craft_uaps(
            stored, images, tmp_path / "uaps.safetensors", cell=cell, eps=0.3, first=0, last=1, seed=0,
            attack=Attack(method=method, **options).recipe(),
        )  # fmt: skip
        deltas, bits, _ = load_uaps([tmp_path / "uaps.safetensors"])
        assert deltas.shape == (2, 3, 24, 20)
        assert np.abs(deltas).max() <= np.float32(0.3)
        accuracy[method] = bits.mean(axis=1).min()
    assert max(accuracy.values()) < clean - 0.2


def test_the_same_learner_twice_is_the_same_bits_whatever_its_architecture_draws(colour, tmp_path):
    (tmp_path / "dropping.py").write_text(
        "from torch import nn\n\n\ndef dropping(shape, classes):\n"
        "    size = shape[0] * shape[1] * shape[2]\n"
        "    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(size), nn.Dropout(0.3), nn.Linear(size, classes))\n"
    )
    model = network(architecture=f"{tmp_path}/dropping.py:dropping")
    stored = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        path = tmp_path / f"{seed}.safetensors"
        train_learner(
            StoredImages(colour, 30), path, dataset="shapes", ensemble="bagging", lambda_jr=0, repetition=0, member=0,
            model=model, recipe=Recipe(epochs=4, batch_size=15, learning_rate=0.01), goal=PLAIN, seed=0,
        )  # fmt: skip
        after = torch.rand(1)
        torch.manual_seed(seed)
        assert torch.equal(after, torch.rand(1)), "training left torch's global generator as it was"
        stored.append(path.read_bytes())
    assert stored[0] == stored[1]
    # a batch norm keeps statistics, and a stored one classifies with them
    net = load_ensemble(tmp_path / "1.safetensors", 1, f"{tmp_path}/dropping.py:dropping").members[0]
    assert isinstance(net[1], nn.BatchNorm1d)
    assert not net.training
    assert net[1].num_batches_tracked == 4 * 6


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("images[:1]", r"shape \(2, 3, 24, 20\) are needed, it returned \(1, 3, 24, 20\)"),
        ("2 * eps + 0 * images[:2]", "a perturbation of size 0.6, where eps is 0.3"),
    ],
)
def test_an_attack_that_breaks_its_bound_is_refused(colour, tmp_path, body, message):
    file = tmp_path / f"{abs(hash(body))}.py"
    file.write_text(f"def cheat(model, images, labels, eps, seeds):\n    return {body}\n")
    net = Ensemble([nn.Sequential(nn.Flatten(), nn.Linear(1440, 3))])
    cell = Cell(dataset="shapes", ensemble="voting", members=1, **{"lambda": 0})
    with pytest.raises(ValueError, match=message):
        craft_uaps(
            net, StoredImages(colour, 30), tmp_path / "uaps.safetensors", cell=cell, eps=0.3, first=0, last=1, seed=0,
            attack=Attack(method=f"{file}:cheat").recipe(),
        )  # fmt: skip
    assert not (tmp_path / "uaps.safetensors").exists()


def test_kmnist_example_gives_the_arrays_of_torchvisions_dataset(monkeypatch, tmp_path):
    import torchvision

    class Fake:
        def __init__(self, root, train, download):
            assert download
            self.data = torch.full((30, 28, 28), int(train), dtype=torch.uint8)
            self.targets = torch.arange(30) % 10

    monkeypatch.setattr(torchvision.datasets, "KMNIST", Fake)
    download_dataset(f"{EXAMPLES}/kuzushiji.py:kmnist", tmp_path / "kmnist.safetensors")
    images, labels = load_split(tmp_path / "kmnist.safetensors", "train", 10)
    assert images.shape == (20, 1, 28, 28)
    assert images.max() == 1 / 255
    assert labels.max() == 9


def trained(path, colour, ensemble="voting", strength=0.1, goal=PLAIN, **how):
    """A learner of the user's architecture on the user's images, by an objective."""
    train_learner(
        StoredImages(colour, 30), path, dataset="shapes", ensemble=ensemble, lambda_jr=strength, repetition=0,
        model=network(architecture=CNN), recipe=Recipe(epochs=6, batch_size=15, learning_rate=0.01), seed=0, goal=goal,
        **how,
    )  # fmt: skip
    return load_tensors(path, "learners")


def test_a_defence_of_the_users_trains_and_does_what_it_says(colour, tmp_path):
    goal = Training(objective=SQUEEZING, options={"noise": 0.05}).goal
    x, y = load_split(colour, "test", 30)
    sizes = {}
    for strength in (0.0, 2.0):
        path = tmp_path / f"{strength}.safetensors"
        trained(path, colour, strength=strength, member=0, goal=goal)
        net = load_ensemble(path, 1, CNN).members[0]
        logits = net(x)
        assert (logits.argmax(1) == y).float().mean() > 0.8
        sizes[strength] = logits.pow(2).mean().item()
    assert sizes[2.0] < 0.5 * sizes[0.0]
    plain, options = trained(tmp_path / "plain.safetensors", colour, strength=0.0, member=0)[0], {"noise": -1}
    squeezed = load_tensors(tmp_path / "0.0.safetensors", "learners")[0]
    assert all(np.array_equal(plain[name], values) for name, values in squeezed.items())
    with pytest.raises(ValueError, match="noise must be a standard deviation"):
        trained(tmp_path / "x", colour, member=0, goal={"objective": SQUEEZING, "options": options})


def test_learners_that_an_objective_joins_are_stored_together_and_differ_from_those_trained_alone(colour, tmp_path):
    goal = Training(objective="decorrelated").goal
    joined, spec = trained(tmp_path / "joined", colour, members=2, goal=goal)
    assert spec["members"] == len(spec["validation_accuracy"]) == 2
    alone = trained(tmp_path / "alone", colour, member=1)[0]
    for name, values in joined.items():
        assert values.shape == (2, *alone[name].shape[1:])
        assert not np.array_equal(values[1], alone[name][0])
    assemble_ensemble([tmp_path / "joined"], 2, tmp_path / "ensemble")
    assert len(load_ensemble(tmp_path / "ensemble", 2, CNN).members) == 2


def test_a_plan_asks_the_objective_whether_it_joins_learners(tmp_path):
    (tmp_path / "own.py").write_text(
        "from jacobian_ensembles.training.objectives.objective import Objective\n\n\n"
        "class Joint(Objective):\n    together = True\n\n\nclass Apart(Objective):\n    pass\n"
    )
    for name, joins in (("Joint", True), ("Apart", False)):
        cfg = loaded(training={"objective": f"{tmp_path}/own.py:{name}"}, grid={"ensembles": ["voting"]})
        assert cfg.in_one_job("voting") == joins
    cfg = loaded(training={"objective": "decorrelated"}, grid={"ensembles": ["voting", "snapshot"]})
    assert cfg.in_one_job("voting")
    with pytest.raises(
        ConfigError, match=r"got decorrelated, which joins learners .*; those of snapshot are snapshots"
    ):
        cfg.in_one_job("snapshot")
    assert [loaded(grid={"ensembles": [e]}).in_one_job(e) for e in ("voting", "snapshot")] == [False, True]


def test_options_of_an_objective_are_complete_in_what_a_job_gets():
    assert Training().goal == {"objective": "jacobian", "options": {}}
    goal = Training(objective="universal", options={"jacobian": "5e-2"}).goal
    assert goal == {"objective": "universal", "options": {"step": 1.0, "jacobian": 0.05}}


def test_an_ensemble_in_memory_is_trained_by_any_objective():
    images, labels = patch_dataset(300)
    recipe = Recipe(epochs=3, batch_size=20)
    made = [
        train_ensemble(images, labels, "voting", 2, 0.1, recipe=recipe, objective=objective)
        for objective in ("jacobian", "decorrelated", Decorrelated, "noise")
    ]
    first = [next(ensemble.parameters()) for ensemble in made]
    assert torch.equal(first[1], first[2])
    assert len({tensor.sum().item() for tensor in first}) == 3
    with pytest.raises(ValueError, match="snapshots of one training"):
        train_ensemble(images, labels, "snapshot", 2, 0.1, objective="decorrelated")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_with_umlauts_is_one_name_however_it_is_spelled(tmp_path, form):
    (tmp_path / "own.py").write_text("def Übermäßig(folder): ...\n", encoding="utf-8")
    reference = unicodedata.normalize(form, f"{tmp_path}/own.py:Übermäßig")
    assert check_reference(reference, ()) == reference
    assert resolve(reference, {}).__name__ == "Übermäßig"
    grid = {"datasets": [reference], "ensembles": ["voting"], "members": [1], "lambdas": [0], "eps": [0.15]}
    cfg = load_config({"run": {"name": "test"}, "grid": grid})
    assert cfg.datasets == ["Übermäßig"]
    assert cfg.reference("Übermäßig") == reference
    assert re.fullmatch(WILDCARDS["dataset"], cfg.datasets[0])


def test_a_name_that_paths_cannot_spell_is_refused(tmp_path):
    (tmp_path / "own.py").write_text("def क्ष(folder): ...\n", encoding="utf-8")  # a sign that is no letter in it
    with pytest.raises(ExtensionError, match=r"must be a Python name .* of letters, digits and _"):
        check_reference(f"{tmp_path}/own.py:क्ष", ())
