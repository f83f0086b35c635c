import numpy as np
import pandas as pd
import pytest
import torch

from jacobian_ensembles.attacks.sgd_uap import SgdOptions
from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.stages.attack_members import attack_members, gather_members
from jacobian_ensembles.stages.craft_uaps import craft_uaps
from jacobian_ensembles.stages.inputs import StoredEnsemble, StoredImages
from jacobian_ensembles.storage.checksums import read_record
from jacobian_ensembles.storage.files import save_tensors
from jacobian_ensembles.storage.learners import save_learners
from jacobian_ensembles.storage.perturbations import load_uaps

CELL = Cell.model_validate({"dataset": "small", "ensemble": "voting", "members": 1, "lambda": 0.1, "repetition": 3})
SGD = SgdOptions(iterations=2, batch_size=20).model_dump()
ATTACK = {"method": "sgd", "options": SGD, "split": "train", "clip": False, "norm": "linf"}


@pytest.fixture
def stored(tmp_path):
    """Two learners, and forty images."""
    rng = np.random.default_rng(0)
    arrays = {f"{part}_images": rng.integers(0, 256, (40, 28, 28), np.uint8) for part in ("train", "test")}
    arrays |= {f"{part}_labels": np.arange(40, dtype=np.uint8) % 10 for part in ("train", "test")}
    save_tensors(tmp_path / "small.safetensors", arrays, kind="dataset", spec={"dataset": "small"})
    learners = []
    for seed in (1, 2):
        net = LeNet(generator=torch.Generator().manual_seed(seed))
        spec = {"dataset": "small", "ensemble": "voting", "lambda": 0.1, "architecture": Architecture().record()}
        path = tmp_path / f"learner{seed}.safetensors"
        weights = {key: value[None].numpy() for key, value in net.state_dict().items()}
        save_learners(path, weights, {**spec, "validation_accuracy": [0.5]})
        learners.append(StoredEnsemble(path, 1, "lenet", "voting"))
    return learners, StoredImages(tmp_path / "small.safetensors", 10, dataset="small")


def test_every_member_is_attacked_as_a_model_of_one_learner(stored, tmp_path):
    learners, images = stored
    attack_members(
        learners, images, tmp_path / "members.json", cell=CELL, eps=[0.1, 0.3], seeds=2, attack=ATTACK, seed=7
    )  # fmt: skip
    record = read_record(tmp_path / "members.json")
    assert [(row["member"], row["eps"]) for row in record["members"]] == [(0, 0.1), (0, 0.3), (1, 0.1), (1, 0.3)]
    for member, learner in enumerate(learners):
        row = record["members"][2 * member + 1]
        craft_uaps(
            learner, images, tmp_path / "uaps", cell=CELL, eps=0.3, first=0, last=1, attack=ATTACK, seed=7
        )  # fmt: skip
        accuracies = load_uaps([tmp_path / "uaps"])[1].mean(axis=1)
        assert row["accuracies"] == pytest.approx(accuracies.tolist())
        assert row["worst_accuracy"] == pytest.approx(accuracies.min())
        x, y = images.split("test")
        assert row["clean_accuracy"] == pytest.approx(float((learner.load()(x).argmax(1) == y).float().mean()))
    gather_members([tmp_path / "members.json"], tmp_path / "members.csv")
    table = pd.read_csv(tmp_path / "members.csv")
    assert table[["dataset", "ensemble", "lambda", "repetition"]].drop_duplicates().to_numpy().tolist() == [
        ["small", "voting", 0.1, 3]
    ]
    assert table["worst_accuracy"].tolist() == pytest.approx([row["worst_accuracy"] for row in record["members"]])
    assert set(tmp_path.glob("tmp*")) == set()
