"""Stage predict_examples: how the models that the page shows in detail classify some test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from jacobian_ensembles.evaluation.accuracy import perturb
from jacobian_ensembles.evaluation.summary import MODEL_KEYS
from jacobian_ensembles.report.contents import model_key
from jacobian_ensembles.report.describe import shown_in_detail
from jacobian_ensembles.report.gallery import example_indices
from jacobian_ensembles.runs.devices import prepare_device
from jacobian_ensembles.stages.inputs import load_ensemble
from jacobian_ensembles.stages.test_sets import load_test_set
from jacobian_ensembles.storage.checksums import write_record
from jacobian_ensembles.storage.perturbations import load_worst_uap
from jacobian_ensembles.storage.tables import read_table


@torch.no_grad()
def predict_examples(
    ensembles: Sequence[str | Path],
    uaps: Sequence[str | Path],
    datasets: Sequence[str | Path],
    summary_path: str | Path,
    path: str | Path,
    *,
    clip: bool,
    architecture: str = "lenet",
    methods: Mapping[str, str] | None = None,
    device: str = "cpu",
) -> None:
    """Classify the page's example images, clean and under each model's worst perturbation.

    Args:
        ensembles: Every model of the run (one training of each).
        uaps: The worst perturbation of each at the eps of Figure 2, in the same order.
        datasets: The stored datasets.
        summary_path: ``summary.csv``, which determines the models shown in detail.
        path: The JSON record to write: a list of models with ``clean`` and ``perturbed`` classes.
        clip: Clip perturbed images to [0, 1].
        architecture: See :func:`~jacobian_ensembles.stages.inputs.load_ensemble`.
        methods: References to ensemble methods that are not built in, by name.
        device: ``cpu`` or ``cuda``.
    """
    target = prepare_device(device)
    summary, found = read_table(summary_path, MODEL_KEYS), []
    stored = {Path(dataset).stem: dataset for dataset in datasets}
    loaded = {model_key(uap): (uap, net) for uap, net in zip(map(load_worst_uap, uaps), ensembles, strict=True)}
    for dataset in summary["dataset"].unique():
        test_set = load_test_set(stored[dataset])
        x = torch.from_numpy(test_set.images[example_indices(test_set.labels)]).to(target)
        for model in shown_in_detail(summary, dataset):
            uap, net = loaded[model_key(model)]
            ensemble = load_ensemble(net, None, architecture, (methods or {}).get(model["ensemble"])).to(target)
            delta = torch.from_numpy(uap["delta"]).to(target)
            clean, perturbed = (ensemble(z).argmax(1).tolist() for z in (x, perturb(x, delta, clip)))
            key = dict(zip(("dataset", "ensemble", "members", "lambda"), model_key(model), strict=True))
            found.append({**key, "clean": clean, "perturbed": perturbed})
    write_record(path, {"models": found})
