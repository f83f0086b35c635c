"""Anybody's model attacked at several eps and tested, as one page: for the command line and the library."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jacobian_ensembles.attacks.attack import UniversalAttack
from jacobian_ensembles.attacks.crafting import craft_uaps
from jacobian_ensembles.evaluation.accuracy import predictions
from jacobian_ensembles.evaluation.record import evaluate
from jacobian_ensembles.models.compiled import classes_of
from jacobian_ensembles.models.door import admit
from jacobian_ensembles.models.evaluation_mode import evaluating, own_modes
from jacobian_ensembles.report.contents import TestSet
from jacobian_ensembles.report.gallery import example_indices
from jacobian_ensembles.report.model import AttackedModel, render_model
from jacobian_ensembles.robustness.stress import stress
from jacobian_ensembles.storage.files import write_text

log = logging.getLogger(__name__)


@own_modes()
def report_model(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    path: str | Path = "model.html",
    *,
    test: tuple[Tensor, Tensor] | None = None,
    eps: Sequence[float] = (0.05, 0.1, 0.15, 0.2),
    seeds: int = 5,
    flags: bool = True,
    clip: bool = False,
    attack: str | UniversalAttack | Callable[..., Any] = "sgd",
    title: str = "A model",
    class_names: Sequence[str] | None = None,
    **options: Any,
) -> Path:
    """Attack a model at several eps, and write what was found as one HTML page that needs no other file.

    The page shows clean accuracy, accuracy under attack over eps with intervals, the worst perturbations with examples,
    the flags of :func:`~jacobian_ensembles.robustness.stress.stress`, and accuracy per class.

    Args:
        model: Any classifier: maps (B, ...) to logits or log-probabilities (B, C).
        images: (N, channels, height, width), in [0, 1], on the model's device: perturbations are crafted on them.
        labels: (N,).
        path: The page.
        test: Images and labels that accuracies are measured on; None keeps every second one of ``images`` for that, and
            crafts on the rest.
        eps: Radii, in (0, 1].
        seeds: K attack seeds per eps; the worst counts.
        flags: Whether to look for signs that robustness is not real: many further attacks, at the largest eps and 0.5.
        clip: Clip perturbed images to [0, 1].
        title: What the page calls the model.
        class_names: Of the C classes; None for numbers.
        attack: See :func:`~jacobian_ensembles.attacks.crafting.craft_uaps`.
        **options: The attack's, such as ``iterations``.

    Returns:
        The page's path.

    Raises:
        ValueError: If images, labels and scores do not fit together, there is no eps, or an option is refused.
    """
    if not eps:
        raise ValueError("eps must have one radius at least. Got none.")
    if test is None:
        test, (images, labels) = (images[1::2], labels[1::2]), (images[::2], labels[::2])
    x, y = admit(model, *test)
    numbers = y.cpu().numpy()
    with evaluating(model):
        classes = classes_of(model, x)
    shown = x[example_indices(numbers)]
    if clip and not isinstance(attack, UniversalAttack):
        options["clip"] = True
    norm = getattr(attack, "norm", options.get("norm", "linf"))
    found, worst, seen = {}, {}, {}
    for radius in sorted(eps):
        log.info("eps %g: %d perturbations", radius, seeds)
        deltas = craft_uaps(model, images, labels, radius, attack, seeds, **options)
        found[radius] = evaluate(model, x, y, deltas, clip, norm=norm)
        delta = deltas[found[radius].worst].to(x)
        worst[radius] = delta.cpu().numpy()
        perturbed = (shown + delta).clamp(0, 1) if clip else shown + delta
        with evaluating(model), torch.no_grad():
            seen[radius] = predictions(model, shown).tolist(), predictions(model, perturbed).tolist()
    table = None
    if flags:
        log.info("further attacks, for the flags")
        radii = sorted({max(eps), 0.5})
        table = stress(model, images, labels, test=(x, y), eps=radii, seeds=min(seeds, 3), clip=clip)
    names = tuple(class_names or map(str, range(classes)))
    name = attack.title if isinstance(attack, UniversalAttack) else getattr(attack, "__name__", str(attack))
    many = f"{seeds} seeds" if seeds > 1 else "one seed"
    notes = [f"Crafted on {len(images):,} images with attack {name}, {many} per ε."]
    record = AttackedModel(title, TestSet(x.cpu().numpy(), numbers, names), found, worst, seen, table, notes)
    write_text(path, render_model(record))
    return Path(path)
