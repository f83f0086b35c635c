"""Stage measure_transfer: every model of a dataset under every model's perturbations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jacobian_ensembles.attacks.attack import load_attack
from jacobian_ensembles.ensembles.ensemble import Ensemble
from jacobian_ensembles.evaluation.accuracy import correct
from jacobian_ensembles.evaluation.summary import CELL_KEYS
from jacobian_ensembles.models.evaluation_mode import evaluating
from jacobian_ensembles.paper.labels import model_name
from jacobian_ensembles.robustness.evidence import transfer_matrix
from jacobian_ensembles.runs.devices import prepare_device
from jacobian_ensembles.seeding import derive_seed
from jacobian_ensembles.stages.inputs import StoredImages, load_ensemble
from jacobian_ensembles.storage.checksums import write_record
from jacobian_ensembles.storage.perturbations import load_worst_uap


def measure_transfer(
    ensembles: Sequence[str | Path],
    uaps: Sequence[str | Path],
    images: StoredImages,
    path: str | Path,
    *,
    eps: float,
    attacks: Sequence[str],
    attack: Mapping[str, Any],
    seeds: int,
    seed: int,
    architecture: str = "lenet",
    methods: Mapping[str, str] | None = None,
    device: str = "cpu",
) -> None:
    """Try the strongest perturbation of every model, and of one learner of every ensemble, on every model.

    Args:
        ensembles: The models of one dataset.
        uaps: The worst perturbation of each by each attack, in the same order: all of the first model, and so on.
        images: The stored dataset.
        path: The JSON record to write, with ``rows``: a cell, the ``source`` of the perturbation, the ``attack`` that
            crafted it, whether it is the model's ``own``, and the ``accuracy`` under it.
        eps: Radius.
        attacks: The names of the attacks.
        attack: The attack that crafts perturbations of single learners: see
            :func:`~jacobian_ensembles.stages.craft_uaps.craft_uaps`.
        seeds: How many of these per learner; the worst is tried on the others.
        seed: Base seed of the run.
        architecture: See :func:`~jacobian_ensembles.stages.inputs.load_ensemble`.
        methods: References to ensemble methods that are not built in, by name.
        device: ``cpu`` or ``cuda``.
    """
    target = prepare_device(device)
    x, y = (tensor.to(target) for tensor in images.split("test"))
    models: dict[str, nn.Module] = {}
    deltas: dict[str, Tensor] = {}
    cells, crafted_by = {}, {}
    for i, net in enumerate(ensembles):
        found = [load_worst_uap(uap) for uap in uaps[i * len(attacks) : (i + 1) * len(attacks)]]
        strongest = min(range(len(found)), key=lambda j: found[j]["accuracy"])
        cell = {key: found[strongest][key] for key in CELL_KEYS}
        name = model_name(cell)
        models[name] = load_ensemble(net, None, architecture, (methods or {}).get(cell["ensemble"])).to(target)
        deltas[name] = torch.from_numpy(found[strongest]["delta"])
        cells[name], crafted_by[name] = cell, attacks[strongest]
    crafting_x, crafting_y = images.split(attack["split"])
    crafting = crafting_x.to(target), crafting_y.to(target)
    for name, cell in cells.items():
        if cell["members"] > 1:
            model = models[name]
            assert isinstance(model, Ensemble)
            learner = Ensemble([model.members[0]], model.average)
            numbers = [derive_seed("uap", seed, *cell.values(), "learner", eps, k) for k in range(seeds)]
            single = f"one learner of {name}"
            deltas[single] = _worst_of(learner, crafting, (x, y), eps, numbers, attack).cpu()
            crafted_by[single] = "attack"
    matrix = transfer_matrix(models, deltas, x, y, attack["clip"])
    rows = [
        {
            **cells[name],
            "source": source,
            "attack": crafted_by[source],
            "own": source == name,
            "accuracy": float(matrix.loc[source, name]),  # type: ignore[arg-type]
        }
        for name in models
        for source in deltas
    ]
    write_record(path, {"dataset": next(iter(cells.values()))["dataset"], "eps": eps, "images": len(y), "rows": rows})


def _worst_of(
    model: nn.Module,
    crafting: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    eps: float,
    seeds: Sequence[int],
    attack: Mapping[str, Any],
) -> Tensor:
    """The worst perturbation over some seeds, by its model's test accuracy, as everywhere."""
    craft = load_attack(attack["method"], attack["options"], attack.get("norm", "linf"), attack["clip"])
    deltas: Tensor = craft(model, *crafting, eps, seeds)
    with evaluating(model):
        return deltas[int(correct(model, *test, deltas, attack["clip"]).sum(1).argmin())]
