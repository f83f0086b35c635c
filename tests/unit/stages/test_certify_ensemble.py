import numpy as np
import torch

import jacobian_ensembles as je
from jacobian_ensembles.config.cells import Cell
from jacobian_ensembles.models.architecture import Architecture
from jacobian_ensembles.models.lenet import LeNet
from jacobian_ensembles.stages.certify_ensemble import certify_ensemble
from jacobian_ensembles.stages.inputs import StoredEnsemble, StoredImages
from jacobian_ensembles.storage.checksums import read_record
from jacobian_ensembles.storage.files import save_tensors
from jacobian_ensembles.storage.learners import save_learners

CELL = Cell.model_validate({"dataset": "small", "ensemble": "voting", "members": 1, "lambda": 0.1, "repetition": 0})


def test_the_record_holds_what_the_library_proves_of_the_test_images(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"{part}_images": rng.integers(0, 256, (10, 28, 28), np.uint8) for part in ("train", "test")}
    net = LeNet(generator=torch.Generator().manual_seed(1))
    images = torch.from_numpy(arrays["test_images"][:, None] / np.float32(255))
    right = net(images).argmax(1)  # so that something is proved
    arrays |= {f"{part}_labels": right.numpy().astype(np.uint8) for part in ("train", "test")}
    save_tensors(tmp_path / "small.safetensors", arrays, kind="dataset", spec={"dataset": "small"})
    spec = {"dataset": "small", "ensemble": "voting", "lambda": 0.1, "architecture": Architecture().record()}
    weights = {key: value[None].numpy() for key, value in net.state_dict().items()}
    save_learners(tmp_path / "net.safetensors", weights, {**spec, "validation_accuracy": [0.5]})
    ensemble = StoredEnsemble(tmp_path / "net.safetensors", 1, "lenet", "voting")
    stored = StoredImages(tmp_path / "small.safetensors", 2, dataset="small")
    eps = [1e-6, 0.3]
    certify_ensemble(ensemble, stored, tmp_path / "c.json", cell=CELL, eps=eps, clip=False)
    record = read_record(tmp_path / "c.json")
    assert record["certified_accuracies"] == je.certify(net, images, right, eps).accuracies.tolist()
    assert 1 >= record["certified_accuracies"][0] > record["certified_accuracies"][1] == 0
    assert (record["eps"], record["images"], record["dataset"], record["lambda"]) == (eps, 10, "small", 0.1)
