import numpy as np
import pandas as pd

from jacobian_ensembles.stages.measure_image_error import image_error_of_bits, measure_image_error
from jacobian_ensembles.storage.files import save_tensors
from jacobian_ensembles.storage.perturbations import pack_bits, save_clean


def test_predictions_and_kept_bits_give_the_same_table(tmp_path):
    rng = np.random.default_rng(0)
    right = rng.random((3, 20)) < 0.7
    cells = [
        {"dataset": "mnist", "ensemble": "voting", "members": m, "lambda": 0.1, "repetition": r}
        for m, r in ((1, 0), (1, 1), (3, 0))
    ]
    files = []
    for i, (cell, row) in enumerate(zip(cells, right, strict=True)):
        files.append(tmp_path / f"{i}.safetensors")
        save_clean(files[-1], np.where(row, 1, 0), np.ones(20, int), cell)
    measure_image_error(files, tmp_path / "a.csv")
    models = [[cell[key] for key in ("ensemble", "members", "lambda", "repetition")] for cell in cells]
    spec = {"dataset": "mnist", "models": models, "eps": [0.1], "images": 20}
    save_tensors(tmp_path / "mnist", {"clean": pack_bits(right)}, "bits", spec)
    image_error_of_bits([tmp_path / "mnist"], tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    table = pd.read_csv(tmp_path / "a.csv")
    assert table["members"].tolist() == [1, 3]
    mean = 100 * np.stack([right[:2].mean(axis=0), right[2]])
    np.testing.assert_allclose(table[["0", "1"]], np.cov(mean) / 20, rtol=1e-3)
